"""The failure browser over 10,000 frames, timed in JupyterLab in headless Chromium.

    python benchmarks/browser.py ROOT ERRORS.parquet CHECKPOINT [OUT.md]

The rows of an evaluated data set are drawn with replacement until there are enough. Times
run from the key or the click to the pixels, by the page's own clock, kernel and network
included. 3D is drawn in software where there is no graphics card. The checkpoint is the
network that is run for each frame. Beside each time stands the processor time of kernel,
server and browser together: it tells on a machine that others use too, and is an upper
bound of the time on an idle one.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

PROJECT_DIR = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT_DIR / "tests"))
from lab import NOTEBOOK, Lab, open_lab  # noqa: E402

FRAMES = 10_000
REPEATS = 8
PAUSE_MS = 700  # a reader looks; the next frames are made meanwhile

# JavaScript: act, then wait until a condition on the widget's element `d` holds, and
# until that is on the screen; `before` holds what was shown before.
CLOCK = """([act, done]) => new Promise(resolve => {
    const d = document.querySelector('.digit');
    const start = performance.now();
    const isDone = new Function('d', 'return ' + done);
    const finish = () => requestAnimationFrame(() => resolve(performance.now() - start));
    const widget = () => document.querySelector('.digit');
    const look = () => isDone(widget()) ? finish() : setTimeout(look, 2);
    const chips = d?.querySelector('.digit-chips')?.innerText;
    window.before = { row: d?.dataset.row, shown: d?.dataset.shown, chips };
    new Function('d', act)(d);
    look();
})"""
RUN_CELL = "window.jupyterapp.commands.execute('notebook:run-cell-and-select-next')"
PRESS = "d.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true}}))"
FILTER = """const query = d.querySelector('.digit-query');
query.value = '{}';
query.dispatchEvent(new Event('change'))"""

# The frames of the first points of the plot; {} of them
BRUSH = """const plot = d.querySelector('.digit-scatter');
const points = plot.data[0].customdata.slice(0, {}).map(row => ({{ customdata: row }}));
plot.emit('plotly_selected', {{ points }})"""
NEIGHBOURS = """d.querySelector('.digit-space').value = '{}';
d.dispatchEvent(new KeyboardEvent('keydown', {{ key: 'l', bubbles: true }}))"""
SPACES = ("pose", "errors")

FIRST_VIEW = (
    "document.querySelectorAll('.digit-thumbs img, .digit-crops img').length > 1"
)
NEXT_FRAME = (
    "d.dataset.row != before.row && d.querySelector('.digit-crops img').complete"
)
NEXT_FRAME_DRAWN = f"{NEXT_FRAME} && d.dataset.drawn == d.dataset.row"
FILTERED = "d.dataset.shown != before.shown"
ORDERED = "d.querySelector('.digit-chips').innerText != before.chips"

MEMORY_CELL = (
    "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
)


class Timing(NamedTuple):
    """One measured step."""

    wall_ms: float
    processor_ms: float


def processor_ms() -> float:
    """Processor time so far of all processes that this one has started (Linux)."""
    # 1. The fields of all processes, by id (see proc_pid_stat(5))
    fields = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has just ended
        fields[int(text.split()[0])] = text.rpartition(")")[2].split()

    # 2. Children, their children, and so on
    family = {os.getpid()}
    while True:
        children = {pid for pid, field in fields.items() if int(field[1]) in family}
        if children <= family:
            break
        family |= children
    family.remove(os.getpid())

    # 3. User and system time
    ticks = sum(int(fields[pid][11]) + int(fields[pid][12]) for pid in family)
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


class Clock:
    """Times steps in the page."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.timings: dict[str, list[Timing]] = {}

    def time(self, name: str, act: str, done: str) -> None:
        """Run JavaScript and wait for a condition; both know the widget's element as d."""
        before_ms = processor_ms()
        wall_ms = self.lab.page.evaluate(CLOCK, [act, done])
        timing = Timing(wall_ms, processor_ms() - before_ms)
        self.timings.setdefault(name, []).append(timing)
        self.lab.wait_idle()
        self.lab.page.wait_for_timeout(PAUSE_MS)


