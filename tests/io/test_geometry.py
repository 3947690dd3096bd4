import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from custom_components.data.preprocessing import Preprocessing, restore_stack, stack_slices
from custom_components.io.geometry import canonical_spacing_mm, orientation_of, spacing_of, to_canonical
from custom_components.io.volumes import read_label, read_volume, write_label_map
from custom_components.postprocessing.transforms import KeepLargestComponentd, SphericalClosingd
from monai.data import MetaTensor
from nibabel.orientations import io_orientation
from support.hostile_nifti import nifti

SHAPE = (14, 12, 10)
AXIS_ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def axis_orders(array: np.ndarray, affine: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same volume in all 48 axis orders."""
    for axes, signs in AXIS_ORDERS:
        move = np.zeros((4, 4))  # new index -> old index
        move[3, 3] = 1
        for new, (old, sign) in enumerate(zip(axes, signs, strict=True)):
            move[old, new] = sign
            move[old, 3] = 0 if sign > 0 else array.shape[old] - 1
        yield np.flip(array.transpose(axes), [new for new in range(3) if signs[new] < 0]), affine @ move


def turn(*angles: float) -> np.ndarray:
    """Rotation by degrees about the first, second and third axis, one after the other; anisotropic spacing."""
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        step, radians = np.eye(3), math.radians(angle)
        step[one, one] = step[other, other] = math.cos(radians)
        step[other, one] = math.sin(radians)
        step[one, other] = -math.sin(radians)
        rotation = step @ rotation
    affine = np.eye(4)
    affine[:3, :3] = rotation * (0.5, 0.75, 2)
    affine[:3, 3] = (-20, 30, 5)
    return affine


AFFINES = {
    "upright": turn(0, 0, 0),
    "slightly": turn(3, -7, 12),
    "45": turn(0, 0, 45),
    "45 about x": turn(45, 0, 0),
    "-45 about y": turn(0, -45, 0),
    "135": turn(0, 0, 135),
    "45 twice": turn(45, 45, 0),
    "45 thrice": turn(45, 45, 45),
    "along the diagonal": turn(45, math.degrees(math.atan(math.sqrt(0.5))), 0),
}


def test_agrees_with_nibabel_where_there_is_no_tie() -> None:
    rng = np.random.default_rng(0)
    for angles in rng.uniform(-180, 180, (500, 3)):
        affine = turn(*angles)
        np.testing.assert_array_equal(orientation_of(affine), io_orientation(affine))


@pytest.mark.parametrize("name", AFFINES)
def test_every_axis_order_has_the_same_canonical_one(name: str) -> None:
    array = np.random.default_rng(1).integers(0, 99, SHAPE)
    expected = to_canonical(array, AFFINES[name])
    for stored, affine in axis_orders(array, AFFINES[name]):
        np.testing.assert_array_equal(to_canonical(stored, affine), expected)
        assert canonical_spacing_mm(affine) == pytest.approx(canonical_spacing_mm(AFFINES[name]))


def test_random_rotations_too() -> None:
    array = np.arange(24).reshape(2, 3, 4)
    rng = np.random.default_rng(2)
    for angles in (*rng.uniform(-180, 180, (20, 3)), *rng.choice([0, 45, 90, 135, -45], (20, 3))):
        expected = to_canonical(array, turn(*angles))
        for stored, affine in axis_orders(array, turn(*angles)):
            np.testing.assert_array_equal(to_canonical(stored, affine), expected)


def phantom() -> np.ndarray:
    """Two blocks of the same size in each of two intensities, far from each other: ties to break; one with a hole."""
    image = np.random.default_rng(3).normal(0, 5, SHAPE)
    image[1:4, 1:4, 1:4] += 100
    image[10:13, 8:11, 6:9] += 100
    image[2:5, 7:10, 2:5] += 200
    image[9:12, 2:5, 5:8] += 200
    image[3, 8, 3] = 0
    return image.round().astype(np.int16)


@pytest.mark.parametrize("plane", ["sagittal", "coronal", "axial"])
@pytest.mark.parametrize("name", ["upright", "slightly", "45", "45 thrice"])
@pytest.mark.parametrize("forms", [{"sform_code": 1}, {"sform_code": 0}], ids=["sform", "qform"])
def test_every_axis_order_gives_the_same_segmentation(tmp_path: Path, plane: str, name: str, forms: dict) -> None:
    """From file to file; a threshold takes the place of the network."""
    settings = Preprocessing(image_size=(16, 16))
    slices, segmentations = [], []
    for stored, affine in axis_orders(phantom(), AFFINES[name]):
        path = tmp_path / "scan.nii"
        path.write_bytes(nifti(stored, affine, **forms))
        volume = read_volume(path)
        stack = stack_slices(volume.array, volume.affine, plane=plane, settings=settings)
        logits = -torch.stack([stack, stack - 1.5, stack - 4], dim=1).abs()
        classes = restore_stack(logits, shape=volume.array.shape, affine=volume.affine, plane=plane)
        item = {"pred": MetaTensor(torch.from_numpy(classes)[None], affine=torch.from_numpy(volume.affine))}
        item = SphericalClosingd("pred", num_classes=3)(KeepLargestComponentd("pred", num_classes=3)(item))
        write_label_map(tmp_path / "seg.nii.gz", np.asarray(item["pred"])[0], like=volume)
        segmentation = read_label(tmp_path / "seg.nii.gz", like=volume)
        slices.append(stack)
        segmentations.append(to_canonical(segmentation.array, segmentation.affine))
    assert (np.bincount(segmentations[0].ravel()) > 8).all()
    for stack, segmentation in zip(slices, segmentations, strict=True):
        assert torch.equal(stack, slices[0])
        np.testing.assert_array_equal(segmentation, segmentations[0])


def test_spacing_of_an_oblique_volume() -> None:
    assert spacing_of(turn(10, 20, 30)) == pytest.approx((0.5, 0.75, 2))
