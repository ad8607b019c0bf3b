"""Columns of the error table that explain errors: swapped hands, views of the palms."""

import numpy as np
import torch
from scoring import perfect_predictions

from digit.data.index import open_index
from digit.evaluation.error_table import error_table
from digit.skeleton import SWAP_JOINTS


def test_the_table_tells_swapped_joints(tiny_root):
    index = open_index(tiny_root, "train").usable()
    right = perfect_predictions(index)
    table = error_table(index, right)
    two = (table["hand_type"] == "interacting").to_numpy()
    assert (table["joints_swapped"][two] == 0).all()
    assert table["joints_swapped"][~two].isna().all()

    swapped_px = right.joints_25d[:, SWAP_JOINTS, :2]
    swapped = np.concatenate([swapped_px, right.joints_25d[..., 2:]], -1)
    table = error_table(index, right._replace(joints_25d=swapped))
    assert (table["joints_swapped"][two] == 1).all()


def test_the_table_tells_from_which_side_a_palm_is_seen(tiny_root):
    index = open_index(tiny_root, "train").usable()
    perfect = perfect_predictions(index)
    table = error_table(index, perfect)
    for side, hand in enumerate(("right", "left")):
        view_deg = table[f"palm_view_{hand}_deg"]
        has_hand = np.isin(table["hand_type"], [hand, "interacting"])
        assert view_deg[has_hand].between(0, 180).all()
        assert view_deg[~has_hand].isna().all()

        # From the right palm, the index finger comes clockwise after the little one.
        joints_mm = torch.tensor(index["joints_cam_mm"][has_hand])
        joints_mm = joints_mm[:, 21 * side : 21 * side + 21]
        wrist_px = joints_mm[:, 20, :2] / joints_mm[:, 20, 2:]
        index_px = joints_mm[:, 7, :2] / joints_mm[:, 7, 2:] - wrist_px
        pinky_px = joints_mm[:, 19, :2] / joints_mm[:, 19, 2:] - wrist_px
        turn = index_px[:, 0] * pinky_px[:, 1] - index_px[:, 1] * pinky_px[:, 0]
        turn = turn.numpy() * (1 - 2 * side)
        agrees = (turn < 0) == (view_deg[has_hand] < 90)
        assert agrees.mean() > 0.9
