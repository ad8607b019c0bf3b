// The widget digit.widgets.keys.Keys: listens for the keys of the whole widget that it is
// part of, except where text is typed, and lists them.

const KEY_SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

/** "Shift+ArrowLeft" for an event; letters carry their case themselves. */
function nameOfKey(event) {
  return event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key;
}

/** Whether an element wants this key for itself: a text field, or the arrows of a slider. */
function keepsKey(element, key) {
  if (element.matches("textarea, [contenteditable='true']")) return true;
  if (element.matches("input:not([type=checkbox]):not([type=radio]):not([type=file])")) return true;
  return key.includes("Arrow") && element.matches("[role=slider], canvas[data-arrows]");
}

function keyRow(key, meaning) {
  const sign = key.replace(/Arrow\w+/, (name) => KEY_SIGNS[name]);
  const cap = make("kbd", { textContent: sign });
  cap.style.cssText =
    "display: inline-block; min-width: 1.6em; padding: 0 4px; margin-right: 6px; text-align: center;" +
    "border: 1px solid var(--jp-border-color1, #bbb); border-radius: 3px; font-family: inherit";
  return make("div", {}, cap, meaning);
}

function render({ model, el }) {
  const list = make("div", { className: "digit-keylist", hidden: true });
  const fill = () => {
    const rows = [...model.get("meanings"), ["?", "show or hide this list"]];
    list.replaceChildren(...rows.map((row) => keyRow(...row)));
  };
  fill();
  list.style.cssText = "columns: 3 200px; padding: 6px; line-height: 1.7; max-width: 900px";
  const toggle = () => (list.hidden = !list.hidden);
  const button = make("button", { textContent: "? keys", title: "list the keys; they work after a click anywhere in the widget", onclick: toggle });
  button.className = "jupyter-widgets jupyter-button widget-button";
  button.style.width = "70px";
  el.append(button, list);

  let count = model.get("pressed")[1] ?? 0;
  const listen = (event) => {
    const owner = el.closest(".digit-live");
    if (!owner?.contains(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = nameOfKey(event);
    const isHelp = event.key === "?";
    const known = model.get("meanings").find(([name]) => name === key);
    if ((!isHelp && !known) || keepsKey(event.target, key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (isHelp) return void toggle();
    const [, , repeats] = known;
    if (!event.repeat || (repeats && model.get("handled") >= count)) {
      count += 1;
      model.set("pressed", [key, count]);
      model.save_changes();
    }
  };
  document.addEventListener("keydown", listen, true);
  model.on("change:meanings", fill);

  // Keys work after a click on an empty place, and JupyterLab leaves them to the widget.
  requestAnimationFrame(() => {
    const owner = el.closest(".digit-live");
    if (!owner) return;
    owner.tabIndex = -1;
    owner.style.outline = "none";
    owner.dataset.lmSuppressShortcuts = "true";
  });
  return () => document.removeEventListener("keydown", listen, true);
}
