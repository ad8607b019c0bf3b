// Hands in 3D on a 2D canvas: a room with ticks in mm, strokes and meshes from back to front.
// It needs no WebGL, which remote and headless screens lack, and draws in milliseconds.
// Used by space.js and hands_3d.js.

const MARGIN_MM = 10; // of the room around what is drawn
const FILLING = 0.9; // of the shorter side by the diagonal of what is drawn; by eye
const RAISED_PX = 16; // the lowest numbers need more room than the highest
const TEXT_PX = 11; // height of a number
const TURN_PX = 150; // of the mouse's way for a turn of one radian; by eye
const STEEPEST_RAD = 1.5;
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
  constructor(extent, project, width) {
    this.width = width; // of the screen, px
    this.written = []; // {x, y, half} of texts, half of their width
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

  /** Write a text inside of the canvas, if no other text stands there. */
  writeAt(context, text, [x, y]) {
    const half = context.measureText(text).width / 2;
    const inside = Math.max(half, Math.min(this.width - half, x));
    const isTaken = this.written.some((other) => Math.abs(other.x - inside) < other.half + half && Math.abs(other.y - y) < TEXT_PX);
    if (isTaken) return;
    this.written.push({ x: inside, y, half });
    context.fillText(text, inside, y);
  }

  drawAxis(context, color, k, j, i) {
    const edge = this.labelledEdge(k, j, i);
    // Beside its numbers, which are wider than high, a name stands further off than below.
    const write = (text, value, least, font, lift, wider = 0) => {
      const [x, unlifted] = this.at(k, value, j, edge[0], i, edge[1]);
      const y = unlifted - lift;
      const length = Math.hypot(x - this.centre[0], y - this.centre[1]) || 1;
      const distance = least + (wider * Math.abs(x - this.centre[0])) / length;
      context.font = font;
      context.fillStyle = color;
      this.writeAt(context, text, [x + ((x - this.centre[0]) / length) * distance, y + ((y - this.centre[1]) / length) * distance]);
    };
    const name = `${"xyz"[k]} (mm)`;
    if (k === 1) write(name, this.low[k], 14, "12px sans-serif", 18); // above its axis
    else write(name, this.middle[k], 46, "12px sans-serif", 0, 16);
    for (const tick of this.ticks(k)) write(`${tick}`, tick, 14, "11px sans-serif", 0);
  }
}

/**
 * The lines and marks of strokes with their depth, to be painted from back to front. A
 * stroke may have a line width, a radius of its marks and a dash pattern of its own, px.
 */
function strokePieces(context, strokes, project) {
  const pieces = [];
  for (const { points, color, left, marks, width = marks ? 3.5 : 1.2, radius = 3.5, dash = SIDE_LOOKS[Number(left)].dash } of strokes) {
    const places = points.map((point) => (isKnown(point) ? project(point) : null));
    places.forEach((to, n) => {
      const from = n > 0 ? places[n - 1] : null;
      if (to && from) {
        const paint = () => drawLine(context, from, to, color, width, dash);
        pieces.push({ depth: (from[2] + to[2]) / 2, paint });
      }
      if (to && marks) {
        // A little in front of the lines that end there
        pieces.push({ depth: to[2] - 1, paint: () => drawMark(context, to, color, left, radius) });
      }
    });
  }
  return pieces;
}

// Meshes

const LIGHT = [-0.41, -0.53, -0.74]; // from behind the viewer's left shoulder, of length one
const AMBIENT = 0.5; // brightness where the light does not reach; by eye
const HATCH_PX = 7;

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
  const hatch = meshes.some(({ left }) => left) ? hatching(context) : null;
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

/** The view after the mouse was moved by so many pixels. */
function turnedBy([yaw, pitch], dx, dy) {
  const tilted = pitch - dy / TURN_PX;
  return [yaw + dx / TURN_PX, Math.max(-STEEPEST_RAD, Math.min(STEEPEST_RAD, tilted))];
}

/** The zoom after the mouse's wheel was turned. */
function zoomedBy(zoom, deltaY) {
  return Math.max(0.2, Math.min(8, zoom * Math.exp(-deltaY / 500)));
}

/**
 * Paint the room, and strokes and meshes from back to front.
 *
 * view: yaw and pitch, rad; colors: of the theme; extent: of the room, around everything
 * where it is not given; seeThrough: whether strokes show through the meshes. Returns the
 * projection onto the screen and the number of triangles, or null for an empty room.
 */
function paintScene(context, size, { strokes, meshes, view, zoom, colors, extent, opacity = 1, seeThrough = false }) {
  // 1. The room
  const room = extent ?? extentOf(strokes, meshes);
  if (!room) return null;
  const project = projection(room, size, view, zoom);
  new Room(room, project, size[0]).draw(context, colors);

  // 2. What stands in it
  context.globalAlpha = opacity;
  const triangles = meshPieces(context, meshes, project);
  const lines = strokePieces(context, strokes, project);
  for (const pieces of seeThrough ? [triangles, lines] : [[...lines, ...triangles]]) {
    pieces.sort((a, b) => b.depth - a.depth);
    for (const piece of pieces) piece.paint();
  }
  context.globalAlpha = 1;
  return { project, triangles: triangles.length };
}

/** Make a canvas so large, in pixels of the device, and empty it. */
function clearCanvas(canvas, [width, height], color) {
  const ratio = window.devicePixelRatio || 1;
  const context = canvas.getContext("2d");
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  context.scale(ratio, ratio);
  context.fillStyle = color;
  context.fillRect(0, 0, width, height);
  return context;
}
