"""Frames like the one that is shown, maps of all frames, and clusters of failures.

What resembles what is decided in `digit.evaluation.similarity`; here the failure browser
gets it as columns of its table: a distance to sort by, places on a map, cluster names.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from digit.evaluation import similarity
from digit.evaluation.metrics import ERRORS
from digit.evaluation.similarity import ERROR_PATTERN, FEATURES, POSE, FrameVectors
from digit.widgets.frame_filter import FilterState

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

DISTANCE = "distance_to_chosen"
CLUSTER = "cluster"
MAP_COLUMNS = "map_{}_{}"  # space, axis

# What the spaces are called on the page
SPACE_TITLES = {
    FEATURES: "what the network sees",
    POSE: "pose",
    ERROR_PATTERN: "error pattern",
}


class SimilarFrames:
    """Answers the page's requests about similar frames.

    Args:
        browser: The failure browser whose frames are compared.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.vectors = cache(self._vectors)
        self._like: tuple[str, int] | None = None  # what the distances belong to
        self.answers = {"like": self._answer_like, "map": self._answer_map}

    def spaces(self) -> dict[str, str]:
        """The spaces that frames can be compared in, and their titles."""
        found = {}
        for space, title in SPACE_TITLES.items():
            try:
                self._check(space)
            except ValueError:
                continue
            found[space] = title
        return found

    def _check(self, space: str) -> None:
        """Raise ValueError if frames cannot be compared in a space."""
        if space not in SPACE_TITLES:
            raise ValueError(
                f"There is no space “{space}”; choose one of {', '.join(SPACE_TITLES)}."
            )
        predictions = self.browser.models[0].predictions
        if space == FEATURES and (predictions is None or predictions.features is None):
            raise ValueError(
                "The network's features are not beside this table: make it again from "
                "a checkpoint with digit evaluate --errors."
            )
        if space == POSE and self.browser.frames.reader is None:
            raise ValueError("Poses need the data set, which is not at hand.")

    def _vectors(self, space: str) -> FrameVectors:
        """The vectors of all rows of the table in a space."""
        self._check(space)
        table = self.browser.table
        if space == ERROR_PATTERN:
            return similarity.error_vectors(table[ERRORS].to_numpy(float))
        if space == FEATURES:
            predictions = self.browser.models[0].predictions
            order = pd.Index(predictions.image_id).get_indexer(table["image_id"])
            return similarity.feature_vectors(predictions.features[order])
        # A frame that the data set does not have has no known joint.
        index = self.browser.frames.reader.index
        rows = self.browser.frames.index_rows
        valid = index["joint_valid"][rows] & (rows >= 0)[:, None]
        return similarity.pose_vectors(index["joints_cam_mm"][rows], valid)

    def set_distances(self, state: FilterState) -> FilterState:
        """Give the table the distances that a filter asks for.

        Returns:
            The filter; where it is no longer about a frame, it sorts by the error.
        """
        if state.like is None:
            if state.sort == DISTANCE:
                state = state._replace(sort="mpjpe", descending=True)
            return state
        space, image_id = state.like
        if self._like == (space, image_id):
            return state
        # The first frame of that id; it may be listed twice.
        table = self.browser.table
        found = np.flatnonzero(table["image_id"].to_numpy() == image_id)
        if len(found) == 0:
            raise ValueError(f"There is no frame of image {image_id}.")
        table[DISTANCE] = self.vectors(space).distances_to(int(found[0]))
        self._like = (space, image_id)
        return state

    def find_clusters(self, space: str) -> None:
        """Group the failures of the table; their names become the column `cluster`."""
        table = self.browser.table
        table[CLUSTER] = similarity.failure_clusters(table, self.vectors(space))

    def _answer_like(self, space: str) -> None:
        """Order all frames that pass by their likeness to the one that is shown."""
        browser = self.browser
        is_new = DISTANCE not in browser.table
        image_id = int(browser.table["image_id"].iloc[browser.current_row()])
        browser.filter(
            like=(space, image_id), sort=DISTANCE, descending=False, chosen=None
        )
        if is_new:
            browser.send_columns()
        browser.send_frames()

    def make_columns(self, names: Iterable[str]) -> None:
        """Make those columns of maps that the table does not have yet."""
        table = self.browser.table
        for space in SPACE_TITLES:
            columns = [MAP_COLUMNS.format(space, axis) for axis in (1, 2)]
            if columns[0] in table or not set(columns) & set(names):
                continue
            found = similarity.frame_map(self.vectors(space))
            for column, values in zip(columns, found.points.T, strict=True):
                table[column] = values

    def _answer_map(self, space: str) -> None:
        """Plot all frames that pass on a map, coloured by their error."""
        browser = self.browser
        x, y = (MAP_COLUMNS.format(space, axis) for axis in (1, 2))
        is_new = x not in browser.table
        self._check(space)
        self.make_columns([x, y])
        browser.axes = browser.axes._replace(x=x, y=y, color="mpjpe")
        if is_new:
            browser.send_columns()
        browser.send_charts()
