// The plots of the failure browser: scatter plot and histogram of the frames that pass,
// and the settings that all plotly figures share.

const MOST_SVG_POINTS = 1500; // more are drawn with WebGL
const CURRENT_COLOR = "#D55E00";

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

/** Scatter plot and histogram. */
class Charts {
  constructor(view) {
    this.view = view;
    this.data = null;
    this.logarithmic = false;
    const axisSelect = (axis) => make("select", {
      className: `digit-${axis}`,
      onchange: (event) => view.send("axes", { [axis]: event.target.value }),
    });
    this.selects = { x: axisSelect("x"), y: axisSelect("y"), bars: axisSelect("bars") };
    this.unknown = make("span", { className: "digit-unknown" });
    this.scatter = make("div", { className: "digit-scatter" });
    this.histogram = make("div", { className: "digit-histogram" });
    const log = make("input", { type: "checkbox", onchange: (event) => {
      this.logarithmic = event.target.checked;
      this.drawSoon(0);
    } });
    const row = (...children) => make("div", { className: "digit-row" }, ...children);
    this.element = make(
      "div", {},
      row(view.label("x axis", this.selects.x), view.label("y axis", this.selects.y), make("label", {}, log, "log")),
      this.scatter,
      row(view.label("histogram of", this.selects.bars), this.unknown),
      this.histogram,
    );
  }

  drawState() {
    const numbers = this.view.state.columns.filter((column) => !column.words);
    for (const select of Object.values(this.selects)) setColumnOptions(select, numbers);
  }

  take(message, [x, y, twoHands, rows, chosen]) {
    this.data = {
      ...message,
      x: new Float32Array(alignedBuffer(x)),
      y: new Float32Array(alignedBuffer(y)),
      twoHands: new Uint8Array(alignedBuffer(twoHands)),
      rows: new Int32Array(alignedBuffer(rows)),
      chosen: new Uint8Array(alignedBuffer(chosen)),
    };
  }

  chosenRows() {
    return [...this.data.rows].filter((_, i) => this.data.chosen[i]);
  }

