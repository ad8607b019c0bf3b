"""Running notebooks headlessly."""

from pathlib import Path

from digit.paths import workspace_dir


def execute_notebook(notebook: Path, output: Path, parameters: dict) -> Path:
    """Run a notebook through papermill in the project's folder; `output` is kept if it fails too.

    Raises RuntimeError with the failing cell's error.
    """
    import papermill

    output.parent.mkdir(parents=True, exist_ok=True)
    options = {"cwd": workspace_dir(), "kernel_name": "python3", "progress_bar": False}
    options["extra_arguments"] = [
        "--log-level=CRITICAL"
    ]  # errors stand in the notebook
    try:
        papermill.execute_notebook(notebook, output, parameters, **options)
    except papermill.exceptions.PapermillExecutionError as error:
        cause = f"cell {error.exec_count} failed: {error.ename}: {error.evalue}"
        raise RuntimeError(f"{output}: {cause}") from error
    return output
