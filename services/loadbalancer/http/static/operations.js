// The live view of a deployment: asks once a second while it is shown.
import { lineChart, histogram } from "./charts.js";

const byId = (id) => document.getElementById(id);
const PERIOD_MS = 1000, SPAN_S = 300, PLANS_MAX = 20;
const samples = [];
const plans = new Map();
let isShown = false, before = null;

export function startOperations() { setInterval(() => { if (isShown && !document.hidden) refresh(); }, PERIOD_MS); }
export function showOperations(value) { isShown = value; if (value) refresh(); }

async function refresh() {
  let status;
  try {
    const response = await fetch("api/status");
    status = await response.json();
    if (!response.ok) throw new Error(status.error.message);
  } catch (error) { return alarm(`The controller cannot be reached; serving goes on with the last plan. (${error.message})`); }
  keep(status);
  showAlarms(status);
  showTiles(status);
  showCharts();
  showWorkers(status);
  showConfidence(status);
  showPlans(status);
}

function outcomesOf(cascade) {
  const count = (name) => Number(cascade.outcomes[name] ?? 0);
  const answered = count("light") + count("heavy") + count("light_fallback");
  return {
    answered, heavy: count("heavy"), rejected: count("rejected"),
    late: count("expired") + count("failed"),
  };
}

function total(status, field) { return status.cascades.reduce((sum, cascade) => sum + Number(cascade[field]), 0); }

function keep(status) {
  const sum = { answered: 0, heavy: 0, rejected: 0, late: 0 };
  for (const cascade of status.cascades) for (const [name, value] of Object.entries(outcomesOf(cascade))) sum[name] += value;
  const last = before;
  before = sum;
  const planned = status.plan?.cascades ?? [];
  const answered = last ? sum.answered - last.answered : 0;
  const demand = total(status, "arrival_qps");
  samples.push({
    t: Date.now() / 1000, demand,
    planned: planned.reduce((all, cascade) => all + cascade.demand_qps, 0),
    light: total(status, "light_queue_length"), heavy: total(status, "heavy_queue_length"),
    deferred: answered > 0 ? (sum.heavy - last.heavy) / answered : null,
    target: planned.length ? planned.reduce((all, cascade) => all + cascade.deferral_target, 0) / planned.length : null,
    sum,
  });
  while (samples[0].t < samples.at(-1).t - SPAN_S) samples.shift();
  if (status.plan && !plans.has(status.plan.plan_id)) {
    plans.set(status.plan.plan_id, { at: new Date(Date.now() - 1000 * status.plan.age_s), plan: status.plan });
    while (plans.size > PLANS_MAX) plans.delete(plans.keys().next().value);
  }
}

function alarm(text) { byId("alarm").hidden = !text; byId("alarm").textContent = text; }

function showAlarms(status) {
  const lines = [];
  if (!status.redis_connected) lines.push(`Redis does not answer; telemetry is ${status.telemetry_age_s.toFixed(0)} s old and the plan stays.`);
  if (status.planning_paused) lines.push("Planning is paused.");
  for (const cascade of status.cascades) if (cascade.drift?.is_alarm) lines.push(`${cascade.cascade_id}: confidences have drifted (PSI ${cascade.drift.psi.toFixed(2)}); the share deferred is held.`);
  alarm(lines.join(" "));
}

function showTiles(status) {
  const { sum } = samples.at(-1);
  const accepted = sum.answered + sum.late;
  const attained = accepted ? `${(100 * sum.answered / accepted).toFixed(2)} %` : "–";
  const heavy = sum.answered ? `${(100 * sum.heavy / sum.answered).toFixed(0)} %` : "–";
  tiles([
    ["demand", `${total(status, "arrival_qps").toFixed(1)} qps`],
    ["answered in time", attained],
    ["answered heavy", heavy],
    ["refused", String(sum.rejected)],
    ["waiting", `${total(status, "light_queue_length")} light, ${total(status, "heavy_queue_length")} heavy`],
    ["workers", String(status.workers.length)],
    ["plan", status.plan ? `#${status.plan.plan_id}` : "none yet"],
    ["solver", `${status.plan?.solver ?? status.solver}, ${((status.plan?.solve_s ?? 0) * 1000).toFixed(0)} ms`],
  ]);
}

function tiles(rows) {
  byId("tiles").replaceChildren(...rows.map(([name, value]) => {
    const tile = make("div", "tile");
    tile.append(make("span", "", name), make("b", "", value));
    return tile;
  }));
}

function line(name, colour, field) { return { name, colour, points: samples.filter((s) => s[field] !== null).map((s) => [s.t, s[field]]) }; }

function showCharts() {
  byId("charts").replaceChildren(
    lineChart("Demand, queries per second", [line("measured", "var(--heavy)", "demand"), line("planned for", "var(--soft)", "planned")], { span_s: SPAN_S }),
    lineChart("Share answered by the heavy model", [line("measured", "var(--heavy)", "deferred"), line("aimed at", "var(--soft)", "target")], { span_s: SPAN_S, top: 1 }),
    lineChart("Queries waiting", [line("light", "var(--light)", "light"), line("heavy", "var(--heavy)", "heavy")], { span_s: SPAN_S }),
  );
}

function showWorkers(status) {
  const heavies = new Set(status.cascades.map((cascade) => cascade.heavy));
  byId("workers").replaceChildren(...status.workers.map((worker) => {
    const item = make("li", worker.assigned && (heavies.has(worker.assigned) ? "drawn-heavy" : "drawn-light"));
    item.append(make("b", "", worker.worker_id), `${worker.assigned || "not placed"}${worker.draining ? ", draining" : ""}`, make("br"), make("span", "hint", worker.device));
    return item;
  }));
}

function showConfidence(status) {
  byId("confidence").replaceChildren(...(status.sketches ?? []).map((sketch) => histogram(
    `${sketch.discriminator}: last ${sketch.num_scores} images`, sharesOf(sketch), thresholdOf(sketch, status),
  )));
  if (!status.sketches?.length) byId("confidence").textContent = "No image was scored yet.";
}

/** Shares of the confidences in twenty bins, from the sketch's quantiles. */
function sharesOf({ fractions, thresholds }) {
  const below = (x) => {
    let index = thresholds.findIndex((threshold) => threshold >= x);
    if (index < 0) return 1;
    if (index === 0) return 0;
    const [low, high] = [thresholds[index - 1], thresholds[index]];
    const part = high > low ? (x - low) / (high - low) : 1;
    return fractions[index - 1] + part * (fractions[index] - fractions[index - 1]);
  };
  return Array.from({ length: 20 }, (_, bin) => Math.max(0, (bin === 19 ? 1 : below((bin + 1) / 20)) - below(bin / 20)));
}

function thresholdOf(sketch, status) {
  const cascade = status.plan?.cascades.find((one) => sketch.cascades.includes(one.cascade_id));
  return cascade?.confidence_threshold ?? 0;
}

function showPlans(status) {
  byId("plans").replaceChildren(...[...plans.values()].reverse().map(({ at, plan }) => {
    const item = make("li");
    const time = make("time", "", at.toLocaleTimeString());
    time.dateTime = at.toISOString();
    item.append(time, ` #${plan.plan_id} (${plan.solver}, ${plan.status}): ${plan.reason}`);
    return item;
  }));
  if (!plans.size) byId("plans").textContent = "No plan yet.";
}

function make(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
