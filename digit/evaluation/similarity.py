"""Which frames resemble each other: by the network's features, the pose, or the error.

The failure browser orders frames by their distance to a chosen one, draws a map of all
frames, and groups the failures into clusters that are named by what they share.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int

from digit.skeleton import JOINTS_PER_HAND, WRISTS

FEATURES, POSE, ERROR_PATTERN = SPACES = ("features", "pose", "errors")

# How far a hand that is there is from one that is not, in mm: further than poses of one
# hand, or errors of a usable network, are apart. By eye.
MISSING_HAND_POSE_MM = 200.0
MISSING_HAND_ERROR_MM = 60.0

FAILURE_SHARE = 0.2  # the worst frames that are clustered
CLUSTER_DIMENSIONS = 10  # principal components that clusters are formed in
MOST_CLUSTERS = 8
LEAST_CLUSTERS = 3
LEAST_FRAMES = 3  # of a cluster; smaller ones have nothing in common but chance
SILHOUETTE_FRAMES = 2000  # more are sampled: the score takes the square of them

# A cluster is named by what most of its frames share and fewer of the other failures.
# By eye.
LEAST_SHARED = 0.6
LEAST_EXCESS = 0.15
MOST_WORDS = 3
MIXED = "mixed"


class FrameVectors(NamedTuple):
    """What n frames are compared by: Euclidean distances between the rows.

    Attributes:
        content: Pose, errors or features, the mean over all frames taken away; zero
            where something is unknown.
        hands: Which hands there are, scaled by how much that counts. Neighbours are
            found with it; the map and the clusters leave it out, as it would hide all
            else.
    """

    content: Float32[np.ndarray, "n d"]
    hands: Float32[np.ndarray, "n h"]

    def distances_to(self, row: int) -> Float32[np.ndarray, "n"]:
        """The distance of every frame to that of a row."""
        squared = ((self.content - self.content[row]) ** 2).sum(1)
        squared += ((self.hands - self.hands[row]) ** 2).sum(1)
        return np.sqrt(squared)

    def nearest(self, row: int, count: int) -> Int[np.ndarray, "k"]:
        """The nearest frames to that of a row, itself left out, the nearest first."""
        order = np.argsort(self.distances_to(row), kind="stable")
        return order[order != row][:count]


class FrameMap(NamedTuple):
    """Frames on a plane: their first two principal components."""

    points: Float32[np.ndarray, "n 2"]
    explained: Float[np.ndarray, "2"]  # share of the variance along each axis


def feature_vectors(features: Float[np.ndarray, "n d"]) -> FrameVectors:
    """Frames by features of a network.

    Args:
        features: Any numbers of each frame, for instance `Predictions.features`.

    Returns:
        Vectors whose distance is the root mean square difference of the features, each
        in its own standard deviations.
    """
    features = np.asarray(features, np.float32)
    centred = features - features.mean(0)
    spread = features.std(0)
    varies = spread > 0  # a feature that is never active tells nothing
    content = centred[:, varies] / spread[varies]
    content /= np.sqrt(max(1, content.shape[1]))
    return FrameVectors(content, np.zeros((len(features), 0), np.float32))


def pose_vectors(
    joints_mm: Float[np.ndarray, "n 42 3"], joint_valid: Bool[np.ndarray, "n 42"]
) -> FrameVectors:
    """Frames by their pose: joints relative to their own wrist, along the camera's axes.

    Args:
        joints_mm: Joints in the camera frame.
        joint_valid: Which of them are known.

    Returns:
        Vectors whose squared distance is the sum over both hands of the mean squared
        distance of their joints (mm²), plus that of the vectors from wrist to wrist,
        which counts as one joint does.
    """
    # 1. Joints relative to their wrist; unknown where the wrist is.
    hands_mm = joints_mm.reshape(-1, 2, JOINTS_PER_HAND, 3)
    valid = joint_valid.reshape(-1, 2, JOINTS_PER_HAND)
    has_wrist = valid[..., -1:]
    relative_mm = hands_mm - hands_mm[..., -1:, :]
    relative_mm = np.where((valid & has_wrist)[..., None], relative_mm, np.nan)

    # 2. The left wrist from the right one
    right, left = WRISTS
    between_mm = joints_mm[:, left] - joints_mm[:, right]
    both = joint_valid[:, right] & joint_valid[:, left]
    between_mm = np.where(both[:, None], between_mm, np.nan)

    # 3. One vector a frame
    columns = np.concatenate([relative_mm.reshape(len(joints_mm), -1), between_mm], 1)
    return FrameVectors(
        content=_centred(columns / np.sqrt(JOINTS_PER_HAND)),
        hands=_presence(has_wrist[..., 0], MISSING_HAND_POSE_MM),
    )


def error_vectors(errors_mm: Float[np.ndarray, "n 42"]) -> FrameVectors:
    """Frames by their error pattern: which joints are wrong, and by how much.

    Args:
        errors_mm: The error of each joint; NaN where it is not known.

    Returns:
        Vectors whose squared distance is the sum over both hands of the mean squared
        difference of their joints' errors (mm²).
    """
    known = np.isfinite(errors_mm).reshape(-1, 2, JOINTS_PER_HAND)
    return FrameVectors(
        content=_centred(errors_mm / np.sqrt(JOINTS_PER_HAND)),
        hands=_presence(known.any(-1), MISSING_HAND_ERROR_MM),
    )


def _centred(columns: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Columns less the mean of their known values; zero where unknown."""
    known = np.isfinite(columns)
    sums = np.where(known, columns, 0).sum(0)
    mean = sums / np.maximum(1, known.sum(0))
    return np.where(known, columns - mean, 0).astype(np.float32)


