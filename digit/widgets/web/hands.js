// How hands are drawn, in every widget and in the exported page: on a canvas, as SVG and
// as strokes in 3D. The counterpart of digit/plots/strokes.py and hands.py.

// The rule of every picture: the right hand is solid and filled, the left hand dashed and
// hollow. Indexed by side: 0 right, 1 left.
const SIDE_LOOKS = [
  { dash: [], filled: true, plotlyPattern: "" },
  { dash: [5, 4], filled: false, plotlyPattern: "/" },
];
const SIDE_NAMES = ["right", "left"];

const JOINTS_PER_HAND = 21;
const RIGHT_WRIST = 20;
const LEFT_WRIST = 41;
const OUTLINE = "#000000A0"; // around lines over photographs

/** Whether a point [x, y] or [x, y, z] is known; unknown coordinates are null. */
function isKnown(point) {
  return Boolean(point) && !point.includes(null);
}

/** The finger of a joint of one hand: 0 thumb … 4 pinky, 5 wrist. */
function fingerOf(joint) {
  return joint === RIGHT_WRIST ? 5 : Math.floor(joint / 4);
}

// On a canvas

/** The known pieces of a polyline as a path; `toScreen` maps a point to [x, y] on the screen. */
function polylinePath(points, toScreen) {
  const path = new Path2D();
  let penIsDown = false;
  for (const point of points) {
    if (isKnown(point)) {
      const [x, y] = toScreen(point);
      if (penIsDown) path.lineTo(x, y);
      else path.moveTo(x, y);
    }
    penIsDown = isKnown(point);
  }
  return path;
}

/** A round mark, hollow for the left hand. */
function drawMark(context, [x, y], color, left, radius) {
  context.setLineDash([]);
  context.lineWidth = 2;
  context.strokeStyle = color;
  context.fillStyle = SIDE_LOOKS[Number(left)].filled ? color : "white";
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
}

/** White text with a dark outline. */
function drawLabel(context, text, [x, y]) {
  context.setLineDash([]);
  context.font = "12px sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "black";
  context.strokeText(text, x, y);
  context.fillStyle = "white";
  context.fillText(text, x, y);
}

/** A stroke of digit.plots.hands over a picture. */
function drawStroke(context, stroke, toScreen) {
  const path = polylinePath(stroke.points, toScreen);
  context.lineJoin = "round";
  context.setLineDash([]);
  context.lineWidth = 4;
  context.strokeStyle = OUTLINE;
  context.stroke(path);

  context.setLineDash(SIDE_LOOKS[Number(stroke.left)].dash);
  context.lineWidth = 2;
  context.strokeStyle = stroke.color;
  context.stroke(path);

  if (stroke.marks) {
    for (const point of stroke.points.filter(isKnown)) {
      drawMark(context, toScreen(point), stroke.color, stroke.left, 3);
    }
  }
  if (stroke.label && isKnown(stroke.points[0])) {
    const [x, y] = toScreen(stroke.points[0]);
    drawLabel(context, stroke.label, [x + 5, y + 14]);
  }
}

// As SVG

/** Text that may stand inside an SVG element. */
function escapeText(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
}

/** One finger as SVG: an outlined line where `bones` are shown, and a mark at each joint. */
function fingerSvg(points, titles, { color, side, bones, predicted, indices }) {
  const look = SIDE_LOOKS[side];
  const parts = [];
  if (bones && points.length > 1) {
    const path = points.map((point) => point.join(",")).join(" ");
    const dash = look.dash.length ? `stroke-dasharray="${look.dash.join(" ")}"` : "";
    parts.push(`<polyline points="${path}" fill="none" stroke="#000" stroke-width="4" opacity=".55"/>`);
    parts.push(`<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2.2" ${dash}/>`);
  }
  // True joints are white: their marks have a black rim to stand out on white skin.
  const rim = look.filled || !predicted ? "#000" : color;
  const fill = look.filled ? color : "#fff";
  const radius = predicted ? 3.6 : 2.6;
  points.forEach(([x, y], i) => {
    const title = titles[i] ? `<title>${escapeText(titles[i])}</title>` : "";
    parts.push(`<circle data-joint="${indices[i]}" cx="${x}" cy="${y}" r="${radius}" stroke-width="1.4" fill="${fill}" stroke="${rim}">${title}</circle>`);
  });
  return parts.join("");
}

/**
 * Both hands as SVG elements.
 *
 * joints: 42 points in pixels; chains: joints of each finger of one hand, tip to wrist;
 * colors: [side][finger] for predicted joints, null for true ones, which are white;
 * titles: what each joint shows on hover, if given.
 */
function handsSvg(joints, { chains, colors, bones, titles = [] }) {
  const parts = [];
  for (const side of [0, 1]) {
    chains.forEach((chain, finger) => {
      const indices = chainOf(chain, side);
      const known = indices.filter((joint) => isKnown(joints[joint]));
      const points = known.map((joint) => joints[joint]);
      const look = { color: colors ? colors[side][finger] : "#FFFFFF", side, bones, predicted: Boolean(colors), indices: known };
      parts.push(fingerSvg(points, known.map((joint) => titles[joint]), look));
    });
  }
  return parts.join("");
}

// As strokes of space_scene.js

/** A finger's chain of joints of one side: their numbers among all joints. */
function chainOf(chain, side) {
  return chain.map((joint) => joint + JOINTS_PER_HAND * side);
}

/**
 * Both hands as strokes in 3D, one for each finger.
 *
 * joints: 42 points in mm; colors: [side][finger], or one colour for all, thinner.
 */
function handStrokes(joints, { chains, colors }) {
  const isPlain = typeof colors === "string";
  return [0, 1].flatMap((side) => chains.map((chain, finger) => ({
    points: chainOf(chain, side).map((joint) => joints[joint]),
    color: isPlain ? colors : colors[side][finger],
    left: side === 1,
    marks: true,
    width: isPlain ? 2 : 3.5,
    radius: isPlain ? 2 : 3.2,
  })));
}

/** The vector from the right wrist to the left one as a stroke; none where one is unknown. */
function wristVector(joints, { color, dash }) {
  const points = [joints[RIGHT_WRIST], joints[LEFT_WRIST]];
  return points.every(isKnown) ? [{ points, color, left: false, marks: false, width: 5, dash }] : [];
}
