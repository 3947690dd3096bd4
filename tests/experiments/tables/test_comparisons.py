"""Comparisons of methods on planted rows: pooled slices, pairs of exams, subjects with several exams, missed bones."""

import math

import pandas as pd
import pytest

from multijoint.experiments.rows import COLUMNS
from multijoint.experiments.tables.comparisons import ALL_DOMAINS, compare_exams, compare_slices

NAN = math.nan
JOB = {"seed": 0, "fold": 0, "train_subjects": "all"}


def cases(*rows):
    """Rows of (method, domain, case, subject, label, Dice, ASSD) and, if not 0, the seed."""
    names = ["method", "domain", "case", "subject", "label", "dice", "assd_mm", "seed"]
    table = pd.DataFrame([JOB | dict(zip(names, row, strict=False)) for row in rows]).reindex(columns=COLUMNS["cases"])
    status = table["assd_mm"].notna().map({True: "ok", False: "missed"})
    return table.assign(status=status, mssd_mm=table["assd_mm"])


def slices(*rows):
    """Rows of (method, slice, label, Dice), NaN where both areas are 0."""
    names = ["method", "slice", "label", "dice"]
    job = JOB | {"domain": "ankle", "case": "a1", "subject": "s1"}
    table = pd.DataFrame([job | dict(zip(names, row, strict=True)) for row in rows])
    return table.assign(prediction_area=0, reference_area=table["dice"].notna().astype(int))


def test_slices_are_averaged_over_their_bones_and_pooled():
    low = [("base", z, "talus", 0.1 * z) for z in (1, 2, 3)] + [("base", 4, "talus", 0.3), ("base", 4, "tibia", 0.5)]
    high = [("ours", z, "talus", 0.5 + 0.1 * z) for z in (1, 2, 3, 4)]
    empty = [("base", 5, "talus", NAN), ("ours", 5, "tibia", NAN), ("base", 1, "tibia", NAN)]
    base, ours = compare_slices(slices(*low, *high, *empty), against="ours").to_dict("records")
    # Slices of 10, 20, 30 and (30 + 50) / 2 %, all below 60, 70, 80 and 90 %.
    assert (base["method"], base["num_slices"], ours["num_slices"]) == ("base", 4, 4)
    assert (base["dice_mean_percent"], ours["dice_mean_percent"]) == pytest.approx((25, 75))
    assert base["dice_sd_percent"] == pytest.approx(math.sqrt(500 / 3))
    assert base["ks_p"] == pytest.approx(2 / math.comb(8, 4))
    assert math.isnan(ours["ks_p"])


def test_exams_are_paired_and_averaged_by_subject():
    table = cases(
        ("base", "ankle", "a1", "s1", "talus", 0.80, 1.0),
        ("base", "ankle", "a1", "s1", "tibia", 0.90, 2.0),
        ("base", "ankle", "a2", "s1", "talus", 0.50, 1.0),
        ("base", "ankle", "a3", "s2", "talus", 0.70, 4.0),
        ("base", "ankle", "only with base", "s3", "talus", 0.1, 9.0),
        ("ours", "ankle", "a1", "s1", "talus", 0.90, 1.0),
        ("ours", "ankle", "a1", "s1", "tibia", 0.90, 1.0),
        ("ours", "ankle", "a2", "s1", "talus", 0.60, 1.5),
        ("ours", "ankle", "a3", "s2", "talus", 0.60, 1.0),
    )
    (row,) = compare_exams(table, against="ours").to_dict("records")
    assert (row["score"], row["domain"], row["method"]) == ("dice_percent", "ankle", "base")
    assert (row["num_exams"], row["num_subjects"], row["bones_left_out"]) == (3, 2, 0)
    # Subject s1: (5 + 10) / 2 points, s2: -10 points; two resampled means in four are the ends.
    assert row["mean_difference"] == pytest.approx(-1.25)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((-10, 7.5))
    assert (row["wilcoxon_p"], row["holm_p"]) == (1, 1)
    assert row["rank_biserial"] == pytest.approx(-1 / 3)
    assert math.isnan(row["seed_sd"])
    # ASSD: (0.5 - 0.5) / 2 and 3 mm saved.
    (row,) = compare_exams(table, against="ours", score="assd_mm").to_dict("records")
    assert (row["score"], row["mean_difference"], row["rank_biserial"]) == ("assd_mm", pytest.approx(1.5), 1)


