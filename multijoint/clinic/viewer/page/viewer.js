// The page of `multijoint view`: shows one case at a time with NiiVue and sends marks to the server it came from.
"use strict";

const NOTHING_CLIPPED = 2; // depths of NiiVue's plane, which clips the scan in 3D
const ALL_CLIPPED = -2;
const SHORTCUTS = { p: () => go(-1), n: () => go(1), g: () => mark("good"), x: () => mark("needs correction"),
  o: () => $("outline").click(), s: () => $("scan3d").click(), v: nextView, "[": () => changeOpacity(-10), "]": () => changeOpacity(10) };

const $ = (id) => document.getElementById(id);
const viewer = new niivue.Niivue({
  show3Dcrosshair: true, crosshairColor: [1, 1, 1, 0.6], crosshairGap: 6, fontColor: [0.9, 0.9, 0.9, 1], fontMinPx: 14,
  isRadiologicalConvention: true, multiplanarForceRender: true, multiplanarShowRender: 1, multiplanarLayout: 2,
  multiplanarPadPixels: 4, dragAndDropEnabled: false, clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "",
  logLevel: "warn", loadingText: "", meshThicknessOn2D: 0, isAntiAlias: true, crosshairWidth: 0.4,
  crosshairWidthUnit: "percent", clipPlaneColor: [0, 0, 0, 0], isSliceMM: true, // true positions also of oblique scans
});
let cases = [];
let current = -1;
let bones = [];
let queue = Promise.resolve(); // one case after the other: NiiVue has one scene
let unsaved = null; // the case whose comment has been typed but not sent

async function start() {
  try {
    await viewer.attachToCanvas($("canvas"), true);
  } catch (error) {
    complain(`This browser cannot draw in 3D (WebGL 2): ${error.message}. Try Firefox or Chromium of this decade.`);
    return;
  }
  $("canvas").addEventListener("webglcontextlost", () => complain("The graphics card has given up. Reload the page."));
  try {
    const answer = await fetchJson("cases.json");
    cases = answer.cases;
    $("saved").dataset.file = answer.marks;
  } catch (error) {
    complain(`The cases cannot be listed: ${error.message}`);
    return;
  }
  $("cases").replaceChildren(...cases.map((each, index) => new Option(optionText(each), index)));
  const asked = cases.findIndex((each) => each.name === decodeURIComponent(location.hash.slice(1)));
  open(Math.max(asked, 0));
}

function open(index) {
  if (index === current || !cases[index]) return;
  saveComment();
  current = index;
  const { name } = cases[index];
  document.title = name;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  $("case").textContent = name;
  $("cases").value = index;
  $("previous").disabled = index === 0;
  $("next").disabled = index === cases.length - 1;
  document.body.dataset.state = "loading";
  showMark();
  listBones([]);
  $("note").textContent = "";
  tell(`Loading ${name} ...`);
  queue = queue.then(() => (index === current ? load(index) : null));
}

async function load(index) {
  const folder = `cases/${index}`;
  try {
    const shown = await fetchJson(`${folder}.json`);
    if (index !== current) return;
    while (viewer.meshes.length) viewer.removeMesh(viewer.meshes[0]);
    await viewer.loadVolumes([
      { url: `${folder}/scan.nii`, name: "scan.nii", colormap: "gray" },
      { url: `${folder}/labels.nii`, name: "labels.nii", opacity: opacity() },
    ]);
    viewer.volumes[1].setColormapLabel(colormap(shown.bones));
    bones = shown.bones;
    const missed = await loadMeshes(folder, shown);
    viewer.setSliceType(Number($("view").value));
    showLabels();
    if (index !== current) return;
    listBones(bones);
    const notes = shown.every > 1 ? [`A large scan: one voxel in ${shown.every} along each axis is shown.`] : [];
    $("note").textContent = [...notes, ...missed].join(" ");
    const largest = bones.filter((each) => each.centre_mm).sort((a, b) => b.volume_ml - a.volume_ml)[0];
    if (largest) jump(largest);
    tell(largest ? "" : "There is no bone in this segmentation.");
    document.body.dataset.state = "shown";
  } catch (error) {
    if (index === current) complain(`${cases[index].name} cannot be shown: ${error.message}`);
  }
}

async function loadMeshes(folder, shown) {
  const color = Object.fromEntries(shown.bones.map((each) => [each.name, each.color]));
  const missed = [];
  for (const [number, name] of shown.meshes.entries()) {
    try {
      const answer = await ask(`${folder}/mesh${number}.ply`);
      const buffer = await answer.arrayBuffer();
      const rgba255 = [...rgb(color[name] ?? "#ffffff"), 255];
      await viewer.addMeshFromUrl({ url: "mesh.ply", name: `${name}.ply`, buffer, rgba255 });
    } catch (error) {
      missed.push(error.message);
    }
  }
  return missed;
}

