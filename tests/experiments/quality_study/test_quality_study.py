"""The study of confidence and flags: its figures by hand, its degraded scans, and one whole run."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from custom_components.errors import InputError
from custom_components.system.files import read_csv
from support.commands import error_line

from multijoint.cli import main
from multijoint.experiments.quality_study.degradations import DEGRADATIONS, degrade
from multijoint.experiments.quality_study.quality_study import STUDY_COLUMNS, auroc, study_quality, summarise_study


def row(case: str, dice: float, confidence: float | None, flags: str = "", **more: str) -> dict[str, str]:
    filled = {"model": "model", "degradation": "none", "domain": "ankle", "case": case, "expected_dice": "0.5"}
    sure = "" if confidence is None else str(confidence)
    return filled | {"dice": str(dice), "confidence": sure, "flags": flags} | more


def test_auroc_is_the_chance_of_a_higher_score_in_a_bad_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, bad = rng.integers(0, 6, 30), rng.random(30) < 0.4
        pairs = np.subtract.outer(scores[bad], scores[~bad])
        assert auroc(scores, bad) == pytest.approx((np.mean(pairs > 0) + np.mean(pairs == 0) / 2).item())
    assert np.isnan(auroc(np.arange(3), np.zeros(3, bool)))


def test_the_summary_worked_by_hand() -> None:
    rows = [
        row("a", 0.9, 0.95),
        row("a", 0.7, 0.6, "low-confidence;missing"),
        row("b", 0.85, 0.5, "cut-by-field-of-view;low-confidence"),
        row("b", 0.1, 0.4, "cut-by-field-of-view"),
        row("b", float("nan"), 0.9),
    ]
    lines = summarise_study(rows).splitlines()
    every = lines[1].split()
    # Bad are 0.7 and 0.1. Of four pairs three have the lower confidence in the bad one; flags: 2 and 0 against 0 and 1.
    assert every[:4] == ["all", "2", "4", "2"]
    assert every[4] == "0.750"
    assert "0.625 [" in lines[1]  # 2>0, 2>1, 0=0 counts half, 0<1
    assert every[-1] == "0.200"  # of 0.05, 0.1, 0.35, 0.3
    table = {line.rsplit(maxsplit=2)[0]: line.split()[-2:] for line in lines[lines.index("") + 2 :]}
    assert table["missing"] == ["50%", "0%"]
    assert table["cut-by-field-of-view"] == ["50%", "50%"]
    assert table["any but cut"] == ["50%", "50%"]
    assert summarise_study(rows, least_dice=0.05).splitlines()[1].split()[4] == "-"


def test_without_calibration_expected_dice_counts() -> None:
    lines = summarise_study([row("a", 0.9, None, expected_dice="0.8"), row("a", 0.1, None, expected_dice="0.3")])
    assert lines.splitlines()[1].split()[4] == "1.000"


@pytest.mark.parametrize("how", DEGRADATIONS)
def test_a_spoilt_scan_is_another_one_of_the_same_seed_and_keeps_its_place(how: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 900, (12, 20, 8)).astype(np.int16)
    label = (image > 500).astype(np.int32)
    spoilt, reference = degrade(image, label, how=how, seed=3)
    again, _ = degrade(image, label, how=how, seed=3)
    assert spoilt.dtype == np.float32
    np.testing.assert_array_equal(spoilt, again)
    assert np.isfinite(spoilt).all()
    assert spoilt.shape == reference.shape == ((12, 17, 8) if how == "crop" else image.shape)
    np.testing.assert_array_equal(reference, label[:, :17] if how == "crop" else label)
    same = np.array_equal(spoilt, image[:, : spoilt.shape[1]])
    assert same is (how in ("none", "crop"))
    if how in ("noise", "bias", "motion"):
        assert not np.array_equal(spoilt, degrade(image, label, how=how, seed=4)[0])


def test_other_contrast_keeps_air_dark_and_turns_the_rest() -> None:
    image = np.array([0, 10, 500, 900, 1000], np.float32).reshape(5, 1, 1).repeat(60, axis=1)
    spoilt = degrade(image, image, how="contrast", seed=0)[0][:, 0, 0]
    assert spoilt[:2].tolist() == [0, 10]
    assert spoilt[2] > spoilt[3] > spoilt[4] > 0


def test_one_whole_study(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["quality-study", "--checkpoints", str(trained / "model.pt"), "--manifests", manifests["ankle"]]
    arguments += ["--device", "cpu", "--out", str(tmp_path)]
    assert main([*arguments, "--degradations", "none", "crop"]) == 0
    with (tmp_path / "bones.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == STUDY_COLUMNS
    assert [(each["degradation"], each["case"]) for each in rows] == [
        (how, "ankle_000") for how in ("none", "crop") for _ in range(3)
    ]  # fold 0 tests the first
    assert all(0 <= float(each["dice"]) <= 1 for each in rows)
    assert capsys.readouterr().out.strip() == (tmp_path / "summary.txt").read_text().strip()
    assert main([*arguments, "--degradations", "fire"]) == 1
    assert "degradation must be one of none, noise, bias, motion, contrast, crop, got 'fire'" in error_line(capsys)


def test_a_name_that_is_code_to_monai_is_a_name(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    content = yaml.safe_load(Path(manifests["ankle"]).read_text())
    next(case for case in content["cases"] if "ankle_000" in case["image"])["name"] = "$1+1"
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(content))
    where = {"manifests": [manifest], "dataset_dir": Path(manifests["ankle"]).parent, "out": tmp_path / "out"}
    study_quality([trained / "model.pt"], degradations=["none"], device="cpu", **where)
    assert {row["case"] for row in read_csv(tmp_path / "out" / "bones.csv")} == {"$1+1"}


def test_nobody_held_out_is_refused(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    text = Path(manifests["ankle"]).read_text()
    folder = tmp_path / "ankle"
    folder.symlink_to(Path(manifests["ankle"]).parent)
    kept = tmp_path / "manifest.yaml"
    lines = [line for line in text.splitlines() if "ankle_000" not in line]
    kept.write_text("\n".join(lines))
    with pytest.raises(InputError, match="must have a labelled subject that is held out, got none"):
        study_quality([trained / "model.pt"], manifests=[kept], dataset_dir=folder, out=tmp_path / "out", device="cpu")
