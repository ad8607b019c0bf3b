// The filter of the failure browser: slices, the condition, ranges, and the order.
// `view` is the FailureBrowserView in failure_browser.js.

/** Options of a select, in the groups that the columns name. */
function setColumnOptions(select, columns, chosen) {
  const groups = new Map();
  for (const column of columns) {
    if (!groups.has(column.group)) groups.set(column.group, make("optgroup", { label: column.group }));
    const option = make("option", { value: column.name, textContent: column.title, title: `${column.name}: ${column.help}` });
    groups.get(column.group).append(option);
  }
  select.replaceChildren(...groups.values());
  if (chosen !== undefined) select.value = chosen;
}

/** Slices, the condition, ranges, and the order. */
class FilterBar {
  constructor(view) {
    this.view = view;
    const div = (name, ...children) => make("div", { className: `digit-${name}` }, ...children);
    this.slices = div("row digit-slices");
    this.query = make("input", {
      type: "text",
      className: "digit-query",
      placeholder: "filter: mpjpe > 60 and hidden < 0.3",
      title: "a condition on columns, for instance hand_type == 'interacting'; Enter applies it, Tab completes",
      onchange: () => view.filter({ query: this.query.value }),
    });
    this.completion = new Completion(this.query, () => view.state?.columns ?? []);
    this.fault = make("div", { className: "digit-filterfault", role: "alert" });
    this.column = make("select", { className: "digit-column", onchange: () => this.offerRange() });
    this.ends = make("span", { className: "digit-ends" });
    this.sort = make("select", { className: "digit-sort", onchange: () => view.reorder({ sort: this.sort.value }) });
    this.order = make("button", {
      className: "digit-order",
      title: "turn the order round",
      onclick: () => view.reorder({ descending: !view.page.state.descending }),
    });
    this.count = make("b", { className: "digit-count" });
    this.chips = div("row digit-chips");
    this.views = new Views(view);
    this.element = div(
      "filter",
      this.slices,
      div(
        "row",
        this.completion.element,
        view.label("only", this.column),
        this.ends,
        make("button", { textContent: "add", title: "keep frames within these ends; a blank end is open", onclick: () => this.addRange() }),
        view.label("sort by", this.sort),
        this.order,
      ),
      this.fault,
      div("row digit-lastrow", this.count, this.chips, this.views.element),
    );
  }

  drawState() {
    const { columns } = this.view.state;
    setColumnOptions(this.column, columns, this.column.value || "mpjpe");
    setColumnOptions(this.sort, columns, this.view.page?.state.sort);
    this.offerRange();
    this.views.drawState();
  }

  /** Fields for the ends of a range; the placeholders tell what there is. */
  offerRange() {
    const column = this.view.column(this.column.value);
    if (column.words) {
      const select = make("select");
      setOptions(select, column.words);
      this.ends.replaceChildren(select);
      return;
    }
    const field = (end, name) => make("input", {
      type: "number",
      step: "any",
      placeholder: column.range ? `${name} ${Number(column.range[end].toPrecision(4))}` : name,
      title: column.range ? `${name} ${column.range[end]}; blank is open` : "",
      ariaLabel: `${name}, ${column.title}`,
      onkeydown: (event) => { if (event.key === "Enter") this.addRange(); },
    });
    this.ends.replaceChildren(field(0, "from"), " … ", field(1, "to"));
  }

  addRange() {
    const fields = [...this.ends.querySelectorAll("input, select")];
    const ends = fields.map((field) => {
      if (field.type !== "number") return field.value;
      return field.value === "" ? null : Number(field.value);
    });
    this.view.filter({ ranges: [...this.view.page.state.ranges, [this.column.value, ...ends]] });
  }

  drawPage() {
    const { view } = this;
    const { page, state } = view;
    this.fault.textContent = "";
    this.query.classList.remove("invalid");
    this.query.value = page.state.query;
    this.sort.value = page.state.sort;
    this.order.textContent = page.state.descending ? "descending" : "ascending";
    this.count.textContent = `${page.shown.toLocaleString("en")} of ${page.total.toLocaleString("en")} frames`;

    const slices = Object.entries(state.slices).map(([name, condition]) => make("button", {
      textContent: name,
      title: condition,
      className: page.state.slices.includes(name) ? "on" : "",
      onclick: () => this.toggleSlice(name),
    }));
    const clear = make("button", { textContent: "clear", title: "all frames again", onclick: () => view.clearFilter() });
    replaceKeepingFocus(this.slices, [...slices, clear]);

    const chips = page.chips.map((chip, i) => {
      const unknown = chip.unknown ? `, ${chip.unknown} without a value left out` : "";
      const others = page.state.ranges.filter((_, j) => j !== i);
      return this.chip(`${chip.text}${unknown}`, () => view.filter({ ranges: others }));
    });
    if (page.state.chosen) chips.push(this.chip("points chosen in the plot", () => view.filter({})));
    if (page.state.like) {
      const [space, image] = page.state.like;
      const title = state.spaces[space] ?? space;
      chips.push(this.chip(`like image ${image} by ${title}`, () => view.reorder({ like: null })));
    }
    replaceKeepingFocus(this.chips, chips);
  }

  chip(text, remove) {
    return make("button", { textContent: `${text} ×`, title: "remove", onclick: remove });
  }

  toggleSlice(name) {
    const { slices } = this.view.page.state;
    const without = slices.filter((other) => other !== name);
    this.view.filter({ slices: slices.includes(name) ? without : [...slices, name] });
  }

  showFault(text) {
    this.query.classList.add("invalid");
    this.fault.textContent = `${text} The frames below pass the former filter.`;
  }
}
