"""Intensities of bones, against numbers worked by hand and through the command line."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.volumes import read_label, read_volume
from support.commands import error_line

from multijoint.cli import main
from multijoint.clinic.meshes.intensities import INTENSITIES, measure_intensities

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
VALUES = (10, 20, 30, 40, 100)  # of bone 3, in stored units; bone 9 is one voxel of 50


def put(folder: Path, *, slope: float = 1.0, inter: float = 0.0, turned: bool = False) -> tuple[Path, Path]:
    voxels, labels = np.zeros((6, 7, 8), np.int16), np.zeros((6, 7, 8), np.uint8)
    voxels[2, 1:6, 4], labels[2, 1:6, 4] = VALUES, 3
    voxels[5, 6, 7], labels[5, 6, 7] = 50, 9
    folder.mkdir(exist_ok=True)
    scan = nib.Nifti1Image(voxels, AFFINE)
    scan.header.set_slope_inter(slope, inter)
    nib.save(scan, folder / "a.nii.gz")
    label = nib.Nifti1Image(labels, AFFINE)
    nib.save(label.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]])) if turned else label, folder / "a_seg.nii.gz")
    return folder / "a.nii.gz", folder / "a_seg.nii.gz"


def by_hand(slope: float, inter: float) -> list[float]:
    """Mean 40, deviation sqrt(1000): deviations -30 -20 -10 0 60 squared are 5000 / 5; of five values the percentiles
    5, 50 and 95 lie at places 0.2, 2 and 3.8: 10 + 0.2 * 10, 30 and 40 + 0.8 * 60."""
    mean, deviation, median, low, high = 40.0, 1000**0.5, 30.0, 12.0, 88.0
    return [slope * mean + inter, slope * deviation, *(slope * each + inter for each in (median, low, high))]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("slope", "inter"), [(1.0, 0.0), (0.5, -7.25)])
def test_numbers_worked_by_hand_in_units_of_the_scan(slope: float, inter: float, turned: bool, tmp_path: Path) -> None:
    scan, label = put(tmp_path, slope=slope, inter=inter, turned=turned)
    found = measure_intensities(read_volume(scan), read_label(label))
    assert list(found) == [3, 9]
    assert tuple(found[3]) == INTENSITIES
    assert [float(number) for number in found[3].values()] == pytest.approx(by_hand(slope, inter), rel=1e-5)
    one = slope * 50 + inter
    assert [float(number) for number in found[9].values()] == [one, 0.0, one, one, one]


def test_another_grid_is_refused(tmp_path: Path) -> None:
    scan, label = put(tmp_path)
    nib.save(nib.Nifti1Image(np.ones((6, 7, 9), np.float32) * np.arange(9), AFFINE), scan)
    with pytest.raises(InputError, match=r"label map a_seg\.nii\.gz must have the shape of a\.nii\.gz"):
        measure_intensities(read_volume(scan), read_label(label))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "bones.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_mesh_takes_scans_that_are_given_or_lie_in_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, label = put(tmp_path / "in")
    out = tmp_path / "out"
    assert main(["mesh", str(label), "--out", str(out)]) == 0
    assert [(row["scan_sha256"], *(row[name] for name in INTENSITIES)) for row in rows(out)] == [("",) * 6] * 2
    assert main(["mesh", str(label), "--scans", str(scan.parent / "a.nii.gz"), "--out", str(out)]) == 0
    given = rows(out)
    assert [row["intensity_mean"] for row in given] == ["40", "50"]
    assert given[0]["scan_sha256"] == read_volume(scan).digest
    (scan.parent / "scans").mkdir()
    scan.rename(scan.parent / "scans" / scan.name)
    assert main(["mesh", str(label), "--out", str(out)]) == 0
    assert rows(out) == given
    other = tmp_path / "b.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(8.0).reshape(2, 2, 2), AFFINE), other)
    assert main(["mesh", str(label), "--scans", str(other), "--out", str(out)]) == 1
    assert "scans must have the names of the cases, got none that fits" in error_line(capsys)
    assert rows(out) == given
