"""Means over exams for the paper's first table, with their counts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from custom_components.errors import InputError

from multijoint.experiments.jobs.methods import title_of
from multijoint.experiments.rows import exam_scores, main_rows, read_rows

UNITS = {"dice": "percent", "assd": "mm", "mssd": "mm"}
"""Score -> its unit in the tables."""

STAGES = {"after": "", "before": "_before"}
"""Stage, after or before post-processing -> suffix of its columns in `cases.csv`."""


def read_main_rows(folder: str | Path, name: str, *, like: pd.DataFrame | None = None) -> pd.DataFrame:
    """Read "cases", "shifted" or "slices" of jobs that trained on all subjects, in an order unlike that of the file.

    They are ordered by method, data set and bone, each in order of first appearance (in the table `like`, if given),
    then by case, shift, seed and slice, so that sums over them are equal to the last bit.

    Raises:
        InputError: the file is unusable, has no such rows, or has one of them twice.
    """
    table = main_rows(read_rows(folder, name))
    if table.empty:
        file = f"{name}.csv of {folder}"
        raise InputError(f"{file} must have rows of jobs trained on all subjects, got none; run such jobs first")
    by_appearance = ["method", "domain", "label"]
    keys = [*by_appearance, "case", *(key for key in ("shift", "seed", "slice") if key in table)]
    twice = table[table.duplicated(keys)]
    if len(twice):
        row = ", ".join(f"{key} {twice.iloc[0][key]}" for key in keys)
        raise InputError(f"rows of {name}.csv in {folder} must differ, got {row} twice; remove one")
    model = table if like is None else like
    ranks = {key: {name: rank for rank, name in enumerate(model[key].unique())} for key in by_appearance}
    return table.sort_values(keys, key=lambda column: column.map(ranks.get(column.name, lambda value: value)))


def summarise_exams(cases: pd.DataFrame, *, by_bone: bool = False) -> pd.DataFrame:
    """Means and sample standard deviations (n - 1) over exams, each exam averaged over its bones and then over seeds.

    Args:
        cases: rows from `read_main_rows`.
        by_bone: whether every bone has a separate row; an exam's score is then the bone's.

    Returns:
        One row a stage ("after" or "before" post-processing), method, data set and, if asked, bone, with

        - `num_exams`: exams in the Dice mean, where missed bones and false finds count 0;
        - `num_exams_distance`: exams in the distance means, those with a bone whose distances are defined;
        - `num_seeds`; `num_bones`, `missed` and `false_finds`: bones over all seeds;
        - `level_errors`: bones over all seeds that were taken for another, and `level_errors_percent` of the bones of
          the reference; NaN if that was not scored;
        - `<score>_mean_<unit>` and `<score>_sd_<unit>` over exams, and `<score>_seed_sd_<unit>`: the standard deviation
          of the seeds' means. Undefined numbers are NaN;
        - `dice_median_percent` and `dice_worst_tenth_percent`, the 10th percentile (interpolated) over exams;
        - unless `by_bone`, `dice_as_one_mean_percent`: Dice of all bones as one.

    Source:
        Boutillon et al., MICCAI 2021, Table 1. Its single run has no spread over seeds.
    """
    stages = {stage: _summarise(cases, suffix, by_bone) for stage, suffix in STAGES.items()}
    return pd.concat(stages, names=["stage"]).reset_index("stage").reset_index(drop=True)


def find_gaps(cases: pd.DataFrame) -> list[str]:
    """Phrases such as "U-Net base: 15 of 17 ankle exams with seed 0" for what the rows of an experiment lack."""
    exams = cases.groupby("domain", sort=False)["case"].nunique()
    tested = cases.groupby(["method", "domain", "seed"])["case"].nunique()
    return [
        f"{title_of(method)}: {tested.get((method, domain, seed), 0)} of {count} {domain} exams with seed {seed}"
        for method in cases["method"].unique()
        for domain, count in exams.items()
        for seed in sorted(cases["seed"].unique())
        if tested.get((method, domain, seed), 0) < count
    ]


def _summarise(cases: pd.DataFrame, suffix: str, by_bone: bool) -> pd.DataFrame:
    keys = ["method", "domain", *(["label"] if by_bone else [])]
    parts = cases.groupby("label", sort=False) if by_bone else [("", cases)]
    scores = pd.concat([exam_scores(rows, suffix=suffix).assign(label=label) for label, rows in parts])
    scores = scores.rename(columns={"assd_mm": "assd", "mssd_mm": "mssd"})
    scores[["dice", "dice_as_one"]] *= 100
    scores["bones_named"] = scores["num_bones"].where(scores["level_errors"].notna())
    names, groups = [*UNITS, "dice_as_one"], scores.groupby(keys, sort=False)
    exams = scores.groupby([*keys, "subject", "case"], sort=False)[names].mean().groupby(keys, sort=False)
    seeds = scores.groupby([*keys, "seed"], sort=False)[names].mean().groupby(keys, sort=False)
    table = exams[["dice", "assd"]].count().set_axis(["num_exams", "num_exams_distance"], axis=1)
    table["num_seeds"] = groups["seed"].nunique()
    table = table.join(groups[["num_bones", "missed", "false_finds"]].sum())
    for name, unit in UNITS.items():
        table[f"{name}_mean_{unit}"] = exams[name].mean()
        table[f"{name}_sd_{unit}"] = exams[name].std()
        table[f"{name}_seed_sd_{unit}"] = seeds[name].std()
    table["dice_median_percent"] = exams["dice"].median()
    table["dice_worst_tenth_percent"] = exams["dice"].quantile(0.1)
    table["level_errors"] = groups["level_errors"].sum(min_count=1)
    bones_named = groups["bones_named"].sum(min_count=1)
    table["level_errors_percent"] = 100 * table["level_errors"] / bones_named.where(bones_named > 0)
    if not by_bone:
        table["dice_as_one_mean_percent"] = exams["dice_as_one"].mean()
    return table.reset_index()
