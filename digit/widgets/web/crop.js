// The crop of a frame under its layer and joints, a picture for each model: zoomed, moved,
// faded into the picture under the layer. `view` is the FailureBrowserView.

const CROP_SIZE_PX = 384;
const MOST_ZOOM = 12;
const ZOOM_STEP = 1.25;

class Crops {
  constructor(view) {
    this.view = view;
    this.shows = { "true joints": true, "predicted joints": true, bones: true };
    this.opacity = 1; // of the layer
    this.place = { zoom: 1, x: 0, y: 0 }; // shares of the crop's side
    this.element = make("div", { className: "digit-crops" });
    this.element.addEventListener("pointerover", (event) => this.pointAt(event));
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.element.addEventListener("pointerdown", (event) => this.startPan(event));
  }

  draw() {
    const { frame } = this.view;
    this.element.replaceChildren(...frame.pictures.map((picture, i) => this.crop(picture, i)));
    this.applyPlace();
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
      const titles = state.joints.map((_, joint) => this.view.jointWords(joint, model));
      drawn.push(handsSvg(picture.joints, { chains, colors: state.fingers, bones, titles }));
    }
    const name = state.models.length > 1 ? `${"AB"[model]}: ` : "";
    const image = make("img", { src: picture.url, alt: `crop of ${frame.key}`, draggable: false, style: `opacity:${frame.baseUrl ? this.opacity : 1}` });
    const zoomed = make("div", { className: "digit-zoomed" }, image);
    if (frame.baseUrl) zoomed.style.backgroundImage = `url(${frame.baseUrl})`;
    zoomed.insertAdjacentHTML("beforeend", `<svg viewBox="-0.5 -0.5 ${CROP_SIZE_PX} ${CROP_SIZE_PX}">${drawn.join("")}</svg>`);
    const missing = make("div", { className: "digit-missing", textContent: picture.missing });
    const frameWindow = make("div", { className: "digit-window", title: "double click: larger or smaller; Ctrl and wheel, + or −: zoom; drag: move; 0: whole", ondblclick: () => this.view.root.classList.toggle("digit-large") }, zoomed, missing);
    const caption = picture.missing ? "picture alone" : picture.caption || "picture";
    return make("figure", {}, frameWindow, make("figcaption", { textContent: name + caption }));
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    for (const image of this.element.querySelectorAll("img")) image.style.opacity = this.view.frame.baseUrl ? opacity : 1;
  }

  // Zoom

  zoomBy(factor, [x, y] = [0.5, 0.5]) {
    const { place } = this;
    const zoom = Math.min(MOST_ZOOM, Math.max(1, place.zoom * factor));
    // The point under the mouse stays where it is.
    const ratio = zoom / place.zoom;
    this.place = { zoom, x: x - (x - place.x) * ratio, y: y - (y - place.y) * ratio };
    this.applyPlace();
  }

  wholeCrop() {
    this.place = { zoom: 1, x: 0, y: 0 };
    this.applyPlace();
  }

  applyPlace() {
    const { place } = this;
    const inside = (value) => Math.min(0, Math.max(1 - place.zoom, value));
    place.x = inside(place.x);
    place.y = inside(place.y);
    this.element.style.setProperty("--zoom", place.zoom);
    for (const zoomed of this.element.querySelectorAll(".digit-zoomed")) {
      zoomed.style.transform = `translate(${100 * place.x}%, ${100 * place.y}%) scale(${place.zoom})`;
    }
    this.view.root.dataset.zoom = place.zoom.toFixed(2);
  }

  /** Where the mouse is in its window, as shares of the window's sides. */
  pointOf(event) {
    const box = event.target.closest(".digit-window").getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  wheel(event) {
    if (!(event.ctrlKey || event.metaKey) || !event.target.closest(".digit-window")) return;
    event.preventDefault(); // the page scrolls without Ctrl
    this.zoomBy(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, this.pointOf(event));
  }

  startPan(event) {
    const frameWindow = event.target.closest(".digit-window");
    if (!frameWindow || event.button !== 0 || this.place.zoom === 1) return;
    const start = { ...this.place };
    const side = frameWindow.clientWidth;
    const move = (next) => {
      this.place = { ...start, x: start.x + (next.clientX - event.clientX) / side, y: start.y + (next.clientY - event.clientY) / side };
      this.applyPlace();
    };
    const end = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", end);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
  }

  // The joint under the mouse

  pointAt(event) {
    const joint = event.target.dataset?.joint;
    this.view.pointAtJoint(joint === undefined ? null : Number(joint), "crop");
  }

  markJoint(joint) {
    for (const circle of this.element.querySelectorAll("circle")) {
      circle.classList.toggle("hot", Number(circle.dataset.joint) === joint);
    }
  }
}
