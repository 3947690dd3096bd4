// The page of `multijoint view`: shows one case at a time with NiiVue and sends marks to the server it came from.
"use strict";

const NOTHING_CLIPPED = 2; // depths of NiiVue's plane, which clips the scan in 3D
const ALL_CLIPPED = -2;
const VIEWS = { planes: [1, 2, 0, RENDER], axial: [0], coronal: [1], sagittal: [2], render: [RENDER] };
const SHORTCUTS = { p: () => go(-1), n: () => go(1), g: () => markAndGo("good"), x: () => markAndGo("needs correction"),
  o: () => $("outline").click(), s: () => $("scan3d").click(), v: nextView, "[": () => changeOpacity(-10), "]": () => changeOpacity(10),
  ArrowUp: () => viewer.step(1), ArrowDown: () => viewer.step(-1), "?": toggleHelp };

const $ = (id) => document.getElementById(id);
const viewer = new SliceViewer($("marks-layer"), showPlace);
let cases = [];
let current = -1;
let bones = [];
let queue = Promise.resolve(); // one case after the other: NiiVue has one scene
let unsaved = null; // the case whose comment has been typed but not sent
let strange = ""; // what was wrong with the address of the page

async function start() {
  try {
    await viewer.open($("canvas"));
  } catch (error) {
    complain(`This browser cannot draw in 3D (WebGL 2): ${error.message}. Try Firefox or Chromium of this decade.`);
    return;
  }
  $("canvas").addEventListener("webglcontextlost", () => complain("The graphics card has given up. Reload the page."));
  try {
    const answer = await fetchJson("cases.json");
    cases = answer.cases;
    $("saved").dataset.file = answer.marks;
    $("report").hidden = !answer.has_report;
  } catch (error) {
    complain(`The cases cannot be listed: ${error.message}`);
    return;
  }
  $("cases").replaceChildren(...cases.map((each, index) => new Option(optionText(each), index)));
  const asked = new URLSearchParams(location.search).get("case");
  const index = cases.findIndex((each) => each.name === asked);
  if (asked !== null && index < 0) strange = `There is no case ${asked} here; this is the first one.`;
  open(Math.max(index, 0));
}

function open(index) {
  if (index === current || !cases[index]) return;
  saveComment();
  current = index;
  viewer.blank();
  const { name } = cases[index];
  document.title = name;
  history.replaceState(null, "", `?${new URLSearchParams({ case: name })}`); // takes any name, encodeURIComponent does not
  $("case").textContent = name;
  $("cases").value = index;
  $("previous").disabled = index === 0;
  $("next").disabled = index === cases.length - 1;
  document.body.dataset.state = "loading";
  showMark();
  listBones([]);
  $("note").textContent = $("place").textContent = $("scan-flags").textContent = "";
  tell(`Loading ${name} ...`);
  queue = queue.then(() => (index === current ? load(index) : null));
}