def _presence(
    present: Bool[np.ndarray, "n 2"], distance: float
) -> Float32[np.ndarray, "n 2"]:
    return (present * distance).astype(np.float32)


def frame_map(vectors: FrameVectors) -> FrameMap:
    """The frames on the plane of their first two principal components.

    Near each other there are frames that are alike; the directions have no meaning of
    their own.
    """
    # Frames that are all alike lie on one point.
    content = vectors.content
    points = np.zeros((len(content), 2), np.float32)
    explained = np.zeros(2)
    count = min(2, *content.shape)
    if count > 0 and np.ptp(content, 0).max() > 0:
        from sklearn.decomposition import PCA  # when asked for: see _clustered

        pca = PCA(count, svd_solver="covariance_eigh")
        points[:, :count] = pca.fit_transform(content)
        explained[:count] = np.nan_to_num(pca.explained_variance_ratio_)
    return FrameMap(points, explained)


def failure_clusters(
    table: pd.DataFrame, vectors: FrameVectors, share: float = FAILURE_SHARE
) -> pd.Series:
    """Group the worst frames by resemblance, and name each group by what it shares.

    k-means on the first principal components of the worst frames, with the number of
    clusters, from 3 to 8, that has the best silhouette.

    Args:
        table: An error table.
        vectors: Its frames.
        share: Share of the frames with a known MPJPE that count as failures.

    Returns:
        For each row the cluster's name, "" for frames that are no failures; "mixed"
        for clusters that share nothing or have fewer than three frames.
    """
    # 1. The failures
    errors_mm = table["mpjpe"].to_numpy(float)
    names = pd.Series("", table.index, dtype=object)
    known = np.isfinite(errors_mm)
    if not known.any():
        return names
    limit_mm = np.quantile(errors_mm[known], 1 - share)
    failures = np.flatnonzero(known & (errors_mm >= limit_mm))

    # 2. Clusters, the largest first
    labels = _clustered(vectors.content[failures])
    by_size = [label for label, _ in Counter(labels.tolist()).most_common()]

    # 3. Their names; those that share the same are numbered, the smallest are put
    #    together
    properties = frame_properties(table.iloc[failures])
    used: Counter = Counter()
    for label in by_size:
        inside = labels == label
        if inside.sum() < LEAST_FRAMES:
            names.iloc[failures[inside]] = MIXED
            continue
        name = shared_words(properties, inside)
        used[name] += 1
        if used[name] > 1:
            name = f"{name} ({used[name]})"
        names.iloc[failures[inside]] = name
    return names


