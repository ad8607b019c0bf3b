// The page of digit.widgets.failure_browser.FailureBrowser: it draws what the kernel sends
// (digit/widgets/page_messages.py) and sends back what is done. Everything is drawn from the
// last "state", "page", "charts" and "frame" message.

const RESIZE_DELAY_MS = 150;
const KEY_HELP = [
  ["← → or k j", "previous, next frame"],
  ["t", "first tag"],
  ["1 – 9", "tags"],
  ["n", "write a note; Esc leaves it"],
  ["u", "take back the last tag or note"],
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
    this.thumbnails = new Thumbnails(this);
    this.pane = new FramePane(this);
    this.say = make("div", { className: "digit-say", role: "status" });
    this.keys = this.buildKeyHelp();
    this.root.append(
      this.warning,
      this.verdict,
      this.filterBar.element,
      make("div", { className: "digit-main" },
        make("div", { className: "digit-left" }, this.charts.element, this.thumbnails.element),
        make("div", { className: "digit-right" }, this.pane.element)),
      this.buildFoot(),
      this.say,
      this.keys,
    );
  }

  buildFoot() {
    const exportButton = (text, title, ending) => make("button", { textContent: text, title, onclick: () => this.export(ending) });
    this.second = make("input", { type: "text", className: "digit-second", placeholder: "second model: run or table" });
    this.pageButton = exportButton("page", "one HTML file that opens without a kernel", ".html");
    return make(
      "div", { className: "digit-row digit-foot" },
      "export frames that pass: ",
      exportButton("list", "file names, .txt", ".txt"),
      exportButton("CSV", "rows with tags and notes", ".csv"),
      this.pageButton,
      this.second,
      make("button", { textContent: "compare", title: "load it as model B", onclick: () => this.send("compare", { path: this.second.value }) }),
      make("button", { textContent: "full screen", title: "the browser alone; Esc leaves", onclick: () => this.root.requestFullscreen?.() }),
      make("button", { textContent: "keys", title: "key ?", onclick: () => this.toggleKeys() }),
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
    this.filter({ query: "", slices: [], ranges: [] });
  }

  /** Change the order of the frames, keeping points that were chosen. */
  reorder(changes) {
    this.send("filter", changes);
  }

  step(by) {
    this.send("step", { by });
  }

  export(ending) {
    this.say.textContent = "Exporting …";
    this.send("export", { ending });
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
    if (event.key === "Escape") this.focus();
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
      t: () => this.send("tag", { tag: tags[0] }),
      n: () => this.pane.note.focus(),
      u: () => this.send("undo"),
      "/": () => this.filterBar.query.focus(),
      "?": () => this.toggleKeys(),
    };
    const numbered = tags[Number(key) - 1];
    if (numbered) return () => this.send("tag", { tag: numbered });
    return actions[key];
  }

  toggleKeys() {
    this.keys.hidden = !this.keys.hidden;
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
    this.pageButton.textContent = `page (first ${message.page_limit})`;
    this.filterBar.drawState();
    this.charts.drawState();
    this.pane.drawState();
  }

  takePage(message, buffers) {
    this.page = { ...message, pictures: buffers };
    this.filterBar.drawPage();
    this.thumbnails.draw();
    this.root.dataset.shown = message.shown;
  }

  takeCharts(message, buffers) {
    this.charts.take(message, buffers);
    this.charts.drawSoon(0); // when the picture is on the screen
  }

  takeFrame(message, buffers) {
    this.pane.saveNote(); // of the frame before
    for (const picture of this.frame?.pictures ?? []) URL.revokeObjectURL(picture.url);
    this.frame = message;
    message.pictures?.forEach((picture, i) => { picture.url = pictureUrl(buffers[i]); });
    this.say.textContent = "";
    this.pane.draw();
    this.thumbnails.markCurrent();
    if (this.charts.marksCurrent) this.charts.drawSoon(RESIZE_DELAY_MS);
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
  const observer = new ResizeObserver(redrawSoon);
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