async function load(index) {
  const folder = `cases/${index}`;
  try {
    const shown = await fetchJson(`${folder}.json`);
    if (index !== current) return;
    viewer.blank();
    while (viewer.meshes.length) viewer.removeMesh(viewer.meshes[0]);
    await viewer.loadVolumes([
      { url: `${folder}/scan.nii`, name: "scan.nii", colormap: "gray" },
      { url: `${folder}/labels.nii`, name: "labels.nii" },
    ]);
    viewer.volumes[1].setColormapLabel(colormap(shown.bones));
    viewer.updateGLVolume();
    bones = shown.bones;
    const missed = await loadMeshes(folder, shown);
    if (index !== current) return;
    zoom3D();
    showLabels();
    listBones(bones);
    $("scan-flags").textContent = shown.flags.map(({ name, meaning }) => `${name}: ${meaning}`).join(" ");
    const thinned = shown.every > 1 ? [`A large scan: one voxel in ${shown.every} along each axis is shown.`] : [];
    $("note").textContent = [strange, ...thinned, ...shown.notes, ...missed].filter(Boolean).join(" ");
    strange = "";
    const largest = bones.filter((each) => each.centre_mm).sort((a, b) => b.volume_ml - a.volume_ml)[0];
    viewer.scene.crosshairPos = [0.5, 0.5, 0.5];
    if (largest) jump(largest);
    viewer.show(VIEWS[$("view").value], shown.slices.map((each) => ({ ...each, every: shown.every })));
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

function listBones(shown) {
  bones = shown;
  $("bones").replaceChildren(...shown.map((bone, index) => {
    const button = element("button", "", index < 9 ? { title: `Jump there (${index + 1})` } : {});
    button.type = "button";
    button.disabled = !bone.centre_mm;
    button.className = bone.centre_mm ? "" : "missing";
    const swatch = element("span", "swatch");
    swatch.style.background = bone.color;
    const volume = bone.centre_mm ? `${bone.volume_ml < 1000 ? bone.volume_ml.toPrecision(3) : Math.round(bone.volume_ml)} ml` : "missing";
    button.append(swatch, element("span", "name", { textContent: bone.name }), element("span", "volume", { textContent: volume }));
    if (bone.flags) button.append(describe(bone));
    button.addEventListener("click", () => jump(bone));
    const item = element("li");
    item.append(button);
    return item;
  }));
  const meanings = new Map(shown.flatMap((bone) => bone.flags ?? []).map(({ name, meaning }) => [name, meaning]));
  $("meanings").hidden = !meanings.size;
  $("flags").replaceChildren(...[...meanings].flatMap(([name, meaning]) => [
    element("dt", "", { textContent: name }), element("dd", "", { textContent: meaning }),
  ]));
}

function showPlace({ isPointed, mm, intensity, bone, plane, numbers }) {
  const [x, y, z] = numbers.map(({ number }) => number);
  const sides = ["RL", "AP", "SI"].map((pair, axis) => `${pair[mm[axis] < 0 ? 1 : 0]} ${Math.abs(mm[axis]).toFixed(1)}`);
  const parts = [
    [isPointed ? "pointer" : "crosshair", isPointed ? `in the ${plane} plane` : ""],
    ["slice", `sagittal ${x}, coronal ${y}, axial ${z}`], ["mm", sides.join(" ")],
    ["intensity", readable(intensity, 4)], ["", bones[Math.round(bone) - 1]?.name ?? "no bone"],
  ];
  $("place").replaceChildren(...parts.map(([name, value]) => {
    const part = element("span", "", { textContent: name ? `${name} ` : "" });
    part.append(element("b", "", { textContent: value }));
    return part;
  }));
}

function jump(bone) {
  if (bone?.centre_mm) viewer.goTo(bone.centre_mm);
}

function showLabels() {
  $("opacity").disabled = $("outline").checked;
  $("opacity-value").textContent = `${$("opacity").value} %`;
  if (viewer.volumes.length < 2) return;
  viewer.opts.isClipAllVolumes = viewer.meshes.length > 0 && !$("scan3d").checked; // surfaces stand for the bones
  viewer.setClipPlane([$("scan3d").checked ? NOTHING_CLIPPED : ALL_CLIPPED, 0, 0]);
  viewer.setBones({ opacity: Number($("opacity").value) / 100, isOutline: $("outline").checked });
}

function zoom3D() {
  viewer.zoom3D($("scan3d").checked ? [] : bones.map((bone) => bone.box_mm).filter(Boolean));
}

function changeOpacity(by) {
  $("opacity").value = Number($("opacity").value) + by;
  showLabels();
}

function nextView() {
  $("view").selectedIndex = ($("view").selectedIndex + 1) % $("view").length;
  showView();
}

function showView() {
  viewer.show(VIEWS[$("view").value]);
}

function toggleHelp() {
  $("keys").open = !$("keys").open;
  if ($("keys").open) $("keys").scrollIntoView({ block: "nearest" });
}

function go(by) {
  open(current + by);
}

async function markAndGo(value) {
  const index = current;
  if (document.body.dataset.state === "loading") return; // nobody has seen it yet
  document.querySelector(`input[name=mark][value="${value}"]`).checked = true;
  if (!await save(index) || index !== current) return;
  go(1);
  if (index !== current) $("saved").textContent = `${cases[index].name}: ${value}, saved in ${$("saved").dataset.file}`;
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
    return true;
  } catch (error) {
    $("saved").className = "bad";
    $("saved").textContent = `The mark of ${cases[index].name} was NOT saved: ${error.message}`;
    return false;
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
$("scan3d").addEventListener("change", () => { zoom3D(); showLabels(); });
$("view").addEventListener("change", showView);
$("help").addEventListener("click", toggleHelp);
window.addEventListener("pagehide", saveComment);
document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (target === $("canvas") && key !== "Tab") event.stopPropagation(); // NiiVue has keys of its own
  const typing = target.matches("textarea, select, input[type=range]") || (key.startsWith("Arrow") && target.matches("input"));
  if (typing || event.ctrlKey || event.metaKey || event.altKey || current < 0) return;
  const action = Object.hasOwn(SHORTCUTS, key) ? SHORTCUTS[key] : /^[1-9]$/.test(key) ? () => jump(bones[key - 1]) : null;
  if (!action) return;
  event.preventDefault();
  if (!(event.repeat && "gx".includes(key))) action(); // a key held down marks one case
}, true);

window.name = "multijoint-viewer"; // where the report's links open
start();
