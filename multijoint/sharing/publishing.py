"""Make the folder of a shipped model from the runs of a cross-validation: weights, scores, the card's table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError
from custom_components.metrics.score_summaries import write_summary_csv
from custom_components.metrics.score_tables import ALL_BONES
from custom_components.models.digests import write_with_digest
from custom_components.system.files import read_csv, write_atomically

from multijoint.sharing.packaging.model_card import as_number, as_percent, read_scores
from multijoint.sharing.shipped_models import SCORES

_TABLE = re.compile(r"(<!-- scores -->\n).*?(<!-- end of scores -->)", re.DOTALL)
_NUMBERS = ("dice", "assd_mm", "mssd_mm", "dice_as_one")


def publish(runs: Sequence[str | Path], *, folder: str | Path) -> None:
    """Fill a shipped model's folder, which has its card and licence, from evaluated runs.

    Args:
        runs: a run a fold, each with its `evaluation`; the weights are those of the first.
        folder: of the model; gets `model.pt` with its digest, `summary.csv` of the first run, `scores.csv` of all
            runs together, and the table between two comments of its card.

    Raises:
        InputError: a run has no evaluation, two runs score the same scan, or the card has no place for the table.
    """
    paths, target = [Path(run) for run in runs], Path(folder)
    rows = [row for path in paths for row in _scored(path)]
    card = target / "README.md"
    text = card.read_text(encoding="utf-8")
    if len(_TABLE.findall(text)) != 1:
        raise InputError(f"card {card.name} must have <!-- scores --> and <!-- end of scores --> once; put them in")
    write_summary_csv(target / SCORES, rows, border=rows[0]["border"])
    write_atomically(target / "summary.csv", (paths[0] / "evaluation" / "summary.csv").read_bytes())
    write_with_digest(target / "model.pt", (paths[0] / "model.pt").read_bytes())
    write_atomically(card, _TABLE.sub(rf"\g<1>{score_table(target)}\g<2>", text).encode())


def score_table(folder: str | Path) -> str:
    """The Markdown table of a shipped model's scores, of these weights and of the cross-validation."""
    own, folds = read_scores(Path(folder)), read_csv(Path(folder) / SCORES)
    lines = [
        "| domain | bone | these weights: n | Dice % | ASSD mm | cross-validation: n | Dice % (sd) | ASSD mm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one, all_folds in zip(own, folds, strict=True):
        bold = "**" if one["label"] == ALL_BONES else ""
        cells = [one["domain"], f"{bold}{one['label']}{bold}"]
        cells += [one["n"], as_percent(one["dice_mean"]), as_number(one["assd_mean_mm"])]
        cells += [all_folds["n"], f"{as_percent(all_folds['dice_mean'])} ({as_percent(all_folds['dice_sd'])})"]
        cells += [as_number(all_folds["assd_mean_mm"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _scored(run: Path) -> list[dict[str, Any]]:
    """Rows of a run's `metrics.csv` with numbers as numbers."""
    path = run / "evaluation" / "metrics.csv"
    if not path.is_file():
        raise InputError(f"run {run} must be evaluated, got no {path.name}; run multijoint evaluate first")
    return [
        {**row, **{name: float(row[name]) for name in _NUMBERS}, "connectivity": int(row["connectivity"])}
        for row in read_csv(path)
    ]
