"""JupyterLab in headless Chromium: open a notebook, run it, use its widgets.

Browser tests ask for the fixture `lab` of conftest.py; figures/make_gallery.py and
benchmarks/browser.py call `open_lab`. Where Chromium or playwright is missing, tests are
skipped and say so.
"""

import os
import secrets
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

WINDOW = {"width": 1400, "height": 900}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    # WebGL without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]

# Console messages that say nothing about the widgets.
IGNORED_MESSAGES = (
    "favicon",
    "/api/workspaces",
    "ERR_INTERNET_DISCONNECTED",
    "GL Driver Message",
)

# These bound how long a test can hang; none of them is expected to be reached, however
# busy the machine is.
START_TIMEOUT_S = 300
PAGE_TIMEOUT_S = 300

# JavaScript that asks JupyterLab
NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
KERNEL_IS_READY = f"""() => {{
    const kernel = {NOTEBOOK}?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus == 'connected' && kernel.status == 'idle';
}}"""
RUN_ALL = """() => {
    window.ranAll = false;
    const done = window.jupyterapp.commands.execute('notebook:run-all-cells');
    done.finally(() => { window.ranAll = true; });
    return true;
}"""
NO_CELL_WAITS = f"""() => {NOTEBOOK}.content.widgets.every(
    cell => cell.model.type != 'code' || cell.promptNode?.innerText != '[*]:')"""
# The kernel answers in order: when it has answered this, it has answered all before it.
ASK_KERNEL = f"""async timeout_ms => {{
    const answer = {NOTEBOOK}.sessionContext.session.kernel.requestKernelInfo();
    const limit = new Promise((_, fail) => setTimeout(
        () => fail(new Error('the kernel does not answer')), timeout_ms));
    await Promise.race([answer, limit]);
}}"""
CELL_ERRORS = f"""() => {NOTEBOOK}.model.sharedModel.cells.flatMap(cell =>
    (cell.outputs ?? []).filter(o => o.output_type == 'error' || o.name == 'stderr')
    .map(o => o.ename ? o.ename + ': ' + o.evalue : [o.text].flat().join('')))"""


