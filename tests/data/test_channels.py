"""Channels of a slice: files of one scan on one grid, each normalised by itself, with their neighbours in order."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.data.augmentation import RandFlipRotateTranslated, RandIntensityd
from custom_components.data.cases import as_case
from custom_components.data.channels import check_channels, network_channels, read_channels, stack_channels
from custom_components.data.datasets import SliceDataset
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError

DIXON = Domain("dixon", {1: "femur"}, "axial", "MR", ("water", "fat"))
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A case of two channels, 4 x 4 voxels in 3 slices; the second is the first turned round, 100 times as bright."""
    rng = np.random.default_rng(0)
    water, label = rng.random((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8)
    label[1:3, 1:3] = 1
    return {
        "water": save(tmp_path / "a_0000.nii", water),
        "fat": save(tmp_path / "a_0001.nii", 100 * water[::-1] + 7),
        "label": save(tmp_path / "a_label.nii", label),
    }


def test_a_domain_keeps_the_names_of_its_channels() -> None:
    assert (DIXON.num_channels, Domain("ankle", {1: "talus"}, "axial").num_channels) == (2, 1)
    assert Domain.from_dict(DIXON.to_dict()) == DIXON
    assert "channels" not in Domain("ankle", {1: "talus"}, "axial").to_dict()
    for names in (("water",), ("water", "water"), ("wa=ter", "fat"), ("water", ""), ("water", 3)):
        with pytest.raises(InputError, match="channels of domain dixon must be two or more different names"):
            Domain("dixon", {1: "femur"}, "axial", "MR", names)


def test_channels_in_another_storage_order_are_turned_to_the_first(files: dict[str, Path], tmp_path: Path) -> None:
    image = nib.load(files["fat"])
    turned = image.as_reoriented(np.array([[1, -1], [0, 1], [2, 1]]))
    first, other = read_channels([files["water"], save(tmp_path / "b.nii", turned.get_fdata(), turned.affine)])
    np.testing.assert_allclose(other.array, image.get_fdata(), rtol=1e-6)
    np.testing.assert_array_equal(first.affine, other.affine)


def test_channels_on_different_grids_are_refused_by_their_names(files: dict[str, Path], tmp_path: Path) -> None:
    small = save(tmp_path / "small.nii", np.random.default_rng(0).random((4, 4, 2)))
    with pytest.raises(InputError, match=r"channel small.nii must have the shape of a_0000.nii, .*; resample it$"):
        read_channels([files["water"], small])
    moved = save(tmp_path / "moved.nii", nib.load(files["fat"]).get_fdata(), AFFINE + np.eye(4, k=3) * 2)
    with pytest.raises(InputError, match=r"channel moved.nii must have the affine of a_0000.nii, .* copy its header"):
        read_channels([files["water"], moved])


def test_a_scan_with_another_number_of_channels_is_refused_by_name() -> None:
    check_channels(2, DIXON, scan="a.nii")
    with pytest.raises(
        InputError, match=r"must have 2 channels \(water, fat\) for domain dixon, got 1; fat is missing"
    ):
        check_channels(1, DIXON, scan="a.nii")
    with pytest.raises(
        InputError, match=r"scan a\.nii must have 1 channel for domain ankle, got 2; give the file of one"
    ):
        check_channels(2, Domain("ankle", {1: "talus"}, "axial"), scan="a.nii")


def test_each_channel_is_normalised_by_itself_and_comes_with_its_neighbours(files: dict[str, Path]) -> None:
    arrays = [volume.array for volume in read_channels([files["water"], files["fat"]])]
    settings = Preprocessing((4, 4), context=1, position=True)
    stacks = stack_channels(arrays, AFFINE, plane="axial", settings=settings)
    for stack in stacks:
        assert abs(float(stack.mean())) < 1e-6
        assert float(stack.std(correction=0)) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(stacks[1], stacks[0].flip(1), rtol=1e-5, atol=1e-5)
    found = network_channels(stacks, affine=AFFINE, shape=(4, 4, 3), plane="axial", settings=settings)
    assert found.shape == (3, 2 * 3 + 3, 4, 4)
    order = [stack[number] for stack in stacks for number in (0, 0, 1)]
    assert torch.equal(found[0, :6], torch.stack(order))
    assert torch.equal(found[:, 1], stacks[0])
    assert torch.equal(found[:, 4], stacks[1])


@pytest.mark.parametrize(("pixels", "offset"), [(8, 1), (2, 1), (1, 2)])
def test_neighbours_lie_as_far_apart_as_the_pixels_of_a_resized_slice(tmp_path: Path, pixels: int, offset: int) -> None:
    affine = np.diag([3.0, 3.0, 6.0, 1.0])  # four voxels of 3 mm in a row become pixels of 1.5, 6 and 12 mm
    values = np.random.default_rng(0).random((4, 4, 7), np.float32)
    image = save(tmp_path / "image.nii", values, affine)
    label = save(tmp_path / "label.nii", np.ones((4, 4, 7), np.uint8), affine)
    settings = Preprocessing((pixels, pixels), context=1, context_mm="auto")
    [stack] = stacks = stack_channels([values], affine, plane="axial", settings=settings)
    found = network_channels(stacks, affine=affine, shape=values.shape, plane="axial", settings=settings)
    assert torch.equal(found[3], stack[[3 - offset, 3, 3 + offset]])
    case = as_case({"image": image, "label": label}, domain="ankle")
    dataset = SliceDataset([case], domains=[Domain("ankle", {1: "talus"}, "axial")], preprocessing=settings)
    assert torch.equal(dataset[3]["image"], found[3])
    assert Preprocessing(**settings.to_dict()) == settings


@pytest.mark.parametrize("wrong", ["near", 0, -1.0, True, 1e6])
def test_a_distance_between_neighbours_is_auto_or_positive(wrong: object) -> None:
    with pytest.raises(InputError, match="context_mm must be auto or a positive distance"):
        Preprocessing((8, 8), context=1, context_mm=wrong)  # type: ignore[arg-type]


def test_one_number_of_channels_for_all_domains_or_one_for_each() -> None:
    plain, other = Domain("ankle", {1: "talus"}, "axial"), Domain("t", {1: "talus"}, "axial", "MR", ("T1", "T2"))
    settings = Preprocessing((8, 8), context=2, position=True)
    assert settings.in_channels_of([plain, plain]) == settings.in_channels == 8
    assert settings.in_channels_of([DIXON, DIXON]) == 13
    assert settings.in_channels_of([plain, DIXON]) == [8, 13]
    assert settings.in_channels_of([DIXON, other]) == [13, 13], "of other names"


def test_items_of_a_training_and_their_augmentation(files: dict[str, Path]) -> None:
    case = as_case({"image": [files["water"], files["fat"]], "label": files["label"]}, domain="dixon")
    assert (case.name, [path.name for path in case.images]) == ("a_0000", ["a_0000.nii", "a_0001.nii"])
    settings = Preprocessing((4, 4), context=1)
    dataset = SliceDataset([case], domains=[DIXON], preprocessing=settings)
    item = dataset[1]
    assert (item["image"].shape, item["num_channels"]) == ((6, 4, 4), 2)
    mirror = RandFlipRotateTranslated(flip_axes=[2], max_rotation=0, max_translation=0)
    for seed in range(8):
        mirror.set_random_state(seed=seed)
        moved = mirror(item)
        order = [2, 1, 0, 5, 4, 3] if moved["mirrored"] else list(range(6))
        torch.testing.assert_close(moved["image"], item["image"][order], rtol=1e-4, atol=1e-4)
    assert not torch.equal(moved["image"][:3], moved["image"][3:])


def test_air_and_looks_are_those_of_each_channel() -> None:
    image = torch.stack([torch.full((8, 8), -1.0), torch.full((8, 8), 5.0)])
    item = {"image": image, "label": torch.zeros(1, 8, 8, dtype=torch.uint8), "num_channels": 2}
    item["pixel_spacing"] = np.ones(2)
    moved = RandFlipRotateTranslated(flip_axes=[], max_translation=0.5).set_random_state(seed=1)(item)
    torch.testing.assert_close(moved["image"], image)
    both = {"image": torch.rand(1, 8, 8).repeat(2, 1, 1), "num_channels": 2}
    looks = [RandIntensityd().set_random_state(seed=seed)(both)["image"] for seed in range(5)]
    assert any(not torch.equal(*look) for look in looks), "channels change by themselves"
