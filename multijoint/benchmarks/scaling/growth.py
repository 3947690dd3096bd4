"""Growth of a cost with a size: cost = constant + factor * size ** exponent, fitted to measurements and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from custom_components.system.files import write_csv
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import nnls

from multijoint.experiments.figures.layout import format_logarithmic, save_figure, style_axes

_EXPONENTS = np.arange(5, 301) / 100
_NOISE = 0.05  # relative difference of two measurements of the same
_COLUMNS = ("axis", "cost", "unit", "repetitions", "size", "value")
# Colours by Okabe and Ito, distinct for colour-blind readers too
_STYLES = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^")]
_ROWS = {"s": "time (s)", "MiB": "memory (MiB)"}


@dataclass(frozen=True)
class Curve:
    """Costs `values` in `unit`, one a size, of the least disturbed of some repetitions.

    `axis` is the number that grows, such as "volumes", `cost` the work that is measured, such as "segment".
    """

    axis: str
    cost: str
    unit: str
    repetitions: int
    sizes: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def slope(self) -> float:
        """Average cost of one more, over all sizes."""
        return (self.values[-1] - self.values[0]) / (self.sizes[-1] - self.sizes[0])


@dataclass(frozen=True)
class Growth:
    """A fitted law: a constant part and a factor, neither negative, and an exponent (1 is linear, 0 no growth)."""

    constant: float
    factor: float
    exponent: float

    def at(self, size: float | np.ndarray) -> np.ndarray:
        """Cost of a size."""
        return self.constant + self.factor * np.asarray(size, float) ** self.exponent


def fit_growth(sizes: Sequence[float], values: Sequence[float]) -> Growth:
    """Fit by least squares of relative errors, so that small sizes, which show the constant, count as much as large.

    The constant is part of the fit and cannot hide a steep part: neither it nor the factor may be negative, so 5 s to
    start and 1 ms * n**2 give an exponent of 2, where the slope in a log-log plot would be smaller. The law is constant
    if a constant comes within 5 % of every point, or if the largest size costs no more than the smallest; else linear
    instead of steeper if a straight line comes within 5 % of every point.

    Raises:
        ValueError: fewer than three sizes, which must ascend, or numbers that are not positive.

    Example:
        >>> growth = fit_growth([10, 100, 1000], [5.1, 6.0, 15.0])
        >>> f"{growth.constant:.2f} + {growth.factor:.3f} n ** {growth.exponent:.2f}"
        '5.00 + 0.010 n ** 1.00'
    """
    n, y = np.asarray(sizes, float), np.asarray(values, float)
    if len(n) < 3 or n.shape != y.shape or not (min(n.min(), y.min()) > 0 and (np.diff(n) > 0).all()):
        raise ValueError(f"growth must be fitted to 3 or more ascending sizes and positive costs, got {n} and {y}")
    constant = Growth(float((1 / y).sum() / (1 / y**2).sum()), 0.0, 0.0)
    if np.abs(constant.at(n) / y - 1).max() <= _NOISE or y[-1] <= y[0]:
        return constant
    best = min(
        (_fit(n, y, exponent) for exponent in _EXPONENTS), key=lambda law: float(((law.at(n) / y - 1) ** 2).sum())
    )
    line = _fit(n, y, 1.0)
    return line if best.exponent > 1 and np.abs(line.at(n) / y - 1).max() <= _NOISE else best


def write_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Write a CSV table with one row a point."""
    rows = [
        dict(zip(_COLUMNS, (each.axis, each.cost, each.unit, each.repetitions, *point), strict=True))
        for each in curves
        for point in zip(each.sizes, each.values, strict=True)
    ]
    write_csv(path, _COLUMNS, rows)


def read_curves(path: Path) -> list[Curve]:
    """Read the table of `write_curves`."""
    groups = pd.read_csv(path, dtype={"value": str}).groupby(list(_COLUMNS[:4]), sort=False)
    return [
        Curve(axis, cost, unit, repetitions, tuple(points["size"]), tuple(map(float, points["value"])))
        for (axis, cost, unit, repetitions), points in groups
    ]


def _fit(n: np.ndarray, y: np.ndarray, exponent: float) -> Growth:
    parts = np.stack([np.ones_like(n), (n / n[-1]) ** exponent], axis=1)
    constant, last = nnls(parts / y[:, None], np.ones_like(y))[0]
    return Growth(float(constant), float(last / n[-1] ** exponent), float(exponent))


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
