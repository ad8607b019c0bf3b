"""Fitting hands to joints, measured: residuals, vertices, masks, noise, faults, speed.

    python benchmarks/hand_fitting.py [--hands 2000] [--seed 7]

Hands are posed as the generator of synthetic data poses them (three quarters: blends of
its named shapes with noise) or anywhere within their joints' limits (a quarter), with
random shapes. Prints a table: what was measured, and what the project asks for.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
import roma
import torch

from digit.hands.fitting import HandFits, fit_joints
from digit.hands.joint_angles import ANGLE_AXIS, ANGLE_JOINT, LIMITS
from digit.hands.kinematics import JointModel
from digit.hands.model import HandModel, generic_hands
from digit.hands.part_rendering import render_part_mask
from digit.hands.solver import FitSettings
from digit.skeleton import SIDES
from digit.synth.anatomy import joint_angles
from digit.synth.families import shapes

NOISE_MM = 5.0
PICTURES = 500  # of two hands, for the masks
# A camera as InterHand2.6M's, before which two hands are put side by side.
FOCAL, PRINCPT, WIDTH, HEIGHT = np.full(2, 1250.0), np.array([167.0, 256]), 334, 512


class TrueHands(NamedTuple):
    """Hands of one side with their parameters."""

    hand: HandModel
    vertices_mm: np.ndarray
    joints_mm: np.ndarray


def draw_hands(hand: HandModel, n: int, rng: np.random.Generator) -> TrueHands:
    """Random hands of one side."""
    # 1. Angles: blends of two named shapes with noise, or uniform within limits
    named = np.stack(list(shapes().values()))
    first, second = named[rng.integers(len(named), size=(2, n))]
    share = rng.random((n, 1, 1))
    angles = first * share + second * (1 - share) + rng.normal(0, 0.13, first.shape)
    low, high = LIMITS[..., 0], LIMITS[..., 1]
    angles[: n // 4] = rng.uniform(low, high, (n // 4, 15, 3))
    angles = angles.clip(low, high)

    # 2. The same as MANO's parameters
    right = hand if hand.side == "right" else hand.mirrored()
    free = torch.tensor(angles[:, ANGLE_JOINT, ANGLE_AXIS], dtype=torch.float64)
    fingers = roma.rotmat_to_rotvec(JointModel.from_hand(right).finger_rotations(free))
    if hand.side == "left":
        fingers = fingers * torch.tensor([1.0, -1.0, -1.0])
    turn = torch.tensor(rng.normal(0, 1.5, (n, 3)))
    pose = torch.cat([turn, fingers.flatten(1)], 1).float()
    shape = torch.tensor(rng.normal(0, 1, (n, 10)).clip(-2, 2)).float()
    trans = torch.tensor(rng.normal(0, 0.2, (n, 3)) + [0, 0, 1]).float()
    vertices_mm = hand.skin(pose, shape, trans) * 1000
    return TrueHands(hand, vertices_mm.numpy(), hand.joints(vertices_mm).numpy())


def vertices_of(hand: HandModel, fits: HandFits) -> np.ndarray:
    """Vertices of fits, mm."""
    parameters = (fits.pose, fits.shape, fits.trans_m)
    return hand.skin(*map(torch.from_numpy, parameters)).numpy() * 1000


def beyond_limits_rad(hand: HandModel, fits: HandFits) -> float:
    """By how much some joint is beyond its limits."""
    angles = joint_angles(fits.pose, SIDES.index(hand.side))
    return float(np.maximum(angles - LIMITS[..., 1], LIMITS[..., 0] - angles).max())


def mask_agreement(
    hands: tuple[HandModel, HandModel],
    true_mm: list[np.ndarray],
    fitted_mm: list[np.ndarray],
    joints_mm: list[np.ndarray],
) -> tuple[float, float]:
    """Mean IoU of hand against background, and of the parts, over pictures."""
    hand_iou, part_iou = [], []
    for i in range(len(joints_mm[0])):
        masks = []
        for vertices_mm in (true_mm, fitted_mm):
            placed = []
            for side, x_mm in enumerate((-45, 45)):
                shift = joints_mm[side][i].mean(0) - [x_mm, 0, 900]
                placed.append(vertices_mm[side][i] - shift)
            views = (FOCAL, PRINCPT, WIDTH, HEIGHT)
            masks.append(render_part_mask(hands, np.stack(placed), *views))
        true, fitted = masks
        both = (true > 0) & (fitted > 0)
        hand_iou.append(both.sum() / ((true > 0) | (fitted > 0)).sum())
        of_parts = []
        for label in np.unique(true[true > 0]):
            union = (true == label) | (fitted == label)
            of_parts.append(((true == label) & (fitted == label)).sum() / union.sum())
        part_iou.append(np.mean(of_parts))
    return float(np.mean(hand_iou)), float(np.mean(part_iou))


class Rows:
    """The table that is printed."""

    def __init__(self):
        self.rows: list[dict] = []

    def add(self, what: str, value: float, asked: str = "") -> None:
        """Add a number, and what is asked for."""
        row = {"measured": what, "value": round(float(value), 3), "asked for": asked}
        self.rows.append(row)


def measure(n: int, seed: int) -> pd.DataFrame:
    """All numbers, a row each."""
    rng = np.random.default_rng(seed)
    every = [draw_hands(hand, n // 2, rng) for hand in generic_hands()]
    for true in every:
        fit_joints(true.hand, true.joints_mm[:4])  # reduces the models beforehand
    table = Rows()
    fits = measure_exact(every, table)
    measure_masks(every, fits, table)
    measure_noise(every, rng, table)
    largest_mm = max(found.residual_mm.max() for found in fits)
    measure_impossible(every, largest_mm, table)
    return pd.DataFrame(table.rows)


def measure_exact(every: list[TrueHands], table: Rows) -> list[HandFits]:
    """Residuals, vertices and speed for joints without noise; returns the fits."""
    start = time.process_time()
    fits = [fit_joints(true.hand, true.joints_mm) for true in every]
    seconds = time.process_time() - start
    residual_mm = np.concatenate([found.residual_mm for found in fits])
    errors = []
    for true, found in zip(every, fits, strict=True):
        distance_mm = vertices_of(true.hand, found) - true.vertices_mm
        errors.append(np.linalg.norm(distance_mm, axis=-1).mean(1))
    vertex_mm = np.concatenate(errors)
    table.add("exact joints: residual, median (mm)", np.median(residual_mm), "≤ 1")
    table.add("residual, 95th percentile (mm)", np.percentile(residual_mm, 95), "≤ 3")
    table.add("residual, largest (mm)", residual_mm.max())
    table.add("vertex error, median (mm)", np.median(vertex_mm), "≤ 3")
    table.add("vertex error, 95th percentile (mm)", np.percentile(vertex_mm, 95))
    table.add("hands/s of one core", len(residual_mm) / seconds, "≥ 400 on two")
    return fits


def measure_masks(every: list[TrueHands], fits: list[HandFits], table: Rows) -> None:
    """Masks of the fits against masks of the true hands."""
    hand_iou, part_iou = mask_agreement(
        generic_hands(),
        [true.vertices_mm[:PICTURES] for true in every],
        [vertices_of(t.hand, f)[:PICTURES] for t, f in zip(every, fits, strict=True)],
        [true.joints_mm[:PICTURES] for true in every],
    )
    table.add("masks: hand IoU", hand_iou, "≥ 0.97")
    table.add("masks: part mIoU", part_iou, "≥ 0.85")


def measure_noise(
    every: list[TrueHands], rng: np.random.Generator, table: Rows
) -> None:
    """Residuals, limits and speed for joints with noise."""
    settings = FitSettings(joint_noise_mm=NOISE_MM)
    residuals, noises, beyond = [], [], []
    start = time.process_time()
    for true in every:
        noise = rng.normal(0, NOISE_MM, true.joints_mm.shape)
        found = fit_joints(true.hand, true.joints_mm + noise, settings=settings)
        residuals.append(found.residual_mm)
        noises.append(np.linalg.norm(noise, axis=-1).mean(1))
        beyond.append(beyond_limits_rad(true.hand, found))
    seconds = time.process_time() - start
    residual_mm, noise_mm = np.concatenate(residuals), np.concatenate(noises)
    asked = f"≤ {noise_mm.mean():.2f}"
    table.add("5 mm noise: residual, mean (mm)", residual_mm.mean(), asked)
    table.add("share with residual above noise", (residual_mm > noise_mm).mean(), "0")
    table.add("largest angle beyond its limit (rad)", max(beyond), "0")
    table.add("hands/s of one core", len(residual_mm) / seconds, "≥ 400 on two")


def measure_impossible(every: list[TrueHands], largest_mm: float, table: Rows) -> None:
    """Residuals of joints that no hand of the side has."""
    mirror = np.array([-1.0, 1.0, 1.0])
    kinds: dict[str, list[np.ndarray]] = {
        "swapped": [],
        "mirrored": [],
        "one point": [],
    }
    for true, other in zip(every, every[::-1], strict=True):
        one_point = np.repeat(true.joints_mm[:, :1], 21, axis=1)
        joints = (other.joints_mm, true.joints_mm * mirror, one_point)
        for name, joints_mm in zip(kinds, joints, strict=True):
            kinds[name].append(fit_joints(true.hand, joints_mm).residual_mm)
    for name, parts in kinds.items():
        residual_mm = np.concatenate(parts)
        low = np.percentile(residual_mm, 1)
        table.add(f"{name}: residual, 1st percentile (mm)", low)
        above = (residual_mm > largest_mm).mean()
        table.add(f"{name}: share above every exact hand's", above, "1")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    # Processor time of one thread: what other processes on the machine disturb least.
    torch.set_num_threads(1)
    print(measure(args.hands, args.seed).to_string(index=False))


if __name__ == "__main__":
    main()
