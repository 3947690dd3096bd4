"""A training ends with a model that knows its quality; one that does not know segments all the same."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from custom_components.data.manifests import load_manifests
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_checkpoint, load_model, save_checkpoint
from custom_components.models.trained_model import QUALITY, TrainedModel
from custom_components.quality.calibration import fit_calibration
from custom_components.quality.tables import QUALITY_COLUMNS
from custom_components.training import model_quality as calibrating
from custom_components.training.model_quality import calibrate_checkpoint, calibrate_model, describe_quality
from support.bundles import Run
from support.commands import error_line, scan_of, segment

from multijoint.cli import main


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_quality(model: TrainedModel) -> TrainedModel:
    return replace(model, training={key: value for key, value in model.training.items() if key != QUALITY})


def finding_everything(model: TrainedModel) -> TrainedModel:
    """One epoch finds no bone: make all classes as likely."""
    weights = {name: torch.zeros_like(w) if name.endswith("bias") and name.startswith("heads") else w
               for name, w in model.weights.items()}  # fmt: skip
    return replace(model, weights=weights)


@pytest.fixture(scope="module")
def checkpoint(trained: Path, manifests: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated model that finds every bone somewhere."""
    path = tmp_path_factory.mktemp("calibrated") / "model.pt"
    save_checkpoint(path, finding_everything(without_quality(load_model(trained / "model.pt"))))
    calibrate_checkpoint(path, load_manifests([manifests["ankle"], manifests["shoulder"]]))
    return path


def test_a_training_knows_volumes_and_confidence_at_its_end(trained: Path, manifests: dict[str, str]) -> None:
    model = load_model(trained / "model.pt")
    ankle = model.quality("ankle")
    assert ankle is not None
    assert ankle.references == 2  # one trains, one validates, one is tested
    assert ankle.calibration is not None
    assert ankle.calibration.exams == 1
    volumes = []
    for row in (*model.training["split"]["training"], *model.training["split"]["validation"]):
        if row["domain"] == "ankle":
            label = nibabel.load(Path(manifests["ankle"]).parent / "labels" / f"{row['case']}.nii.gz")
            volumes.append(np.count_nonzero(np.asarray(label.dataobj) == 2) * np.prod(label.header.get_zooms()) / 1e3)
    assert ankle.volumes_ml["talus"] == pytest.approx((min(volumes), max(volumes)), rel=1e-4)
    assert describe_quality(model)[0].endswith("bones of 1 exam; volumes of 2 references")


def test_the_checkpoint_is_whole_and_the_weights_are_the_same(trained: Path, checkpoint: Path) -> None:
    before, after = load_model(trained / "model.pt"), load_model(checkpoint)
    assert before.weights.keys() == after.weights.keys()
    assert {key: after.training[key] for key in before.training if key != QUALITY} == {
        key: value for key, value in before.training.items() if key != QUALITY
    }
    names = {row["subject"] for side in ("training", "validation") for row in after.training["split"][side]}
    assert not [name for name in names if name in json.dumps(after.training[QUALITY])]


