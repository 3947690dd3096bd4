"""The part of a report that tells how a network was trained, with curves that a template draws as SVG.

The figures of experiments are matplotlib's. Here a page draws its curves itself: they follow its colours, also dark
ones and in print, are read out by screen readers, and need no matplotlib on a clinic's machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from multijoint.clinic.report.run import SIDES, RunRecord
from multijoint.clinic.report.tables import Cell, Table, number_cell, plain_text

_LOSSES = ("loss", "cross_entropy", "contrastive")
_DICE = "val_mean_dice"
_COUNTS = {f"{_DICE}_n": "bones", f"{_DICE}_missed": "missed", f"{_DICE}_false_finds": "false finds"}


@dataclass(frozen=True)
class Chart:
    """Curves and axes in the coordinates of an SVG, x to the right and y down, rounded to a tenth.

    Args:
        levels: y and text of each horizontal line.
        epochs: x and text of each tick.
        best: x and number of the epoch to mark.
        lines: name -> points; none if there is nothing to draw.
        num_whole: how many of the first lines are of all domains together; each other is of one.
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
    num_whole: int = 1


def describe_training(run: RunRecord) -> dict[str, Any]:
    """Curves, split, settings and versions of a run, as `training.html.j2` names them."""
    return {
        "summary": _summary(run),
        "charts": [_lay_out_curves({"loss": run.column("loss")}, title="Loss of the training"), _validation(run)],
        "numbers": _numbers(run),
        "fold": run.fold or "unknown",
        "split": _split(run),
        "settings": [(name, plain_text(value)) for name, value in run.settings.items()],
        "versions": _versions(run.record),
    }


def _summary(run: RunRecord) -> list[tuple[str, Any]]:
    best, shown = run.best_epoch, ""
    if best:
        known = {key: what for key, what in _COUNTS.items() if math.isfinite(best.get(key, math.nan))}
        counts = ", ".join(f"{what} {best[key]:g}" for key, what in known.items())
        shown = f"epoch {best['epoch']:g}: mean Dice {best[_DICE]:.3f}" + (f" ({counts})" if counts else "")
    weights = run.record.get("weights")
    return [
        ("Started", run.started),
        ("Time", _duration(run.seconds) if run.log else ""),
        ("Epochs", f"{len(run.log)} of {run.settings.get('max_epochs', 'unknown')}" if run.log else ""),
        ("Best on validation", shown),
        *((name, str(run.record.get(name.lower(), ""))) for name in ("Device", "Processes", "Seed")),
        ("Weights", f"{weights:,}" if isinstance(weights, int) else ""),
        ("Model, SHA-256", run.model_sha256[:16]),
    ]


def _validation(run: RunRecord) -> Chart:
    domains = [name for row in run.log[:1] for name in row if name.startswith(f"{_DICE}_") and name not in _COUNTS]
    curves = {"mean": run.column(_DICE)} if len(domains) != 1 else {}
    curves |= {name.removeprefix(f"{_DICE}_"): run.column(name) for name in domains}
    best = run.best_epoch.get("epoch")
    return _lay_out_curves(curves, title="Dice on the validation exams", limits=(0, 1), best=best)


def _numbers(run: RunRecord) -> Table:
    names = [name for name in (*_LOSSES, _DICE) if run.column(name)]
    rows = [
        [Cell(f"{row.get('epoch', math.nan):g}"), *(number_cell(row.get(name, math.nan), 4) for name in names)]
        for row in run.log
    ]
    return Table("Values of the curves", ["epoch", *names], rows, num_left=1)


def _split(run: RunRecord) -> Table:
    rows = []
    for domain in dict.fromkeys(str(row.get("domain", "")) for rows in run.split.values() for row in rows):
        cells = [Cell(domain)]
        for side in SIDES:
            cases = [str(row.get("case", "")) for row in run.split.get(side, ()) if row.get("domain") == domain]
            cells.append(Cell(str(len(cases)), note=", ".join(cases)))
        rows.append(cells)
    return Table("Split of the cases", ["Domain", *SIDES.values()], rows, num_left=4)


def _versions(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    data, versions = record.get("data"), record.get("versions")
    pairs = [
        (f"Data: {each.get('domain')}", f"{each.get('source')}; licence: {each.get('licence')}")
        for each in (reversed(data) if isinstance(data, list) else ())
    ]
    return [*pairs, *(versions.items() if isinstance(versions, dict) else ())]


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> _duration(3725)
        '1 h 2 min'
        >>> _duration(64.9)
        '1 min 5 s'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _lay_out_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    limits: tuple[float, float] | None = None,
    best: float | None = None,
) -> Chart:
    """Place lines, (epoch, value) pairs by name, between round numbers; None takes the limits from the values."""
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
        num_whole=len({"loss", "mean"} & curves.keys()),
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
