"""A picture in place of a widget where there is no kernel to draw it.

A notebook that is reopened or exported has lost its widgets. Each widget therefore
publishes a picture before itself; a rule of style shows one of the two.
"""

import base64
import io

from IPython import get_ipython
from IPython.display import display
from PIL import Image

LIVE_CLASS = "digit-live"  # of a widget's element in the page
STATIC_CLASS = "digit-static"
NOTE = "An interactive widget: run the cell to use it."
JPEG_QUALITY = 85
# The failure browser's element has a class of its own.
LIVE = f":is(.{LIVE_CLASS}, .digit)"
OUTPUT = ".jp-OutputArea-child"

# A widget that is alive hides the picture; a picture hides a widget that is not, and
# with it JupyterLab's message that its model is not found. The picture waits a moment,
# so that it does not flash up before a widget that is being drawn.
STYLE = f"""
{OUTPUT}:has(.{STATIC_CLASS}):has(+ {OUTPUT} {LIVE}) {{ display: none; }}
{OUTPUT}:has(.{STATIC_CLASS}) + {OUTPUT}:not(:has({LIVE})) {{ display: none; }}
.{STATIC_CLASS} {{ animation: digit-later 0.2s 1.5s backwards; }}
.{STATIC_CLASS} img {{ max-width: 100%; }}
@keyframes digit-later {{ from {{ height: 0; overflow: hidden; opacity: 0; }} }}
"""


def publish(picture: bytes, about: str) -> None:
    """Put a picture into the output of a cell, for when its widget is gone.

    Args:
        picture: A PNG or JPEG file.
        about: What it shows, for screen readers.
    """
    # Outside a notebook there is no output to put it into.
    if get_ipython() is None:
        return
    jpeg = base64.b64encode(as_jpeg(picture)).decode()
    image = f'<img alt="{about}" src="data:image/jpeg;base64,{jpeg}">'
    html = (
        f'<div class="{STATIC_CLASS}">{image}<br><i>{NOTE}</i></div>'
        f"<style>{STYLE}</style>"
    )
    bundle = {"text/html": html, "image/jpeg": jpeg, "text/plain": about}
    display(bundle, raw=True)


def as_jpeg(picture: bytes) -> bytes:
    """A picture file as a JPEG file, on white where it is transparent."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    buffer = io.BytesIO()
    flat = Image.alpha_composite(white, image).convert("RGB")
    flat.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
