"""Makes the executed chapters that the site and a code host show: `make chapters`.

Takes what `digit demo` and `digit ablation` have executed, shrinks its figures and puts a
picture in place of what needs a kernel, and writes `docs/notebooks/`. `--prose` executes
nothing and takes the sources' words only; `--check` only compares: it fails where a chapter
was changed and not executed again.
"""

import argparse
import base64
import io
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from digit.paths import CHECKOUT_DIR, NOTEBOOKS_DIR, runs_dir
from digit.widgets.static_picture import STATIC_CLASS

OUT_DIR = CHECKOUT_DIR / "docs" / "notebooks"
FIGURES_DIR = CHECKOUT_DIR / "figures"
MAX_BYTES = 400_000
WIDGET = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
# A kept picture of each chapter's widget, made by `make gallery`.
WIDGET_PICTURES = {
    "01_own_photo": "gallery_01_own_photo.jpg",
    "02_data_inspection": "gallery_02_data_inspection.jpg",
    "08_error_analysis": "gallery_08_error_analysis.jpg",
}
WIDGET_NOTE = "*An interactive widget: run the chapter to use it.*"
PLOTLY_NOTE = "*A figure to be turned with the mouse: run the chapter to use it.*"
# Smaller and smaller, until a chapter fits: longest side in px, JPEG quality.
SIZES = ((1100, 80), (1000, 70), (900, 60), (800, 50), (700, 42))


