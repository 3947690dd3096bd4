"""`multijoint models`, and a model of its list in `segment` and `package`."""

import json
from pathlib import Path

import pytest
from custom_components.io.records import read_record
from support.bundles import BUNDLES
from support.commands import error_line, scan_of

from multijoint.cli import main
from multijoint.sharing import find_shipped, inspect_bundle

NAME = "hippocampus_and_phantom_joints"


def test_it_lists_each_model_with_domains_bones_size_licence_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    model = find_shipped(NAME)
    assert main(["models"]) == 0
    first, head, hippocampus, *_ = capsys.readouterr().out.splitlines()
    assert first == f"{NAME}  {model.megabytes:.1f} MB  CC-BY-SA-4.0"
    assert head.split() == ["domain", "Dice", "%", "bones"]
    assert hippocampus.split() == ["hippocampus", f"{100 * model.dice['hippocampus']:.1f}", "anterior,", "posterior"]
    assert main(["models", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["models"]
    assert (listed["name"], listed["licence"], listed["card"]) == (NAME, "CC-BY-SA-4.0", str(model.card))
    assert {each["domain"]: each["dice"] for each in listed["domains"]} == model.dice
    assert {each["domain"]: each["bones"] for each in listed["domains"]} == model.bones


def test_segment_takes_its_name(manifests: dict[str, str], tmp_path: Path) -> None:
    scan = scan_of(manifests, "ankle")
    words = ["segment", str(scan), "--domain", "ankle", "--device", "cpu", "--out"]
    assert main([*words, str(tmp_path / "name"), "--model", NAME]) == 0
    assert main([*words, str(tmp_path / "file"), "--checkpoint", str(find_shipped(NAME).checkpoint)]) == 0
    maps = [(tmp_path / folder / "ankle_000_seg.nii.gz").read_bytes() for folder in ("name", "file")]
    assert maps[0] == maps[1]
    assert read_record(tmp_path / "name" / "ankle_000_seg.nii.gz")["domain"] == "ankle"


def test_its_package_is_safe_and_carries_its_scores_and_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["package", str(BUNDLES / "multijoint_mr_bone_segmentation"), "--model", NAME, "--single", "hippocampus"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder, archive = map(Path, capsys.readouterr().out.splitlines())
    report = inspect_bundle(archive)
    assert not report.unsafe
    assert (folder / "docs" / "weights_license.txt").read_bytes() == (
        find_shipped(NAME).folder / "LICENSE"
    ).read_bytes()
    assert "| hippocampus | **all bones** |" in (folder / "docs" / "README.md").read_text()


@pytest.mark.parametrize("words", [["segment", "scan.nii.gz"], ["package", "bundles"]])
def test_an_unknown_name_is_one_line(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--model", "hippocampus_joints", "--out", str(tmp_path / "out")]) == 1
    assert error_line(capsys).endswith(f"got hippocampus_joints; did you mean {NAME}?")
    assert not (tmp_path / "out").exists()
