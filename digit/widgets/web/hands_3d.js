// The hands of a frame in 3D, a scene for each model beside the other, seen by one camera;
// meshes where the layer shows them. `view` is the FailureBrowserView.

const TRUE_COLOR = "#8A8A8A"; // of true hands in 3D, on light and dark walls
const VECTOR_COLOR = "#CC79A7"; // from wrist to wrist, predicted
const HOT_COLOR = "#D55E00"; // of the joint under the mouse
const NEAR_PX = 12; // a pointer this near is on a joint
const SPACE_HELP = "drag to turn, wheel to zoom, double click for the first view";

/** The numbers of the colour of a mesh. */
function rgbOf(color) {
  return color.match(/\d+/g).map(Number);
}

class Hands3D {
  constructor(view) {
    this.view = view;
    this.turn = null; // yaw and pitch of all scenes, once they were turned
    this.zoom = 1;
    this.scenes = []; // of the frame: what is painted for each model
    this.hovered = null; // {joint, words, x, y}
    this.build();
  }

  build() {
    const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
    this.canvas = make("canvas", { title: SPACE_HELP });
    this.canvas.setAttribute("aria-label", `hands in 3D: ${SPACE_HELP}`);
    this.files = make("div", { className: "digit-files" },
      button("PNG", "save the 3D view as a picture", () => this.savePng()),
      button("SVG", "save the 3D view as vectors", () => this.saveSvg()));
    this.element = make("div", { className: "digit-hands" }, this.canvas, this.files);

    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.move(event);
    this.canvas.onpointerup = this.canvas.onpointercancel = () => { this.drag = null; };
    this.canvas.onpointerleave = () => this.hover(null);
    this.canvas.onwheel = (event) => this.wheel(event);
    this.canvas.ondblclick = () => this.reset();
  }

  /** A frame, or other joints of it, are to be drawn. */
  draw(shows) {
    this.scenes = this.view.frame.pictures.map((picture) => this.scene(picture, shows));
    this.hovered = null;
    this.paint();
  }

  // What there is to see

  scene(picture, shows) {
    const { frame, state, root } = this.view;
    const { chains } = state;
    const strokes = [];
    const points = []; // that the mouse can be on
    const add = (joints, colors, name) => {
      strokes.push(...handStrokes(joints, { chains, colors }));
      joints.forEach((point, joint) => { if (isKnown(point)) points.push({ point, joint, name }); });
    };
    if (shows["true joints"]) add(frame.true_mm, TRUE_COLOR, "true");
    if (shows["predicted joints"] && picture.mm) add(picture.mm, state.fingers, "predicted");
    if (frame.camera) {
      strokes.push(...wristVector(frame.true_mm, { color: themeColors(root).ink, dash: [] }));
      if (picture.mm) strokes.push(...wristVector(picture.mm, { color: VECTOR_COLOR, dash: [7, 5] }));
    }
    return { strokes, points, meshes: picture.meshes.map((mesh) => this.mesh(mesh)), predicted: picture.mm };
  }

  /** A mesh of the message as space_scene.js takes it. */
  mesh({ name, color, vertices: [x, y, z], faces: [i, j, k] }) {
    return {
      vertices: x.map((_, n) => [x[n], y[n], z[n]]),
      faces: i.map((_, n) => [i[n], j[n], k[n]]),
      color: rgbOf(color),
      left: name.startsWith(SIDE_NAMES[1]),
    };
  }

  // Painting

  /** Paint soon, once for all that happens until then. */
  paintSoon() {
    cancelAnimationFrame(this.due);
    this.due = requestAnimationFrame(() => this.paint());
  }

  paint() {
    const { clientWidth, clientHeight } = this.element;
    if (!clientWidth || !this.scenes.length) return;
    this.size = [clientWidth, clientHeight];
    const context = clearCanvas(this.canvas, this.size, themeColors(this.view.root).background);
    this.paintScenes(context);
    if (this.hovered) this.paintWords(context, this.hovered);
  }

