// The widget digit.widgets.canvas.Canvas: a picture under strokes, to be enlarged and moved.
// Where it has a box, the box is moved and resized here, and goes to the kernel while it
// moves, as fast as the kernel answers. Photos are opened or dropped here.

const CHUNK_BYTES = 2 ** 21; // of a photo in one message: Jupyter ends the connection at 10 MB
const LARGEST_PHOTO_BYTES = 2e8;
const GRIP_PX = 10; // on the screen, about a corner of the box
const SMALLEST_BOX_PX = 6; // on the screen; less is a click
const ANSWER_TIMEOUT_MS = 3000; // then the next box is sent without an answer
const LARGEST_ZOOM = 12;
const WHEEL_STEP = 400; // pixels of the wheel for a factor of e
const CROP_SCALE = 1.25; // the network sees a square this much larger than the box

/** Which part of the box a pointer takes hold of: its inside, a corner, or nothing. */
function gripOf([px, py], [x, y, w, h], reach) {
  const corners = [[x, y], [x + w, y], [x, y + h], [x + w, y + h]];
  for (const [u, v] of corners) {
    const opposite = [2 * x + w - u, 2 * y + h - v];
    if (Math.hypot(px - u, py - v) < reach) return { kind: "corner", fixed: opposite };
  }
  const isInside = px > x && px < x + w && py > y && py < y + h;
  if (isInside) return { kind: "inside", offset: [px - x, py - y] };
  return { kind: "nothing", fixed: [px, py] }; // begins a new box
}

/** The box after its grip was moved to a point. */
function movedBox(box, grip, [x, y]) {
  if (grip.kind === "inside") return [x - grip.offset[0], y - grip.offset[1], box[2], box[3]];
  const [u, v] = grip.fixed;
  return [Math.min(x, u), Math.min(y, v), Math.abs(x - u), Math.abs(y - v)];
}

/** The picture outside the box darkened, the box with its corners, and the crop around it. */
function drawBox(context, [x, y, w, h], toScreen, width, height) {
  const [left, top] = toScreen([x, y]);
  const [right, bottom] = toScreen([x + w, y + h]);
  const outside = new Path2D();
  outside.rect(0, 0, width, height);
  outside.rect(left, top, right - left, bottom - top);
  context.fillStyle = "#00000050";
  context.fill(outside, "evenodd");

  // Black and white together are seen on any picture.
  const half = (Math.max(w, h) * CROP_SCALE) / 2;
  const [cropLeft, cropTop] = toScreen([x + w / 2 - half, y + h / 2 - half]);
  const [cropRight, cropBottom] = toScreen([x + w / 2 + half, y + h / 2 + half]);
  for (const { color, offset, boxWidth } of [
    { color: "black", offset: 0, boxWidth: 4 },
    { color: "white", offset: 4, boxWidth: 2 },
  ]) {
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.setLineDash([4, 4]);
    context.lineDashOffset = offset;
    context.strokeRect(cropLeft, cropTop, cropRight - cropLeft, cropBottom - cropTop);
    context.setLineDash([]);
    context.lineWidth = boxWidth;
    context.strokeRect(left, top, right - left, bottom - top);
  }

  context.fillStyle = "white";
  context.strokeStyle = "black";
  context.lineWidth = 1;
  for (const u of [left, right]) {
    for (const v of [top, bottom]) {
      context.fillRect(u - 4, v - 4, 8, 8);
      context.strokeRect(u - 4, v - 4, 8, 8);
    }
  }
}

/** Sends boxes to the kernel, the next one when the last is answered; only the newest waits. */
class BoxSender {
  constructor(model, onAnswer) {
    this.model = model;
    this.onAnswer = onAnswer;
    this.timer = 0;
    this.waiting = null;
    model.on("change:answered", () => this.answered());
  }

  get busy() {
    return this.timer > 0;
  }

  send(box) {
    if (this.busy) {
      this.waiting = box;
      return;
    }
    this.timer = setTimeout(() => this.answered(), ANSWER_TIMEOUT_MS);
    this.model.set("box", box.map((value) => Math.round(value * 10) / 10));
    this.model.set("asked", this.model.get("asked") + 1);
    this.model.save_changes();
  }

  answered() {
    clearTimeout(this.timer);
    this.timer = 0;
    const next = this.waiting;
    this.waiting = null;
    if (next) this.send(next);
    else this.onAnswer();
  }
}

