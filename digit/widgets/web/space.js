// The widget digit.widgets.canvas.Space: strokes and meshes in 3D, turned with the mouse or
// the arrow keys.

const CLICK_PX = 4; // less movement than this is a click
const REACH_PX = 15; // a pointer this near is on something
const TURN_RAD = 0.1; // by an arrow key
const HELP = "drag or arrow keys to turn, wheel to zoom, double click for the first view";

/** A mesh as it comes from the kernel, its numbers unpacked. */
function unpackMesh({ vertices, faces, color, left }) {
  const bytesOf = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  const triples = (flat) =>
    Array.from({ length: flat.length / 3 }, (_, i) => [flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]]);
  return {
    vertices: triples(new Float32Array(bytesOf(vertices))),
    faces: triples(new Uint32Array(bytesOf(faces))),
    color,
    left,
  };
}

class SpaceView {
  constructor(model, el) {
    this.model = model;
    this.canvas = make("canvas", { className: "digit-space", tabIndex: 0, title: HELP });
    this.canvas.setAttribute("aria-label", `3D view: ${HELP}`);
    this.canvas.dataset.arrows = "true"; // they turn it
    this.canvas.style.cssText = "display: block; max-width: 100%; cursor: grab; touch-action: none";
    this.context = this.canvas.getContext("2d");
    this.zoom = 1;
    this.drag = null;
    this.labelled = []; // {x, y, label} of what can be clicked
    this.hovered = null; // one of them
    this.meshes = [];
    el.append(this.canvas);

    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.move(event);
    this.canvas.onpointerup = (event) => this.release(event);
    this.canvas.onpointercancel = (event) => this.release(event);
    this.canvas.onpointerleave = () => this.hover(null);
    this.canvas.onkeydown = (event) => this.key(event);
    this.canvas.ondblclick = () => this.reset();
    this.canvas.onwheel = (event) => this.wheel(event);
    model.on("change:strokes change:view change:stale change:room", () => this.draw());
    model.on("change:meshes", () => this.takeMeshes());
    this.takeMeshes();
  }

  takeMeshes() {
    this.meshes = this.model.get("meshes").map(unpackMesh);
    this.draw();
  }

  draw() {
    // 1. The room and what stands in it; pale where it is stale
    const { canvas } = this;
    const [roomWidth, height] = this.model.get("room");
    const width = Math.min(roomWidth, canvas.parentElement.clientWidth || roomWidth);
    const colors = themeColors(canvas);
    const strokes = this.model.get("strokes");
    const context = clearCanvas(canvas, [width, height], colors.background);
    const painted = paintScene(context, [width, height], {
      strokes,
      meshes: this.meshes,
      view: this.model.get("view"),
      zoom: this.zoom,
      colors,
      opacity: this.model.get("stale") ? 0.25 : 1,
    });
    this.labelled = [];
    if (!painted) return;
    canvas.dataset.triangles = painted.triangles;

    // 2. What a click can choose, and the name of what the pointer is on
    for (const { points, label } of strokes) {
      if (!label) continue;
      for (const [x, y] of points.filter(isKnown).map(painted.project)) this.labelled.push({ x, y, label });
    }
    const named = this.labelled.find(({ label }) => label === this.model.get("named"));
    if (named) this.drawName(named, width);
    if (this.hovered) this.drawName(this.hovered, width);
  }

  /** The name of something, with what is to be said of it. */
  drawName({ x, y, label }, width) {
    const note = this.model.get("notes")[label];
    const text = note ? `${label}: ${note}` : label;
    this.context.font = "12px sans-serif";
    this.context.textAlign = "left";
    const room = width - this.context.measureText(text).width - 4;
    drawLabel(this.context, text, [Math.max(4, Math.min(x + 8, room)), Math.max(14, y - 10)]);
  }

  press(event) {
    this.hover(null);
    this.drag = { x: event.clientX, y: event.clientY, view: this.model.get("view"), moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.drag) {
      this.hover(this.nearest(event));
      return;
    }
    const dx = event.clientX - this.drag.x;
    const dy = event.clientY - this.drag.y;
    this.drag.moved ||= Math.hypot(dx, dy) > CLICK_PX;
    if (!this.drag.moved) return;
    this.model.set("view", turnedBy(this.drag.view, dx, dy));
  }

  release(event) {
    if (!this.drag) return;
    if (!this.drag.moved) this.click(event);
    this.drag = null;
    this.model.save_changes();
  }

  click(event) {
    const nearest = this.nearest(event);
    if (nearest) this.model.set("clicked", nearest.label);
  }

  /** What a pointer is on that has a name, or null. */
  nearest(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const distance = ({ x, y }) => Math.hypot(x - event.clientX + left, y - event.clientY + top);
    const [nearest] = [...this.labelled].sort((a, b) => distance(a) - distance(b));
    return nearest && distance(nearest) < REACH_PX ? nearest : null;
  }

  hover(nearest) {
    if (nearest?.label === this.hovered?.label) return;
    this.hovered = nearest;
    this.canvas.style.cursor = nearest ? "pointer" : "grab";
    this.canvas.title = nearest ? "" : HELP;
    this.canvas.dataset.hovered = nearest?.label ?? "";
    this.draw();
  }

  /** Arrow keys turn the view. */
  key(event) {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const direction = directions[event.key];
    if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const [dx, dy] = direction.map((way) => way * TURN_RAD * TURN_PX);
    this.model.set("view", turnedBy(this.model.get("view"), dx, dy));
    this.model.save_changes();
  }

  reset() {
    this.zoom = 1;
    this.model.set("view", this.model.get("first_view"));
    this.draw();
  }

  wheel(event) {
    event.preventDefault();
    this.zoom = zoomedBy(this.zoom, event.deltaY);
    this.draw();
  }
}

function render({ model, el }) {
  el.style.width = "100%";
  const view = new SpaceView(model, el);
  const onResize = new ResizeObserver(() => view.draw());
  onResize.observe(el);
  const endThemeChange = onThemeChange(() => view.draw());
  return () => {
    onResize.disconnect();
    endThemeChange();
  };
}
