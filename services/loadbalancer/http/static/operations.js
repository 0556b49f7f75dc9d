// The live view of a deployment: asks once a second while it is shown.
import { lineChart, histogram } from "./charts.js";

const byId = (id) => document.getElementById(id);
const PERIOD_MS = 1000, SPAN_S = 300, SPAN_MIN_S = 60, SLO_WINDOW_S = 30, SILENT_S = 2;
const samples = [];
let isShown = false, isAsking = false, before = null;

export function startOperations() { setInterval(() => { if (isShown && !document.hidden) refresh(); }, PERIOD_MS); }
export function showOperations(value) { isShown = value; if (value) refresh(); }

async function refresh() {
  if (isAsking) return; // a slow answer must not pile up questions
  isAsking = true;
  let status;
  try {
    const response = await fetch("api/status");
    status = await response.json();
    if (!response.ok) throw new Error(status.error.message);
  } catch (error) { return alarm(`The controller cannot be reached; serving goes on with the last plan. (${error.message})`); }
  finally { isAsking = false; }
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

/** Variant -> the stages that it has in the cascades that the plan uses; of a class these may be few. */
function stagesOf(status) {
  const used = (status.plan?.cascades ?? []).filter((one) => one.demand_qps > 0).map((one) => one.cascade_id);
  const stages = new Map();
  const add = (variant, stage) => stages.set(variant, new Set(stages.get(variant)).add(stage));
  for (const { cascade_id, light, heavy } of status.cascades) if (used.includes(cascade_id)) { add(light, "light"); add(heavy, "heavy"); }
  for (const { light } of status.cascades) if (!stages.has(light)) add(light, "light");
  for (const { heavy } of status.cascades) if (!stages.has(heavy)) add(heavy, "heavy");
  return stages;
}

/** Queries waiting by stage, each once: a variant that is light in one cascade may be heavy in another. */
function waiting(status) {
  const stages = stagesOf(status), lengths = new Map();
  for (const one of status.cascades) lengths.set(one.light, one.light_queue_length).set(one.heavy, one.heavy_queue_length);
  const sums = { light: 0, heavy: 0 };
  for (const [variant, length] of lengths) sums[stages.get(variant).has("light") ? "light" : "heavy"] += Number(length);
  return sums;
}

/** The share deferred that the plan aims at, over all cascades: each counts as much as it gets queries. */
function targetOf(planned) {
  const demand = planned.reduce((all, cascade) => all + cascade.demand_qps, 0);
  if (!demand) return planned[0]?.deferral_target ?? null;
  return planned.reduce((all, cascade) => all + cascade.demand_qps * cascade.deferral_target, 0) / demand;
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
  const slo = attainment(sum, samples.findLast((s) => s.t < Date.now() / 1000 - SLO_WINDOW_S)?.sum);
  samples.push({
    t: Date.now() / 1000, demand,
    planned: planned.reduce((all, cascade) => all + cascade.demand_qps, 0),
    ...waiting(status),
    deferred: answered > 0 ? (sum.heavy - last.heavy) / answered : null,
    target: targetOf(planned),
    sum, slo,
  });
  while (samples[0].t < samples.at(-1).t - SPAN_S) samples.shift();
}

/** Share of the queries that ended since `start` with an answer in time; refused ones count as missed. */
function attainment(now, start = { answered: 0, rejected: 0, late: 0 }) {
  const answered = now.answered - start.answered;
  const ended = answered + now.rejected - start.rejected + now.late - start.late;
  return ended > 0 ? answered / ended : null;
}

function alarm(text) {
  if (byId("alarm").textContent === text) return; // said once, not every second
  byId("alarm").hidden = !text;
  byId("alarm").textContent = text;
}

function showAlarms(status) {
  const lines = [];
  if (!status.redis_connected) lines.push(`Redis does not answer; telemetry is ${status.telemetry_age_s.toFixed(0)} s old and the plan stays.`);
  for (const { loadbalancer_id, report_age_s } of status.loadbalancers ?? []) if (status.redis_connected && report_age_s > SILENT_S) lines.push(`Load balancer ${loadbalancer_id} has been silent for ${report_age_s.toFixed(0)} s; its figures are as old.`);
  const unheard = status.cascades.filter((one) => !one.calibration).map((one) => one.cascade_id);
  if (status.redis_connected && unheard.length) lines.push(`No discriminator reports on ${unheard.join(", ")}; images are ranked by what workers knew last, or kept without a score.`);
  if (status.planning_paused) lines.push("Planning is paused.");
  for (const { variant_id, drift } of calibrations(status)) if (drift?.is_alarm) lines.push(`Drift: the confidences of ${variant_id}'s images are not those it was measured with (PSI ${drift.psi.toFixed(2)}); the share deferred is held all the same.`);
  alarm(lines.join(" "));
}

function showTiles(status) {
  const { sum, light, heavy: heavies } = samples.at(-1);
  const slo = attainment(sum);
  const attained = slo === null ? "–" : `${(100 * slo).toFixed(slo === 1 ? 0 : 2)} %`;
  const heavy = sum.answered ? `${(100 * sum.heavy / sum.answered).toFixed(0)} %` : "–";
  tiles([
    ["demand", `${total(status, "arrival_qps").toFixed(1)} qps`],
    ["SLO attained", attained],
    ["answered heavy", heavy],
    ["refused", String(sum.rejected)],
    ["waiting", `${light} light, ${heavies} heavy`],
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
  const span_s = Math.min(SPAN_S, Math.max(SPAN_MIN_S, samples.at(-1).t - samples[0].t));
  byId("charts").replaceChildren(
    lineChart("Demand, queries per second", [line("measured", "var(--heavy)", "demand"), line("planned for", "var(--soft)", "planned")], { span_s }),
    lineChart("Share answered by the heavy model", [line("measured", "var(--heavy)", "deferred"), line("aimed at", "var(--soft)", "target")], { span_s, top: 1 }),
    lineChart(`SLO attainment, last ${SLO_WINDOW_S} s`, [line("in time", "var(--good)", "slo")], { span_s, top: 1 }),
    lineChart("Queries waiting", [line("light", "var(--light)", "light"), line("heavy", "var(--heavy)", "heavy")], { span_s }),
  );
}

function showWorkers(status) {
  const stages = stagesOf(status);
  const stage = (variant) => [...(stages.get(variant) ?? ["light"])].join(" and ");
  const colour = (variant) => (stages.get(variant)?.has("light") === false ? "heavy" : "light");
  byId("workers").replaceChildren(...status.workers.map((worker) => {
    const item = make("li", worker.assigned && `drawn-${colour(worker.assigned)}`);
    const runs = [worker.assigned, ...(worker.coresident ?? [])].filter(Boolean);
    const others = worker.resident.filter((variant) => !runs.includes(variant));
    item.append(make("b", "", worker.worker_id), make("span", "", runs.join(", ") || "not placed"));
    if (runs.length) item.append(make("span", "hint", runs.length > 1 ? `${runs.map(stage).join(", ")} stage, by turns` : `${stage(runs[0])} stage`));
    if (others.length) item.append(make("span", "hint", `also holds ${others.join(", ")}`));
    if (worker.draining) item.append(make("span", "error", "draining"));
    if (worker.problem) item.append(make("span", "error", `cannot hold it: ${worker.problem.slice(0, 120)}`));
    item.append(make("span", "hint", `${worker.device}, seen ${worker.lease_age_s.toFixed(0)} s ago`));
    return item;
  }));
  if (!status.workers.length) byId("workers").textContent = "No worker has registered.";
}

/** Of whose images a calibration is, and who scored them. */
function population({ discriminator, variant_id }) { return `${variant_id} by ${discriminator}`; }

/** What discriminators have learnt of each light variant, once, though several cascades may use it. */
function calibrations(status) {
  const found = new Map();
  for (const { calibration } of status.cascades) if (calibration) found.set(population(calibration), calibration);
  return [...found.values()];
}

function showConfidence(status) {
  const learnt = calibrations(status).filter((one) => Number(one.num_scores) > 0);
  byId("confidence").replaceChildren(...learnt.map((one) => {
    const caption = `${population(one)}: ${one.num_scores} images${one.drift ? `, drift PSI ${one.drift.psi.toFixed(2)}${one.drift.is_alarm ? " (alarm)" : ""}` : ""}`;
    return histogram(caption, sharesOf(one), thresholdOf(one, status));
  }));
  if (!learnt.length) byId("confidence").textContent = "Too few images were scored yet.";
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

/** The confidence below which the planned share of recent images lies. */
function thresholdOf(calibration, status) {
  const users = status.cascades.filter((one) => one.calibration && population(one.calibration) === population(calibration));
  const planned = status.plan?.cascades.find((one) => users.some((user) => user.cascade_id === one.cascade_id));
  if (!planned) return 0;
  const index = calibration.fractions.findIndex((fraction) => fraction >= planned.deferral_target);
  return calibration.thresholds[index] ?? 0;
}

function showPlans(status) {
  const now = Date.now();
  byId("plans").replaceChildren(...(status.plans ?? []).map((plan) => {
    const item = make("li");
    const at = new Date(now - 1000 * plan.age_s);
    const time = make("time", "", at.toLocaleTimeString());
    time.dateTime = at.toISOString();
    const workers = Object.entries(plan.workers).map(([variant, count]) => `${count} × ${variant}`).join(", ");
    const head = make("span", "", ` #${plan.plan_id}: ${workers || "no worker placed"}`);
    const why = make("div", "", plan.reason);
    const how = make("div", "hint", `held ${duration(plan.held_s)}; ${plan.solver}, ${plan.status}, ${(1000 * plan.solve_s).toFixed(0)} ms`);
    item.append(time, head, why, how);
    return item;
  }));
  if (!status.plans?.length) byId("plans").textContent = "No plan yet.";
}

function duration(seconds) { return seconds < 90 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(0)} min`; }

function make(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
