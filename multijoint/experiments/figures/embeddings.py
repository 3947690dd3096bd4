"""Figure 4: the slices of all data sets in the embedded space over the epochs, with checks of their clusters."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from custom_components.domains import COLORS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from multijoint.cluster.forks import map_forked
from multijoint.experiments.figures.embedding_checks import EmbeddingChecks, check_embeddings, choose_slices
from multijoint.experiments.figures.layout import add_axes, add_legend, order_methods, wrap_name
from multijoint.experiments.jobs.experiment import fold_setting
from multijoint.experiments.jobs.methods import title_of

# Table under the panels: heading of a group -> field -> heading of its column.
_GROUPS: Mapping[str, Mapping[str, str]] = {
    "Cosine similarity": {
        "norm_cosine_same_image": "same image,\nother norm",
        "norm_cosine_other_image": "other image,\nown norm",
    },
    "Silhouette (cosine)": {
        "silhouette": "data set,\nown norm",
        "silhouette_shuffled": "random label,\nits norm",
        "silhouette_shuffled_true": "data set,\nrandom norm",
    },
    "Linear probe of the data set": {"probe_own_norm": "own norm", "probe_one_norm": "one norm"},
}

# Inches.
_WIDTH, _MARGIN, _GAP, _LINE = 9.4, 0.12, 0.07, 0.148
_RULES, _TABLE_LINE, _NAME_WIDTH = 0.52, 0.17, 1.75  # table: height of its head, of a line, width of its first column


def check_methods(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Compute the checks of every method at its last epoch.

    Args:
        meta: `methods`, and `epochs` by method.
        arrays: for method m `{m}/domain`, `{m}/training` and for its last epoch e `{m}/{e}/embedding_by_norm` and
            `{m}/{e}/convolution_by_norm`.

    Returns:
        One row a method with `method`, `epoch`, `num_slices` and the fields of `EmbeddingChecks`.
    """
    rows = []
    for method in meta["methods"]:
        epoch = max(meta["epochs"][method])
        domain, training = arrays[f"{method}/domain"], arrays[f"{method}/training"]
        by_norm = [arrays[f"{method}/{epoch}/{name}_by_norm"] for name in ("embedding", "convolution")]
        numbers = dataclasses.asdict(check_embeddings(*by_norm, domain=domain, training=training))
        rows.append({"method": method, "epoch": epoch, "num_slices": len(choose_slices(len(domain))), **numbers})
    fields = [field.name for field in dataclasses.fields(EmbeddingChecks)]
    return pd.DataFrame(rows, columns=["method", "epoch", "num_slices", *fields])


