"""The layout of curves over epochs, which a template draws as SVG.

The figures of experiments are matplotlib's. Here a page draws its curves itself: they follow its colours, also dark
ones and in print, are read out by screen readers, and need no matplotlib on a clinic's machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

__all__ = ["Chart", "lay_out_curves"]

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Curves and axes in the coordinates of an SVG, x to the right and y down, rounded to a tenth.

    Args:
        title: of the chart.
        first, last: epochs.
        levels: y and text of each horizontal line.
        epochs: x and text of each tick.
        best: x and number of the epoch to mark.
        lines: name -> points; none if there is nothing to draw.
        mark_every: one of so many points has a mark.
    """

    width: ClassVar[int] = 480
    height: ClassVar[int] = 250
    left: ClassVar[int] = 52
    right: ClassVar[int] = 468
    top: ClassVar[int] = 12
    bottom: ClassVar[int] = 210

    title: str
    first: str = ""
    last: str = ""
    levels: list[tuple[float, str]] = field(default_factory=list)
    epochs: list[tuple[float, str]] = field(default_factory=list)
    best: tuple[float, str] | None = None
    lines: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)
    mark_every: int = 1


def lay_out_curves(
    curves: Mapping[str, Points], *, title: str, limits: tuple[float, float] | None = None, best: float | None = None
) -> Chart:
    """Place lines over epochs between round numbers.

    Args:
        curves: name -> (epoch, value) pairs.
        title: of the chart, also read out by screen readers.
        limits: of the values; those found, if None.
        best: an epoch to mark.
    """
    curves = {name: points for name, points in curves.items() if points}
    every = [point for points in curves.values() for point in points]
    if not every:
        return Chart(title)
    first, last = min(1.0, *(x for x, _ in every)), max(x for x, _ in every)
    low, high = limits or (min(y for _, y in every), max(y for _, y in every))
    levels = _ticks(low, high)
    low, high = min(low, levels[0]), max(high, levels[-1])
    digits = max(0, -math.floor(math.log10(levels[1] - levels[0])))

    def across(epoch: float) -> float:
        return round(Chart.left + (epoch - first) / ((last - first) or 1) * (Chart.right - Chart.left), 1)

    def down(value: float) -> float:
        return round(Chart.bottom - (value - low) / ((high - low) or 1) * (Chart.bottom - Chart.top), 1)

    return Chart(
        title,
        first=f"{first:g}",
        last=f"{last:g}",
        levels=[(down(level), f"{level:.{digits}f}") for level in levels],
        epochs=[(across(tick), f"{tick:g}") for tick in _ticks(first, last, whole=True) if first <= tick <= last],
        best=None if best is None else (across(best), f"{best:g}"),
        lines={name: [(across(x), down(y)) for x, y in points] for name, points in curves.items()},
        mark_every=max(1, max(map(len, curves.values())) // 20),
    )


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Up to seven round numbers that cover a range, two at least.

    Example:
        >>> _ticks(0.12, 0.49)
        [0.1, 0.2, 0.3, 0.4, 0.5]
        >>> _ticks(1, 16, whole=True)
        [0, 5, 10, 15, 20]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= 5)
    step = max(1, round(step)) if whole else step
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(start, max(stop, start + 1) + 1)]
