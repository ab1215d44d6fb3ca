// The next round: started, watched and stopped from here; it runs on without the page.

import { get, post } from "./api.js";

const by = (id) => document.getElementById(id);
const SAYS = { running: "The next round is running", finished: "The next round is finished", stopped: "The round was stopped; Learn again resumes it", failed: "The round failed" };

export class Learning {
  // ended(): called when a round that was watched has ended.
  constructor(complain, ended) {
    this.complain = complain;
    this.ended = ended;
    by("learn").addEventListener("click", () => this.ask("api/learn"));
    by("learning-stop").addEventListener("click", () => this.ask("api/stop"));
    by("learning-close").addEventListener("click", () => { by("learning").hidden = true; });
    this.watch();
  }

  async ask(path) {
    try {
      this.show(await post(path));
      this.watch();
    } catch (error) {
      this.complain(error.message);
    }
  }

  async watch() {
    clearTimeout(this.timer);
    try {
      const state = await get("api/learning");
      const before = this.state;
      this.show(state);
      if (before === "running" && state.state !== "running") {
        await get("api/learning", { ended: 1 });
        this.ended();
      }
      if (state.state === "running") this.timer = setTimeout(() => this.watch(), 2000);
    } catch {
      this.timer = setTimeout(() => this.watch(), 5000);
    }
  }

  show({ state, seconds, text }) {
    const running = state === "running";
    if (running || (this.state === "running" && !running)) by("learning").hidden = false;
    this.state = state;
    by("learn").disabled = running;
    by("learning-stop").hidden = !running;
    by("learning-close").hidden = running;
    const minutes = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    by("learning-state").textContent = state === "none" ? "" : `${SAYS[state]} (${minutes} min)`;
    const lines = text.split(/[\r\n]+/).filter((line) => line.trim());
    by("learning-line").textContent = lines.at(-1) ?? "";
    by("learning-log").textContent = lines.join("\n");
  }
}
