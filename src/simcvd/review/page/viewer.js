// The scan in three planes and 3D, with a drawing over it: a thin layer above NiiVue.

import { bytes } from "./api.js";
import { DRAG_MODE, MULTIPLANAR_TYPE, NVImage, Niivue, SHOW_RENDER, SLICE_TYPE } from "./niivue.js";
import { connected, interpolate, toFile, toViewer } from "./voxels.js";

const VIEWS = { multi: SLICE_TYPE.MULTIPLANAR, axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL, render: SLICE_TYPE.RENDER };
// Opacity inside the outlines of what is compared with: two fills over each other show neither.
const COMPARED = 0.12;
// The axis of the viewer's order that a plane lies across, by NiiVue's number of the plane.
const ACROSS = [2, 1, 0];

export function hasWebGL2() {
  return document.createElement("canvas").getContext("webgl2") !== null;
}

function table(classes) {
  const channel = (at) => classes.map((c) => parseInt(c.colour.slice(at, at + 2), 16));
  return {
    R: channel(1), G: channel(3), B: channel(5),
    A: classes.map((_, k) => (k ? 255 : 0)),
    I: classes.map((_, k) => k),
    labels: classes.map((c) => c.name),
  };
}

export class Viewer {
  // onPlace(text parts), onDrawn(): after every change of the drawing.
  constructor(canvas, classes, { onPlace, onDrawn }) {
    this.classes = classes;
    this.onDrawn = onDrawn;
    this.axis = 2;
    this.opacity = 0.45;
    this.outlined = false;
    this.hidden = false;
    this.layers = new Map();
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.36, 0.7, 1, 0.65],
      crosshairWidth: 0.15,
      crosshairWidthUnit: "percent",
      crosshairGap: 3,
      fontColor: [1, 0.85, 0.5, 1],
      fontMinPx: 17,
      dragAndDropEnabled: false,
      isRadiologicalConvention: true,
      isNearestInterpolation: true,
      isForceMouseClickToVoxelCenters: true,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      multiplanarPadPixels: 4,
      loadingText: "",
      logLevel: "silent",
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      maxDrawUndoBitmaps: 16,
      atlasOutline: 1,
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      show3Dcrosshair: true,
    });
    this.canvas = canvas;
    this.nv.onLocationChange = (data) => {
      if (data.axCorSag >= 0 && data.axCorSag <= 2) this.axis = ACROSS[data.axCorSag];
      onPlace(this.place(data));
    };
    this.nv.onDrawingChanged = (action) => {
      if (action === "draw") this.onDrawn();
    };
  }

  async begin() {
    await this.nv.attachToCanvas(this.canvas);
    // NiiVue's line leaves out the point it leads to, which would be missing at a stroke's end.
    const line = this.nv.drawPenLine.bind(this.nv);
    this.nv.drawPenLine = (to, from, value) => {
      line(to, from, value);
      this.nv.drawPt(...to, value);
    };
    this.nv.setDrawColormap(table(this.classes));
    this.nv.setMouseEventConfig({
      leftButton: { primary: DRAG_MODE.crosshair, withShift: DRAG_MODE.pan, withCtrl: DRAG_MODE.windowing },
      rightButton: DRAG_MODE.windowing,
      centerButton: DRAG_MODE.pan,
    });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.zoom(this.zoomed * (event.deltaY < 0 ? 1.1 : 1 / 1.1));
    }, { capture: true, passive: false });
    this.canvas.addEventListener("click", () => this.clicked());
  }

  // Load a scan; it is drawn once `reveal` is called, and not after each of its settings.
  // url: of a NIfTI file called `name`. Raises what the loading raised.
  async open(url, name) {
    this.nv.drawScene = () => {};
    this.layers.clear();
    this.nv.closeDrawing();
    await this.nv.loadVolumes([{ url, name, colormap: "gray" }]);
    this.shown = this.nv.volumes[0];
    this.auto = [this.shown.cal_min, this.shown.cal_max];
    this.order = {
      dims: this.shown.dimsRAS.slice(1, 4),
      start: this.shown.img2RASstart,
      step: this.shown.img2RASstep,
    };
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    this.nv.setClipPlane([2, 0, 0]);
  }

  reveal() {
    delete this.nv.drawScene;
    this.nv.drawScene();
  }

  close() {
    this.layers.clear();
    this.nv.closeDrawing();
    while (this.nv.volumes.length) this.nv.removeVolumeByIndex(0);
    this.shown = null;
    this.reveal();
  }

  // Begin a drawing from classes in the file's order.
  draw(inFile) {
    this.nv.createEmptyDrawing();
    toViewer(inFile, this.order, this.nv.drawBitmap);
    this.nv.drawClearAllUndoBitmaps();
    this.nv.drawAddUndoBitmap();
    this.look();
    this.nv.refreshDrawing(true);
  }

  drawn() {
    return toFile(this.nv.drawBitmap, this.order);
  }

  undo() {
    this.nv.drawUndo();
    this.onDrawn();
  }

  // tolerance: share of the grey window by which voxels may differ from the one grown from.
  useTool(tool, value, size, tolerance) {
    Object.assign(this, { tool, value, size, tolerance });
    if (!this.nv.drawBitmap) return;
    const strokes = tool === "pen" || tool === "fill" || tool === "erase";
    this.nv.opts.penSize = tool === "fill" ? 1 : size;
    this.nv.setDrawingEnabled(strokes);
    this.nv.setPenValue(tool === "erase" ? 0 : value, tool === "fill");
    this.canvas.style.cursor = strokes ? "crosshair" : tool === "move" ? "default" : "cell";
  }

  clicked() {
    if (!this.nv.drawBitmap || (this.tool !== "grow" && this.tool !== "piece")) return;
    const seed = this.nv.frac2vox(this.nv.scene.crosshairPos).map(Math.round);
    const found = this.tool === "grow" ? this.alike(seed) : this.piece(seed);
    if (!found.length) return;
    for (const index of found) this.nv.drawBitmap[index] = this.tool === "grow" ? this.value : 0;
    this.changed();
  }

  // Undrawn voxels connected to the seed whose grey value is like the seed's, within 25 mm.
  alike(seed) {
    const { dims, start, step } = this.order;
    const image = this.shown.img;
    const grey = (x, y, z) => image[start[0] + x * step[0] + start[1] + y * step[1] + start[2] + z * step[2]];
    const scale = this.shown.hdr.scl_slope || 1;
    const allowed = (this.tolerance * (this.shown.cal_max - this.shown.cal_min)) / Math.abs(scale);
    const first = grey(...seed);
    const mm = this.shown.pixDimsRAS.slice(1, 4);
    const far = 25 ** 2;
    return connected(seed, dims, (index, x, y, z) => {
      const away = ((x - seed[0]) * mm[0]) ** 2 + ((y - seed[1]) * mm[1]) ** 2 + ((z - seed[2]) * mm[2]) ** 2;
      const free = this.nv.drawBitmap[index] === 0 || (x === seed[0] && y === seed[1] && z === seed[2]);
      return free && away <= far && Math.abs(grey(x, y, z) - first) <= allowed;
    });
  }

  piece(seed) {
    const { dims } = this.order;
    const value = this.nv.drawBitmap[seed[0] + dims[0] * (seed[1] + dims[1] * seed[2])];
    return value ? connected(seed, dims, (index) => this.nv.drawBitmap[index] === value) : [];
  }

  interpolate() {
    const changed = interpolate(this.nv.drawBitmap, this.order.dims, this.axis, this.value);
    if (changed) this.changed();
    return changed;
  }

  changed() {
    this.nv.drawAddUndoBitmap();
    this.nv.refreshDrawing(true);
    this.onDrawn();
  }

  async overlay(id, shown, url, kind) {
    const there = this.layers.get(id);
    if (there && !shown) {
      this.layers.delete(id);
      this.nv.removeVolume(there);
    }
    if (there || !shown) return;
    const look = kind === "entropy" ? { colormap: "inferno", opacity: 0.6, cal_min: 0.05 } : {};
    const { buffer } = await bytes(url);
    const image = await NVImage.loadFromUrl({ url, buffer, name: `${id}.nii.gz`, ...look });
    if (kind !== "entropy") image.setColormapLabel(table(this.classes));
    this.layers.set(id, image);
    this.nv.addVolume(image);
    this.look();
  }

  // Outlines or fills, and how opaque.
  look({ opacity = this.opacity, outlined = this.outlined, hidden = this.hidden } = {}) {
    Object.assign(this, { opacity, outlined, hidden });
    const strength = hidden ? 0 : opacity;
    this.nv.drawRimOpacity = outlined && !hidden ? Math.min(1, 2 * opacity) : -1;
    this.nv.setDrawOpacity(outlined && !hidden ? 0.004 : strength);
    this.nv.opts.atlasOutline = hidden ? 0 : 1;
    this.nv.volumes.forEach((volume, index) => {
      const wanted = hidden ? 0 : volume.colormapLabel ? COMPARED : 0.6;
      if (index && volume.opacity !== wanted) this.nv.setOpacity(index, wanted);
    });
    this.nv.drawScene();
  }

  view(name) {
    this.nv.setSliceType(VIEWS[name]);
    if (name === "axial" || name === "coronal" || name === "sagittal") this.axis = { axial: 2, coronal: 1, sagittal: 0 }[name];
  }

  radiological(yes) {
    this.nv.setRadiologicalConvention(yes);
  }

  smooth(yes) {
    this.nv.setInterpolation(!yes);
  }

  get zoomed() {
    return this.nv.scene.pan2Dxyzmm[3];
  }

  zoom(factor) {
    const to = Math.min(8, Math.max(1, factor));
    const [x, y, z] = this.nv.scene.pan2Dxyzmm;
    this.nv.setPan2Dxyzmm(to === 1 ? [0, 0, 0, 1] : [x, y, z, to]);
    this.onZoom?.(to);
  }

  get window() {
    return [this.shown.cal_min, this.shown.cal_max];
  }

  setWindow(low, high) {
    this.shown.cal_min = low;
    this.shown.cal_max = Math.max(high, low + 1e-6);
    this.nv.updateGLVolume();
  }

  step(slices, axis = this.axis) {
    const by = [0, 0, 0];
    by[axis] = slices;
    this.nv.moveCrosshairInVox(...by);
  }

  // Where the crosshair is: voxel of the file counted from 0, mm, grey value, class.
  place(data) {
    if (!this.shown) return null;
    const [x, y, z] = data.vox.map((n, i) => Math.min(this.order.dims[i] - 1, Math.max(0, Math.round(n))));
    const { dims, start, step } = this.order;
    const drawn = this.nv.drawBitmap?.[x + dims[0] * (y + dims[1] * z)] ?? 0;
    const file = start[0] + x * step[0] + start[1] + y * step[1] + start[2] + z * step[2];
    const [, nx, ny] = this.shown.hdr.dims;
    const voxel = [file % nx, Math.floor(file / nx) % ny, Math.floor(file / (nx * ny))];
    return { voxel, mm: Array.from(data.mm).slice(0, 3), grey: data.values[0]?.value, drawn };
  }
}
