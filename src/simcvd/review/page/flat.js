// Without WebGL2: each plane as an image of one slice, made by the server. Nothing can be drawn.

import { address } from "./api.js";

const PLANES = { axial: 2, coronal: 1, sagittal: 0 };

export class Flat {
  constructor(box) {
    this.box = box;
    this.layer = null;
  }

  // layer: the map to lay over the slices, or null.
  open(scan, layer) {
    this.scan = scan;
    this.layer = layer;
    this.box.hidden = false;
    this.box.replaceChildren(...Object.entries(PLANES).map(([plane, axis]) => this.figure(plane, axis)));
  }

  show(layer) {
    this.layer = layer;
    this.box.querySelectorAll("input").forEach((slider) => slider.dispatchEvent(new Event("input")));
  }

  close() {
    this.box.replaceChildren();
  }

  figure(plane, axis) {
    const { shape, spacing } = this.scan.ras;
    const [across, down] = [0, 1, 2].filter((a) => a !== axis);
    const figure = document.createElement("figure");
    const frame = document.createElement("div");
    const image = new Image();
    const caption = document.createElement("figcaption");
    const slider = document.createElement("input");
    const text = document.createElement("span");
    frame.className = "frame";
    image.style.aspectRatio = `${shape[across] * spacing[across]} / ${shape[down] * spacing[down]}`;
    Object.assign(slider, { type: "range", min: 0, max: shape[axis] - 1, value: Math.floor(shape[axis] / 2) });
    slider.setAttribute("aria-label", `${plane} slice`);
    slider.addEventListener("input", () => {
      const at = (Number(slider.value) + 0.5) / shape[axis];
      image.src = address("slice.png", { case: this.scan.name, plane, at, layer: this.layer, v: this.scan.stamp });
      image.alt = `${plane} slice ${Number(slider.value) + 1} of ${shape[axis]}`;
      text.textContent = image.alt;
    });
    figure.addEventListener("wheel", (event) => {
      event.preventDefault();
      slider.value = Number(slider.value) + Math.sign(event.deltaY);
      slider.dispatchEvent(new Event("input"));
    }, { passive: false });
    frame.append(image);
    caption.append(text, slider);
    figure.append(frame, caption);
    slider.dispatchEvent(new Event("input"));
    return figure;
  }
}
