import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.data.augmentation import RandFlipRotateTranslated
from custom_components.data.cases import Case
from custom_components.data.datasets import SliceDataset
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.sampling import DomainBalancedBatchSampler, SampleKey
from custom_components.domains import Domain
from custom_components.errors import InputError
from monai.transforms import Compose
from torch.utils.data import DataLoader

DOMAINS = (Domain("ankle", {3: "talus", 1: "tibia"}, "axial"), Domain("shoulder", {1: "humerus"}, "sagittal"))
SHAPE = (8, 6, 4)
SPACING_MM = (1.0, 2.0, 3.0)
SETTINGS = Preprocessing((8, 6))


def write_case(folder: Path, name: str, domain: str, *, seed: int) -> Case:
    """A small volume of noise with a box of the first label and a slice without any bone."""
    affine = np.diag([*SPACING_MM, 1.0])
    array = np.random.default_rng(seed).normal(50, 10, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[2:6, 1:4, 1:] = 3 if domain == "ankle" else 1
    paths = [folder / f"{name}_{kind}.nii.gz" for kind in ("image", "label")]
    for values, path in zip((array, labels), paths, strict=True):
        nib.save(nib.Nifti1Image(values, affine), path)
    return Case(name, domain, *paths, subject=name)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    folder = tmp_path_factory.mktemp("volumes")
    domains = ("shoulder", "ankle", "ankle")
    return [write_case(folder, f"case{seed}", domain, seed=seed) for seed, domain in enumerate(domains)]


def make_dataset(cases: list[Case], **more: Any) -> SliceDataset:
    return SliceDataset(cases, domains=DOMAINS, preprocessing=SETTINGS, **more)


def test_every_slice_of_every_case_in_its_domains_plane(cases: list[Case], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        dataset = make_dataset(cases)
    assert caplog.messages == ["3 cases, 16 slices of 8 x 6"]
    assert len(dataset) == SHAPE[0] + 2 * SHAPE[2]  # sagittal, then twice axial
    assert dataset.sample_domains == [1] * SHAPE[0] + [0] * (2 * SHAPE[2])
    assert dataset.case_domains == [1, 0, 0]

    item = dataset[SHAPE[0] + SHAPE[2] + 2]  # third slice of the third case
    assert (item["domain"], item["case"], item["slice"]) == (0, 2, 2)
    assert (item["image"].shape, item["image"].dtype) == ((1, 8, 6), torch.float32)
    volume = np.asarray(nib.load(cases[2].image).dataobj)
    expected = (volume - volume.mean()) / volume.std()
    np.testing.assert_allclose(item["image"][0], expected[:, :, 2], atol=1e-5)
    classes = torch.zeros(1, 8, 6, dtype=torch.uint8)
    classes[:, 2:6, 1:4] = 1  # label value 3 is the first class
    assert torch.equal(item["label"], classes)
    np.testing.assert_allclose(item["pixel_spacing"], (1.0, 2.0))

    # Sagittal: 6 rows of 2 mm become 8, 4 columns of 3 mm become 6.
    np.testing.assert_allclose(dataset[0]["pixel_spacing"], (1.5, 2.0))
    assert not dataset[0]["label"].any(), "slices without any bone stay in"


def test_a_plain_index_is_the_first_drawing_of_epoch_zero(cases: list[Case]) -> None:
    dataset = make_dataset(cases, transform=RandFlipRotateTranslated(), seed=4)
    first, again = dataset[5], dataset[SampleKey(5, 0, 0)]
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], dataset[SampleKey(5, 1, 0)]["image"])


@pytest.mark.parametrize("composed", [False, True])
def test_augmentation_depends_on_seed_and_key_alone(cases: list[Case], composed: bool) -> None:
    def transform() -> Any:
        random = RandFlipRotateTranslated()
        return Compose([random]) if composed else random

    keys = [SampleKey(index, epoch, cycle) for index in (3, 9) for epoch in (1, 2) for cycle in (0, 1)]
    dataset = make_dataset(cases, transform=transform(), seed=1)
    forwards = {key: dataset[key]["image"] for key in keys}
    backwards = {key: dataset[key]["image"] for key in reversed(keys)}
    other = make_dataset(cases, transform=transform(), seed=2)
    for key in keys:
        assert torch.equal(forwards[key], backwards[key])
        assert not torch.equal(forwards[key], other[key]["image"])
    images = [forwards[key] for key in keys]
    assert not any(torch.equal(images[i], images[j]) for i in range(8) for j in range(i)), "each drawing differs"


def test_worker_processes_do_not_change_the_batches(cases: list[Case]) -> None:
    dataset = make_dataset(cases, transform=RandFlipRotateTranslated(), seed=1)
    sampler = DomainBalancedBatchSampler(dataset.sample_domains, batch_size=6, seed=1)
    epochs = []
    for num_workers in (0, 2):
        batches = list(DataLoader(dataset, batch_sampler=sampler, num_workers=num_workers))
        assert [batch["domain"].tolist() for batch in batches] == [[0] * 3 + [1] * 3] * 2 + [[0] * 2 + [1] * 2]
        epochs.append(batches)
    for alone, spread in zip(*epochs, strict=True):
        for key in ("image", "label", "domain", "case", "slice", "pixel_spacing"):
            assert torch.equal(alone[key], spread[key]), key


def test_a_transform_that_is_not_random_is_just_called(cases: list[Case]) -> None:
    dataset = make_dataset(cases, transform=lambda item: item["slice"])
    assert [dataset[index] for index in range(10)] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]


def test_a_label_map_without_a_bone_teaches_nothing(cases: list[Case], tmp_path: Path) -> None:
    label = nib.load(cases[0].label)
    empty = nib.Nifti1Image(np.zeros(label.shape, np.uint8), label.affine)
    nib.save(empty, tmp_path / "empty.nii")
    with pytest.raises(InputError, match=r"label map empty\.nii must show a bone, got none; draw it, or leave"):
        make_dataset([*cases[1:], replace(cases[0], label=tmp_path / "empty.nii")])


def test_errors(cases: list[Case]) -> None:
    with pytest.raises(InputError, match="must leave at least one case on each side, got none; check fold"):
        make_dataset([])
    unlabelled = Case("case9", "ankle", cases[1].image, None, "case9")
    with pytest.raises(InputError, match="case case9 must have a label to train or validate on"):
        make_dataset([cases[0], unlabelled])
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got 'hip'"):
        make_dataset([Case("case9", "hip", cases[1].image, cases[1].label, "case9")])
    foreign = Case("case9", "shoulder", cases[1].image, cases[1].label, "case9")
    with pytest.raises(
        InputError, match=r"label values in .*case1_label\.nii\.gz must be .* \(domain shoulder\), got 3"
    ):
        make_dataset([foreign])
