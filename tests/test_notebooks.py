"""The chapters: what each must have, and that each runs from top to bottom."""

import ast
import importlib.util
import re
import statistics
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from digit.hands.part_masks import prepare
from digit.paths import CHECKOUT_DIR, NOTEBOOKS_DIR
from digit.training.papermill import execute_notebook

CHAPTERS = sorted(NOTEBOOKS_DIR.glob("*.ipynb"))
MAX_CELL_LINES = 8
MAX_MEDIAN_CELL_LINES = 4
MIN_FIGURES = 3


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook) -> str:
    return "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, as_version=4)


def test_a_title_and_the_parameters_come_first(chapter):
    first, second = chapter.cells[:2]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert tags(second) == ["parameters"]
    assert all(isinstance(node, ast.Assign) for node in ast.parse(second.source).body)
    assert [c for c in chapter.cells if "parameters" in tags(c)] == [second]


def test_cells_are_short(chapter):
    lengths = []
    for cell in code_cells(chapter):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= MAX_CELL_LINES, cell.source
        lengths.append(len(lines))
    assert statistics.median(lengths) <= MAX_MEDIAN_CELL_LINES


def test_cells_define_nothing(chapter):
    for cell in code_cells(chapter):
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef | ast.FunctionDef), cell.source


def test_prose_stands_between_cells(chapter):
    kinds = "".join(cell.cell_type[0] for cell in chapter.cells)
    assert "cccc" not in kinds, "at most three cells of code without a word"


def test_it_teaches(chapter):
    text = prose(chapter)
    assert "$$" in text or "**Algorithm" in text
    assert "by hand" in text.lower()
    assert text.count("<summary>Hint</summary>") >= 2
    assert re.search(r"\]\(https://(arxiv|doi)\.org", text), "a paper behind it"


def test_expected_and_measured_close_it(chapter):
    assert "## Expected and measured" in prose(chapter)
    assert re.search(r"chapter\.checks\(.*\)$", chapter.cells[-1].source)


def test_outputs_are_stripped(chapter):
    for cell in code_cells(chapter):
        assert not cell.outputs, "run: nbstripout notebooks/*.ipynb"
        assert cell.execution_count is None


@pytest.fixture(scope="module")
def make_chapters() -> ModuleType:
    """The script that makes the executed copies."""
    path = CHECKOUT_DIR / "docs" / "make_chapters.py"
    spec = importlib.util.spec_from_file_location("make_chapters", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)
def test_executed_copy_is_current(source, make_chapters):
    executed = make_chapters.OUT_DIR / source.name
    of_executed = make_chapters.sources(executed)
    assert of_executed == make_chapters.sources(source), "run: make chapters"


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda path: path.stem)
def test_executed_copy_shows_figures_and_is_small(source, make_chapters):
    executed = make_chapters.OUT_DIR / source.name
    assert executed.stat().st_size <= make_chapters.MAX_BYTES
    outputs = [
        output
        for cell in code_cells(nbformat.read(executed, as_version=4))
        for output in cell.outputs
    ]
    assert not [output for output in outputs if output.output_type == "error"]
    figures = [output for output in outputs if "image/jpeg" in output.get("data", {})]
    assert len(figures) >= MIN_FIGURES


def test_changed_words_need_no_execution(make_chapters, tmp_path, monkeypatch):
    source = CHAPTERS[0]
    notebook = nbformat.read(make_chapters.OUT_DIR / source.name, as_version=4)
    notebook.cells[0].source = "words of an older version"
    nbformat.write(notebook, tmp_path / source.name)
    monkeypatch.setattr(make_chapters, "OUT_DIR", tmp_path)
    make_chapters.update_prose()
    mended = nbformat.read(tmp_path / source.name, as_version=4)
    assert make_chapters.sources(tmp_path / source.name) == make_chapters.sources(
        source
    )
    assert [c.get("outputs") for c in mended.cells] == [
        c.get("outputs") for c in notebook.cells
    ]


def test_symbols_of_equations_are_in_the_table():
    """A letter that stands in bold in a chapter is explained in docs/conventions.md."""
    table = (CHECKOUT_DIR / "docs" / "conventions.md").read_text()
    table = table[table.index("## Symbols of the chapters") :]
    bold = re.compile(r"\\(?:mathbf|boldsymbol)\s*\{?\s*(\\?[a-zA-Z]+)")
    explained = set(bold.findall(table))
    for path in CHAPTERS:
        used = set(bold.findall(prose(nbformat.read(path, as_version=4))))
        assert used <= explained, path.name


def execute(name: str, folder: Path, **parameters) -> list[bool]:
    """Run a chapter as papermill does; whether each claim of its closing table
    holds."""
    output = folder / f"{name}.ipynb"
    execute_notebook(NOTEBOOKS_DIR / f"{name}.ipynb", output, parameters)
    closing = nbformat.read(output, as_version=4).cells[-1].outputs[-1]
    cells = re.findall("<td>(True|False)</td>", closing["data"]["text/html"])
    return [cell == "True" for cell in cells]


@pytest.mark.parametrize("name", ["02_data_inspection", "03_mask_rendering"])
def test_chapters_on_data_hold_what_they_expect(name, tiny_root, tmp_path):
    claims = execute(name, tmp_path, root=str(tiny_root), n=4)
    assert len(claims) >= 3
    assert all(claims), claims


def test_network_chapter_holds_what_it_expects(tiny_root, tmp_path):
    claims = execute(
        "04_network", tmp_path, root=str(tiny_root), steps=40, batch_size=4
    )
    assert len(claims) >= 3
    assert all(claims), claims


def test_evaluation_and_errors_follow_one_another(tiny_run, tmp_path):
    evaluated = execute("07_evaluation", tmp_path, run=str(tiny_run), split="val")
    assert evaluated[0], "every frame has its row"  # six steps need not beat the mean
    claims = execute("08_error_analysis", tmp_path, run=str(tiny_run), split="val", n=1)
    assert len(claims) >= 2
    assert all(claims), claims


def test_own_photo_holds_what_it_expects(tiny_root, tiny_run, tmp_path):
    claims = execute(
        "01_own_photo", tmp_path, checkpoint=str(tiny_run), real=str(tiny_root), n=2
    )
    assert len(claims) >= 3
    assert all(claims), claims


def test_real_frames_are_read_where_they_lie(real_frames, tmp_path):
    prepare(real_frames)  # into the cache of the tests: the frames are read-only
    claims = execute("02_data_inspection", tmp_path, root=str(real_frames))
    assert claims
    assert all(claims), claims
