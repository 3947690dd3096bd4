import csv
import math
from pathlib import Path

import pytest

from multijoint.experiments.jobs.gathering import _curve_rows, _log_summary

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
