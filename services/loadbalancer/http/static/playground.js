// Draw an image: the preview sharpens into the answer, and the page tells who drew it and why.
import { readEvents } from "./events.js";

const byId = (id) => document.getElementById(id);
const STAGES = [
  ["light_queue", "queue", "waits"], ["light_execution", "light", "light draws"], ["scoring", "scoring", "scored"],
  ["heavy_queue", "queue", "waits"], ["heavy_execution", "heavy", "heavy draws"],
];
const SHOWN_SHARE = 0.02;
let abort = null;

export async function startPlayground() {
  byId("wish").addEventListener("submit", (event) => { event.preventDefault(); draw(); });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); byId("wish").requestSubmit(); }
  });
  byId("stop").addEventListener("click", () => abort?.abort());
  try {
    const { default: first, models, examples } = await (await fetch("api/playground")).json();
    for (const name of models) byId("model").add(new Option(name, name, name === first, name === first));
    for (const { text, kind } of examples) addExample(text, kind);
    if (examples.length && !byId("prompt").value) byId("prompt").value = examples[0].text;
  } catch { tell("The service does not answer.", true); }
}

function addExample(text, kind) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = `${kind}: ${text}`;
  button.title = text;
  button.addEventListener("click", () => { byId("prompt").value = text; byId("prompt").focus(); });
  byId("examples").append(button);
}

function wish() {
  const seed = byId("seed").value;
  return {
    prompt: byId("prompt").value, model: byId("model").value || null, quality: byId("quality").value,
    ...(seed === "" ? {} : { seed: Number(seed) }),
  };
}

async function draw() {
  abort?.abort();
  abort = new AbortController();
  const mine = abort;
  setBusy(true);
  clearStory();
  tell("Asking for an image …");
  try {
    const response = await fetch("api/generate", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wish()), signal: mine.signal,
    });
    if (!response.ok) throw new Error((await response.json().catch(() => null))?.error.message ?? `The service answered ${response.status}.`);
    for await (const event of readEvents(response)) {
      if (event.name === "error") throw new Error(event.data.error.message);
      onEvent(event);
    }
  } catch (error) {
    if (mine === abort) tell(error.name === "AbortError" ? "Stopped." : error.message, error.name !== "AbortError");
  } finally {
    if (mine === abort) setBusy(false);
  }
}

function onEvent({ name, data }) {
  if (name === "queued") tell(`Waiting for ${data.variant}: ${data.position} ahead, ${wait(data.predicted_wait_s)}.`);
  else if (name === "started") tell(`${data.variant} draws on ${data.worker}.`);
  else if (name === "progress") showStep(data);
  else if (name === "preview") {
    byId("steps").hidden = true;
    show(data.image, data.image_alt ?? "preview by the light model", true);
    tell(`Preview by the light model; the heavy one draws it again: ${data.reason}.`);
  } else if (name === "done") finish(data);
}

function finish(data) {
  const { story } = data;
  const prompt = byId("prompt").value;
  show(data.image, prompt, false);
  tell(`Drawn by ${story.variant} in ${seconds(story.stage_s.total)}: ${story.reason}.`);
  showTimes(story.stage_s);
  const rows = [
    ["model", `${story.variant} (${story.outcome.replace("_", " ")}), cascade ${story.cascade}`],
    ["confidence", story.confidence === null ? "not scored" : `${story.confidence.toFixed(3)}, rank ${(100 * story.percentile).toFixed(0)} % of recent`],
    ["first image", `after ${seconds(story.first_image_s)}, whole answer after ${seconds(story.stage_s.total)}`],
    ["seed", String(story.seed)],
  ];
  if (story.unknown_words.length) rows.push(["not understood", story.unknown_words.join(", ")]);
  for (const [term, text] of rows) byId("story").append(element("dt", term), element("dd", text));
  remember(data, prompt);
}

function showStep({ variant, step, num_steps: all }) {
  const bar = byId("steps");
  Object.assign(bar, { max: all, value: step, hidden: false, title: `${variant}: step ${step} of ${all}` });
}

function show(image, alt, isPreview) {
  const picture = byId("picture");
  picture.src = image;
  picture.alt = alt;
  picture.hidden = false;
  picture.classList.toggle("preview", isPreview);
  picture.onload = () => picture.classList.toggle("small", picture.naturalWidth <= 128);
  byId("empty").hidden = true;
}

function showTimes(stages) {
  const total = Math.max(stages.total, 1e-9);
  const shown = STAGES.filter(([stage]) => stages[stage] / total > SHOWN_SHARE);
  byId("times").replaceChildren(...shown.map(([stage, kind, label]) => {
    const part = element("span", `${label} ${seconds(stages[stage])}`);
    part.className = kind;
    part.title = part.textContent;
    part.style.flex = String(100 * stages[stage] / total);
    return part;
  }));
}

function remember(data, prompt) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = data.story.outcome === "heavy" ? "drawn-heavy" : "drawn-light";
  const image = document.createElement("img");
  image.src = data.image;
  image.alt = "";
  button.append(image, `${data.story.variant}, seed ${data.story.seed}: ${prompt.slice(0, 60)}`);
  button.addEventListener("click", () => {
    byId("prompt").value = prompt;
    byId("seed").value = data.story.seed;
    clearStory();
    show(data.image, prompt, false);
    tell(`From history: drawn by ${data.story.variant}: ${data.story.reason}.`);
    showTimes(data.story.stage_s);
  });
  item.append(button);
  byId("past").hidden = false;
  byId("history").prepend(item);
  while (byId("history").children.length > 24) byId("history").lastChild.remove();
}

function setBusy(isBusy) {
  byId("draw").disabled = isBusy;
  if (!isBusy) byId("steps").hidden = true;
  byId("stop").hidden = !isBusy;
  byId("stage").setAttribute("aria-busy", String(isBusy));
}

function clearStory() { byId("story").replaceChildren(); byId("times").replaceChildren(); }
function tell(text, isError = false) { byId("told").textContent = text; byId("told").classList.toggle("error", isError); }
function element(name, text) { const made = document.createElement(name); made.textContent = text; return made; }
function wait(value) { return value === null ? "and no worker draws it now" : `about ${seconds(value)}`; }

function seconds(value) { return value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(2)} s`; }
