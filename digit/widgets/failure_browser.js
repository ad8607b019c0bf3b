// The page's side of digit.browser: shows what the kernel sends, sends back what is done.
// Everything is drawn from the last "state", "page", "charts" and "frame" message.

const INK = "#222222", TRUE = "#555555", VECTOR = "#CC79A7", PX = 384;
const FACTS = {
  mpjpe: ["MPJPE", 1, " mm"], mpjpe_b: ["B", 1, " mm"], pa_mpjpe: ["aligned", 1, " mm"],
  error_in_plane: ["in plane", 0, " mm"], error_depth: ["depth", 0, " mm"], mrrpe: ["MRRPE", 0, " mm"],
  part_iou: ["part IoU", 2, ""], hidden: ["hidden", 2, ""], wrong_hand_share: ["wrong hand", 2, ""],
  heatmap_entropy: ["entropy", 2, " nats"], hands_distance_mm: ["hands apart", 0, " mm"],
};

const UNITS = [
  [/^mpjpe|^pa_mpjpe|^mrrpe|^changed|_mm$|^error_(?!2d)/, "mm"], [/_px$|^width|^height/, "px"], [/_deg$/, "degrees"],
  [/entropy/, "nats"], [/hidden|share|iou|probability|^error_2d/, "share"],
];
const unit = (column) => UNITS.find(([pattern]) => pattern.test(column))?.[1];
const titled = (column) => (unit(column) ? `${column} (${unit(column)})` : column);

