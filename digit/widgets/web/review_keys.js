// The widget digit.widgets.label_review.Keys: the keys of a box of widgets, and what they do.

/** Whether typing goes into an element. */
function typesInto(element) {
  return element.matches("input, select, textarea");
}

function render({ model, el }) {
  const bar = make("div", { tabIndex: 0, className: "digit-keys", role: "note" });
  bar.dataset.lmSuppressShortcuts = "true"; // the notebook has keys of its own
  bar.style.cssText = "padding:2px 6px;outline:none;border-radius:3px;font-size:12px;cursor:pointer";
  bar.onfocus = () => { bar.style.border = "2px solid #0072B2"; };
  bar.onblur = () => { bar.style.border = "2px dashed #8C8C8C"; };
  bar.onblur();
  const names = Object.entries(model.get("meanings")).map(([key, what]) => `${key}: ${what}`);
  bar.textContent = `click here to use keys — ${names.join(" · ")}`;
  el.append(bar);

  bar.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (!(event.key in model.get("meanings"))) return;
    event.preventDefault();
    model.set("pressed", [event.key, model.get("pressed")[1] + 1]);
    model.save_changes();
  });

  // A click on the box around gives the keys to the bar, but for what is typed into.
  requestAnimationFrame(() => {
    const box = el.closest(".digit-review");
    box?.addEventListener("click", (event) => {
      if (!typesInto(event.target)) bar.focus({ preventScroll: true });
    });
  });
}
