"""A row of the benchmark: ours, a peer measured in the same run, their ratio, and the target it is held to."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from custom_components.system.terminal import align_columns

__all__ = ["Row", "Target", "device_name", "format_rows", "interleave"]

_PACKAGES = ("torch", "monai", "numpy", "scipy", "scikit-image")


@dataclass(frozen=True)
class Target:
    """What a row must reach.

    Args:
        limit: the number.
        of: "ratio", or "ours" for an absolute figure in the row's unit.
        at_least: whether more is better.
    """

    limit: float
    of: str = "ratio"
    at_least: bool = False

    def is_met(self, row: Row) -> bool:
        """Whether the row reaches it; a number that is missing does not."""
        value = row.ratio if self.of == "ratio" else row.ours
        if value is None or math.isnan(value):
            return False
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}" if self.of == "ratio" else f"ours {sign} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        name: of the benchmark, and what of it, such as "dsbn K=2, time".
        ours: median.
        peer: median of the peer, None if there is none.
        unit: of both.
        n: repetitions of each.
        target: None for a figure that only stands beside others.
        device: what it was measured on; this machine if empty.
        packages: whose versions matter, besides the usual.
        inverse: the ratio is peer / ours: how many times faster.
    """

    name: str
    ours: float
    peer: float | None
    unit: str
    n: int
    target: Target | None = None
    device: str = ""
    packages: tuple[str, ...] = ()
    inverse: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours / peer, or the other way round; None without a peer."""
        if self.peer is None:
            return None
        above, below = (self.peer, self.ours) if self.inverse else (self.ours, self.peer)
        return above / below if below else math.nan

    @property
    def verdict(self) -> str:
        """Either "met" or "missed"; "" if there is no target."""
        return "" if self.target is None else "met" if self.target.is_met(self) else "missed"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "name": self.name,
                "ours": _rounded(self.ours),
                "peer": _rounded(self.peer),
                "ratio": _rounded(self.ratio),
                "unit": self.unit,
                "n": self.n,
                "device": self.device or device_name(),
                "versions": _versions(self.packages),
            }
        )


def interleave(*functions: Callable[[], Any], repetitions: int, warm_up: int = 1) -> list[float]:
    """Median seconds of each function, run in turns so that a machine that slows down slows down all of them.

    Args:
        functions: called without arguments.
        repetitions: counted rounds.
        warm_up: rounds before that.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(warm_up + repetitions):
        for function, own in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if number >= warm_up:
                own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in seconds]


def format_rows(rows: Sequence[Row]) -> str:
    """The table of the README."""
    cells = [("benchmark", "ours", "peer", "unit", "ratio", "target", "", "n")]
    for row in rows:
        target = "" if row.target is None else str(row.target)
        cells.append(
            (row.name, _short(row.ours), _short(row.peer), row.unit, _short(row.ratio), target, row.verdict, str(row.n))
        )
    return "\n".join(align_columns(cells, num_left=1))


def device_name() -> str:
    """The processor and how many of its cores this process may use."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*_PACKAGES, *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.4g}")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
