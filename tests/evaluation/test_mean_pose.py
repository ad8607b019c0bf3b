"""The mean-pose baseline measures what it claims to."""

import numpy as np
import pytest

from digit.evaluation.error_table import error_table
from digit.evaluation.mean_pose import mean_pose_predictions
from digit.skeleton import JOINTS, WRISTS


def valid_joints(index):
    """Joints that count: annotated, and their wrist too."""
    valid = index["joint_valid"].copy()
    valid[:, :21] &= valid[:, 20:21]
    valid[:, 21:] &= valid[:, 41:]
    return valid


@pytest.mark.parametrize("root_depth", ["gt", "rootnet"])
def test_errors_are_distances_to_the_mean_pose(original, root_depth):
    predictions = mean_pose_predictions(original, original, root_depth)
    table = error_table(original, predictions, root_depth)
    joints = original["joints_cam_mm"]
    valid = valid_joints(original)
    relative = joints - np.repeat(joints[:, WRISTS], 21, axis=1)
    mean = (relative * valid[..., None]).sum(0) / valid[..., None].sum(0)
    error = np.linalg.norm(relative - mean, axis=-1)
    for j, name in enumerate(JOINTS):
        rows = valid[:, j]
        found = table[f"error_{name}"].to_numpy()[rows]
        np.testing.assert_allclose(found, error[rows, j], atol=0.05)
    assert table["probability_right"].nunique() == 1


def test_mrrpe_is_the_distance_to_the_mean_vector(original):
    table = error_table(original, mean_pose_predictions(original, original))
    joints = original["joints_cam_mm"]
    both = (original["hand_type"] == 2) & valid_joints(original)[:, WRISTS].all(1)
    vectors = joints[both, 41] - joints[both, 20]
    expected = np.linalg.norm(vectors - vectors.mean(0), axis=-1)
    np.testing.assert_allclose(table["mrrpe"].to_numpy()[both], expected, atol=0.05)


def test_a_hand_without_a_wrist_is_nowhere(original):
    # Else the place of what is not annotated would be projected, however far away.
    predictions = mean_pose_predictions(original, original)
    of_hand = predictions.joints_25d.reshape(-1, 2, 21, 3)
    has_wrist = valid_joints(original)[:, WRISTS]
    assert not has_wrist.all()
    assert (of_hand[~has_wrist] == 0).all()
    assert (of_hand[has_wrist] != 0).any((1, 2)).all()
