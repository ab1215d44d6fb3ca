// The page: which scan is open, what may be done with it, and what the reader presses.

import { address, bytes, get, gzip, post, Refused } from "./api.js";
import { Flat } from "./flat.js";
import { Learning } from "./learning.js";
import { List } from "./list.js";
import { hasWebGL2, Viewer } from "./viewer.js";

const by = (id) => document.getElementById(id);
const RENEW = 15000;
const EMPTY = "empty";

let about; // the round: its name, classes, channels
let viewer = null; // null where there is no WebGL2
let flat = null;
let scan = null; // what /api/scan said of the open one
let mine = false; // whether this page holds it
let dirty = false;
let strokes = 0; // ever drawn, so that one drawn while another is being saved is not lost
let begun = EMPTY; // the map the drawing began from
let loading = Promise.resolve();
let turn = 0; // counts openings, so that a slow one that was overtaken is dropped
let tool = "move";
let value = 1;

const list = new List((name) => choose(name));

// ---- what is said -------------------------------------------------------------------------------

function banner(text = "", { bad = false, action, label } = {}) {
  const box = by("banner");
  const button = box.querySelector("button");
  box.hidden = !text;
  box.classList.toggle("bad", bad);
  box.querySelector("span").textContent = text;
  button.hidden = !action;
  button.textContent = label ?? "";
  button.onclick = action ?? null;
}

const complain = (text) => banner(text, { bad: true });

function say(text, isDirty = dirty) {
  by("saved").textContent = text;
  by("saved").classList.toggle("dirty", isDirty);
}

function setDirty(yes) {
  dirty = yes;
  if (yes) {
    strokes++;
    say("Unsaved strokes");
  }
  allow();
}

// Buttons that do nothing now are off.
function allow() {
  const can = Boolean(scan && viewer && mine);
  for (const id of ["undo", "interpolate", "save"]) by(id).disabled = !can;
  by("save").disabled = !can || !dirty;
  by("accept").disabled = !scan || !mine || dirty || by("base").value === EMPTY || !by("base").value;
  by("base").disabled = !scan || !viewer;
  for (const button of by("tools").children) button.disabled = !can;
}

function place(at) {
  if (!at) return;
  const name = at.drawn ? ` · ${about.classes[at.drawn].name}` : "";
  const grey = at.grey === undefined ? "" : ` · ${Number(at.grey.toPrecision(5))}`;
  by("place").textContent = `voxel ${at.voxel.join(", ")} · ${at.mm.map((n) => n.toFixed(1)).join(", ")} mm${grey}${name}`;
}

function convention(radiological) {
  by("convention").textContent = radiological
    ? "Radiological: the patient's right is on the left"
    : "Neurological: the patient's left is on the left";
}

// ---- opening a scan -----------------------------------------------------------------------------

async function choose(name, { again = false } = {}) {
  if (!name || (name === scan?.name && !again)) return;
  if (dirty && !(await mayLeave())) return;
  const mark = ++turn;
  if (scan?.name !== name) release();
  scan = null;
  mine = false;
  dirty = false;
  list.mark(name);
  banner();
  say("");
  by("empty").hidden = true;
  by("busy").hidden = false;
  delete by("stage").dataset.open;
  try {
    await open(name, mark);
    if (mark === turn) by("stage").dataset.open = name;
  } catch (error) {
    if (mark !== turn) return;
    viewer?.close();
    flat?.close();
    release();
    scan = null;
    by("scan-facts").textContent = "";
    by("scan-name").textContent = name;
    by("empty").textContent = "This scan cannot be shown.";
    by("empty").hidden = false;
    complain(`${name} cannot be shown. ${await why(name, error)}`);
  } finally {
    if (mark === turn) by("busy").hidden = true;
    allow();
  }
}

async function open(name, mark) {
  const channel = by("channel").value || 0;
  const { held } = await post("api/hold", { case: name });
  const found = await get("api/scan", { case: name, channel });
  if (mark !== turn) return;
  scan = found;
  scan.channel = channel;
  mine = held === null;
  if (held) heldBy(held);
  describe();
  offerBases();
  const url = address(`volume/${found.file}`, { case: name, channel, v: found.stamp });
  if (viewer) {
    // One after the other: a scan that was passed over must not come up after the next.
    loading = loading.catch(() => {}).then(() => mark === turn && viewer.open(url, found.file));
    const [map] = await Promise.all([firstMap(), loading]);
    if (mark !== turn) return;
    draw(map);
  }
  if (flat) flat.open(scan, baseOfFlat());
  setDirty(false);
  offerLayers();
  if (viewer) {
    showWindow();
    by("window").value = "";
    viewer.view(pressed("views", "view"));
    viewer.reveal();
  }
}

