"""Figure 3: the best, the median and the worst exam of each data set, as segmented by every method."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from custom_components.domains import PLANES, bone_color
from custom_components.io.pictures import REFERENCE_COLOR, RIM_COLOR, find_outlines
from custom_components.io.planes import plane_edges
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from multijoint.experiments.figures.layout import add_axes, add_legend, wrap_name
from multijoint.experiments.jobs.methods import title_of

_RIM = 0.55  # points on each side of a line, so that light lines stay visible on bright marrow
_REFERENCE_WIDTH, _WIDTH = 2.8, 1.3

# Inches. A cell is a square of the scan below a black strip that holds its number, so that text never covers a bone.
_CELL, _STRIP, _GAP, _GROUP_GAP = 1.5, 0.17, 0.05, 0.14
_DOMAIN_WIDTH, _MARGIN = 0.3, 0.1
_LINE = 0.148  # of 8 point text


def draw_exams(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Figure | None:
    """Draw chosen exams: a row an exam, a column a method, the reference in white, the prediction in a colour a bone.

    The patient's right, or front, is at the left, as in every picture: axis 0 of the arrays runs to the left, axis 1
    upwards. All cells of a row show the same part of the slice: all bone in the reference or any prediction, and a
    margin.

    Args:
        meta: `methods`, `examples` (each `domain`, `rank`, `case`, `slice`, `spacing_mm`, `dice` by method in 0..1,
            `labels` by class, and the `plane`, without which no letters are drawn) and `rule`, a sentence about their
            choice.
        arrays: for example i `{i}/image`, `{i}/reference` and `{i}/prediction/{method}`, class indices of shape
            (first, second axis of the plane) in RAS+ order.

    Source:
        Fig. 3 of Boutillon et al. 2021, which shows chosen slices without saying how they were chosen.
    """
    methods, examples = meta["methods"], meta["examples"]
    if not examples:
        return None
    handles = _handles(examples)
    titles = [wrap_name(title_of(method), 17) for method in methods]
    groups = [(name, len(list(rows))) for name, rows in itertools.groupby(examples, key=lambda row: row["domain"])]

    labels = ["\n".join([row["rank"], wrap_name(row["case"], 17), f"slice {row['slice']}"]) for row in examples]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    left = _MARGIN + _DOMAIN_WIDTH + 0.066 * longest + 0.2
    width = left + len(methods) * (_CELL + _GAP) + _MARGIN
    entry = (8 * 3.8 + 8 * 0.62 * max(len(str(handle.get_label())) for handle in handles)) / 72
    legend_columns = min(len(handles), max(1, int((width - 0.4) / entry)))
    legend_rows = math.ceil(len(handles) / legend_columns)
    caption = textwrap.fill(
        f"{meta['rule'].rstrip('. ')}. Thick white: reference; thin: prediction, a colour a bone. "
        "Numbers: Dice of the whole exam in %.",
        max(30, int(15.5 * (width - 2 * _MARGIN))),
    )
    head = _LINE * (1 + max(title.count("\n") for title in titles)) + 0.12
    foot = 0.16 + 0.165 * legend_rows + 0.12 + _LINE * (1 + caption.count("\n")) + _MARGIN
    body = len(examples) * (_CELL + _STRIP + _GAP) + (len(groups) - 1) * _GROUP_GAP
    height = head + body + foot
    figure = Figure(figsize=(width, height), facecolor="white")

    for column, title in enumerate(titles):
        x = left + column * (_CELL + _GAP) + _CELL / 2
        figure.text(x / width, 1 - (head - 0.05) / height, title, ha="center", va="bottom", fontsize=8.5)
    top, numbered = height - head, enumerate(examples)
    for domain, count in groups:
        group_height = count * (_CELL + _STRIP + _GAP) - _GAP
        label = wrap_name(domain, 14 * count)
        middle = (top - group_height / 2) / height
        x = _MARGIN + 0.1
        figure.text(x / width, middle, label, rotation=90, ha="center", va="center", fontsize=10, weight="bold")
        for index, example in itertools.islice(numbered, count):
            bottom = top - _CELL - _STRIP
            place = ((left - 0.08) / width, (bottom + _CELL / 2) / height)
            figure.text(*place, labels[index], ha="right", va="center", fontsize=8)
            row = _Row(index, example, arrays, methods)
            for column, method in enumerate(methods):
                x = left + column * (_CELL + _GAP)
                plot = add_axes(figure, x, bottom, _CELL, _CELL + _STRIP)
                row.draw(plot, method, is_first=column == 0)
            top = bottom - _GAP
        top -= _GROUP_GAP

    # Light lines need a dark ground, as in the scans.
    dark: dict[str, Any] = {"facecolor": "#2B2B2B", "edgecolor": "none", "labelcolor": "white", "framealpha": 1}
    add_legend(figure, handles, top=foot - 0.06, columns=legend_columns, fontsize=8, frameon=True, **dark)
    figure.text(_MARGIN / width, _MARGIN / height, caption, ha="left", va="bottom", fontsize=8)
    return figure


def _handles(examples: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    """The reference, then the bones of each data set, whose colours are those of its reports."""
    labels = {row["domain"]: row["labels"] for row in examples}
    lines = {"reference": (REFERENCE_COLOR, _REFERENCE_WIDTH)}
    for domain, names in labels.items():
        for value, name in names.items():
            lines[name if len(labels) == 1 else f"{domain}: {name}"] = (bone_color(int(value)), _WIDTH)
    return [Line2D([], [], color=color, linewidth=width, label=name) for name, (color, width) in lines.items()]


class _Row:
    """One exam: the data that its cells share."""

    def __init__(
        self, index: int, example: Mapping[str, Any], arrays: Mapping[str, np.ndarray], methods: Sequence[str]
    ) -> None:
        self.example = example
        self.image = arrays[f"{index}/image"]
        self.reference = arrays[f"{index}/reference"]
        names = {method: f"{index}/prediction/{method}" for method in methods}
        self.predictions = {method: arrays[name] for method, name in names.items() if name in arrays}
        self.spacing = np.asarray(example["spacing_mm"], float)
        self.corner, self.side = _window([self.reference, *self.predictions.values()], self.spacing)
        first = np.maximum(np.floor(self.corner / self.spacing), 0).astype(int)
        last = np.ceil((self.corner + self.side) / self.spacing).astype(int)
        self.part = (slice(first[0], last[0]), slice(first[1], last[1]))
        self.start = first * self.spacing
        self.low, self.high = np.percentile(self.image[self.part], [0.5, 99.5])

    def draw(self, plot: Axes, method: str, *, is_first: bool) -> None:
        image = self.image[self.part]
        end = self.start + image.shape * self.spacing
        extent = (self.start[0], end[0], self.start[1], end[1])
        shown: dict[str, Any] = {"cmap": "gray", "vmin": self.low, "vmax": self.high, "interpolation": "bilinear"}
        plot.imshow(image.T, origin="lower", extent=extent, **shown)
        for value in map(int, self.example["labels"]):
            self._outline(plot, self.reference == value, REFERENCE_COLOR, _REFERENCE_WIDTH, order=2.1)
            if method in self.predictions:
                self._outline(plot, self.predictions[method] == value, bone_color(value), _WIDTH, order=2.2)
        (x, y), side = self.corner, self.side
        strip = side * _STRIP / _CELL
        # the first axis runs to the left
        plot.set(xlim=(x + side, x), ylim=(y, y + side + strip), xticks=[], yticks=[])
        plot.fill_between([x, x + side], y + side, y + side + strip, color="black", linewidth=0, zorder=3)
        plot.set_facecolor("black")
        plot.spines[:].set_visible(False)
        dice = self.example["dice"].get(method, math.nan)
        text = "not tested" if math.isnan(dice) else f"Dice {100 * dice:.1f}"
        style: dict[str, Any] = {"color": "white", "va": "center", "fontsize": 7, "zorder": 4}
        plot.text(x + 0.97 * side, y + side + strip / 2, text, ha="left", **style)
        if is_first:
            # The largest round length that leaves room for the numbers.
            length = max((mm for mm in (1, 2, 5, 10, 20, 50) if mm <= 0.22 * side), default=0.2 * side)
            end_x, line_y = x + 0.03 * side, y + side + strip / 2
            plot.plot([end_x + length, end_x], [line_y, line_y], color="white", linewidth=1.6, zorder=4)
            plot.text(end_x + length + 0.02 * side, line_y, f"{length:g} mm", ha="right", **style)
            self._letters(plot)

    def _letters(self, plot: Axes) -> None:
        """Which side of the patient is where."""
        (x, y), side = self.corner, self.side
        edge, middle = 0.06 * side, 0.5 * side
        places = [(side - edge, middle), (edge, middle), (middle, side - edge), (middle, edge)]
        letters = plane_edges(PLANES[self.example["plane"]]) if "plane" in self.example else ()
        rim = [patheffects.withStroke(linewidth=1.5, foreground=RIM_COLOR)]
        style: dict[str, Any] = {"color": "white", "fontsize": 6.5, "zorder": 4, "ha": "center", "va": "center"}
        for letter, (across, up) in zip(letters, places, strict=False):
            plot.text(x + across, y + up, letter, path_effects=rim, **style)

    def _outline(self, plot: Axes, mask: np.ndarray, color: str, width: float, *, order: float) -> None:
        for line in find_outlines(mask[self.part]):
            x, y = (self.start + line[:, ::-1] * self.spacing).T
            plot.plot(x, y, color=RIM_COLOR, linewidth=width + 2 * _RIM, zorder=2)  # all rims lie below all lines
            plot.plot(x, y, color=color, linewidth=width, zorder=order)


def _window(masks: Sequence[np.ndarray], spacing: np.ndarray) -> tuple[np.ndarray, float]:
    """Lower corner and side in mm of the square that holds all bone and a margin, inside the image where it can be."""
    occupied = np.any([mask > 0 for mask in masks], axis=0)
    size = occupied.shape * spacing
    if not occupied.any():
        occupied = np.ones_like(occupied)
    indices = np.argwhere(occupied)
    low, high = indices.min(axis=0) * spacing, (indices.max(axis=0) + 1) * spacing
    side = max(float((high - low).max()) * 1.16, 0.25 * float(size.max()))
    corner = (low + high - side) / 2
    room = size - side
    return np.where(room > 0, np.clip(corner, 0, np.maximum(room, 0)), corner), side
