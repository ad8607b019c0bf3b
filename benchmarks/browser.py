"""The failure browser over 10,000 frames, timed in JupyterLab in headless Chromium.

    python benchmarks/browser.py ROOT ERRORS.parquet CHECKPOINT [OUT.md]

The rows of an evaluated data set are drawn with replacement until there are enough.
Times run from the key or the click to the pixels: the page's own clock, kernel and
network included. 3D is drawn in software where there is no GPU. The checkpoint is the
network that is run for each frame. Beside each time stands the processor time of
kernel, server and browser together until then: what tells on a machine that others use
too, and an upper bound of the time on an idle one.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests"))
from lab import NOTEBOOK, open_lab  # noqa: E402

CLOCK = """([act, done]) => new Promise(resolve => {
    const d = document.querySelector('.digit'), start = performance.now();
    const test = new Function('d', 'return ' + done);
    const look = () => test(d) ? requestAnimationFrame(() => resolve(performance.now() - start))
        : setTimeout(look, 2);
    window.before = { row: d?.dataset.row, shown: d?.dataset.shown };
    new Function('d', act)(d);
    look();
})"""
RUN = "window.jupyterapp.commands.execute('notebook:run-cell-and-select-next')"
KEY = "d.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true}}))"
QUERY = """const q = d.querySelector('.digit-query');
q.value = '{}'; q.dispatchEvent(new Event('change'))"""
NEXT = "d.dataset.row != before.row && d.querySelector('.digit-crops img').complete"
MEMORY = (
    "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
)


def cpu_ms() -> float:
    """Processor time so far of all processes that this one has started, ms (Linux)."""
    fields = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has just ended
        fields[int(text.split()[0])] = text.rpartition(")")[2].split()
    mine = {os.getpid()}
    while new := {pid for pid, field in fields.items() if int(field[1]) in mine} - mine:
        mine |= new
    ticks = sum(
        int(fields[pid][11]) + int(fields[pid][12]) for pid in mine - {os.getpid()}
    )
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


def measure(lab, root: str, table: Path, checkpoint: str) -> dict[str, list[tuple]]:
    """Wall and processor milliseconds of each step, several times over; the kernel's MB
    twice."""
    show = f"FailureBrowser({str(table)!r}, {root!r}, {checkpoint!r})"
    cells = [
        "import torch\nfrom digit.widgets.failure_browser import FailureBrowser",
        show,
        MEMORY,
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in cells]
    )
    lab.open_notebook(notebook, "browser")
    page, found = lab.page, {}

    def clock(name: str, act: str, done: str) -> None:
        before = cpu_ms()
        wall_ms = page.evaluate(CLOCK, [act, done])
        found.setdefault(name, []).append((wall_ms, cpu_ms() - before))
        lab.wait_idle(120)
        page.wait_for_timeout(700)  # a reader looks; the next frames are made meanwhile

    lab.command("notebook:run-cell-and-select-next")  # imports
    lab.wait_idle(120)
    seen = "document.querySelectorAll('.digit-thumbs img, .digit-crops img').length > 1"
    clock("first view: frames and thumbnails", RUN, seen)
    page.wait_for_selector(".digit[data-drawn]")
    for _ in range(8):
        clock("next frame: picture, joints", KEY.format("ArrowRight"), NEXT)
        clock(
            "next frame: 3D and bars too",
            KEY.format("j"),
            f"{NEXT} && d.dataset.drawn == d.dataset.row",
        )
    for low in np.quantile(pd.read_parquet(table)["mpjpe"], np.linspace(0.1, 0.8, 6)):
        clock(
            "filter: count and thumbnails",
            QUERY.format(f"mpjpe > {low}"),
            "d.dataset.shown != before.shown",
        )
    lab.command("notebook:run-cell-and-select-next")
    lab.wait_idle(60)
    text = page.evaluate(f"{NOTEBOOK}.model.sharedModel.cells[2].outputs[0].text")
    found["kernel memory (MB)"] = [(float("".join(text)),) * 2]
    assert not lab.errors(), lab.errors()
    return found


def main(root: str, errors: str, checkpoint: str, out: str = "") -> None:
    """Print the table, and write it where `out` says."""
    table = pd.read_parquet(errors)
    rows = np.random.default_rng(0).integers(len(table), size=10_000)
    large = table.iloc[rows].reset_index(drop=True)
    large["mpjpe"] += np.linspace(
        0, 0.01, len(large), dtype=np.float32
    )  # no two rows the same
    large.attrs = table.attrs
    with tempfile.TemporaryDirectory() as folder, open_lab(Path(folder)) as lab:
        large.to_parquet(Path(folder) / "errors.parquet")
        found = measure(
            lab,
            str(Path(root).resolve()),
            Path(folder) / "errors.parquet",
            str(Path(checkpoint).resolve()),
        )
    lines = [
        "| 10,000 frames | median (ms) | worst (ms) | processor, median (ms) | times |"
    ]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name, times in found.items():
        wall, processor = zip(*times)
        middle = f"{statistics.median(wall):.0f} | {max(wall):.0f} | {statistics.median(processor):.0f}"
        lines.append(f"| {name} | {middle} | {len(times)} |")
    print(text := "\n".join(lines))
    if out:
        Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
