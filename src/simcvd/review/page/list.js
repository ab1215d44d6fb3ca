// The scans of the round: filtered, ordered, one of them current.

import { tab } from "./api.js";

const percent = (x) => (x === null ? "no confidence" : `confidence ${(100 * x).toFixed(1)} %`);

function make(tag, className, text) {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

function volume(row) {
  return Object.values(row.volumes).reduce((sum, ml) => sum + Number(ml), 0);
}

export class List {
  // choose(name): called when the reader picks a scan.
  constructor(choose) {
    this.rows = [];
    this.current = null;
    this.choose = choose;
    this.node = document.getElementById("scans");
    this.text = document.getElementById("filter");
    this.state = document.getElementById("filter-state");
    this.order = document.getElementById("sort");
    for (const control of [this.text, this.state, this.order]) control.addEventListener("input", () => this.render());
    this.node.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item) this.choose(item.dataset.name);
    });
  }

  set(rows) {
    if (JSON.stringify(rows) === JSON.stringify(this.rows)) return;
    this.rows = rows;
    this.render();
  }

  shown() {
    const words = this.text.value.toLowerCase();
    const rows = this.rows.filter((row) => {
      const fits = `${row.name} ${row.flags}`.toLowerCase().includes(words);
      return fits && (!this.state.value || row.state === this.state.value);
    });
    if (this.order.value === "name") rows.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    if (this.order.value === "volume") rows.sort((a, b) => volume(a) - volume(b));
    return rows;
  }

  render() {
    const rows = this.shown();
    this.node.replaceChildren(...rows.map((row) => this.item(row)));
    document.getElementById("no-scans").hidden = rows.length > 0;
    const count = (state) => this.rows.filter((row) => row.state === state).length;
    const counts = ["accepted", "corrected", "labelled", "unlabelled"].map((s) => [count(s), s]).filter(([n]) => n);
    document.getElementById("counts").textContent = counts.map(([n, s]) => `${n} ${s}`).join(" · ");
  }

  item(row) {
    const item = document.createElement("li");
    item.dataset.name = row.name;
    item.setAttribute("aria-current", row.name === this.current);
    const top = make("div", "top", "");
    const name = make("span", "name", row.name);
    name.title = row.name;
    top.append(name, make("span", `state ${row.state}`, row.state));
    const ml = Object.entries(row.volumes).map(([k, v]) => `${k.replace(" (ml)", "")} ${Number(v).toFixed(1)} ml`);
    const facts = row.confidence === null && !ml.length ? [] : [percent(row.confidence), ...ml];
    item.append(top);
    if (facts.length) item.append(make("div", "facts", facts.join(" · ")));
    const warnings = [row.flags, row.stale && "the scan changed after its label was saved", row.held && row.held.tab !== tab && `open: ${row.held.who}`];
    for (const text of warnings.filter(Boolean)) item.append(make("div", "warn", text));
    if (row.confidence !== null) {
      const bar = make("div", "bar", "");
      const filled = document.createElement("i");
      filled.style.width = `${100 * row.confidence}%`;
      bar.append(filled);
      item.append(bar);
    }
    return item;
  }

  mark(name) {
    this.current = name;
    for (const item of this.node.children) item.setAttribute("aria-current", item.dataset.name === name);
    this.node.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
  }

  neighbour(by) {
    const names = this.shown().map((row) => row.name);
    const at = names.indexOf(this.current);
    return names[at < 0 ? 0 : Math.min(names.length - 1, Math.max(0, at + by))];
  }
}