def draw_embeddings(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], checks: pd.DataFrame) -> Figure:
    """Draw the embedding of every slice, a column an epoch, a row a method, above a table of the checks.

    It has every method of the experiment that has one network for all data sets, and so one space for their slices.

    Args:
        meta: `methods`, `domains`, `seed`, `fold`, and `epochs` by method.
        arrays: for method m `{m}/domain`, `{m}/training` of shape (N,) and `{m}/{epoch}/embedding` of shape (N, F).
        checks: from `check_methods`.

    Source:
        Fig. 4 of Boutillon et al. 2021, of U-Net DSL and the proposed method: PCA to 50, then t-SNE with perplexity 30
        and learning rate 200. Initialisation and seed are ours, and fixed.
    """
    methods = order_methods(meta["methods"])
    epochs = sorted({epoch for method in methods for epoch in meta["epochs"][method]})
    chosen = {method: choose_slices(len(arrays[f"{method}/domain"])) for method in methods}
    titles = {method: wrap_name(title_of(method), 22) for method in methods}
    left = _MARGIN + 0.14 + 0.165 * (1 + max(title.count("\n") for title in titles.values()))
    panel = min(2.6, (_WIDTH - left - _MARGIN) / len(epochs) - _GAP)
    notes = _notes(meta, arrays, chosen)
    notes_height = _LINE * (1 + notes.count("\n")) + _MARGIN + 0.1
    table_height = _RULES + sum(_TABLE_LINE * (1 + title.count("\n")) + 0.03 for title in titles.values()) + 0.08
    handles = _handles(meta["domains"])
    entry = 0.45 + 0.075 * max(len(str(handle.get_label())) for handle in handles)
    fitting = max(1, int((_WIDTH - 0.2) / entry))
    legend_columns = len(handles) if len(handles) <= fitting else min(len(handles) // 2, fitting)
    foot = 0.14 + 0.19 * math.ceil(len(handles) / legend_columns) + table_height + notes_height
    head = 0.34
    height = head + len(methods) * (panel + _GAP) + foot
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")

    panels = [(method, epoch) for method in methods for epoch in meta["epochs"][method]]
    slices = [arrays[f"{method}/{epoch}/embedding"][chosen[method]] for method, epoch in panels]
    points = dict(zip(panels, map_forked(_project, slices), strict=True))
    for row, method in enumerate(methods):
        bottom = height - head - row * (panel + _GAP) - panel
        middle = (bottom + panel / 2) / height
        figure.text((left - 0.08) / _WIDTH, middle, titles[method], rotation=90, ha="right", va="center", fontsize=9)
        for column, epoch in enumerate(epochs):
            x = left + column * (panel + _GAP)
            plot = add_axes(figure, x, bottom, panel, panel)
            plot.set(xticks=[], yticks=[])
            if row == 0:
                plot.set_title(f"epoch {epoch}", fontsize=9)
            if (method, epoch) in points:
                sides = (arrays[f"{method}/{name}"][chosen[method]] for name in ("domain", "training"))
                _scatter(plot, points[method, epoch], *sides)
            else:
                plot.text(0.5, 0.5, "not saved", ha="center", va="center", fontsize=8, transform=plot.transAxes)

    add_legend(figure, handles, top=foot - 0.02, columns=legend_columns)
    below = add_axes(figure, 0, notes_height, _WIDTH, table_height)
    _table(below, checks.set_index("method").loc[methods], titles, table_height)
    figure.text(_MARGIN / _WIDTH, _MARGIN / height, notes, ha="left", va="bottom", fontsize=8)
    return figure


def _scatter(plot: Axes, points: np.ndarray, domain: np.ndarray, training: np.ndarray) -> None:
    x, y = points.T
    colors = np.array([COLORS[index % len(COLORS)] for index in domain])
    plot.scatter(x[training], y[training], c=colors[training], s=5, linewidths=0, alpha=0.7)
    edge: dict[str, Any] = {"marker": "D", "edgecolors": "black", "linewidths": 0.6}
    plot.scatter(x[~training], y[~training], c=colors[~training], s=13, **edge)
    plot.margins(0.06)


def _project(embedding: np.ndarray) -> np.ndarray:
    """Two dimensions of each slice, shape (N, 2)."""
    number = len(embedding)
    if number < 4 or not embedding.std(axis=0).any():
        return np.zeros((number, 2))  # nothing to arrange
    reduced = PCA(min(50, *embedding.shape), svd_solver="full").fit_transform(embedding.astype(np.float64))
    tsne = TSNE(2, perplexity=_perplexity(number), learning_rate=200.0, init="pca", random_state=0)
    return tsne.fit_transform(reduced)


def _perplexity(number: int) -> int:
    """30, or a third of few slices, since it must be smaller than their number."""
    return min(30, max(1, (number - 1) // 3))


def _notes(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], chosen: Mapping[str, np.ndarray]) -> str:
    numbers = {method: (len(index), len(arrays[f"{method}/domain"])) for method, index in chosen.items()}
    shown = sorted({f"{few} slices" if few == every else f"{few} of {every} slices" for few, every in numbers.values()})
    used = sorted({_perplexity(few) for few, _ in numbers.values()})
    last = {method: arrays[f"{method}/{max(meta['epochs'][method])}/embedding"] for method in chosen}
    kept = sorted({min(50, *embedding[chosen[method]].shape) for method, embedding in last.items()})
    domains = meta["domains"]
    how = (
        f"t-SNE after PCA to {' and '.join(map(str, kept))}, perplexity {' and '.join(map(str, used))}, learning rate "
        f"200; {' and '.join(shown)}, fold {fold_setting(meta['fold'])}, seed {meta['seed']}. Table: last epoch; "
        "probe: balanced accuracy on validation."
    )
    read = (
        "How to read: clusters speak of the images, not of the norms, only if an image stays in place under another "
        "data set's norm (first cosine near 1, or above the second), if labels dealt at random separate the slices "
        "less than the true data sets do (random label well below data set), and if the data set can be told when "
        f"all slices pass the norms of {domains[0]} (one norm well above chance, {1 / len(domains):.2f})."
    )
    return "\n".join(textwrap.fill(text, int(15.8 * _WIDTH)) for text in (how, read))


def _handles(domains: Sequence[str]) -> list[Line2D]:
    handles = []
    for index, name in enumerate(domains):
        style: dict[str, Any] = {"linestyle": "none", "color": COLORS[index % len(COLORS)]}
        handles.append(Line2D([], [], marker="o", markersize=4, markeredgewidth=0, label=f"{name}, training", **style))
        edge: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.8}
        handles.append(Line2D([], [], marker="D", markersize=5, label=f"{name}, validation", **edge, **style))
    return handles


def _table(plot: Axes, checks: pd.DataFrame, titles: Mapping[str, str], height: float) -> None:
    """Print the checks in an axes that is as wide as the figure and `height` inches high."""
    plot.set(xlim=(0, _WIDTH), ylim=(height, 0))
    plot.axis("off")
    fields = {name: heading for group in _GROUPS.values() for name, heading in group.items()}
    step = (_WIDTH - _NAME_WIDTH - _MARGIN) / len(fields)
    column = {name: _NAME_WIDTH + (index + 0.5) * step for index, name in enumerate(fields)}
    for title, group in _GROUPS.items():
        places = [column[name] for name in group]
        plot.text(sum(places) / len(places), 0.02, title, ha="center", va="top", fontsize=8.5, weight="bold")
        ends = [places[0] - 0.44 * step, places[-1] + 0.44 * step]
        plot.plot(ends, [0.19, 0.19], color="black", linewidth=0.6)
    for name, heading in fields.items():
        plot.text(column[name], 0.355, heading, ha="center", va="center", fontsize=8, linespacing=1.05)
    for rule, weight in ((_RULES, 0.6), (height - 0.02, 1.0)):
        plot.plot([_MARGIN, _WIDTH - _MARGIN], [rule, rule], color="black", linewidth=weight)
    top = _RULES + 0.03
    for method, title in titles.items():
        bottom = top + _TABLE_LINE * (1 + title.count("\n")) + 0.03
        plot.text(_MARGIN, (top + bottom) / 2, title, va="center", fontsize=8.5)
        for name, x in column.items():
            number = round(checks.loc[method, name], 2) + 0.0  # no minus before zero
            text = "n/a" if np.isnan(number) else f"{number:.2f}"
            plot.text(x, (top + bottom) / 2, text, ha="center", va="center", fontsize=8.5)
        top = bottom
