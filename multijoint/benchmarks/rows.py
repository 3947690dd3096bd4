"""Rows of the benchmark: our figure, a peer's from the same run, their ratio, and the target."""

from __future__ import annotations

import contextlib
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

_PACKAGES = ("torch", "monai", "numpy", "scipy", "scikit-image")


@dataclass(frozen=True)
class Target:
    """The limit of a row's "ratio", or of "ours", an absolute figure in the row's unit; `at_least` if more counts."""

    limit: float
    of: str = "ratio"
    at_least: bool = False

    def is_met(self, row: Row) -> bool:
        """Whether the row reaches the limit; a missing number does not."""
        value = row.ratio if self.of == "ratio" else row.ours
        if value is None:
            return False
        return value >= self.limit if self.at_least else value <= self.limit  # NaN is neither

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.limit:g}" if self.of == "ratio" else f"ours {sign} {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        name: benchmark and quantity, such as "dsbn K=2, time".
        ours: our median; NaN where the name says why nothing was measured.
        peer: the peer's median; None without a peer.
        unit: unit of both.
        n: repetitions of each.
        target: limit of the figure; None for a figure that only informs.
        device: device of the measurement; this machine if empty.
        packages: packages whose versions matter, in addition to the usual ones.
        inverse: whether the ratio is peer / ours, a speed-up.
        failed: whether the benchmark came to no figure, for the reason in its name.
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
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        """Ours / peer, or peer / ours if `inverse`; None without a peer."""
        if self.peer is None:
            return None
        above, below = (self.peer, self.ours) if self.inverse else (self.ours, self.peer)
        return above / below if below else math.nan

    @property
    def verdict(self) -> str:
        """Either "met" or "missed", or "failed"; "" without a target."""
        if self.failed:
            return "failed"
        return "" if self.target is None else "met" if self.target.is_met(self) else "missed"

    def to_json(self) -> str:
        """One line of JSON."""
        content: dict[str, Any] = {"name": self.name}
        for key, value in {"ours": self.ours, "peer": self.peer, "ratio": self.ratio}.items():
            content[key] = None if value is None or math.isnan(value) else float(f"{value:.4g}")
        content |= {"unit": self.unit, "n": self.n, "device": self.device or device_name()}
        versions = {"python": platform.python_version()}
        for name in (*_PACKAGES, *self.packages):
            with contextlib.suppress(PackageNotFoundError):
                versions[name] = version(name)
        return json.dumps(content | {"versions": versions})


def interleave(*functions: Callable[[], Any], repetitions: int, warm_up: int = 1) -> list[float]:
    """Median seconds of each function, run in turns so that a machine that slows down slows all of them.

    Each runs `repetitions` times, after `warm_up` rounds that do not count.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(warm_up + repetitions):
        for function, own in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            if number >= warm_up:
                own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in seconds]


def format_rows(rows: Sequence[Row], *, quick: bool = False) -> str:
    """The table of the pages; of a quick run, below a line that says so."""
    cells = [("benchmark", "ours", "peer", "unit", "ratio", "target", "", "n")]
    for row in rows:
        numbers = (row.ours, row.peer, row.ratio)
        ours, peer, ratio = ("-" if each is None or math.isnan(each) else f"{each:.3g}" for each in numbers)
        cells.append((row.name, ours, peer, row.unit, ratio, str(row.target or ""), row.verdict, str(row.n)))
    first = ["Quick run: each figure measured once, on small inputs, without targets."] * quick
    return "\n".join([*first, *align_columns(cells, num_left=1)])


def device_name() -> str:
    """The processor and how many of its cores this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    model = names[0] if names else platform.processor() or platform.machine()
    return f"{model}, {len(os.sched_getaffinity(0))} cores"
