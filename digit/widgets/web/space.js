// The widget digit.widgets.canvas.Space: strokes and meshes in 3D, turned with the mouse or
// the arrow keys. It is drawn without WebGL, which remote and headless screens lack.

const MARGIN_MM = 10; // of the room around what is drawn
const FILLING = 0.9; // of the shorter side by the diagonal of what is drawn; by eye
const RAISED_PX = 16; // the lowest numbers need more room than the highest
const CLICK_PX = 4; // less movement than this is a click
const REACH_PX = 15; // a pointer this near is on something
const TURN_RAD = 0.1; // by an arrow key
const HELP = "drag or arrow keys to turn, wheel to zoom, double click for the first view";
const TICK_STEPS_MM = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

/** The lowest and highest coordinates of known points, with a margin; null without a point. */
function extentOf(strokes, meshes) {
  const known = strokes.flatMap((stroke) => stroke.points).filter(isKnown);
  for (const mesh of meshes) known.push(...mesh.vertices);
  if (!known.length) return null;
  const axes = [0, 1, 2];
  const values = axes.map((k) => known.map((point) => point[k]));
  return {
    low: axes.map((k) => values[k].reduce((a, b) => Math.min(a, b)) - MARGIN_MM),
    high: axes.map((k) => values[k].reduce((a, b) => Math.max(a, b)) + MARGIN_MM),
  };
}

/**
 * From camera axes (mm) to [x, y, depth] on the screen, with a little perspective. Its
 * `turn` gives the same point in the viewer's axes, mm; the viewer is at [0, 0, eye].
 */
function projection({ low, high }, [width, height], [yaw, pitch], zoom) {
  const middle = low.map((value, k) => (value + high[k]) / 2);
  const radius = Math.hypot(...low.map((value, k) => high[k] - value)) / 2;
  const scale = (FILLING * zoom * Math.min(width, height)) / 2 / radius;
  const [sinYaw, cosYaw, sinPitch, cosPitch] =
    [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
  const turn = (point) => {
    const [x, y, z] = point.map((value, k) => value - middle[k]);
    const turnedX = cosYaw * x + sinYaw * z;
    const turnedZ = cosYaw * z - sinYaw * x;
    return [turnedX, cosPitch * y - sinPitch * turnedZ, cosPitch * turnedZ + sinPitch * y];
  };
  const project = (point) => {
    const [x, y, depth] = turn(point);
    const perspective = (4 * radius) / (4 * radius + depth);
    return [width / 2 + scale * perspective * x, height / 2 - RAISED_PX + scale * perspective * y, depth];
  };
  return Object.assign(project, { turn, eye: -4 * radius });
}

function drawLine(context, from, to, color, width, dash = []) {
  context.setLineDash(dash);
  context.strokeStyle = color;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(from[0], from[1]);
  context.lineTo(to[0], to[1]);
  context.stroke();
}

/** The room around the hands: the three walls behind them, with ticks in mm. */
class Room {
  constructor(extent, project) {
    this.low = extent.low;
    this.high = extent.high;
    this.project = project;
    this.middle = this.low.map((value, k) => (value + this.high[k]) / 2);
    this.centre = project(this.middle);
    this.back = [0, 1, 2].map((k) => this.fartherEnd(k));
  }

  /** The end of an axis whose wall lies behind. */
  fartherEnd(k) {
    const depthAt = (end) => this.project(this.middle.map((v, j) => (j === k ? end : v)))[2];
    const [low, high] = [this.low[k], this.high[k]];
    return depthAt(low) > depthAt(high) ? low : high;
  }

  ticks(k) {
    const longest = Math.max(...this.low.map((value, j) => this.high[j] - value));
    const step = TICK_STEPS_MM.find((size) => longest / size < 7) ?? 20000;
    const first = Math.ceil(this.low[k] / step);
    const count = Math.floor(this.high[k] / step) - first + 1;
    return Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step);
  }

  /** A point by its coordinates along axes k, j and i, on the screen. */
  at(k, a, j, b, i, c) {
    const point = [0, 0, 0];
    point[k] = a;
    point[j] = b;
    point[i] = c;
    return this.project(point);
  }

  draw(context, colors) {
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const k of [0, 1, 2]) {
      const j = (k + 1) % 3;
      const i = (k + 2) % 3;
      this.drawGrid(context, colors.grid, k, j, i);
      this.drawAxis(context, colors.ink, k, j, i);
    }
  }

  drawGrid(context, color, k, j, i) {
    const { low, high, back } = this;
    for (const tick of this.ticks(k)) {
      drawLine(context, this.at(k, tick, j, low[j], i, back[i]), this.at(k, tick, j, high[j], i, back[i]), color, 1);
      drawLine(context, this.at(k, tick, i, low[i], j, back[j]), this.at(k, tick, i, high[i], j, back[j]), color, 1);
    }
  }

  /** The edge along axis k that carries its numbers: on the outline, in front, low or left. */
  labelledEdge(k, j, i) {
    const { low, high, back, middle } = this;
    const edges = [[low[j], low[i]], [low[j], high[i]], [high[j], low[i]], [high[j], high[i]]];
    const onOutline = edges.filter(([b, c]) => (b === back[j]) !== (c === back[i]));
    const placeOf = ([b, c]) => this.at(k, middle[k], j, b, i, c);
    const isUpright = k === 1;
    onOutline.sort((p, q) => (isUpright ? placeOf(p)[0] - placeOf(q)[0] : placeOf(q)[1] - placeOf(p)[1]));
    return onOutline[0];
  }

  drawAxis(context, color, k, j, i) {
    const edge = this.labelledEdge(k, j, i);
    const write = (text, value, distance, font, lift) => {
      const [x, unlifted] = this.at(k, value, j, edge[0], i, edge[1]);
      const y = unlifted - lift;
      const length = Math.hypot(x - this.centre[0], y - this.centre[1]) || 1;
      context.font = font;
      context.fillStyle = color;
      context.fillText(text, x + ((x - this.centre[0]) / length) * distance, y + ((y - this.centre[1]) / length) * distance);
    };
    for (const tick of this.ticks(k)) write(`${tick}`, tick, 14, "11px sans-serif", 0);
    const name = `${"xyz"[k]} (mm)`;
    if (k === 1) write(name, this.low[k], 14, "12px sans-serif", 18); // above its axis
    else write(name, this.middle[k], 44, "12px sans-serif", 0);
  }
}

