// One frame of the failure browser: its name and facts, the crop, the hands in 3D, tags and
// note, and below them tabs: errors of the joints, the film, small changes.

const NOTE_DELAY_MS = 400; // after the last key until a note is saved
const PLOT_DELAY_MS = 0; // plots follow when the picture is on the screen

class FramePane {
  constructor(view) {
    this.view = view;
    this.plotTimer = 0;
    this.noteTimer = 0;
    this.crops = new Crops(view);
    this.hands = new Hands3D(view);
    this.errors = new JointErrors(view);
    this.film = new Film(view);
    this.why = new Why(view);
    this.build();
  }

  build() {
    const { view } = this;
    const div = (name, ...children) => make("div", { className: `digit-${name}` }, ...children);
    const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
    const lookSelect = (name) => make("select", {
      className: `digit-${name}`,
      onchange: (event) => view.send("look", { [name]: event.target.value }),
    });

    // 1. Name and facts
    this.title = make("b", { className: "digit-title" });
    this.facts = div("facts");
    this.chooser = make("details", { className: "digit-chooser" }, make("summary", { textContent: "columns", title: "choose what is written about a frame" }));
    this.fault = div("fault");

    // 2. What the crop shows
    this.layer = lookSelect("layer");
    this.part = lookSelect("part");
    this.joint = lookSelect("joint");
    this.checks = make("span", { className: "digit-shows" });
    this.opacity = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 1, className: "digit-opacity", title: "opacity of the layer", oninput: () => this.crops.setOpacity(Number(this.opacity.value)) });
    this.legend = div("legend");

    // 3. 3D
    this.camera = make("select", {
      className: "digit-camera",
      onchange: (event) => view.send("look", { camera: event.target.selectedIndex === 1 }),
    });
    setOptions(this.camera, ["wrists aligned", "camera space"]);

    // 4. Tags and note, frames like this one
    this.tags = make("span", { className: "digit-tags" });
    this.newTag = make("input", { type: "text", className: "digit-newtag", placeholder: "new tag", onchange: () => this.addTag() });
    this.note = make("textarea", {
      className: "digit-note",
      rows: 1,
      placeholder: "note (key n; Esc leaves); saved as you type",
      oninput: () => this.saveNoteSoon(),
      onblur: () => this.saveNote(),
    });
    this.space = make("select", { className: "digit-space", title: "what makes frames alike" });

    this.tabs = new Tabs({ joints: this.errors, "over time": this.film, why: this.why });
    this.element = div(
      "frame",
      div("row", button("◂ previous", "key ← or k", () => view.step(-1)), button("next ▸", "key → or j", () => view.step(1)), this.title),
      div("factrow", this.facts, this.chooser),
      this.fault,
      div("row", view.label("layer", this.layer), this.opacity, view.label("part", this.part), view.label("joint", this.joint), this.checks),
      div(
        "row",
        button("−", "smaller (key −)", () => this.crops.zoomBy(1 / ZOOM_STEP)),
        button("+", "larger (key +)", () => this.crops.zoomBy(ZOOM_STEP)),
        button("whole picture", "the whole picture and the other cameras' views (key w)", () => view.send("whole")),
        button("like this", "order all frames that pass by their likeness to this one (key l)", () => this.askLike()),
        view.label("by", this.space),
        view.label("3D", this.camera),
      ),
      div("views", this.crops.element, this.hands.element),
      this.legend,
      div("row", this.tags, this.newTag),
      this.note,
      this.tabs.element,
    );
  }

  drawState() {
    const { state } = this.view;
    setOptions(this.layer, state.layers, state.look.layer);
    setOptions(this.part, state.parts, state.look.part);
    setOptions(this.joint, state.joints, state.look.joint);
    this.drawChecks();
    const space = this.space.value;
    this.space.replaceChildren(...Object.entries(state.spaces).map(([value, textContent]) => make("option", { value, textContent })));
    if (space in state.spaces) this.space.value = space;
    this.drawChooser();
    this.drawTags();
  }

  drawChecks() {
    const { shows } = this.crops;
    this.checks.replaceChildren(...Object.keys(shows).map((name) => make("label", {}, make("input", {
      type: "checkbox",
      checked: shows[name],
      onchange: (event) => {
        shows[name] = event.target.checked;
        this.draw();
      },
    }), name)));
  }

  askLike() {
    this.view.send("like", { space: this.space.value });
  }

  // The columns that are written about a frame

  drawChooser() {
    const { columns, look } = this.view.state;
    this.chosenFacts = [...look.facts];
    const groups = new Map();
    for (const column of columns) {
      if (column.group === "joints" || column.group === "notes") continue;
      if (!groups.has(column.group)) groups.set(column.group, []);
      groups.get(column.group).push(this.factCheck(column));
    }
    const lists = [...groups].map(([group, checks]) => make("fieldset", {}, make("legend", { textContent: group }), ...checks));
    const list = make("div", { className: "digit-choices" }, make("div", {}, ...lists));
    this.chooser.replaceChildren(this.chooser.firstChild, list);
  }

  factCheck(column) {
    const check = make("input", {
      type: "checkbox",
      checked: this.chosenFacts.includes(column.name),
      onchange: () => {
        const without = this.chosenFacts.filter((name) => name !== column.name);
        this.chosenFacts = check.checked ? [...without, column.name] : without;
        this.view.send("look", { facts: this.chosenFacts });
      },
    });
    return make("label", { title: `${column.name}: ${column.help}` }, check, column.title);
  }

  // The frame

  draw() {
    const { view } = this;
    const { frame, state, root } = view;
    const isEmpty = frame.row === null;
    root.classList.toggle("digit-none", isEmpty);
    this.fault.textContent = frame.fault;
    if (isEmpty) {
      this.title.textContent = "";
      this.facts.textContent = "";
      root.dataset.row = "";
      return;
    }

    const passes = frame.position === null ? " (does not pass the filter)" : "";
    this.title.textContent = frame.title + passes;
    this.title.title = frame.key;
    this.facts.replaceChildren(...frame.facts.flatMap((fact, i) => [i ? " · " : "", this.fact(fact)]));
    this.camera.selectedIndex = frame.camera ? 1 : 0;
    this.part.disabled = !state.layers_by_part.includes(this.layer.value);
    this.joint.disabled = !state.layers_by_joint.includes(this.layer.value);
    this.opacity.disabled = !frame.baseUrl;
    root.classList.toggle("digit-two", state.models.length > 1);
    this.crops.draw();
    this.drawLegend();
    this.takeMarks();
    root.dataset.row = frame.row;
    root.dataset.layer = this.layer.value;
    this.drawPlotsSoon();
  }

  /** A fact; with a second model A's and B's value. */
  fact({ text, help, other }) {
    const node = make("span", { textContent: text, title: help });
    if (other !== undefined) node.append(make("span", { className: "digit-other", textContent: ` | B ${other}` }));
    return node;
  }

  // The legend, which also names the joint under the mouse

  drawLegend() {
    this.legend.style.minHeight = "";
    this.legend.replaceChildren(...this.legendEntries());
  }

  legendEntries() {
    const { frame, state } = this.view;
    if (this.layer.value === "wrong pixels") {
      return Object.entries(state.wrong_colors).map(([text, color]) =>
        make("span", {}, make("i", { style: `background:${color}` }), text));
    }
    const entries = frame.pictures.flatMap(({ heat }, model) => {
      if (!heat) return [];
      const name = state.models.length > 1 ? `${"AB"[model]}: ` : "";
      return [make("span", { className: "digit-scale" }, `${name}${heat.low}`, make("i", { className: "digit-heat" }), `${heat.high.toPrecision(2)} ${heat.unit}`)];
    });
    const texts = ["true: white, in 3D grey", "predicted: by finger", "right: solid, filled", "left: dashed, hollow"];
    if (frame.camera) texts.push("thick: right wrist → left wrist, true solid, predicted dashed");
    return [...entries, ...texts.map((text) => make("span", { textContent: text }))];
  }

  markJoint(joint) {
    this.crops.markJoint(joint);
    this.hands.markJoint(joint);
    if (joint === null) return this.drawLegend();
    const { models } = this.view.state;
    const words = models.map((_, model) => (models.length > 1 ? `${"AB"[model]} ` : "") + this.view.jointWords(joint, model));
    this.legend.style.minHeight = `${this.legend.offsetHeight}px`; // nothing moves under the mouse
    this.legend.replaceChildren(make("b", { className: "digit-hotjoint", textContent: words.join(" · ") }));
  }

  // Tags and note

  drawTags() {
    const { state, frame } = this.view;
    replaceKeepingFocus(this.tags, state.tags.slice(0, 9).map((tag, i) => make("button", {
      textContent: `${i + 1} ${tag}`,
      className: frame?.tags?.includes(tag) ? "on" : "",
      title: "set or remove; saved at once",
      onclick: () => this.view.tag(tag),
    })));
  }

  /** Show tags and note of the frame; a note that is being typed stays. */
  takeMarks() {
    const { frame } = this.view;
    if (document.activeElement !== this.note) this.note.value = frame.note;
    this.drawTags();
  }

  addTag() {
    const tag = this.newTag.value.trim();
    this.newTag.value = "";
    if (tag) this.view.tag(tag);
  }

  saveNoteSoon() {
    clearTimeout(this.noteTimer);
    this.noteTimer = setTimeout(() => this.saveNote(), NOTE_DELAY_MS);
  }

  saveNote() {
    clearTimeout(this.noteTimer);
    const { frame } = this.view;
    const text = this.note.value.trim();
    if (frame?.row == null || text === frame.note) return;
    frame.note = text;
    this.view.send("note", { text, row: frame.row });
  }

  // Plots

  drawPlotsSoon() {
    clearTimeout(this.plotTimer);
    this.plotTimer = setTimeout(() => this.drawPlots(), PLOT_DELAY_MS);
  }

  drawPlots() {
    const { frame, root } = this.view;
    if (!frame || frame.row === null) return;
    if (frame.pictures.length) this.hands.draw(this.crops.shows);
    if (!window.digitPlotly) return;
    this.errors.draw();
    this.film.takeFrame();
    this.why.draw();
    root.dataset.drawn = frame.row;
  }

  purge() {
    clearTimeout(this.plotTimer);
    for (const part of [this.hands, this.errors, this.film, this.why]) part.purge();
  }
}