/** The canvas with the picture, its strokes and its box. */
class PictureView {
  constructor(model, el) {
    this.model = model;
    this.canvas = make("canvas", { tabIndex: 0, className: "digit-picture" });
    this.canvas.style.display = "block";
    this.canvas.style.maxWidth = "100%"; // of a narrow window
    this.canvas.style.touchAction = "none";
    this.context = this.canvas.getContext("2d");
    this.image = new Image();
    this.zoom = 1;
    this.corner = [0, 0]; // of what is seen, px of the enlarged picture
    this.size = model.get("size");
    this.box = model.get("box");
    this.drag = null;
    this.sender = new BoxSender(model, () => this.takeAnswer());
    el.append(this.canvas);

    this.image.onload = () => this.draw();
    this.canvas.onpointerdown = (event) => this.press(event);
    this.canvas.onpointermove = (event) => this.move(event);
    this.canvas.onpointerup = () => this.release();
    this.canvas.onpointercancel = () => this.release();
    this.canvas.onkeydown = (event) => this.key(event);
    this.canvas.onwheel = (event) => this.wheel(event);
    model.on("change:picture", () => this.load());
    model.on("msg:custom", (message) => this.takeMessage(message));
    model.on("change:strokes change:size change:room change:title change:stale", () => this.draw());
    model.on("change:box", () => this.takeBox());
    this.load();
    this.draw();
  }

  /** Pixels of the screen for one pixel of the picture. */
  get scale() {
    const [width, height] = this.model.get("size");
    const [roomWidth, roomHeight] = this.model.get("room");
    return Math.min(roomWidth / width, roomHeight / height);
  }

  /** Width and height of the canvas, px of the screen. */
  get shownSize() {
    return this.model.get("size").map((value) => Math.max(1, Math.round(value * this.scale)));
  }

  /** What is seen stays while pictures of one size follow one another. */
  load() {
    const size = this.model.get("size");
    if (size.join() !== this.size.join()) {
      this.zoom = 1;
      this.corner = [0, 0];
    }
    this.size = size;
    retireUrl(this.image.src);
    this.image.src = URL.createObjectURL(new Blob([this.model.get("picture")]));
  }

  draw() {
    // 1. The canvas in pixels of the device
    const { canvas, context, image, scale, zoom } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = this.shownSize;
    const [left, top] = this.corner;
    canvas.dataset.zoom = zoom.toFixed(2);
    canvas.dataset.corner = this.corner.map(Math.round).join(",");
    if (this.box.length) canvas.dataset.arrows = "true"; // they move the box
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = "auto";
    canvas.title = this.model.get("title");
    canvas.setAttribute("aria-label", this.model.get("title"));
    context.scale(ratio, ratio);

    // 2. The picture, greyed where it shows an answer to something else by now
    context.imageSmoothingEnabled = scale * zoom < 3;
    context.filter = this.model.get("stale") ? "grayscale(1) opacity(0.35)" : "none";
    if (image.complete && image.naturalWidth) {
      context.drawImage(image, -left, -top, width * zoom, height * zoom);
    }
    context.filter = "none";

    // 3. Box and strokes; pixel centres are at integer coordinates
    const enlarged = scale * zoom;
    const toScreen = ([x, y]) => [(x + 0.5) * enlarged - left, (y + 0.5) * enlarged - top];
    if (this.box.length) drawBox(context, this.box, toScreen, width, height);
    for (const stroke of this.model.get("strokes")) drawStroke(context, stroke, toScreen);
  }

  takeBox() {
    if (this.drag || this.sender.busy) return;
    this.box = this.model.get("box");
    this.draw();
  }

  takeAnswer() {
    if (!this.drag) this.box = this.model.get("box");
    this.draw();
  }