def test_distances_are_compared_on_bones_found_by_both():
    table = cases(
        ("base", "ankle", "a1", "s1", "talus", 0.9, 1.0),
        ("base", "ankle", "a1", "s1", "tibia", 0.0, NAN),
        ("base", "ankle", "a2", "s2", "talus", 0.0, NAN),
        ("ours", "ankle", "a1", "s1", "talus", 0.9, 1.0),
        ("ours", "ankle", "a1", "s1", "tibia", 0.5, 7.0),
        ("ours", "ankle", "a2", "s2", "talus", 0.0, NAN),
    )
    (row,) = compare_exams(table, against="ours", score="assd_mm").to_dict("records")
    # Without the tibia both are 1 mm off: missing it must not look like 3 mm saved.
    assert (row["mean_difference"], row["wilcoxon_p"], row["bones_left_out"]) == (0, 1, 1)
    assert (row["num_exams"], row["num_subjects"]) == (1, 1)
    assert math.isnan(row["ci_low"])
    assert math.isnan(row["rank_biserial"])


def test_seeds_are_averaged_before_pairing_and_their_spread_is_given():
    rows = [("base", "ankle", f"a{i}", f"s{i}", "talus", 0.5, 1.0, seed) for i in (1, 2) for seed in (0, 1)]
    rows += [("ours", "ankle", f"a{i}", f"s{i}", "talus", 0.6 + 0.02 * i, 1.0, 0) for i in (1, 2)]
    rows += [("ours", "ankle", f"a{i}", f"s{i}", "talus", 0.7 + 0.02 * i, 1.0, 1) for i in (1, 2)]
    (row,) = compare_exams(cases(*rows), against="ours").to_dict("records")
    # Exams gain 17 and 19 points; seed 0 gains 13, seed 1 gains 23.
    assert row["num_exams"] == 2
    assert (row["mean_difference"], row["ci_low"], row["ci_high"]) == pytest.approx((18, 17, 19))
    assert row["seed_sd"] == pytest.approx(math.sqrt(50))
    assert (row["num_seeds"], row["seed_spread"]) == (2, "")  # too few


@pytest.mark.parametrize(("gain", "spread"), [(0.02, "within"), (0.0231, "beyond"), (-0.02, "within"), (0.0, "within")])
def test_a_difference_of_two_standard_errors_is_within_the_spread_of_seeds(gain, spread):
    """Seeds gain 2 points less, as much and 2 points more than the mean: standard error 2 / sqrt(3) = 1.155 points."""
    rows = [("base", "ankle", "a1", "s1", "talus", 0.5, 1.0, seed) for seed in range(3)]
    rows += [("ours", "ankle", "a1", "s1", "talus", 0.5 + gain + 0.02 * (seed - 1), 1.0, seed) for seed in range(3)]
    (row,) = compare_exams(cases(*rows), against="ours").to_dict("records")
    assert (row["num_seeds"], row["seed_spread"]) == (3, spread)


def test_data_sets_are_pooled_and_corrected_each_by_itself():
    gains = {"near": 0.01, "far": 0.20, "ours": 0.0}
    rows = [
        (method, domain, f"c{i}", f"s{i}", "bone", 0.8 - gain - 0.01 * i * (method != "ours"), 1.0)
        for method, gain in gains.items()
        for domain, count in (("ankle", 5), ("shoulder", 4))
        for i in range(count)
    ]
    table = compare_exams(cases(*rows), against="ours")
    assert list(table["domain"]) == [ALL_DOMAINS] * 2 + ["ankle"] * 2 + ["shoulder"] * 2
    assert list(table["method"]) == ["near", "far"] * 3
    # Subjects of one name in two data sets are two people.
    assert list(table["num_subjects"]) == [9, 9, 5, 5, 4, 4]
    ankle = table[table["domain"] == "ankle"]
    assert list(ankle["wilcoxon_p"]) == pytest.approx([2 / 2**5] * 2)
    assert list(ankle["holm_p"]) == pytest.approx([2 * 2 / 2**5] * 2)
    assert table["wilcoxon_p"].iloc[0] < 0.01
    assert list(table["mean_difference"])[2:4] == pytest.approx([3, 22])


def test_one_method_or_no_common_exam():
    alone = cases(("ours", "ankle", "a1", "s1", "talus", 0.9, 1.0))
    assert compare_exams(alone, against="ours").empty
    apart = cases(("ours", "ankle", "a1", "s1", "talus", 0.9, 1.0), ("base", "ankle", "a2", "s2", "talus", 0.9, 1.0))
    (row,) = compare_exams(apart, against="ours").to_dict("records")
    assert (row["num_exams"], row["num_subjects"]) == (0, 0)
    assert all(math.isnan(row[name]) for name in ("mean_difference", "ci_low", "wilcoxon_p", "holm_p", "seed_sd"))
