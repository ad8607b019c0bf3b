// Saved views, and undo and redo. `view` is the FailureBrowserView in failure_browser.js.

class Views {
  constructor(view) {
    this.view = view;
    const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
    this.undo = button("↶", "", () => view.send("undo"));
    this.redo = button("↷", "", () => view.send("redo"));
    this.list = make("select", {
      className: "digit-viewlist",
      ariaLabel: "saved views",
      onchange: () => { if (this.list.value) view.send("open_view", { name: this.list.value }); },
    });
    this.name = make("input", {
      type: "text",
      className: "digit-viewname",
      placeholder: "save view as",
      title: "filter, order, plots, layer and columns under a name; Enter saves",
      onkeydown: (event) => { if (event.key === "Enter") this.save(); },
    });
    this.remove = button("delete", "delete the saved view that is chosen", () => view.send("delete_view", { name: this.list.value }));
    this.element = make("span", { className: "digit-viewbar" }, this.undo, this.redo, this.list, this.remove, this.name);
  }

  save() {
    if (!this.name.value.trim()) return;
    this.view.send("save_view", { name: this.name.value, page: this.view.pageLook() });
    this.name.value = "";
    this.view.focus();
  }

  drawState() {
    const { views, history } = this.view.state;
    this.takeNames(views, this.list.value);
    this.takeHistory(history);
  }

  takeNames(names, chosen) {
    const options = names.map((name) => make("option", { value: name, textContent: name }));
    this.list.replaceChildren(make("option", { value: "", textContent: names.length ? "saved views" : "no saved view" }), ...options);
    this.list.value = names.includes(chosen) ? chosen : "";
    this.remove.hidden = !this.list.value;
  }

  /** What the buttons would undo and redo. */
  takeHistory({ undo, redo }) {
    for (const [node, words, key] of [[this.undo, undo, "u"], [this.redo, redo, "r"]]) {
      const name = key === "u" ? "undo" : "redo";
      node.disabled = !words;
      node.title = words ? `${name} (key ${key}): ${words}` : `nothing to ${name}`;
    }
  }
}