  /** Where a pointer is on the canvas, in pixels of the unscaled canvas. */
  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const [shownWidth, shownHeight] = this.shownSize;
    const x = ((event.clientX - left) / width) * shownWidth;
    const y = ((event.clientY - top) / height) * shownHeight;
    return [x, y];
  }

  /** Where a pointer is, in the picture's pixels. */
  position(event) {
    const enlarged = this.scale * this.zoom;
    return this.place(event).map((value, k) => (value + this.corner[k]) / enlarged - 0.5);
  }

  /** Enlarge the picture about a place on the canvas, which stays where it is. */
  zoomAbout(place, factor) {
    const zoom = Math.max(1, Math.min(LARGEST_ZOOM, this.zoom * factor));
    const corner = place.map((value, k) => ((value + this.corner[k]) * zoom) / this.zoom - value);
    this.zoom = zoom;
    this.moveTo(corner);
  }

  /** Move what is seen, as far as the picture goes. */
  moveTo(corner) {
    const size = this.shownSize;
    this.corner = corner.map((value, k) => Math.max(0, Math.min(value, size[k] * (this.zoom - 1))));
    this.draw();
  }

  takeMessage({ zoom, pan }) {
    const size = this.shownSize;
    if (zoom !== undefined) this.zoomAbout(size.map((value) => value / 2), zoom);
    if (pan) this.moveTo(this.corner.map((value, k) => value + pan[k] * size[k]));
  }

  /** The wheel scrolls the notebook, unless the picture has the focus. */
  wheel(event) {
    const isMeant = document.activeElement === this.canvas || event.ctrlKey;
    if (!this.model.get("zooms") || !isMeant) return;
    event.preventDefault();
    this.zoomAbout(this.place(event), Math.exp(-event.deltaY / WHEEL_STEP));
  }

  isTooSmall(box) {
    return Math.min(box[2], box[3]) * this.scale * this.zoom <= SMALLEST_BOX_PX;
  }

  press(event) {
    this.canvas.focus({ preventScroll: true });
    const at = this.position(event);
    this.canvas.setPointerCapture(event.pointerId);
    const pan = { from: this.place(event), corner: this.corner };
    if (!this.box.length) {
      this.drag = { pan, at, moved: false };
      return;
    }
    const grip = gripOf(at, this.box, GRIP_PX / (this.scale * this.zoom));
    this.drag = { grip, at, before: this.box, moved: false };
  }

  move(event) {
    const at = this.position(event);
    if (!this.drag) {
      const cursors = { inside: "move", corner: "nwse-resize", nothing: "crosshair" };
      const reach = GRIP_PX / (this.scale * this.zoom);
      if (this.box.length) this.canvas.style.cursor = cursors[gripOf(at, this.box, reach).kind];
      return;
    }
    if (this.drag.pan) {
      this.panBy(event);
      return;
    }
    this.box = movedBox(this.box, this.drag.grip, at);
    this.draw();
    if (this.isTooSmall(this.box)) return;
    this.drag.moved = true;
    this.sender.send(this.box);
  }

  panBy(event) {
    const { from, corner } = this.drag.pan;
    const shift = this.place(event).map((value, k) => value - from[k]);
    this.drag.moved ||= Math.hypot(...shift) > SMALLEST_BOX_PX;
    if (this.drag.moved) this.moveTo(corner.map((value, k) => value - shift[k]));
  }

  release() {
    if (!this.drag) return;
    const { pan, at, before, moved } = this.drag;
    if (!pan) {
      if (this.isTooSmall(this.box)) this.box = before; // a click is no box
      if (moved) this.sender.send(this.box);
    }
    this.drag = null;
    if (!moved) {
      this.model.set("clicked", [...at, performance.now()]);
      this.model.save_changes();
    }
    this.draw();
  }

  /** Arrow keys move the box, with Shift they change its size. */
  key(event) {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const direction = directions[event.key];
    if (!direction || !this.box.length) return;
    event.preventDefault();
    event.stopPropagation();
    const step = Math.max(1, 0.02 * Math.max(...this.model.get("size")));
    const [dx, dy] = direction.map((value) => value * step);
    const [x, y, w, h] = this.box;
    if (event.shiftKey) this.box = [x, y, Math.max(1, w + dx), Math.max(1, h + dy)];
    else this.box = [x + dx, y + dy, w, h];
    this.draw();
    this.sender.send(this.box);
  }
}

/** Send a file to the kernel in pieces; of one that is too large only its size. */
async function upload(model, file) {
  if (!file) return;
  const bytes = file.size > LARGEST_PHOTO_BYTES ? new ArrayBuffer(0) : await file.arrayBuffer();
  const count = Math.max(1, Math.ceil(bytes.byteLength / CHUNK_BYTES));
  for (let i = 0; i < count; i++) {
    const piece = bytes.slice(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
    model.send({ name: file.name, size: file.size, i, count }, undefined, [piece]);
  }
}

/** A file button above the canvas; photos can be dropped onto the canvas as well. */
function addFileButton(model, el, canvas) {
  const input = make("input", { type: "file", accept: "image/*" });
  input.onchange = async () => {
    await upload(model, input.files[0]);
    input.value = "";
  };
  const label = make("label", {}, "Open or drop a photo: ", input);
  label.style.cssText = "display: block; margin: 4px 0; max-width: 470px";
  el.prepend(label);
  canvas.ondragover = (event) => event.preventDefault();
  canvas.ondrop = (event) => {
    event.preventDefault();
    upload(model, event.dataTransfer.files[0]);
  };
}

function render({ model, el }) {
  el.dataset.lmSuppressShortcuts = "true"; // arrow keys move the box, not the cells
  el.style.maxWidth = "100%";
  const view = new PictureView(model, el);
  if (model.get("opens")) addFileButton(model, el, view.canvas);
}
