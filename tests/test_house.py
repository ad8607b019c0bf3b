"""The house keeps its order: imports point upwards, rooms stay small, one module is one evening."""

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DATA = (
    "skeleton",
    "geometry",
    "pickles",
    "annotations",
    "interhand",
    "store",
    "hand",
    "raster",
    "masks",
    "dataset",
    "figures",
)
ORDER = (
    "network", "losses", "metrics", "inference", "export", "photo", "accounts", "browser",
    "settings", "processes", "training", "runs", "__main__",
)  # fmt: skip
GENERATOR = ("tree", "poses", "shading", "people", "synth")
PACKAGES = (("digit_data", DATA), ("digit_synth", GENERATOR), ("digit", ORDER))


def imports(path: Path) -> set[str]:
    """The sibling modules a module imports, at the top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found


def test_imports_point_upwards():
    for package, order in PACKAGES:
        modules = {path.stem for path in (PROJECT / package).glob("*.py")} - {"__init__"}
        assert modules == set(order), f"{package}: name the rooms in their order"
        for name in order:
            below = imports(PROJECT / package / f"{name}.py") - set(order[: order.index(name)])
            assert not below & modules, f"{package}/{name}.py imports {below & modules}"


def test_packages_know_only_what_they_stand_on():
    below = {"digit_data": set(), "digit_synth": {"digit_data"}, "digit": {"digit_data"}}
    for package, order in PACKAGES:
        for name in order:
            text = (PROJECT / package / f"{name}.py").read_text()
            found = set(re.findall(r"^ *(?:from|import) (digit\w*)", text, re.MULTILINE))
            extra = {"digit_synth"} if name in ("runs", "__main__") else set()  # demo and command
            assert found <= below[package] | extra, f"{package}/{name}.py imports {found}"


def test_the_module_is_small():
    for package, _ in PACKAGES:
        paths = (PROJECT / package).glob("*.py")
        assert sum(len(path.read_text().splitlines()) for path in paths) < 4000, package


def test_rooms_stay_small():
    for path in PROJECT.glob("digit*/*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 450, f"{path.name}: {len(lines)} lines"
        assert max(map(len, lines), default=0) <= 100, path.name
