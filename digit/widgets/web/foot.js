// The foot of the failure browser: exports, the second model, the whole window, the keys.

class Foot {
  constructor(view) {
    this.view = view;
    const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
    this.second = make("input", {
      type: "text",
      className: "digit-second",
      placeholder: "second model: run or table",
      title: "a run of the list, any name that digit's commands know, or an error table",
      onkeydown: (event) => { if (event.key === "Enter") this.compare(); },
      // A run that is chosen from the list is compared at once.
      oninput: (event) => { if (event.inputType === "insertReplacementText") this.compare(); },
    });
    this.runs = make("datalist", { id: `digit-runs-${Math.random().toString(36).slice(2)}` });
    this.second.setAttribute("list", this.runs.id);
    this.drop = button("drop B", "show the first model alone", () => view.send("drop"));
    this.pageButton = button("page", "one HTML file that opens without a kernel", () => view.export(".html"));
    this.element = make(
      "div", { className: "digit-row digit-foot" },
      "export frames that pass: ",
      button("list", "file names, .txt", () => view.export(".txt")),
      button("CSV", "rows with tags and notes", () => view.export(".csv")),
      this.pageButton,
      this.second,
      this.runs,
      button("compare", "load it as model B", () => this.compare()),
      this.drop,
      button("full screen", "the browser alone; Esc leaves", () => view.root.requestFullscreen?.()),
      button("keys", "key ?", () => view.toggleKeys()),
    );
  }

  compare() {
    this.view.say.textContent = "Loading the second model …";
    this.view.send("compare", { path: this.second.value });
  }

  drawState() {
    const { runs, models, page_limit } = this.view.state;
    this.runs.replaceChildren(...runs.map((name) => make("option", { value: name })));
    this.drop.hidden = models.length < 2;
    this.pageButton.textContent = `page (first ${page_limit})`;
  }
}
