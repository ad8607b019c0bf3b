// Plotly, and what all plots of the failure browser share: toolbar, colours, axes.

function loadPlotly(bytes) {
  const module = { exports: {} };
  const define = undefined; // plotly must not look for a module loader
  new Function("module", "exports", "define", new TextDecoder().decode(bytes))(module, module.exports, define);
  window.digitPlotly = module.exports;
}

/** The toolbar: PNG and SVG of the figure, nothing that goes to a server. */
function plotConfig() {
  const svgButton = {
    name: "svg",
    title: "Download plot as SVG",
    icon: window.digitPlotly.Icons.disk,
    click: (plot) => window.digitPlotly.downloadImage(plot, { format: "svg", filename: "digit" }),
  };
  return {
    displaylogo: false,
    displayModeBar: "hover",
    responsive: false,
    showSendToCloud: false,
    showEditInChartStudio: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["autoScale2d", "sendDataToCloud", "sendChartToCloud"],
    modeBarButtonsToAdd: [svgButton],
    toImageButtonOptions: { format: "png", filename: "digit", scale: 2 },
  };
}

/** A layout in the colours of JupyterLab's theme. */
function plotLayout(view, more) {
  const colors = themeColors(view.root);
  const { margin = {}, ...others } = more;
  return {
    font: { ...view.state.font, size: 11, color: colors.ink },
    paper_bgcolor: colors.background,
    plot_bgcolor: colors.background,
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colors.ink, orientation: "v" },
    ...others,
    margin: { l: 48, r: 26, t: 6, b: 34, ...margin },
  };
}

function plotAxis(view, title, type = "linear") {
  return {
    title: { text: title, standoff: 4 },
    type,
    gridcolor: themeColors(view.root).grid,
    zeroline: false,
    automargin: true,
  };
}

/** A buffer of a message, aligned so that it can be read as numbers. */
function alignedBuffer(view) {
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
}
