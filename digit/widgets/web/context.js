// The whole picture of a frame with its crop marked, and the other cameras' views of the
// instant, over the browser.

class Context {
  constructor(view) {
    this.view = view;
    this.title = make("b");
    this.picture = make("img", { className: "digit-whole", alt: "the whole picture, its crop marked" });
    this.views = make("div", { className: "digit-instant" });
    const close = make("button", { textContent: "close", title: "Esc", onclick: () => this.close() });
    this.element = make("div", { className: "digit-context", hidden: true }, make("div", { className: "digit-row" }, this.title, close), make("div", { className: "digit-contextbody" }, this.picture, this.views));
  }

  take(message, [whole, ...pictures]) {
    this.title.textContent = message.title;
    this.picture.src = pictureUrl(whole);
    const words = message.views.length ? "The same instant from other cameras; a click shows the frame." : "The table has no other view of this instant.";
    this.views.replaceChildren(make("div", { className: "digit-unknown", textContent: words }), ...message.views.map((other, i) => make(
      "button", { title: "show this frame", onclick: () => { this.close(); this.view.send("visit", { row: other.row }); } },
      make("img", { src: pictureUrl(pictures[i]), alt: `camera ${other.text}` }),
      make("span", { textContent: other.text }),
    )));
    this.element.hidden = false;
    this.element.scrollIntoView({ block: "nearest" }); // wherever the reader has scrolled to
  }

  close() {
    this.element.hidden = true;
    this.view.focus();
  }
}