def measure(
    lab: Lab, dataset_dir: Path, table: Path, checkpoint: Path
) -> tuple[dict[str, list[Timing]], int]:
    """Open the browser and use it.

    Returns:
        The timings of each step, and the memory of the kernel, MB.
    """
    # 1. A notebook with the browser; the imports are not timed
    show = f"FailureBrowser({str(table)!r}, {str(dataset_dir)!r}, {str(checkpoint)!r})"
    imports = "from digit.widgets.failure_browser import FailureBrowser"
    lab.open_cells(imports, show, MEMORY_CELL, name="browser")
    lab.command("notebook:run-cell-and-select-next")
    lab.wait_idle()

    # 2. First view, next frames, filters
    clock = Clock(lab)
    clock.time("first view: frames and thumbnails", RUN_CELL, FIRST_VIEW)
    lab.page.wait_for_selector(".digit[data-drawn]")
    for _ in range(REPEATS):
        right = PRESS.format("ArrowRight")
        clock.time("next frame: picture, joints", right, NEXT_FRAME)
        clock.time("next frame: 3D and bars too", PRESS.format("j"), NEXT_FRAME_DRAWN)
    errors_mm = pd.read_parquet(table)["mpjpe"]
    for limit_mm in np.quantile(errors_mm, np.linspace(0.1, 0.8, REPEATS)):
        condition = FILTER.format(f"mpjpe > {limit_mm}")
        clock.time("filter: count and thumbnails", condition, FILTERED)

    # 3. Points chosen in the plot, and frames like the one that is shown
    clock.time("filter: count and thumbnails", FILTER.format(""), FILTERED)
    lab.page.wait_for_selector(".digit[data-charts=drawn]")
    for count in range(100, 100 * (REPEATS + 1), 100):
        clock.time("brush: points of the plot", BRUSH.format(count), FILTERED)
        lab.page.wait_for_selector(".digit[data-charts=drawn]")
    for repeat in range(REPEATS):
        act = NEIGHBOURS.format(SPACES[repeat % len(SPACES)])
        clock.time("neighbours: frames like this one", act, ORDERED)

    # 4. Memory
    lab.command("notebook:run-cell-and-select-next")
    lab.wait_idle()
    cell = f"{NOTEBOOK}.model.sharedModel.cells[2]"
    memory_mb = int("".join(lab.page.evaluate(f"{cell}.outputs[0].text")))
    assert not lab.errors(), lab.errors()
    return clock.timings, memory_mb


def large_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table's rows, drawn with replacement; no two have the same error."""
    rows = np.random.default_rng(0).integers(len(table), size=FRAMES)
    large = table.iloc[rows].reset_index(drop=True)
    large["mpjpe"] += np.linspace(0, 0.01, FRAMES, dtype=np.float32)
    large.attrs = table.attrs
    return large


def report(timings: dict[str, list[Timing]], memory_mb: int) -> str:
    """The timings as a table in Markdown."""
    lines = [
        f"| {FRAMES:,} frames | median (ms) | worst (ms) | processor, median (ms) | times |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, steps in timings.items():
        wall_ms = [step.wall_ms for step in steps]
        busy_ms = statistics.median(step.processor_ms for step in steps)
        lines.append(
            f"| {name} | {statistics.median(wall_ms):.0f} | {max(wall_ms):.0f} "
            f"| {busy_ms:.0f} | {len(steps)} |"
        )
    lines += ["", f"Memory of the kernel: {memory_mb} MB."]
    return "\n".join(lines)


def main(dataset_dir: str, errors: str, checkpoint: str, out: str = "") -> None:
    """Print the report, and write it where `out` says."""
    table = large_table(pd.read_parquet(errors))
    with tempfile.TemporaryDirectory() as folder, open_lab(Path(folder)) as lab:
        path = Path(folder) / "errors.parquet"
        table.to_parquet(path)
        timings, memory_mb = measure(
            lab,
            dataset_dir=Path(dataset_dir).resolve(),
            table=path,
            checkpoint=Path(checkpoint).resolve(),
        )
    text = report(timings, memory_mb)
    print(text)
    if out:
        Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
