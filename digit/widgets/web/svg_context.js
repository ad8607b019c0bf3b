// A drawing context like a canvas's that writes SVG: what is drawn on a canvas can thus be
// saved as vectors. It knows what space_scene.js and hands.js use.

class SvgContext {
  constructor() {
    Object.assign(this, {
      fillStyle: "#000000",
      strokeStyle: "#000000",
      lineWidth: 1,
      globalAlpha: 1,
      font: "12px sans-serif",
      textAlign: "left",
      textBaseline: "alphabetic",
    });
    this.parts = [];
    this.dash = [];
    this.path = [];
    this.patterns = 0;
  }

  /** The file of what was drawn. */
  text([width, height]) {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" stroke-linejoin="round">${this.parts.join("\n")}</svg>\n`;
  }

  // Paths

  setLineDash(dash) {
    this.dash = dash;
  }

  beginPath() {
    this.path = [];
  }

  moveTo(x, y) {
    this.path.push(`M${this.round(x)} ${this.round(y)}`);
  }

  lineTo(x, y) {
    this.path.push(`L${this.round(x)} ${this.round(y)}`);
  }

  closePath() {
    this.path.push("Z");
  }

  /** A whole circle. */
  arc(x, y, radius) {
    const half = (to) => `A${radius} ${radius} 0 1 0 ${this.round(to)} ${this.round(y)}`;
    this.moveTo(x - radius, y);
    this.path.push(half(x + radius), half(x - radius), "Z");
  }

  fill() {
    this.add("path", { d: this.path.join(""), fill: this.fillStyle });
  }

  stroke() {
    this.add("path", { d: this.path.join(""), fill: "none", ...this.lineLook() });
  }

  fillRect(x, y, width, height) {
    this.add("rect", { x, y, width, height, fill: this.fillStyle });
  }

  // Text

  fillText(text, x, y) {
    this.addText(text, x, y, { fill: this.fillStyle });
  }

  strokeText(text, x, y) {
    this.addText(text, x, y, { fill: "none", ...this.lineLook() });
  }

  addText(text, x, y, look) {
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const baseline = this.textBaseline === "middle" ? "central" : "auto";
    this.add("text", { x: this.round(x), y: this.round(y), "text-anchor": anchor, "dominant-baseline": baseline, style: `font:${this.font}`, ...look }, escapeText(text));
  }

  /** Nearly: letters of the usual fonts are as wide as half their size. */
  measureText(text) {
    return { width: 0.55 * parseFloat(/[\d.]+(?=px)/.exec(this.font)) * text.length };
  }

  // Whatever else

  /** Move all that follows until `restore`. */
  translate(x, y) {
    this.parts.push(`<g transform="translate(${x} ${y})">`);
  }

  save() {} // only `translate` is taken back

  restore() {
    this.parts.push("</g>");
  }

  createPattern(tile) {
    const id = `pattern${this.patterns++}`;
    const { width, height } = tile;
    this.parts.push(`<pattern id="${id}" width="${width}" height="${height}" patternUnits="userSpaceOnUse"><image href="${tile.toDataURL()}" width="${width}" height="${height}"/></pattern>`);
    return `url(#${id})`;
  }

  lineLook() {
    return { stroke: this.strokeStyle, "stroke-width": this.lineWidth, "stroke-dasharray": this.dash.join(" ") || "none" };
  }

  add(tag, attributes, text = "") {
    if (this.globalAlpha < 1) attributes.opacity = this.globalAlpha;
    const written = Object.entries(attributes).map(([name, value]) => `${name}="${value}"`);
    this.parts.push(`<${tag} ${written.join(" ")}>${text}</${tag}>`);
  }

  round(value) {
    return Math.round(100 * value) / 100;
  }
}