def main() -> int:
    """Write the executed chapters, or compare them with their sources."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument(
        "--prose", action="store_true", help="take the words of changed sources only"
    )
    parser.add_argument(
        "executed",
        nargs="*",
        type=Path,
        help="executed notebooks (default: the demo's)",
    )
    args = parser.parse_args()
    if args.check:
        return check()
    if args.prose:
        update_prose()
        return check()
    paths = args.executed or default_paths()
    OUT_DIR.mkdir(exist_ok=True)
    for path in paths:
        write(path)
    return 0


def default_paths() -> list[Path]:
    """The notebooks that the demo and the ablation have executed, newest run first."""
    executed = sorted((runs_dir() / "demo").glob("*.ipynb"))
    trainings = sorted(runs_dir().glob("*-demo-*/05_training.ipynb"))
    executed += trainings[-1:]
    executed += (runs_dir() / "ablation").glob("10_ablation.ipynb")
    return executed


def write(executed: Path) -> None:
    """Write one executed chapter, its outputs small enough for a code host.

    Raises:
        ValueError: If the chapter does not fit into `MAX_BYTES` at the smallest size.
    """
    out = OUT_DIR / executed.name
    for longest_px, quality in SIZES:
        notebook = nbformat.read(executed, as_version=4)
        shrink(notebook, executed.stem, longest_px, quality)
        text = nbformat.writes(notebook) + "\n"
        if len(text.encode()) <= MAX_BYTES:
            out.write_text(text)
            print(f"{out.relative_to(CHECKOUT_DIR)}: {len(text) // 1000} kB")
            return
    raise ValueError(
        f"{executed}: larger than {MAX_BYTES // 1000} kB even at {SIZES[-1]}"
    )


def shrink(notebook: NotebookNode, name: str, longest_px: int, quality: int) -> None:
    """Drop what papermill added, and make every output small and static."""
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    take_prose(notebook, NOTEBOOKS_DIR / f"{name}.ipynb")
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [
                static(output, name, longest_px, quality)
                for output in cell.outputs
                if not is_dropped(output, name)
            ]


def is_dropped(output: NotebookNode, name: str) -> bool:
    """Whether an output is a warning, a progress bar, or stands in for a widget."""
    data = output.get("data", {})
    is_progress_bar = WIDGET in data and name not in WIDGET_PICTURES
    is_stand_in = f'class="{STATIC_CLASS}"' in data.get("text/html", "")
    return output.get("name") == "stderr" or is_progress_bar or is_stand_in


def take_prose(notebook: NotebookNode, source: Path) -> None:
    """Take the words of the source, which may have been mended since the execution.

    Nothing is taken where the cells do not correspond; `--check` then says so.
    """
    written = nbformat.read(source, as_version=4)
    kinds = [cell.cell_type for cell in notebook.cells]
    if kinds != [cell.cell_type for cell in written.cells]:
        return
    for cell, original in zip(notebook.cells, written.cells, strict=True):
        if cell.cell_type == "markdown":
            cell.source = from_docs(original.source)


def update_prose() -> None:
    """Take the words of all sources into the executed chapters, outputs as they are."""
    for source in sorted(NOTEBOOKS_DIR.glob("*.ipynb")):
        executed = OUT_DIR / source.name
        if executed.exists():
            notebook = nbformat.read(executed, as_version=4)
            take_prose(notebook, source)
            executed.write_text(nbformat.writes(notebook) + "\n")


def from_docs(markdown: str) -> str:
    """Prose of a chapter with its links as they are from `docs/notebooks/`."""
    markdown = markdown.replace("](../figures/", "](../../figures/")
    return markdown.replace("](../docs/", "](../")


def static(
    output: NotebookNode, name: str, longest_px: int, quality: int
) -> NotebookNode:
    """An output without a kernel: pictures as JPEG, widgets as a picture or a note."""
    if "text" in output:
        output.text = relative_paths(output.text)
    data = output.get("data")
    if data is None:
        return output
    for kind in ("text/plain", "text/html"):
        if kind in data:
            data[kind] = relative_paths(data[kind])
    coded = data.pop("image/png", None) or data.pop("image/jpeg", None)
    jpeg = None
    if coded is not None:
        picture = Image.open(io.BytesIO(base64.b64decode(coded)))
        jpeg = as_jpeg(picture, longest_px, quality)
    if WIDGET in data:
        jpeg = jpeg or widget_picture(name, longest_px, quality)
        return replaced(output, jpeg, WIDGET_NOTE)
    if PLOTLY in data:
        return replaced(output, jpeg, PLOTLY_NOTE)
    if jpeg is not None:
        data["image/jpeg"] = jpeg
        data.pop("text/plain", None)
    return output


def relative_paths(text: str) -> str:
    """A text without the folders of the machine that executed the chapter."""
    return text.replace(f"{CHECKOUT_DIR}/", "")


def replaced(output: NotebookNode, jpeg: str | None, note: str) -> NotebookNode:
    """The output with a picture, or else a note, in place of its data."""
    output.data = NotebookNode({"text/markdown": note})
    if jpeg is not None:
        output.data = NotebookNode({"image/jpeg": jpeg, "text/plain": note})
    output.metadata = NotebookNode()
    return output


def widget_picture(name: str, longest_px: int, quality: int) -> str | None:
    """The kept picture of a chapter's widget."""
    if name not in WIDGET_PICTURES:
        return None
    picture = Image.open(FIGURES_DIR / WIDGET_PICTURES[name])
    return as_jpeg(picture, longest_px, quality)


def as_jpeg(picture: Image.Image, longest_px: int, quality: int) -> str:
    """A picture as base64-coded JPEG, on white."""
    rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    flat = Image.alpha_composite(white, rgba).convert("RGB")
    flat.thumbnail((longest_px, 10 * longest_px))
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=quality, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def check() -> int:
    """Compare the cells of every executed chapter with its source.

    Returns:
        1 where one differs or is missing, else 0.
    """
    stale = []
    for source in sorted(NOTEBOOKS_DIR.glob("*.ipynb")):
        executed = OUT_DIR / source.name
        if not executed.exists() or sources(executed) != sources(source):
            stale.append(source.name)
    if stale:
        print(f"not current: {', '.join(stale)}; run make chapters", file=sys.stderr)
    return int(bool(stale))


def sources(path: Path) -> list[tuple[str, str]]:
    """Kind and text of each cell."""
    notebook = nbformat.read(path, as_version=4)
    return [(cell.cell_type, from_docs(cell.source)) for cell in notebook.cells]


if __name__ == "__main__":
    sys.exit(main())
