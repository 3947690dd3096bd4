"""The part of a report that tells how a network was trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from multijoint.clinic.report.curves import Chart, lay_out_curves
from multijoint.clinic.report.run import SIDES, RunRecord
from multijoint.clinic.report.tables import Cell, Table, number_cell

__all__ = ["describe_training"]

_LOSSES = ("loss", "cross_entropy", "contrastive")
_DICE = "val_mean_dice"
_COUNTS = {f"{_DICE}_n": "bones", f"{_DICE}_missed": "missed", f"{_DICE}_false_finds": "false finds"}


def describe_training(run: RunRecord) -> dict[str, Any]:
    """Curves, split, settings and versions of a run, as `training.html.j2` names them."""
    return {
        "summary": _summary(run),
        "charts": [lay_out_curves({"loss": run.column("loss")}, title="Loss of the training"), _validation(run)],
        "numbers": _numbers(run),
        "fold": run.fold or "unknown",
        "split": _split(run),
        "settings": [(name, _plain(value)) for name, value in run.settings.items()],
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
    return lay_out_curves(curves, title="Dice on the validation exams", limits=(0, 1), best=best)


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


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


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
