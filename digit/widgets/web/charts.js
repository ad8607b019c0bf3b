// The plots of the failure browser: scatter plot and histogram of the frames that pass.
// The map of similar frames is the scatter plot over the map's two axes.

const MOST_SVG_POINTS = 1500; // more are drawn with WebGL
const CURRENT_COLOR = "#D55E00";
const NO_COLOR = "#9A9A9A"; // of points without a value
const CATEGORY_COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7A5195"];
const TIP_DELAY_MS = 90; // the mouse rests on a point before its thumbnail is asked for

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
    this.selects = { x: axisSelect("x"), y: axisSelect("y"), color: axisSelect("color"), bars: axisSelect("bars") };
    this.map = make("select", {
      className: "digit-map",
      title: "all frames on a plane: those that are alike lie near each other",
      onchange: () => { if (this.map.value) view.send("map", { space: this.map.value }); },
    });
    this.tip = make("div", { className: "digit-tip", hidden: true });
    this.current = make("div", { className: "digit-current", hidden: true });
    this.unknown = make("span", { className: "digit-unknown" });
    this.scatter = make("div", { className: "digit-scatter" });
    this.histogram = make("div", { className: "digit-histogram" });
    const log = this.log = make("input", { type: "checkbox", onchange: (event) => {
      this.logarithmic = event.target.checked;
      this.drawSoon(0);
    } });
    const row = (...children) => make("div", { className: "digit-row" }, ...children);
    this.element = make(
      "div", {},
      row(view.label("x axis", this.selects.x), view.label("y axis", this.selects.y), make("label", {}, log, "log")),
      row(view.label("colour", this.selects.color), view.label("map by", this.map)),
      make("div", { className: "digit-tipped" }, this.scatter, this.current, this.tip),
      row(view.label("histogram of", this.selects.bars), this.unknown),
      this.histogram,
    );
  }

  drawState() {
    const { columns, spaces } = this.view.state;
    const numbers = columns.filter((column) => !column.words);
    for (const [axis, select] of Object.entries(this.selects)) {
      setColumnOptions(select, axis === "color" ? columns.filter((column) => column.name !== "tags") : numbers);
    }
    this.selects.color.prepend(make("option", { value: "", textContent: "one or two hands" }));
    const options = Object.entries(spaces).map(([value, textContent]) => make("option", { value, textContent }));
    this.map.replaceChildren(make("option", { value: "", textContent: "–" }), ...options);
  }

  take(message, [x, y, twoHands, rows, chosen, color]) {
    this.data = {
      ...message,
      x: new Float32Array(alignedBuffer(x)),
      y: new Float32Array(alignedBuffer(y)),
      twoHands: new Uint8Array(alignedBuffer(twoHands)),
      rows: new Int32Array(alignedBuffer(rows)),
      chosen: new Uint8Array(alignedBuffer(chosen)),
      color: color ? new Float32Array(alignedBuffer(color)) : null,
    };
  }

  /** The space of the map that is plotted; empty if none is. */
  get mapSpace() {
    return /^map_(\w+)_1$/.exec(this.data.axes.x)?.[1] ?? "";
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
    if (!window.digitPlotly || !this.data || !page || this.element.hidden) return;
    // Plots that change under the mouse would lose what it is choosing.
    if (this.isPressed) return this.drawSoon(RESIZE_DELAY_MS);
    for (const [axis, select] of Object.entries(this.selects)) select.value = this.data.axes[axis];
    this.map.value = this.mapSpace;
    this.unknown.textContent = this.data.unknown ? `${this.data.unknown} without a value` : "";
    const width = this.scatter.clientWidth;
    const drawn = [this.drawScatter(width), this.drawHistogram(width)];
    if (!this.isWired) this.wire();
    const { timer } = this;
    await Promise.all(drawn);
    this.markCurrent();
    if (timer === this.timer) root.dataset.charts = "drawn";
  }

  /** Points as a trace: those whose number fulfils a condition, in one look. */
  pointsTrace(name, isIncluded, marker) {
    const { x, y, rows, chosen, titles } = this.data;
    const indices = [...rows.keys()].filter(isIncluded);
    const selected = indices.flatMap((i, k) => (chosen[i] ? [k] : []));
    return {
      type: rows.length > MOST_SVG_POINTS ? "scattergl" : "scatter",
      mode: "markers",
      name,
      marker: { size: 5, opacity: 0.65, ...marker(indices) },
      x: indices.map((i) => x[i]),
      y: indices.map((i) => y[i]),
      customdata: indices.map((i) => rows[i]),
      selectedpoints: this.view.page.state.chosen ? selected : null,
      unselected: { marker: { opacity: 0.12 } },
      hovertemplate: `${titles.x}: %{x:.3g}<br>${titles.y}: %{y:.3g}<extra>${name}</extra>`,
    };
  }

  /** The points by one or two hands, by a column of numbers, or by one of words. */
  pointTraces() {
    const { twoHands, color, categories } = this.data;
    const { state } = this.view;
    const look = (fill, symbol) => () => ({ color: fill, symbol });
    if (!color) {
      return ["one hand", "two hands"].map((name, kind) => this.pointsTrace(
        name, (i) => twoHands[i] === kind, look(state.line_colors[kind], kind ? "diamond" : "circle")));
    }
    if (categories) {
      const traces = categories.map((name, kind) => this.pointsTrace(
        name || "none", (i) => color[i] === kind, look(name ? CATEGORY_COLORS[kind] : NO_COLOR, "circle")));
      if (color.some((value) => value < 0)) traces.push(this.pointsTrace("others", (i) => color[i] < 0, look(NO_COLOR, "circle-open")));
      return traces;
    }
    return [this.numberTrace()];
  }

  /** Points coloured by a column of numbers; the scale leaves out the outermost hundredth. */
  numberTrace() {
    const { color, titles } = this.data;
    const known = [...color].filter(Number.isFinite).sort((a, b) => a - b);
    const at = (share) => known[Math.round(share * (known.length - 1))] ?? 0;
    const trace = this.pointsTrace(titles.color, () => true, (indices) => ({
      color: indices.map((i) => (Number.isFinite(color[i]) ? color[i] : null)),
      colorscale: "Viridis",
      cmin: at(0.01),
      cmax: at(0.99),
      colorbar: { thickness: 9, len: 1, title: { text: titles.color, side: "right" }, tickfont: { size: 10 } },
    }));
    trace.showlegend = false;
    return trace;
  }

  /** The line on which A and B are equal, where the axes are the same metric of both. */
  diagonalTrace() {
    const values = [...this.data.x, ...this.data.y].filter(Number.isFinite);
    if (!this.data.diagonal || !values.length) return [];
    const ends = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    const line = { color: themeColors(this.view.root).ink, width: 1, dash: "dot" };
    return [{ type: "scatter", mode: "lines", x: ends, y: ends, line, hoverinfo: "skip", name: "A = B" }];
  }

  /** A ring about the point of the frame that is shown; the plot itself is not redrawn. */
  markCurrent() {
    const { xaxis, yaxis } = this.scatter._fullLayout ?? {};
    const i = this.data?.rows.indexOf(this.view.frame?.row ?? -1) ?? -1;
    const place = i >= 0 && xaxis ? [xaxis.d2p(this.data.x[i]), yaxis.d2p(this.data.y[i])] : [];
    const isSeen = place.length && place[0] >= 0 && place[0] <= xaxis._length && place[1] >= 0 && place[1] <= yaxis._length;
    this.current.hidden = !isSeen;
    if (!isSeen) return;
    this.current.style.left = `${xaxis._offset + place[0]}px`;
    this.current.style.top = `${yaxis._offset + place[1]}px`;
  }

  drawScatter(width) {
    const { view, data } = this;
    const traces = [...this.pointTraces(), ...this.diagonalTrace()];
    const type = this.logarithmic ? "log" : "linear";
    return window.digitPlotly.react(this.scatter, traces, plotLayout(view, {
      width,
      height: 190,
      xaxis: plotAxis(view, data.titles.x, this.mapSpace ? "linear" : type),
      yaxis: plotAxis(view, data.titles.y, this.mapSpace ? "linear" : type),
      dragmode: "select",
      showlegend: true,
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
    this.scatter.on("plotly_afterplot", () => this.markCurrent()); // drawn, zoomed, moved
    this.scatter.on("plotly_selected", (event) => {
      if (event?.points?.length) view.filter({ chosen: event.points.map((point) => point.customdata) });
    });
    this.scatter.on("plotly_deselect", () => { if (view.page.state.chosen) view.filter({}); });
    this.scatter.on("plotly_click", (event) => view.send("show", { row: event.points[0].customdata }));
    this.scatter.on("plotly_hover", (event) => this.askTip(event.points[0]));
    this.scatter.on("plotly_unhover", () => this.hideTip());
    this.histogram.on("plotly_selected", (event) => {
      if (!event?.range) return;
      view.filter({ ranges: [...view.page.state.ranges, [this.data.axes.bars, ...event.range.x]] });
    });
  }

  // The thumbnail of the point under the mouse

  askTip(point) {
    clearTimeout(this.tipTimer);
    this.tipRow = point.customdata;
    this.tipTimer = setTimeout(() => this.view.send("tip", { row: this.tipRow }), TIP_DELAY_MS);
  }

  takeTip(message, picture) {
    if (message.row !== this.tipRow) return;
    this.tip.replaceChildren(make("img", { src: pictureUrl(picture), alt: message.title }));
    this.tip.hidden = false;
  }

  hideTip() {
    clearTimeout(this.tipTimer);
    this.tipRow = null;
    this.tip.hidden = true;
  }

  purge() {
    clearTimeout(this.timer);
    clearTimeout(this.tipTimer);
    for (const end of ["pointerup", "pointercancel", "blur"]) window.removeEventListener(end, this.release, true);
    for (const plot of [this.scatter, this.histogram]) window.digitPlotly?.purge(plot);
  }
}
