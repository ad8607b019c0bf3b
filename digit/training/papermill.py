"""Notebooks executed headlessly, by papermill.

`digit train`, `digit ablation`, `digit demo` and the tests of the notebooks call
`execute_notebook`.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from digit.paths import workspace_dir


def execute_notebook(
    notebook: Path, output: Path, parameters: Mapping[str, object]
) -> Path:
    """Execute a notebook in the workspace, with this Python, whatever kernels are installed.

    Args:
        notebook: The notebook.
        output: Where the executed one goes; it is kept if the notebook fails, too.
        parameters: Values for the variables of its cell tagged "parameters".

    Returns:
        `output`.

    Raises:
        RuntimeError: With the error of the cell that failed, or if the kernel died.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(output),
            dict(parameters),
            cwd=workspace_dir(),
            kernel_name="python3",
            kernel_manager_class=_this_pythons_kernel_manager(),
            progress_bar=False,
            # Errors stand in the notebook.
            extra_arguments=["--log-level=CRITICAL"],
        )
    except papermill.exceptions.PapermillExecutionError as error:
        cause = f"cell {error.exec_count} failed: {error.ename}: {error.evalue}"
        raise RuntimeError(f"{output}: {cause}") from error
    except DeadKernelError as error:
        raise RuntimeError(f"{output}: its kernel died ({error})") from error
    return output


def _literal(path: Path) -> str:
    """The path as papermill takes it: braces would be filled in with parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _this_pythons_kernel_manager() -> type:
    """A kernel manager that starts this interpreter.

    The kernelspec "python3" on Jupyter's path may be another environment's, or broken.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            launcher = [sys.executable, "-m", "ipykernel_launcher"]
            return KernelSpec(
                argv=[*launcher, "-f", "{connection_file}"],
                display_name="Python 3",
                language="python",
            )

    return ThisPython
