import csv
import dataclasses
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from custom_components.data.cases import Case
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.splits import Split
from custom_components.domains import Domain
from custom_components.errors import InputError, find_cause
from custom_components.io.volumes import read_volume
from custom_components.metrics.evaluation import _FILES, ScoreHandler, check_evaluation
from custom_components.models.checkpoints import load_model, save_checkpoint
from custom_components.models.trained_model import TrainedModel
from ignite.engine import Engine, Events
from support.bundles import Run

ANKLE = Domain("ankle", {5: "calcaneus", 2: "talus"}, "axial")


def make_model(*trained_on: str) -> TrainedModel:
    rows = [{"domain": "ankle", "case": name, "subject": name} for name in trained_on]
    split = {"fold": 4, "training": rows, "validation": [], "testing": []}
    return TrainedModel((ANKLE,), Preprocessing((8, 8)), {}, {}, {"split": split})


def make_split(subject: str) -> Split:
    case = Case("c", "ankle", Path("i.nii"), Path("l.nii"), subject)
    return Split((), (), (case,), fold=0, num_folds=3)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def score(folder: Path, items: list[dict]) -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
    failures: list[tuple[str, str]] = []
    engine = Engine(lambda _, item: item)

    def record_failure(item: dict, cause: str) -> None:
        item["failure"] = cause
        failures.append((item["name"], cause))

    engine.record_failure = record_failure
    ScoreHandler(folder / "scores", model=make_model()).attach(engine)
    engine.run(items)
    written = (folder / "scores" / "metrics.csv").is_file()
    return read(folder / "scores" / "metrics.csv") if written else [], failures


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


def test_level_errors_and_all_bones_as_one_by_hand(item: dict, tmp_path: Path) -> None:
    """The calcaneus is found whole under the talus's name; before post-processing under its own."""
    prediction = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    prediction[0, 2:4, 2:4, 1:3] = 2
    before = torch.zeros(1, 6, 6, 6, dtype=torch.uint8)
    before[0, 2:4, 2:4, 1:3] = 1
    rows, _ = score(tmp_path, [{**item, "pred": prediction, "pred_before": before}])
    named = [(row["label"], row["status"], row["taken_for"], row["dice_as_one"]) for row in rows]
    assert named == [("calcaneus", "missed", "talus", "0.941176"), ("talus", "ok", "", "0.941176")]  # 16 of 17
    before_rows = read(tmp_path / "scores" / "metrics_before.csv")
    assert [(row["taken_for"], row["dice_as_one"]) for row in before_rows] == [("", "0.941176")] * 2
    *_, ankle = read(tmp_path / "scores" / "summary.csv")
    assert (ankle["level_errors"], ankle["level_errors_percent"], ankle["dice_as_one_mean"]) == ("1", "50", "0.941176")


