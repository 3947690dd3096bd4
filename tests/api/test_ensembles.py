"""Ensembles from files to label maps: the same bytes in any order, and the mean of their members worked out by hand."""

import json
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.data.preprocessing import classes_at, restore_stack
from custom_components.errors import InputError
from custom_components.inference.transforms import ReadVolumed, StackSlicesd
from custom_components.models.checkpoints import build_network, load_model, save_checkpoint
from custom_components.models.ensembles import load_ensemble
from custom_components.models.single_domain import select_domain
from custom_components.postprocessing.transforms import default_steps
from custom_components.workflows.monai_workarounds import raise_own_errors
from monai.transforms import Compose
from support.bundles import Run, config_files
from support.commands import error_line, scan_of, segment
from support.ensembles import train_folds
from support.processes import run

import multijoint
from multijoint.cli import main


@pytest.fixture(scope="module")
def folds(manifests: dict[str, str], run_bundle: Run, made_once: Callable[..., Path]) -> list[Path]:
    return train_folds(manifests, run_bundle, made_once)


@pytest.fixture(scope="module")
def scan(manifests: dict[str, str]) -> Path:
    return scan_of(manifests, "ankle")


def segment_with(folds: list[Path], out: Path, scan: Path, *more: str) -> Path:
    checkpoints = [word for fold in folds for word in ("--checkpoint", str(fold))]
    command = ["segment", str(scan), *checkpoints, "--domain", "ankle", "--device", "cpu", "--out", str(out)]
    assert main([*command, *more]) == 0
    return out / "ankle_000_seg.nii.gz"


def test_no_bit_depends_on_the_order_of_the_members_or_on_threads(
    folds: list[Path], scan: Path, tmp_path: Path
) -> None:
    found = []
    for number, order in enumerate(permutations(folds)):
        path = segment_with(list(order), tmp_path / str(number), scan)
        found.append((path.read_bytes(), path.with_name("ankle_000_seg.json").read_bytes()))
    assert len(set(found)) == 1
    torch.set_num_threads(2)
    try:
        with multijoint.load(folds, device="cpu") as model:
            segmentation = model.segment(scan, domain="ankle")
    finally:
        torch.set_num_threads(1)
    assert segmentation.label_map == found[0][0]
    record = json.loads(found[0][1])
    assert sorted(record["members_sha256"]) == sorted(load_model(fold).digest for fold in folds)
    assert [bone["confidence"] for bone in record["quality"]] == [None] * 3, "no calibration is that of an ensemble"
    assert all(bone["training_volume_ml"] for bone in record["quality"])
    single = [segment_with([fold], tmp_path / fold.parent.name, scan).read_bytes() for fold in folds]
    assert found[0][0] not in single


def test_the_label_map_is_that_of_the_mean_probabilities_worked_out_by_hand(
    folds: list[Path], scan: Path, tmp_path: Path
) -> None:
    model = load_ensemble(folds)
    item = Compose([ReadVolumed("image"), StackSlicesd("image", model=model, domain="ankle")])({"image": scan})
    slices, source = torch.as_tensor(item["image"]).movedim(-1, 0), item["source"]
    with torch.no_grad():
        networks = [build_network(load_model(fold), domain="ankle") for fold in folds]
        answers = torch.stack([network(slices).softmax(dim=1) for network in networks])
    classes = classes_at(answers.double().mean(dim=0).log(), item["source_slice"])
    plane = model.domain("ankle").plane
    labels = restore_stack(classes, shape=source.array.shape, affine=source.affine, plane=plane)
    steps = Compose(default_steps("pred", domains=model.domains))
    expected = np.asarray(steps({"pred": torch.from_numpy(labels)[None], "domain": "ankle", "source": source})["pred"])[
        0
    ]
    found = np.asarray(nib.load(segment_with(folds, tmp_path, scan)).dataobj)
    assert (found != model.domain("ankle").decode(expected)).mean() < 1e-4, "but for rounding of folded norms"
    assert len(np.unique(found)) > 1


def test_members_of_other_domains_are_refused_in_one_line(
    folds: list[Path], scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path / "ankle.pt", select_domain(load_model(folds[1]), "ankle"))
    more = ["--checkpoint", str(tmp_path / "ankle.pt")]
    assert segment(folds[0].parent, tmp_path / "out", scan, more=more) == 1
    line = error_line(capsys)
    assert "members of an ensemble must have the same domains" in line
    assert "got domains ['ankle', 'shoulder'] in" in line
    assert not (tmp_path / "out").exists()


def test_precision_int8_is_of_one_network(
    folds: list[Path], scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--checkpoint", str(folds[1]), "--precision", "int8"]
    assert segment(folds[0].parent, tmp_path / "out", scan, more=more) == 1
    assert "must be" in error_line(capsys)


def test_monai_runs_an_ensemble_and_gives_the_same_bytes(folds: list[Path], scan: Path, tmp_path: Path) -> None:
    expected = segment_with(folds, tmp_path / "command", scan).read_bytes()
    (config,) = config_files("multijoint", "inference.yaml")
    settings = {
        "config_file": config,
        "bundle_root": Path(config).parents[1],
        "images": [str(scan)],
        "checkpoint": [str(fold) for fold in reversed(folds)],
        "domain": "ankle",
        "device": "cpu",
        "output_dir": tmp_path / "monai",
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    done = run([sys.executable, "-m", "monai.bundle", "run", "inference", *words])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "monai" / "ankle_000_seg.nii.gz").read_bytes() == expected


def test_an_evaluation_refuses_everybody_that_any_member_has_seen(
    folds: list[Path], run_bundle: Run, manifests: dict[str, str], tmp_path: Path
) -> None:
    how = {"manifests": [manifests["ankle"], manifests["shoulder"]], "device": "cpu", "fold": 0}
    configs = ["train.yaml", "evaluate.yaml"]
    refusal = "must be unseen by the checkpoint.*give a manifest of other people"
    with pytest.raises(InputError, match=refusal), raise_own_errors():
        run_bundle("multijoint", configs, "evaluating", checkpoint=tuple(folds), output_dir=str(tmp_path), **how)
