// The maps of the open scan: the one that the drawing begins from, and those laid over it.

import { address, bytes } from "./api.js";
import { by, complain } from "./page.js";

export const EMPTY = "empty";

export class Maps {
  // One of the two is null.
  constructor(viewer, flat) {
    this.viewer = viewer;
    this.flat = flat;
    this.begun = EMPTY;
  }

  // Offer what a drawing on the scan may begin from.
  open(scan) {
    this.scan = scan;
    const bases = scan.layers.filter((layer) => layer.base);
    by("base").replaceChildren(
      ...bases.map((layer) => new Option(layer.title, layer.id)),
      new Option("Nothing", EMPTY),
    );
    this.settle();
  }

  // The drawing has begun from the chosen map.
  settle() {
    this.begun = by("base").value;
  }

  // Choose again what the drawing began from: it is what would be saved.
  revert() {
    by("base").value = this.begun;
  }

  base() {
    return this.scan.layers.find((layer) => layer.id === by("base").value) ?? { id: EMPTY, stamp: EMPTY };
  }

  // What lies over the slices where there is no viewer.
  shown() {
    return this.base().id === EMPTY ? null : this.base().id;
  }

  fetch() {
    return bytes("drawing", { case: this.scan.name, base: this.base().id, v: this.base().stamp });
  }

  // A map that cannot be read keeps nobody from looking at the scan.
  first() {
    return this.fetch().catch((error) => {
      complain(`${by("base").selectedOptions[0].text} cannot be read. ${error.message}`);
      by("base").value = this.begun = EMPTY;
      return this.fetch();
    });
  }

  offerLayers() {
    const rows = this.scan.layers.map((layer) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      label.className = "check";
      box.type = "checkbox";
      box.dataset.layer = layer.id;
      box.addEventListener("change", () => this.overlay(layer, box));
      label.append(box, layer.title);
      return label;
    });
    const none = document.createElement("p");
    none.textContent = "There is no other map of this scan.";
    by("layers").replaceChildren(...(rows.length ? rows : [none]));
  }

  async overlay(layer, box) {
    if (!this.viewer) {
      for (const other of by("layers").querySelectorAll("input")) other.checked = other === box && box.checked;
      this.flat.show(box.checked && layer.kind === "classes" ? layer.id : null);
      return;
    }
    const query = { case: this.scan.name, layer: layer.id, channel: this.scan.channel, v: layer.stamp };
    box.disabled = true;
    try {
      await this.viewer.overlay(layer.id, box.checked, address("layer/layer.nii.gz", query), layer.kind);
    } catch (error) {
      box.checked = false;
      complain(`${layer.title} cannot be shown. ${error.message}`);
    } finally {
      box.disabled = false;
    }
  }
}
