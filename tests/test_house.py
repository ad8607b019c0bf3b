"""The house keeps its order: imports point upwards, rooms stay small, one module is one evening."""

import ast
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
ORDER = (
    "skeleton", "geometry", "pickles", "annotations", "interhand", "store", "hand", "raster",
    "masks", "dataset", "network", "losses", "figures", "metrics", "inference", "export",
    "photo", "accounts", "browser", "settings", "processes",
    "training", "runs", "__main__",
)  # fmt: skip
GENERATOR = ("tree", "poses", "shading", "people", "synth")


def imports(path: Path) -> set[str]:
    """The sibling modules a module imports, at the top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found


def test_imports_point_upwards():
    for package, order in (("digit", ORDER), ("digit_synth", GENERATOR)):
        modules = {path.stem for path in (PROJECT / package).glob("*.py")} - {"__init__"}
        assert modules == set(order), f"{package}: name the rooms in their order"
        for name in order:
            below = imports(PROJECT / package / f"{name}.py") - set(order[: order.index(name)])
            assert not below & modules, f"{package}/{name}.py imports {below & modules}"


def test_the_method_does_not_know_the_generator():
    for name in set(ORDER) - {"runs", "__main__"}:  # the demo and the command
        assert "digit_synth" not in (PROJECT / "digit" / f"{name}.py").read_text()


def test_rooms_stay_small():
    for path in [*PROJECT.glob("digit/*.py"), *PROJECT.glob("digit_synth/*.py")]:
        lines = path.read_text().splitlines()
        assert len(lines) <= 450, f"{path.name}: {len(lines)} lines"
        assert max(map(len, lines), default=0) <= 100, path.name
