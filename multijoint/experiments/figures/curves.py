"""Curves of the training over its epochs, and of the scores over the number of training subjects."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from multijoint.experiments.figures.layout import (
    LINE_COLORS,
    add_axes,
    add_legend,
    format_logarithmic,
    order_methods,
    style_axes,
    wrap_name,
)
from multijoint.experiments.jobs.methods import known_methods, title_of
from multijoint.experiments.rows import ALL_SUBJECTS, exam_scores, main_rows

# Lines and markers of the paper's seven methods in its order; each alone distinguishes them, and so do the colours.
_LINES = [(0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (2, 1)), (0, (1, 1)), (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)), "-"]
_MARKERS = ["o", "s", "^", "D", "v", "P", "X"]

_PANEL_WIDTH, _PANEL_HEIGHT, _LEFT, _BELOW = 2.55, 1.95, 0.52, 0.45  # inches; room for the labels of the axes

_TERMS = {"loss": "loss", "cross_entropy": "cross-entropy", "contrastive": "contrastive term"}
_RUN = ["method", "seed", "fold"]


def draw_learning_curves(curves: pd.DataFrame) -> Figure | None:
    """Draw each term of the training loss and the validation Dice of each data set over the epochs.

    A line is the mean of a method's runs (folds and seeds), its band one standard deviation to each side. For a method
    with one network a data set, a run's loss is the mean over its networks. Of the rows of `curves.csv`, only those of
    jobs that trained on all subjects are drawn; None if there are none.
    """
    table = main_rows(curves).dropna(subset=["epoch", "value"])
    alone = ~table["domains"].str.contains("+", regex=False)
    table = table.assign(domain=table["domain"].where(~alone | (table["domain"] != ""), table["domains"]))
    panels = {heading: table[table["quantity"] == term] for term, heading in _TERMS.items()}
    dice = table[(table["quantity"] == "validation_dice") & (table["domain"] != "")]
    for domain, rows in dice.groupby("domain", sort=False):
        panels[wrap_name(f"validation Dice (%), {domain}", 32)] = rows.assign(value=100 * rows["value"])
    panels = {heading: rows for heading, rows in panels.items() if len(rows)}
    if not panels:
        return None

    methods = order_methods(table["method"])
    counts = table.drop_duplicates(_RUN).groupby("method").size()
    caption = f"Lines: mean of {_range(counts)} (folds and seeds) a method; bands: one sd."
    if counts.max() == 1:
        caption = "Lines: 1 run a method."
    figure, plots = _panels(list(panels), methods, caption)
    for plot, (heading, rows) in zip(plots, panels.items(), strict=True):
        runs = rows.groupby([*_RUN, "epoch"], as_index=False)["value"].mean()
        for method in methods:
            epochs = runs[runs["method"] == method].groupby("epoch")["value"].agg(["mean", "std"])
            if len(epochs):
                x, mean, sd = (column.to_numpy(float) for column in (epochs.index, epochs["mean"], epochs["std"]))
                sd = np.nan_to_num(sd)
                style = _style(method, methods)
                plot.plot(x, mean, color=style["color"], linestyle=style["linestyle"], linewidth=1.5)
                low = np.maximum(mean - sd, mean / 10) if heading in ("loss", "cross-entropy") else mean - sd
                plot.fill_between(x, low, mean + sd, color=style["color"], alpha=0.13, linewidth=0)
        plot.set_xlabel("epoch", fontsize=9)
        plot.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
        if heading in ("loss", "cross-entropy") and (rows["value"] > 0).all():
            plot.set_yscale("log")
            format_logarithmic(plot.yaxis)
    return figure


def draw_few_subjects(cases: pd.DataFrame) -> Figure | None:
    """Draw the Dice of a test exam against the number of training subjects of its data set.

    A faint point is a run (fold and seed): the mean over its test exams of the data set, each the mean over its bones
    after post-processing. Large markers are means over runs, bars one standard deviation to each side. The numbers are
    spaced evenly; "all" stands for all subjects outside the tested fold. None if no row of `cases.csv` is of a job that
    trained on a number of subjects.
    """
    scores = exam_scores(cases)
    limited = scores[scores["train_subjects"] != ALL_SUBJECTS]
    if limited.empty:
        return None
    methods = order_methods(limited["method"])
    scores = scores[scores["method"].isin(methods)].dropna(subset=["dice"])
    runs = scores.groupby([*_RUN, "domain", "train_subjects"], as_index=False, sort=False)["dice"].mean()
    domains = list(dict.fromkeys(limited["domain"]))
    counts = runs.groupby(["domain", "method", "train_subjects"]).size()
    headings = [f"{wrap_name(domain, 30)}\nn = {_range(counts[domain])} a point" for domain in domains]
    caption = "Faint: runs (fold, seed); markers: means; bars: one sd. Subjects are spaced evenly."
    figure, plots = _panels(headings, methods, caption, with_markers=True)
    for plot, domain in zip(plots, domains, strict=True):
        rows = runs[runs["domain"] == domain]
        numbers = sorted(set(rows["train_subjects"]) - {ALL_SUBJECTS}, key=float)
        ticks = [*numbers, *([ALL_SUBJECTS] if ALL_SUBJECTS in set(rows["train_subjects"]) else [])]
        for index, method in enumerate(methods):
            dodge = (index - (len(methods) - 1) / 2) * min(0.09, 0.5 / len(methods))
            style = _style(method, methods)
            own = rows[rows["method"] == method]
            points = []
            for x, tick in enumerate(ticks):
                values = 100 * own["dice"][own["train_subjects"] == tick].to_numpy()
                if len(values):
                    plot.scatter(
                        np.full(len(values), x + dodge), values, color=style["color"], s=9, alpha=0.35, linewidths=0
                    )
                    points.append((x + dodge, values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0))
            if points:
                x_values, means, sds = np.array(points).T
                style |= {"markersize": 5, "linewidth": 1.4, "elinewidth": 0.9, "capsize": 2}
                plot.errorbar(x_values, means, yerr=sds, **style)
        plot.set_xlabel("training subjects of this data set", fontsize=9)
        plot.set_xticks(range(len(ticks)), ticks)
        plot.set_xlim(-0.5, len(ticks) - 0.5)
    plots[0].set_ylabel("Dice of a test exam (%)", fontsize=9)
    return figure


def _style(method: str, methods: list[str]) -> dict[str, Any]:
    """A fixed style for a method of the paper; other methods take the free colours, then all colours again."""
    known = list(known_methods())[: len(LINE_COLORS)]
    color = line = known.index(method) if method in known else -1
    if method not in known:
        used = [known.index(name) for name in methods if name in known]
        free = [index for index in range(len(LINE_COLORS)) if index not in used]
        place = [name for name in methods if name not in known].index(method)
        color = (free + used)[place % len(LINE_COLORS)]
        # A colour that is taken gets another line and marker.
        line = color if place < len(free) else (color + 1 + place // len(LINE_COLORS)) % len(LINE_COLORS)
    return {"color": LINE_COLORS[color], "linestyle": _LINES[line], "marker": _MARKERS[line]}


def _panels(
    headings: list[str], methods: list[str], caption: str, *, with_markers: bool = False
) -> tuple[Figure, list[Axes]]:
    """Panels in rows of at most three above one legend and a caption."""
    columns = min(len(headings), 3)
    rows = math.ceil(len(headings) / columns)
    titles = [title_of(method) for method in methods]
    width = 0.3 + (_PANEL_WIDTH + _LEFT) * columns
    legend_columns = max(1, min(len(titles), int((width - 0.3) / (0.75 + 0.075 * max(map(len, titles))))))
    legend_rows = math.ceil(len(titles) / legend_columns)
    caption = textwrap.fill(caption, int(15 * width) - 3)
    foot = 0.24 + 0.19 * legend_rows + 0.148 * (1 + caption.count("\n"))
    by_row = [headings[row * columns : (row + 1) * columns] for row in range(rows)]
    heads = [0.34 + 0.17 * max(heading.count("\n") for heading in row) for row in by_row]
    height = sum(heads) + rows * (_PANEL_HEIGHT + _BELOW) + foot
    figure = Figure(figsize=(width, height), facecolor="white")
    plots = []
    for index, heading in enumerate(headings):
        row, column = divmod(index, columns)
        x = _LEFT + 0.1 + column * (_PANEL_WIDTH + _LEFT)
        y = height - sum(heads[: row + 1]) - row * (_PANEL_HEIGHT + _BELOW) - _PANEL_HEIGHT
        plot = add_axes(figure, x, y, _PANEL_WIDTH, _PANEL_HEIGHT)
        plot.set_title(heading, fontsize=10)
        style_axes(plot, grid="y")
        plot.tick_params(labelsize=8)
        plots.append(plot)
    handles = []
    for method, title in zip(methods, titles, strict=True):
        style = _style(method, methods)
        style["marker"] = style["marker"] if with_markers else ""
        handles.append(Line2D([], [], linewidth=1.5, markersize=5, label=title, **style))
    add_legend(figure, handles, top=foot - 0.03, columns=legend_columns, handlelength=3.2)
    figure.text(0.5, 0.08 / height, caption, ha="center", va="bottom", fontsize=8)
    return figure, plots


def _range(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    text = str(low) if low == high else f"{low} to {high}"
    return f"{text} {'run' if high == 1 else 'runs'}"
