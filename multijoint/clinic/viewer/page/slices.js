// NiiVue with planes as a reviewer wants them: smooth outlines, a thin crosshair, letters, slice numbers, the whole canvas.
"use strict";

const RENDER = 4; // NiiVue's number of the 3D view
const PLANES = [ // by NiiVue's number: the patient axis across the plane, letters left, right, top and bottom
  { name: "axial", axis: 2, letters: ["R", "L", "A", "P"] },
  { name: "coronal", axis: 1, letters: ["R", "L", "S", "I"] },
  { name: "sagittal", axis: 0, letters: ["A", "P", "S", "I"] },
];
const OUTLINE_PIXELS = 1.6;
const GAP_PIXELS = 6; // between views
const LOW_PIXELS = 48; // height of a plane without room for letters above each other
const NARROW_PIXELS = { slim: 240, thin: 110, narrow: 48 }; // width without room for caption and letter, a caption, two letters
const FRACTIONS = [0.14, 0.22, 0.3, 0.4, 0.5, 0.6, 0.7, 0.78, 0.86]; // where a row or column of views may be divided
const WEIGHT_3D = 0.5; // how much the size of the 3D view counts against that of a plane
const MOST_ZOOM_3D = 4;

class SliceViewer extends niivue.Niivue {
  /** onPlace(place) hears of the point under the pointer, or of the crosshair where the pointer is on no plane. */
  constructor(marks, onPlace) {
    super({
      show3Dcrosshair: true, crosshairColor: [1, 1, 1, 1], crosshairWidth: 0.15, crosshairWidthUnit: "percent", crosshairGap: 0,
      isRadiologicalConvention: true, sagittalNoseLeft: true, isSliceMM: true, // true positions also of oblique scans
      isForceMouseClickToVoxelCenters: true, isOrientationTextVisible: false, meshThicknessOn2D: 0, isAntiAlias: true,
      dragAndDropEnabled: false, clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "", logLevel: "error",
      loadingText: "", clipPlaneColor: [0, 0, 0, 0],
    });
    this.marksLayer = marks;
    this.onPlace = onPlace;
    this.views = [];
    this.slices = null;
    this.pointer = null;
    this.plane = 0; // where the pointer was last
  }

  async open(canvas) {
    await this.attachToCanvas(canvas, true);
    this.setCustomSliceShader(SLICE_SHADER);
    canvas.addEventListener("mousemove", ({ clientX, clientY }) => { // to the pixel where NiiVue takes a click
      const { left, top } = canvas.getBoundingClientRect();
      this.pointer = [clientX - left, clientY - top];
      this.tellPlace();
    });
    canvas.addEventListener("mouseleave", () => { this.pointer = null; this.tellPlace(); });
    new ResizeObserver(() => this.arrange()).observe(canvas.parentElement);
  }

  /** Draw nothing and tell no place until a case is shown. */
  blank() {
    this.slices = null;
    this.marksLayer.replaceChildren();
  }

  /** Show these views, planes by NiiVue's numbers; slices holds of each patient axis how the file counts it. */
  show(views, slices = this.slices) {
    this.views = views;
    this.slices = slices;
    this.plane = views.includes(this.plane) ? this.plane : views.find((view) => view !== RENDER) ?? 0;
    this.arrange();
  }

  arrange() {
    if (!this.volumes.length || !this.views.length) return;
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    const sides = this.views.map((view) => (view === RENDER ? [1, 1] : this.screenFieldOfViewMM(view)));
    const found = divide(this.views.map((view, index) => ({ view, ratio: sides[index][0] / sides[index][1] })), 0, 0, width, height);
    const shrink = 1 - 1e-6; // rounding must not carry a view over the edge
    this.setCustomLayout(found.tiles.map(({ view, x, y, w, h }) => ({
      sliceType: view, position: [x / width, y / height, w / width * shrink, h / height * shrink],
    })));
  }

  setBones({ opacity, isOutline }) {
    this.overlayAlphaShader = isOutline ? 0 : opacity;
    this.overlayOutlineWidth = isOutline || opacity > 0 ? OUTLINE_PIXELS * (this.uiData.dpr || 1) : 0;
    this.drawScene();
  }

  /** Let bones, whose boxes in mm are [least, greatest], fill the 3D view; without any, the scan does. */
  zoom3D(boxes) {
    this.setPivot3D();
    const corners = boxes.flatMap(([low, high]) => [0, 1, 2, 3, 4, 5, 6, 7].map((bits) =>
      [0, 1, 2].map((axis) => (bits >> axis & 1 ? high : low)[axis] - this.pivot3D[axis])));
    const reach = Math.max(...corners.map((corner) => Math.hypot(...corner)));
    const margin = 0.76; // NiiVue shows 0.8 of its radius on each side
    this.scene.volScaleMultiplier = corners.length ? Math.min(MOST_ZOOM_3D, margin * this.furthestFromPivot / reach) : 1;
  }

  goTo(mm) {
    this.scene.crosshairPos = this.mm2frac(mm, 0, true);
    this.drawScene();
  }

  step(by) {
    const move = [0, 0, 0];
    move[PLANES[this.plane].axis] = by;
    this.moveCrosshairInVox(...move);
  }

