import math
from pathlib import Path

import pandas as pd
import pytest
from custom_components.errors import InputError

from multijoint.experiments.rows import COLUMNS, exam_scores, main_rows, read_rows, write_rows

EXAM = {"method": "proposed", "seed": 0, "fold": 1, "train_subjects": "all", "domain": "ankle", "subject": "s1"}


def case_row(label: str, dice: float, assd: float, status: str, **more: object) -> dict:
    scores = {"dice": dice, "assd_mm": assd, "mssd_mm": 10 * assd, "status": status}
    scores |= {"taken_for": more.pop("taken_for", ""), "dice_as_one": more.pop("dice_as_one", 0.6)}
    before = {f"{name}_before": value for name, value in scores.items()}
    return {**EXAM, "case": "001", "label": label, **scores, **before, **more}


ROWS = [
    case_row("talus", 0.9, 0.5, "ok", dice_before=0.7),
    case_row("tibia", 0.0, math.nan, "missed", taken_for="talus"),
    case_row("fibula", math.nan, math.nan, "absent"),
    case_row("talus", 0.8, 1.5, "ok", case="002", dice_as_one=math.nan),
]


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "cases", ROWS)
    first = path.read_bytes()
    table = read_rows(tmp_path, "cases")
    assert list(table) == list(COLUMNS["cases"])
    assert table["case"].tolist() == ["001", "001", "001", "002"]  # text, though it looks like a number
    assert table["dice"].tolist()[:2] == [0.9, 0.0]
    assert math.isnan(table["dice"][2])
    write_rows(tmp_path, "cases", table)
    assert path.read_bytes() == first


def test_missing_text_and_numbers_are_empty_or_nan(tmp_path: Path) -> None:
    write_rows(tmp_path, "jobs", [{**EXAM, "state": "failed", "cause": "no, really"}])
    table = read_rows(tmp_path, "jobs")
    assert (table["device"][0], table["cause"][0]) == ("", "no, really")
    assert pd.isna(table["steps"][0])
    assert pd.isna(table["train_seconds"][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("dice,", "dise,", 1), "must have the column dice"),
        (lambda text: text.replace("0.9", "good", 1), "dice in .*cases.csv must be a number, got 'good'"),
        (lambda text: text.replace("proposed,0", "proposed,", 1), "seed in .*cases.csv must be a number, got ''"),
        (lambda text: '"' + text, "must be a CSV table|must have the column"),
    ],
)
def test_tables_that_cannot_be_trusted_are_refused(change: object, message: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path, "cases", ROWS)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path, "cases")


def test_rows_of_an_earlier_version_have_no_naming(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "cases", ROWS)
    names = ["taken_for", "dice_as_one", "taken_for_before", "dice_as_one_before"]
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=names).to_csv(path, index=False)
    table = read_rows(tmp_path, "cases")
    assert set(table["taken_for"]) == {""}
    assert table["dice_as_one"].isna().all()
    assert exam_scores(table)["level_errors"].isna().all()


def test_missing_table_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold cases\.csv, got none; run `multijoint experiment`"):
        read_rows(tmp_path, "cases")


def test_an_exam_is_the_mean_of_its_bones() -> None:
    scores = exam_scores(pd.DataFrame(ROWS))
    assert scores["case"].tolist() == ["001", "002"]
    assert scores["dice"].tolist() == [pytest.approx(0.45), 0.8]  # a missed bone is 0, an absent one nothing
    assert scores["assd_mm"].tolist() == [0.5, 1.5]
    assert scores[["num_bones", "missed", "false_finds", "num_distances"]].values.tolist() == [
        [2, 1, 0, 1],
        [1, 0, 0, 1],
    ]
    # The second exam's naming was not scored.
    assert scores["dice_as_one"].tolist() == pytest.approx([0.6, math.nan], nan_ok=True)
    assert scores["level_errors"].tolist() == pytest.approx([1, math.nan], nan_ok=True)
    assert exam_scores(pd.DataFrame(ROWS), suffix="_before")["dice"].tolist() == [pytest.approx(0.35), 0.8]


def test_main_rows_are_those_of_all_subjects() -> None:
    table = pd.DataFrame([*ROWS, case_row("talus", 0.1, 9.0, "ok", train_subjects="3")])
    assert len(main_rows(table)) == len(ROWS)
