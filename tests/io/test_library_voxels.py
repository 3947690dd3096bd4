"""One volume in every format is the same volume: against the libraries that wrote it, in all axis orders."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.geometry import to_canonical
from custom_components.io.raster_files import scan_digest
from custom_components.io.volumes import read_grid, read_label, read_volume, write_label_map
from support.volume_formats import AXIS_ORDERS, ORIENTED, UNORIENTED, oblique, reordered, write

ARRAY = np.random.default_rng(3).integers(0, 200, (7, 6, 5)).astype(np.int16)


def test_every_format_and_axis_order_is_the_same_volume_in_the_patient(tmp_path: Path) -> None:
    expected, centre = to_canonical(ARRAY, oblique()), oblique() @ [3, 2.5, 2, 1]
    for number, (order, signs) in enumerate(AXIS_ORDERS):
        array, affine = reordered(ARRAY, oblique(), order, signs)
        (folder := tmp_path / str(number)).mkdir()
        for name in ORIENTED:
            volume = read_volume(write(folder / name, array, affine))
            np.testing.assert_array_equal(volume.array, array, name)
            np.testing.assert_allclose(volume.affine, affine, atol=2e-5, err_msg=name)
            np.testing.assert_array_equal(to_canonical(volume.array, volume.affine), expected, name)
            middle = volume.affine @ [*(np.array(array.shape) - 1) / 2, 1]
            np.testing.assert_allclose(middle, centre, atol=5e-5, err_msg=name)
            assert read_grid(folder / name)[0] == array.shape
            np.testing.assert_array_equal(read_grid(folder / name)[1], volume.affine, name)
            assert volume.digest == scan_digest(folder / name)


@pytest.mark.parametrize("name", UNORIENTED)
def test_a_format_without_orientation_has_its_voxels_and_their_sizes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    volume = read_volume(write(tmp_path / name, ARRAY, oblique()))
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.spacing_mm, (0.5, 0.75, 2.5), rtol=1e-6)
    assert f"{name} states no orientation; only its voxel sizes are used" in caplog.text
    without = nib.Nifti1Image(ARRAY, None)
    without.header.set_zooms((0.5, 0.75, 2.5))
    without.to_filename(tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii").affine, volume.affine)


def test_minc_agrees_with_nibabel(tmp_path: Path) -> None:
    """Nibabel reads MINC by another library, h5py."""
    path = write(tmp_path / "scan.mnc", ARRAY, oblique())
    other, volume = nib.load(path), read_volume(path)
    np.testing.assert_allclose(other.affine[:, [2, 1, 0, 3]], volume.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(other.dataobj).T, volume.array)


@pytest.mark.parametrize("scan", ["scan.nii.gz", "scan.nrrd", "scan.mhd", "scan.mgz", "scan.hdr"])
@pytest.mark.parametrize("name", ["a_seg.nii.gz", "a_seg.nrrd", "a_seg.seg.nrrd", "a_seg.mha"])
def test_label_maps_lie_on_the_scan_in_every_format(tmp_path: Path, scan: str, name: str) -> None:
    source = read_volume(write(tmp_path / scan, ARRAY, oblique()))
    labels = (ARRAY > 100).astype(np.uint8) * 3
    digests: list[str] = []
    for path in (tmp_path / name, tmp_path / f"again_{name}"):
        write_label_map(path, labels, like=source, before=digests.append)
    assert digests[0] == digests[1] == scan_digest(tmp_path / name)
    written = read_label(tmp_path / name, like=source)
    np.testing.assert_array_equal(written.array, labels)
    own = read_volume(tmp_path / name, kind="label").affine
    if name.endswith(".nii.gz"):
        np.testing.assert_allclose(own, source.affine, rtol=1e-6, atol=1e-5)
    else:
        np.testing.assert_allclose(own, source.affine, rtol=1e-15, atol=1e-15)


def test_a_changed_data_file_is_another_scan(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.mhd", ARRAY, oblique())
    before = scan_digest(path)
    raw = path.with_suffix(".raw")
    raw.write_bytes(raw.read_bytes()[::-1])
    assert scan_digest(path) != before


def test_a_minc_file_that_ends_early_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "scan.mnc", ARRAY, oblique())
    for size in (9, 200, 3000, path.stat().st_size - 1):
        path.with_name("cut.mnc").write_bytes(path.read_bytes()[:size])
        with pytest.raises(InputError, match=r"volume cut\.mnc must be intact, got"):
            read_volume(path.with_name("cut.mnc"))
    assert capfd.readouterr() == ("", "")