// The server reads a scan to the end and knows more of it than the viewer.
async function why(name, error) {
  if (error instanceof Refused) return error.message;
  const found = await get("api/check", { case: name }).catch((refused) => refused);
  return found.message ?? error.message ?? String(error);
}

function heldBy(held) {
  const since = new Date(held.since * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  banner(`Held open by ${held.who} since ${since}, in another tab or browser: it can be looked at here, not changed.`, {
    label: "Take over",
    action: () => takeOver(),
  });
}

async function takeOver() {
  await take();
  banner();
  useTool();
  if (!dirty) await choose(scan.name, { again: true }); // the other page may have saved
}

async function take() {
  await post("api/hold", { case: scan.name, take: 1 });
  mine = true;
  allow();
}

function release() {
  if (scan && mine) post("api/release", { case: scan.name }, null, { keepalive: true }).catch(() => {});
}

function describe() {
  by("scan-name").textContent = scan.name;
  const spacing = scan.ras.spacing.map((n) => Number(n.toPrecision(3))).join(" × ");
  by("scan-facts").textContent = `${scan.shape.join(" × ")} voxels · ${spacing} mm (right, front, up)`;
  by("scan-notes").textContent = scan.notes.join(" ");
}

function offerBases() {
  const bases = scan.layers.filter((layer) => layer.base);
  by("base").replaceChildren(
    ...bases.map((layer) => new Option(layer.title, layer.id)),
    new Option("Nothing", EMPTY),
  );
  begun = by("base").value;
}

const base = () => scan.layers.find((layer) => layer.id === by("base").value) ?? { id: EMPTY, stamp: EMPTY };

// The map that the drawing begins from.
const fetchMap = () => bytes("drawing", { case: scan.name, base: base().id, v: base().stamp });

function draw(map) {
  viewer.draw(map);
  useTool();
}

// A map that cannot be read keeps nobody from looking at the scan.
const firstMap = () => fetchMap().catch((error) => {
  complain(`${by("base").selectedOptions[0].text} cannot be read. ${error.message}`);
  by("base").value = begun = EMPTY;
  return fetchMap();
});

const baseOfFlat = () => (base().id === EMPTY ? null : base().id);

function offerLayers() {
  const rows = scan.layers.map((layer) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    label.className = "check";
    box.type = "checkbox";
    box.dataset.layer = layer.id;
    box.addEventListener("change", () => overlay(layer, box));
    label.append(box, layer.title);
    return label;
  });
  const none = document.createElement("p");
  none.textContent = "There is no other map of this scan.";
  by("layers").replaceChildren(...(rows.length ? rows : [none]));
}

async function overlay(layer, box) {
  if (!viewer) {
    for (const other of by("layers").querySelectorAll("input")) other.checked = other === box && box.checked;
    flat.show(box.checked && layer.kind === "classes" ? layer.id : null);
    return;
  }
  const url = address("layer/layer.nii.gz", { case: scan.name, layer: layer.id, channel: scan.channel, v: layer.stamp });
  box.disabled = true;
  try {
    await viewer.overlay(layer.id, box.checked, url, layer.kind);
  } catch (error) {
    box.checked = false;
    complain(`${layer.title} cannot be shown. ${error.message}`);
  } finally {
    box.disabled = false;
  }
}

// ---- saving -------------------------------------------------------------------------------------

async function keep(path, body, done) {
  const query = { case: scan.name, base: base().id, scan: scan.stamp, map: base().stamp };
  by("save").disabled = by("accept").disabled = true;
  say("Saving …");
  const [name, before] = [scan.name, strokes];
  try {
    const found = await post(path, query, body);
    if (scan?.name !== name) return true;
    scan.layers = found.layers;
    offerBases();
    offerLayers();
    viewer?.layers.forEach((_, id) => viewer.overlay(id, false));
    banner();
    if (strokes === before) {
      setDirty(false);
      say(done);
    } else say("Unsaved strokes");
    await refresh();
    return true;
  } catch (error) {
    say(dirty ? "Not saved; the strokes are still here" : "Not saved", true);
    if (error.status === 423) banner(error.message, { bad: true, label: "Take over and save", action: () => takeAndSave(path) });
    else complain(error.message);
    return false;
  } finally {
    allow();
  }
}

