// Parts of the viewer's page that depend on nothing but what they are given.
"use strict";

function colormap(shown) {
  const colors = [[0, 0, 0]];
  for (const each of shown) { // planes tell bones apart by their colours: one that comes again differs by what no eye sees
    const color = rgb(each.color);
    while (colors.some((other) => String(other) === String(color))) color[2] += color[2] < 255 ? 1 : -255;
    colors.push(color);
  }
  const [R, G, B] = [0, 1, 2].map((channel) => colors.map((each) => each[channel]));
  return { R, G, B, A: colors.map((_, index) => (index ? 255 : 0)), labels: ["", ...shown.map((each) => each.name)] };
}

function describe(bone) {
  const line = element("span", "found");
  const sure = bone.confidence?.toFixed(2);
  const kind = bone.is_calibrated ? "confidence" : "expected Dice (not calibrated)";
  line.append(sure === undefined ? "confidence unknown" : `${kind} ${sure}`);
  for (const { name, meaning } of bone.flags) {
    line.append(" · ", element("span", "flag", { textContent: name, title: meaning }));
  }
  return line;
}

/** A number in so many digits, small and large ones without zeros that say nothing. */
function readable(value, digits) {
  const whole = Math.abs(value) >= 10 ** digits && Math.abs(value) < 1e7;
  return whole ? String(Math.round(value)) : String(Number(value.toPrecision(digits)));
}

function element(kind, name = "", properties = {}) {
  return Object.assign(document.createElement(kind), name ? { className: name } : {}, properties);
}

function rgb(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}