function colormap(shown) {
  const colors = [[0, 0, 0], ...shown.map((each) => rgb(each.color))];
  const [R, G, B] = [0, 1, 2].map((channel) => colors.map((each) => each[channel]));
  return { R, G, B, A: colors.map((_, index) => (index ? 255 : 0)), labels: ["", ...shown.map((each) => each.name)] };
}

function listBones(shown) {
  bones = shown;
  $("bones").replaceChildren(...shown.map((bone, index) => {
    const button = element("button", "", index < 9 ? { title: `Jump there (${index + 1})` } : {});
    button.type = "button";
    button.disabled = !bone.centre_mm;
    button.className = bone.centre_mm ? "" : "missing";
    const swatch = element("span", "swatch");
    swatch.style.background = bone.color;
    const volume = bone.centre_mm ? `${bone.volume_ml.toPrecision(3)} ml` : "missing";
    button.append(swatch, element("span", "name", { textContent: bone.name }), element("span", "volume", { textContent: volume }));
    button.addEventListener("click", () => jump(bone));
    const item = element("li");
    item.append(button);
    return item;
  }));
}

function jump(bone) {
  if (!bone?.centre_mm) return;
  viewer.scene.crosshairPos = viewer.mm2frac(bone.centre_mm, 0, true);
  viewer.updateGLVolume();
}

function showLabels() {
  if (viewer.volumes.length < 2) return;
  viewer.opts.atlasOutline = $("outline").checked ? 1 : 0;
  viewer.opts.isClipAllVolumes = viewer.meshes.length > 0 && !$("scan3d").checked; // surfaces stand for the bones
  viewer.setClipPlane([$("scan3d").checked ? NOTHING_CLIPPED : ALL_CLIPPED, 0, 0]);
  viewer.setOpacity(1, opacity());
  $("opacity").disabled = $("outline").checked;
  $("opacity-value").textContent = `${$("opacity").value} %`;
}

function changeOpacity(by) {
  $("opacity").value = Number($("opacity").value) + by;
  showLabels();
}

function opacity() {
  return $("outline").checked ? 0 : Number($("opacity").value) / 100;
}

function nextView() {
  $("view").selectedIndex = ($("view").selectedIndex + 1) % $("view").length;
  viewer.setSliceType(Number($("view").value));
}

function go(by) {
  open(current + by);
}

function mark(value) {
  document.querySelector(`input[name=mark][value="${value}"]`).checked = true;
  save(current);
}

function showMark() {
  const { mark: value, comment, date } = cases[current];
  document.querySelector(`input[name=mark][value="${value}"]`).checked = true;
  $("comment").value = comment;
  $("saved").className = "";
  $("saved").textContent = date ? `Saved ${date.slice(0, 16).replace("T", " ")} in ${$("saved").dataset.file}` : "";
  const done = cases.filter((each) => each.mark).length;
  $("progress").textContent = `${current + 1} of ${cases.length}, ${done} reviewed`;
  $("cases").options[current].text = optionText(cases[current]);
}

function optionText({ name, mark: value }) {
  return value ? `${name} (${value})` : name;
}

function saveComment() {
  if (unsaved !== null) save(unsaved);
}

async function save(index) {
  const given = { mark: document.querySelector("input[name=mark]:checked").value, comment: $("comment").value };
  unsaved = null;
  try {
    const row = await fetchJson(`cases/${index}/mark`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given), keepalive: true,
    });
    Object.assign(cases[index], row, given.mark || given.comment ? {} : { date: "" });
    $("cases").options[index].text = optionText(cases[index]);
    if (index === current) showMark();
  } catch (error) {
    $("saved").className = "bad";
    $("saved").textContent = `The mark of ${cases[index].name} was NOT saved: ${error.message}`;
  }
}

async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new Error("the viewer does not answer; is `multijoint view` still running?");
  });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

async function fetchJson(path, options) {
  return (await ask(path, options)).json();
}

function element(kind, name = "", properties = {}) {
  return Object.assign(document.createElement(kind), name ? { className: name } : {}, properties);
}

function rgb(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

function tell(text) {
  $("message").className = "";
  $("message").textContent = text;
}

function complain(text) {
  document.body.dataset.state = "failed";
  $("message").className = "bad";
  $("message").textContent = text;
}

$("previous").addEventListener("click", () => go(-1));
$("next").addEventListener("click", () => go(1));
$("cases").addEventListener("change", (event) => open(Number(event.target.value)));
$("marks").addEventListener("change", () => save(current));
$("comment").addEventListener("input", () => { unsaved = current; });
$("comment").addEventListener("change", saveComment);
$("opacity").addEventListener("input", showLabels);
$("outline").addEventListener("change", showLabels);
$("scan3d").addEventListener("change", showLabels);
$("view").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
window.addEventListener("pagehide", saveComment);
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("textarea, select, input[type=range]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || current < 0) return;
  const action = SHORTCUTS[event.key] ?? (/^[1-9]$/.test(event.key) ? () => jump(bones[event.key - 1]) : null);
  if (!action) return;
  event.preventDefault();
  action();
});

start();
