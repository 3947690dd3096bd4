"""Growth of a cost with a size: cost = constant + factor * size ** exponent, fitted to measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from custom_components.system.files import write_csv
from scipy.optimize import nnls

__all__ = ["Curve", "Growth", "fit_growth", "read_curves", "write_curves"]

_EXPONENTS = np.arange(5, 301) / 100
_NOISE = 0.05  # relative difference of two measurements of the same
_COLUMNS = ("axis", "cost", "unit", "repetitions", "size", "value")


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
