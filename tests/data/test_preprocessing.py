import itertools
from typing import Any

import numpy as np
import pytest
import torch
from custom_components.data.preprocessing import (
    Preprocessing,
    pixel_spacing_mm,
    restore_stack,
    stack_labels,
    stack_slices,
)
from custom_components.errors import InputError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from PIL import Image
from scipy.ndimage import zoom

SHAPE = (10, 12, 14)
SPACING_MM = (0.5, 0.8, 3.0)
ORIENTATIONS = [
    np.array([[axis, sign] for axis, sign in zip(axes, signs, strict=True)])
    for axes, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
]
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


def oblique_affine(degrees: float = 10.0) -> np.ndarray:
    """RAS+ to rounding, turned about two axes."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    about_z = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z @ np.diag(SPACING_MM)
    affine[:3, 3] = (-20, 35, 7)
    return affine


def stored_as(array: np.ndarray, affine: np.ndarray, orientation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same volume in another axis order, as nibabel would store it."""
    return apply_orientation(array, orientation), affine @ inv_ornt_aff(orientation, array.shape)


def make_volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 20, SHAPE).astype(np.float32)


def make_labels() -> np.ndarray:
    """Two boxes, so that every axis and direction differs."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:6, 2:9, 3:13] = 1
    labels[6:9, 4:11, 1:7] = 2
    return labels


@pytest.mark.parametrize("plane", PLANES)
def test_every_storage_order_gives_the_same_slices(plane: str) -> None:
    image, labels, affine = make_volume(), make_labels(), oblique_affine()
    settings = Preprocessing((16, 8))
    expected = stack_slices(image, affine, plane=plane, settings=settings)
    expected_labels = stack_labels(labels, affine, plane=plane, settings=settings)
    spacing = pixel_spacing_mm(SHAPE, affine, plane=plane, settings=settings)
    assert expected.shape == expected_labels.shape == (SHAPE[PLANES[plane]], 16, 8)
    for orientation in ORIENTATIONS:
        stored, stored_affine = stored_as(image, affine, orientation)
        stack = stack_slices(stored, stored_affine, plane=plane, settings=settings)
        torch.testing.assert_close(stack, expected, atol=1e-5, rtol=0)
        stored_labels, _ = stored_as(labels, affine, orientation)
        assert torch.equal(stack_labels(stored_labels, stored_affine, plane=plane, settings=settings), expected_labels)
        other = pixel_spacing_mm(stored.shape, stored_affine, plane=plane, settings=settings)
        np.testing.assert_allclose(other, spacing)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("orientation", ORIENTATIONS[::5], ids=lambda value: str(value.tolist()))
def test_labels_return_exactly_to_the_source_grid(plane: str, orientation: np.ndarray) -> None:
    labels, affine = stored_as(make_labels(), oblique_affine(), orientation)
    rows, columns = (size for axis, size in enumerate(SHAPE) if axis != PLANES[plane])
    for factor in (1, 2):  # the source's own size, and a whole multiple of it
        stack = stack_labels(labels, affine, plane=plane, settings=Preprocessing((factor * rows, factor * columns)))
        logits = torch.nn.functional.one_hot(stack.long(), 3).permute(0, 3, 1, 2) * 10.0
        restored = restore_stack(logits, shape=labels.shape, affine=affine, plane=plane)
        np.testing.assert_array_equal(restored, labels)
        assert restored.dtype == np.uint8
        assert restored.flags["C_CONTIGUOUS"]


def test_resized_labels_return_nearly() -> None:
    labels = np.kron(make_labels(), np.ones((4, 4, 1), dtype=np.uint8))
    affine = oblique_affine()
    stack = stack_labels(labels, affine, plane="axial", settings=Preprocessing((64, 64)))
    logits = torch.nn.functional.one_hot(stack.long(), 3).permute(0, 3, 1, 2).float()
    restored = restore_stack(logits, shape=labels.shape, affine=affine, plane="axial")
    for value in (1, 2):
        found, expected = restored == value, labels == value
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.97


def test_slices_by_hand() -> None:
    """Two axial slices of one pixel row each, in a file whose first axis runs to the left."""
    array = np.array([[[0.0, 8.0]], [[2.0, 6.0]]])
    left = np.diag([-1.0, 1.0, 1.0, 1.0])
    volume = stack_slices(array, left, plane="axial", settings=Preprocessing((2, 1)))
    # In RAS+ order the slices are (2, 0) and (6, 8); mean 4, variance (4 + 16 + 4 + 16) / 4 = 10.
    expected = torch.tensor([[[-2.0], [-4.0]], [[2.0], [4.0]]]) / 10**0.5
    torch.testing.assert_close(volume, expected)
    slices = stack_slices(array, left, plane="axial", settings=Preprocessing((2, 1), normalization="slice"))
    torch.testing.assert_close(slices, torch.tensor([[[1.0], [-1.0]], [[-1.0], [1.0]]]))


@pytest.mark.parametrize("plane", PLANES)
def test_slices_run_along_the_normal_in_ras_order(plane: str) -> None:
    axis = PLANES[plane]
    ramp = np.moveaxis(np.broadcast_to(np.arange(6.0)[:, None, None], (6, 4, 4)), 0, axis)
    means = stack_slices(ramp, np.eye(4), plane=plane, settings=Preprocessing((4, 4))).mean(dim=(1, 2))
    np.testing.assert_allclose(means, (np.arange(6) - 2.5) / np.std(np.arange(6)), rtol=1e-5)


@pytest.mark.parametrize("normalization", ["volume", "slice"])
def test_normalised_to_zero_mean_and_unit_variance(normalization: str) -> None:
    images = stack_slices(
        make_volume(), oblique_affine(), plane="axial", settings=Preprocessing((32, 24), normalization=normalization)
    )
    assert images.dtype == torch.float32
    groups = [images] if normalization == "volume" else list(images)
    for group in groups:
        assert group.mean().item() == pytest.approx(0, abs=1e-5)
        assert group.std(correction=0).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("normalization", ["volume", "slice"])
def test_no_bit_depends_on_the_number_of_threads(normalization: str) -> None:
    """In sizes at which PyTorch's own interpolation of a whole stack does depend on it."""
    volume = np.random.default_rng(0).normal(100, 20, (173, 201, 45)).astype(np.float32)
    logits = torch.randn(45, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    before, results = torch.get_num_threads(), []
    for num_threads in (1, 2, 4):
        torch.set_num_threads(num_threads)
        settings = Preprocessing((256, 256), normalization=normalization)
        images = stack_slices(volume, np.eye(4), plane="axial", settings=settings)
        results.append((images, restore_stack(logits, shape=volume.shape, affine=np.eye(4), plane="axial")))
    torch.set_num_threads(before)
    for images, restored in results[1:]:
        assert torch.equal(images, results[0][0])
        np.testing.assert_array_equal(restored, results[0][1])


def test_statistics_are_those_of_double_precision() -> None:
    volume = np.random.default_rng(0).normal(1e6, 1, (64, 64, 30)).astype(np.float32)
    images = stack_slices(volume, np.eye(4), plane="axial", settings=Preprocessing((64, 64)))
    exact = np.moveaxis(volume.astype(np.float64), 2, 0)
    np.testing.assert_allclose(images, (exact - exact.mean()) / exact.std(), atol=0.04)  # a float's step there is 1/16


def test_intensity_units_do_not_matter() -> None:
    volume, affine, settings = make_volume(), oblique_affine(), Preprocessing((16, 16))
    once = stack_slices(volume, affine, plane="axial", settings=settings)
    torch.testing.assert_close(
        stack_slices(3 * volume + 50, affine, plane="axial", settings=settings), once, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("normalization", ["volume", "slice"])
@pytest.mark.parametrize("exponent", [-120, -60, -20, 20, 100, 120])
def test_a_scan_times_a_power_of_two_gives_the_same_bits(exponent: int, normalization: str) -> None:
    volume = make_volume()
    volume[:, :, 0] = 0
    settings = Preprocessing((16, 8), normalization=normalization)
    once = stack_slices(volume, np.eye(4), plane="axial", settings=settings)
    scaled = stack_slices(np.ldexp(volume, exponent), np.eye(4), plane="axial", settings=settings)
    assert torch.equal(scaled, once)


@pytest.mark.parametrize("factor", [1e-6, 1e-30, 1e-41, 1e30, 3e38])
def test_a_scan_of_tiny_or_huge_values_looks_the_same(factor: float) -> None:
    """Down to subnormal numbers, and up to where a difference of two voxels is no float32."""
    volume = make_volume() - 100
    volume = (volume / np.abs(volume).max()).astype(np.float32)
    settings = Preprocessing((16, 16))
    once = stack_slices(volume, np.eye(4), plane="axial", settings=settings)
    scaled = stack_slices((volume * np.float64(factor)).astype(np.float32), np.eye(4), plane="axial", settings=settings)
    torch.testing.assert_close(scaled, once, atol=2e-3 if factor == 1e-41 else 1e-5, rtol=0)


@pytest.mark.parametrize("value", [0, 7, 1000.3, 1e-7])
def test_what_is_constant_becomes_zero_not_noise(value: float) -> None:
    """Also where resizing rounds its values."""
    volume = np.random.default_rng(0).normal(100, 20, (173, 201, 3)).astype(np.float32)
    volume[:, :, 0] = value
    settings = Preprocessing((256, 256), normalization="slice")
    images = stack_slices(volume, np.eye(4), plane="axial", settings=settings)
    assert not images[0].any()
    assert images[1].std().item() == pytest.approx(1, abs=1e-4)
    alone = np.full_like(volume, value)
    assert not stack_slices(alone, np.eye(4), plane="axial", settings=Preprocessing((256, 256))).any()


def test_long_stacks_are_resized_in_parts_of_equal_result() -> None:
    """More slices than are resized at once; linear upsampling agrees with scipy."""
    volume = np.random.default_rng(0).normal(size=(6, 5, 70))
    images = stack_slices(volume, np.eye(4), plane="axial", settings=Preprocessing((12, 10)))
    expected = zoom(volume, (2, 2, 1), order=1, mode="nearest", grid_mode=True)
    expected = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(images, np.moveaxis(expected, 2, 0), atol=1e-5)

    labels = np.random.default_rng(0).integers(0, 3, (6, 5, 70)).astype(np.uint8)
    stack = stack_labels(labels, np.eye(4), plane="axial", settings=Preprocessing((6, 5)))
    np.testing.assert_array_equal(stack, np.moveaxis(labels, 2, 0))
    logits = torch.nn.functional.one_hot(stack.long(), 3).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(restore_stack(logits, shape=(6, 5, 70), affine=np.eye(4), plane="axial"), labels)


def test_shrinking_is_anti_aliased_as_in_pillow() -> None:
    image = np.random.default_rng(0).normal(size=(48, 40)).astype(np.float32)
    images = stack_slices(image[:, :, None], np.eye(4), plane="axial", settings=Preprocessing((11, 16)))
    expected = np.asarray(Image.fromarray(image).resize((16, 11), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(images[0], (expected - expected.mean()) / expected.std(), atol=1e-4)


def test_a_shrunken_label_is_the_one_at_the_pixel_centre() -> None:
    labels = np.arange(6, dtype=np.uint8).reshape(1, 6, 1)
    stack = stack_labels(labels, np.eye(4), plane="axial", settings=Preprocessing((1, 2)))
    assert stack.tolist() == [[[1, 4]]]


def test_logits_are_interpolated_before_the_largest_wins() -> None:
    logits = torch.tensor([[3.0, -1.0], [0.0, 0.0]])[None, :, None]  # two pixels; class 1 wins in the second
    # At twice the resolution: 3, 2, 0, -1 against 0; the tie goes to the first class.
    restored = restore_stack(logits, shape=(1, 4, 1), affine=np.eye(4), plane="axial")
    assert restored.ravel().tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(("volume_slices", "given"), [(5, 1), (40, 32), (5, 6)])
def test_a_wrong_number_of_slices_is_refused(volume_slices: int, given: int) -> None:
    with pytest.raises(ValueError, match=rf"one slice for each of the {volume_slices} of the source, got {given}"):
        restore_stack(torch.zeros(given, 2, 4, 4), shape=(4, 4, volume_slices), affine=np.eye(4), plane="axial")


@pytest.mark.parametrize(
    ("plane", "expected"), [("sagittal", (0.8 * 12 / 24, 3.0 * 14 / 7)), ("coronal", (0.5 * 10 / 24, 3.0 * 14 / 7)),
                            ("axial", (0.5 * 10 / 24, 0.8 * 12 / 7))]
)  # fmt: skip
def test_pixel_spacing_by_hand(plane: str, expected: tuple[float, float]) -> None:
    spacing = pixel_spacing_mm(SHAPE, oblique_affine(), plane=plane, settings=Preprocessing((24, 7)))
    np.testing.assert_allclose(spacing, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": (256,)}, r"image_size must be two positive whole numbers, got \[256\]"),
        ({"image_size": (256, 0)}, r"image_size must be two positive whole numbers, got \[256, 0\]"),
        ({"image_size": (256, 256, 3)}, "image_size must be two positive whole numbers"),
        ({"image_size": (8, 8), "normalization": "z"}, "normalization must be 'volume' or 'slice', got 'z'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocessing(**settings)


def test_settings_from_a_configuration_compare_equal() -> None:
    assert Preprocessing([256, 128]) == Preprocessing((256, 128))  # type: ignore[arg-type]


def test_the_oblique_affine_of_these_tests_is_ras() -> None:
    np.testing.assert_array_equal(io_orientation(oblique_affine()), [[0, 1], [1, 1], [2, 1]])


def test_more_slices_than_fit_are_refused_by_name() -> None:
    settings = Preprocessing((512, 512))
    with pytest.raises(InputError, match=r"long\.nii must have at most 1024 axial slices, got 1025; crop it"):
        stack_slices(np.zeros((1, 1, 1025), np.float32), np.eye(4), plane="axial", settings=settings, name="long.nii")
