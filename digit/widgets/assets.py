"""The JavaScript, CSS and HTML of the widgets, read from `web/`.

anywidget takes the code of a widget as one text. The files in `web/` are therefore
pieces without imports or exports that share one scope; each widget names its pieces,
and `script` joins them in that order. No build step is needed.
"""

from pathlib import Path

WEB_DIR = Path(__file__).parent / "web"


def read(name: str) -> str:
    """The text of a file in `web/`."""
    return (WEB_DIR / name).read_text(encoding="utf-8")


def join(*names: str) -> str:
    """The pieces one after the other, each under its name."""
    return "\n".join(f"// {name}\n{read(name)}" for name in names)


def script(*names: str) -> str:
    """The JavaScript module of a widget.

    Args:
        names: Files of `web/`; a piece may use what earlier pieces define, and the last
            defines `render`.

    Returns:
        The text for `_esm` of an `anywidget.AnyWidget`.
    """
    return join(*names) + "\nexport default { render };\n"