async function save() {
  if (by("save").disabled) return false;
  return keep("api/save", await gzip(viewer.drawn()), "Saved as the scan's label");
}

async function accept() {
  if (by("accept").disabled) return false;
  return keep("api/accept", null, "Accepted as the scan's label");
}

async function takeAndSave(path) {
  await take();
  await (path.endsWith("save") ? save() : accept());
}

// Whether an unsaved drawing may be left: saved, thrown away, or not.
async function mayLeave() {
  const dialog = by("leave");
  dialog.querySelector("p").textContent = `What was drawn on ${scan.name} has not been saved.`;
  dialog.returnValue = "stay";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue === "save") return save();
  return dialog.returnValue === "discard";
}

async function refresh() {
  list.set(await get("api/scans"));
}

// ---- tools --------------------------------------------------------------------------------------

const pressed = (group, key) => by(group).querySelector("[aria-pressed=true]").dataset[key];

function press(group, key, wanted) {
  for (const button of by(group).children) button.setAttribute("aria-pressed", button.dataset[key] === wanted);
}

function useTool(name = tool) {
  tool = name;
  press("tools", "tool", tool);
  viewer?.useTool(mine ? tool : "move", value, Number(by("pen-size").value), Number(by("tolerance").value) / 100);
}

function useClass(index) {
  if (!(index >= 1 && index < about.classes.length)) return;
  value = index;
  for (const button of by("classes").children) button.setAttribute("aria-checked", Number(button.dataset.value) === value);
  useTool();
}

function offerClasses() {
  const buttons = about.classes.slice(1).map((one, k) => {
    const button = document.createElement("button");
    const colour = document.createElement("i");
    const name = document.createElement("span");
    const key = document.createElement("kbd");
    button.type = "button";
    button.setAttribute("role", "radio");
    button.dataset.value = k + 1;
    colour.style.background = one.colour;
    name.textContent = one.name;
    key.textContent = k < 9 ? k + 1 : "";
    button.append(colour, name, key);
    button.addEventListener("click", () => useClass(k + 1));
    return button;
  });
  by("classes").replaceChildren(...buttons);
}

function showWindow() {
  [by("low").value, by("high").value] = viewer.window.map((n) => Number(n.toPrecision(5)));
}

function chooseWindow(choice) {
  if (!choice || !viewer?.shown) return;
  const ends = { auto: viewer.auto, full: [viewer.shown.global_min, viewer.shown.global_max] };
  viewer.setWindow(...(ends[choice] ?? choice.split(",").map(Number)));
  showWindow();
}

function look() {
  const outlined = pressed("style", "style") === "outline";
  viewer?.look({ opacity: Number(by("opacity").value) / 100, outlined });
}

function view(name) {
  press("views", "view", name);
  viewer?.view(name);
}

function interpolate() {
  const changed = viewer.interpolate();
  if (!changed) say("Nothing to interpolate: draw the class on two slices with empty ones between", dirty);
}

function wire() {
  const on = (id, event, act) => by(id).addEventListener(event, act);
  for (const button of by("tools").children) button.addEventListener("click", () => useTool(button.dataset.tool));
  for (const button of by("views").children) button.addEventListener("click", () => view(button.dataset.view));
  for (const button of by("style").children) {
    button.addEventListener("click", () => { press("style", "style", button.dataset.style); look(); });
  }
  on("pen-size", "input", () => useTool());
  on("tolerance", "input", () => useTool());
  on("opacity", "input", look);
  on("zoom", "input", () => viewer?.zoom(Number(by("zoom").value) / 100));
  for (const id of ["low", "high"]) {
    on(id, "change", () => viewer?.shown && viewer.setWindow(Number(by("low").value), Number(by("high").value)));
  }
  on("window", "change", () => chooseWindow(by("window").value));
  on("radiological", "change", () => { convention(by("radiological").checked); viewer?.radiological(by("radiological").checked); });
  on("smooth", "change", () => viewer?.smooth(by("smooth").checked));
  on("undo", "click", () => viewer.undo());
  on("interpolate", "click", interpolate);
  on("save", "click", save);
  on("accept", "click", accept);
  on("help-button", "click", () => by("help").showModal());
  on("base", "change", changeBase);
  on("channel", "change", () => choose(scan?.name, { again: true }));
  on("canvas", "mouseup", () => viewer?.shown && showWindow());
  for (const slider of document.querySelectorAll(".row input[type=range]")) {
    const shown = slider.parentElement.querySelector("output");
    const tell = () => { shown.textContent = slider.id === "pen-size" ? slider.value : `${slider.value} %`; };
    slider.addEventListener("input", tell);
    tell();
  }
  window.addEventListener("keydown", keyed, { capture: true });
  window.addEventListener("keyup", (event) => { if (event.key === "h") viewer?.look({ hidden: false }); });
  window.addEventListener("pagehide", release);
  window.addEventListener("beforeunload", (event) => { if (dirty) event.preventDefault(); });
}

