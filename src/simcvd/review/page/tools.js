// The tools, the classes and how the scan looks: what is pressed in the right column and above.

import { by, convention, offerClasses, press, pressed } from "./page.js";

export class Tools {
  // viewer: null without WebGL2. mayDraw(): whether the open scan may be changed. say(text).
  constructor(viewer, classes, { mayDraw, say }) {
    Object.assign(this, { viewer, classes, mayDraw, say, tool: "move", value: 1 });
    offerClasses(classes, (index) => this.choose(index));
    this.wire();
    this.choose(1);
  }

  use(name = this.tool) {
    this.tool = name;
    press("tools", "tool", name);
    const [size, tolerance] = [Number(by("pen-size").value), Number(by("tolerance").value) / 100];
    this.viewer?.useTool(this.mayDraw() ? name : "move", this.value, size, tolerance);
  }

  // The class to draw with, counted from 1.
  choose(index) {
    if (!(index >= 1 && index < this.classes.length)) return;
    this.value = index;
    for (const button of by("classes").children) button.setAttribute("aria-checked", Number(button.dataset.value) === index);
    this.use();
  }

  interpolate() {
    if (by("interpolate").disabled) return;
    if (!this.viewer.interpolate()) this.say("Nothing to interpolate: draw the class on two slices with empty ones between");
  }

  undo() {
    if (!by("undo").disabled) this.viewer.undo();
  }

  // A scan was opened: show its window, in the view that is chosen.
  opened() {
    this.showWindow();
    by("window").value = "";
    this.viewer.view(pressed("views", "view"));
  }

  showWindow() {
    if (this.viewer?.shown) [by("low").value, by("high").value] = this.viewer.window.map((n) => Number(n.toPrecision(5)));
  }

  chooseWindow(choice) {
    if (!choice || !this.viewer?.shown) return;
    const { auto, shown } = this.viewer;
    const ends = { auto, full: [shown.global_min, shown.global_max] };
    this.viewer.setWindow(...(ends[choice] ?? choice.split(",").map(Number)));
    this.showWindow();
  }

  typeWindow() {
    if (this.viewer?.shown) this.viewer.setWindow(Number(by("low").value), Number(by("high").value));
  }

  look(style = pressed("style", "style")) {
    press("style", "style", style);
    this.viewer?.look({ opacity: Number(by("opacity").value) / 100, outlined: style === "outline" });
  }

  view(name) {
    press("views", "view", name);
    this.viewer?.view(name);
  }

  radiological(yes) {
    convention(yes);
    this.viewer?.radiological(yes);
  }

  // One voxel to the left or right of the screen.
  sideways(right) {
    this.viewer?.step(right === by("radiological").checked ? -1 : 1, 0);
  }

  wire() {
    const on = (id, event, act) => by(id).addEventListener(event, () => act(by(id)));
    const pressing = (group, act) => { for (const button of by(group).children) button.addEventListener("click", () => act(button.dataset)); };
    pressing("tools", ({ tool }) => this.use(tool));
    pressing("views", ({ view }) => this.view(view));
    pressing("style", ({ style }) => this.look(style));
    for (const slider of document.querySelectorAll(".row input[type=range]")) {
      const shown = slider.parentElement.querySelector("output");
      const tell = () => { shown.textContent = slider.id === "pen-size" ? slider.value : `${slider.value} %`; };
      for (const event of ["input", "shown"]) slider.addEventListener(event, tell);
      tell();
    }
    for (const id of ["pen-size", "tolerance"]) on(id, "input", () => this.use());
    for (const id of ["low", "high"]) on(id, "change", () => this.typeWindow());
    on("opacity", "input", () => this.look());
    on("zoom", "input", (slider) => this.viewer?.zoom(Number(slider.value) / 100));
    on("window", "change", (select) => this.chooseWindow(select.value));
    on("radiological", "change", (box) => this.radiological(box.checked));
    on("smooth", "change", (box) => this.viewer?.smooth(box.checked));
    on("undo", "click", () => this.undo());
    on("interpolate", "click", () => this.interpolate());
    on("canvas", "mouseup", () => this.showWindow());
    if (this.viewer) {
      this.viewer.onZoom = (factor) => {
        by("zoom").value = 100 * factor;
        by("zoom").dispatchEvent(new Event("shown"));
      };
    }
  }
}
