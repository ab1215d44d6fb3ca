// The page: which scan is open, what may be done with it, and what the reader presses.

import { address, get, gzip, post, Refused } from "./api.js";
import { Flat } from "./flat.js";
import { listen } from "./keys.js";
import { Learning } from "./learning.js";
import { List } from "./list.js";
import { EMPTY, Maps } from "./maps.js";
import { banner, by, complain, convention, place, pressed } from "./page.js";
import { Tools } from "./tools.js";
import { hasWebGL2, Viewer } from "./viewer.js";

const RENEW = 15000;

let about; // the round: its name, classes, channels
let viewer = null; // null where there is no WebGL2
let flat = null;
let scan = null; // what /api/scan said of the open one
let mine = false; // whether this page holds it
let dirty = false;
let strokes = 0; // ever drawn, so that one drawn while another is being saved is not lost
let loading = Promise.resolve();
let turn = 0; // counts openings, so that a slow one that was overtaken is dropped
let tools;
let maps;

const list = new List((name) => choose(name));

// ---- what is said -------------------------------------------------------------------------------

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
    release(name);
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
  if (mark !== turn) {
    if (list.current !== name) release(name);
    return;
  }
  scan = found;
  scan.channel = channel;
  mine = held === null;
  if (held) heldBy(held);
  describe();
  maps.open(scan);
  const url = address(`volume/${found.file}`, { case: name, channel, v: found.stamp });
  if (viewer) {
    // One after the other: a scan that was passed over must not come up after the next.
    loading = loading.catch(() => {}).then(() => mark === turn && viewer.open(url, found.file));
    const [map] = await Promise.all([maps.first(), loading]);
    if (mark !== turn) return;
    draw(map);
  }
  if (flat) flat.open(scan, maps.shown());
  setDirty(false);
  maps.offerLayers();
  if (viewer) {
    tools.opened();
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
  tools.use();
  if (!dirty) await choose(scan.name, { again: true }); // the other page may have saved
}

async function take() {
  await post("api/hold", { case: scan.name, take: 1 });
  mine = true;
  allow();
}

// Give a scan up; the server knows whether this page held it.
function release(name = scan?.name) {
  if (name) post("api/release", { case: name }, null, { keepalive: true }).catch(() => {});
}

function describe() {
  by("scan-name").textContent = scan.name;
  const spacing = scan.ras.spacing.map((n) => Number(n.toPrecision(3))).join(" × ");
  by("scan-facts").textContent = `${scan.shape.join(" × ")} voxels · ${spacing} mm (right, front, up)`;
  by("scan-notes").textContent = scan.notes.join(" ");
}

function draw(map) {
  viewer.draw(map);
  tools.use();
}

// ---- saving -------------------------------------------------------------------------------------

async function keep(path, body, done) {
  const query = { case: scan.name, base: maps.base().id, scan: scan.stamp, map: maps.base().stamp };
  by("save").disabled = by("accept").disabled = true;
  say("Saving …");
  const [name, before] = [scan.name, strokes];
  try {
    const found = await post(path, query, body);
    if (scan?.name !== name) return true;
    scan.layers = found.layers;
    maps.open(scan);
    maps.offerLayers();
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

// ---- wiring -------------------------------------------------------------------------------------

function wire() {
  const on = (id, event, act) => by(id).addEventListener(event, act);
  on("save", "click", save);
  on("accept", "click", accept);
  on("help-button", "click", () => by("help").showModal());
  on("base", "change", changeBase);
  on("channel", "change", () => choose(scan?.name, { again: true }));
  listen({
    next: () => choose(list.neighbour(1)),
    previous: () => choose(list.neighbour(-1)),
    up: () => viewer?.step(1),
    down: () => viewer?.step(-1),
    left: () => tools.sideways(false),
    right: () => tools.sideways(true),
    interpolate: () => tools.interpolate(),
    undo: () => tools.undo(),
    hide: () => viewer?.look({ hidden: true }),
    show: () => viewer?.look({ hidden: false }),
    outline: () => tools.look(pressed("style", "style") === "fill" ? "outline" : "fill"),
    filter: () => by("filter").focus(),
    help: () => by("help").showModal(),
    choose: (index) => tools.choose(index),
    tool: (name) => mine && viewer && tools.use(name),
    save,
    accept,
  });
  window.addEventListener("pagehide", () => release());
  window.addEventListener("beforeunload", (event) => { if (dirty) event.preventDefault(); });
}

async function changeBase() {
  const wanted = by("base").value;
  maps.revert();
  if (dirty && !(await mayLeave())) return;
  by("base").value = wanted;
  try {
    if (viewer) draw(await maps.fetch());
    else flat.show(maps.shown());
    setDirty(false);
    say("");
  } catch (error) {
    maps.revert();
    complain(error.message);
  }
  maps.settle();
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
  tools.use("move");
  allow();
}

async function start() {
  about = await get("api/round");
  by("work").textContent = about.work;
  document.title = `${about.work} · simcvd review`;
  by("channel").replaceChildren(...about.channels.map((name, k) => new Option(name, k)));
  by("channel-row").hidden = about.channels.length < 2;
  convention(true);
  if (hasWebGL2()) {
    viewer = new Viewer(by("canvas"), about.classes, { onPlace: (at) => place(at, about.classes), onDrawn: () => setDirty(true) });
    await viewer.begin();
  } else {
    flat = new Flat(by("flat"));
    by("canvas").hidden = true;
    by("views").hidden = true;
    by("appearance").hidden = true;
    by("convention").textContent = "This browser has no WebGL2: slices are shown as images, in radiological convention, and drawing is off.";
  }
  maps = new Maps(viewer, flat);
  tools = new Tools(viewer, about.classes, { mayDraw: () => mine, say });
  wire();
  allow();
  list.set(await get("api/scans"));
  new Learning(complain, async () => { await refresh(); if (scan && !dirty) choose(scan.name, { again: true }); });
  setInterval(() => renew().catch(() => {}), RENEW);
  const wanted = decodeURIComponent(location.hash.slice(1));
  choose(list.rows.some((row) => row.name === wanted) ? wanted : list.rows[0]?.name);
}

start().catch((error) => complain(error.message));
