"""Shifted copies by hand: where every voxel goes, whatever the storage, and files that are written once."""

import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from custom_components.data.cases import Case
from custom_components.errors import InputError
from custom_components.io.geometry import to_canonical
from custom_components.io.volumes import read_label, read_volume
from nibabel.orientations import apply_orientation, inv_ornt_aff

from multijoint.experiments.jobs.shifts import SHIFTS, shift_exam, write_copies

AFFINE = np.array([[0.5, 0, 0, 10], [0, 0.5, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1.0]])  # RAS+
SHAPE = (20, 14, 4)


@pytest.fixture
def exam() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).uniform(100, 900, SHAPE).astype(np.float32)
    image[0, 0, 0] = 50  # the air
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:12, 5:9, 1:3] = 7
    labels[18:, :2, 0] = 3
    return image, labels


def shift(exam: tuple[np.ndarray, np.ndarray], how: str, *, plane: str = "axial", seed: int = 0, affine=AFFINE):
    return shift_exam(*exam, affine, plane=plane, how=how, seed=seed)


def test_moves_are_of_fifteen_percent_of_the_plane_with_air_behind(exam: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = exam
    for how, axis, steps in (("moved-right", 0, 3), ("moved-left", 0, -3), ("moved-up", 1, 2), ("moved-down", 1, -2)):
        moved, reference, affine = shift(exam, how)
        rolled = np.roll(image, steps, axis)
        entered = (slice(None),) * axis + (slice(None, steps) if steps > 0 else slice(steps, None),)
        rolled[entered] = 50
        np.testing.assert_array_equal(moved, rolled)
        expected = np.roll(labels, steps, axis)
        expected[entered] = 0
        np.testing.assert_array_equal(reference, expected)
        np.testing.assert_array_equal(affine, AFFINE)
    assert 3 not in shift(exam, "moved-right")[1]  # a bone may leave the field of view


def test_a_sagittal_exam_moves_in_its_own_plane(exam: tuple[np.ndarray, np.ndarray]) -> None:
    moved, _, _ = shift(exam, "moved-up", plane="sagittal")  # the axes of the plane are A and S; 15 % of 4 slices is 1
    np.testing.assert_array_equal(moved[..., 1:], exam[0][..., :-1])


@pytest.mark.parametrize(("how", "factor"), [("smaller", 0.85), ("larger", 1.15)])
def test_scaling_is_about_the_centre_of_the_plane(exam: tuple[np.ndarray, np.ndarray], how: str, factor: float) -> None:
    ramp = np.broadcast_to(np.arange(20.0)[:, None, None], SHAPE)
    scaled, labels, _ = shift((ramp, exam[1]), how)
    inside = slice(4, 16)
    expected = 9.5 + (np.arange(20) - 9.5) / factor
    np.testing.assert_allclose(scaled[inside, 7, 2], expected[inside], rtol=1e-5)
    if how == "smaller":
        assert (scaled[0] == 0).all()  # air
    bone = np.argwhere(labels == 7)
    np.testing.assert_allclose(bone.mean(axis=0), np.argwhere(exam[1] == 7).mean(axis=0), atol=0.51)
    assert set(bone[:, 2]) == {1, 2}  # not through the plane
    assert set(np.unique(labels)) <= {0, 3, 7}


def test_exposure_keeps_air_and_labels(exam: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = exam
    bright = np.percentile(image, 99) - 50
    scaled = (image - 50) / bright
    for how, expected in (("darker", 0.7 * scaled**1.5), ("brighter", 1.3 * scaled ** (2 / 3))):
        exposed, reference, _ = shift(exam, how)
        np.testing.assert_allclose(exposed, 50 + bright * expected, rtol=1e-4)
        np.testing.assert_array_equal(reference, labels)
    field = (shift(exam, "bias", seed=3)[0] - 50)[scaled > 0] / (image - 50)[scaled > 0]
    assert 1 / 1.601 < field.min() < field.max() < 1.601
    assert max(field.max(), 1 / field.min()) == pytest.approx(1.6, rel=1e-3)
    smooth = (shift(exam, "bias", seed=3)[0] - 50) / np.where(scaled > 0, image - 50, np.nan)
    assert np.nanmax(np.abs(np.diff(smooth, axis=0))) < 0.3


def test_blur_is_in_the_plane_with_little_noise() -> None:
    image = np.zeros((21, 21, 3), np.float32)
    image[10, 10, 1] = image[0, 0, 0] = 1000
    blurred, _, _ = shift((image, np.zeros(image.shape, np.uint8)), "blurred")
    assert blurred.min() >= 0
    point = blurred[..., 1]
    # 1 mm are 2 pixels: the peak of a Gaussian of that width in two dimensions; noise of 2 %
    assert point[10, 10] == pytest.approx(1000 / (2 * np.pi * 4), abs=70)
    assert blurred[15:, 15:, 2].std() == pytest.approx(20 * 0.58, rel=0.3)  # half of the noise is cut off at the air


@pytest.mark.parametrize(("seed", "kept"), [(0, slice(3, None)), (1, slice(None, 17))])
def test_cropping_takes_one_end_of_the_longer_axis(exam: tuple[np.ndarray, np.ndarray], seed: int, kept: slice) -> None:
    image, labels, affine = shift(exam, "cropped", seed=seed)
    np.testing.assert_array_equal(image, exam[0][kept])
    np.testing.assert_array_equal(labels, exam[1][kept])
    np.testing.assert_array_equal(affine[:3, 3], [10 + 0.5 * (kept.start or 0), 20, 30])  # every voxel stays in place


@pytest.mark.parametrize("how", SHIFTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_order_of_storage_changes_nothing(exam: tuple[np.ndarray, np.ndarray], how: str, seed: int) -> None:
    turn = np.array([[2, -1], [0, -1], [1, 1]])
    affine = AFFINE @ inv_ornt_aff(turn, SHAPE)
    turned = tuple(apply_orientation(array, turn) for array in exam)
    image, labels, placed = shift(turned, how, affine=affine, seed=seed)
    expected = shift(exam, how, seed=seed)
    np.testing.assert_allclose(to_canonical(image, placed), expected[0], rtol=1e-5)
    np.testing.assert_array_equal(to_canonical(labels, placed), expected[1])
    np.testing.assert_allclose(placed @ inv_ornt_aff(_ornt_to_canonical(placed), image.shape), expected[2], atol=1e-6)


def _ornt_to_canonical(affine: np.ndarray) -> np.ndarray:
    return nibabel.orientations.io_orientation(affine)


def test_unknown_shifts_are_refused(exam: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"shift must be one of moved-left, .*, cropped, got 'rotated'"):
        shift(exam, "rotated")


def test_copies_are_written_once_and_read_back(exam: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    paths = tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz"
    for path, voxels in zip(paths, (exam[0].round(), exam[1]), strict=True):
        nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
    case = Case("a_01", "ankle", *paths, "s1")
    copies = write_copies(tmp_path / "copies", case, plane="axial")
    assert [copy.name for copy in copies] == [f"a_01_{how}" for how in SHIFTS]
    assert {(copy.domain, copy.subject) for copy in copies} == {("ankle", "s1")}
    seed = zlib.crc32(b"ankle/a_01")
    for copy, how in zip(copies, SHIFTS, strict=True):
        image, labels, affine = shift((exam[0].round(), exam[1]), how, seed=seed)
        stored = read_volume(copy.image)
        np.testing.assert_allclose(stored.array, image, atol=np.ptp(image) / 4096)
        np.testing.assert_array_equal(read_label(copy.label, like=stored).array, labels)
        np.testing.assert_allclose(stored.affine, affine)
    np.testing.assert_array_equal(read_volume(copies[0].image).array, shift((exam[0].round(), exam[1]), SHIFTS[0])[0])

    marks = [path.stat().st_mtime_ns for copy in copies for path in (copy.image, copy.label)]
    before = copies[3].image.read_bytes()
    copies[3].label.unlink()  # of a process that was killed between the two files
    assert write_copies(tmp_path / "copies", case, plane="axial") == copies
    again = [path.stat().st_mtime_ns for copy in copies for path in (copy.image, copy.label)]
    assert [index for index, (old, new) in enumerate(zip(marks, again, strict=True)) if old != new] == [6, 7]
    assert copies[3].image.read_bytes() == before
