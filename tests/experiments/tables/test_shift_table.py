"""Table 3 from planted rows: scores and differences of each shift, worked by hand."""

import math

import pandas as pd
import pytest

from multijoint.experiments.rows import COLUMNS, write_rows
from multijoint.experiments.tables.shift_table import ALL_SHIFTS, AS_SCANNED, compare_shifts
from multijoint.experiments.tables.tables import write_tables

NAN = math.nan


def rows(dice, *, shift=None):
    """Rows of one bone an exam, from (method, case) -> Dice; a NaN is a bone that is in neither map."""
    table = pd.DataFrame(
        [{"method": method, "case": case, "seed": 0, "dice": value} for (method, case), value in dice.items()]
    )
    table = table.assign(fold=0, train_subjects="all", domain="ankle", subject="subject of " + table["case"])
    status = table["dice"].isna().map({True: "absent", False: "ok"})
    table = table.assign(label="talus", status=status, assd_mm=NAN, mssd_mm=NAN, status_before=status)
    table["taken_for"] = (table["dice"] < 0.3).map({True: "tibia", False: ""})
    table["dice_as_one"] = 0.9
    return table.assign(shift=shift).reindex(columns=list(COLUMNS["cases" if shift is None else "shifted"]))


CASES = rows({("base", "a1"): 0.8, ("base", "a2"): 0.9, ("ours", "a1"): 0.9, ("ours", "a2"): 0.9})
SHIFTED = pd.concat(
    [
        rows({("base", "a1"): 0.2, ("base", "a2"): 0.4, ("ours", "a1"): 0.6, ("ours", "a2"): 0.7}, shift="darker"),
        rows({("base", "a1"): 0.7, ("base", "a2"): NAN, ("ours", "a1"): 0.5, ("ours", "a2"): NAN}, shift="moved-up"),
    ]
)


def test_each_shift_and_all_of_them_by_hand():
    more = rows({("base", "other"): 0.1, ("ours", "other"): 0.1})  # its copies were not evaluated
    table = compare_shifts(pd.concat([CASES, more]), SHIFTED, against="ours")
    names = ["shift", "method", "num_exams", "dice_mean_percent", "mean_difference"]
    found = table[names].fillna(-1).round(6).values.tolist()
    assert found == [
        [AS_SCANNED, "base", 2, 85, 5],
        [AS_SCANNED, "ours", 2, 90, -1],
        ["moved-up", "base", 1, 70, -20],  # in the order of the shifts, whatever that of the rows
        ["moved-up", "ours", 1, 50, -1],
        ["darker", "base", 2, 30, 35],
        ["darker", "ours", 2, 65, -1],
        # Subject a1 gains (40 - 20) / 2 points, a2 30.
        [ALL_SHIFTS, "base", 3, pytest.approx(130 / 3), 20],
        [ALL_SHIFTS, "ours", 3, 60, -1],
    ]
    base = table[table["method"] == "base"].set_index("shift")
    assert base["level_errors"].tolist() == [0, 0, 1, 1]
    assert base["level_errors_percent"].round(6).tolist() == [0, 0, 50, pytest.approx(100 / 3)]
    assert base["dice_median_percent"].tolist() == pytest.approx([85, 70, 30, 40])
    assert base["dice_worst_tenth_percent"].tolist() == pytest.approx([81, 70, 22, 24])
    assert base["num_subjects"].tolist() == [2, 1, 2, 2]


def write_experiment(folder, seeds=(0,)):
    def both(table):
        more = table.assign(domain="shoulder", case=table["case"] + "s", subject=table["subject"] + "s")
        return pd.concat([part.assign(seed=seed) for part in (table, more) for seed in seeds])

    write_rows(folder, "cases", both(CASES))
    write_rows(folder, "shifted", both(SHIFTED))
    slices = both(CASES).assign(slice=1, prediction_area=1, reference_area=1)
    write_rows(folder, "slices", slices)
    return folder


def test_table3_is_exact(tmp_path):
    paths = write_tables(write_experiment(tmp_path), against="ours")
    assert [path.name for path in paths[-2:]] == ["table3.csv", "table3.md"]
    text = paths[-1].read_text(encoding="utf-8")
    assert text.startswith("# Table 3. Shifted copies of the exams, compared with ours\n\n## ankle\n\n| Shift ")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == (
        "| Shift | Method | exams | Dice % ↑ | median / worst tenth | as one % ↑ | level errors ↓ | difference | "
        "95 % interval | Wilcoxon p | Holm p |"
    )
    assert lines[2] == (
        "| as scanned | base | 2 | 85.0 | 85.0 / 81.0 | 90.0 | 0 (0.0 %) | +5.00 | +0.00 to +10.00 | 1.00 | 1.00 |"
    )
    assert lines[3] == "| | ours | 2 | 90.0 | 90.0 / 90.0 | 90.0 | 0 (0.0 %) | - | - | - | - |"
    assert lines[8].startswith("| all shifts | base | 3 | 43.3 | 40.0 / 24.0 | 90.0 | 1 (33.3 %) | +20.00 |")
    assert len(lines) == 2 * 10
    assert "nan" not in text
    assert "Seeds: 1, fewer than 3: a difference cannot be told" in text
    table = pd.read_csv(paths[-2])
    assert table["domain"].unique().tolist() == ["ankle", "shoulder"]
    assert set(table["against"]) == {"ours"}


def test_differences_within_the_spread_of_seeds_are_marked(tmp_path):
    write_experiment(tmp_path, seeds=(0, 1, 2))
    shifted = pd.read_csv(tmp_path / "shifted.csv")
    noisy = (shifted["method"] == "base") & (shifted["shift"] == "moved-up")
    shifted.loc[noisy, "dice"] += 0.25 * (shifted["seed"] - 1)  # 2 standard errors are 28.9 points, more than 20
    shifted.to_csv(tmp_path / "shifted.csv", index=False)
    text = write_tables(tmp_path, against="ours")[-1].read_text(encoding="utf-8")
    marked = [line for line in text.splitlines() if line.startswith("|") and "within the spread of seeds" in line]
    assert all("moved-up" in line or "all shifts" in line for line in marked)
    assert any("moved-up" in line for line in marked)


def test_an_experiment_without_shifts_has_no_table3(tmp_path):
    write_experiment(tmp_path)
    (tmp_path / "shifted.csv").unlink()
    assert not [path for path in write_tables(tmp_path) if "table3" in path.name]
    assert not list(tmp_path.glob("table3*"))
