// The widget digit.widgets.canvas.Space: strokes in 3D, turned with the mouse. It is drawn
// without WebGL, which remote and headless screens lack.

const MARGIN_MM = 10; // of the room around what is drawn
const CLICK_PX = 4; // less movement than this is a click
const TICK_STEPS_MM = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000];

/** The lowest and highest coordinates of known points, with a margin; null without a point. */
function extentOf(strokes) {
  const known = strokes.flatMap((stroke) => stroke.points).filter(isKnown);
  if (!known.length) return null;
  const axes = [0, 1, 2];
  return {
    low: axes.map((k) => Math.min(...known.map((point) => point[k])) - MARGIN_MM),
    high: axes.map((k) => Math.max(...known.map((point) => point[k])) + MARGIN_MM),
  };
}

/** From camera axes (mm) to [x, y, depth] on the screen, with a little perspective. */
function projection({ low, high }, [width, height], [yaw, pitch], zoom) {
  const middle = low.map((value, k) => (value + high[k]) / 2);
  const radius = Math.hypot(...low.map((value, k) => high[k] - value)) / 2;
  const scale = (0.78 * zoom * Math.min(width, height)) / 2 / radius;
  const [sinYaw, cosYaw, sinPitch, cosPitch] =
    [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
  return (point) => {
    const [x, y, z] = point.map((value, k) => value - middle[k]);
    const turnedX = cosYaw * x + sinYaw * z;
    const turnedZ = cosYaw * z - sinYaw * x;
    const tiltedY = cosPitch * y - sinPitch * turnedZ;
    const depth = cosPitch * turnedZ + sinPitch * y;
    const perspective = (4 * radius) / (4 * radius + depth);
    return [
      width / 2 + scale * perspective * turnedX,
      height / 2 + scale * perspective * tiltedY,
      depth,
    ];
  };
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

class SpaceView {
  constructor(model, el) {
    this.model = model;
    this.canvas = make("canvas", {
      className: "digit-space",
      title: "drag to turn, wheel to zoom, double click for the first view",
    });
    this.canvas.style.cssText = "display: block; max-width: 100%; cursor: grab; touch-action: none";
    this.context = this.canvas.getContext("2d");
    this.zoom = 1;
    this.drag = null;
    this.labelled = []; // {x, y, label} of what can be clicked
    el.append(this.canvas);

    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.move(event);
    this.canvas.onpointerup = (event) => this.release(event);
    this.canvas.onpointercancel = (event) => this.release(event);
    this.canvas.ondblclick = () => this.reset();
    this.canvas.onwheel = (event) => this.wheel(event);
    model.on("change:strokes change:view change:stale change:room", () => this.draw());
    this.draw();
  }

  draw() {
    // 1. An empty canvas in pixels of the device
    const { canvas, context } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = this.model.get("room");
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
    const extent = extentOf(strokes);
    this.labelled = [];
    if (!extent) return;
    const project = projection(extent, [width, height], this.model.get("view"), this.zoom);
    new Room(extent, project).draw(context, colors);
    context.globalAlpha = this.model.get("stale") ? 0.25 : 1;
    const pieces = strokePieces(context, strokes, project);
    pieces.sort((a, b) => b.depth - a.depth);
    for (const piece of pieces) piece.paint();

    // 3. What a click can choose
    for (const { points, label } of strokes) {
      if (!label) continue;
      for (const [x, y] of points.filter(isKnown).map(project)) this.labelled.push({ x, y, label });
    }
  }

  press(event) {
    this.drag = { x: event.clientX, y: event.clientY, view: this.model.get("view"), moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.drag) return;
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
    const { left, top } = this.canvas.getBoundingClientRect();
    const distance = ({ x, y }) => Math.hypot(x - event.clientX + left, y - event.clientY + top);
    const [nearest] = [...this.labelled].sort((a, b) => distance(a) - distance(b));
    if (nearest && distance(nearest) < 15) this.model.set("clicked", nearest.label);
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
  el.style.flex = "none";
  const view = new SpaceView(model, el);
  return onThemeChange(() => view.draw());
}
