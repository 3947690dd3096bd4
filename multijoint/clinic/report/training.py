"""The part of a report that tells how a network was trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from multijoint.clinic.report.curves import draw_curves
from multijoint.clinic.report.html import escape, facts, plain_table, show_number
from multijoint.clinic.report.run import SIDES, RunRecord

__all__ = ["draw_training"]

_LOSSES = ("loss", "cross_entropy", "contrastive")
_DICE = "val_mean_dice"


def draw_training(run: RunRecord) -> str:
    """Curves, split, settings and versions of a run."""
    return (
        _summary(run)
        + f'<div class="charts">{_losses(run)}{_validation(run)}</div>'
        + _values(run)
        + f"<h3>Who was trained, validated and tested on (fold {escape(run.fold or 'unknown')})</h3>"
        + _split(run)
        + "<h3>Settings</h3>"
        + _settings(run.settings)
        + "<h3>Data and versions</h3>"
        + _versions(run.record)
    )


def _summary(run: RunRecord) -> str:
    best = run.best_epoch
    shown = ""
    if best:
        counts = ", ".join(
            f"{what} {best[key]:g}"
            for key, what in (
                (f"{_DICE}_n", "bones"),
                (f"{_DICE}_missed", "missed"),
                (f"{_DICE}_false_finds", "false finds"),
            )
            if math.isfinite(best.get(key, math.nan))
        )
        shown = f"epoch {best['epoch']:g}: mean Dice {best[_DICE]:.3f}" + (f" ({counts})" if counts else "")
    weights = run.record.get("weights")
    return facts(
        [
            ("Started", escape(run.started)),
            ("Time", _duration(run.seconds) if run.log else ""),
            ("Epochs", f"{len(run.log)} of {escape(run.settings.get('max_epochs', 'unknown'))}" if run.log else ""),
            ("Best on validation", shown),
            ("Device", escape(run.record.get("device", ""))),
            ("Processes", escape(run.record.get("processes", ""))),
            ("Seed", escape(run.record.get("seed", ""))),
            ("Weights", f"{weights:,}" if isinstance(weights, int) else ""),
            ("Model, SHA-256", escape(run.model_sha256[:16])),
        ]
    )


def _losses(run: RunRecord) -> str:
    return draw_curves({"loss": run.column("loss")}, title="Loss of the training")


def _validation(run: RunRecord) -> str:
    counts = (f"{_DICE}_n", f"{_DICE}_missed", f"{_DICE}_false_finds")
    domains = [name for row in run.log[:1] for name in row if name.startswith(f"{_DICE}_") and name not in counts]
    curves = {"mean": run.column(_DICE)} if len(domains) != 1 else {}
    curves |= {name.removeprefix(f"{_DICE}_"): run.column(name) for name in domains}
    best = run.best_epoch.get("epoch")
    return draw_curves(curves, title="Dice on the validation exams", limits=(0, 1), best=best)


def _values(run: RunRecord) -> str:
    if not run.log:
        return ""
    names = [name for name in (*_LOSSES, _DICE) if run.column(name)]
    rows = [
        [f"{row.get('epoch', math.nan):g}", *(show_number(row.get(name, math.nan), 4) for name in names)]
        for row in run.log
    ]
    table = plain_table(["epoch", *names], rows, num_left=1, label="Values of the curves")
    return f"<details><summary>The values of the curves as a table</summary>{table}</details>"


def _split(run: RunRecord) -> str:
    domains = list(dict.fromkeys(str(row.get("domain", "")) for rows in run.split.values() for row in rows))
    if not domains:
        return "<p>Not recorded.</p>"
    rows = []
    for domain in domains:
        cells = [escape(domain)]
        for side in SIDES:
            cases = [str(row.get("case", "")) for row in run.split.get(side, ()) if row.get("domain") == domain]
            cells.append(f"<b>{len(cases)}</b> {escape(', '.join(cases))}")
        rows.append(cells)
    header = ["Domain", *SIDES.values()]
    return plain_table(header, rows, num_left=4, label="Split of the cases")


def _settings(settings: Mapping[str, Any]) -> str:
    if not settings:
        return "<p>Not recorded.</p>"
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(_plain(value))}</dd></div>" for name, value in settings.items()
    )
    return f'<dl class="settings">{items}</dl>'


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _versions(record: Mapping[str, Any]) -> str:
    versions = record.get("versions")
    pairs = [(str(name), escape(value)) for name, value in versions.items()] if isinstance(versions, dict) else []
    data = record.get("data")
    for each in data if isinstance(data, list) else ():
        pairs.insert(
            0, (f"Data: {each.get('domain')}", escape(f"{each.get('source')}; licence: {each.get('licence')}"))
        )
    return facts(pairs) if pairs else "<p>Not recorded.</p>"


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
