"""Compare the networks of a cross-validation with their ensemble, on exams that none of them has seen."""

from __future__ import annotations

import pandas as pd

from multijoint.experiments.jobs.experiment import fold_setting
from multijoint.experiments.jobs.methods import title_of
from multijoint.experiments.rows import ENSEMBLE
from multijoint.experiments.tables.markdown import draw_grid, exam_columns, format_number
from multijoint.experiments.tables.shift_table import compare_scores

TOGETHER = "ensemble"
"""Value of `member` for all folds together."""


def compare_members(trials: pd.DataFrame) -> pd.DataFrame:
    """Scores of each network and of their ensemble, and a paired comparison of each network with the ensemble.

    Args:
        trials: rows of `trials.csv`.

    Returns:
        One row a method, data set and `member` ("fold 0", ..., `TOGETHER` last): columns as in
        `shift_table.compare_shifts`, with distances; the comparison is NaN for the ensemble and where there is none.
    """
    tables = []
    for method, rows in trials.groupby("method", sort=False):
        names = {fold: TOGETHER if fold == ENSEMBLE else f"fold {fold_setting(int(fold))}" for fold in rows["fold"]}
        labelled = rows.assign(method=rows["fold"].map(names), fold=0)
        table = compare_scores(labelled, against=TOGETHER, distances=True)
        tables.append(table.rename(columns={"method": "member"}).assign(method=method))
    table = pd.concat(tables)
    return table[
        ["method", "domain", "member", *(name for name in table if name not in ("method", "domain", "member"))]
    ]


def draw_members(comparison: pd.DataFrame) -> list[str]:
    """Markdown of `compare_members`: a heading and a table a method and data set, one member a line."""
    parts = []
    for (method, domain), rows in comparison.groupby(["method", "domain"], sort=False):
        columns = {
            "Network": rows["member"].tolist(),
            "exams": rows["num_exams"].map(str).tolist(),
            "missed": rows["missed"].map(str).tolist(),
            "Dice % ↑": [f"{mean:.2f}" for mean in rows["dice_mean_percent"]],
            "worst tenth": [f"{mean:.2f}" for mean in rows["dice_worst_tenth_percent"]],
            "ASSD mm ↓": [format_number(mean, ".2f") for mean in rows["assd_mean_mm"]],
            "MSSD mm ↓": [format_number(mean, ".2f") for mean in rows["mssd_mean_mm"]],
            **exam_columns(rows),
        }
        grid = draw_grid([list(columns), *zip(*columns.values(), strict=True)])
        parts += [f"## {title_of(str(method))}: {domain}", grid]
    return parts
