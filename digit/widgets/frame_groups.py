"""Groups of frames as a table, and films of a sequence, for the failure browser's page."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from digit.evaluation.groups import (
    GROUP_COLUMNS,
    Group,
    group_statistics,
    sequence_rows,
)
from digit.widgets.columns import axis_title, describe
from digit.widgets.messages import plain_numbers
from digit.widgets.similar_frames import CLUSTER

if TYPE_CHECKING:
    from digit.widgets.failure_browser import FailureBrowser

CLUSTERS_BY = "clusters by "  # and the space
MOST_GROUPS = 500  # that are sent to the page


class FrameGroups:
    """Answers the page's requests about groups and films.

    Args:
        browser: The failure browser whose frames are grouped.
    """

    def __init__(self, browser: "FailureBrowser") -> None:
        self.browser = browser
        self.answers = {"groups": self._answer_groups, "film": self._answer_film}

    def offered(self) -> list[dict[str, str]]:
        """What the page can group by: `value` and `title`."""
        table = self.browser.table
        columns = [name for name in GROUP_COLUMNS if name in table]
        offered = [{"value": name, "title": describe(name).title} for name in columns]
        for space, title in self.browser.similar.spaces().items():
            words = f"clusters of failures, by {title}"
            offered.append({"value": CLUSTERS_BY + space, "title": words})
        return offered

    def _answer_groups(self, by: str, metric: str = "mpjpe") -> None:
        """A table of the groups among the frames that pass."""
        browser = self.browser
        # 1. Clusters are made when they are asked for
        column = by
        if by.startswith(CLUSTERS_BY):
            column = CLUSTER
            browser.similar.find_clusters(by.removeprefix(CLUSTERS_BY))
            browser.send_columns()
        for name in (column, metric):
            if name not in browser.table:
                raise ValueError(f"There is no column “{name}” to group by.")

        # 2. A group that was chosen leaves the others in the table.
        ranges = [given for given in browser.state.ranges if given[0] != column]
        state = browser.state._replace(ranges=ranges, chosen=None)
        frames = browser.table.iloc[browser.filters.apply(state).rows]
        if column == CLUSTER:
            frames = frames[frames[CLUSTER] != ""]
        groups = group_statistics(frames, column, metric)

        # 3. As JSON
        content = {
            "kind": "groups",
            "by": by,
            "column": column,
            "metric": metric,
            "title": describe(column).title,
            "metric_title": axis_title(metric),
            "groups": [_as_record(group) for group in groups[:MOST_GROUPS]],
            "left_out": max(0, len(groups) - MOST_GROUPS),
        }
        browser.send(content)

    def _answer_film(self) -> None:
        """The film of the frame that is shown, with each model's error over time."""
        browser = self.browser
        row = browser.current_row()
        rows = sequence_rows(browser.table, row)
        frames = browser.table.iloc[rows]
        errors = [frames["mpjpe"].to_numpy(float)]
        if "mpjpe_b" in frames:
            errors.append(frames["mpjpe_b"].to_numpy(float))
        frame = frames.iloc[0]
        content = {
            "kind": "film",
            "title": f"{frame['seq_name']}, camera {frame['camera']}",
            "rows": rows.tolist(),
            "instants": frames["frame_idx"].astype(int).tolist(),
            "errors": [plain_numbers(of_model) for of_model in errors],
        }
        browser.send(content)


def _as_record(group: Group) -> dict[str, Any]:
    """A group as JSON values; None where a number is not known."""
    record = group._asdict()
    for name, value in record.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        record[name] = value
    return record