def _clustered(content: Float32[np.ndarray, "n d"]) -> Int[np.ndarray, "n"]:
    """The cluster of each frame."""
    # It takes a second and 90 MB to load, and most sessions ask for no cluster.
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    # 1. Few dimensions: distances in many tell little.
    one_cluster = np.zeros(len(content), int)
    most = min(MOST_CLUSTERS, len(content) // 4)  # four frames a cluster or more
    dimensions = min(CLUSTER_DIMENSIONS, *content.shape)
    if most < 2 or np.ptp(content, 0).max(initial=0) == 0:
        return one_cluster
    points = PCA(dimensions, svd_solver="full").fit_transform(content)

    # 2. As many clusters as separate best
    best, best_score = one_cluster, -1.0
    for count in range(min(LEAST_CLUSTERS, most), most + 1):
        labels = KMeans(count, n_init=3, random_state=0).fit_predict(points)
        if len(np.unique(labels)) < 2:
            continue
        sample = min(len(points), SILHOUETTE_FRAMES)
        score = silhouette_score(points, labels, sample_size=sample, random_state=0)
        if score > best_score:
            best, best_score = labels, score
    return best


def frame_properties(table: pd.DataFrame) -> pd.DataFrame:
    """What frames may share, as a column of truth values for each property in words.

    Properties whose columns the table lacks are left out.
    """
    found = {**_seen_properties(table), **_mistakes(table)}
    if "family" in table:
        families = table["family"].astype(str).str.split(":").str[-1]
        for family in families.unique():
            found[family.replace("_", " ")] = families == family
    if "camera" in table:
        for camera in table["camera"].unique():
            found[f"camera {camera}"] = table["camera"] == camera
    return pd.DataFrame(found, index=table.index).fillna(False).astype(bool)


def _seen_properties(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Which hands are seen, from which side, and how much of them is hidden."""
    found = {}
    if "hand_type" in table:
        words = {"interacting": "two hands", "right": "right hand", "left": "left hand"}
        for hand_type, word in words.items():
            found[word] = table["hand_type"] == hand_type
    views = [name for name in table if str(name).startswith("palm_view_")]
    if views:
        view_deg = table[views].mean(axis=1)
        found["palm to the camera"] = view_deg < 60
        found["seen from the side"] = view_deg.between(60, 120)
        found["back to the camera"] = view_deg > 120
    if "hidden" in table:
        found["hardly hidden"] = table["hidden"] < 0.15
        found["more than 40 % hidden"] = table["hidden"] > 0.4
    return found


def _mistakes(table: pd.DataFrame) -> dict[str, pd.Series]:
    """What was mistaken for something else."""
    found = {}
    if "handedness_correct" in table:
        found["hand type wrong"] = table["handedness_correct"] == 0
    if "joints_swapped" in table:
        found["hands swapped"] = table["joints_swapped"] == 1
    return found


def shared_words(properties: pd.DataFrame, inside: Bool[np.ndarray, "n"]) -> str:
    """What sets some frames apart, in words.

    Args:
        properties: Truth values of all frames, see `frame_properties`.
        inside: The frames to name.

    Returns:
        Up to three properties that at least 60 % of the frames have and fewer of the
        others, those with the largest excess first; "mixed" if there is none.
    """
    of_these = properties[inside].mean()
    of_all = properties.mean()
    excess = of_these - of_all
    names_it = (of_these >= LEAST_SHARED) & (excess >= LEAST_EXCESS)
    words = excess[names_it].sort_values(ascending=False).index[:MOST_WORDS]
    return ", ".join(words) or MIXED
