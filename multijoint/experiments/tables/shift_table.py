"""Compare methods on shifted copies of the tested exams: data of another kind than a training's."""

from __future__ import annotations

import pandas as pd

from multijoint.experiments.jobs.methods import title_of
from multijoint.experiments.jobs.shifts import SHIFTS
from multijoint.experiments.tables.comparisons import ALL_DOMAINS, compare_exams
from multijoint.experiments.tables.markdown import draw_grid, exam_columns, name_columns
from multijoint.experiments.tables.summaries import summarise_exams

AS_SCANNED = "as scanned"
"""Value of `shift` for the exams themselves."""

ALL_SHIFTS = "all shifts"
"""Value of `shift` for all copies together, each an exam by itself."""


def compare_shifts(cases: pd.DataFrame, shifted: pd.DataFrame, *, against: str) -> pd.DataFrame:
    """Scores of each method on the shifted copies of exams, and a paired comparison with one method.

    A bone that a shift moved out of the field of view is in neither map and not counted. Exams whose copies were not
    evaluated are left out of `AS_SCANNED` too.

    Args:
        cases: rows of `cases.csv`, from `read_main_rows`.
        shifted: rows of `shifted.csv`, likewise.
        against: method that the others are compared with.

    Returns:
        One row a data set, shift (`AS_SCANNED` first, then `SHIFTS`, `ALL_SHIFTS` last) and method: `num_exams`,
        `num_seeds`, `num_bones`, Dice, level errors and Dice of all bones as one as in `summarise_exams`, after
        post-processing; and the comparison of exam Dice of `compare_exams`, NaN for `against`.
    """
    exam = ["method", "domain", "case", "seed"]
    scanned = cases.merge(shifted[exam].drop_duplicates(), on=exam)
    parts = {AS_SCANNED: scanned} | {how: shifted[shifted["shift"] == how] for how in SHIFTS}
    parts[ALL_SHIFTS] = shifted.assign(case=shifted["case"] + "_" + shifted["shift"])
    tables = [compare_scores(rows, against=against).assign(shift=shift) for shift, rows in parts.items() if len(rows)]
    table = pd.concat(tables)
    table["domain"] = pd.Categorical(table["domain"], shifted["domain"].unique())
    table = table.sort_values("domain", kind="stable").reset_index(drop=True)
    return table[["domain", "shift", *(name for name in table if name not in ("domain", "shift"))]]


def draw_shifts(comparison: pd.DataFrame) -> list[str]:
    """Markdown of `compare_shifts`: a heading and a table a data set, one shift and method a line."""
    parts = []
    for domain, rows in comparison.groupby("domain", sort=False, observed=True):
        rows = rows.reset_index(drop=True)
        columns = {
            "Shift": rows["shift"].where(rows["shift"] != rows["shift"].shift(), "").tolist(),
            "Method": rows["method"].map(title_of).tolist(),
            "exams": rows["num_exams"].map(str).tolist(),
            "Dice % ↑": [f"{mean:.1f}" for mean in rows["dice_mean_percent"]],
            **{header: list(cells.values()) for header, cells in name_columns(rows).items()},
            **exam_columns(rows),
        }
        parts += [f"## {domain}", draw_grid([list(columns), *zip(*columns.values(), strict=True)], num_text_columns=2)]
    return parts


def compare_scores(rows: pd.DataFrame, *, against: str, distances: bool = False) -> pd.DataFrame:
    """Scores a data set and method after post-processing, and a paired comparison of exam Dice with one method.

    The rows are as for `summarise_exams`; with `distances` the means of ASSD and MSSD and the missed bones are there
    too.
    """
    scores = summarise_exams(rows)
    scores = scores[scores["stage"] == "after"]
    compared = compare_exams(rows, against=against)
    compared = compared[compared["domain"] != ALL_DOMAINS]
    names = ["num_exams", "num_seeds", "num_bones", "dice_mean_percent", "dice_sd_percent", "dice_median_percent"]
    names += ["dice_worst_tenth_percent", "level_errors", "level_errors_percent", "dice_as_one_mean_percent"]
    names += ["missed", "assd_mean_mm", "mssd_mean_mm"] if distances else []
    differences = ["mean_difference", "ci_low", "ci_high", "wilcoxon_p", "holm_p", "seed_sd", "seed_spread"]
    table = scores[["domain", "method", *names]].merge(
        compared[["domain", "method", "num_subjects", *differences]], how="left", on=["domain", "method"]
    )
    table["num_subjects"] = table["num_subjects"].astype("Int64")
    return table.assign(seed_spread=table["seed_spread"].fillna(""))
