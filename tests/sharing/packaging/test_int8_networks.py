"""Int8 networks are calibrated on people trained on, tried on people never seen, and refused if they cost accuracy."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest, load_manifest
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_model
from custom_components.models.trained_model import TrainedModel
from hypothesis import given
from hypothesis import strategies as st
from support.bundles import BUNDLES, Run

from multijoint.cli import main
from multijoint.phantoms import write_phantoms
from multijoint.sharing import inspect_bundle, open_bundle
from multijoint.sharing.inspection.onnx_checks import check_onnx
from multijoint.sharing.packaging import held_out, int8_networks, quantising
from multijoint.sharing.packaging.held_out import BoneDice, check_fall, compare_precisions, divide_cases
from multijoint.sharing.packaging.int8_networks import quantise_model
from multijoint.sharing.packaging.quantising import NUM_SLICES, calibration_slices, quantise

NAME = "ankle_mr_bone_segmentation"
BONES = ("calcaneus", "talus", "tibia")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Ankles of which number 0 tests, 1 validates, and 2 and 3 train."""
    [path] = write_phantoms(tmp_path_factory.mktemp("ankles"), domains=["ankle"], num_cases=4, seed=0, size=40)
    return load_manifest(path)


@pytest.fixture(scope="module")
def checkpoint(manifest: Manifest, run_bundle: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has learned something."""
    folder = tmp_path_factory.mktemp("int8") / "run"
    settings = {"image_size": [32, 32], "widths": [8, 16], "max_epochs": 40, "val_interval": 10, "batch_size": 8}
    settings |= {"learning_rate": 1e-2, "head_learning_rate_factor": 10.0}
    settings |= {"flip_axes": [], "max_translation": 0.05, "max_rotation": 10.0}
    run_bundle("ankle", ["train.yaml"], "training", manifests=[str(manifest.path)], output_dir=str(folder),
               device="cpu", **settings)  # fmt: skip
    return folder / "model.pt"


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> TrainedModel:
    return load_model(checkpoint)


@pytest.fixture(scope="module")
def dist(checkpoint: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packaged by the command; on so few voxels one of them may cost more than 0.1 points."""
    out = tmp_path_factory.mktemp("dist")
    command = ["package", str(BUNDLES / NAME), "--checkpoint", str(checkpoint), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "MOST_FALL", 0.03)
        assert main([*command, "--int8", str(manifest.path)]) == 0
    return out


def test_a_bundle_has_int8_networks_and_says_what_they_cost(dist: Path) -> None:
    folder = dist / NAME
    lines = (folder / "docs/README.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ankle | ") and line.count("|") == 7]
    assert [(row[1], row[2]) for row in rows] == [(bone, "1") for bone in BONES]
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    assert max(float(row[3]) for row in rows) > 50
    for row in rows:
        values = [metadata["eval_metrics"][f"held_out_dice_{kind} ankle {row[1]}"] for kind in ("float32", "int8")]
        assert [f"{100 * value:.2f}" for value in values] == row[3:5]
        assert float(row[5].rstrip(" |")) == pytest.approx(100 * (values[0] - values[1]), abs=1e-3)
    assert {path.name for path in (folder / "models").iterdir()} >= {"ankle.int8.onnx", "ankle.int8.onnx.sha256"}
    listed = (folder / "checksums.sha256").read_text()
    assert "  models/ankle.int8.onnx\n" in listed
    assert "  models/ankle.int8.onnx.sha256\n" in listed
    assert not inspect_bundle(folder).unsafe


