// Groups of the frames that pass: by sequence, camera, subject, family, or by clusters of
// failures. A click on a group filters by it.

const GROUP_HEADS = [
  { key: "value", title: "" },
  { key: "frames", title: "frames" },
  { key: "mean", title: "mean" },
  { key: "low", title: "95 % CI" },
  { key: "worst", title: "worst" },
];

class Groups {
  constructor(view) {
    this.view = view;
    this.data = null;
    this.sort = { key: "mean", descending: true };
    this.by = make("select", { className: "digit-groupby", onchange: () => this.ask() });
    this.metric = make("select", { className: "digit-groupmetric", onchange: () => this.ask() });
    this.table = make("table");
    this.note = make("div", { className: "digit-unknown" });
    this.title = "numbers of frames that belong together";
    this.element = make(
      "div", { className: "digit-groups" },
      make("div", { className: "digit-row" }, view.label("group by", this.by), view.label("metric", this.metric)),
      make("div", { className: "digit-grouptable" }, this.table),
      this.note,
    );
  }

  drawState() {
    const { groups, columns } = this.view.state;
    const chosen = this.by.value;
    this.by.replaceChildren(...groups.map(({ value, title }) => make("option", { value, textContent: title })));
    if (groups.some(({ value }) => value === chosen)) this.by.value = chosen;
    setColumnOptions(this.metric, columns.filter((column) => !column.words), this.metric.value || "mpjpe");
  }

  /** The tab was opened. */
  open() {
    if (this.view.state) this.ask();
  }

  ask() {
    if (this.by.value) this.view.send("groups", { by: this.by.value, metric: this.metric.value });
  }

  /** The filter has changed. */
  refresh() {
    if (!this.element.hidden) this.ask();
  }

  take(message) {
    this.data = message;
    this.draw();
    this.view.root.dataset.groups = message.groups.length;
  }

  /** The range that stands for a group. */
  rangeOf(value) {
    const { column } = this.data;
    return typeof value === "number" ? [column, value, value] : [column, value];
  }

  toggle(value) {
    const { ranges } = this.view.page.state;
    const range = JSON.stringify(this.rangeOf(value));
    const others = ranges.filter(([column]) => column !== this.data.column);
    const wasOn = ranges.some((other) => JSON.stringify(other) === range);
    this.view.filter({ ranges: wasOn ? others : [...others, this.rangeOf(value)] });
  }

  sortBy(key) {
    const isSame = this.sort.key === key;
    this.sort = { key, descending: isSame ? !this.sort.descending : key !== "value" };
    this.draw();
  }

  sorted() {
    const { key, descending } = this.sort;
    const sign = descending ? -1 : 1;
    return [...this.data.groups].sort(({ [key]: a }, { [key]: b }) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
    });
  }

  draw() {
    const { data } = this;
    const heads = GROUP_HEADS.map(({ key, title }) => {
      const arrow = this.sort.key === key ? (this.sort.descending ? " ▾" : " ▴") : "";
      return make("th", {}, make("button", { textContent: (title || data.title) + arrow, onclick: () => this.sortBy(key) }));
    });
    const most = Math.max(...data.groups.map((group) => group.mean), 1e-9);
    const rows = this.sorted().map((group) => this.row(group, most));
    this.table.replaceChildren(make("tr", {}, ...heads), ...rows);
    const left = data.left_out ? ` ${data.left_out} more groups are left out.` : "";
    this.note.textContent = data.groups.length
      ? `${data.metric_title}; interval by bootstrap over sequences, or over frames where there are under eight sequences. A click on a group filters by it.${left}`
      : "No frame that passes is in a group.";
  }

  row(group, most) {
    const range = JSON.stringify(this.rangeOf(group.value));
    const isOn = this.view.page.state.ranges.some((other) => JSON.stringify(other) === range);
    const number = (value) => (value === null ? "–" : value.toPrecision(3));
    const bar = make("i", { style: `width:${Math.max(0, (100 * group.mean) / most)}%` });
    return make(
      "tr", { className: isOn ? "on" : "", onclick: () => this.toggle(group.value) },
      make("td", {}, make("button", { textContent: group.value, title: "filter by this group, or by none" })),
      make("td", { textContent: group.frames }),
      make("td", { className: "digit-mean" }, bar, make("span", { textContent: number(group.mean) })),
      make("td", { textContent: group.low === null ? "–" : `${number(group.low)} … ${number(group.high)}` }),
      make("td", {}, make("button", {
        textContent: number(group.worst),
        title: "show the worst frame",
        onclick: (event) => { event.stopPropagation(); this.view.send("visit", { row: group.worst_row }); },
      })),
    );
  }
}
