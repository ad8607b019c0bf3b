"""The failure browser: a widget over an error table, its frames and one or two networks.

The kernel filters, runs the network and paints; browser.js shows what it is sent (`_send_…`) and
sends back what is clicked (`_do_…`). What goes wrong with a frame or a filter becomes a sentence
in the widget.
"""

import base64
import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import anywidget
import cv2
import numpy as np
import pandas as pd
import plotly
from jaxtyping import Bool, UInt8

from digit.data.index import open_index
from digit.evaluation.bootstrap import paired_difference
from digit.evaluation.metrics import ERRORS
from digit.files import write_text
from digit.plots import overlays
from digit.plots.style import CHAINS, LINE_COLORS, PLOTLY, finger_color
from digit.skeleton import JOINTS, LABELS, SIDES
from digit.widgets.frame_view import Frames, Model, Shot, Source, sentence
from digit.widgets.notes import Marks

ASSETS = Path(__file__).parent
PER_PAGE, PAGE_LIMIT = 18, 200
SLICES = {  # name → what `DataFrame.eval` is asked; those of missing columns are left out
    "interacting": "hand_type == 'interacting'",
    "single": "hand_type != 'interacting'",
    "worst 5 %": "mpjpe >= mpjpe.quantile(0.95)",
    "swapped hands": "joints_swapped == 1",
    "hand type wrong": "handedness_correct == 0",
    "wrong hand painted": "wrong_hand_share > 0.5",
    "heavily hidden": "hidden > 0.5",
    "hands touch": "hands_distance_mm < 1",
    "unsure": "heatmap_entropy >= heatmap_entropy.quantile(0.95)",
    "no error": "mpjpe != mpjpe",
    "tagged": "tags != ''",
    "noted": "note != ''",
    "B better": "mpjpe_change < 0",
    "A better": "mpjpe_change > 0",
    "changed most": "changed >= changed.quantile(0.95)",
}
TAGS = (
    "wrong hand",
    "hidden",
    "bad label",
    "look again",
)  # offered beside those in use


def _plain(values: Any) -> list:
    """Tenths, as lists, NaN as None: JSON has no other."""
    array = np.round(np.asarray(values, float), 1)
    return np.where(np.isfinite(array), array.astype(object), None).tolist()


def jpeg(picture: UInt8[np.ndarray, "h w 3"], quality: int = 88) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[
        1
    ].tobytes()