def test_without_onnx_they_are_safe_only_if_nothing_can_run_them(dist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    path = dist / NAME / "models" / "ankle.int8.onnx"
    [finding] = check_onnx(path, name=path.name)
    assert (finding.level, finding.message) == (
        "unsafe", "not looked into: the onnx package is not installed; `segment` could run it: pip install onnx"
    )  # fmt: skip
    assert [each.level for each in check_onnx(path, name="ankle.onnx")] == ["warning"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [each.level for each in check_onnx(path, name=path.name)] == ["warning"]


def test_segment_uses_them_from_folder_and_zip(dist: Path, manifest: Manifest, tmp_path: Path) -> None:
    scan, zipped = manifest.cases[0].image, next(dist.glob("*.zip"))
    found = {}
    for name, bundle, precision in (
        ("float32", dist / NAME, "float32"),
        ("folder", dist / NAME, "int8"),
        ("zip", zipped, "int8"),
    ):
        command = ["segment", str(scan), "--bundle", str(bundle), "--output", str(tmp_path / name)]
        assert main([*command, "--precision", precision]) == 0
        found[name] = tmp_path / name / "ankle_000_seg.nii.gz"
    assert found["folder"].read_bytes() == found["zip"].read_bytes()
    float32, int8 = (np.asarray(nib.load(found[name]).dataobj) for name in ("float32", "zip"))
    assert 0 < np.count_nonzero(float32 != int8) < 0.05 * np.count_nonzero(float32)
    records = [json.loads((tmp_path / name / "ankle_000_seg.json").read_text()) for name in ("float32", "folder")]
    assert records[0]["settings"]["precision"] == "float32"
    assert records[1]["settings"]["precision"].startswith("int8 ")
    command = ["segment", str(scan), "--bundle", str(zipped), "--output", str(tmp_path / "float32")]
    assert main([*command, "--precision", "int8"]) == 0  # what float32 has finished is not taken for it
    assert found["float32"].read_bytes() == found["zip"].read_bytes()


def test_a_bundle_without_them_says_so(
    checkpoint: Path, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["segment", str(manifest.cases[0].image), "--checkpoint", str(checkpoint), "--output", str(tmp_path)]
    assert main([*command, "--precision", "int8"]) == 1
    assert "make it with multijoint package --int8, or use float32" in capsys.readouterr().err


def test_the_packaged_configuration_runs_them(dist: Path, manifest: Manifest, tmp_path: Path, run_bundle: Run) -> None:
    from monai.bundle import ConfigWorkflow

    scan = str(manifest.cases[0].image)
    with open_bundle(dist / NAME) as folder:
        workflow = ConfigWorkflow(
            config_file=str(folder / "configs/inference.json"), workflow_type="inference", logging_file=False,
            images=[scan], output_dir=str(tmp_path / "json"), precision="int8",
        )  # fmt: skip
        workflow.initialize()
        workflow.run()
    run_bundle("ankle", ["inference.yaml"], checkpoint=str(dist / NAME), images=[scan], precision="int8",
               output_dir=str(tmp_path / "yaml"))  # fmt: skip
    for name in ("ankle_000_seg.nii.gz", "ankle_000_seg.json"):
        assert (tmp_path / "json" / name).read_bytes() == (tmp_path / "yaml" / name).read_bytes()


def test_a_spoilt_network_is_refused(
    checkpoint: Path, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibrated on slices without any contrast, so that it cannot tell bright from dark."""
    right = calibration_slices
    monkeypatch.setattr(int8_networks, "calibration_slices", lambda *args, **how: [0 * x for x in right(*args, **how)])
    command = ["--debug", "package", str(BUNDLES / NAME), "--checkpoint", str(checkpoint), "--out", str(tmp_path)]
    with pytest.raises(
        InputError,
        match=r"Dice of int8 on held-out cases must fall by at most 0\.1 points in each bone, "
        r"got ankle \w+ from \d\d\.\d\d to \d+\.\d\d \(n=1\).*; package without --int8, or train longer",
    ):
        main([*command, "--int8", str(manifest.path)])
    assert list(tmp_path.iterdir()) == []


def test_the_same_slices_give_the_same_bytes(model: TrainedModel, manifest: Manifest) -> None:
    training, _ = divide_cases(model, manifest)
    made = []
    for num_threads in (1, 2):
        torch.set_num_threads(num_threads)
        try:
            slices = calibration_slices(model, training, domain="ankle")
            made.append(quantise(model, domain="ankle", slices=slices, digest="0" * 64))
        finally:
            torch.set_num_threads(1)
    assert made[0] == made[1]
    assert made[0] != quantise(model, domain="ankle", slices=[2 * each for each in slices], digest="0" * 64)


def test_whom_it_is_calibrated_and_tested_on(model: TrainedModel, manifest: Manifest) -> None:
    training, testing = divide_cases(model, manifest)
    assert [case.name for case in training] == ["ankle_002", "ankle_003"]
    assert [case.name for case in testing] == ["ankle_000"]
    stranger = replace(manifest.cases[0], name="x", subject="x")
    more = replace(manifest, cases=(*manifest.cases, stranger, replace(stranger, label=None)))
    assert divide_cases(model, more) == (training, [*testing, stranger])
    for cases, whom in ((manifest.cases[:1], "trained on"), (manifest.cases[1:], "never saw")):
        with pytest.raises(InputError, match=f"must have somebody whom the network {whom}, got nobody"):
            divide_cases(model, replace(manifest, cases=cases))
    with pytest.raises(
        InputError, match=r"must say whom it was trained on, got a packaged one; give a run's model\.pt"
    ):
        divide_cases(replace(model, training={}), manifest)


def test_every_domain_needs_its_manifest(trained: Path, manifests: dict[str, str], manifest: Manifest) -> None:
    with pytest.raises(InputError, match="manifests for int8 must be of every domain, got none of shoulder"):
        quantise_model(load_model(trained / "model.pt"), [manifest.path])
    other = yaml.safe_load(manifest.path.read_text()) | {"labels": {1: "talus", 2: "calcaneus", 3: "tibia"}}
    path = manifest.path.with_name("renamed.yaml")
    path.write_text(yaml.safe_dump(other))
    with pytest.raises(InputError, match="domain ankle must have the labels and plane of the checkpoint"):
        quantise_model(load_model(trained / "model.pt"), [path, Path(manifests["shoulder"])])


@given(num_cases=st.integers(1, 80))
def test_slices_are_spread_over_the_cases(num_cases: int) -> None:
    """Each case stands for its number, each slice for its place in it."""
    model: Any = _Stub()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantising, "read_channels", lambda paths: [_Volume(int(path.name)) for path in paths])
        patch.setattr(
            quantising,
            "stack_channels",
            lambda arrays, affine, **how: [(torch.arange(10.0) + 10 * array[0])[:, None, None] for array in arrays],
        )
        cases = [Case(str(n), "ankle", Path(str(n)), None, str(n)) for n in range(num_cases)]
        found = torch.cat(calibration_slices(model, cases, domain="ankle")).flatten()
    assert len(found) == NUM_SLICES
    numbers, places = (found // 10).int().tolist(), (found % 10).int().tolist()
    counts = [numbers.count(n) for n in range(num_cases)]
    assert max(counts) - min(counts) <= 1
    assert len(set(places)) == 10


class _Stub:
    domains = (Domain("ankle", {1: "talus"}, "axial"),)
    preprocessing = Preprocessing((1, 1))


class _Volume:
    affine = np.eye(4)

    def __init__(self, number: int) -> None:
        self.array = np.array([number])


def test_dice_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cases; float32 finds 2 of 2 and 1 of 2 voxels of talus, int8 finds a tibia where there is none."""
    domain = Domain("ankle", {3: "talus", 5: "tibia"}, "axial")
    references = [[3, 3, 0, 0, 5, 5], [3, 3, 0, 0, 0, 0]]
    found = {"float32": [[3, 3, 0, 0, 5, 5], [3, 0, 0, 0, 0, 0]], "int8": [[3, 3, 0, 0, 5, 0], [3, 0, 0, 0, 5, 0]]}

    def write(path: Path, values: list[int]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.array(values, np.uint8).reshape(6, 1, 1), np.eye(4)), path)
        return path

    def segment(configs: list[str], *, output_dir: Path, precision: str, images: list[Any], **how: Any) -> None:
        assert (configs, how["checkpoint"], how["domain"]) == (["inference.yaml"], tmp_path, "ankle")
        for item, values in zip(images, found[precision][-len(images) :], strict=True):
            write(output_dir / f"{item['name']}_seg.nii.gz", values)

    monkeypatch.setattr(held_out, "run_workflow", segment)
    cases = []
    for number, values in enumerate(references):
        image = write(tmp_path / f"{number}.nii.gz", [1, 2, 3, 4, 5, 6])
        cases.append(Case(str(number), "ankle", image, write(tmp_path / f"{number}_label.nii.gz", values), "s"))
    talus, tibia = compare_precisions(tmp_path, cases, domain=domain)
    assert (talus.label, talus.cases, talus.float32, talus.int8) == ("talus", 2, pytest.approx(5 / 6), talus.float32)
    assert (tibia.label, tibia.cases, tibia.float32, tibia.int8) == ("tibia", 2, 1.0, pytest.approx(1 / 3))
    with pytest.raises(InputError, match=r"got ankle tibia from 100\.00 to 33\.33 \(n=2\); package without"):
        check_fall([talus, tibia])
    found["int8"][1] = found["float32"][1]
    assert compare_precisions(tmp_path, cases, domain=domain)[1].cases == 1
    with pytest.raises(InputError, match="held-out cases of ankle must show every bone, got none with tibia"):
        compare_precisions(tmp_path, cases[1:], domain=domain)


def test_the_fall_is_what_counts() -> None:
    check_fall([BoneDice("ankle", "talus", 3, 0.9, 0.8991), BoneDice("ankle", "tibia", 3, 0.2, 0.9)])
    with pytest.raises(InputError, match=r"got ankle talus from 90\.00 to 89\.89 \(n=3\), ankle tibia from"):
        check_fall([BoneDice("ankle", "talus", 3, 0.9, 0.8989), BoneDice("ankle", "tibia", 3, 0.9, 0.0)])


def test_packages_that_are_missing_are_named(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(InputError, match=r"a network in int8 needs onnxruntime, got none; .*multijoint\[onnx\]"):
        quantise(model, domain="ankle", slices=[torch.zeros(1, 1, 32, 32)], digest="")
