import csv
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events

from custom_components.checkpoints import TrainedModel
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.evaluation import ScoreHandler, check_evaluation
from custom_components.manifests import Case
from custom_components.preprocessing import Preprocessing
from custom_components.splits import Split
from custom_components.volumes import read_volume

ANKLE = Domain("ankle", {5: "calcaneus", 2: "talus"}, "axial")


def make_model(*trained_on: str) -> TrainedModel:
    rows = [{"domain": "ankle", "case": name, "subject": name} for name in trained_on]
    split = {"fold": 4, "training": rows, "validation": [], "testing": []}
    return TrainedModel((ANKLE,), Preprocessing((8, 8)), {}, {}, {"split": split})


def make_split(subject: str) -> Split:
    case = Case("c", "ankle", Path("i.nii"), Path("l.nii"), subject)
    return Split((), (), (case,), fold=0, num_folds=3)


def score(folder: Path, items: list[dict]) -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
    failures: list[tuple[str, str]] = []
    engine = Engine(lambda _, item: item)
    engine.record_failure = lambda item, cause: failures.append((item["name"], cause))
    ScoreHandler(folder / "scores", model=make_model()).attach(engine)
    engine.run(items)
    if not (folder / "scores" / "metrics.csv").is_file():
        return [], failures
    with (folder / "scores" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file)), failures


@pytest.fixture
def item(tmp_path: Path) -> dict:
    affine = np.diag([1, 1, 3, 1.0])
    voxels = np.random.default_rng(0).uniform(0, 1, (6, 6, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "scan.nii")
    reference = np.zeros((6, 6, 6), np.uint8)
    reference[2:4, 2:4, 1:3] = 5
    reference[0, 0, 0] = 2
    nibabel.save(nibabel.Nifti1Image(reference, affine), tmp_path / "reference.nii")
    prediction = np.zeros_like(reference)
    prediction[2:4, 2:4, 1:2] = 5  # one of two slices, 3 mm apart
    return {
        "name": "ankle/c1",
        "case": "c1",
        "subject": "s1",
        "domain": "ankle",
        "source": read_volume(tmp_path / "scan.nii"),
        "reference": tmp_path / "reference.nii",
        "pred": torch.from_numpy(prediction)[None],
    }


def test_scores_by_hand_with_a_missed_bone(item: dict, tmp_path: Path) -> None:
    rows, failures = score(tmp_path, [item])
    assert failures == []
    assert [row["label"] for row in rows] == ["calcaneus", "talus"]
    assert float(rows[0]["dice"]) == pytest.approx(2 * 4 / 12, abs=1e-5)
    assert float(rows[0]["mssd_mm"]) == 3
    # Reference: 4 voxels at 0 mm, 4 at 3 mm; prediction: 4 at 0 mm.
    assert float(rows[0]["assd_mm"]) == 1
    assert (rows[1]["status"], float(rows[1]["dice"])) == ("missed", 0)
    assert math.isnan(float(rows[1]["assd_mm"]))
    assert "inside" in (tmp_path / "scores" / "summary.txt").read_text()


def test_slices_and_scores_before_post_processing_by_hand(item: dict, tmp_path: Path) -> None:
    before = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)  # class indices, not label values
    before[0, 2:4, 2:4, 1:3] = 1
    before[0, 0, 0, 0] = 2
    score(tmp_path, [{**item, "pred_before": before}])
    with (tmp_path / "scores" / "metrics_before.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], float(row["dice"]), row["status"]) for row in rows] == [
        ("calcaneus", 1, "ok"),
        ("talus", 1, "ok"),
    ]
    with (tmp_path / "scores" / "slices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    calcaneus, talus = ([row for row in rows if row["label"] == name] for name in ("calcaneus", "talus"))
    assert [row["slice"] for row in calcaneus] == list("012345")
    assert [row["prediction_area"] for row in calcaneus] == list("040000")
    assert [row["reference_area"] for row in calcaneus] == list("044000")
    assert [row["dice"] for row in calcaneus] == ["nan", "1", "0", "nan", "nan", "nan"]
    assert [row["dice"] for row in talus] == ["0", *["nan"] * 5]


def test_slices_count_from_the_feet_whatever_the_file_order(item: dict, tmp_path: Path) -> None:
    flipped = np.diag([1, 1, -3, 1.0])
    for name in ("scan.nii", "reference.nii"):
        image = nibabel.load(tmp_path / name)
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj).copy(), flipped), tmp_path / name)
    score(tmp_path, [{**item, "source": read_volume(tmp_path / "scan.nii")}])
    with (tmp_path / "scores" / "slices.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "calcaneus"]
    assert [row["reference_area"] for row in rows] == list("000440")


def test_failed_and_unscorable_cases_are_listed_not_scored(item: dict, tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.full((6, 6, 6), 9, np.uint8), np.diag([1, 1, 3, 1.0])), tmp_path / "odd.nii")
    rows, failures = score(tmp_path, [{"failure": "gone"}, {**item, "name": "odd", "reference": tmp_path / "odd.nii"}])
    assert rows == []
    assert failures[0][0] == "odd"
    assert "label values" in failures[0][1]
    assert not (tmp_path / "scores").exists()


def test_seen_subject_is_refused() -> None:
    check_evaluation(model=make_model("s1"), split=make_split("s2"), domains=[ANKLE])
    with pytest.raises(InputError, match=r"test subject s1 \(ankle\) must be unseen by the checkpoint.*--fold \(4\)"):
        check_evaluation(model=make_model("s1"), split=make_split("s1"), domains=[ANKLE])


@pytest.mark.parametrize("other", [Domain("ankle", {5: "talus"}, "axial"), Domain("ankle", ANKLE.labels, "sagittal")])
def test_other_labels_or_plane_are_refused(other: Domain) -> None:
    with pytest.raises(InputError, match="domain ankle must have the labels and plane of the checkpoint"):
        check_evaluation(model=make_model(), split=make_split("s2"), domains=[other])


def test_unknown_domain_is_refused() -> None:
    with pytest.raises(InputError, match="domain must be one of ankle, got 'knee'"):
        check_evaluation(model=make_model(), split=make_split("s2"), domains=[Domain("knee", {1: "femur"}, "axial")])


def test_every_event_is_attached_once(tmp_path: Path) -> None:
    engine = Engine(lambda _, item: item)
    handler = ScoreHandler(tmp_path, model=make_model())
    handler.attach(engine)
    assert engine.has_event_handler(handler._score, Events.ITERATION_COMPLETED)
    assert engine.has_event_handler(handler._report, Events.COMPLETED)
