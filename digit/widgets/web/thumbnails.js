// The thumbnails of the frames that pass: pages, their size, and a choice of several frames.
// `view` is the FailureBrowserView in failure_browser.js.

const THUMBNAIL_COLUMNS = { least: 3, first: 6, most: 10 };

/** Thumbnails on a page with so many columns: half as many rows. */
function thumbnailsPerPage(columns) {
  return columns * Math.ceil(columns / 2);
}

class Thumbnails {
  constructor(view) {
    this.view = view;
    this.columns = THUMBNAIL_COLUMNS.first;
    this.selected = new Set(); // rows
    this.lastClicked = null;
    this.build();
  }

  build() {
    const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
    this.grid = make("div", { className: "digit-thumbs", title: "click shows a frame; Ctrl and Shift choose several" });
    this.jump = make("input", { type: "number", min: 1, className: "digit-jump", title: "go to this page", ariaLabel: "page", onchange: () => this.turnTo(Number(this.jump.value) - 1) });
    this.label = make("span", { className: "digit-page" });
    this.size = make("input", {
      type: "range",
      min: THUMBNAIL_COLUMNS.least,
      max: THUMBNAIL_COLUMNS.most,
      value: THUMBNAIL_COLUMNS.most + THUMBNAIL_COLUMNS.least - this.columns,
      className: "digit-size",
      title: "size of the thumbnails",
      onchange: () => this.resize(THUMBNAIL_COLUMNS.most + THUMBNAIL_COLUMNS.least - Number(this.size.value)),
    });
    this.joints = make("input", { type: "checkbox", onchange: () => this.ask({ with_joints: this.joints.checked }) });
    this.bulk = make("div", { className: "digit-row digit-bulk", hidden: true });
    this.element = make("div", {}, this.grid, this.bulk, make(
      "div", { className: "digit-row" },
      button("◂ page", "", () => this.turn(-1)),
      this.jump,
      this.label,
      button("page ▸", "", () => this.turn(1)),
      button("choose page", "choose all frames of this page, to tag or export them", () => this.choosePage()),
      make("label", {}, "size ", this.size),
      make("label", { title: "the predictions that are stored beside the table" }, this.joints, "joints"),
    ));
  }

  // Pages

  get pages() {
    return Math.max(1, this.view.page.pages);
  }

  ask(changes) {
    this.view.send("page", { page: this.view.page.page, ...changes });
  }

  turn(by) {
    this.turnTo(this.view.page.page + by);
  }

  turnTo(page) {
    const next = Math.min(this.pages - 1, Math.max(0, page || 0));
    if (next === this.view.page.page) this.jump.value = next + 1;
    else this.ask({ page: next });
  }

  /** Other columns; the first frame stays on the page. */
  resize(columns) {
    const first = this.view.page.page * thumbnailsPerPage(this.columns);
    this.columns = columns;
    const per_page = thumbnailsPerPage(columns);
    this.ask({ page: Math.floor(first / per_page), per_page });
  }

  draw() {
    const { page } = this.view;
    const sort = this.view.column(page.state.sort)?.title ?? page.state.sort;
    this.jump.value = page.page + 1;
    this.jump.max = this.pages;
    this.label.textContent = `of ${this.pages}, ${sort}`;
    this.grid.style.setProperty("--columns", this.columns);
    for (const image of this.grid.querySelectorAll("img")) retireUrl(image.src);
    replaceKeepingFocus(this.grid, page.cells.map((cell, i) => this.cell(cell, page.pictures[i])));
    this.markCurrent();
    this.drawChoice();
  }

  cell(cell, picture) {
    const image = cell.fault
      ? make("i", { textContent: "no picture" })
      : make("img", { src: pictureUrl(picture), alt: cell.title });
    const button = make("button", {
      title: cell.fault || cell.title,
      onclick: (event) => this.click(cell.row, event),
    }, make("span", { className: "digit-thumb" }, image), make("span", { textContent: cell.text }));
    if (cell.joints) button.firstChild.insertAdjacentHTML("beforeend", this.jointsSvg(cell.joints));
    button.dataset.row = cell.row;
    button.classList.toggle("marked", cell.marked);
    return button;
  }

  jointsSvg(joints) {
    const { chains, fingers } = this.view.state;
    return `<svg viewBox="0 0 100 100">${handsSvg(joints, { chains, colors: fingers, bones: true })}</svg>`;
  }

  /** Mark the frame that is shown; only its thumbnail is a stop of the Tab key. */
  markCurrent() {
    for (const cell of this.grid.children) {
      const isCurrent = Number(cell.dataset.row) === this.view.frame?.row;
      cell.classList.toggle("at", isCurrent);
      cell.tabIndex = isCurrent ? 0 : -1;
    }
  }

  drawMarks(marked) {
    for (const cell of this.grid.children) cell.classList.toggle("marked", marked.has(Number(cell.dataset.row)));
  }

  // Several frames

  /** Show a frame; with Ctrl add it to the choice, with Shift all up to it. */
  click(row, event) {
    if (event.shiftKey && this.lastClicked !== null) this.chooseUpTo(row);
    else if (event.ctrlKey || event.metaKey) {
      if (!this.selected.delete(row)) this.selected.add(row);
    } else return this.view.send("show", { row });
    this.lastClicked = row;
    this.drawChoice();
  }

  chooseUpTo(row) {
    const order = this.view.charts.chosenRows(); // all frames that pass, over all pages
    const ends = [order.indexOf(this.lastClicked), order.indexOf(row)].sort((a, b) => a - b);
    if (ends[0] < 0) return;
    for (const between of order.slice(ends[0], ends[1] + 1)) this.selected.add(between);
  }

  choosePage() {
    for (const cell of this.view.page.cells) {
      this.selected.add(cell.row);
      this.lastClicked = cell.row;
    }
    this.drawChoice();
  }

  chooseNone() {
    this.selected.clear();
    this.drawChoice();
  }

  /** The rows that a tag goes to; null for the frame that is shown. */
  rowsToTag() {
    return this.selected.size ? [...this.selected] : null;
  }

  drawChoice() {
    for (const cell of this.grid.children) cell.classList.toggle("chosen", this.selected.has(Number(cell.dataset.row)));
    this.bulk.hidden = !this.selected.size;
    this.view.root.dataset.chosen = this.selected.size;
    if (this.bulk.hidden) return;
    const { view } = this;
    const rows = [...this.selected];
    const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
    const tags = view.state.tags.slice(0, 5).map((tag) => button(tag, `set “${tag}” on all of them, or remove it where all have it`, () => view.send("tag", { tag, rows })));
    replaceKeepingFocus(this.bulk, [
      make("b", { textContent: `${rows.length} chosen:` }),
      ...tags,
      button("only these", "filter by the choice", () => view.send("filter", { chosen: rows })),
      button("export them", "rows with tags and notes, CSV", () => view.export(".csv", rows)),
      button("none", "give up the choice", () => this.chooseNone()),
    ]);
  }
}
