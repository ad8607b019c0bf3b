// A picture under strokes; where it has a box, the box is drawn, moved and resized here, and goes
// to the kernel while it moves, as fast as the kernel answers. Photos are opened or dropped here.
// And strokes in space, turned with the mouse, without WebGL: remote and headless screens lack it.
const CHUNK = 2 ** 21; // bytes of a photo a message: Jupyter cuts the line at 10 MB
const LARGEST = 2e8; // bytes
const GRIP = 10; // px on the screen about a corner

function drawStroke(context, { points, color, left, marks, label }, at) {
  const path = new Path2D();
  let pen = false;
  for (const [x, y] of points) {
    const known = x !== null && y !== null;
    if (known) pen ? path.lineTo(...at(x, y)) : path.moveTo(...at(x, y));
    pen = known;
  }
  context.setLineDash([]);
  Object.assign(context, { lineWidth: 4, strokeStyle: "#000000A0", lineJoin: "round" });
  context.stroke(path);
  context.setLineDash(left ? [5, 4] : []);
  Object.assign(context, { lineWidth: 2, strokeStyle: color, fillStyle: left ? "white" : color });
  context.stroke(path);
  context.setLineDash([]);
  for (const [x, y] of marks ? points.filter(([x, y]) => x !== null && y !== null) : []) {
    context.beginPath();
    context.arc(...at(x, y), 3, 0, 7);
    context.fill();
    context.stroke();
  }
  if (label && points[0][0] !== null) {
    const [x, y] = at(...points[0]);
    Object.assign(context, { font: "12px sans-serif", lineWidth: 3, strokeStyle: "black" });
    context.strokeText(label, x + 5, y + 14);
    context.fillStyle = "white";
    context.fillText(label, x + 5, y + 14);
  }
}

function drawBox(context, [x, y, w, h], at, width, height) {
  const [left, top] = at(x, y), [right, bottom] = at(x + w, y + h);
  const shade = new Path2D();
  shade.rect(0, 0, width, height);
  shade.rect(left, top, right - left, bottom - top);
  context.fillStyle = "#00000050";
  context.fill(shade, "evenodd");
  const side = Math.max(w, h) * 1.25; // the crop that the network sees
  const [a, b] = at(x + w / 2 - side / 2, y + h / 2 - side / 2);
  const [c, d] = at(x + w / 2 + side / 2, y + h / 2 + side / 2);
  for (const [color, dash] of [["black", 0], ["white", 4]]) {
    Object.assign(context, { strokeStyle: color, lineWidth: 1.5, lineDashOffset: 0 });
    context.setLineDash([4, 4]);
    context.lineDashOffset = dash;
    context.strokeRect(a, b, c - a, d - b);
    context.setLineDash([]);
    Object.assign(context, { lineWidth: color == "black" ? 4 : 2 });
    context.strokeRect(left, top, right - left, bottom - top);
  }
  Object.assign(context, { fillStyle: "white", strokeStyle: "black", lineWidth: 1 });
  for (const u of [left, right])
    for (const v of [top, bottom]) {
      context.fillRect(u - 4, v - 4, 8, 8);
      context.strokeRect(u - 4, v - 4, 8, 8);
    }
}

