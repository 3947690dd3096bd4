"""Probability maps next to label maps: whole, the same for every number of threads, and those of the labels."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.models.ensembles import load_ensemble
from support.bundles import Run
from support.commands import scan_of, segment
from support.ensembles import train_folds

import multijoint

BONES = ("calcaneus", "talus", "tibia")


@pytest.fixture(scope="module")
def fold(manifests: dict[str, str], run_bundle: Run, made_once: Callable[..., Path]) -> Path:
    return train_folds(manifests, run_bundle, made_once)[0].parent


@pytest.fixture(scope="module")
def scan(manifests: dict[str, str]) -> Path:
    return scan_of(manifests, "ankle")


def maps_of(folder: Path) -> dict[str, Path]:
    return {bone: folder / f"ankle_000_prob_{bone}.nii.gz" for bone in BONES}


def test_a_map_a_bone_reads_as_its_probability(fold: Path, scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert segment(fold, out, scan, more=["--probabilities"]) == 0
    record = json.loads((out / "ankle_000_seg.json").read_text())
    assert list(record["probabilities"]) == list(BONES)
    label_map = nib.load(out / "ankle_000_seg.nii.gz")
    read = {bone: nib.load(path) for bone, path in maps_of(out).items()}
    for image in read.values():
        assert image.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(image.affine, label_map.affine)
        assert 0 <= image.get_fdata().min() <= image.get_fdata().max() <= 1 + 1e-6
    values = np.stack([read[bone].get_fdata() for bone in BONES])
    assert values.max() > 0.3
    assert float(values.sum(axis=0).max()) < 1 + 3 / 255
    labels = np.asarray(label_map.dataobj)
    background = 1 - values.sum(axis=0)
    likeliest = np.concatenate([background[None], values]).argmax(axis=0)
    sure = np.sort(np.concatenate([background[None], values]), axis=0)[-2:]
    clear = (sure[1] - sure[0] > 0.02) & (labels > 0)
    by_hand = likeliest[clear] == labels[clear]
    assert clear.sum() > 50
    assert by_hand.mean() > 0.8, "but for what closing fills"


def test_maps_are_deterministic_and_made_again_when_one_is_gone_or_not_wanted(
    fold: Path, scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    out = tmp_path / "out"
    assert segment(fold, out, scan) == 0
    assert not any(path.exists() for path in maps_of(out).values())
    for _ in range(2):
        assert segment(fold, out, scan, more=["--probabilities"]) == 0
    assert sum("finished before" in line for line in caplog.messages) == 1
    first = {bone: path.read_bytes() for bone, path in maps_of(out).items()}
    maps_of(out)["talus"].write_bytes(b"other")
    assert segment(fold, out, scan) == 0
    assert sum("finished before" in line for line in caplog.messages) == 2, "a run without maps needs none"
    torch.set_num_threads(2)
    try:
        assert segment(fold, out, scan, more=["--probabilities"]) == 0
        with multijoint.load(fold / "model.pt", device="cpu") as model:
            found = model.segment(scan, domain="ankle", probabilities=True)
    finally:
        torch.set_num_threads(1)
    assert {bone: path.read_bytes() for bone, path in maps_of(out).items()} == first
    assert {bone: found.probability(bone).to_bytes() for bone in BONES} == {
        bone: nib.load(path).to_bytes() for bone, path in maps_of(out).items()
    }
    found.save(tmp_path / "python")
    assert maps_of(tmp_path / "python")["tibia"].read_bytes() == first["tibia"]
    assert segment(fold, out, scan, more=["--overwrite"]) == 0
    assert not any(path.exists() for path in maps_of(out).values()), "those of an earlier result"


def test_views_by_the_command_are_those_of_the_setting(fold: Path, scan: Path, tmp_path: Path) -> None:
    assert segment(fold, tmp_path / "tta", scan, more=["--tta", "--probabilities"]) == 0
    assert segment(fold, tmp_path / "plain", scan, more=["--probabilities"]) == 0
    record = json.loads((tmp_path / "tta" / "ankle_000_seg.json").read_text())
    assert record["settings"]["test_time_augmentation"] == "auto"
    with multijoint.load(fold / "model.pt", device="cpu") as model:
        found = model.segment(scan, domain="ankle", test_time_augmentation="auto")
    assert found.label_map == (tmp_path / "tta" / "ankle_000_seg.nii.gz").read_bytes()
    tta, plain = (maps_of(tmp_path / name)["talus"].read_bytes() for name in ("tta", "plain"))
    assert tta != plain
    assert load_ensemble(fold / "model.pt").training["flip_axes"] == "sides"