  drawScene() {
    if (!this.slices) return ""; // a case is drawn when all of it is there
    const said = super.drawScene();
    this.drawMarks();
    this.tellPlace();
    return said;
  }

  drawCrosshairs3D(isDepthTested, alpha, matrix, isPlane, isMM) {
    if (!isPlane) super.drawCrosshairs3D(isDepthTested, alpha, matrix, isPlane, isMM); // planes have thin lines instead
  }

  drawMarks() {
    const planes = this.screenSlices.filter(({ axCorSag }) => axCorSag !== RENDER);
    while (this.marksLayer.children.length > planes.length) this.marksLayer.lastChild.remove();
    while (this.marksLayer.children.length < planes.length) {
      const made = document.createElement("div");
      made.innerHTML = "<i></i><i></i><b></b><b></b><b></b><b></b><span></span>";
      this.marksLayer.append(made);
    }
    const dpr = this.uiData.dpr || 1;
    planes.forEach((tile, index) => this.drawMark(this.marksLayer.children[index], tile, dpr));
  }

  drawMark(mark, tile, dpr) {
    const [x, y, w, h] = tile.leftTopWidthHeight.map((each) => each / dpr);
    const { name, axis, letters } = PLANES[tile.axCorSag];
    const at = this.frac2canvasPosWithTile(this.scene.crosshairPos, tile.axCorSag)?.pos;
    const [left, top, width, height] = w < 0 ? [x + w, y, -w, h] : [x, y, w, h];
    Object.assign(mark.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    mark.style.setProperty("--x", `${at ? Math.round(at[0] / dpr - left) : -99}px`);
    mark.style.setProperty("--y", `${at ? Math.round(at[1] / dpr - top) : -99}px`);
    mark.classList.toggle("low", height < LOW_PIXELS);
    for (const [kind, pixels] of Object.entries(NARROW_PIXELS)) mark.classList.toggle(kind, width < pixels);
    mark.querySelectorAll("b").forEach((element, index) => { element.textContent = letters[index]; });
    const { number, count } = this.numbers(this.scene.crosshairPos)[axis];
    mark.lastChild.textContent = `${name} ${number}\u00a0/\u00a0${count}`;
  }

  /** Of each patient axis the slice that a point lies in, as the file counts it from 1, and how many there are. */
  numbers(fraction) {
    const { dimsRAS, permRAS } = this.volumes[0];
    const voxel = this.frac2vox(fraction);
    return [0, 1, 2].map((axis) => {
      const stored = Math.abs(permRAS[axis]) - 1; // not itself only where an axis lies halfway between two
      const { count, every, is_reversed } = this.slices[stored];
      const place = every * (permRAS[axis] < 0 ? dimsRAS[axis + 1] - 1 - voxel[axis] : voxel[axis]);
      return { number: Math.min(count, Math.max(1, is_reversed ? count - place : place + 1)), count };
    });
  }

  tellPlace() {
    if (!this.slices) return;
    const dpr = this.uiData.dpr || 1;
    const point = this.pointer?.map((each) => each * dpr);
    const tile = point ? this.tileIndex(...point) : -1;
    const pointed = tile >= 0 ? this.screenXY2TextureFrac(...point, tile, true) : [-1];
    const isPointed = pointed[0] >= 0;
    if (isPointed) this.plane = this.screenSlices[tile].axCorSag;
    const fraction = isPointed ? pointed : this.scene.crosshairPos;
    const mm = this.frac2mm(fraction, 0, true);
    const [value, bone] = this.volumes.map((volume) => volume.getValue(...volume.mm2vox(mm)));
    const { scl_slope: slope } = this.volumes[0].hdr;
    const known = slope === 1 ? 1 : 10 ** Math.ceil(Math.log10(slope)); // the scan is here in steps of its slope
    const intensity = Math.round(value / known) * known;
    this.onPlace({ isPointed, mm, intensity, bone, plane: PLANES[this.plane].name, numbers: this.numbers(fraction) });
  }
}

/** Divide a rectangle among views, in their order, so that their pictures are large and none of them is small. */
function divide(views, x, y, w, h) {
  if (views.length === 1) {
    const [{ view, ratio }] = views;
    const area = Math.max(1, Math.min(w, h * ratio)) * Math.max(1, Math.min(h, w / ratio));
    return { cost: (view === RENDER ? WEIGHT_3D : 1) / Math.sqrt(area), tiles: [{ view, x, y, w, h }] };
  }
  let best = { cost: Infinity };
  for (let count = 1; count < views.length; count++) {
    for (const fraction of FRACTIONS) {
      const [across, down] = [(w - GAP_PIXELS) * fraction, (h - GAP_PIXELS) * fraction];
      for (const parts of [
        [[x, y, across, h], [x + across + GAP_PIXELS, y, w - across - GAP_PIXELS, h]],
        [[x, y, w, down], [x, y + down + GAP_PIXELS, w, h - down - GAP_PIXELS]],
      ]) {
        const [first, rest] = [divide(views.slice(0, count), ...parts[0]), divide(views.slice(count), ...parts[1])];
        const cost = first.cost + rest.cost;
        if (cost < best.cost) best = { cost, tiles: [...first.tiles, ...rest.tiles] };
      }
    }
  }
  return best;
}
