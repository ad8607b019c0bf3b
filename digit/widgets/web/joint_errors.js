// The error of each joint as bars; the left hand's are hatched. `view` is the
// FailureBrowserView.

class JointErrors {
  constructor(view) {
    this.view = view;
    this.element = make("div", { className: "digit-errors" });
  }

  /** The tab was opened. */
  open() {
    this.draw();
  }

  draw() {
    const { view } = this;
    const { frame, state } = view;
    if (this.element.hidden || !window.digitPlotly || !frame?.errors) return;
    const two = state.models.length > 1;
    const bars = frame.errors.flatMap((errors, model) => [0, 1].flatMap((side) => this.bars(errors, model, side)));
    const hint = { text: "right: plain, left: hatched", x: 1, xanchor: "right", y: 1.14, xref: "paper", yref: "paper", showarrow: false };
    window.digitPlotly.react(this.element, bars, plotLayout(view, {
      width: this.element.clientWidth,
      height: 150,
      barmode: "group",
      bargap: 0.25,
      xaxis: { tickangle: -45, dtick: 1 },
      yaxis: { ...plotAxis(view, "error (mm)"), rangemode: "tozero" },
      showlegend: two,
      legend: { x: 0, y: 1.02, yanchor: "bottom", orientation: "h" },
      margin: { b: 48, t: two ? 24 : 14 },
      annotations: two ? [] : [hint],
    }), plotConfig());
    if (!this.isWired) this.wire();
  }

  wire() {
    this.isWired = true;
    this.element.on("plotly_hover", (event) => this.view.pointAtJoint(event.points[0].customdata, "bars"));
    this.element.on("plotly_unhover", () => this.view.pointAtJoint(null, "bars"));
  }

  /** The bars of one hand of one model; none where no joint has an error. */
  bars(errors, model, side) {
    const { state, root } = this.view;
    const two = state.models.length > 1;
    const ofHand = errors.slice(JOINTS_PER_HAND * side, JOINTS_PER_HAND * (side + 1));
    if (ofHand.every((error) => error === null)) return [];
    const names = state.joints.slice(0, JOINTS_PER_HAND).map((name) => name.slice(2));
    const pattern = {
      shape: SIDE_LOOKS[side].plotlyPattern,
      fillmode: "overlay",
      fgcolor: themeColors(root).ink,
      fgopacity: 0.7,
      solidity: 0.2,
      size: 5,
    };
    return [{
      type: "bar",
      x: names,
      y: ofHand,
      customdata: names.map((_, joint) => joint + JOINTS_PER_HAND * side),
      name: two ? `${"AB"[model]} ${SIDE_NAMES[side]}` : SIDE_NAMES[side],
      marker: { color: two ? state.line_colors[model] : names.map((_, joint) => state.fingers[side][fingerOf(joint)]), pattern },
      opacity: two && side ? 0.75 : 1,
      hovertemplate: "%{x}: %{y:.1f} mm<extra>%{fullData.name}</extra>",
    }];
  }

  purge() {
    window.digitPlotly?.purge(this.element);
  }
}
