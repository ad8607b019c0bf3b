"""Helpers of the tests of synthetic trees: work in this process, compare folders."""

from concurrent.futures import Executor, Future
from pathlib import Path


class InlineExecutor(Executor):
    """An executor that works at once, where it is called."""

    def submit(self, function, job):
        future = Future()
        future.set_result(function(job))
        return future


def file_contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their names, without what preparation adds."""
    result = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith("prepared"):
            result[name] = path.read_bytes()
    return result