def test_slices_count_from_the_feet_whatever_the_file_order(item: dict, tmp_path: Path) -> None:
    flipped = np.diag([1, 1, -3, 1.0])
    for name in ("scan.nii", "reference.nii"):
        image = nibabel.load(tmp_path / name)
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj).copy(), flipped), tmp_path / name)
    score(tmp_path, [{**item, "source": read_volume(tmp_path / "scan.nii")}])
    with (tmp_path / "scores" / "slices.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] == "calcaneus"]
    assert [row["reference_area"] for row in rows] == list("000440")


def test_the_convention_is_in_the_files(item: dict, tmp_path: Path) -> None:
    rows, _ = score(tmp_path, [{**item, "pred_before": torch.zeros(1, 6, 6, 6, dtype=torch.uint8)}])
    before = read(tmp_path / "scores" / "metrics_before.csv")
    for row in (*rows, *before):
        assert (row["border"], row["connectivity"], row["spacing_mm"]) == ("inside", "6", "1x1x3")
    summary = read(tmp_path / "scores" / "summary.csv")
    assert [(row["label"], row["n"], row["missed"], row["false_finds"], row["n_distance"]) for row in summary] == [
        ("calcaneus", "1", "0", "0", "1"),
        ("talus", "1", "1", "0", "0"),
        ("all bones", "2", "1", "0", "1"),
    ]
    assert {(row["border"], row["connectivity"], row["cases_failed"]) for row in summary} == {("inside", "6", "0")}


def failing_cases(item: dict, folder: Path) -> list[dict]:
    """One that could not be read, and one whose reference has an unknown label."""
    odd = np.full((6, 6, 6), 9, np.uint8)
    nibabel.save(nibabel.Nifti1Image(odd, np.diag([1, 1, 3, 1.0])), folder / "odd.nii")
    gone = {"name": "ankle/gone", "case": "gone", "subject": "s3", "domain": "ankle", "failure": "no such file"}
    return [gone, {**item, "name": "ankle/odd", "case": "odd", "reference": folder / "odd.nii"}]


def test_cases_that_cannot_be_scored_are_named_and_in_no_mean(item: dict, tmp_path: Path) -> None:
    alone, _ = score(tmp_path, [item])
    means = [row | {"cases_failed": "2", "failed_cases": "gone; odd"} for row in read(tmp_path / "scores/summary.csv")]
    rows, failures = score(tmp_path, [*failing_cases(item, tmp_path), item])
    assert rows == alone
    assert [name for name, _ in failures] == ["ankle/odd"]  # the evaluator itself knows of the other
    assert "label values" in failures[0][1]
    assert read(tmp_path / "scores" / "summary.csv") == means
    text = (tmp_path / "scores" / "summary.txt").read_text()
    assert text.splitlines()[-1] == "NOT SCORED, and in no mean above: 2 cases: ankle/gone, ankle/odd."


def test_a_run_that_scores_nothing_leaves_no_numbers_of_an_earlier_one(item: dict, tmp_path: Path) -> None:
    score(tmp_path, [{**item, "pred_before": torch.zeros(1, 6, 6, 6, dtype=torch.uint8)}])
    (tmp_path / "scores" / "quality.csv").touch()  # of a run that saves its label maps
    assert {path.name for path in (tmp_path / "scores").iterdir()} == set(_FILES)
    rows, _ = score(tmp_path, failing_cases(item, tmp_path))
    assert rows == []
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {"summary.csv", "summary.txt"}
    (row,) = read(tmp_path / "scores" / "summary.csv")
    assert (row["label"], row["n"], row["dice_mean"], row["cases_failed"]) == ("all bones", "0", "nan", "2")
    assert "so there is no mean: 2 cases" in (tmp_path / "scores" / "summary.txt").read_text()


def test_a_run_that_breaks_leaves_no_numbers_of_an_earlier_one(item: dict, tmp_path: Path) -> None:
    score(tmp_path, [item])

    def broken(engine: Engine, batch: dict) -> dict:
        raise MemoryError

    engine = Engine(broken)
    ScoreHandler(tmp_path / "scores", model=make_model()).attach(engine)
    with pytest.raises(MemoryError):
        engine.run([item])
    assert list((tmp_path / "scores").iterdir()) == []


def test_an_unknown_convention_is_refused_before_any_case(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="border must be one of inside, surface, got 'monai'"):
        ScoreHandler(tmp_path, model=make_model(), border="monai")


@pytest.fixture(scope="module")
def overflowing(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model with an ankle head whose logits overflow a float; the shoulder's is as it was."""
    model = load_model(trained / "model.pt")
    weights = {name: torch.full_like(w, 3e38) if name.startswith("heads.0") else w for name, w in model.weights.items()}
    path = tmp_path_factory.mktemp("overflowing") / "model.pt"
    save_checkpoint(path, dataclasses.replace(model, weights=weights))
    return path


def test_evaluation_reports_predictions_that_are_not_finite_as_that_scans_failure(
    overflowing: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as caught:
        run_bundle(
            "multijoint",
            ["train.yaml", "evaluate.yaml"],
            "evaluating",
            manifests=list(manifests.values()),
            checkpoint=str(overflowing),
            output_dir=str(tmp_path),
            device="cpu",
        )
    assert "1 of 2 scans could not be segmented: prediction for ankle_000.nii.gz must be finite" in str(
        find_cause(caught.value, InputError)
    )
    assert {row["domain"] for row in read(tmp_path / "metrics.csv")} == {"shoulder"}
    failed = {row["domain"]: (row["cases_failed"], row["failed_cases"]) for row in read(tmp_path / "summary.csv")}
    assert failed == {"shoulder": ("0", ""), "ankle": ("1", "ankle_000")}
    assert "NOT SCORED, and in no mean above: 1 case: ankle/ankle_000." in (tmp_path / "summary.txt").read_text()
    assert not (tmp_path / "ankle").exists()


def test_inference_reports_predictions_that_are_not_finite_as_that_scans_failure(
    overflowing: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    how = {"checkpoint": str(overflowing), "images": [str(scan)], "output_dir": str(tmp_path), "device": "cpu"}
    with pytest.raises(RuntimeError) as caught:
        run_bundle("multijoint", ["inference.yaml"], "inference", domain="ankle", **how)
    assert "1 of 1 scan could not be segmented: prediction for ankle_000.nii.gz must be finite" in str(
        find_cause(caught.value, InputError)
    )
    assert not list(tmp_path.glob("*_seg.nii.gz"))


def test_seen_subject_is_refused() -> None:
    check_evaluation(model=make_model("s1"), split=make_split("s2"), domains=[ANKLE])
    with pytest.raises(InputError, match=r"test subject s1 \(ankle\) must be unseen by the checkpoint.*--fold \(4\)"):
        check_evaluation(model=make_model("s1"), split=make_split("s1"), domains=[ANKLE])


def test_people_of_earlier_models_and_cases_named_by_hand_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    earlier = {"training": [{"domain": "ankle", "subject": "s0"}], "validation": [], "complete": False}
    model = dataclasses.replace(make_model("s1"), training=make_model("s1").training | {"seen": earlier})
    check_evaluation(model=model, split=make_split("s2"), domains=[ANKLE])
    assert caplog.messages == ["this model does not say whom it was trained on: test only people that it has not seen"]
    item = {"image": "i.nii", "label": "l.nii", "subject": "s1"}
    for split, tested in ((make_split("s0"), None), (make_split("s2"), [item])):
        with pytest.raises(InputError, match=r"test subject s[01] \(ankle\) must be unseen by the checkpoint"):
            check_evaluation(model=model, split=split, domains=[ANKLE], tested=tested)
    check_evaluation(model=model, split=make_split("s0"), domains=[ANKLE], tested=[{**item, "subject": "s3"}])


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
