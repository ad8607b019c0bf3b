// A sequence of one camera played as a film: the frame above runs through it, with the
// error over time here. `view` is the FailureBrowserView.

const FILM_STEP_MS = 200; // between pictures: InterHand2.6M's five a second

class Film {
  constructor(view) {
    this.view = view;
    this.data = null;
    this.isPlaying = false;
    this.title = "the frame's sequence, seen by its camera";
    this.button = make("button", { className: "digit-play", textContent: "play ▸", onclick: () => this.toggle() });
    this.words = make("span");
    this.plot = make("div", { className: "digit-filmplot" });
    this.element = make("div", { className: "digit-film" }, make("div", { className: "digit-row" }, this.button, this.words), this.plot);
  }

  /** The tab was opened. */
  open() {
    if (this.view.frame?.row != null) this.view.send("film");
  }

  take(message) {
    this.data = message;
    this.draw();
    this.view.root.dataset.film = message.rows.length;
  }

  /** Another frame is shown: of this film, or of another one. */
  takeFrame() {
    if (this.element.hidden || this.view.frame.row === null) return this.pause();
    if (!this.data?.rows.includes(this.view.frame.row)) {
      this.pause();
      this.open();
      return;
    }
    this.draw();
    if (this.isPlaying) this.playOn();
  }

  // Playing

  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  play() {
    if (!this.data || this.data.rows.length < 2) return;
    this.isPlaying = true;
    this.button.textContent = "pause";
    this.shownAt = performance.now() - FILM_STEP_MS;
    this.playOn();
  }

  pause() {
    this.isPlaying = false;
    clearTimeout(this.timer);
    this.button.textContent = "play ▸";
  }

  /** The next frame, when the last one was seen long enough. */
  playOn() {
    const wait = Math.max(0, FILM_STEP_MS - (performance.now() - this.shownAt));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const { rows } = this.data;
      const at = (rows.indexOf(this.view.frame.row) + 1) % rows.length;
      this.shownAt = performance.now();
      const ahead = [1, 2].map((more) => rows[(at + more) % rows.length]);
      this.view.send("visit", { row: rows[at], ahead });
    }, wait);
  }

  // The error over time

  draw() {
    const { view, data } = this;
    if (this.element.hidden || !window.digitPlotly || !data) return;
    const { state, frame } = view;
    const at = data.rows.indexOf(frame.row);
    this.words.textContent = `${data.title}: ${data.rows.length} frame${data.rows.length === 1 ? "" : "s"}`;
    this.button.disabled = data.rows.length < 2;
    const lines = data.errors.map((errors, model) => ({
      type: "scatter",
      mode: "lines+markers",
      name: "AB"[model],
      x: data.instants,
      y: errors,
      customdata: data.rows,
      line: { color: state.line_colors[model], dash: model ? "dash" : "solid" },
      marker: { size: 5 },
      hovertemplate: "instant %{x}: %{y:.1f} mm<extra></extra>",
    }));
    const current = { type: "scatter", mode: "markers", x: [data.instants[at]], y: [data.errors[0][at]], marker: { size: 12, symbol: "circle-open", color: CURRENT_COLOR, line: { width: 2.5 } }, hoverinfo: "skip", showlegend: false };
    window.digitPlotly.react(this.plot, at < 0 ? lines : [...lines, current], plotLayout(view, {
      width: this.plot.clientWidth,
      height: 122,
      xaxis: plotAxis(view, "instant"),
      yaxis: { ...plotAxis(view, "MPJPE (mm)"), rangemode: "tozero" },
      showlegend: data.errors.length > 1,
      margin: { t: 8 },
    }), plotConfig());
    if (!this.isWired) {
      this.isWired = true;
      this.plot.on("plotly_click", (event) => view.send("visit", { row: event.points[0].customdata }));
    }
  }

  purge() {
    this.pause();
    window.digitPlotly?.purge(this.plot);
  }
}