class Lab:
    """A JupyterLab server over a folder, and one page of a browser on it.

    Attributes:
        folder: The folder that notebooks are opened from.
        context: The browser's context, for further pages.
        page: The page.
        console: Errors in the page's console since the last notebook was opened.
    """

    def __init__(self, address: str, token: str, folder: Path, browser) -> None:
        self.address = address
        self.folder = folder
        self.console: list[str] = []
        self.context = browser.new_context(viewport=WINDOW, accept_downloads=True)
        self.context.request.get(f"{address}/api/status?token={token}")  # logs in
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * PAGE_TIMEOUT_S)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.console.append(f"page: {error}"))

    def _on_console(self, message) -> None:
        text = f"{message.text} ({message.location.get('url', '')})"
        is_ignored = any(ignored in text for ignored in IGNORED_MESSAGES)
        if message.type == "error" and not is_ignored:
            self.console.append(text)

    def open(self, name: str, **parameters) -> None:
        """Open a copy of a notebook of the lab book.

        Args:
            name: Its file name without the ending.
            parameters: Parameters to set, as papermill does.
        """
        notebook = nbformat.read(NOTEBOOKS_DIR / f"{name}.ipynb", as_version=4)
        lines = [f"{key} = {value!r}" for key, value in parameters.items()]
        metadata = {"tags": ["injected-parameters"]}
        cell = nbformat.v4.new_code_cell("\n".join(lines), metadata=metadata)
        notebook.cells.insert(2, cell)
        self.open_notebook(notebook, name)

    def open_cells(self, *sources: str, name: str = "cells") -> None:
        """Open a notebook of code cells."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        self.open_notebook(nbformat.v4.new_notebook(cells=cells), name)

    def open_notebook(self, notebook: nbformat.NotebookNode, name: str) -> None:
        """Open any notebook and start its kernel."""
        kernel = {"name": "python3", "display_name": "Python 3"}
        notebook.metadata.setdefault("kernelspec", kernel)
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        self.page.goto(f"{self.address}/doc/tree/{name}.ipynb?reset")
        self.console.clear()  # of the page left behind
        self.wait_idle()

    def command(self, name: str, **arguments) -> None:
        """Execute a command of JupyterLab; returns when it is done."""
        execute = "([name, given]) => window.jupyterapp.commands.execute(name, given)"
        self.page.evaluate(execute, [name, arguments])

    def run_all(self, timeout_s: float = 900) -> None:
        """Run all cells and wait for them; fails at an error of kernel or page."""
        self.page.evaluate(RUN_ALL)
        self.page.wait_for_function("window.ranAll", timeout=1000 * timeout_s)
        self.wait_idle()
        assert not self.errors(), self.errors()

    def wait_idle(self, timeout_s: float = PAGE_TIMEOUT_S) -> None:
        """Wait until no cell runs and the kernel has dealt with the page's messages."""
        self.page.wait_for_function(KERNEL_IS_READY, timeout=1000 * timeout_s)
        self.page.wait_for_function(NO_CELL_WAITS, timeout=1000 * timeout_s)
        self.page.evaluate(ASK_KERNEL, 1000 * timeout_s)
        self.page.evaluate("() => new Promise(requestAnimationFrame)")

    def box(self, locator) -> dict[str, float]:
        """Where an element is on the page, once it stands still.

        A widget that draws itself anew may replace an element or move it, so that its
        box is asked for in each frame until two answers agree.

        Args:
            locator: What to look for; the first that is found counts.

        Returns:
            Its x, y, width and height in px.
        """
        end = time.monotonic() + PAGE_TIMEOUT_S
        before = None
        while time.monotonic() < end:
            box = locator.first.bounding_box()
            if box is not None and box == before:
                return box
            before = box
            self.page.evaluate("() => new Promise(requestAnimationFrame)")
        raise TimeoutError(f"{locator} does not stand still")

    def restart(self) -> None:
        """Restart the kernel and clear the outputs."""
        self.page.evaluate(f"() => {NOTEBOOK}.sessionContext.session.kernel.restart()")
        self.wait_idle()
        self.command("notebook:clear-all-cell-outputs")

    def end_session(self) -> None:
        """Shut the notebook's kernel down."""
        self.page.evaluate(f"() => {NOTEBOOK}.sessionContext.shutdown()")

    def errors(self) -> list[str]:
        """Errors and stderr of the cells, and errors in the browser's console."""
        return self.page.evaluate(CELL_ERRORS) + self.console


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _server_environment(folder: Path, token: str) -> dict[str, str]:
    """Settings of its own in `folder`, and no news from the network.

    The token goes through the environment: other users can read a command line.
    """
    own = folder / ".jupyter"
    environment = dict(os.environ)
    environment["JUPYTER_TOKEN"] = token
    for name in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{name}_DIR"] = str(own / name.lower())
    for name in ("SETTINGS", "WORKSPACES"):
        environment[f"JUPYTERLAB_{name}_DIR"] = str(own / name.lower())

    settings = own / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    no_news = '{"fetchNews": "false", "checkForUpdates": false}'
    (settings / "notification.jupyterlab-settings").write_text(no_news)
    return environment


def start_server(folder: Path) -> tuple[subprocess.Popen, str, str]:
    """Start JupyterLab over a folder, for this machine only and with a random token.

    Args:
        folder: The folder it serves; its settings and its log go there as well.

    Returns:
        The process, its address and the token.
    """
    port = _free_port()
    token = secrets.token_urlsafe(32)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    with (folder / "jupyterlab.log").open("w") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_server_environment(folder, token),
            cwd=folder,
        )
    address = f"http://127.0.0.1:{port}"
    _wait_for_server(server, f"{address}/api/status?token={token}", folder)
    return server, address, token


def _wait_for_server(server: subprocess.Popen, status_url: str, folder: Path) -> None:
    """Wait until the server answers; fails with its log if it ends before."""
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(status_url, timeout=30).close()
            return
        except OSError:
            is_alive = server.poll() is None and time.monotonic() < end
            assert is_alive, (folder / "jupyterlab.log").read_text()[-3000:]
            time.sleep(0.2)


@contextmanager
def open_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab over a folder with a page on it; skips the test without a browser."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed"
    )
    executables = [path for path in map(shutil.which, BROWSERS) if path]
    if not executables:
        pytest.skip("Chromium is missing: install it to run the tests in a browser")
    server, address, token = start_server(folder)
    try:
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(
                executable_path=executables[0], args=BROWSER_FLAGS
            )
            yield Lab(address, token, folder, browser)
            browser.close()
    finally:
        server.terminate()
        server.wait()