async function changeBase() {
  const wanted = by("base").value;
  by("base").value = begun; // what would be saved began from this
  if (dirty && !(await mayLeave())) return;
  by("base").value = wanted;
  try {
    if (viewer) draw(await fetchMap());
    else flat.show(baseOfFlat());
    setDirty(false);
    say("");
  } catch (error) {
    by("base").value = begun;
    complain(error.message);
  }
  begun = by("base").value;
}

// ---- keys ---------------------------------------------------------------------------------------

const TOOLS = { v: "move", p: "pen", f: "fill", e: "erase", g: "grow", x: "piece" };

const KEYS = {
  j: () => choose(list.neighbour(1)),
  k: () => choose(list.neighbour(-1)),
  ArrowUp: () => viewer?.step(1),
  ArrowDown: () => viewer?.step(-1),
  ArrowLeft: () => viewer?.step(by("radiological").checked ? 1 : -1, 0),
  ArrowRight: () => viewer?.step(by("radiological").checked ? -1 : 1, 0),
  i: () => !by("interpolate").disabled && interpolate(),
  a: accept,
  h: () => viewer?.look({ hidden: true }),
  o: () => { press("style", "style", pressed("style", "style") === "fill" ? "outline" : "fill"); look(); },
  "/": () => by("filter").focus(),
  "?": () => by("help").showModal(),
};

function keyed(event) {
  if (document.querySelector("dialog[open]")) return;
  const control = event.ctrlKey || event.metaKey;
  const typing = event.target.matches("input[type=search], input[type=number], select");
  let act = null;
  if (control && event.key === "s") act = save;
  else if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  } else if (control && event.key === "z") act = () => !by("undo").disabled && viewer.undo();
  else if (control || event.altKey) return;
  else if (event.target.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  else if (/^[1-9]$/.test(event.key)) act = () => useClass(Number(event.key));
  else if (TOOLS[event.key]) act = () => mine && viewer && useTool(TOOLS[event.key]);
  else act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  event.stopPropagation();
  act();
}

// ---- beginning ----------------------------------------------------------------------------------

// Keep the scan's lock, and learn when another page has taken it.
async function renew() {
  await refresh();
  if (!scan || !mine) return;
  const { held } = await post("api/hold", { case: scan.name });
  if (!held) return;
  mine = false;
  heldBy(held);
  useTool("move");
  allow();
}

async function start() {
  about = await get("api/round");
  by("work").textContent = about.work;
  document.title = `${about.work} · simcvd review`;
  by("channel").replaceChildren(...about.channels.map((name, k) => new Option(name, k)));
  by("channel-row").hidden = about.channels.length < 2;
  offerClasses();
  wire();
  convention(true);
  if (hasWebGL2()) {
    viewer = new Viewer(by("canvas"), about.classes, { onPlace: place, onDrawn: () => setDirty(true) });
    viewer.onZoom = (factor) => { by("zoom").value = 100 * factor; by("zoom").dispatchEvent(new Event("shown")); };
    await viewer.begin();
  } else {
    flat = new Flat(by("flat"));
    by("canvas").hidden = true;
    by("views").hidden = true;
    by("appearance").hidden = true;
    by("convention").textContent = "This browser has no WebGL2: slices are shown as images, in radiological convention, and drawing is off.";
  }
  useClass(1);
  allow();
  list.set(await get("api/scans"));
  new Learning(complain, async () => { await refresh(); if (scan && !dirty) choose(scan.name, { again: true }); });
  setInterval(() => renew().catch(() => {}), RENEW);
  const wanted = decodeURIComponent(location.hash.slice(1));
  choose(list.rows.some((row) => row.name === wanted) ? wanted : list.rows[0]?.name);
}

start().catch((error) => complain(error.message));
