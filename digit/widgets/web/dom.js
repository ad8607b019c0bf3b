// Small helpers of all widgets: elements, JupyterLab's theme, pictures from the kernel.

/** An element with properties, attributes and listeners ("onclick", …) and its children. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Replace the options of a select by names. */
function setOptions(select, names, chosen) {
  select.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
  if (chosen !== undefined) select.value = chosen;
}

/** An address under which the page shows a JPEG that the kernel sent. */
function pictureUrl(bytes) {
  return URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
}

/** Forget a picture's address, once an image that has just been given it must have loaded. */
function retireUrl(url) {
  setTimeout(() => URL.revokeObjectURL(url), 30000);
}

/** Let the reader save a file that the page has made. */
function saveFile(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The colours of JupyterLab's theme around an element; light ones outside JupyterLab. */
function themeColors(element) {
  const style = getComputedStyle(element);
  const variable = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return {
    background: variable("--jp-layout-color1", "#FFFFFF"),
    wall: variable("--jp-layout-color2", "#F7F7F7"),
    ink: variable("--jp-ui-font-color1", "#222222"),
    grid: variable("--jp-border-color2", "#DDDDDD"),
  };
}

/** Call `act` when JupyterLab's theme changes; returns a function that ends this. */
function onThemeChange(act) {
  const observer = new MutationObserver(() => requestAnimationFrame(act));
  const attributeFilter = ["data-jp-theme-name", "data-jp-theme-light"];
  observer.observe(document.body, { attributes: true, attributeFilter });
  return () => observer.disconnect();
}

/** Replace the children of a node; a child that has the focus passes it on to its successor. */
function replaceKeepingFocus(node, children) {
  const index = [...node.children].indexOf(document.activeElement);
  node.replaceChildren(...children);
  if (index >= 0) node.children[Math.min(index, node.children.length - 1)]?.focus({ preventScroll: true });
}

/** Panels of which one is seen at a time; `panels`: name → { element, title, open() }. */
class Tabs {
  constructor(panels) {
    this.panels = panels;
    this.buttons = Object.keys(panels).map((name) => make("button", {
      textContent: name,
      title: panels[name].title ?? "",
      onclick: () => this.open(name),
    }));
    const bar = make("div", { className: "digit-tabs" }, ...this.buttons);
    this.element = make("div", {}, bar, ...Object.values(panels).map((panel) => panel.element));
    this.open(Object.keys(panels)[0]);
  }

  open(name) {
    this.shown = name;
    Object.entries(this.panels).forEach(([other, panel], i) => {
      panel.element.hidden = other !== name;
      this.buttons[i].classList.toggle("on", other === name);
    });
    this.panels[name].open?.();
  }
}
