"""Damped Gauss–Newton on joint angles, shape and place of a batch of hands.

Levenberg–Marquardt with bounds: parameters that lie at a limit and would leave it are
held for a step. Every hand has its own damping and stops on its own, so that no hand's
result depends on the others in the batch. Called by `fitting`.
"""

from dataclasses import dataclass

import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from digit.hands.joint_angles import ANGLE_AXIS, ANGLE_HIGH, ANGLE_LOW, FLEXION
from digit.hands.kinematics import (
    ANGLES,
    N_PARAMETERS,
    SHAPE,
    TURN,
    WRIST,
    HandState,
    JointModel,
    Rows,
)


@dataclass(frozen=True)
class FitSettings:
    """What is expected of joints, shapes and poses, and when the solver stops.

    The numbers were chosen by eye. The priors are those of a maximum a posteriori
    estimate: betas have a standard deviation of 1 by the construction of MANO's shape
    space, joints one of `joint_noise_mm`, angles one of `angle_sigma_rad` about a hand
    whose fingers are all slightly bent. The latter is weak and matters only for angles
    that no joint determines.
    """

    joint_noise_mm: float = 1.0  # raise it for predictions
    angle_sigma_rad: float = 3.0
    relaxed_flexion_rad: float = 0.2
    shape_limit: float = 4.0  # betas stay within ±
    max_iterations: int = 40
    start_damping: float = 1e-3  # as a share of the Hessian's diagonal
    max_damping: float = 1e6  # no step is found: stop
    relative_gain: float = 1e-4  # stop where a step lowers the cost by a smaller share
    absolute_gain_mm2: float = 1e-3


@dataclass(frozen=True)
class FitProblem(Rows):
    """What is minimised: the squared distances of n hands' joints from the given ones."""

    joints_mm: Float[Tensor, "n 21 3"]  # anything finite where a joint is not valid
    valid: Float[Tensor, "n 21"]  # 1 or 0
    shape_is_free: Bool[Tensor, "n"]


@dataclass(frozen=True)
class NormalEquations(Rows):
    """Cost (mm²), its gradient and Gauss–Newton Hessian, each of half the cost."""

    cost: Float[Tensor, "n"]
    gradient: Float[Tensor, "n 37"]
    hessian: Float[Tensor, "n 37 37"]


@dataclass(frozen=True)
class Solution:
    """Where the solver ended."""

    state: HandState
    residual_mm: Float[Tensor, "n 21"]  # distances of the joints; NaN if not valid
    equations: NormalEquations
    held: Bool[Tensor, "n 37"]  # parameters at their limits, or given
    iterations: Int[Tensor, "n"]


def solve(
    model: JointModel, problem: FitProblem, start: HandState, settings: FitSettings
) -> Solution:
    """Fit hands from a start; each hand by itself."""
    n = len(problem.joints_mm)
    state = start
    here = linearise(model, problem, state, settings)
    damping = torch.full_like(here.cost, settings.start_damping)
    iterations = torch.zeros(n, dtype=torch.int64, device=damping.device)
    running = torch.arange(n, device=damping.device)
    for _ in range(settings.max_iterations):
        # 1. A damped step of the hands that are not done yet.
        old = here.take(running)
        trial = step(
            old,
            state.take(running),
            damping[running],
            problem.shape_is_free[running],
            settings,
        )
        new = linearise(model, problem.take(running), trial, settings)

        # 2. Keep it where it lowers the cost; trust the next step more, or less.
        better = new.cost < old.cost
        state = state.put(running[better], trial.take(better))
        here = here.put(running[better], new.take(better))
        damping[running] *= torch.where(better, 0.1, 10.0).to(damping)
        iterations[running] += 1

        # 3. Hands that gain no more are done.
        gain = old.cost - new.cost
        enough = settings.absolute_gain_mm2 + settings.relative_gain * old.cost
        done = (better & (gain < enough)) | (damping[running] > settings.max_damping)
        running = running[~done]
        if len(running) == 0:
            break
    residual_mm = (model.pose(state).joints_mm - problem.joints_mm).norm(dim=-1)
    return Solution(
        state=state,
        residual_mm=torch.where(problem.valid > 0, residual_mm, torch.nan),
        equations=here,
        held=_held(here.gradient, state, problem.shape_is_free, settings),
        iterations=iterations,
    )


