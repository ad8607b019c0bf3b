// One frame of the failure browser: its crop under layers and joints, the hands in 3D, the
// error of each joint, tags and note.

const CROP_SIZE_PX = 384;
const TRUE_COLOR = "#8A8A8A"; // of true hands in 3D, on light and dark walls
const VECTOR_COLOR = "#CC79A7"; // from wrist to wrist, predicted
const NOTE_DELAY_MS = 400; // after the last key until a note is saved
const PLOT_DELAY_MS = 0; // plots follow when the picture is on the screen
const FIRST_EYE = { x: 1.2, y: -0.86, z: -3.1 }; // along digit.plots.style.VIEW_DIRECTION, by eye

class FramePane {
  constructor(view) {
    this.view = view;
    this.shows = { "true joints": true, "predicted joints": true, bones: true };
    this.plotTimer = 0;
    this.noteTimer = 0;
    this.build();
  }

  build() {
    const { view } = this;
    const div = (name, ...children) => make("div", { className: `digit-${name}` }, ...children);
    const lookSelect = (name) => make("select", {
      className: `digit-${name}`,
      onchange: (event) => view.send("look", { [name]: event.target.value }),
    });

    // 1. Name and facts
    this.title = make("b", { className: "digit-title" });
    this.facts = div("facts");
    this.fault = div("fault");

    // 2. What the crop shows
    this.layer = lookSelect("layer");
    this.part = lookSelect("part");
    this.joint = lookSelect("joint");
    this.checks = make("span", { className: "digit-shows" });
    this.crops = div("crops");
    this.legend = div("legend");

    // 3. 3D and errors
    this.camera = make("select", {
      className: "digit-camera",
      onchange: (event) => view.send("look", { camera: event.target.selectedIndex === 1 }),
    });
    setOptions(this.camera, ["wrists aligned", "camera space"]);
    this.hands = div("hands");
    this.errors = div("errors");

    // 4. Tags and note
    this.tags = make("span", { className: "digit-tags" });
    this.newTag = make("input", {
      type: "text",
      className: "digit-newtag",
      placeholder: "new tag",
      onchange: () => this.addTag(),
    });
    this.note = make("textarea", {
      className: "digit-note",
      rows: 1,
      placeholder: "note (key n; Esc leaves); saved as you type",
      oninput: () => this.saveNoteSoon(),
      onblur: () => this.saveNote(),
    });

    const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
    this.element = div(
      "frame",
      div("row", button("◂ previous", "key ← or k", () => view.step(-1)), button("next ▸", "key → or j", () => view.step(1)), this.title),
      this.facts,
      this.fault,
      div("row", view.label("layer", this.layer), view.label("part", this.part), view.label("joint", this.joint), this.checks),
      div("views", this.crops, div("space3d", view.label("3D", this.camera), this.hands)),
      this.legend,
      this.errors,
      div("row", this.tags, this.newTag, button("undo", "key u: take back the last tag or note", () => view.send("undo"))),
      this.note,
    );
  }

  drawState() {
    const { state } = this.view;
    setOptions(this.layer, state.layers, state.look.layer);
    setOptions(this.part, state.parts, state.look.part);
    setOptions(this.joint, state.joints, state.look.joint);
    this.checks.replaceChildren(...Object.keys(this.shows).map((name) => make("label", {}, make("input", {
      type: "checkbox",
      checked: this.shows[name],
      onchange: (event) => {
        this.shows[name] = event.target.checked;
        this.draw();
      },
    }), name)));
    this.drawTags();
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

    this.title.textContent = frame.title;
    this.title.title = frame.key;
    this.facts.replaceChildren(...frame.facts.flatMap((fact, i) => [
      i ? " · " : "",
      make("span", { textContent: fact.text, title: fact.help }),
    ]));
    this.camera.selectedIndex = frame.camera ? 1 : 0;
    this.part.disabled = !state.layers_by_part.includes(this.layer.value);
    this.joint.disabled = !state.layers_by_joint.includes(this.layer.value);
    root.classList.toggle("digit-two", state.models.length > 1);
    this.crops.replaceChildren(...frame.pictures.map((picture, i) => this.crop(picture, i)));
    this.legend.replaceChildren(...this.legendEntries());
    this.takeMarks();
    root.dataset.row = frame.row;
    root.dataset.layer = this.layer.value;
    this.drawPlotsSoon();
  }

  /** A model's picture under its joints. */
  crop(picture, model) {
    const { frame, state } = this.view;
    const { chains } = state;
    const { bones } = this.shows;
    const drawn = [];
    if (this.shows["true joints"]) {
      const titles = state.joints.map((name) => `${name}, true`);
      drawn.push(handsSvg(frame.true, { chains, colors: null, bones, titles }));
    }
    if (this.shows["predicted joints"] && picture.joints) {
      const titles = state.joints.map((name, joint) => {
        const error = frame.errors[model][joint];
        return `${name}: ${error === null ? "not measurable" : `${error} mm`}`;
      });
      drawn.push(handsSvg(picture.joints, { chains, colors: state.fingers, bones, titles }));
    }
    const name = state.models.length > 1 ? `${"AB"[model]}: ` : "";
    const image = make("img", { src: picture.url, alt: `crop of ${frame.key}` });
    const enlarge = () => this.view.root.classList.toggle("digit-large");
    const figure = make("figure", { title: "double click: larger or smaller", ondblclick: enlarge }, image, make("figcaption", { textContent: name + (picture.caption || "picture") }));
    image.insertAdjacentHTML("afterend", `<svg viewBox="-0.5 -0.5 ${CROP_SIZE_PX} ${CROP_SIZE_PX}">${drawn.join("")}</svg>`);
    return figure;
  }

