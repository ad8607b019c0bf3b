"""Hands in poses within their joints' limits, as tests of fitting need them."""

from typing import NamedTuple

import numpy as np
import roma
import torch

from digit.hands.fitting import HandFits
from digit.hands.joint_angles import ANGLE_HIGH, ANGLE_LOW
from digit.hands.kinematics import JointModel
from digit.hands.model import HandModel


class PosedHands(NamedTuple):
    """n hands of one side: parameters, vertices and joints."""

    pose: np.ndarray
    shape: np.ndarray
    trans_m: np.ndarray
    vertices_mm: np.ndarray
    joints_mm: np.ndarray


def draw_hands(hand: HandModel, n: int, seed: int = 0, shape=None) -> PosedHands:
    """Hands with angles uniform within their limits, turned any way, 1 m ahead."""
    rng = np.random.default_rng(seed)
    angles = torch.tensor(rng.uniform(ANGLE_LOW, ANGLE_HIGH, (n, len(ANGLE_LOW))))
    right = hand if hand.side == "right" else hand.mirrored()
    fingers = JointModel.from_hand(right).finger_rotations(angles)
    rotvecs = roma.rotmat_to_rotvec(fingers)
    if hand.side == "left":
        rotvecs = rotvecs * torch.tensor([1.0, -1.0, -1.0])
    turn = torch.tensor(rng.normal(0, 1.5, (n, 3)))
    pose = torch.cat([turn, rotvecs.flatten(1) - hand.hands_mean], 1).float()
    if shape is None:
        shape = np.clip(rng.normal(0, 1, (n, 10)), -2, 2)
    shape = torch.tensor(shape, dtype=torch.float32)
    trans_m = torch.tensor(rng.normal(0, 0.1, (n, 3)) + [0, 0, 1], dtype=torch.float32)
    vertices_mm = hand.skin(pose, shape, trans_m) * 1000
    joints_mm = hand.joints(vertices_mm)
    return PosedHands(
        *(values.numpy() for values in (pose, shape, trans_m, vertices_mm, joints_mm))
    )


def fit_vertices(hand: HandModel, fits: HandFits) -> np.ndarray:
    """The meshes of fits, mm."""
    parameters = (fits.pose, fits.shape, fits.trans_m)
    return hand.skin(*map(torch.from_numpy, parameters)).numpy() * 1000
