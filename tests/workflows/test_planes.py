"""One data set in three planes beside another in one, from a training to a package."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.models.checkpoints import load_model
from monai.bundle import ConfigWorkflow
from support.bundles import SMALL, Run
from support.commands import error_line

from multijoint.cli import main
from multijoint.phantoms import write_phantoms
from multijoint.sharing.packaging.int8_networks import measure_int8, quantise_model


@pytest.fixture(scope="module")
def data(made_once: Callable[..., Path]) -> Path:
    return made_once(
        "two_joints", lambda folder: write_phantoms(folder, domains=["ankle", "shoulder"], num_cases=3, seed=0, size=40)
    )


@pytest.fixture(scope="module")
def trained(data: Path, run_bundle: Run, made_once: Callable[..., Path]) -> Path:
    """Folder of the run."""

    def make(folder: Path) -> None:
        settings = SMALL | {"manifests": [str(data / name / "manifest.yaml") for name in ("ankle", "shoulder")]}
        settings |= {"planes": ["ankle"], "image_size": [32, 32], "context": 1}
        run_bundle("multijoint", ["train.yaml"], "training", **settings, output_dir=str(folder / "run"), device="cpu")

    return made_once("planes", make) / "run"


def test_each_plane_is_trained_and_validated_and_people_are_named_once(trained: Path) -> None:
    model = load_model(trained / "model.pt")
    assert [each.name for each in model.domains] == ["ankle", "shoulder", "ankle_sagittal", "ankle_coronal"]
    header = (trained / "log.csv").read_text().splitlines()[0]
    assert all(f"val_mean_dice_{each.name}" in header for each in model.domains)
    split = json.loads((trained / "split.json").read_text())
    assert {row["domain"] for row in split["training"]} == {"ankle", "shoulder"}
    assert set(model.training["quality"]) == {"ankle", "shoulder"}


def test_evaluation_run_and_package_give_the_same_labels(trained: Path, data: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(trained)]) == 0
    summary = (trained / "evaluation" / "summary.csv").read_text()
    assert "ankle_coronal" not in summary
    [tested] = sorted((trained / "evaluation" / "ankle").glob("*_seg.nii.gz"))
    image = data / "ankle" / "images" / tested.name.replace("_seg", "")
    model, given = str(trained / "model.pt"), ["--domain", "ankle", "--device", "cpu", "--out"]
    assert main(["package", "multijoint_mr_bone_segmentation", "--checkpoint", model, "--out", str(tmp_path)]) == 0
    bundle = tmp_path / "multijoint_mr_bone_segmentation"
    assert main(["inspect", str(bundle)]) == 0
    assert not (bundle / "configs" / "domain_ankle_coronal.json").exists()
    assert "| ankle (default) |" in (card := (bundle / "docs" / "README.md").read_text())
    assert "| axial, sagittal, coronal |" in card
    assert "32 x 32 pixels" in card
    single = ["package", "multijoint_mr_bone_segmentation", "--single", "ankle", "--name", "alone"]
    assert main([*single, "--checkpoint", model, "--out", str(tmp_path)]) == 0
    for number, source in enumerate(
        (["--checkpoint", model], ["--bundle", str(bundle)], ["--bundle", str(tmp_path / "alone")])
    ):
        assert main(["segment", str(image), *source, *given, str(tmp_path / str(number))]) == 0
        labels = [np.asarray(nib.load(path).dataobj) for path in (tested, tmp_path / str(number) / tested.name)]
        np.testing.assert_array_equal(*labels)


def test_a_package_trains_on_in_all_planes(trained: Path, data: Path, tmp_path: Path) -> None:
    words = ["package", "multijoint_mr_bone_segmentation", "--checkpoint", str(trained / "model.pt")]
    assert main([*words, "--out", str(tmp_path)]) == 0
    bundle = tmp_path / "multijoint_mr_bone_segmentation"
    settings = {name: SMALL[name] for name in ("max_epochs", "batch_size")} | {"num_workers": 0, "publish_to": None}
    manifests = [str(data / name / "manifest.yaml") for name in ("ankle", "shoulder")]
    workflow = ConfigWorkflow(
        str(bundle / "configs" / "train.json"), workflow_type="train", logging_file=False, bundle_root=str(bundle),
        manifests=manifests, output_dir=str(tmp_path / "run"), **settings,
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    model, before = (load_model(folder / "model.pt") for folder in (tmp_path / "run", trained))
    assert model.domains == before.domains
    assert set(model.training["quality"]) == {"ankle", "shoulder"}
    people = json.loads((tmp_path / "run" / "split.json").read_text())["training"]
    assert {row["domain"] for row in people} == {"ankle", "shoulder"}
    norms = [name for name in model.weights if ".norms." in name and name.endswith("running_var")]
    assert {name.split(".norms.")[1].split(".")[0] for name in norms} == {"0", "1", "2", "3"}
    assert all(not torch.equal(model.weights[name], before.weights[name]) for name in norms)


def test_folding_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["package", "multijoint_mr_bone_segmentation", "--checkpoint", str(trained / "model.pt"), "--fold"]
    assert main([*words, "--single", "ankle", "--out", str(tmp_path)]) == 1
    names = "ankle, ankle_sagittal, ankle_coronal"
    rule = f"error: a model to fold must have one domain, got {names}; package its planes without --fold"
    assert error_line(capsys) == rule


def test_an_evaluation_need_not_know_how_it_was_trained(
    trained: Path, data: Path, run_bundle: Run, tmp_path: Path
) -> None:
    manifests = [str(data / name / "manifest.yaml") for name in ("ankle", "shoulder")]
    how = {"manifests": manifests, "checkpoint": str(trained / "model.pt"), "output_dir": str(tmp_path / "1")}
    run_bundle("multijoint", ["train.yaml", "evaluate.yaml"], "evaluating", **SMALL, **how, device="cpu")
    assert main(["evaluate", str(trained), "--out", str(tmp_path / "2")]) == 0
    one, other = (tmp_path / name / "summary.csv" for name in "12")
    assert one.read_text() == other.read_text()


def test_int8_has_a_network_for_each_plane(trained: Path, data: Path) -> None:
    manifests = [data / name / "manifest.yaml" for name in ("ankle", "shoulder")]
    model = load_model(trained / "model.pt")
    files, held_out = quantise_model(model, manifests)
    networks = [f"models/{each.name}.int8.onnx" for each in model.domains]
    assert sorted(files) == sorted([*networks, *(f"{path}.sha256" for path in networks)])
    assert set(held_out) == {"ankle", "shoulder"}
    rows = measure_int8(model, files, held_out)
    assert {row.domain for row in rows} == {"ankle", "shoulder"}
    assert all(abs(row.fall) < 0.2 for row in rows)
    ankle, _ = quantise_model(model, manifests, domain="ankle")
    assert ankle == {path: content for path, content in files.items() if "ankle" in path}
