"use strict";

// Outlines are smooth, a pixel's distance to the edge is known, and no voxel is lost:
// - Where voxels are about square, a pixel belongs to the bone with the greatest weight among the 3 x 3 voxels around it,
//   by quadratic B-splines. A lone voxel still shows.
// - Where slices are thick, distances to the edge within the two nearest slices are interpolated (Raya and Udupa, 1990):
//   the outline is that of the voxels in the middle of each slice, and straight from one to the next.
const SLICE_SHADER = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume; // each declared alone: NiiVue finds uniforms by their lines
uniform highp sampler3D overlay;
uniform float overlayOutlineWidth;
uniform float overlayAlphaShader;
uniform float overlays;
uniform float opacity;
uniform int axCorSag;
in vec3 texPos;
out vec4 color;

const float SQUARE = 1.5; // most that a voxel's sides may differ
const float MOST_REACH = 12.0; // voxels
const vec3 NONE = vec3(0.0);
int slice;

vec3 boneAt(ivec2 cell) { // its colour
  ivec3 place = axCorSag == 0 ? ivec3(cell, slice) : axCorSag == 1 ? ivec3(cell.x, slice, cell.y) : ivec3(slice, cell);
  vec4 found = texelFetch(overlay, clamp(place, ivec3(0), textureSize(overlay, 0) - 1), 0);
  return found.a > 0.0 ? found.rgb : NONE;
}

struct Edge { vec3 bone; vec3 other; float depth; vec2 slope; }; // depth within the bone, and how it grows along both axes

Edge splineEdge(vec2 place) {
  ivec2 cell = ivec2(floor(place));
  vec2 off = place - vec2(cell) - 0.5;
  mat3x2 weights = mat3x2(0.5 * (0.5 - off) * (0.5 - off), 0.75 - off * off, 0.5 * (0.5 + off) * (0.5 + off));
  mat3x2 slopes = mat3x2(off - 0.5, -2.0 * off, off + 0.5);
  vec3 bones[9];
  vec3 sums[9]; // weight, and its slope along both axes
  int count = 0;
  for (int j = 0; j < 3; j++) for (int i = 0; i < 3; i++) {
    vec3 bone = boneAt(cell + ivec2(i - 1, j - 1));
    int known = 0;
    while (known < count && bones[known] != bone) known++;
    if (known == count) { bones[count] = bone; sums[count] = vec3(0.0); count++; }
    sums[known] += vec3(weights[i].x * weights[j].y, slopes[i].x * weights[j].y, weights[i].x * slopes[j].y);
  }
  int best = 0;
  int second = -1;
  for (int k = 1; k < count; k++) if (sums[k].x > sums[best].x) best = k;
  for (int k = 0; k < count; k++) if (k != best && (second < 0 || sums[k].x > sums[second].x)) second = k;
  if (second < 0) return Edge(bones[best], bones[best], 1.0, vec2(0.0));
  vec3 lead = sums[best] - sums[second];
  return Edge(bones[best], bones[second], lead.x, lead.yz);
}

Edge runEdge(vec2 place, int row, bool isUpright, float most) { // along a row alone
  int cell = int(floor(place.x));
  vec3 bone = boneAt(isUpright ? ivec2(cell, row) : ivec2(row, cell));
  Edge edge = Edge(bone, bone, most, vec2(0.0));
  for (int k = 1; k <= int(MOST_REACH) + 1; k++) {
    vec2 reach = vec2(float(cell + k) - place.x, place.x - float(cell - k + 1)); // to the right, to the left
    if (min(reach.x, reach.y) >= edge.depth) break;
    for (int side = 0; side < 2; side++) {
      int next = side == 0 ? cell + k : cell - k;
      vec3 other = boneAt(isUpright ? ivec2(next, row) : ivec2(row, next));
      if (other != bone && reach[side] < edge.depth) edge = Edge(bone, other, reach[side], vec2(float(2 * side - 1), 0.0));
    }
  }
  return edge;
}

vec2 outside(Edge edge, vec3 bone, float most) { // how deep within another bone, and its slope
  return edge.bone == bone ? vec2(edge.depth, edge.slope.x) : edge.other == bone ? -vec2(edge.depth, edge.slope.x) : vec2(-most, 0.0);
}

Edge interpolatedEdge(vec2 place, bool isUpright, float most) { // place along the rows and across them
  float height = place.y - 0.5;
  int row = int(floor(height));
  float part = height - float(row);
  Edge low = runEdge(place, row, isUpright, most);
  Edge high = runEdge(place, row + 1, isUpright, most);
  vec3 other = low.bone != high.bone ? high.bone : low.other != low.bone && (part < 0.5 || high.other == high.bone) ? low.other : high.other;
  vec2 ends[2] = vec2[2](outside(low, low.bone, most) - outside(low, other, most), outside(high, low.bone, most) - outside(high, other, most));
  vec2 middle = 0.5 * mix(ends[0], ends[1], part);
  Edge edge = Edge(low.bone, other, middle.x, vec2(middle.y, 0.5 * (ends[1].x - ends[0].x)));
  if (edge.depth < 0.0) return Edge(other, low.bone, -edge.depth, -edge.slope);
  return edge;
}

void main() {
  vec3 scan = texture(volume, texPos).rgb;
  color = vec4(scan, opacity);
  vec3 size = vec3(textureSize(overlay, 0));
  vec3 place = texPos * size;
  vec3 turned = axCorSag == 0 ? place.xyz : axCorSag == 1 ? place.xzy : place.yzx;
  mat2 perPixel = mat2(dFdx(turned.xy), dFdy(turned.xy)); // voxels
  if (overlays < 1.0 || (overlayOutlineWidth <= 0.0 && overlayAlphaShader <= 0.0)) return;
  slice = int(floor(turned.z));
  vec2 pixel = vec2(length(vec2(perPixel[0].x, perPixel[1].x)), length(vec2(perPixel[0].y, perPixel[1].y)));
  float ratio = pixel.x / pixel.y;
  bool isUpright = ratio > 1.0;
  Edge edge;
  if (max(ratio, 1.0 / ratio) < SQUARE) {
    edge = splineEdge(turned.xy);
  } else {
    edge = interpolatedEdge(isUpright ? turned.xy : turned.yx, isUpright, min(max(ratio, 1.0 / ratio), MOST_REACH));
    if (!isUpright) edge.slope = edge.slope.yx;
  }
  bool isBone = edge.bone != NONE;
  if (isBone) color.rgb = mix(scan, edge.bone, overlayAlphaShader);
  if (edge.other == edge.bone) return;
  float pixels = edge.depth / max(length(edge.slope * perPixel), 1e-6);
  vec3 across = edge.other == NONE ? scan : mix(scan, edge.other, overlayAlphaShader);
  color.rgb = mix(across, color.rgb, clamp(0.5 + pixels, 0.0, 1.0));
  float halfWidth = 0.5 * overlayOutlineWidth;
  if (halfWidth <= 0.0) return;
  float rim = 0.75 - (isBone ? overlayAlphaShader : 0.0); // dark, so that the line is seen on any ground
  rim *= 1.0 - smoothstep(0.5, 0.9, max(pixel.x, pixel.y)); // but for voxels smaller than the rim
  color.rgb *= 1.0 - max(rim, 0.0) * (1.0 - smoothstep(halfWidth + 0.5, halfWidth + 1.5, pixels));
  color.rgb = mix(isBone ? edge.bone : edge.other, color.rgb, smoothstep(halfWidth - 0.5, halfWidth + 0.5, pixels));
}`;
