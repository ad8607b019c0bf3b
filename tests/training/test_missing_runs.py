"""Chapters without runs: a sentence and a command instead of a traceback."""

import shlex

import pytest

from digit import cli
from digit.chapters import ablation as ablation_chapter
from digit.chapters import fitting as fitting_chapter
from digit.chapters import runs as runs_chapter
from digit.training import runs
from digit.training.runs import MissingRun
from digit.widgets.evaluated_model import find_evaluated_run

LOOK = {
    "06": lambda: runs_chapter.choose([], newest=4),
    "07": lambda: runs.find_run("latest"),
    "08": lambda: find_evaluated_run("latest", "test"),
    "10": lambda: ablation_chapter.find_members({}),
}


def check_shown(error: MissingRun) -> None:
    """Jupyter shows a sentence and, indented, a command that the parser takes."""
    sentence, command = error._render_traceback_()
    assert sentence.endswith("This command makes it:")
    assert command.startswith("    ")
    name, *words = shlex.split(command)
    assert name == "digit"
    cli.parser().parse_args(words)


@pytest.mark.parametrize("chapter", LOOK)
def test_a_chapter_without_runs_gives_the_command(chapter, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    with pytest.raises(MissingRun) as raised:
        LOOK[chapter]()
    check_shown(raised.value)


def test_a_run_that_was_not_evaluated_gives_the_command(tiny_run):
    for look in (find_evaluated_run, fitting_chapter.read_errors):
        with pytest.raises(MissingRun) as raised:
            look(tiny_run, "minitest")
        check_shown(raised.value)
        assert f"{tiny_run.name} was not evaluated on minitest" in str(raised.value)


def test_a_name_that_no_run_has_lists_those_there_are(tiny_run, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tiny_run.parent))
    with pytest.raises(MissingRun, match=f"there are: {tiny_run.name}"):
        runs.find_run("nowhere")
