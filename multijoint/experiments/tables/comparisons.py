"""Compare methods with one of them, on slices as in the paper and on exams of the same subjects."""

from __future__ import annotations

import math

import pandas as pd

from multijoint.experiments.rows import exam_scores
from multijoint.experiments.tables.statistics import (
    bootstrap_interval,
    correct_holm,
    ks_p_value,
    rank_biserial,
    signed_rank_p_value,
)

ALL_DOMAINS = "all data sets"
"""Value of `domain` of a comparison that pools them."""

COMPARED = {"dice": ("dice_percent", 100.0), "assd_mm": ("assd_mm", -1.0)}
"""Score compared on exams -> its name with unit, and the factor after which more is better."""

FEWEST_SEEDS = 3
"""With fewer, a difference cannot be told from the spread of seeds."""


def compare_slices(slices: pd.DataFrame, *, against: str) -> pd.DataFrame:
    """2D Dice of each method over slices, and a Kolmogorov-Smirnov test of its distribution against one method's.

    A slice's Dice is the mean over its bones that have area in the prediction or the reference; a slice without any is
    left out. Data sets, folds and seeds of the rows of `slices.csv` are pooled.

    Returns:
        One row a method: `num_slices`, `dice_mean_percent`, `dice_sd_percent` (n - 1), `ks_p` (NaN for `against`).

    Source:
        Boutillon et al., MICCAI 2021, Table 2.
    """
    filled = slices[slices["prediction_area"] + slices["reference_area"] > 0]
    dice = filled.groupby(["method", "domain", "case", "seed", "fold", "slice"], sort=False)["dice"].mean() * 100
    samples = {method: dice[dice.index.get_level_values("method") == method] for method in slices["method"].unique()}
    return pd.DataFrame(
        {
            "method": method,
            "num_slices": len(sample),
            "dice_mean_percent": sample.mean(),
            "dice_sd_percent": sample.std(),
            "ks_p": math.nan if method == against else ks_p_value(sample.to_numpy(), samples[against].to_numpy()),
        }
        for method, sample in samples.items()
    )


def compare_exams(cases: pd.DataFrame, *, against: str, score: str = "dice") -> pd.DataFrame:
    """Paired comparison of each method with one method, for all data sets together and for each.

    An exam's score is its mean over bones and then over seeds. Only exams tested with both methods count, and of
    distances only bones whose distance is defined with both, so that missing a hard bone is no gain. The exams of one
    subject are averaged, since they are not independent; every number is about subjects.

    Args:
        cases: rows of `cases.csv`.
        against: method that the others are compared with.
        score: a key of `COMPARED`.

    Returns:
        One row a data set (`ALL_DOMAINS` first, if there are several) and method other than `against`, with

        - `num_exams`, `num_subjects`, and `bones_left_out`, which have a distance with one method only;
        - `mean_difference`, in Dice points or mm, positive if `against` is better, and `ci_low` to `ci_high`: its 95 %
          bootstrap interval, subjects resampled within each data set;
        - `wilcoxon_p`, and `holm_p` corrected for the methods of that data set;
        - `rank_biserial`: effect size, 1 if `against` is better for every subject;
        - `num_seeds` of both methods, and `seed_sd`: standard deviation over them of the mean difference, NaN for one;
        - `seed_spread`: "within" if the difference is at most 2 standard errors (`seed_sd` / root of `num_seeds`) of
          the seeds' mean differences, so that other seeds might turn it; else "beyond"; "" for fewer than
          `FEWEST_SEEDS` seeds.

        Without another method, no row.
    """
    families = dict(list(cases.groupby("domain", sort=False)))
    if len(families) > 1:
        families = {ALL_DOMAINS: cases, **families}
    others = [method for method in cases["method"].unique() if method != against]
    rows = []
    for domain, family in families.items():
        compared = [{"domain": domain, "method": name} | _compare(family, name, against, score) for name in others]
        corrected = correct_holm([each["wilcoxon_p"] for each in compared])
        rows += [each | {"holm_p": p} for each, p in zip(compared, corrected, strict=True)]
    first = ["score", "domain", "method", "num_exams", "num_subjects", "bones_left_out"]
    numbers = ["mean_difference", "ci_low", "ci_high", "wilcoxon_p", "holm_p", "rank_biserial", "seed_sd"]
    return pd.DataFrame(rows, columns=[*first, *numbers, "num_seeds", "seed_spread"]).assign(score=COMPARED[score][0])


def _compare(cases: pd.DataFrame, method: str, against: str, score: str) -> dict[str, float | str]:
    pair = cases[cases["method"].isin([method, against])]
    left_out = 0
    if score != "dice":
        defined = pair[score].notna()
        by_both = defined.groupby([pair[key] for key in ("seed", "domain", "case", "label")]).transform("all")
        left_out = int((defined & ~by_both).sum())
        pair = pair[by_both]
    exams = exam_scores(pair)
    differences = _differences(exams, ["domain", "subject", "case"], method, against, score)
    subjects = differences.groupby(["domain", "subject"]).mean()
    by_seed = _differences(exams, ["seed", "domain", "subject", "case"], method, against, score)
    seeds = by_seed.groupby(["seed", "domain", "subject"]).mean().groupby("seed").mean()
    values = subjects.to_numpy()
    error = float(seeds.std()) / math.sqrt(max(len(seeds), 1))
    spread = "within" if abs(subjects.mean()) <= 2 * error else "beyond"
    low, high = bootstrap_interval([stratum.to_numpy() for _, stratum in subjects.groupby("domain")])
    return {
        "num_exams": len(differences),
        "num_subjects": len(subjects),
        "bones_left_out": left_out,
        "mean_difference": float(subjects.mean()),
        "ci_low": low,
        "ci_high": high,
        "wilcoxon_p": signed_rank_p_value(values),
        "rank_biserial": rank_biserial(values),
        "seed_sd": float(seeds.std()),
        "num_seeds": len(seeds),
        "seed_spread": spread if len(seeds) >= FEWEST_SEEDS else "",
    }


def _differences(exams: pd.DataFrame, keys: list[str], method: str, against: str, score: str) -> pd.Series:
    means = exams.pivot_table(index=keys, columns="method", values=score).reindex(columns=[against, method])
    # Means of equal numbers may differ in the last bit; rounded, they tie and vanish as they should.
    return (COMPARED[score][1] * (means[against] - means[method])).dropna().round(9)
