// Small line and bar charts in SVG: axes from zero, labels at the ends of lines.
const NS = "http://www.w3.org/2000/svg";
const WIDTH = 420, HEIGHT = 150, LEFT = 40, RIGHT = 70, TOP = 10, BOTTOM = 22;

function node(name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function frame(title, top, unit) {
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title, width: "100%" });
  for (const share of [0, 0.5, 1]) {
    const y = TOP + (1 - share) * (HEIGHT - TOP - BOTTOM);
    svg.append(node("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, class: "axis" }));
    svg.append(node("text", { x: LEFT - 4, y: y + 4, "text-anchor": "end" }, label(share * top) + unit));
  }
  return svg;
}

function label(value) { return value >= 10 || value === 0 ? String(Math.round(value)) : value.toFixed(value >= 1 ? 1 : 2); }

/** The light model's yellow is too pale for text on white. */
function inkOf(colour) { return colour === "var(--light)" ? "var(--light-ink)" : colour; }

function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

/** A chart of lines over time: lines = [{name, colour, points: [[t, value], ...]}], t in seconds. */
export function lineChart(title, lines, { span_s, unit = "", top: fixedTop } = {}) {
  const values = lines.flatMap((line) => line.points.map(([, value]) => value));
  const top = fixedTop ?? niceTop(Math.max(...values, 0));
  const svg = frame(title, top, unit);
  const now = Math.max(...lines.flatMap((line) => line.points.map(([t]) => t)), 0);
  const x = (t) => LEFT + (1 - (now - t) / span_s) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (1 - Math.min(value, top) / top) * (HEIGHT - TOP - BOTTOM);
  const taken = [];
  for (const { name, colour, points } of lines) {
    const inside = points.filter(([t]) => t >= now - span_s);
    if (!inside.length) continue;
    const path = inside.map(([t, value], index) => `${index ? "L" : "M"}${x(t).toFixed(1)} ${y(value).toFixed(1)}`);
    svg.append(node("path", { d: path.join(""), stroke: colour }));
    let place = y(inside.at(-1)[1]) + 4;
    while (taken.some((other) => Math.abs(other - place) < 12)) place += 12;
    taken.push(place);
    const end = node("text", { x: WIDTH - RIGHT + 4, y: place }, name);
    end.style.fill = inkOf(colour);
    svg.append(end);
  }
  const last = lines.map(({ name, points }) => `${name} ${points.length ? label(points.at(-1)[1]) + unit : "unknown"}`);
  svg.setAttribute("aria-label", `${title}: ${last.join(", ")} now`);
  svg.append(node("text", { x: LEFT, y: HEIGHT - 6 }, span_s < 90 ? `${Math.round(span_s)} s ago` : `${Math.round(span_s / 60)} min ago`));
  svg.append(node("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, "now"));
  return figure(title, svg);
}

/** A histogram of shares over [0, 1]; bars below `threshold` are drawn in the heavy colour. */
export function histogram(title, shares, threshold) {
  const top = Math.max(...shares, 1e-9);
  const svg = frame(title, 100 * top, " %");
  const width = (WIDTH - LEFT - RIGHT) / shares.length;
  shares.forEach((share, index) => {
    const height = (share / top) * (HEIGHT - TOP - BOTTOM);
    const isDeferred = (index + 0.5) / shares.length < threshold;
    svg.append(node("rect", {
      x: LEFT + index * width + 1, y: HEIGHT - BOTTOM - height, width: width - 2, height,
      fill: isDeferred ? "var(--heavy)" : "var(--light)",
    }));
  });
  for (const at of [0, 0.5, 1]) svg.append(node("text", { x: LEFT + at * (WIDTH - LEFT - RIGHT), y: HEIGHT - 6, "text-anchor": "middle" }, String(at)));
  svg.append(node("text", { x: WIDTH - RIGHT + 6, y: TOP + 10, style: "fill: var(--heavy)" }, "deferred"));
  svg.append(node("text", { x: WIDTH - RIGHT + 6, y: TOP + 26, style: "fill: var(--light-ink)" }, "kept"));
  return figure(title, svg);
}

function figure(title, svg) {
  const made = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  made.append(caption, svg);
  return made;
}
