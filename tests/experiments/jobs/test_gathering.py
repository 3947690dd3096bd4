import csv
import json
import math
from pathlib import Path

import pytest

from multijoint.experiments.jobs.experiment import job_folder
from multijoint.experiments.jobs.gathering import _case_rows, _curve_rows, _log_summary, _shifted_rows
from multijoint.experiments.jobs.run_job import JobState, read_state
from multijoint.experiments.rows import read_rows, write_rows

RECORD = {"method": "base", "seed": 0, "fold": 0, "train_subjects": "all", "name": "base/seed0_fold00"}

SPEED = {"steps": "4", "seconds": "2.0", "slices_per_second": "8.0", "epoch_seconds": "3.0", "peak_memory_mib": "100"}


def log(*scores: str) -> list[dict[str, str]]:
    counts = {"val_mean_dice_n": "5", "val_mean_dice_missed": "1", "val_mean_dice_false_finds": "0"}
    return [
        {"epoch": str(epoch), "loss": "0.5", "val_mean_dice": score, "val_mean_dice_ankle": score, **counts, **SPEED}
        for epoch, score in enumerate(scores, start=1)
    ]


@pytest.mark.parametrize(
    ("scores", "best_epoch", "dice"),
    [
        (("nan", "0.5", "0.7", "0.7"), 3, 0.7),  # an epoch with nothing to score is not the best
        (("0.5", "nan", ""), 1, 0.5),
        (("nan", "nan"), "", math.nan),
        (("",), "", math.nan),
    ],
)
def test_the_best_epoch_is_one_that_has_a_score(scores: tuple[str, ...], best_epoch: object, dice: float) -> None:
    summary = _log_summary(log(*scores))
    assert summary["best_epoch"] == best_epoch
    assert summary["validation_dice"] == pytest.approx(dice, nan_ok=True)


def write_evaluation(folder: Path, part: str, cases: list[str], more: dict[str, str]) -> None:
    """Files of an evaluation with one bone a case, found better after post-processing."""
    place = folder / "jobs" / "base/seed0_fold00" / part
    place.mkdir(parents=True)
    exam = {"subject": "s1", "domain": "ankle", "label": "talus", "assd_mm": "1", "mssd_mm": "2", "status": "ok"}
    for name, dice in (("metrics.csv", "0.5"), ("metrics_before.csv", "0.25")):
        with (place / name).open("w", newline="") as file:
            table = csv.DictWriter(file, ["case", "dice", *exam, *more])
            table.writeheader()
            table.writerows({"case": case, "dice": dice} | exam | more for case in cases)


def test_rows_of_shifted_copies_name_case_and_shift(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "shifted", ["a_01_moved-up", "a_01_bias"], {"taken_for": "tibia", "dice_as_one": "0.75"})
    rows = list(_shifted_rows(tmp_path, RECORD | {"limited": []}))
    assert [(row["case"], row["shift"], row["dice"], row["dice_before"]) for row in rows] == [
        ("a_01", "moved-up", "0.5", "0.25"),
        ("a_01", "bias", "0.5", "0.25"),
    ]
    assert {(row["taken_for"], row["dice_as_one_before"]) for row in rows} == {("tibia", "0.75")}
    write_rows(tmp_path, "shifted", rows)
    table = read_rows(tmp_path, "shifted")
    assert table[["case", "shift", "dice_as_one"]].values.tolist() == [
        ["a_01", "moved-up", 0.75],
        ["a_01", "bias", 0.75],
    ]


def test_an_evaluation_of_an_earlier_version_has_no_naming(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "evaluation", ["a_01"], {})
    write_rows(
        tmp_path, "cases", list(_case_rows(job_folder(tmp_path, RECORD["name"]), RECORD | {"limited": ["ankle"]}))
    )
    table = read_rows(tmp_path, "cases")
    assert table[["dice", "taken_for"]].values.tolist() == [[0.5, ""]]
    assert table["dice_as_one"].isna().all()


def test_a_job_is_not_done_without_the_shifted_copies_that_are_asked_for(tmp_path: Path) -> None:
    place = tmp_path / "jobs" / "base/seed0_fold00"
    place.mkdir(parents=True)
    for record, state in (({}, "waiting"), ({"shifted": False}, "waiting"), ({"shifted": True}, "done")):
        (place / "job.json").write_text(json.dumps({"state": "done", "cause": ""} | record))
        assert read_state(tmp_path, "base/seed0_fold00") == JobState("done")
        assert read_state(tmp_path, "base/seed0_fold00", shifted=True).state == state


def test_counts_beside_the_validation_dice_are_no_curves(tmp_path: Path) -> None:
    folder = tmp_path / "jobs" / "base/seed0_fold00" / "train"
    folder.mkdir(parents=True)
    rows = log("0.5", "0.7")
    with (folder / "log.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    record = {"method": "base", "seed": 0, "fold": 0, "train_subjects": "all", "domains": ["ankle"]}
    curves = list(_curve_rows(tmp_path, record | {"name": "base/seed0_fold00"}))
    assert [(row["quantity"], row["domain"], row["value"]) for row in curves] == [
        *(("loss", "", "0.5"), ("validation_dice", "", "0.5"), ("validation_dice", "ankle", "0.5")),
        *(("loss", "", "0.5"), ("validation_dice", "", "0.7"), ("validation_dice", "ankle", "0.7")),
    ]
