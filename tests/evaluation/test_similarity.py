"""Which frames resemble each other: neighbours, maps and clusters with known answers."""

import numpy as np
import pandas as pd
import pytest

from digit.evaluation import similarity
from digit.skeleton import N_JOINTS, WRISTS

RIGHT = slice(0, 21)
LEFT = slice(21, 42)


def hands(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Joints of n random two-handed frames, all known."""
    joints_mm = np.random.default_rng(seed).normal(0, 30, (n, N_JOINTS, 3))
    return joints_mm, np.ones((n, N_JOINTS), bool)


# Poses


def test_the_same_pose_elsewhere_is_the_same():
    joints_mm, valid = hands(5)
    joints_mm[3] = joints_mm[1] + [40, -20, 700]
    distances = similarity.pose_vectors(joints_mm, valid).distances_to(1)
    assert distances[3] == pytest.approx(0, abs=1e-2)
    assert (np.delete(distances, [1, 3]) > 10).all()


def test_a_pose_distance_is_the_root_mean_square_of_a_hand():
    joints_mm, valid = hands(2)
    joints_mm[1] = joints_mm[0]
    not_wrist = np.setdiff1d(np.arange(21), WRISTS)
    joints_mm[1, not_wrist, 0] += 10
    distance = similarity.pose_vectors(joints_mm, valid).distances_to(0)[1]
    assert distance == pytest.approx(10 * np.sqrt(20 / 21), rel=1e-3)


def test_a_pose_tells_where_the_other_hand_is():
    joints_mm, valid = hands(2)
    joints_mm[1] = joints_mm[0]
    joints_mm[1, LEFT] += [210, 0, 0]
    distance = similarity.pose_vectors(joints_mm, valid).distances_to(0)[1]
    assert distance == pytest.approx(210 / np.sqrt(21), rel=1e-3)


def test_frames_with_the_same_hands_come_first():
    joints_mm, valid = hands(6)
    valid[[0, 2, 4], LEFT] = False
    nearest = similarity.pose_vectors(joints_mm, valid).nearest(0, 2)
    assert set(nearest) == {2, 4}


def test_unknown_joints_are_no_difference_but_finite():
    joints_mm, valid = hands(4)
    joints_mm[2] = joints_mm[0]
    joints_mm[2, 3] = np.nan
    valid[2, 3] = False
    vectors = similarity.pose_vectors(joints_mm, valid)
    assert np.isfinite(vectors.distances_to(0)).all()
    assert vectors.nearest(0, 1).tolist() == [2]


# Errors and features


def test_frames_with_the_same_wrong_joints_are_neighbours():
    errors_mm = np.full((6, N_JOINTS), 5.0)
    errors_mm[[1, 4], 0:4] = 80  # thumbs
    errors_mm[[2, 5], 16:20] = 80  # little fingers
    errors_mm[:, LEFT] = np.nan
    vectors = similarity.error_vectors(errors_mm)
    assert vectors.nearest(1, 1).tolist() == [4]
    assert vectors.nearest(5, 1).tolist() == [2]
    assert vectors.distances_to(1)[4] == 0


def test_each_feature_counts_in_its_own_spread():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (200, 4)) * [1e-3, 1, 1, 1e3]
    features[7] = features[3]
    features[7, 3] += 1e-2  # nothing beside its spread
    constant = np.ones((200, 1))
    vectors = similarity.feature_vectors(np.hstack([features, constant]))
    assert vectors.content.shape == (200, 4)
    assert vectors.nearest(3, 1).tolist() == [7]
    typical = np.median(vectors.distances_to(3))
    assert typical == pytest.approx(np.sqrt(2), rel=0.3)


# Maps


def test_a_map_of_frames_on_a_line_is_that_line():
    t = np.linspace(-1, 1, 50)
    content = np.outer(t, [3, 4, 0]).astype(np.float32)
    found = similarity.frame_map(
        similarity.FrameVectors(content, np.zeros((50, 0), np.float32))
    )
    np.testing.assert_allclose(np.abs(found.points[:, 0]), 5 * np.abs(t), atol=1e-4)
    np.testing.assert_allclose(found.explained, [1, 0], atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (4, 0), (4, 1)])
def test_maps_of_little_are_finite(shape):
    vectors = similarity.FrameVectors(
        np.ones(shape, np.float32), np.zeros((shape[0], 0), np.float32)
    )
    found = similarity.frame_map(vectors)
    assert found.points.shape == (shape[0], 2)
    assert np.isfinite(found.points).all()


# Clusters


@pytest.fixture
def three_kinds():
    """400 frames; the worst fifth are three kinds of failures in distant places."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2, 3], [320, 30, 25, 25])
    places = np.array([[0, 0, 0], [30, 0, 0], [0, 30, 0], [0, 0, 30]])
    content = places[kind] + rng.normal(0, 1, (400, 3))
    table = pd.DataFrame(
        {
            "mpjpe": np.where(kind > 0, 90.0, 10.0) + rng.uniform(0, 5, 400),
            "hand_type": np.array(["right", "interacting", "interacting", "left"])[
                kind
            ],
            "family": np.array(["rest", "two:clasp", "two:touch", "one:fist"])[kind],
            "hidden": np.array([0.1, 0.6, 0.2, 0.05])[kind],
        }
    )
    hands = np.zeros((400, 0), np.float32)
    return table, similarity.FrameVectors(content.astype(np.float32), hands), kind


def test_clusters_are_the_kinds_of_failures_named_by_what_they_share(three_kinds):
    table, vectors, kind = three_kinds
    names = similarity.failure_clusters(table, vectors)
    assert (names[kind == 0] == "").all()
    found = [names[kind == k].unique() for k in (1, 2, 3)]
    assert all(len(of_kind) == 1 for of_kind in found)
    [clasp], [touch], [fist] = found
    assert "clasp" in clasp
    assert "more than 40 % hidden" in clasp
    assert "touch" in touch
    assert "left hand" in fist


def test_frames_without_an_error_are_in_no_cluster(three_kinds):
    table, vectors, kind = three_kinds
    table.loc[kind == 1, "mpjpe"] = np.nan
    names = similarity.failure_clusters(table, vectors)
    assert (names[kind == 1] == "").all()
    table["mpjpe"] = np.nan
    assert (similarity.failure_clusters(table, vectors) == "").all()


def test_equal_frames_are_one_cluster_without_a_common_trait():
    table = pd.DataFrame({"mpjpe": np.linspace(1, 2, 50)})
    content = np.zeros((50, 3), np.float32)
    vectors = similarity.FrameVectors(content, np.zeros((50, 0), np.float32))
    names = similarity.failure_clusters(table, vectors)
    assert set(names) == {"", similarity.MIXED}
    assert (names != "").sum() == 10