/** The lines and marks of strokes with their depth, to be painted from back to front. */
function strokePieces(context, strokes, project) {
  const pieces = [];
  for (const { points, color, left, marks } of strokes) {
    const look = SIDE_LOOKS[Number(left)];
    const places = points.map((point) => (isKnown(point) ? project(point) : null));
    places.forEach((to, n) => {
      const from = n > 0 ? places[n - 1] : null;
      if (to && from) {
        const paint = () => drawLine(context, from, to, color, marks ? 3.5 : 1.2, look.dash);
        pieces.push({ depth: (from[2] + to[2]) / 2, paint });
      }
      if (to && marks) {
        // A little in front of the lines that end there
        pieces.push({ depth: to[2] - 1, paint: () => drawMark(context, to, color, left, 3.5) });
      }
    });
  }
  return pieces;
}

// Meshes

const LIGHT = [-0.41, -0.53, -0.74]; // from behind the viewer's left shoulder, of length one
const AMBIENT = 0.5; // brightness where the light does not reach; by eye
const HATCH_PX = 7;

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

/** Thin diagonal lines, for the left hand. */
function hatching(context) {
  const tile = make("canvas", { width: HATCH_PX, height: HATCH_PX });
  const pen = tile.getContext("2d");
  pen.strokeStyle = "#00000070";
  pen.lineWidth = 1.3;
  for (const shift of [-HATCH_PX, 0, HATCH_PX]) {
    pen.moveTo(shift, HATCH_PX);
    pen.lineTo(shift + HATCH_PX, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

/** How much light falls on a triangle in the viewer's axes; null where it is seen from behind. */
function brightnessOf([a, b, c], eye) {
  const u = b.map((value, k) => value - a[k]);
  const v = c.map((value, k) => value - a[k]);
  const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
  const facing = normal[0] * a[0] + normal[1] * a[1] + normal[2] * (a[2] - eye);
  if (facing >= 0) return null;
  const lit = (normal[0] * LIGHT[0] + normal[1] * LIGHT[1] + normal[2] * LIGHT[2]) / Math.hypot(...normal);
  return AMBIENT + (1 - AMBIENT) * Math.max(0, lit);
}

/** The triangles of meshes that are seen, to be painted from back to front. */
function meshPieces(context, meshes, project) {
  const pieces = [];
  const hatch = hatching(context);
  for (const { vertices, faces, color, left } of meshes) {
    const turned = vertices.map(project.turn);
    const places = vertices.map(project);
    for (const face of faces) {
      const corners = face.map((i) => turned[i]);
      const brightness = brightnessOf(corners, project.eye);
      if (brightness === null) continue;
      const paint = () => paintTriangle(context, face.map((i) => places[i]), color, brightness, left && hatch);
      pieces.push({ depth: (corners[0][2] + corners[1][2] + corners[2][2]) / 3, paint });
    }
  }
  return pieces;
}

function paintTriangle(context, [a, b, c], color, brightness, hatch) {
  context.beginPath();
  context.moveTo(a[0], a[1]);
  context.lineTo(b[0], b[1]);
  context.lineTo(c[0], c[1]);
  context.closePath();
  context.setLineDash([]);
  context.lineWidth = 0.8; // covers the seam between neighbours
  context.fillStyle = context.strokeStyle = `rgb(${color.map((value) => Math.round(value * brightness))})`;
  context.stroke();
  context.fill();
  if (!hatch) return;
  context.fillStyle = hatch;
  context.fill();
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
    // 1. An empty canvas in pixels of the device
    const { canvas, context } = this;
    const ratio = window.devicePixelRatio || 1;
    const [roomWidth, height] = this.model.get("room");
    const width = Math.min(roomWidth, this.canvas.parentElement.clientWidth || roomWidth);
    const colors = themeColors(canvas);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    context.scale(ratio, ratio);
    context.fillStyle = colors.background;
    context.fillRect(0, 0, width, height);

    // 2. The room, then the strokes from back to front; pale where they are stale
    const strokes = this.model.get("strokes");
    const extent = extentOf(strokes, this.meshes);
    this.labelled = [];
    if (!extent) return;
    const project = projection(extent, [width, height], this.model.get("view"), this.zoom);
    new Room(extent, project).draw(context, colors);
    context.globalAlpha = this.model.get("stale") ? 0.25 : 1;
    const triangles = meshPieces(context, this.meshes, project);
    const pieces = [...strokePieces(context, strokes, project), ...triangles];
    canvas.dataset.triangles = triangles.length;
    pieces.sort((a, b) => b.depth - a.depth);
    for (const piece of pieces) piece.paint();

    // 3. What a click can choose, and the name of what the pointer is on
    context.globalAlpha = 1;
    for (const { points, label } of strokes) {
      if (!label) continue;
      for (const [x, y] of points.filter(isKnown).map(project)) this.labelled.push({ x, y, label });
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
    const [yaw, pitch] = this.drag.view;
    const limited = Math.max(-1.5, Math.min(1.5, pitch - dy / 150));
    this.model.set("view", [yaw + dx / 150, limited]);
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
    const [yaw, pitch] = this.model.get("view");
    const tilted = pitch - direction[1] * TURN_RAD;
    this.model.set("view", [yaw + direction[0] * TURN_RAD, Math.max(-1.5, Math.min(1.5, tilted))]);
    this.model.save_changes();
  }

  reset() {
    this.zoom = 1;
    this.model.set("view", this.model.get("first_view"));
    this.draw();
  }

  wheel(event) {
    event.preventDefault();
    this.zoom = Math.max(0.2, Math.min(8, this.zoom * Math.exp(-event.deltaY / 500)));
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
