// Tabs and readiness; each view is a module of its own.
import { startPlayground } from "./playground.js";
import { startOperations, showOperations } from "./operations.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab) {
  for (const other of tabs) {
    const isSelected = other === tab;
    other.setAttribute("aria-selected", String(isSelected));
    other.tabIndex = isSelected ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !isSelected;
  }
  location.hash = tab.getAttribute("aria-controls");
  showOperations(tab.id === "tab-operations");
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    next.focus();
    select(next);
  });
}

async function readiness() {
  try {
    return (await fetch("readyz")).ok ? "ready" : "not ready: waiting for workers";
  } catch {
    return "the service does not answer";
  }
}

async function tellReadiness() {
  const line = document.getElementById("readiness");
  const text = await readiness();
  if (line.textContent !== text) line.textContent = text; // read aloud only when it changes
}

startPlayground();
startOperations();
select(tabs.find((tab) => location.hash === "#" + tab.getAttribute("aria-controls")) ?? tabs[0]);
tellReadiness();
setInterval(tellReadiness, 5000);