def _finger_colors() -> list[list[str]]:
    return [[finger_color(finger, side) for finger in range(6)] for side in (0, 1)]


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of one number or word a frame, and the hidden share of the hands."""
    first = table.iloc[0] if len(table) else {}
    table = table[
        [name for name in table if not isinstance(first.get(name), np.ndarray)]
    ]
    ways = [f"{side}_hidden_by_{by}" for side in SIDES for by in ("other", "itself")]
    if {*ways, "hand_type"} <= set(table):
        hands = 1 + (table["hand_type"] == "interacting")
        table = table.assign(hidden=table[ways].sum(axis=1) / hands)
    return table.reset_index(drop=True)


class FailureBrowser(anywidget.AnyWidget):
    """Every frame of an error table to look at: show it in a notebook, use its filters and keys.

    `table`: an error table, its file (`digit evaluate --errors`), or a run's folder, whose best
    checkpoint is then used. `root`: the data set; without it there are no pictures. `checkpoint`
    adds the network's layers; `notes` is the file of tags and notes, by default beside the table.
    `slices`: further buttons, name → condition (`DataFrame.eval`). Raises FileNotFoundError and
    ValueError for files that are missing or no such thing; rows that the data set does not have are
    listed without a picture, and said.
    """

    _esm = (ASSETS / "failure_browser.js").read_text()
    _css = (ASSETS / "failure_browser.css").read_text()

    def __init__(
        self,
        table: Source,
        root: Path | str | None = None,
        checkpoint: Path | str | None = None,
        notes: Path | str | None = None,
        split: str = "test",
        slices: Mapping[str, str] | None = None,
    ):
        super().__init__()
        self.models, self.slices, self.verdict = [], SLICES | dict(slices or {}), ""
        self.models.append(first := Model(table, checkpoint, split))
        attributes = first.table.attrs
        self.split, self.depth = (
            attributes.get("split", split),
            attributes.get("root_depth", "gt"),
        )
        self.table = _flat(first.table)
        self.said = self._open_frames(root)
        if notes is None and first.path is not None:
            notes = first.path.with_suffix(".notes.json")
        self.marks = Marks(None if notes is None else Path(notes))
        try:
            self.marks.read()
        except ValueError as error:
            self.said += str(error)
        self._mark_columns()
        self.state = {
            "query": "",
            "slices": [],
            "ranges": [],
            "chosen": None,
            "page": 0,
        }
        self.state |= {"sort": "mpjpe", "descending": True}
        against = ("hidden", "heatmap_entropy", "error_depth")
        self.axes = {"x": next((n for n in against if n in self.table), "mpjpe")}
        self.axes |= {"y": "mpjpe", "bars": "mpjpe"}
        self.look = {
            "layer": "picture",
            "part": LABELS[1],
            "joint": JOINTS[4],
            "camera": False,
        }
        self._lock, self._ahead, self._jobs = (
            threading.RLock(),
            ThreadPoolExecutor(1),
            [],
        )
        self._forget()
        self.filter()
        self.on_msg(self._receive)

    def _open_frames(self, root: Path | str | None) -> str:
        """Find each row's frame in the data set; a sentence where that fails."""
        self.place = np.full(len(self.table), -1)
        if root is None:
            return "No data set was given: frames are listed without their pictures. "
        try:
            index = open_index(root, self.split)
        except (OSError, ValueError) as error:
            return f"{sentence(error)}. "
        self.place = pd.Index(index["image_id"]).get_indexer(self.table["image_id"])
        if "file_name" in self.table:
            other = index["file_name"][self.place] != self.table["file_name"].to_numpy(
                object
            )
            self.place = np.where(other, -1, self.place)
        self.frames = Frames(index, self.depth)
        unknown = int((self.place < 0).sum())
        text = f"{unknown} of {len(self.table)} rows are no frames of {root} ({self.split}): the "
        text += "table is of another data set or version. They have no picture; evaluate anew. "
        return text if unknown else ""

    def compare(
        self, second: Source, checkpoint: Path | str | None = None
    ) -> dict[str, float]:
        """Show a second model (B) beside the first (A); gives `metrics.paired_difference`."""
        other = Model(second, checkpoint, self.split)
        found = paired_difference(self.models[0].table, other.table)
        self.models[1:] = [other]
        error = other.table["mpjpe"].to_numpy()[other.row_of]
        self.table["mpjpe_b"] = self.table["image_id"].map(
            pd.Series(error, other.row_of.index)
        )
        self.table["mpjpe_change"] = self.table["mpjpe_b"] - self.table["mpjpe"]
        self.table["changed"] = self.table["mpjpe_change"].abs()
        low, high = (f"{found[end]:+.2f}".replace("-", "−") for end in ("low", "high"))
        change = f"{found['difference']:+.2f}".replace("-", "−")
        self.verdict = (
            f"A: {self.models[0].name}. B: {other.name}. MPJPE, B − A: {change} mm (95 % {low}…"
            f"{high}, {found['groups']:.0f} groups of frames resampled). B is better in "
            f"{found['better']:.0f}, A in {found['worse']:.0f} of {found['frames']:.0f} frames."
        )
        self._forget()
        self._hello()
        return found

    def _forget(self) -> None:
        self._shots = lru_cache(48)(lambda place: self.frames.shot(place, self.models))
        self._thumbnails = lru_cache(4096)(
            lambda place: jpeg(self.frames.thumbnail(place), 80)
        )

    # Frames

    def key(self, row: int) -> str:
        """What the tags and notes of a row of the table are kept under."""
        return self._keys[row]

    def _mark_columns(self) -> None:
        names = self.table["file_name" if "file_name" in self.table else "image_id"]
        self._keys = [f"{self.split}/{name}" for name in names]
        marks = [self.marks.of(key) for key in self._keys]
        self.table["tags"] = [", ".join(mark["tags"]) for mark in marks]
        self.table["note"] = [mark["note"] for mark in marks]

    def shot(self, row: int) -> Shot:
        """The frame of a row of the table; ValueError or KeyError says why there is none."""
        with self._lock:  # who comes second finds it made
            return self._shots(self._place(row))

    def _place(self, row: int) -> int:
        if self.place[row] < 0:
            raise ValueError(
                "The data set at hand has no such frame, so there is no picture."
            )
        return int(self.place[row])

    # Which frames

    def filter(self, **change: Any) -> pd.DataFrame:
        """The rows that pass, in order; what is not given stays as it is.

        `query` (as `DataFrame.eval`), `slices` (names), `ranges` ([column, low, high] or [column,
        word]), `chosen` (rows of the table, or None), `sort`, `descending`. ValueError says what is
        wrong with a query; the rows then stay.
        """
        state = self.state | {"page": 0} | change
        keep = np.ones(len(self.table), bool)
        for condition in [
            *(self.slices[name] for name in state["slices"]),
            state["query"],
        ]:
            keep &= self._holds(condition) if condition.strip() else True
        for column, *ends in state["ranges"]:
            values = self.table[column]
            inside = (
                values.between(*ends)
                if len(ends) == 2
                else values.astype(str) == ends[0]
            )
            keep &= inside.to_numpy(bool)
        order = self.table[state["sort"]].sort_values(
            ascending=not state["descending"], kind="stable", na_position="last"
        )
        self.around = order.index.to_numpy()[
            keep[order.index]
        ]  # before points are chosen
        chosen = state["chosen"]
        self.rows = (
            self.around if chosen is None else self.around[np.isin(self.around, chosen)]
        )
        self.state, self.at = state, 0
        return self.table.iloc[self.rows]

    def _holds(self, condition: str) -> Bool[np.ndarray, "n"]:
        try:
            found = self.table.eval(condition)
        except Exception as error:  # pandas' parser has many
            raise ValueError(f"Filter “{condition}”: {sentence(error)}.") from None
        if getattr(found, "dtype", None) != np.dtype(bool) or len(found) != len(
            self.table
        ):
            raise ValueError(
                f"Filter “{condition}” is no condition; write one as mpjpe > 50."
            )
        return found.to_numpy()

    # To and from the page

    def _receive(self, _, content: Mapping[str, Any], buffers: Sequence) -> None:
        arguments = dict(content)
        for job in self._jobs:  # the page comes first
            job.cancel()
        try:
            getattr(self, f"_do_{arguments.pop('do')}")(**arguments)
        except Exception as error:  # the widget outlives every frame and filter
            self._say(sentence(error))

    def _say(self, text: str) -> None:
        self.send({"kind": "say", "text": text})

    def _do_hello(self, plotly_there: bool) -> None:
        self._hello()
        if not plotly_there:  # 5 MB, once a page
            script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
            self.send({"kind": "plotly"}, buffers=[script.read_bytes()])

    def _hello(self) -> None:
        columns, able = {}, {}
        for name, values in self.table.items():
            if values.dtype.kind in "iuf":
                columns[name] = _plain(values.agg(["min", "max"]))
            elif name not in ("note", "file_name"):
                columns[name] = sorted(map(str, values.unique()))[:300]
        for name, condition in self.slices.items():
            try:
                able[name] = condition if len(self._holds(condition)) else ""
            except ValueError:
                continue  # of columns that this table does not have
        numbers = [name for name in columns if self.table[name].dtype.kind in "iuf"]
        self.send(
            {
                "kind": "state",
                "columns": columns,
                "numbers": numbers,
                "slices": able,
                "layers": ["picture", *overlays.LAYERS],
                "parts": LABELS,
                "joints": JOINTS,
                "per_page": PER_PAGE,
                "models": [m.name for m in self.models],
                "look": self.look,
                "said": self.said,
                "verdict": self.verdict,
                "tags": self._known_tags(),
                "colors": LINE_COLORS,
                "wrong": overlays.WRONG_COLORS,
                "fingers": _finger_colors(),
                "font": PLOTLY["font"],
                "chains": CHAINS,
            }
        )
        self._send_frames()

    def _do_filter(self, **change: Any) -> None:
        self.filter(**change)
        self._send_frames()

    def _send_frames(self) -> None:
        self._send_page()
        self._send_frame()
        self._send_charts()

    def _do_page(self, page: int) -> None:
        self.state["page"] = page
        self._send_page()

    def _send_page(self) -> None:
        first = self.state["page"] * PER_PAGE
        pictures, cells = [], []
        for row in self.rows[first : first + PER_PAGE].tolist():
            frame, fault = self.table.loc[row, [self.state["sort"], "tags", "note"]], ""
            try:
                pictures.append(self._thumbnails(self._place(row)))
            except Exception as error:
                pictures.append(b"")
                fault = sentence(error)
            value = frame.iloc[0]
            text = (
                f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
            )
            marked = bool(frame["tags"] or frame["note"])
            cells.append({"row": row, "text": text, "fault": fault, "marked": marked})
        state = self.state | {"chosen": self.state["chosen"] is not None}
        content = {"kind": "page", "cells": cells, "state": state}
        content |= {"shown": len(self.rows), "total": len(self.table)}
        self.send(content, buffers=pictures)

    def _do_axes(self, **axes: str) -> None:
        self.axes |= axes
        self._send_charts()

    def _send_charts(self) -> None:
        table = self.table.iloc[self.around]
        x, y, bars = (
            table[self.axes[name]].to_numpy(np.float32) for name in ("x", "y", "bars")
        )
        counts, edges = np.histogram(
            bars[np.isfinite(bars)], 40 if len(bars) > 1 else 1
        )
        two = (
            (table["hand_type"] == "interacting").to_numpy(np.uint8)
            if "hand_type" in table
            else 0
        )
        chosen = np.isin(self.around, self.rows).astype(np.uint8)
        arrays = (
            x,
            y,
            np.zeros(len(x), np.uint8) + two,
            self.around.astype(np.int32),
            chosen,
        )
        content = {"kind": "charts", "axes": self.axes, "counts": counts.tolist()}
        content |= {"edges": edges.tolist(), "unknown": int((~np.isfinite(bars)).sum())}
        self.send(content, buffers=[array.tobytes() for array in arrays])

    def _do_show(self, row: int) -> None:
        self.at = int(np.flatnonzero(self.rows == row)[0])
        self._send_frame()

    def _do_step(self, by: int) -> None:
        self.at = int(np.clip(self.at + by, 0, max(0, len(self.rows) - 1)))
        self._send_frame()
        if self.at // PER_PAGE != self.state["page"]:
            self._do_page(self.at // PER_PAGE)

    def _do_look(self, **look: Any) -> None:
        self.look |= look
        self._send_frame()

    def _send_frame(self) -> None:
        if not len(self.rows):
            text = "No frame passes. Take a part of the filter away, or press “clear”."
            self.send({"kind": "frame", "row": None, "fault": text})
            return
        row = int(self.rows[self.at])
        content, pictures = self._describe(row, **self.look)
        pictures = [jpeg(picture) for picture in pictures]
        content |= {"kind": "frame", "at": self.at, "page": self.at // PER_PAGE}
        self.send(content, buffers=pictures)
        near = self.rows[
            [i for i in range(self.at - 1, self.at + 4) if 0 <= i < len(self.rows)]
        ]
        self._jobs = [self._ahead.submit(self.shot, int(r)) for r in near if r != row]

    def _describe(
        self, row: int, layer: str, part: str, joint: str, camera: bool
    ) -> tuple:
        """All there is to show of a frame, NaN as None, and a picture for each model."""
        frame = self.table.iloc[row]
        facts = {n: v for n, v in frame.items() if n not in ERRORS and pd.notna(v)}
        facts = {
            n: v.item() if isinstance(v, np.generic) else v for n, v in facts.items()
        }
        errors = [frame[ERRORS]]
        for model in self.models[1:]:
            found = model.row_of.get(frame["image_id"])
            errors.append(
                np.full(len(JOINTS), np.nan)
                if found is None
                else model.table.iloc[found][ERRORS]
            )
        content = {
            "row": row,
            "key": self.key(row),
            "facts": facts,
            **self.marks.of(self.key(row)),
        }
        content |= {"errors": [_plain(e) for e in errors], "fault": "", "pictures": []}
        try:
            shot = self.shot(row)
        except Exception as error:
            return content | {"fault": sentence(error)}, []
        numbers, pictures = (LABELS.index(part), JOINTS.index(joint)), []
        for account in shot.accounts:
            output = None
            if account is not None and account.labels is not None:
                output = overlays.NetworkOutput(*account[3:])
            painted = overlays.paint_layer(
                shot.picture,
                layer,
                true=shot.labels,
                output=output,
                part=numbers[0],
                joint=numbers[1],
            )
            hands = account and (account.camera_mm if camera else account.aligned_mm)
            content["pictures"].append(
                {
                    "caption": painted[1],
                    "joints": account and _plain(account.joints_px),
                    "mm": account and _plain(hands),
                }
            )
            pictures.append(painted[0])
        content |= {"true": _plain(shot.joints_px), "true_mm": _plain(shot.camera_mm)}
        return content | {"camera": camera}, pictures

    # Tags and notes

    def _mark(self, key: str, mark: dict, undoing: bool = False) -> None:
        try:
            self.marks.put(key, mark, undoing)
        finally:
            self._mark_columns()
        marked = np.flatnonzero((self.table["tags"] != "") | (self.table["note"] != ""))
        content = {
            "kind": "marks",
            "marked": marked.tolist(),
            "known": self._known_tags(),
        }
        self.send(content | self.marks.of(self.key(int(self.rows[self.at]))))

    def _known_tags(self) -> list[str]:
        used = Counter(tag for mark in self.marks.all.values() for tag in mark["tags"])
        return list(dict.fromkeys([*TAGS, *(tag for tag, _ in used.most_common())]))

    def _do_tag(self, tag: str) -> None:
        key = self.key(int(self.rows[self.at]))
        tags = self.marks.of(key)["tags"]
        tags = [t for t in tags if t != tag] if tag in tags else [*tags, tag]
        self._mark(key, self.marks.of(key) | {"tags": tags})

    def _do_note(self, text: str, row: int) -> None:
        self._mark(self.key(row), self.marks.of(self.key(row)) | {"note": text.strip()})

    def _do_undo(self) -> None:
        if not self.marks.undone:
            self._say("There is nothing to undo.")
            return
        key, before = self.marks.undone.pop()
        self._mark(key, before, undoing=True)
        self._say(f"Undone: {key}")

    # Out

    def export(self, path: Path | str, rows: Sequence[int] | None = None) -> Path:
        """Write the frames that pass, or these rows, by the path's ending, and give the path.

        .txt: file names; .csv: the rows with tags and notes; .html: up to `PAGE_LIMIT` frames as
        one page that needs no kernel and nothing from the net. ValueError for another ending.
        """
        path, given = Path(path), self.state
        if rows is not None:
            given = given | {"query": "rows given by name", "slices": [], "ranges": []}
        rows = [int(row) for row in (self.rows if rows is None else rows)]
        if path.suffix == ".txt":
            return write_text(path, "".join(f"{self.key(row)}\n" for row in rows))
        if path.suffix == ".csv":
            return write_text(path, self.table.iloc[rows].to_csv(index=False))
        if path.suffix != ".html":
            raise ValueError(f"{path}: give a file that ends in .txt, .csv or .html")
        cards = []
        for row in rows[:PAGE_LIMIT]:
            card, pictures = self._describe(row, **self.look | {"layer": "picture"})
            for shown, picture in zip(card["pictures"], pictures):
                shown["jpeg"] = base64.b64encode(jpeg(picture, 80)).decode()
            cards.append(card)
        page = {
            "cards": cards,
            "passed": len(rows),
            "models": [m.name for m in self.models],
        }
        page |= {"filter": given, "chains": CHAINS, "fingers": _finger_colors()}
        data = json.dumps(page).replace("<", "\\u003c")  # no tag may end the script
        text = (
            (ASSETS / "failure_browser.html").read_text().replace("/*CODE*/", self._esm)
        )
        return write_text(path, text.replace("/*DATA*/", data))

    def _do_export(self, ending: str) -> None:
        place = (
            Path("exports")
            if self.marks.path is None
            else self.marks.path.parent / "exports"
        )
        path = self.export(place / f"frames{ending}")
        count = min(len(self.rows), PAGE_LIMIT if ending == ".html" else len(self.rows))
        self._say(f"{count} of {len(self.rows)} frames written to {path.resolve()}")

    def _do_compare(self, path: str) -> None:
        self.compare(path.strip())
