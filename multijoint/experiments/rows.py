"""Read and write the saved rows of an experiment.

Tables and figures are drawn from these files alone, so that they can be drawn again, and checked, without the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from custom_components.errors import InputError
from custom_components.system.files import neutralise, restore, write_atomically

if TYPE_CHECKING:  # pandas is of the extra `experiments`; planning needs only the names below
    import pandas as pd

ALL_SUBJECTS = "all"
"""Value of `train_subjects` of a job that trained on every subject its fold leaves."""

LEAST_TYPICAL = -1
"""Value of `fold` of a job that tests the least typical subjects, see `data.typicality`; other folds count from 0."""

ENSEMBLE = -2
"""Value of `fold` of a trial of all folds together, see `jobs.trials`."""

_JOB = {"method": str, "seed": int, "fold": int, "train_subjects": str}
_CASE = {**_JOB, "domain": str, "case": str, "subject": str, "label": str}
_NAMING = {"taken_for": str, "dice_as_one": float, "taken_for_before": str, "dice_as_one_before": float}
_SCORES = {
    **{"dice": float, "assd_mm": float, "mssd_mm": float, "status": str},
    **{"dice_before": float, "assd_mm_before": float, "mssd_mm_before": float, "status_before": str},
    **_NAMING,
}

COLUMNS: Mapping[str, Mapping[str, type]] = {
    "cases": {**_CASE, **_SCORES},
    "shifted": {**_CASE, "shift": str, **_SCORES},
    "trials": {**_CASE, **_SCORES},
    "slices": {**_CASE, "slice": int, "dice": float, "prediction_area": int, "reference_area": int},
    "jobs": {
        **_JOB,
        **{"domains": str, "state": str, "cause": str, "device": str, "threads": int, "epochs": int, "steps": int},
        **{"train_seconds": float, "evaluate_seconds": float, "slices_per_second": float, "peak_memory_mib": float},
        **{"parameters": int, "parameters_per_domain": int, "best_epoch": int, "validation_dice": float},
        "border": str,
    },
    "curves": {**_JOB, "domains": str, "epoch": int, "quantity": str, "domain": str, "value": float},
}
"""File name without `.csv` -> its columns and their types.

- `cases`: one row a bone of a tested case. `dice` (0..1), `assd_mm`, `mssd_mm` and `status` as in `metrics.BoneScore`,
  on the scan's own grid after post-processing; `..._before` without it. `taken_for` is the other bone as which it was
  predicted, `dice_as_one` the Dice of all bones of the exam as one, as in `metrics.score_tables.NAMING`; rows of
  earlier versions have neither.
- `shifted`: the same for shifted copies of the tested cases, see `jobs.shifts`; only after `experiment --shift`.
- `trials`: the same for exams of further data sets, see `jobs.trials`; only after `experiment --test-manifests`.
- `slices`: one row a bone and slice of a tested case, after post-processing. `dice` is NaN where both areas (in pixels)
  are 0.
- `jobs`: one row a job; `domains` are joined by "+"; `border` is the surface convention of its distances.
- `curves`: one row an epoch and quantity ("loss", "cross_entropy", "contrastive", "validation_dice"); `domain` is empty
  for a quantity of all domains.

`fold` is `LEAST_TYPICAL` for the people unlike the others, `ENSEMBLE` for the networks of all folds together.
`train_subjects` is "all", or the number of training subjects of the row's own domain.
"""


def read_rows(folder: str | Path, name: str) -> pd.DataFrame:
    """Read `<folder>/<name>.csv` of an experiment, `name` a key of `COLUMNS`.

    The table has those columns in the order of the file, integers nullable; undefined numbers are NaN. Columns that
    files of earlier versions lack are empty or NaN.

    Raises:
        InputError: the file is missing or lacks a column, or a value has the wrong type.
    """
    import pandas as pd

    path = Path(folder) / f"{name}.csv"
    if not path.is_file():
        raise InputError(f"experiment {folder} must hold {path.name}, got none; run `multijoint experiment` first")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a CSV table, got {error}; run `multijoint experiment` again") from error
    for column in (column for column in COLUMNS[name] if column in _NAMING and column not in table):
        table[column] = ""
    missing = [column for column in COLUMNS[name] if column not in table]
    if missing:
        raise InputError(f"{path} must have the column {missing[0]}, got {', '.join(table)}; correct its header")
    for column, kind in COLUMNS[name].items():
        if kind is str:
            table[column] = table[column].map({text: restore(text) for text in table[column].unique()})
        else:
            given = table[column]
            numbers = pd.to_numeric(given.replace({"": "nan"}), errors="coerce")
            needed = column in _JOB and name != "jobs"  # rows are grouped by these
            wrong = numbers.isna() & (needed | ~given.str.lower().isin(["", "nan"]))
            if wrong.any():
                raise InputError(f"{column} in {path} must be a number, got {given[wrong].iloc[0]!r}; correct the row")
            table[column] = numbers.astype("Int64") if kind is int else numbers.astype(float)
    return table


def write_rows(folder: str | Path, name: str, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> Path:
    """Write `<folder>/<name>.csv` with the columns of `COLUMNS`, whole or not at all.

    The same rows give the same bytes. Numbers get 9 significant digits; an undefined one is written `nan`.
    """
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(COLUMNS[name]))
    texts = [column for column, kind in COLUMNS[name].items() if kind is str]
    table[texts] = table[texts].astype(object).fillna("")
    return write_table(Path(folder) / f"{name}.csv", table, digits=9)


def write_table(path: Path, table: pd.DataFrame, *, digits: int = 6) -> Path:
    """Write a table as CSV, numbers with so many significant digits; returns the path."""
    texts = table.select_dtypes(["object", "string"])
    table = table.assign(**{name: texts[name].map(neutralise) for name in texts}).rename(columns=neutralise)
    text = table.to_csv(index=False, float_format=f"%.{digits}g", na_rep="nan", lineterminator="\n")
    write_atomically(path, text.encode())
    return path


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of jobs that trained on all subjects, which the paper's tables show."""
    return table[table["train_subjects"] == ALL_SUBJECTS]


def exam_scores(cases: pd.DataFrame, *, suffix: str = "") -> pd.DataFrame:
    """Average the scores of each exam over its bones, after post-processing, or without it (suffix "_before").

    Returns:
        One row a method, train_subjects, seed, fold, domain, case and subject, in the order of `cases`, with `dice`
        (missed bones and false finds count 0, absent ones not at all), `assd_mm` and `mssd_mm` (over the bones whose
        distances are defined, else NaN), `dice_as_one`, `num_bones` (in the reference), `missed`, `false_finds`,
        `num_distances`, and `level_errors`: bones taken for another, NaN if their naming was not scored.
    """
    keys = ["method", "train_subjects", "seed", "fold", "domain", "case", "subject"]
    means = ["dice", "assd_mm", "mssd_mm", "dice_as_one"]
    status = cases[f"status{suffix}"]
    table = cases[keys].assign(
        **{name: cases[f"{name}{suffix}"] for name in means},
        level_errors=(cases[f"taken_for{suffix}"] != "").where(cases[f"dice_as_one{suffix}"].notna()).astype(float),
        num_bones=status.isin(["ok", "missed"]),
        missed=status == "missed",
        false_finds=status == "false_find",
        num_distances=cases[f"assd_mm{suffix}"].notna(),
    )
    counts = ["num_bones", "missed", "false_finds", "num_distances"]
    grouped = table.groupby(keys, sort=False)
    scores = grouped[means].mean().join(grouped[counts].sum().astype(np.int64))
    return scores.join(grouped["level_errors"].sum(min_count=1)).reset_index()