def test_calibration_is_that_of_the_scans_as_they_are_segmented(
    checkpoint: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    model = load_model(checkpoint)
    [row] = [row for row in model.training["split"]["validation"] if row["domain"] == "ankle"]
    folder = Path(manifests["ankle"]).parent
    scan = folder / "images" / f"{row['case']}.nii.gz"
    assert (
        main(["segment", str(scan), "--checkpoint", str(checkpoint), "--domain", "ankle", "--output", str(tmp_path)])
        == 0
    )
    found, reference = (
        np.asarray(nibabel.load(path).dataobj)
        for path in (tmp_path / f"{row['case']}_seg.nii.gz", folder / "labels" / f"{row['case']}.nii.gz")
    )
    rows = read_table(tmp_path / "quality.csv")
    values = [int(row["label"]) for row in rows]
    dice = [2 * ((found == v) & (reference == v)).sum() / ((found == v).sum() + (reference == v).sum()) for v in values]
    expected = [float(row["expected_dice"]) for row in rows]
    assert max(expected) > 0
    quality = model.quality("ankle")
    assert quality is not None
    assert quality.calibration is not None
    wanted = fit_calibration(expected, dice, exams=["one"] * len(rows))
    assert wanted is not None
    assert (quality.calibration.offset, quality.calibration.slope) == pytest.approx(
        (wanted.offset, wanted.slope), abs=1e-4
    )
    assert [float(row["confidence"]) for row in rows] == pytest.approx(
        [quality.calibration(value) for value in expected], abs=1e-5
    )


def test_an_old_checkpoint_segments_the_same_map_without_confidence(
    checkpoint: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "old.pt", without_quality(load_model(checkpoint)))
    scan = scan_of(manifests, "ankle")
    for name, path in (("new", checkpoint), ("old", tmp_path / "old.pt")):
        arguments = ["segment", str(scan), "--checkpoint", str(path), "--domain", "ankle"]
        assert main([*arguments, "--output", str(tmp_path / name)]) == 0
    new, old = ((tmp_path / name / "ankle_000_seg.nii.gz").read_bytes() for name in ("new", "old"))
    assert new == old
    tables = [read_table(tmp_path / name / "quality.csv") for name in ("new", "old")]
    for with_confidence, without in zip(*tables, strict=True):
        assert 0 <= float(with_confidence["confidence"]) <= 1
        assert without["confidence"] == ""
        assert without["expected_dice"] == with_confidence["expected_dice"] != ""
        assert "volume-outside-training" not in without["flags"]
    assert describe_quality(load_model(tmp_path / "old.pt"))[0] == "ankle: nothing known of its quality"


def test_a_training_that_cannot_be_calibrated_warns_and_keeps_its_model(
    manifests: dict[str, str], run_bundle: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(*_: Any, **__: Any) -> None:
        raise InputError("label of case a01 must be a file, got none; restore it")

    monkeypatch.setattr(calibrating, "calibrate_model", fail)
    settings = {"image_size": [16, 16], "widths": [2, 4], "max_epochs": 1, "batch_size": 8}
    paths = [manifests["ankle"], manifests["shoulder"]]
    run_bundle("multijoint", ["train.yaml"], "training", manifests=paths, output_dir=str(tmp_path), **settings)
    assert "model.pt stays without confidence: label of case a01 must be a file, got none" in caplog.text
    assert load_model(tmp_path / "model.pt").quality("ankle") is None


def test_calibrating_twice_gives_the_same_bytes_and_keeps_what_a_run_resumes_from(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.pt", "last.pt"):
        for each in (name, f"{name}.sha256"):
            shutil.copy(trained / each, tmp_path / each)
    model = (tmp_path / "model.pt").read_bytes()
    paths = [manifests["ankle"], manifests["shoulder"]]
    assert (
        main(["calibrate", "--checkpoint", str(tmp_path / "model.pt"), "--manifests", *paths, "--device", "cpu"]) == 0
    )
    assert (tmp_path / "model.pt").read_bytes() == model
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["ankle", "shoulder"]
    assert main(["calibrate", "--checkpoint", str(tmp_path / "last.pt"), "--manifests", *paths, "--device", "cpu"]) == 0
    assert (
        load_checkpoint(tmp_path / "last.pt")["resume"].keys() == load_checkpoint(trained / "last.pt")["resume"].keys()
    )
    assert load_model(tmp_path / "last.pt").quality("ankle") is not None


def test_what_calibrate_cannot_use_is_one_line(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(path: Path) -> str:
        assert main(["calibrate", "--checkpoint", str(path), "--manifests", manifests["ankle"]]) == 1
        return error_line(capsys)

    assert "checkpoint must be a run's model.pt, got folder" in error(tmp_path)
    model = load_model(trained / "model.pt")
    rows = [{"domain": "ankle", "case": "gone", "subject": "gone"}]
    split = dict(model.training["split"]) | {"training": rows}
    save_checkpoint(tmp_path / "other.pt", replace(model, training=dict(model.training) | {"split": split}))
    assert "manifests must have every exam of the training, got none called gone (ankle)" in error(
        tmp_path / "other.pt"
    )
    save_checkpoint(tmp_path / "unknown.pt", replace(model, training={}))
    assert "a model to calibrate must say whom it was trained on" in error(tmp_path / "unknown.pt")
    save_checkpoint(tmp_path / "odd.pt", replace(model, training=dict(model.training) | {QUALITY: {"ankle": [1]}}))
    assert segment_one(tmp_path / "odd.pt", manifests, tmp_path / "out") == 1
    assert "quality of domain ankle in the model must be as multijoint calibrate writes it" in error_line(capsys)


def segment_one(checkpoint: Path, manifests: dict[str, str], out: Path) -> int:
    scan = str(scan_of(manifests, "ankle"))
    return main(["segment", scan, "--checkpoint", str(checkpoint), "--domain", "ankle", "--output", str(out)])


def test_one_domain_calibrated_leaves_what_is_known_of_others(checkpoint: Path, manifests: dict[str, str]) -> None:
    model = load_model(checkpoint)
    cases = load_manifests([manifests["ankle"]])[0].cases
    again = calibrate_model(model, training=cases[:2], validation=[])
    assert again.training[QUALITY]["shoulder"] == model.training[QUALITY]["shoulder"]
    ankle = again.quality("ankle")
    assert ankle is not None
    assert (ankle.calibration, ankle.references) == (None, 2)
    assert "no exam to calibrate confidence on" in describe_quality(again)[0]


def test_a_domain_whose_weights_stayed_keeps_its_quality_when_another_is_added(
    checkpoint: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    from multijoint.api.adapting import adapt_model
    from multijoint.phantoms import write_phantoms

    [knee] = write_phantoms(tmp_path / "phantoms", domains=["knee"], num_cases=1, size=40)
    known = load_model(checkpoint).training[QUALITY]
    for freeze in ("shared", "none"):
        out = tmp_path / freeze
        adapt_model(checkpoint, manifest=knee, out=out, freeze=freeze, settings={"max_epochs": 1, "device": "cpu"})
        quality = load_model(out / "model.pt").training[QUALITY]
        assert {name: quality.get(name) for name in known} == (known if freeze == "shared" else dict.fromkeys(known))
        assert quality["knee"]["references"] == 1


def test_a_second_call_keeps_the_rows_of_finished_scans(
    checkpoint: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    run = checkpoint.parent
    for name in ("a", "b"):
        (scans / f"{name}.nii.gz").write_bytes(scan_of(manifests, "ankle").read_bytes())
    (scans / "c.nii.gz").write_bytes(b"noise")
    assert segment(run, out, scans) == 1
    first = read_table(out / "quality.csv")
    assert list(first[0]) == list(QUALITY_COLUMNS)
    assert [row["case"] for row in first] == ["a"] * 3 + ["b"] * 3
    times = (out / "a_seg.json").stat()

    (scans / "c.nii.gz").write_bytes((scans / "a.nii.gz").read_bytes())
    record = json.loads((out / "b_seg.json").read_text())
    del record["quality"]  # as an earlier release wrote it
    (out / "b_seg.json").write_text(json.dumps(record))
    more = ["--flag-rules", "least_confidence=1"]
    assert segment(run, out, scans, more=more) == 0
    second = read_table(out / "quality.csv")
    assert [row["case"] for row in second] == [case for case in "abc" for _ in range(3)]
    assert (out / "a_seg.json").stat() == times
    for before, after in zip(first, second[:6], strict=True):
        assert {**before, "flags": ""} == {**after, "flags": ""}
        assert after["flags"].split(";")[-1] == "low-confidence"  # rules apply to results finished before as well
    report = read_table(out / "segment_report.csv")
    assert [row["status"] for row in report] == ["skipped", "written", "written"]
    assert report[0]["flags"] == report[2]["flags"]
    assert "talus: " in report[0]["flags"]


def test_an_interrupted_second_call_has_the_rows_of_every_map_that_is_there(
    checkpoint: Path, manifests: dict[str, str], tmp_path: Path
) -> None:
    from custom_components.inference.report import ReportHandler

    scan = scan_of(manifests, "ankle")
    assert segment(checkpoint.parent, tmp_path, scan) == 0
    whole = (tmp_path / "quality.csv").read_bytes()
    items = [{"image": scan, "name": "ankle_000"}, {"image": scan, "name": "next"}]
    ReportHandler(tmp_path, items=items)._start()
    assert (tmp_path / "quality.csv").read_bytes() == whole