  legendEntries() {
    if (this.layer.value === "wrong pixels") {
      return Object.entries(this.view.state.wrong_colors).map(([text, color]) =>
        make("span", {}, make("i", { style: `background:${color}` }), text));
    }
    const texts = ["true: white, in 3D grey", "predicted: by finger", "right: solid, filled", "left: dashed, hollow"];
    return texts.map((text) => make("span", { textContent: text }));
  }

  // Tags and note

  drawTags() {
    const { state, frame } = this.view;
    replaceKeepingFocus(this.tags, state.tags.slice(0, 9).map((tag, i) => make("button", {
      textContent: `${i + 1} ${tag}`,
      className: frame?.tags?.includes(tag) ? "on" : "",
      title: "set or remove; saved at once",
      onclick: () => this.view.send("tag", { tag }),
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
    if (tag) this.view.send("tag", { tag });
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
    if (!window.digitPlotly || !frame || frame.row === null) return;
    if (frame.pictures.length) this.drawHands();
    this.drawErrors();
    root.dataset.drawn = frame.row;
  }

  /** The hands in 3D, a scene for each model. */
  drawHands() {
    const { view } = this;
    const { frame, state } = view;
    const count = frame.pictures.length;
    const traces = [];
    const scenes = {};
    const annotations = [];
    frame.pictures.forEach((picture, model) => {
      const scene = model ? "scene2" : "scene";
      scenes[scene] = { ...this.sceneLayout(), domain: { x: [model / count, (model + 1) / count], y: [0, 1] } };
      traces.push(...this.sceneTraces(picture, scene));
      if (state.models.length > 1) {
        annotations.push({ text: "AB"[model], x: model / count, y: 1, xref: "paper", yref: "paper", showarrow: false });
      }
    });
    window.digitPlotly.react(this.hands, traces, plotLayout(view, {
      ...scenes,
      annotations,
      legend: { x: 0, y: 0, orientation: "h", title: { text: "right wrist → left wrist " } },
      width: this.hands.clientWidth,
      height: this.hands.clientHeight,
      uirevision: "kept", // the view stays from frame to frame
      margin: { l: 0, r: 0, t: 0, b: 0 },
    }), plotConfig());
  }

  sceneLayout() {
    const colors = themeColors(this.view.root);
    const axis = (name) => ({
      title: { text: `${name} (mm)` },
      nticks: 5,
      gridcolor: colors.grid,
      backgroundcolor: colors.wall,
      showbackground: true,
    });
    return {
      aspectmode: "data",
      uirevision: "kept",
      camera: { eye: FIRST_EYE, up: { x: 0, y: -1, z: 0 } },
      xaxis: axis("x"),
      yaxis: axis("y"),
      zaxis: axis("z"),
    };
  }

  sceneTraces(picture, scene) {
    const { frame, state, root } = this.view;
    const { chains } = state;
    const traces = [];
    if (this.shows["true joints"]) {
      traces.push(...handTraces(frame.true_mm, { chains, colors: TRUE_COLOR, name: "true", scene }));
    }
    if (this.shows["predicted joints"] && picture.mm) {
      traces.push(...handTraces(picture.mm, { chains, colors: state.fingers, name: "predicted", scene }));
    }
    if (frame.camera) {
      const ink = themeColors(root).ink;
      traces.push(...wristVectorTrace(frame.true_mm, { color: ink, dash: "solid", name: "true", scene }));
      if (picture.mm) {
        traces.push(...wristVectorTrace(picture.mm, { color: VECTOR_COLOR, dash: "dash", name: "predicted", scene }));
      }
    }
    return traces;
  }

  /** The error of each joint as bars; the left hand's are hatched. */
  drawErrors() {
    const { view } = this;
    const { frame, state } = view;
    const two = state.models.length > 1;
    const bars = frame.errors.flatMap((errors, model) => [0, 1].flatMap((side) => this.errorBars(errors, model, side)));
    const hint = { text: "right: plain, left: hatched", x: 1, xanchor: "right", y: 1.14, xref: "paper", yref: "paper", showarrow: false };
    window.digitPlotly.react(this.errors, bars, plotLayout(view, {
      width: this.errors.clientWidth,
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
  }

  /** The bars of one hand of one model; none where no joint has an error. */
  errorBars(errors, model, side) {
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
      name: two ? `${"AB"[model]} ${SIDE_NAMES[side]}` : SIDE_NAMES[side],
      marker: { color: two ? state.line_colors[model] : names.map((_, joint) => state.fingers[side][fingerOf(joint)]), pattern },
      opacity: two && side ? 0.75 : 1,
      hovertemplate: "%{x}: %{y:.1f} mm<extra>%{fullData.name}</extra>",
    }];
  }

  purge() {
    clearTimeout(this.plotTimer);
    for (const plot of [this.hands, this.errors]) window.digitPlotly?.purge(plot);
  }
}