def linearise(
    model: JointModel, problem: FitProblem, state: HandState, settings: FitSettings
) -> NormalEquations:
    """The normal equations at a state."""
    # 1. Residuals of the valid joints and their Jacobian.
    posed = model.pose(state)
    valid = problem.valid[..., None]
    residual = ((posed.joints_mm - problem.joints_mm) * valid).flatten(1)
    jacobian = (model.jacobian(posed) * valid[..., None]).flatten(1, 2)
    hessian = jacobian.mT @ jacobian
    gradient = (jacobian.mT @ residual[..., None])[..., 0]

    # 2. Priors: weight · (value − expected) is one more residual for each angle and beta.
    weight = torch.zeros(N_PARAMETERS).to(residual)
    weight[ANGLES] = settings.joint_noise_mm / settings.angle_sigma_rad
    weight[SHAPE] = settings.joint_noise_mm
    expected = torch.zeros(N_PARAMETERS).to(residual)
    flexions = torch.from_numpy(ANGLE_AXIS == FLEXION).to(residual)
    expected[ANGLES] = settings.relaxed_flexion_rad * flexions
    off = _values(state) - expected
    return NormalEquations(
        cost=residual.square().sum(1) + (weight * off).square().sum(1),
        gradient=gradient + weight**2 * off,
        hessian=hessian + torch.diag(weight**2),
    )


def step(
    here: NormalEquations,
    state: HandState,
    damping: Float[Tensor, "n"],
    shape_is_free: Bool[Tensor, "n"],
    settings: FitSettings,
) -> HandState:
    """A Levenberg–Marquardt step, clipped to the limits."""
    # 1. Damp the diagonal; rows and columns of held parameters become those of 1.
    held = _held(here.gradient, state, shape_is_free, settings)
    free = (~held).to(damping)
    hessian = here.hessian * free[:, :, None] * free[:, None, :]
    diagonal = here.hessian.diagonal(dim1=1, dim2=2) * (1 + damping[:, None])
    diagonal = torch.where(held, 1.0, diagonal + 1e-9)
    hessian = hessian.diagonal_scatter(diagonal, dim1=1, dim2=2)

    # 2. Solve. A factorisation that fails leaves NaN, whose cost is never lower.
    factor, _ = torch.linalg.cholesky_ex(hessian)
    downhill = (-here.gradient * free)[..., None]
    change = torch.cholesky_solve(downhill, factor)[..., 0]

    # 3. Move; the turn by a rotation vector in the world frame.
    low, high = _limits(settings, like=change)
    value = (_values(state) + change).clamp(low, high)
    return HandState(
        turn=roma.rotvec_to_rotmat(change[:, TURN]) @ state.turn,
        wrist_mm=state.wrist_mm + change[:, WRIST],
        angles=value[:, ANGLES],
        shape=value[:, SHAPE],
    )


def _values(state: HandState) -> Float[Tensor, "n 37"]:
    """The parameters that have limits and priors; 0 for turn and place."""
    values = state.angles.new_zeros(len(state.angles), N_PARAMETERS)
    values[:, ANGLES] = state.angles
    values[:, SHAPE] = state.shape
    return values


def _limits(settings: FitSettings, like: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper limits of all parameters."""
    low = like.new_full((N_PARAMETERS,), -torch.inf)
    high = like.new_full((N_PARAMETERS,), torch.inf)
    low[ANGLES] = torch.from_numpy(ANGLE_LOW).to(low)
    high[ANGLES] = torch.from_numpy(ANGLE_HIGH).to(high)
    low[SHAPE] = -settings.shape_limit
    high[SHAPE] = settings.shape_limit
    return low, high


def _held(
    gradient: Float[Tensor, "n 37"],
    state: HandState,
    shape_is_free: Bool[Tensor, "n"],
    settings: FitSettings,
) -> Bool[Tensor, "n 37"]:
    """Parameters at a limit that a step downhill would cross, and given shapes."""
    low, high = _limits(settings, like=gradient)
    values = _values(state)
    held = (values <= low) & (gradient > 0)
    held |= (values >= high) & (gradient < 0)
    held[:, SHAPE] |= ~shape_is_free[:, None]
    return held