  /** Draw after a delay, once for all requests; `data-charts` of the browser says when it is done. */
  drawSoon(delay_ms) {
    this.view.root.dataset.charts = "due";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.draw(), delay_ms);
  }

  async draw() {
    const { root, page } = this.view;
    if (!window.digitPlotly || !this.data || !page) return;
    // Plots that change under the mouse would lose what it is choosing.
    if (this.isPressed) return this.drawSoon(RESIZE_DELAY_MS);
    for (const [axis, select] of Object.entries(this.selects)) select.value = this.data.axes[axis];
    this.unknown.textContent = this.data.unknown ? `${this.data.unknown} without a value` : "";
    const width = this.scatter.clientWidth;
    const drawn = [this.drawScatter(width), this.drawHistogram(width)];
    if (!this.isWired) this.wire();
    const { timer } = this;
    await Promise.all(drawn);
    if (timer === this.timer) root.dataset.charts = "drawn";
  }

  /** The points of single or interacting frames. */
  pointsTrace(name, kind) {
    const { x, y, twoHands, rows, chosen } = this.data;
    const { state, page } = this.view;
    const indices = [...rows.keys()].filter((i) => twoHands[i] === kind);
    const selected = indices.flatMap((i, k) => (chosen[i] ? [k] : []));
    return {
      type: rows.length > MOST_SVG_POINTS ? "scattergl" : "scatter",
      mode: "markers",
      name,
      marker: { color: state.line_colors[kind], symbol: kind ? "diamond" : "circle", size: 5, opacity: 0.6 },
      x: indices.map((i) => x[i]),
      y: indices.map((i) => y[i]),
      customdata: indices.map((i) => rows[i]),
      selectedpoints: page.state.chosen ? selected : null,
      unselected: { marker: { opacity: 0.12 } },
      hovertemplate: `${this.data.titles.x}: %{x:.3g}<br>${this.data.titles.y}: %{y:.3g}<extra>${name}</extra>`,
    };
  }

  /** Whether the plot is quick enough to draw again for every frame. */
  get marksCurrent() {
    return Boolean(this.data) && this.data.rows.length <= MOST_SVG_POINTS;
  }

  /** A ring about the point of the frame that is shown, in plots that are quick to draw. */
  currentTrace() {
    const row = this.marksCurrent ? this.view.frame?.row ?? -1 : -1;
    const i = this.data.rows.indexOf(row);
    const at = (values) => (i >= 0 ? [values[i]] : []);
    return {
      type: this.data.rows.length > MOST_SVG_POINTS ? "scattergl" : "scatter",
      mode: "markers",
      name: "shown",
      x: at(this.data.x),
      y: at(this.data.y),
      customdata: at(this.data.rows),
      marker: { symbol: "circle-open", size: 13, color: CURRENT_COLOR, line: { width: 2.5 } },
      hoverinfo: "skip",
      showlegend: false,
    };
  }

  drawScatter(width) {
    const { view, data } = this;
    const traces = [this.pointsTrace("one hand", 0), this.pointsTrace("two hands", 1), this.currentTrace()];
    const type = this.logarithmic ? "log" : "linear";
    return window.digitPlotly.react(this.scatter, traces, plotLayout(view, {
      width,
      height: 190,
      xaxis: plotAxis(view, data.titles.x, type),
      yaxis: plotAxis(view, data.titles.y, type),
      dragmode: "select",
      selections: view.page.state.chosen ? undefined : [],
      legend: { x: 0, y: 1.02, yanchor: "bottom", orientation: "h" },
      margin: { t: 22 },
    }), plotConfig());
  }

  drawHistogram(width) {
    const { view, data } = this;
    const middles = data.counts.map((_, i) => (data.edges[i] + data.edges[i + 1]) / 2);
    const widths = data.counts.map((_, i) => data.edges[i + 1] - data.edges[i]);
    const ends = data.counts.map((_, i) => [data.edges[i], data.edges[i + 1]]);
    const bars = {
      type: "bar",
      x: middles,
      y: data.counts,
      width: widths,
      customdata: ends,
      marker: { color: view.state.line_colors[0], line: { width: 1, color: themeColors(view.root).background } },
      hovertemplate: "%{y} frames from %{customdata[0]:.3g} to %{customdata[1]:.3g}<extra></extra>",
    };
    return window.digitPlotly.react(this.histogram, [bars], plotLayout(view, {
      width,
      height: 112,
      bargap: 0,
      dragmode: "select",
      selectdirection: "h",
      selections: [],
      xaxis: plotAxis(view, data.titles.bars),
      yaxis: plotAxis(view, "frames"),
    }), plotConfig());
  }

  /** Points and ranges are chosen with the mouse. */
  wire() {
    const { view } = this;
    this.isWired = true;
    for (const plot of [this.scatter, this.histogram]) {
      plot.addEventListener("pointerdown", () => { this.isPressed = true; }, true);
    }
    this.release = () => { this.isPressed = false; };
    for (const end of ["pointerup", "pointercancel", "blur"]) window.addEventListener(end, this.release, true);
    this.scatter.on("plotly_selected", (event) => {
      if (event?.points?.length) view.filter({ chosen: event.points.map((point) => point.customdata) });
    });
    this.scatter.on("plotly_deselect", () => { if (view.page.state.chosen) view.filter({}); });
    this.scatter.on("plotly_click", (event) => view.send("show", { row: event.points[0].customdata }));
    this.histogram.on("plotly_selected", (event) => {
      if (!event?.range) return;
      view.filter({ ranges: [...view.page.state.ranges, [this.data.axes.bars, ...event.range.x]] });
    });
  }

  purge() {
    clearTimeout(this.timer);
    for (const end of ["pointerup", "pointercancel", "blur"]) window.removeEventListener(end, this.release, true);
    for (const plot of [this.scatter, this.histogram]) window.digitPlotly?.purge(plot);
  }
}
