"""The lab book keeps its own rules, and every notebook runs top to bottom."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from digit.paths import NOTEBOOKS_DIR
from digit.training.papermill import execute_notebook

NOTEBOOKS = sorted(NOTEBOOKS_DIR.glob("*.ipynb"))


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_a_notebook_opens_with_prose_and_its_parameters(notebook):
    first, second = notebook.cells[:2]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert tags(second) == ["parameters"]
    assert all(isinstance(node, ast.Assign) for node in ast.parse(second.source).body)
    assert [c for c in notebook.cells if "parameters" in tags(c)] == [second]


def test_notebooks_orchestrate_and_do_not_implement(notebook):
    for cell in code_cells(notebook):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 15, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.ClassDef), cell.source
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10, cell.source


def test_a_notebook_tells_before_it_does_and_closes_with_expected_and_measured(
    notebook,
):
    kinds = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert "cccc" not in kinds, "at most three cells of code without a word"
    assert kinds.endswith("c")
    assert all(
        word in notebook.cells[-1].source
        for word in ('"expected"', '"measured"', '"ok"')
    )


def test_outputs_are_stripped_but_for_one_small_picture(notebook):
    kept = [cell for cell in code_cells(notebook) if "keep_output" in tags(cell)]
    assert len(kept) <= 1
    for cell in code_cells(notebook):
        assert not cell.outputs or cell in kept, "run: nbstripout notebooks/*.ipynb"
        assert cell.execution_count is None or cell in kept
    size = sum(len(str(cell.outputs)) for cell in kept)
    assert size < 300_000


def execute(name: str, folder: Path, **parameters) -> list[bool]:
    """Run a notebook as papermill does; whether each claim of its closing table holds."""
    output = execute_notebook(
        NOTEBOOKS_DIR / f"{name}.ipynb", folder / "out.ipynb", parameters
    )
    closing = (
        nbformat.read(output, as_version=4).cells[-1].outputs[-1]["data"]["text/html"]
    )
    return [word == "True" for word in re.findall("<td>(True|False)</td>", closing)]


@pytest.mark.parametrize(
    "name", ["01_data_inspection", "02_mask_rendering", "03_model_building"]
)
def test_the_chapters_on_data_and_model_hold_what_they_expect(
    name, tiny_root, tmp_path
):
    few = {"steps": 40, "batch_size": 4} if name.startswith("03") else {"n": 4}
    claims = execute(name, tmp_path, root=str(tiny_root), **few)
    assert len(claims) >= 3 and all(claims), claims


def test_the_chapters_on_errors_follow_one_another(tiny_run, tmp_path):
    evaluated = execute("05_evaluation", tmp_path, run=str(tiny_run), split="val")
    assert evaluated[0], (
        "every frame has its row"
    )  # six steps need not beat the mean pose
    claims = execute("06_error_analysis", tmp_path, run=str(tiny_run), split="val", n=1)
    assert len(claims) >= 3 and all(claims), claims


def test_the_chapter_on_own_photos(tiny_root, tiny_run, tmp_path):
    claims = execute(
        "08_own_photo", tmp_path, checkpoint=str(tiny_run), real=str(tiny_root), n=2
    )
    assert len(claims) >= 3 and all(claims), claims


def test_real_frames_are_looked_at_where_they_lie(real_frames, tmp_path):
    claims = execute("01_data_inspection", tmp_path, root=str(real_frames))
    assert claims and all(claims), claims