  /** All scenes side by side, in one room and seen by one camera, so that they compare. */
  paintScenes(context) {
    const { state, root } = this.view;
    const [width, height] = this.size;
    const each = width / this.scenes.length;
    const everything = this.scenes.flatMap(({ strokes }) => strokes);
    const extent = extentOf(everything, this.scenes.flatMap(({ meshes }) => meshes));
    const colors = themeColors(root);
    this.scenes.forEach((scene, model) => {
      context.save();
      context.translate(model * each, 0);
      const painted = paintScene(context, [each, height], {
        ...scene, extent, colors, view: this.turn ?? state.first_view, zoom: this.zoom, seeThrough: true,
      });
      scene.project = painted?.project;
      if (painted) this.paintRing(context, scene);
      if (this.scenes.length > 1) {
        context.font = "bold 13px sans-serif";
        context.fillStyle = colors.ink;
        context.fillText("AB"[model], each / 2, 10);
      }
      context.restore();
    });
  }

  /** A ring about the joint under the mouse. */
  paintRing(context, { predicted, project, points }) {
    const joint = this.view.hotJoint ?? null;
    const point = predicted?.[joint] ?? points.find((other) => other.joint === joint)?.point;
    if (joint === null || !isKnown(point)) return;
    const [x, y] = project(point);
    context.setLineDash([]);
    context.strokeStyle = HOT_COLOR;
    context.lineWidth = 3;
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    context.stroke();
  }

  paintWords(context, { words, x, y }) {
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.font = "12px sans-serif";
    const room = this.size[0] - context.measureText(words).width - 4;
    drawLabel(context, words, [Math.max(4, Math.min(x + 10, room)), Math.max(14, y - 12)]);
  }

  /** A joint was pointed at, here or elsewhere. */
  markJoint() {
    if (this.scenes.length) this.paintSoon();
  }

  // The mouse

  press(event) {
    if (event.button !== 0) return;
    this.hover(null);
    const { first_view } = this.view.state;
    this.drag = { x: event.clientX, y: event.clientY, turn: this.turn ?? first_view };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.drag) return this.hover(this.nearest(event));
    this.turn = turnedBy(this.drag.turn, event.clientX - this.drag.x, event.clientY - this.drag.y);
    this.paintSoon();
  }

  wheel(event) {
    event.preventDefault();
    this.zoom = zoomedBy(this.zoom, event.deltaY);
    this.paintSoon();
  }

  reset() {
    this.turn = null;
    this.zoom = 1;
    this.paintSoon();
  }

  /** The joint that a pointer is on, with its words and place; null for none. */
  nearest(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const each = this.size[0] / this.scenes.length;
    let nearest = null;
    let least = NEAR_PX;
    this.scenes.forEach(({ points, project }, model) => {
      for (const { point, joint, name } of points) {
        const [x, y] = project(point);
        const place = { x: x + model * each, y };
        const distance = Math.hypot(place.x - event.clientX + left, place.y - event.clientY + top);
        if (distance >= least) continue;
        least = distance;
        const mm = point.map((value) => Math.round(value)).join(", ");
        nearest = { ...place, joint, words: `${this.view.state.joints[joint]}, ${name}: ${mm} mm` };
      }
    });
    return nearest;
  }

  hover(nearest) {
    const isSame = nearest ? nearest.words === this.hovered?.words : (this.view.hotJoint ?? null) === null;
    if (isSame) return;
    this.hovered = nearest;
    this.canvas.style.cursor = nearest ? "pointer" : "grab";
    this.canvas.title = nearest ? "" : SPACE_HELP;
    this.view.pointAtJoint(nearest?.joint ?? null);
    this.paintSoon();
  }

  // Files

  savePng() {
    this.canvas.toBlob((file) => saveFile(file, "digit_3d.png"));
  }

  saveSvg() {
    const context = new SvgContext();
    context.fillStyle = themeColors(this.view.root).background;
    context.fillRect(0, 0, ...this.size);
    this.paintScenes(context);
    saveFile(new Blob([context.text(this.size)], { type: "image/svg+xml" }), "digit_3d.svg");
  }

  purge() {
    cancelAnimationFrame(this.due);
  }
}
