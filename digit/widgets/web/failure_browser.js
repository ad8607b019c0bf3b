// The page of digit.widgets.failure_browser.FailureBrowser: it draws what the kernel sends
// (digit/widgets/*_messages.py) and sends back what is done. Everything is drawn from the
// last "state", "page", "charts" and "frame" message.

const RESIZE_DELAY_MS = 150;
const KEY_HELP = [
  ["← → or k j", "previous, next frame"],
  ["t", "first tag"],
  ["1 – 9", "tags, of the chosen frames where there are any"],
  ["n", "write a note; Esc leaves it"],
  ["u, r", "undo, redo: filters, order, tags, notes"],
  ["l", "frames like this one"],
  ["w", "whole picture and other cameras"],
  ["+ − 0", "zoom the crop"],
  ["p", "play the sequence"],
  ["/", "filter"],
  ["Esc", "leave a field"],
  ["?", "these keys"],
];

/** Whether keys belong to the element: they are text then. */
function takesText(element) {
  return element.matches("textarea, input[type=text], input[type=number]");
}

class FailureBrowserView {
  constructor(model, el) {
    this.model = model;
    this.state = null; // columns, layers, tags …
    this.page = null; // thumbnails and the filter
    this.frame = null;
    this.root = make("div", { className: "digit", tabIndex: 0 });
    this.root.dataset.lmSuppressShortcuts = "true"; // keys are ours, not the notebook's
    el.append(this.root);
    this.build();
    this.listen();
  }

  build() {
    this.warning = make("div", { className: "digit-warning", textContent: "Waiting for the kernel. If nothing comes, run this cell again." });
    this.verdict = make("div", { className: "digit-verdict" });
    this.filterBar = new FilterBar(this);
    this.charts = new Charts(this);
    this.groups = new Groups(this);
    this.thumbnails = new Thumbnails(this);
    this.pane = new FramePane(this);
    this.foot = new Foot(this);
    this.context = new Context(this);
    this.say = make("div", { className: "digit-say", role: "status" });
    this.keys = this.buildKeyHelp();
    const plots = { element: this.charts.element, title: "scatter plot, map and histogram", open: () => this.charts.drawSoon(0) };
    this.leftTabs = new Tabs({ plots, groups: this.groups });
    this.root.append(
      this.warning,
      this.verdict,
      this.filterBar.element,
      make("div", { className: "digit-main" },
        make("div", { className: "digit-left" }, this.leftTabs.element, this.thumbnails.element),
        make("div", { className: "digit-right" }, this.pane.element)),
      this.foot.element,
      this.say,
      this.keys,
      this.context.element,
    );
  }

  buildKeyHelp() {
    const rows = KEY_HELP.map(([key, text]) => make("tr", {}, make("th", { textContent: key }), make("td", { textContent: text })));
    return make("div", { className: "digit-keys", hidden: true }, make("table", {}, ...rows));
  }

  label(text, ...nodes) {
    return make("label", {}, `${text} `, ...nodes);
  }

  // To the kernel

  send(request, content = {}) {
    this.model.send({ do: request, ...content });
  }

  /** Change the filter; points that were chosen in a plot are given up. */
  filter(changes) {
    this.send("filter", { chosen: null, ...changes });
  }

  clearFilter() {
    this.filter({ query: "", slices: [], ranges: [], like: null });
  }

  /** Change the order of the frames, keeping points that were chosen. */
  reorder(changes) {
    this.send("filter", changes);
  }

  step(by) {
    this.send("step", { by });
  }

  export(ending, rows = null) {
    this.say.textContent = "Exporting …";
    this.send("export", { ending, rows });
  }

  /** Set or remove a tag of the chosen frames, or of the one that is shown. */
  tag(tag) {
    this.send("tag", { tag, rows: this.thumbnails.rowsToTag() });
  }

  /** What the page alone knows of the view: it is saved with it. */
  pageLook() {
    const { crops, opacity } = this.pane;
    return { shows: { ...crops.shows }, opacity: Number(opacity.value), log: this.charts.logarithmic };
  }

