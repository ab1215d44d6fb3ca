// What the keys do. `actions` are the page's: each key's, by the names below.

import { by } from "./page.js";

const TOOLS = { v: "move", p: "pen", f: "fill", e: "erase", g: "grow", x: "piece" };
const KEYS = { j: "next", k: "previous", ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right", i: "interpolate", a: "accept", h: "hide", o: "outline", "/": "filter", "?": "help" };

export function listen(actions) {
  window.addEventListener("keydown", (event) => keyed(event, actions), { capture: true });
  window.addEventListener("keyup", (event) => { if (event.key === "h") actions.show(); });
  // The keys are the page's again once something was chosen.
  for (const select of document.querySelectorAll("select")) select.addEventListener("change", () => select.blur());
}

function keyed(event, actions) {
  if (document.querySelector("dialog[open]")) return;
  const act = wanted(event, actions);
  if (!act) return;
  event.preventDefault();
  event.stopPropagation(); // the viewer has keys of its own
  act();
}

function wanted(event, actions) {
  const { key, target } = event;
  const control = event.ctrlKey || event.metaKey;
  if (control && key === "s") return actions.save;
  if (target.matches("input[type=search], input[type=number], select")) {
    if (key === "Escape") target.blur();
    return null;
  }
  if (control && key === "z") return by("undo").disabled ? null : actions.undo;
  if (control || event.altKey) return null;
  if (target.matches("input[type=range]") && key.startsWith("Arrow")) return null;
  if (/^[1-9]$/.test(key)) return () => actions.choose(Number(key));
  if (Object.hasOwn(TOOLS, key)) return () => actions.tool(TOOLS[key]);
  return Object.hasOwn(KEYS, key) ? actions[KEYS[key]] : null;
}
