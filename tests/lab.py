"""JupyterLab in headless Chromium: open a notebook, run it, use its widgets, see every
error.

Tests ask for the fixture `lab` of conftest. Where Chromium or playwright is missing,
they are skipped and say so.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from digit.paths import NOTEBOOKS_DIR

SIZE = {"width": 1400, "height": 900}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-background-networking", "--use-angle=swiftshader"]
FLAGS += ["--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]  # 3D without a GPU
NOISE = ("favicon", "/api/workspaces", "ERR_INTERNET_DISCONNECTED", "GL Driver Message")
NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
RAN = f"""() => {NOTEBOOK}.content.widgets.every(
    cell => cell.model.type != 'code' || cell.promptNode?.innerText != '[*]:')"""
ERRORS = f"""() => {NOTEBOOK}.model.sharedModel.cells.flatMap(cell =>
    (cell.outputs ?? []).filter(o => o.output_type == 'error' || o.name == 'stderr')
    .map(o => o.ename ? o.ename + ': ' + o.evalue : [o.text].flat().join('')))"""


class Lab:
    """A JupyterLab server over `folder`, and one page of a browser on it."""

    def __init__(self, address: str, folder: Path, browser):
        self.address, self.folder = address, folder
        self.console: list[str] = []  # errors of the page since the last `open`
        self.context = browser.new_context(viewport=SIZE, accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)  # a busy machine is no failure
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.console.append(f"page: {error}"))

    def _hear(self, message) -> None:
        text = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not any(noise in text for noise in NOISE):
            self.console.append(text)

    def open(self, name: str, **parameters) -> None:
        """Open a copy of notebooks/<name>.ipynb, its parameters set as papermill
        does."""
        notebook = nbformat.read(NOTEBOOKS_DIR / f"{name}.ipynb", as_version=4)
        code = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
        cell = nbformat.v4.new_code_cell(
            code, metadata={"tags": ["injected-parameters"]}
        )
        notebook.cells.insert(2, cell)
        self.open_notebook(notebook, name)

    def open_notebook(self, notebook: nbformat.NotebookNode, name: str) -> None:
        """Open any notebook, and start its kernel."""
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        self.page.goto(f"{self.address}/doc/tree/{name}.ipynb?reset")
        self.console.clear()  # of the page left behind
        self.page.wait_for_function(
            f"() => {NOTEBOOK}?.sessionContext?.session?.kernel", timeout=240_000
        )
        self.wait_idle(240)

    def command(self, name: str, **arguments) -> None:
        """Execute a command of JupyterLab; returns when it is done."""
        execute = "([name, given]) => window.jupyterapp.commands.execute(name, given)"
        self.page.evaluate(execute, [name, arguments])

    def run_all(self, timeout_s: float = 180) -> None:
        """Run all cells, wait for the last, and fail at an error of the kernel or the
        page."""
        self.page.evaluate(
            "window.jupyterapp.commands.execute('notebook:run-all-cells'), 0"
        )
        time.sleep(0.5)
        self.wait_idle(timeout_s)
        assert not self.errors(), self.errors()

    def wait_idle(self, timeout_s: float = 60) -> None:
        """Until the kernel has nothing to do and no cell waits."""
        idle, end = 0, time.monotonic() + timeout_s
        state = f"{NOTEBOOK}.sessionContext.session.kernel.status"
        while idle < 4:  # a widget's message may still be on its way
            assert time.monotonic() < end, (
                f"the kernel is still {self.page.evaluate(state)}"
            )
            ready = self.page.evaluate(state) == "idle" and self.page.evaluate(RAN)
            idle = idle + 1 if ready else 0
            self.page.wait_for_timeout(60)

    def restart(self) -> None:
        """A new kernel for the notebook that is open; its outputs go."""
        self.page.evaluate(f"() => {NOTEBOOK}.sessionContext.session.kernel.restart()")
        self.wait_idle(240)
        self.command("notebook:clear-all-cell-outputs")

    def errors(self) -> list[str]:
        """Errors and stderr in the cells' outputs, and errors in the browser's
        console."""
        return self.page.evaluate(ERRORS) + self.console


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(folder: Path) -> tuple[subprocess.Popen, str]:
    """JupyterLab over a folder: own settings, no token, nothing fetched; its
    address."""
    port, own = _free_port(), folder / ".jupyter"
    names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    env = os.environ | {f"JUPYTER_{name}": str(own / name.lower()) for name in names}
    env |= {
        f"JUPYTERLAB_{name}_DIR": str(own / name.lower())
        for name in ("SETTINGS", "WORKSPACES")
    }
    quiet = own / "settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    quiet = quiet / "notification.jupyterlab-settings"
    quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    options = [
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--ServerApp.root_dir={folder}",
        "--IdentityProvider.token=",
        "--ServerApp.disable_check_xsrf=True",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    with (folder / "jupyterlab.log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=folder
        )
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
            return server, address
        except OSError:
            alive = server.poll() is None and time.monotonic() < end
            assert alive, (folder / "jupyterlab.log").read_text()[-3000:]
            time.sleep(0.2)


@contextmanager
def open_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab on a folder, and a page of 1400×900 on it; a skipped test without a
    browser."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed"
    )
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(
            "no Chromium here: install chromium to drive the notebooks in a browser"
        )
    server, address = start_server(folder)
    try:
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=executable, args=FLAGS)
            yield Lab(address, folder, browser)
            browser.close()
    finally:
        server.terminate()
        server.wait()
