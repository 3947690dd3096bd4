import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from custom_components.errors import InputError
from matplotlib import image as pictures

from multijoint.clinic import draw_overlay


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).uniform(0, 100, (20, 24, 16)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1.0])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def save_label(folder: Path, name: str, box: slice, shape: tuple[int, ...] = (20, 24, 16)) -> Path:
    labels = np.zeros(shape, np.uint8)
    labels[box, 6:18, 4:12] = 3
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([1, 1, 2, 1.0])), folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


def has_color(picture: Path, color: tuple[int, int, int]) -> bool:
    pixels = pictures.imread(picture)[..., :3] * 255
    return bool((np.abs(pixels - np.array(color)).max(axis=-1) < 30).sum() > 50)


def test_contours_are_drawn_in_color_and_the_reference_in_white(scan: Path, tmp_path: Path) -> None:
    label = save_label(tmp_path, "seg", slice(5, 15))
    (tmp_path / "seg.json").write_text(json.dumps({"labels": {"0": "background", "3": "talus"}}))
    orange = (0xE6, 0x9F, 0x00)
    draw_overlay(tmp_path / "with.png", scan, label)
    draw_overlay(tmp_path / "without.png", scan, save_label(tmp_path, "empty", slice(0, 0)))
    assert has_color(tmp_path / "with.png", orange)
    assert not has_color(tmp_path / "without.png", orange)
    height, width = pictures.imread(tmp_path / "with.png").shape[:2]
    assert width == 1320
    assert 460 < height <= 506  # no empty band under low planes


def test_missed_bone_still_shows_its_reference(scan: Path, tmp_path: Path) -> None:
    empty = save_label(tmp_path, "empty", slice(0, 0))
    reference = save_label(tmp_path, "reference", slice(5, 15))
    draw_overlay(tmp_path / "alone.png", scan, empty)
    draw_overlay(tmp_path / "both.png", scan, empty, reference=reference)
    alone, both = (pictures.imread(tmp_path / name)[..., :3].min(axis=-1) for name in ("alone.png", "both.png"))
    assert (both > 0.98).sum() > (alone > 0.98).sum() + 500  # white contour and legend


def test_label_of_another_grid_is_refused(scan: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        draw_overlay(tmp_path / "x.png", scan, save_label(tmp_path, "other", slice(5, 15), (21, 24, 16)))
    assert not (tmp_path / "x.png").exists()


def test_many_bones_have_numbers_and_as_many_rows_of_names_as_they_need(scan: Path, tmp_path: Path) -> None:
    labels = np.zeros((20, 24, 16), np.uint8)
    names = {"0": "background"}
    for value in range(1, 21):
        labels[value - 1, 6:18, 4:12] = value
        names[str(value)] = f"a bone with a long name, number {value}"
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([1, 1, 2, 1.0])), tmp_path / "many.nii.gz")
    draw_overlay(tmp_path / "unnamed.png", scan, tmp_path / "many.nii.gz")
    (tmp_path / "many.json").write_text(json.dumps({"labels": names}))
    draw_overlay(tmp_path / "many.png", scan, tmp_path / "many.nii.gz")
    unnamed, many = (pictures.imread(tmp_path / name)[..., :3] for name in ("unnamed.png", "many.png"))
    assert many.shape[0] >= unnamed.shape[0] + 3 * 30
    legend = many[460:].max(axis=-1) > 0.5
    assert not legend[:, :5].any()  # no name is cut off
    assert not legend[:, -5:].any()


def test_more_labels_than_a_byte_has_values_are_drawn(scan: Path, tmp_path: Path) -> None:
    labels = np.arange(20 * 24 * 16, dtype=np.uint16).reshape(20, 24, 16) // 24  # 0 to 319
    many = tmp_path / "many.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([1, 1, 2, 1.0])), many)
    assert len(draw_overlay(tmp_path / "many.png", scan, many, reference=many)) == 319


def test_the_dice_of_each_bone_with_the_reference_is_told(scan: Path, tmp_path: Path) -> None:
    label = save_label(tmp_path, "seg", slice(5, 15))
    reference = save_label(tmp_path, "reference", slice(10, 20))  # half of one is half of the other
    assert draw_overlay(tmp_path / "x.png", scan, label, reference=reference) == {"label 3": 0.5}
    assert draw_overlay(tmp_path / "x.png", scan, label) == {}
