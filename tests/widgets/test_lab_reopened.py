"""A chapter that was run in JupyterLab and saved: in git, reopened, exported."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from lab import Lab

from digit.paths import CHECKOUT_DIR, NOTEBOOKS_DIR

pytestmark = pytest.mark.browser
CHAPTER = "notebooks/02_data_inspection"
BIN = Path(sys.executable).parent


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def saved(lab, tiny_root) -> Lab:
    """Chapter 02, run and saved in a repository with the filter of `make lab`."""
    # 1. A repository with the chapter, and the data where the chapter looks for them
    folder = lab.folder
    (folder / "notebooks/data").mkdir(parents=True)
    (folder / "notebooks/data/demo").symlink_to(tiny_root)
    for name in (".gitattributes", "Makefile", f"{CHAPTER}.ipynb"):
        shutil.copy(CHECKOUT_DIR / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", ".gitattributes", f"{CHAPTER}.ipynb")
    git(folder, "commit", "-q", "-m", "a chapter")
    subprocess.run(["make", "-s", "-C", folder, "filter", f"BIN={BIN}"], check=True)

    # 2. Run and saved
    source = NOTEBOOKS_DIR.parent / f"{CHAPTER}.ipynb"
    lab.open_notebook(nbformat.read(source, as_version=4), CHAPTER)
    lab.run_all()
    lab.page.locator("canvas.digit-picture").first.wait_for()
    assert lab.page.locator(".digit-static").first.is_hidden()
    lab.command("docmanager:save")
    return lab


def test_a_chapter_that_was_run_leaves_no_diff(saved):
    path = saved.folder / f"{CHAPTER}.ipynb"
    executed = path.read_text()
    assert '"outputs": [\n' in executed
    assert git(saved.folder, "diff") == ""
    path.write_text(executed.replace("# 02 ·", "# Two ·", 1))
    assert "# Two ·" in git(saved.folder, "diff")
    path.write_text(executed)


def test_a_reopened_chapter_shows_pictures_in_place_of_widgets(saved):
    page = saved.page
    saved.end_session()
    page.goto(f"{saved.address}/doc/tree/{CHAPTER}.ipynb?reset")
    page.locator(".digit-static img").wait_for()
    saved.wait_idle()
    assert page.locator("canvas.digit-picture").count() == 0
    assert page.get_by_text("model not found").filter(visible=True).count() == 0


def test_an_exported_chapter_shows_pictures_in_place_of_widgets(saved):
    source = saved.folder / f"{CHAPTER}.ipynb"
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(source)]
    subprocess.run(command, check=True, capture_output=True)
    alone = saved.context.new_page()
    saved.context.set_offline(True)
    try:
        alone.goto(source.with_suffix(".html").as_uri())
        picture = alone.locator(".digit-static img")
        picture.wait_for()
        assert picture.evaluate("image => image.naturalWidth") > 200
        assert alone.locator("img").count() >= 5
        assert alone.get_by_text("model not found").filter(visible=True).count() == 0
        assert (
            alone.get_by_text("DataBrowser(children").filter(visible=True).count() == 0
        )
    finally:
        saved.context.set_offline(False)
        alone.close()
