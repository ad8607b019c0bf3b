"""The lab book keeps its own rules, and every notebook runs top to bottom."""

import ast
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


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


def test_a_notebook_tells_before_it_does_and_closes_with_expected_and_measured(notebook):
    kinds = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert "cccc" not in kinds, "at most three cells of code without a word"
    assert kinds.endswith("c")
    assert all(word in notebook.cells[-1].source for word in ('"expected"', '"measured"', '"ok"'))


def test_outputs_are_stripped_but_for_one_small_picture(notebook):
    kept = [cell for cell in code_cells(notebook) if "keep_output" in tags(cell)]
    assert len(kept) <= 1
    for cell in code_cells(notebook):
        assert not cell.outputs or cell in kept, "run: nbstripout notebooks/*.ipynb"
        assert cell.execution_count is None or cell in kept
    size = sum(len(str(cell.outputs)) for cell in kept)
    assert size < 300_000