function renderPicture({ model, el }) {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  const image = new Image(), ratio = window.devicePixelRatio || 1;
  let box = model.get("box"), drag = null, waiting = 0, unsent = false;
  Object.assign(canvas, { tabIndex: 0, className: "digit-picture" });
  Object.assign(canvas.style, { display: "block", touchAction: "none" });
  el.dataset.lmSuppressShortcuts = "true"; // arrow keys move the box, not the cells
  el.style.flex = "none";
  el.append(canvas);

  const scale = () => {
    const [w, h] = model.get("size"), [roomW, roomH] = model.get("room");
    return Math.min(roomW / w, roomH / h);
  };

  function draw() {
    const [w, h] = model.get("size"), s = scale();
    const width = Math.max(1, Math.round(w * s)), height = Math.max(1, Math.round(h * s));
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    Object.assign(canvas.style, { width: `${width}px`, height: "auto" });
    canvas.setAttribute("aria-label", (canvas.title = model.get("title")));
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = s < 3;
    if (image.complete && image.naturalWidth) context.drawImage(image, 0, 0, width, height);
    const at = (x, y) => [(x + 0.5) * s, (y + 0.5) * s]; // pixel centres are at integers
    if (box.length) drawBox(context, box, at, width, height);
    for (const stroke of model.get("strokes")) drawStroke(context, stroke, at);
  }

  function load() {
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(new Blob([model.get("picture")]));
  }

  function send() { // the newest box; the next one when this one is answered
    unsent = waiting > 0;
    if (unsent) return;
    waiting = setTimeout(answered, 3000);
    model.set("box", box.map((value) => Math.round(value * 10) / 10));
    model.set("asked", model.get("asked") + 1);
    model.save_changes();
  }

  function answered() {
    clearTimeout(waiting);
    waiting = 0;
    if (unsent) return send();
    if (!drag) box = model.get("box");
    draw();
  }

  function place(event) {
    const [w, h] = model.get("size"), { left, top, width, height } = canvas.getBoundingClientRect();
    const x = ((event.clientX - left) / width) * w, y = ((event.clientY - top) / height) * h;
    return [x - 0.5, y - 0.5];
  }

  function grasp([px, py]) { // what a pointer there takes hold of
    const [x, y, w, h] = box, near = GRIP / scale();
    for (const [u, v] of [[x, y], [x + w, y], [x, y + h], [x + w, y + h]])
      if (Math.hypot(px - u, py - v) < near) return { fixed: [2 * x + w - u, 2 * y + h - v] };
    const inside = px > x && px < x + w && py > y && py < y + h;
    return inside ? { offset: [px - x, py - y] } : { fixed: [px, py] };
  }

  canvas.onpointerdown = (event) => {
    canvas.focus({ preventScroll: true });
    if (!box.length) {
      model.set("clicked", [...place(event), event.timeStamp]);
      return model.save_changes();
    }
    drag = { ...grasp(place(event)), before: box };
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!box.length) return;
    const [x, y] = place(event);
    if (!drag) {
      const { fixed, offset } = grasp([x, y]);
      const corner = fixed && (fixed[0] != x || fixed[1] != y);
      canvas.style.cursor = offset ? "move" : corner ? "nwse-resize" : "crosshair";
      return;
    }
    const { fixed, offset } = drag;
    if (offset) box = [x - offset[0], y - offset[1], box[2], box[3]];
    else {
      const [u, v] = fixed;
      box = [Math.min(x, u), Math.min(y, v), Math.abs(x - u), Math.abs(y - v)];
    }
    draw();
    if (Math.min(box[2], box[3]) * scale() > 6) send();
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (drag && Math.min(box[2], box[3]) * scale() <= 6) box = drag.before; // a click is no box
    if (drag && box !== drag.before) send();
    drag = null;
    draw();
  };
  canvas.onkeydown = (event) => {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (!way || !box.length) return;
    event.preventDefault();
    const step = Math.max(1, 0.02 * Math.max(...model.get("size")));
    const grown = box.slice(2).map((value, k) => Math.max(1, value + way[k] * step));
    const moved = box.slice(0, 2).map((value, k) => value + way[k] * step);
    box = event.shiftKey ? [box[0], box[1], ...grown] : [...moved, box[2], box[3]];
    draw();
    send();
  };

  async function upload(file) {
    if (!file) return;
    const bytes = file.size > LARGEST ? new ArrayBuffer(0) : await file.arrayBuffer();
    const count = Math.max(1, Math.ceil(bytes.byteLength / CHUNK)), { name, size } = file;
    for (let i = 0; i < count; i++)
      model.send({ name, size, i, count }, undefined, [bytes.slice(i * CHUNK, (i + 1) * CHUNK)]);
  }
  if (model.get("opens")) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "file", accept: "image/*" });
    input.onchange = () => upload(input.files[0]).then(() => (input.value = ""));
    label.append("Open or drop a photo: ", input);
    Object.assign(label.style, { display: "block", margin: "4px 0", width: "470px" });
    el.prepend(label);
    canvas.ondragover = (event) => event.preventDefault();
    canvas.ondrop = (event) => {
      event.preventDefault();
      upload(event.dataTransfer.files[0]);
    };
  }

  image.onload = draw;
  model.on("change:picture", load);
  model.on("change:strokes change:size change:room change:title", draw);
  model.on("change:answered", answered);
  model.on("change:box", () => {
    if (drag || waiting) return;
    box = model.get("box");
    draw();
  });
  load();
  draw();
}

