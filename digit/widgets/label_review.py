"""Looking labels through, frame by frame: keep, drop, or swap the side.

Chapter 02 of the notebooks shows it for data sets that `digit label` has made. Decisions
are saved by `digit.data.review` as they are made.
"""

from html import escape
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from digit.data.build_index import prepare_index
from digit.data.index import Frame, Index
from digit.data.review import Decision, apply_swaps, read_review
from digit.data.store import image_store, read_image
from digit.plots import hands as hand_plots
from digit.skeleton import SWAP_JOINTS
from digit.widgets.canvas import Canvas
from digit.widgets.controls import NARROW, ReportingBox, column, row
from digit.widgets.keys import Key, Keys

GREY = 90  # of a picture that is missing
KEYS = {"k": "keep", "d": "drop", "s": "swap side", "b": "back", "n": "next"}
STEPS = ("back", "next")  # a key that is held down goes on with these
# What a frame shows, by its hand type; hands are drawn so everywhere.
HANDS = ("right hand", "left hand (dashed)", "two hands, the left one dashed")
# What is shown: the choice's name and which decisions it takes (None: not decided yet).
SHOWN = ("all", "not looked at", "kept", "dropped", "swapped")


class LabelReview(ReportingBox):
    """The frames of a split one after the other, with three answers to each.

    A frame that is dropped is left out of training and evaluation at once. A frame whose
    side is swapped is left out until "apply swaps" has changed the annotations. Every
    decision can be changed later; the widget goes on where it stopped.

    Args:
        dataset_dir: The data set's folder.
        split: "train", "val" or "test".

    Example:
        >>> LabelReview("data/my_photos", "train")
    """

    def __init__(self, dataset_dir: Path | str, split: str = "train") -> None:
        super().__init__()
        self.index: Index = prepare_index(dataset_dir, split)
        self.images = image_store(dataset_dir)
        self.review = read_review(self.index.dataset_dir)
        self.keys_of_frames = self.index.keys()
        self.rows = np.arange(len(self.index))  # that are shown
        self.position = 0  # in `rows`

        # 1. Widgets
        self.canvas = Canvas(room=[560, 480])
        self.shortcuts = Keys(self)
        self.shortcuts.listen(
            [
                Key(key, name, lambda name=name: self._do(name), repeats=name in STEPS)
                for key, name in KEYS.items()
            ]
        )
        self.shown = widgets.Dropdown(options=SHOWN, description="show", **NARROW)
        self.slider = widgets.IntSlider(1, 1, 2, description="frame", **NARROW)
        self.buttons = {
            name: widgets.Button(
                description=f"{name} ({key})", layout={"width": "auto"}
            )
            for key, name in KEYS.items()
        }
        self.apply = widgets.Button(
            description="apply swaps",
            tooltip="give the swapped frames their other side in the annotations",
        )

        # 2. Layout
        answers = row(*self.buttons.values())
        right = column(self.shown, self.slider, self.about, self.apply, width_px=330)
        left = column(self.canvas, answers, self.shortcuts, width_px=560)
        self.children = [row(left, right), self.note]

        # 3. Callbacks
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self.perform(lambda: self._do(name)))
        self.apply.on_click(lambda _: self.perform(self._apply))
        self.on_change(self.shown, "value", self._choose_rows)
        self.on_change(self.slider, "value", lambda: self._go(self.slider.value - 1))
        self.perform(self._start)

    # Going through the frames

    def _start(self) -> None:
        """Begin with the first frame that is not decided yet."""
        decided = [self.review.of(key) is not None for key in self.keys_of_frames]
        first = int(np.argmin(decided)) if decided else 0
        self.slider.max = max(2, len(self.rows))
        self._go(first)

    def _choose_rows(self) -> None:
        """Show the frames of the chosen kind."""
        wanted = self.shown.value
        chosen = [
            wanted in ("all", kind_of(self.review.of(key)))
            for key in self.keys_of_frames
        ]
        self.rows = np.flatnonzero(chosen)
        self.slider.value = 1
        self.slider.max = max(2, len(self.rows))
        self._go(0)

    def _go(self, position: int) -> None:
        """Show the frame at a position of `rows`."""
        last = max(0, len(self.rows) - 1)
        self.position = min(max(position, 0), last)
        self.slider.value = self.position + 1
        self._show()

    # Answers

    def _do(self, name: str) -> None:
        """Do what a button or its key stands for."""
        if name == "back":
            self._go(self.position - 1)
            return
        if not len(self.rows):
            return
        key = self._frame_key()
        before = self.review.of(key) or Decision()
        if name == "swap side":
            # Stays, so that the swapped hand is seen.
            self.review.decide(key, "keep", swap=not before.swap)
            self._show()
            return
        if name in ("keep", "drop"):
            self.review.decide(key, name, swap=before.swap)
        at_end = self.position == len(self.rows) - 1
        self._go(self.position + 1)
        if at_end:
            self.warn("this was the last frame")

    def _apply(self) -> None:
        """Change the sides in the annotations, and read them again."""
        count = apply_swaps(self.index.dataset_dir)
        self.index = prepare_index(self.index.dataset_dir, self.index.split)
        self.review = read_review(self.index.dataset_dir)
        self._show()
        self.note.value = f"frames given their other side: {count}"

    # Showing

    def _frame_key(self) -> str:
        return self.keys_of_frames[self.rows[self.position]]

    def _show(self) -> None:
        """Show the frame with its hands as they will be."""
        if not len(self.rows):
            self.canvas.show(np.full((2, 2, 3), GREY, np.uint8))
            self.about.value = f"no frame is {escape(self.shown.value)}"
            return
        frame = self._frame()
        self.canvas.show(self._picture(frame), self._strokes(frame), frame.key)
        self.about.value = self._describe(frame)

    def _frame(self) -> Frame:
        """The frame that is shown, with a pending swap carried out."""
        frame = self.index.frame(int(self.rows[self.position]))
        decision = self.review.of(frame.key)
        if decision is not None and decision.is_pending:
            frame.joints_px = frame.joints_px[SWAP_JOINTS]
            frame.joint_valid = frame.joint_valid[SWAP_JOINTS]
            frame.hand_type = (1, 0, 2)[frame.hand_type]
        return frame

    def _picture(self, frame: Frame) -> np.ndarray:
        try:
            return read_image(self.images, frame.key)
        except (OSError, KeyError, ValueError) as error:
            self.warn(str(error.args[0]))
            return np.full((frame.height, frame.width, 3), GREY, np.uint8)

    def _strokes(self, frame: Frame) -> list:
        joints_px = hand_plots.masked(frame.joints_px, frame.joint_valid)
        return hand_plots.hand_strokes(joints_px)

    def _describe(self, frame: Frame) -> str:
        """The frame's labels, what was decided, and how far one is, as HTML."""
        # How far one is
        decision = self.review.of(frame.key)
        kinds = [kind_of(self.review.of(key)) for key in self.keys_of_frames]
        decided = len(kinds) - kinds.count("not looked at")
        pending = sum(made.is_pending for made in self.review.decisions.values())
        counts = [
            f"{decided} of {len(kinds)} looked at",
            f"{kinds.count('dropped')} dropped",
            f"{kinds.count('swapped')} swapped",
        ]
        if pending:
            counts.append(f"swaps to apply: {pending}")
        lines = [
            f"<span style='font-size:20px'>{HANDS[frame.hand_type]}</span>",
            f"<b>{kind_of(decision)}</b>",
            escape(frame.key),
            ", ".join(counts),
        ]
        style = "line-height:1.5; max-width:310px; overflow-wrap:anywhere"
        return f"<div style='{style}'>{'<br>'.join(lines)}</div>"

    def static_figure(self) -> Figure | None:
        """The frame that is shown, with its hands."""
        if not len(self.rows):
            return None
        frame = self._frame()
        joints_px = hand_plots.masked(frame.joints_px, frame.joint_valid)
        return hand_plots.contact_sheet(
            [self._picture(frame)], [frame.key], [joints_px], columns=2
        )


def kind_of(decision: Decision | None) -> str:
    """A decision as one of `SHOWN`."""
    if decision is None:
        return "not looked at"
    if decision.verdict == "drop":
        return "dropped"
    return "swapped" if decision.swap else "kept"
