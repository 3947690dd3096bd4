"""The figure of `scale`: how each cost grows with each size, on logarithmic axes, with the fitted law."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from multijoint.benchmarks.scaling.growth import Curve, fit_growth
from multijoint.experiments.figures.layout import format_logarithmic, save_figure, style_axes

__all__ = ["draw_curves"]

# Colours by Okabe and Ito, distinct for colour-blind readers too
_STYLES = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^")]
_ROWS = {"s": "time (s)", "MiB": "memory (MiB)"}


def draw_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Draw a column of two panels for each axis, time above memory, as PNG.

    Points are measurements, lines the fitted `growth.Growth`; the legend has the power of n and the cost of one more.
    The grey line is linear growth from zero, which a linear cost with a constant part approaches from above.
    """
    axes = list(dict.fromkeys(each.axis for each in curves))
    with style.context(["default", {"savefig.facecolor": "white", "font.size": 8}]):
        figure = Figure(figsize=(2.6 * len(axes), 4.6), layout="constrained")
        plots = figure.subplots(len(_ROWS), len(axes), squeeze=False, sharex="col")
        for row, (unit, heading) in enumerate(_ROWS.items()):
            for column, axis in enumerate(axes):
                _draw(plots[row, column], [each for each in curves if (each.axis, each.unit) == (axis, unit)])
            plots[row, 0].set_ylabel(heading)
        for column, axis in enumerate(axes):
            plots[0, column].set_title(f"more {axis}", fontsize=9)
            plots[-1, column].set_xlabel(f"number of {axis}")
        save_figure(path, figure)


def _draw(plot: Axes, curves: Sequence[Curve]) -> None:
    for curve, (color, marker) in zip(curves, _STYLES, strict=False):
        growth = fit_growth(curve.sizes, curve.values)
        line = np.geomspace(curve.sizes[0], curve.sizes[-1], 50)
        plot.plot(line, growth.at(line), color=color, linewidth=1.2)
        law = "constant"
        if growth.exponent:
            law = f"$n^{{{growth.exponent:.2f}}}$, {_amount(curve.slope, curve.unit)} each"
            if curve is curves[0]:
                sizes = np.asarray(curve.sizes, float)
                linear = curve.values[-1] * sizes / sizes[-1]
                plot.plot(sizes, linear, color="0.6", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        plot.plot(curve.sizes, curve.values, marker, color=color, markersize=4.5, label=f"{curve.cost}: {law}")
    plot.set_xscale("log")
    plot.set_yscale("log")
    low, high = min(min(each.values) for each in curves) / 1.6, max(max(each.values) for each in curves) * 1.6
    high = max(high, low * 12)
    plot.set_ylim(low, high * (high / low) ** (0.13 * len(curves)))  # room for the legend
    format_logarithmic(plot.xaxis)
    format_logarithmic(plot.yaxis, (1,) if high > 100 * low else (1, 2, 5))
    plot.set_xticks(curves[0].sizes, [f"{size:,}" for size in curves[0].sizes])
    plot.tick_params(which="minor", bottom=False)
    style_axes(plot, grid="both")
    legend = plot.legend(loc="upper left", frameon=False, fontsize=7, handletextpad=0.2, borderaxespad=0.1)
    legend.set_in_layout(False)


def _amount(value: float, unit: str) -> str:
    """A slope with two digits, in a readable unit."""
    if unit == "s":
        factor, unit = (1, "s") if value >= 1 else (1e3, "ms") if value >= 1e-3 else (1e6, "us")
        value *= factor
    return f"{float(f'{value:.2g}'):g} {unit}"