function renderSpace({ model, el }) {
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  const ratio = window.devicePixelRatio || 1;
  let zoom = 1, drag = null, named = [];
  el.style.flex = "none";
  el.append(canvas);
  Object.assign(canvas.style, { display: "block", cursor: "grab", touchAction: "none" });
  canvas.className = "digit-space";
  canvas.title = "drag to turn, wheel to zoom, double click for the first view";

  function projection(low, high) { // x right, y down, z away; a little perspective
    const [width, height] = model.get("room"), [yaw, pitch] = model.get("view");
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const middle = low.map((v, k) => (v + high[k]) / 2);
    const reach = Math.hypot(...low.map((v, k) => high[k] - v)) / 2;
    const s = (0.78 * zoom * Math.min(width, height)) / 2 / reach;
    return (point) => {
      const [x, y, z] = point.map((v, k) => v - middle[k]);
      const [u, w] = [cy * x + sy * z, cy * z - sy * x];
      const [v, depth] = [cp * y - sp * w, cp * w + sp * y];
      const near = (4 * reach) / (4 * reach + depth);
      return [width / 2 + s * near * u, height / 2 + s * near * v, depth];
    };
  }

  function line(from, to, color, width, dash = []) {
    context.setLineDash(dash);
    Object.assign(context, { strokeStyle: color, lineWidth: width });
    context.beginPath();
    context.moveTo(from[0], from[1]);
    context.lineTo(to[0], to[1]);
    context.stroke();
  }

  function drawRoom(low, high, at) { // the walls behind, with ticks in mm on the outer edges
    const step = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find(
      (size) => Math.max(...low.map((v, k) => high[k] - v)) / size < 7) ?? 1e4;
    const ticks = low.map((v, k) => {
      const first = Math.ceil(v / step), count = Math.floor(high[k] / step) - first + 1;
      return Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step);
    });
    const back = low.map((v, k) => { // which end of the axis is the farther
      const ends = [v, high[k]].map((end) => at(low.map((l, j) => j == k ? end : (l + high[j]) / 2)));
      return ends[0][2] > ends[1][2] ? v : high[k];
    });
    const point = (k, a, j, b, i, c) => at(Object.assign([0, 0, 0], { [k]: a, [j]: b, [i]: c }));
    const centre = at(low.map((v, k) => (v + high[k]) / 2));
    Object.assign(context, { textAlign: "center", textBaseline: "middle" });
    for (let k = 0; k < 3; k++) {
      const [j, i] = [(k + 1) % 3, (k + 2) % 3];
      for (const tick of ticks[k]) {
        line(point(k, tick, j, low[j], i, back[i]), point(k, tick, j, high[j], i, back[i]), "#DDD", 1);
        line(point(k, tick, i, low[i], j, back[j]), point(k, tick, i, high[i], j, back[j]), "#DDD", 1);
      }
      const edges = [[low[j], low[i]], [low[j], high[i]], [high[j], low[i]], [high[j], high[i]]];
      const outer = edges.filter(([b, c]) => (b == back[j]) != (c == back[i])); // of the outline
      const place = ([b, c]) => point(k, (low[k] + high[k]) / 2, j, b, i, c);
      const edge = outer.sort((p, q) => k == 1 ? place(p)[0] - place(q)[0] : place(q)[1] - place(p)[1])[0];
      const write = (text, value, away, font, lift = 0) => {
        const [x, low_y] = point(k, value, j, edge[0], i, edge[1]), y = low_y - lift;
        const d = Math.hypot(x - centre[0], y - centre[1]) || 1;
        Object.assign(context, { font, fillStyle: "#222" });
        context.fillText(text, x + ((x - centre[0]) / d) * away, y + ((y - centre[1]) / d) * away);
      };
      for (const tick of ticks[k]) write(`${tick}`, tick, 14, "11px sans-serif");
      const middle = (low[k] + high[k]) / 2; // y's name stands above its axis
      write(`${"xyz"[k]} (mm)`, k == 1 ? low[k] : middle, k == 1 ? 14 : 44, "12px sans-serif", k == 1 ? 18 : 0);
    }
  }

  function draw() {
    const [width, height] = model.get("room"), strokes = model.get("strokes");
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    context.scale(ratio, ratio);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    const known = strokes.flatMap(({ points }) => points).filter((p) => !p.includes(null));
    if (!known.length) return;
    const low = [0, 1, 2].map((k) => Math.min(...known.map((p) => p[k])) - 10);
    const high = [0, 1, 2].map((k) => Math.max(...known.map((p) => p[k])) + 10);
    const at = projection(low, high), pieces = [];
    drawRoom(low, high, at);
    named = [];
    for (const { points, color, left, marks, label } of strokes) {
      const places = points.map((p) => (p.includes(null) ? null : at(p)));
      places.forEach((to, n) => {
        const from = n ? places[n - 1] : null;
        if (to && label) named.push([...to.slice(0, 2), label]);
        if (to && from) pieces.push([(from[2] + to[2]) / 2, () =>
          line(from, to, color, marks ? 3.5 : 1.2, left ? [6, 4] : [])]);
        if (to && marks) pieces.push([to[2] - 1, () => {
          line(to, to, color, 2);
          context.beginPath();
          context.arc(to[0], to[1], 3.5, 0, 7);
          context.fillStyle = left ? "white" : color;
          context.fill();
          context.stroke();
        }]);
      });
    }
    for (const [, paint] of pieces.sort((a, b) => b[0] - a[0])) paint();
  }

  canvas.onpointerdown = (event) => {
    drag = { x: event.clientX, y: event.clientY, view: model.get("view"), moved: false };
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    if (!drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved ||= Math.hypot(dx, dy) > 4;
    const pitch = Math.max(-1.5, Math.min(1.5, drag.view[1] - dy / 150));
    if (drag.moved) model.set("view", [drag.view[0] + dx / 150, pitch]);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    const far = ([x, y]) => Math.hypot(x - event.clientX + left, y - event.clientY + top);
    const nearest = named.sort((a, b) => far(a) - far(b))[0];
    if (drag && !drag.moved && nearest && far(nearest) < 15) model.set("clicked", nearest[2]);
    if (drag) model.save_changes();
    drag = null;
  };
  canvas.ondblclick = () => {
    zoom = 1;
    model.set("view", model.get("first"));
    draw();
  };
  canvas.onwheel = (event) => {
    event.preventDefault();
    zoom = Math.max(0.2, Math.min(8, zoom * Math.exp(-event.deltaY / 500)));
    draw();
  };
  model.on("change:strokes change:view", draw);
  draw();
}

const render = (context) => (context.model.get("view") ? renderSpace : renderPicture)(context);
export default { render };
