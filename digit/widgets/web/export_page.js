// The page that the failure browser exports (digit/widgets/exports.py): it needs no kernel
// and nothing from the net.

const PAGE_CROP_PX = 384;
const SMALLEST_SCALE_MM = 20; // of the bars

const byId = (id) => document.getElementById(id);

/** The errors of all joints as bars. */
function errorBarsSvg(errors, fingerColors) {
  const top = Math.max(SMALLEST_SCALE_MM, ...errors.filter((error) => error !== null));
  const bars = errors.map((error, joint) => {
    const side = joint >= JOINTS_PER_HAND ? 1 : 0;
    const height = (60 * (error ?? 0)) / top;
    const color = fingerColors[side][fingerOf(joint % JOINTS_PER_HAND)];
    return `<rect x="${30 + 6 * joint + 8 * side}" y="${64 - height}" width="5" height="${height}" ` +
      `fill="${color}" stroke="#555" stroke-width=".4"><title>${error ?? "–"} mm</title></rect>`;
  });
  return `<svg class="bars" viewBox="0 0 300 70"><text x="0" y="10" font-size="8">${Math.round(top)} mm</text>` +
    `<text x="0" y="64" font-size="8">0</text><path d="M28 64H296" stroke="#888"/>${bars.join("")}</svg>`;
}

/** One frame: a picture for each model, facts, bars, tags and note. */
function frameArticle(card, page) {
  const two = page.models.length > 1;
  const article = make("article", {}, make("h2", { textContent: card.key }));
  card.pictures.forEach((picture, model) => {
    const drawn = [];
    if (byId("true").checked) drawn.push(handsSvg(card.true, { chains: page.chains, colors: null, bones: true }));
    if (byId("predicted").checked && picture.joints) {
      drawn.push(handsSvg(picture.joints, { chains: page.chains, colors: page.fingers, bones: true }));
    }
    const image = make("img", { src: `data:image/jpeg;base64,${picture.jpeg}`, alt: card.key });
    const figure = make("figure", { className: two ? "two" : "" }, image);
    figure.insertAdjacentHTML("beforeend", `<svg viewBox="-0.5 -0.5 ${PAGE_CROP_PX} ${PAGE_CROP_PX}">${drawn.join("")}</svg>`);
    if (two) figure.append(make("figcaption", { textContent: `${"AB"[model]}: ${page.models[model]}` }));
    article.append(figure);
  });
  if (card.fault) article.append(make("p", { textContent: card.fault }));
  article.append(make("p", { textContent: card.facts.map((fact) => fact.text).join(" · ") }));
  for (const errors of card.errors) article.insertAdjacentHTML("beforeend", errorBarsSvg(errors, page.fingers));
  const tags = card.tags.map((tag) => make("span", { className: "tag", textContent: tag }));
  article.append(make("p", {}, ...tags, card.note));
  return article;
}

/** Compare two values of a column; a missing one comes last. */
function compareValues(a, b, sign) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  if (typeof a === "string") return sign * a.localeCompare(String(b));
  return sign * (a - b);
}

function showPage(page) {
  const draw = () => {
    const column = byId("sort").value;
    const sign = byId("descending").checked ? -1 : 1;
    const cards = [...page.cards];
    cards.sort((a, b) => compareValues(a.values[column], b.values[column], sign));
    document.querySelector("main").replaceChildren(...cards.map((card) => frameArticle(card, page)));
  };
  const columns = [...new Set(page.cards.flatMap((card) => Object.keys(card.values)))];
  setOptions(byId("sort"), columns, page.sort);
  byId("descending").checked = page.descending;
  const models = page.models.map((name, i) => `${"AB"[i]}: ${name}`).join(", ");
  byId("about").textContent = `${models}. ${page.cards.length} of the ${page.passed} frames that pass: ${page.filter}.`;
  for (const id of ["sort", "descending", "true", "predicted"]) byId(id).addEventListener("change", draw);
  draw();
}
