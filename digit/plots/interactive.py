"""Plotly figures that stay on this machine and have a static picture.

`digit.plots.hands` and `digit.plots.meshes` make them; notebooks show them.
"""

from typing import Any

import plotly.graph_objects as go

# No button of the toolbar sends the figure to a server; "toImage" saves it as PNG.
CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["sendDataToCloud", "sendChartToCloud"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


class InteractiveFigure(go.Figure):
    """A plotly figure without uploads, with a picture for where it cannot be turned.

    A notebook on a code host, exported, or opened without plotly shows the picture.
    """

    # The mime bundle alone decides how the figure is shown.
    _ipython_display_ = None
    _static_picture: Any = None

    def set_static_picture(self, figure: Any) -> "InteractiveFigure":
        """Give the figure its picture.

        Args:
            figure: What draws the same as a static picture, with `_repr_png_` as
                `digit.plots.style.Picture` has it; it is drawn when it is shown.

        Returns:
            The figure itself.
        """
        self._static_picture = figure
        return self

    def _repr_mimebundle_(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(*arguments, config=CONFIG, **options)
        if self._static_picture is not None:
            bundle["image/png"] = self._static_picture._repr_png_()
        return bundle