function make(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function options(select, names, chosen) {
  select.replaceChildren(...names.map((n) => make("option", { value: n, textContent: n })));
  if (chosen !== undefined) select.value = chosen;
}

const copy = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const url = (view) => URL.createObjectURL(new Blob([view], { type: "image/jpeg" }));

function loadPlotly(view) {
  const module = { exports: {} };
  new Function("module", "exports", "define", new TextDecoder().decode(view))(module, module.exports);
  window.digitPlotly = module.exports;
}

// Two hands as SVG: fingers from tip to wrist; true ones white, predicted ones in finger colours.
function handsSvg(joints, chains, colors, bones) {
  let text = "";
  for (const side of [0, 1]) {
    const look = side ? 'stroke-dasharray="5 4"' : "";
    chains.forEach((chain, finger) => {
      const color = colors ? colors[side][finger] : "#FFFFFF";
      const points = chain.map((j) => joints[j + 21 * side]).filter((p) => p && p[0] !== null);
      const path = points.map((p) => p.join(",")).join(" ");
      if (bones && points.length > 1) {
        text += `<polyline points="${path}" fill="none" stroke="#000" stroke-width="4" opacity=".55"/>`;
        text += `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2.2" ${look}/>`;
      }
      for (const [x, y] of points) {
        text += `<circle cx="${x}" cy="${y}" r="${colors ? 3.6 : 2.6}" stroke-width="1.4" ` +
          (side ? `fill="#fff" stroke="${colors ? color : "#000"}"/>` : `fill="${color}" stroke="#000"/>`);
      }
    });
  }
  return text;
}

// One account of both hands as plotly traces: one a side, fingers apart by gaps.
function handsTraces(mm, chains, colors, name, scene) {
  return [0, 1].flatMap((side) => {
    const xyz = [[], [], []], color = [];
    chains.forEach((chain, finger) => {
      for (const j of chain) {
        const point = mm[j + 21 * side];
        [0, 1, 2].forEach((axis) => xyz[axis].push(point[axis]));
        color.push(colors ? colors[side][finger] : TRUE);
      }
      xyz.forEach((axis) => axis.push(null));
      color.push(INK);
    });
    if (!xyz[0].some((value) => value !== null)) return [];
    const mark = { size: colors ? 3.5 : 2.5, color, symbol: side ? "circle-open" : "circle" };
    return [{
      type: "scatter3d", mode: "lines+markers", scene, x: xyz[0], y: xyz[1], z: xyz[2], marker: mark,
      line: { color, width: colors ? 5 : 3, dash: side ? "dash" : "solid" }, showlegend: false,
      hovertemplate: `${name} ${side ? "left" : "right"}: %{x:.0f}, %{y:.0f}, %{z:.0f} mm<extra></extra>`,
    }];
  });
}

function vectorTrace(mm, color, dash, name, scene) {
  const ends = [mm[20], mm[41]];
  if (ends.some((p) => p[0] === null)) return [];
  const [x, y, z] = [0, 1, 2].map((axis) => ends.map((p) => p[axis]));
  const hovertemplate = `${name} right wrist → left wrist<extra></extra>`;
  return [{ type: "scatter3d", mode: "lines", scene, x, y, z, line: { color, width: 8, dash },
    name, hovertemplate, showlegend: scene === "scene" }];
}

function render({ model, el }) {
  let state = null, page = null, frame = null, charts = null, timer = 0, noteTimer = 0;
  let query = "", ranges = [], slices = [];
  const shows = { "true joints": true, "predicted joints": true, bones: true };
  const send = (what, more = {}) => model.send({ do: what, ...more });
  const filter = (more) => send("filter", { query, ranges, slices, chosen: null, ...more });

  // The widget's parts
  const $ = {};
  const part = (name, tag, given = {}, ...children) =>
    ($[name] = make(tag, { className: `digit-${name}`, ...given }, ...children));
  const label = (text, ...nodes) => make("label", {}, text + " ", ...nodes);
  const button = (text, title, onclick) => make("button", { textContent: text, title, onclick });
  const root = make("div", { className: "digit", tabIndex: 0 },
    part("said", "div"), part("verdict", "div"), part("slices", "div", { className: "digit-row" }),
    make("div", { className: "digit-row" },
      part("query", "input", { type: "text", placeholder: "filter: mpjpe > 60 and hidden < 0.3",
        title: "a condition on columns, as pandas' query, for instance hand_type == 'interacting'; Enter applies it",
        onchange: (e) => { query = e.target.value; filter(); } }),
      label("only", part("column", "select", { onchange: offerRange })),
      part("ends", "span"), button("add", "keep frames within these ends", addRange),
      label("sort by", part("sort", "select", { onchange: (e) => filter({ sort: e.target.value, ...chosen() }) })),
      part("order", "button", { title: "turn the order round",
        onclick: () => filter({ descending: !page.state.descending, ...chosen() }) }),
      part("count", "b")),
    part("chips", "div", { className: "digit-row" }),
    make("div", { className: "digit-main" },
      make("div", { className: "digit-left" },
        make("div", { className: "digit-row" },
          label("across", part("x", "select", { onchange: (e) => send("axes", { x: e.target.value }) })),
          label("up", part("y", "select", { onchange: (e) => send("axes", { y: e.target.value }) }))),
        part("scatter", "div"),
        make("div", { className: "digit-row" },
          label("frames by", part("bars", "select", { onchange: (e) => send("axes", { bars: e.target.value }) })),
          part("unknown", "span")),
        part("histogram", "div"),
        part("thumbs", "div"),
        make("div", { className: "digit-row" },
          button("◂", "page before", () => turn(-1)), part("page", "span"),
          button("▸", "next page", () => turn(1)))),
      make("div", { className: "digit-right" },
        make("div", { className: "digit-row" },
          button("◂ previous", "key ← or k", () => send("step", { by: -1 })),
          button("next ▸", "key → or j", () => send("step", { by: 1 })), part("title", "b")),
        part("facts", "div"), part("fault", "div"),
        make("div", { className: "digit-row" },
          label("layer", part("layer", "select", { onchange: (e) => send("look", { layer: e.target.value }) })),
          label("part", part("part", "select", { onchange: (e) => send("look", { part: e.target.value }) })),
          label("joint", part("joint", "select", { onchange: (e) => send("look", { joint: e.target.value }) })),
          part("shows", "span")),
        make("div", { className: "digit-views" }, part("crops", "div"),
          make("div", { className: "digit-space" },
            label("3D", part("camera", "select", {
              onchange: (e) => send("look", { camera: e.target.value !== "wrists aligned" }) })),
            part("hands", "div"))),
        part("legend", "div"), part("errors", "div"),
        make("div", { className: "digit-row" }, part("tags", "span"),
          part("newtag", "input", { type: "text", placeholder: "new tag", onchange: (e) => {
            if (e.target.value.trim()) send("tag", { tag: e.target.value.trim() });
            e.target.value = "";
          } }),
          button("undo", "key u", () => send("undo"))),
        part("note", "textarea", { rows: 1, placeholder: "note (key n; Esc leaves); kept at once",
          oninput: () => { clearTimeout(noteTimer); noteTimer = setTimeout(saveNote, 400); },
          onblur: saveNote }))),
    make("div", { className: "digit-row digit-foot" },
      "frames that pass: ",
      button("list", "file names, .txt", () => send("export", { ending: ".txt" })),
      button("CSV", "rows with tags and notes", () => send("export", { ending: ".csv" })),
      button("page", "one HTML file that opens without a kernel", () => send("export", { ending: ".html" })),
      part("second", "input", { type: "text", placeholder: "second model: run or table" }),
      button("compare", "load it as model B", () => send("compare", { path: $.second.value })),
      make("span", { className: "digit-hint", textContent:
        "keys: ← → frames · t first tag · 1–9 tags · n note · u undo" })),
    part("say", "div", { role: "status" }));
  root.dataset.lmSuppressShortcuts = "true";
  el.append(root);
  $.said.textContent = "Waiting for the kernel. If nothing comes, run this cell again.";
  options($.camera, ["wrists aligned", "camera space"]);

  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") root.focus();
    if (/INPUT|TEXTAREA|SELECT/.test(event.target.tagName) || event.ctrlKey || event.metaKey) return;
    const tags = state?.tags ?? [];
    const act = {
      ArrowRight: () => send("step", { by: 1 }), j: () => send("step", { by: 1 }),
      ArrowLeft: () => send("step", { by: -1 }), k: () => send("step", { by: -1 }),
      t: () => send("tag", { tag: tags[0] }), n: () => $.note.focus(), u: () => send("undo"),
    }[event.key] ?? (tags[event.key - 1] && (() => send("tag", { tag: tags[event.key - 1] })));
    if (act) { event.preventDefault(); act(); }
  });

  function saveNote() {
    clearTimeout(noteTimer);
    if (frame?.row != null && $.note.value.trim() !== frame.note) {
      frame.note = $.note.value.trim();
      send("note", { text: frame.note, row: frame.row });
    }
  }
  const chosen = () => (page.state.chosen ? { chosen: pickedRows() } : {});
  const pickedRows = () => [...charts.rows].filter((_, i) => charts.chosen[i]);
  const turn = (by) => {
    const last = Math.max(0, Math.ceil(page.shown / state.per_page) - 1);
    const next = Math.min(last, Math.max(0, page.state.page + by));
    if (next !== page.state.page) send("page", { page: next });
  };

  function offerRange() {
    const values = state.columns[$.column.value];
    if (state.numbers.includes($.column.value)) {
      const input = (i) => make("input", { type: "number", step: "any", value: values[i], ariaLabel: i ? "to" : "from" });
      $.ends.replaceChildren(input(0), " … ", input(1));
    } else {
      const select = make("select");
      options(select, values);
      $.ends.replaceChildren(select);
    }
  }
  function addRange() {
    const ends = [...$.ends.querySelectorAll("input, select")].map((e) => (e.type === "number" ? Number(e.value) : e.value));
    ranges = [...ranges, [$.column.value, ...ends]];
    filter();
  }

  function drawState() {
    $.said.textContent = state.said;
    $.verdict.textContent = state.verdict;
    const names = Object.keys(state.columns), numbers = state.numbers;
    options($.column, names, "mpjpe");
    offerRange();
    options($.sort, names);
    for (const axis of ["x", "y", "bars"]) options($[axis], numbers);
    options($.layer, state.layers, state.look.layer);
    options($.part, state.parts, state.look.part);
    options($.joint, state.joints, state.look.joint);
    $.shows.replaceChildren(...Object.keys(shows).map((name) => make("label", {},
      make("input", { type: "checkbox", checked: shows[name], onchange: (e) => {
        shows[name] = e.target.checked;
        drawFrame();
      } }), name)));
    $.second.placeholder = `second model: run or table`;
  }

  function drawTags() {
    $.tags.replaceChildren(...state.tags.slice(0, 9).map((tag, i) => make("button", {
      textContent: `${i + 1} ${tag}`, className: frame?.tags?.includes(tag) ? "on" : "",
      title: "set or take away; kept at once", onclick: () => send("tag", { tag }),
    })));
  }

  function drawPage() {
    ({ query, ranges, slices } = page.state);
    $.query.value = query;
    $.sort.value = page.state.sort;
    $.order.textContent = page.state.descending ? "largest first" : "smallest first";
    $.count.textContent = `${page.shown.toLocaleString("en")} of ${page.total.toLocaleString("en")} frames`;
    $.slices.replaceChildren(...Object.entries(state.slices).map(([name, condition]) => make("button", {
      textContent: name, title: condition, className: slices.includes(name) ? "on" : "",
      onclick: () => { slices = slices.includes(name) ? slices.filter((s) => s !== name) : [...slices, name]; filter(); },
    })), button("clear", "all frames again", () => { query = ""; ranges = []; slices = []; filter(); }));
    const chip = (text, away) => button(`${text} ×`, "take this away", away);
    $.chips.replaceChildren(...ranges.map((range, i) => chip(range.length === 3
      ? `${+range[1].toPrecision(4)} ≤ ${range[0]} ≤ ${+range[2].toPrecision(4)}` : `${range[0]} = ${range[1]}`,
    () => { ranges = ranges.filter((_, j) => j !== i); filter(); })));
    if (page.state.chosen) $.chips.append(chip("points chosen in the plot", () => filter()));
    const pages = Math.max(1, Math.ceil(page.shown / state.per_page));
    $.page.textContent = `page ${page.state.page + 1} of ${pages}, ${titled(page.state.sort)}`;
    $.thumbs.querySelectorAll("img").forEach((img) => URL.revokeObjectURL(img.src));
    $.thumbs.replaceChildren(...page.cells.map((cell, i) => make("button", {
      className: cell.row === frame?.row ? "at" : "", title: cell.fault || `row ${cell.row}`,
      onclick: () => { send("show", { row: cell.row }); root.focus({ preventScroll: true }); },
    }, cell.fault ? make("i", { textContent: "no picture" }) : make("img", { src: url(page.pictures[i]), alt: "" }),
    make("span", { textContent: (cell.marked ? "● " : "") + cell.text }))));
    page.cells.forEach((cell, i) => { $.thumbs.children[i].dataset.row = cell.row; });
  }

  const layout = (more) => ({
    font: { ...state.font, size: 11 }, paper_bgcolor: "#FFFFFF", plot_bgcolor: "#FFFFFF", ...more,
    margin: { l: 48, r: 8, t: 6, b: 34, ...more.margin },
  });
  const axis = (title) => ({ title: { text: title, standoff: 4 }, gridcolor: "#E4E4E4", zeroline: false, automargin: true });
  const config = { displaylogo: false, displayModeBar: "hover", responsive: false,
    modeBarButtonsToRemove: ["toImage", "autoScale2d"] };

  function drawCharts() {
    if (!window.digitPlotly || !charts) return;
    const { x, y, two, rows } = charts, type = rows.length > 1500 ? "scattergl" : "scatter";
    const traces = ["one hand", "two hands"].map((name, kind) => {
      const at = [...rows.keys()].filter((i) => two[i] === kind);
      const marker = { color: state.colors[kind], symbol: kind ? "diamond" : "circle", size: 5, opacity: 0.6 };
      const selected = page.state.chosen ? at.flatMap((i, k) => (charts.chosen[i] ? [k] : [])) : null;
      return { type, mode: "markers", name, marker, x: at.map((i) => x[i]), y: at.map((i) => y[i]),
        customdata: at.map((i) => rows[i]), selectedpoints: selected, unselected: { marker: { opacity: 0.12 } },
        hovertemplate: "%{x:.3g}, %{y:.3g}<extra></extra>" };
    });
    const selections = page.state.chosen ? undefined : [];
    const width = $.scatter.clientWidth;
    digitPlotly.react($.scatter, traces, layout({ width, height: 180, xaxis: axis(titled(charts.axes.x)), yaxis: axis(titled(charts.axes.y)),
      dragmode: "select", selections, legend: { x: 1, xanchor: "right", y: 1, bgcolor: "rgba(255,255,255,0.7)" } }), config);
    const middles = charts.counts.map((_, i) => (charts.edges[i] + charts.edges[i + 1]) / 2);
    digitPlotly.react($.histogram, [{ type: "bar", x: middles, y: charts.counts, marker: { color: state.colors[0] },
      hovertemplate: "%{y} frames around %{x:.3g}<extra></extra>" }],
    layout({ width, height: 112, bargap: 0.05, dragmode: "select", selectdirection: "h", selections: [],
      xaxis: axis(titled(charts.axes.bars)), yaxis: axis("frames") }), config);
    for (const name of ["x", "y", "bars"]) $[name].value = charts.axes[name];
    $.unknown.textContent = charts.unknown ? `${charts.unknown} without a value` : "";
    if (!$.scatter.wired) {
      $.scatter.wired = true;
      $.scatter.on("plotly_selected", (e) => { if (e?.points?.length) filter({ chosen: e.points.map((p) => p.customdata) }); });
      $.scatter.on("plotly_deselect", () => page.state.chosen && filter());
      $.scatter.on("plotly_click", (e) => send("show", { row: e.points[0].customdata }));
      $.histogram.on("plotly_selected", (e) => {
        if (!e?.range) return;
        ranges = [...ranges, [charts.axes.bars, ...e.range.x]];
        filter();
      });
    }
  }

  function drawFrame() {
    const none = frame.row === null;
    root.classList.toggle("digit-none", none);
    $.fault.textContent = frame.fault;
    if (none) { $.title.textContent = ""; $.facts.textContent = ""; root.dataset.row = ""; return; }
    const f = frame.facts;
    const name = [f.seq_name, f.camera && `camera ${f.camera}`, f.frame_idx !== undefined && `frame ${f.frame_idx}`];
    $.title.textContent = [...name, `image ${f.image_id}`].filter(Boolean).join(" · ");
    const facts = Object.entries(FACTS).filter(([key]) => key in f)
      .map(([key, [text, digits, unit]]) => `${text} ${f[key].toFixed(digits)}${unit}`);
    if (!("mpjpe" in f)) facts.unshift("no error: none of its joints could be measured");
    $.facts.textContent = [`${f.hand_type ?? "?"}, called ${f.predicted_hand_type ?? "?"}`, ...facts].join(" · ");
    $.camera.selectedIndex = frame.camera ? 1 : 0;
    const two = state.models.length > 1;
    root.classList.toggle("digit-two", two);
    $.crops.replaceChildren(...frame.pictures.map((picture, i) => {
      const shown = [];
      if (shows["true joints"]) shown.push(handsSvg(frame.true, state.chains, null, shows.bones));
      if (shows["predicted joints"] && picture.joints) shown.push(handsSvg(picture.joints, state.chains, state.fingers, shows.bones));
      const figure = make("figure", {}, make("img", { src: picture.url, alt: "crop" }),
        make("figcaption", { textContent: [two ? "AB"[i] : "", picture.caption || "picture"].filter(Boolean).join(": ") }));
      figure.firstChild.insertAdjacentHTML("afterend", `<svg viewBox="-0.5 -0.5 ${PX} ${PX}">${shown.join("")}</svg>`);
      return figure;
    }));
    $.legend.replaceChildren(...legend());
    if (document.activeElement !== $.note) $.note.value = frame.note;
    drawTags();
    for (const cell of $.thumbs.children) cell.classList.toggle("at", Number(cell.dataset.row) === frame.row);
    root.dataset.row = frame.row;
    root.dataset.layer = $.layer.value;
    clearTimeout(timer);
    timer = setTimeout(drawPlots);
  }

  function legend() {
    const key = (color, text) => make("span", {}, make("i", { style: `background:${color}` }), text);
    if ($.layer.value === "wrong pixels") return Object.entries(state.wrong).map(([text, color]) => key(color, text));
    const texts = ["true: white, in 3D grey", "predicted: by finger", "right: solid, filled", "left: dashed, hollow"];
    return texts.map((text) => make("span", { textContent: text }));
  }

  function drawPlots() {
    if (!window.digitPlotly || !frame || frame.row === null) return;
    const width = $.errors.clientWidth, two = state.models.length > 1, count = frame.pictures.length;
    const traces = [], scenes = {}, annotations = [];
    const scene = { aspectmode: "data", uirevision: "kept", camera: { eye: { x: 1.08, y: -0.78, z: -2.85 }, up: { x: 0, y: -1, z: 0 } } };
    for (const name of "xyz") scene[`${name}axis`] = { title: { text: `${name} (mm)` }, nticks: 5, gridcolor: "#D0D0D0", backgroundcolor: "#F7F7F7", showbackground: true };
    frame.pictures.forEach((picture, i) => {
      const id = i ? "scene2" : "scene";
      scenes[id] = { ...scene, domain: { x: [i / count, (i + 1) / count], y: [0, 1] } };
      if (two) annotations.push({ text: "AB"[i], x: i / count, y: 1, xref: "paper", yref: "paper", showarrow: false });
      if (shows["true joints"]) traces.push(...handsTraces(frame.true_mm, state.chains, null, "true", id));
      if (shows["predicted joints"] && picture.mm) traces.push(...handsTraces(picture.mm, state.chains, state.fingers, "predicted", id));
      if (frame.camera) traces.push(...vectorTrace(frame.true_mm, INK, "solid", "true", id));
      if (frame.camera && picture.mm) traces.push(...vectorTrace(picture.mm, VECTOR, "dash", "predicted", id));
    });
    if (count) {
      const legend = { x: 0, y: 0, orientation: "h", title: { text: "right wrist → left wrist " } };
      digitPlotly.react($.hands, traces, layout({ ...scenes, annotations, legend, width: $.hands.clientWidth, height: $.hands.clientHeight,
        uirevision: "kept", margin: { l: 0, r: 0, t: 0, b: 0 } }), config);
    }
    const names = state.joints.slice(0, 21).map((name) => name.slice(2)), bars = [];
    frame.errors.forEach((errors, i) => [0, 1].forEach((side) => {
      const half = errors.slice(21 * side, 21 * side + 21);
      if (half.every((value) => value === null)) return;
      const finger = names.map((_, j) => state.fingers[side][j === 20 ? 5 : Math.floor(j / 4)]);
      bars.push({ type: "bar", x: names, y: half, name: [two ? "AB"[i] : "", side ? "left" : "right"].join(" ").trim(),
        marker: { color: two ? state.colors[i] : finger, pattern: { shape: side ? "/" : "", fillmode: "overlay", fgcolor: INK, fgopacity: 0.7, solidity: 0.2, size: 5 } },
        opacity: two && side ? 0.75 : 1, hovertemplate: "%{x}: %{y:.1f} mm<extra>%{fullData.name}</extra>" });
    }));
    digitPlotly.react($.errors, bars, layout({ width, height: 150, barmode: "group", bargap: 0.25, xaxis: { tickangle: -45, dtick: 1 },
      yaxis: { ...axis("error (mm)"), rangemode: "tozero" }, showlegend: two, legend: { x: 1, xanchor: "right", y: 1.15, orientation: "h", bgcolor: "rgba(255,255,255,0.7)" },
      margin: { b: 48, t: 14 }, annotations: two ? [] : [{ text: "right: plain, left: hatched", x: 1, xanchor: "right", y: 1.14,
        xref: "paper", yref: "paper", showarrow: false }] }), config);
    root.dataset.drawn = frame.row;
  }

  const hear = {
    plotly(_, [script]) { if (!window.digitPlotly) loadPlotly(script); drawCharts(); drawPlots(); },
    state(message) { state = message; drawState(); drawTags(); },
    page(message, buffers) { page = { ...message, pictures: buffers }; drawPage(); root.dataset.shown = page.shown; },
    charts(message, [x, y, two, rows, chosen]) {
      charts = { ...message, x: new Float32Array(copy(x)), y: new Float32Array(copy(y)), two: new Uint8Array(copy(two)),
        rows: new Int32Array(copy(rows)), chosen: new Uint8Array(copy(chosen)) };
      setTimeout(drawCharts);
    },
    frame(message, buffers) {
      saveNote();
      frame?.pictures?.forEach((picture) => URL.revokeObjectURL(picture.url));
      frame = message;
      frame.pictures?.forEach((picture, i) => { picture.url = url(buffers[i]); });
      $.say.textContent = "";
      drawFrame();
    },
    marks(message) {
      state.tags = message.known;
      if (frame?.row != null) {
        Object.assign(frame, { tags: message.tags, note: message.note });
        if (document.activeElement !== $.note) $.note.value = frame.note;
      }
      drawTags();
      const marked = new Set(message.marked);
      for (const cell of $.thumbs.children) {
        const text = cell.lastChild, on = marked.has(Number(cell.dataset.row));
        text.textContent = (on ? "● " : "") + text.textContent.replace("● ", "");
      }
      root.dataset.marked = message.marked.length;
    },
    say(message) { $.say.textContent = message.text; },
  };
  const listen = (message, buffers) => hear[message.kind]?.(message, buffers ?? []);
  model.on("msg:custom", listen);
  const resized = new ResizeObserver(() => { clearTimeout(timer); timer = setTimeout(() => { drawCharts(); drawPlots(); }, 150); });
  resized.observe(root);
  send("hello", { plotly_there: Boolean(window.digitPlotly) });
  return () => {
    model.off("msg:custom", listen);
    resized.disconnect();
    if (window.digitPlotly) for (const name of ["scatter", "histogram", "hands", "errors"]) digitPlotly.purge($[name]);
  };
}

export default { render };
