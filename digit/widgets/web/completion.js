// Completion of columns and of their words while a condition is typed.

const MOST_SUGGESTIONS = 8;

/** What may stand at the end of a typed condition: { from, words }; from is where it begins. */
function suggestionsFor(text, columns) {
  // After "column == " or "column in [": the words of the column, in quotes
  const comparison = /([A-Za-z_]\w*)\s*(?:[=!]=|in\s*\[(?:[^\]]*,)?)\s*('?)([^'\]]*)$/.exec(text);
  const compared = comparison && columns.find((column) => column.name === comparison[1]);
  if (compared?.words) {
    const typed = comparison[3];
    const words = compared.words.filter((word) => word.toLowerCase().includes(typed.toLowerCase()));
    return { from: text.length - typed.length - comparison[2].length, words: words.map((word) => `'${word}'`) };
  }
  // Else the name of a column
  const typed = /[A-Za-z_]\w*$/.exec(text)?.[0] ?? "";
  if (!typed) return { from: text.length, words: [] };
  const names = columns.map((column) => column.name);
  const starting = names.filter((name) => name.startsWith(typed) && name !== typed);
  const containing = names.filter((name) => name.includes(typed) && !name.startsWith(typed));
  return { from: text.length - typed.length, words: [...starting, ...containing] };
}

/** A list of suggestions under a text field; Tab or a click takes one, ↑ ↓ choose. */
class Completion {
  constructor(input, getColumns) {
    this.input = input;
    this.getColumns = getColumns;
    this.chosen = 0;
    this.list = make("div", { className: "digit-completion", hidden: true });
    this.element = make("span", { className: "digit-completed" }, input, this.list);
    input.addEventListener("input", () => this.update());
    input.addEventListener("blur", () => this.hide());
    input.addEventListener("keydown", (event) => this.key(event));
  }

  update() {
    const before = this.input.value.slice(0, this.input.selectionStart);
    const { from, words } = suggestionsFor(before, this.getColumns());
    this.from = from;
    this.chosen = 0;
    this.words = words.slice(0, MOST_SUGGESTIONS);
    this.draw();
  }

  draw() {
    this.list.hidden = !this.words.length;
    this.list.replaceChildren(...this.words.map((word, i) => make("div", {
      textContent: word,
      className: i === this.chosen ? "on" : "",
      // before the field loses the focus
      onmousedown: (event) => { event.preventDefault(); this.take(word); },
    })));
  }

  hide() {
    this.words = [];
    this.list.hidden = true;
  }

  take(word) {
    const { input } = this;
    const rest = input.value.slice(input.selectionStart);
    input.value = input.value.slice(0, this.from) + word + rest;
    input.selectionStart = input.selectionEnd = this.from + word.length;
    this.hide();
  }

  key(event) {
    if (this.list.hidden) return;
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps) {
      const count = this.words.length;
      this.chosen = (this.chosen + steps[event.key] + count) % count;
      this.draw();
    } else if (event.key === "Tab") this.take(this.words[this.chosen]);
    else if (event.key === "Escape") this.hide();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
