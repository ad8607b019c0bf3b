// Why a frame fails: its error when a square is covered, the box is moved or scaled, the
// picture mirrored, its colour taken away. Made on demand; `view` is the FailureBrowserView.

class Why {
  constructor(view) {
    this.view = view;
    this.data = null;
    this.title = "what small changes of the picture and the box do to the error";
    this.button = make("button", { className: "digit-whybutton", textContent: "try small changes", title: "the network runs on some 300 changed pictures", onclick: () => this.ask() });
    this.words = make("span", { className: "digit-whywords" });
    this.map = make("div", { className: "digit-whymap" });
    this.curves = make("div", { className: "digit-whycurves" });
    this.body = make("div", { className: "digit-whybody", hidden: true }, this.map, this.curves);
    this.element = make("div", { className: "digit-why" }, make("div", { className: "digit-row" }, this.button, this.words), this.body);
  }

  ask() {
    this.words.textContent = "Beginning …";
    this.view.send("why");
  }

  open() {
    this.draw();
  }

  takeProgress(message) {
    this.words.textContent = message.text;
  }

  take(message, [picture]) {
    if (this.data) retireUrl(this.data.url);
    this.data = { ...message, url: pictureUrl(picture) };
    this.draw();
    this.view.root.dataset.why = message.row;
  }

  draw() {
    const { data, view } = this;
    if (this.element.hidden || !view.frame) return;
    const isOfFrame = data?.row === view.frame.row;
    this.body.hidden = !isOfFrame;
    if (!isOfFrame) {
      this.words.textContent = "covers squares, moves and scales the box, mirrors, takes the colour away; some seconds";
      return;
    }
    this.words.textContent = `Error as it is ${data.plain_mm} mm; mirrored ${data.mirrored_mm} mm. Covering one of ${data.cells} × ${data.cells} squares changes it by ${this.signed(data.lowest_mm)} to ${this.signed(data.highest_mm)} mm.`;
    this.drawMap();
    if (window.digitPlotly) this.drawCurves();
  }

  /** A change with its sign. */
  signed(change) {
    return `${change < 0 ? "−" : "+"}${Math.abs(change)}`;
  }

  drawMap() {
    const { data } = this;
    const cell = 100 / data.cells;
    const squares = data.changes_mm.flatMap((row, y) => row.map((change, x) =>
      `<rect x="${x * cell}" y="${y * cell}" width="${cell}" height="${cell}" fill="transparent"><title>covered here: ${this.signed(change)} mm</title></rect>`));
    const figure = make("div", { className: "digit-whypicture" }, make("img", { src: data.url, alt: "change of the error with a square covered at each place" }));
    figure.insertAdjacentHTML("beforeend", `<svg viewBox="0 0 100 100">${squares.join("")}</svg>`);
    const scale = make("div", { className: "digit-scale" }, `−${data.scale_mm}`, make("i", { className: "digit-diverging" }), `+${data.scale_mm} mm`);
    this.map.replaceChildren(figure, scale);
  }

  /** The box scaled, the box moved, the colour taken away: three plots over one axis of errors. */
  drawCurves() {
    const { view, data } = this;
    const [scaled, right, down, grey] = data.curves;
    const line = (curve, name, column, dash, color) => ({
      type: "scatter",
      mode: "lines+markers",
      name,
      x: curve.amounts,
      y: curve.errors_mm,
      xaxis: `x${column || ""}`,
      line: { dash, color },
      marker: { size: 4 },
      showlegend: column === 2,
      hovertemplate: `${curve.name} %{x}: %{y:.1f} mm<extra></extra>`,
    });
    const [first, second] = view.state.line_colors;
    const axis = (title, domain) => ({ ...plotAxis(view, title), domain, nticks: 4, tickangle: 0 });
    window.digitPlotly.react(this.curves, [
      line(scaled, "scaled", 0, "solid", first),
      line(right, "right", 2, "solid", first),
      line(down, "down", 2, "dash", second),
      line(grey, "grey", 3, "solid", first),
    ], plotLayout(view, {
      width: this.curves.clientWidth,
      height: 190,
      xaxis: axis("box scale", [0, 0.3]),
      xaxis2: axis("box shift", [0.36, 0.66]),
      xaxis3: axis("grey share", [0.72, 1]),
      yaxis: { ...plotAxis(view, "MPJPE (mm)"), rangemode: "tozero" },
      legend: { x: 0.37, y: 1.02, yanchor: "bottom", orientation: "h" },
      margin: { t: 22 },
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: data.plain_mm, y1: data.plain_mm, line: { dash: "dot", width: 1, color: themeColors(view.root).ink } }],
    }), plotConfig());
  }

  purge() {
    window.digitPlotly?.purge(this.curves);
  }
}