  takePageLook({ shows = {}, opacity = 1, log = false }) {
    const { crops } = this.pane;
    Object.assign(crops.shows, shows);
    this.pane.opacity.value = opacity;
    crops.opacity = opacity;
    this.charts.logarithmic = log;
    this.charts.log.checked = log;
    this.pane.drawChecks();
    if (this.frame) this.pane.draw();
  }

  column(name) {
    return this.state.columns.find((column) => column.name === name);
  }

  // Keys and focus

  listen() {
    this.root.addEventListener("keydown", (event) => this.key(event));
    // A button or a menu gives the focus back, so that the keys go on working.
    this.root.addEventListener("click", (event) => { if (event.target.closest("button")) this.focus(); });
    this.root.addEventListener("change", (event) => { if (!takesText(event.target)) this.focus(); });
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  key(event) {
    event.stopPropagation(); // the notebook has keys of its own
    if (event.key === "Escape") {
      this.context.element.hidden = true;
      this.focus();
    }
    if (takesText(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = this.actionOf(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  }

  actionOf(key) {
    const tags = this.state?.tags ?? [];
    const actions = {
      ArrowRight: () => this.step(1),
      j: () => this.step(1),
      ArrowLeft: () => this.step(-1),
      k: () => this.step(-1),
      t: () => this.tag(tags[0]),
      n: () => this.pane.note.focus(),
      u: () => this.send("undo"),
      r: () => this.send("redo"),
      l: () => this.pane.askLike(),
      w: () => this.send("whole"),
      p: () => this.play(),
      "+": () => this.pane.crops.zoomBy(ZOOM_STEP),
      "-": () => this.pane.crops.zoomBy(1 / ZOOM_STEP),
      0: () => this.pane.crops.wholeCrop(),
      "/": () => this.filterBar.query.focus(),
      "?": () => this.toggleKeys(),
    };
    const numbered = tags[Number(key) - 1];
    if (numbered) return () => this.tag(numbered);
    return actions[key];
  }

  /** The film of the frame: opened first, then played or paused. */
  play() {
    const { film, tabs } = this.pane;
    if (film.element.hidden) tabs.open("over time");
    else film.toggle();
  }

  toggleKeys() {
    this.keys.hidden = !this.keys.hidden;
    if (!this.keys.hidden) this.keys.scrollIntoView({ block: "nearest" });
  }

  // From the kernel

  receive(message, buffers) {
    const handlers = {
      plotly: () => this.takePlotly(buffers[0]),
      state: () => this.takeState(message),
      page: () => this.takePage(message, buffers),
      charts: () => this.takeCharts(message, buffers),
      frame: () => this.takeFrame(message, buffers),
      marks: () => this.takeMarks(message),
      say: () => this.takeSay(message),
      export: () => this.takeExport(message, buffers),
      verdict: () => { this.verdict.textContent = message.text; },
      history: () => this.filterBar.views.takeHistory(message),
      views: () => this.filterBar.views.takeNames(message.names, message.chosen),
      view: () => this.takeView(message),
      groups: () => this.groups.take(message),
      film: () => this.pane.film.take(message),
      why: () => this.pane.why.take(message, buffers),
      why_progress: () => this.pane.why.takeProgress(message),
      whole: () => this.context.take(message, buffers),
      tip: () => this.charts.takeTip(message, buffers[0]),
    };
    handlers[message.kind]?.();
  }

  takePlotly(script) {
    if (!window.digitPlotly) loadPlotly(script);
    this.drawPlots();
  }

  takeState(message) {
    this.state = message;
    this.warning.textContent = message.warning;
    this.verdict.textContent = message.verdict;
    this.filterBar.drawState();
    this.charts.drawState();
    this.groups.drawState();
    this.pane.drawState();
    this.foot.drawState();
  }

  takePage(message, buffers) {
    this.page = { ...message, pictures: buffers };
    this.filterBar.drawPage();
    this.thumbnails.draw();
    this.refreshGroups(message.state);
    this.root.dataset.shown = message.shown;
  }

  /** Groups follow the filter, not the page of thumbnails. */
  refreshGroups(state) {
    const filter = JSON.stringify([state.query, state.slices, state.ranges]);
    if (filter !== this.groupedBy) this.groups.refresh();
    this.groupedBy = filter;
  }

  takeView({ name, page }) {
    this.takePageLook(page);
    this.filterBar.views.takeNames(this.state.views, name);
    this.say.textContent = `The view “${name}”.`;
  }

  takeCharts(message, buffers) {
    this.charts.take(message, buffers);
    this.charts.drawSoon(0); // when the picture is on the screen
  }

  takeFrame(message, buffers) {
    this.pane.saveNote(); // of the frame before
    const { pictures = [], baseUrl } = this.frame ?? {};
    for (const url of [...pictures.map((picture) => picture.url), baseUrl]) if (url) retireUrl(url);
    this.frame = message;
    this.hotJoint = null;
    this.root.dataset.joint = "";
    message.pictures?.forEach((picture, i) => { picture.url = pictureUrl(buffers[i]); });
    // Under a layer there is the picture itself as well.
    const base = buffers[message.pictures?.length ?? 0];
    message.baseUrl = base ? pictureUrl(base) : null;
    this.say.textContent = "";
    this.pane.draw();
    this.thumbnails.markCurrent();
    this.charts.markCurrent();
  }

  takeMarks(message) {
    this.state.tags = message.known;
    if (this.frame?.row != null && "tags" in message) {
      this.frame.tags = message.tags;
      this.frame.note = message.note;
      this.pane.takeMarks();
    }
    this.thumbnails.drawMarks(new Set(message.marked));
    this.root.dataset.marked = message.marked.length;
  }

  takeSay(message) {
    if (message.place === "filter") this.filterBar.showFault(message.text);
    else this.say.textContent = message.text;
  }

  /** Where the export is; small ones can be downloaded as well. */
  takeExport(message, buffers) {
    this.say.textContent = `${message.text} `;
    if (buffers.length) {
      const href = URL.createObjectURL(new Blob([buffers[0]]));
      this.say.append(make("a", { href, download: message.name, textContent: "download" }));
    } else this.say.append("(too large to download here)");
  }

  // The joint under the mouse, in the crop, the bars and the 3D view

  /** A joint's name and a model's error of it. */
  jointWords(joint, model) {
    const error = this.frame.errors[model]?.[joint] ?? null;
    return `${this.state.joints[joint]}: ${error === null ? "not measurable" : `${error} mm`}`;
  }

  pointAtJoint(joint) {
    if (joint === this.hotJoint || !this.frame || this.frame.row === null) return;
    this.hotJoint = joint;
    this.root.dataset.joint = joint ?? "";
    this.pane.markJoint(joint);
  }

  drawPlots() {
    this.charts.drawSoon(0);
    this.pane.drawPlots();
  }

  close() {
    this.charts.purge();
    this.pane.purge();
  }
}

function render({ model, el }) {
  const view = new FailureBrowserView(model, el);
  const receive = (message, buffers) => view.receive(message, buffers ?? []);
  model.on("msg:custom", receive);

  let timer = 0;
  const redrawSoon = () => {
    view.root.dataset.charts = "due";
    clearTimeout(timer);
    timer = setTimeout(() => view.drawPlots(), RESIZE_DELAY_MS);
  };
  // A text that takes another line changes the height alone: plots stay as they are.
  let width = 0;
  const observer = new ResizeObserver(() => {
    if (view.root.clientWidth !== width) redrawSoon();
    width = view.root.clientWidth;
  });
  observer.observe(view.root);
  const forgetTheme = onThemeChange(redrawSoon);

  view.send("hello", { plotly_there: Boolean(window.digitPlotly) });
  return () => {
    model.off("msg:custom", receive);
    observer.disconnect();
    forgetTheme();
    clearTimeout(timer);
    view.close();
  };
}
