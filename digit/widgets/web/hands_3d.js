// The hands of a frame in 3D, a scene for each model, with linked cameras; meshes where the
// layer shows them. `view` is the FailureBrowserView.

const TRUE_COLOR = "#8A8A8A"; // of true hands in 3D, on light and dark walls
const VECTOR_COLOR = "#CC79A7"; // from wrist to wrist, predicted
const HOT_COLOR = "#D55E00"; // of the joint under the mouse
const FIRST_EYE = { x: 0.98, y: -0.7, z: -2.54 }; // along digit.plots.style.VIEW_DIRECTION, by eye

class Hands3D {
  constructor(view) {
    this.view = view;
    this.camera = null; // of both scenes, once it was turned
    this.element = make("div", { className: "digit-hands" });
  }

  draw(shows) {
    const { view } = this;
    const { frame, state } = view;
    const count = frame.pictures.length;
    const traces = [];
    const scenes = {};
    const annotations = [];
    frame.pictures.forEach((picture, model) => {
      const scene = model ? "scene2" : "scene";
      scenes[scene] = { ...this.sceneLayout(), domain: { x: [model / count, (model + 1) / count], y: [0, 1] } };
      traces.push(...this.sceneTraces(picture, scene, shows));
      if (state.models.length > 1) {
        annotations.push({ text: "AB"[model], x: model / count, y: 1, xref: "paper", yref: "paper", showarrow: false });
      }
    });
    this.hotTraces = frame.pictures.map((_, model) => traces.length + model);
    frame.pictures.forEach((_, model) => traces.push(this.hotTrace(model ? "scene2" : "scene")));
    window.digitPlotly.react(this.element, traces, plotLayout(view, {
      ...scenes,
      annotations,
      legend: { x: 0, y: 0, orientation: "h", title: { text: "right wrist → left wrist " } },
      width: this.element.clientWidth,
      height: this.element.clientHeight,
      uirevision: "kept", // the view stays from frame to frame
      margin: { l: 0, r: 0, t: 0, b: 0 },
    }), plotConfig());
    if (!this.isWired) this.wire();
  }

  sceneLayout() {
    const colors = themeColors(this.view.root);
    const axis = (name) => ({
      title: { text: `${name} (mm)` },
      nticks: 5,
      color: colors.ink,
      gridcolor: colors.grid,
      backgroundcolor: colors.wall,
      showbackground: true,
    });
    return {
      aspectmode: "data",
      uirevision: "kept",
      camera: this.camera ?? { eye: FIRST_EYE, up: { x: 0, y: -1, z: 0 } },
      xaxis: axis("x"),
      yaxis: axis("y"),
      zaxis: axis("z"),
    };
  }

  sceneTraces(picture, scene, shows) {
    const { frame, state, root } = this.view;
    const { chains } = state;
    const traces = [];
    if (shows["true joints"]) {
      traces.push(...handTraces(frame.true_mm, { chains, colors: TRUE_COLOR, name: "true", scene }));
    }
    if (shows["predicted joints"] && picture.mm) {
      traces.push(...handTraces(picture.mm, { chains, colors: state.fingers, name: "predicted", scene }));
    }
    traces.push(...picture.meshes.map((mesh) => this.meshTrace(mesh, scene)));
    if (frame.camera) {
      const ink = themeColors(root).ink;
      traces.push(...wristVectorTrace(frame.true_mm, { color: ink, dash: "solid", name: "true", scene }));
      if (picture.mm) {
        traces.push(...wristVectorTrace(picture.mm, { color: VECTOR_COLOR, dash: "dash", name: "predicted", scene }));
      }
    }
    return traces;
  }

  meshTrace({ name, color, vertices: [x, y, z], faces: [i, j, k] }, scene) {
    return { type: "mesh3d", scene, name, color, x, y, z, i, j, k, opacity: 0.75, flatshading: false, hovertemplate: `${name}<extra></extra>` };
  }

  /** A ring about the joint under the mouse; empty at first. */
  hotTrace(scene) {
    return { type: "scatter3d", mode: "markers", scene, x: [], y: [], z: [], marker: { size: 8, color: HOT_COLOR, symbol: "circle-open", line: { width: 4 } }, hoverinfo: "skip", showlegend: false };
  }

  markJoint(joint) {
    const { frame } = this.view;
    if (!this.isWired || !frame?.pictures?.length) return;
    const points = frame.pictures.map((picture) => picture.mm?.[joint] ?? null).map((point) => (isKnown(point) ? point : null));
    const values = (axis) => points.map((point) => (point ? [point[axis]] : []));
    window.digitPlotly.restyle(this.element, { x: values(0), y: values(1), z: values(2) }, this.hotTraces);
  }

  wire() {
    this.isWired = true;
    // One camera for both scenes
    const link = (event) => {
      for (const [scene, other] of [["scene", "scene2"], ["scene2", "scene"]]) {
        const camera = event?.[`${scene}.camera`];
        if (!camera) continue;
        this.camera = camera;
        const isTwo = this.view.frame?.pictures?.length > 1;
        if (isTwo) window.digitPlotly.relayout(this.element, { [`${other}.camera`]: camera });
        return;
      }
    };
    // An answer to our own change names the other scene: it must not come back.
    let isOurs = false;
    this.element.on("plotly_relayout", (event) => {
      if (isOurs) return;
      isOurs = true;
      link(event);
      setTimeout(() => { isOurs = false; });
    });
    this.element.on("plotly_hover", (event) => {
      const joint = event.points[0].customdata;
      this.view.pointAtJoint(joint >= 0 ? joint : null, "space");
    });
  }

  purge() {
    window.digitPlotly?.purge(this.element);
  }
}
