import gzip
import itertools
import logging
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_components.errors import InputError
from custom_components.volumes import (
    canonical_spacing_mm,
    from_canonical,
    read_affine,
    read_label,
    read_volume,
    to_canonical,
    write_label_map,
)

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
AFFINE = np.array([[0.0, 0, 3, -7], [0.5, 0, 0, 11], [0, -2, 0, 5], [0, 0, 0, 1]])
AXIS_ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def save(
    path: Path, array: np.ndarray = ARRAY, affine: np.ndarray = AFFINE, image_class: type = nib.Nifti1Image
) -> Path:
    image = image_class(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
    return path


def patch(path: Path, **fields: Any) -> Path:
    """Overwrite header fields of an uncompressed NIfTI-1 file, unchecked."""
    raw = path.read_bytes()
    header = nib.Nifti1Header(raw[:348])
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + raw[348:])
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.nii"


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
def test_reads_values_and_affine(tmp_path: Path, image_class: type, name: str) -> None:
    volume = read_volume(save(tmp_path / name, image_class=image_class))
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert (volume.array.dtype, volume.affine.dtype) == (np.float32, np.float64)
    assert volume.spacing_mm == (0.5, 2.0, 3.0)
    np.testing.assert_array_equal(read_affine(tmp_path / name), AFFINE)


@pytest.mark.parametrize("endianness", ["<", ">"])
def test_applies_the_intensity_scaling_in_any_byte_order(path: Path, endianness: str) -> None:
    header = nib.Nifti1Header(endianness=endianness)
    header.set_data_shape((2, 1, 1))
    header.set_data_dtype(np.dtype(endianness + "i2"))
    header.set_sform(np.eye(4), 1)
    header["scl_slope"], header["scl_inter"], header["vox_offset"], header["magic"] = 2, -3, 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4) + struct.pack(endianness + "2h", 10, 20))
    assert read_volume(path).array.ravel().tolist() == [17.0, 37.0]


def test_one_volume_in_4d_is_read_as_3d_and_written_as_3d(path: Path) -> None:
    volume = read_volume(save(path, ARRAY[..., None]))
    assert volume.array.shape == (2, 3, 4)
    write_label_map(path.with_name("out.nii"), np.ones((2, 3, 4), np.uint8), like=volume)
    assert nib.load(path.with_name("out.nii")).shape == (2, 3, 4)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("unknown", 1), ("meter", 1000), ("micron", 0.001)])
def test_units_become_mm_and_stay_in_the_written_header(path: Path, unit: str, factor: float) -> None:
    save(path)
    volume = read_volume(patch(path, xyzt_units=nib.nifti1.unit_codes[unit]))
    np.testing.assert_allclose(volume.affine[:3], AFFINE[:3] * factor)
    write_label_map(path.with_name("out.nii"), np.zeros((2, 3, 4), np.uint8), like=volume)
    assert nib.load(path.with_name("out.nii")).header.get_xyzt_units()[0] == unit
    np.testing.assert_allclose(read_label(path.with_name("out.nii")).affine, volume.affine)


def test_sform_wins_then_qform_then_voxel_sizes_with_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved = AFFINE.copy()
    moved[:3, 3] = (1, 2, 3)
    image = nib.Nifti1Image(ARRAY, None)
    image.set_qform(AFFINE, 1)
    image.set_sform(moved, 2)
    nib.save(image, path)
    np.testing.assert_allclose(read_volume(path).affine, moved)
    np.testing.assert_allclose(read_volume(patch(path, sform_code=0)).affine, AFFINE, atol=1e-6)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert read_volume(patch(path, qform_code=0)).spacing_mm == (0.5, 2.0, 3.0)
    assert "states no orientation" in caplog.text


def _truncate(path: Path) -> Path:
    packed = gzip.compress(save(path).read_bytes())
    path = path.with_name("scan.nii.gz")
    path.write_bytes(packed[:-20])
    return path


def _break_checksum(path: Path) -> Path:
    packed = bytearray(gzip.compress(save(path).read_bytes()))
    packed[-6] ^= 1
    path = path.with_name("scan.nii.gz")
    path.write_bytes(packed)
    return path


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _with_nan(path: Path) -> Path:
    array = ARRAY.astype(np.float32)
    array[0, 0, :2] = np.nan, np.inf
    return save(path, array)


def _affine(path: Path, matrix: list[list[float]]) -> Path:
    """Set the sform alone."""
    save(path)
    rows = {f"srow_{axis}": [*row, 0] for axis, row in zip("xyz", matrix, strict=True)}
    return patch(path, qform_code=0, pixdim=[1, 1, 1, 1, 0, 0, 0, 0], **rows)


def _other_qform(path: Path) -> Path:
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(np.diag([0.5, 2, 3, 1]), 1)
    nib.save(image, path)
    return path


def _rgb(path: Path) -> Path:
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), AFFINE), path)
    return path


NOT_READABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda p: p, "must be an existing file, got nothing there; check the path"),
    "folder": (lambda p: (p.mkdir(), p)[1], "must be an existing file, got a folder"),
    "extension": (lambda p: p.with_suffix(".mha"), r"must be a \.nii or \.nii\.gz file"),
    "empty": (lambda p: _write(p, b""), "must not be empty"),
    "empty gz": (lambda p: _write(p.with_name("scan.nii.gz"), b""), "must not be empty"),
    "truncated gz": (_truncate, "must be an intact gzip file"),
    "checksum": (_break_checksum, "must be an intact gzip file, got: CRC check failed"),
    "not gz": (lambda p: save(p).rename(p.with_name("scan.nii.gz")), "intact gzip file, got: Not a gzipped file"),
    "not NIfTI": (lambda p: _write(p, b"DICM" * 200), "must start with a NIfTI header"),
    "pair": (lambda p: patch(save(p), magic=b"ni1"), r"got half of a \.hdr/\.img pair"),
    "data type": (lambda p: patch(save(p), datatype=3), "header of .* must be valid NIfTI"),
    "unit": (lambda p: patch(save(p), xyzt_units=7), "header of .* must be valid NIfTI"),
    "slope": (lambda p: patch(save(p), scl_slope=1, scl_inter=np.inf), "header of .* must be valid NIfTI"),
    "short": (lambda p: _write(p, save(p).read_bytes()[:-5]), "got 5 bytes less"),
    "4D": (lambda p: save(p, np.stack([ARRAY, ARRAY], axis=-1)), r"one 3D volume, got shape \(2, 3, 4, 2\)"),
    "2D": (lambda p: save(p, ARRAY[0]), r"one 3D volume, got shape \(3, 4\)"),
    "complex": (lambda p: save(p, ARRAY.astype(np.complex64)), "real numbers, got complex64"),
    "colour": (_rgb, "real numbers, got .*colour"),
    "NaN": (_with_nan, "must be finite, got 2 NaN or infinite"),
    "constant": (lambda p: save(p, np.full((2, 3, 4), 5, np.int16)), "must not be constant, got 5 in every voxel"),
    "too large": (lambda p: save(p, ARRAY * 1e300), "must fit in 32-bit floats"),
    "pixdim": (lambda p: patch(save(p), pixdim=[1, 0.5, 0, 3, 0, 0, 0, 0]), "voxel sizes in .* must be positive"),
    "sform NaN": (lambda p: _affine(p, [[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]]), "must be finite"),
    "sform zero": (lambda p: _affine(p, [[0, 0, 0], [0, 1, 0], [0, 0, 1]]), "positive voxel sizes"),
    "singular": (lambda p: _affine(p, [[1, 1, 0], [0, 0, 0], [0, 0, 1]]), "right angles, got a cosine of 1.000"),
    "shear": (lambda p: _affine(p, [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]]), "cosine of 0.100 .*resample"),
    "scale": (
        lambda p: _affine(p, [[1.02, 0, 0], [0, 1, 0], [0, 0, 1]]),
        r"must agree, got pixdim .* and sform \[1.02",
    ),
    "qform NaN": (lambda p: patch(save(p), qoffset_x=np.nan), "qform of .* must be finite"),
    "qform": (_other_qform, "sform and qform of .* must agree, got axes AIR and RAS"),
}


@pytest.mark.parametrize("problem", NOT_READABLE)
def test_what_cannot_be_trusted_is_refused(path: Path, problem: str) -> None:
    make, message = NOT_READABLE[problem]
    broken = make(path)
    with pytest.raises(InputError, match=message) as caught:
        read_volume(broken)
    assert str(broken) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(changes=st.dictionaries(st.integers(0, 351), st.integers(0, 255), min_size=1, max_size=3))
def test_any_other_header_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, changes: dict[int, int]) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.nii"
    raw = bytearray(save(path).read_bytes())
    for position, value in changes.items():
        raw[position] = value
    path.write_bytes(raw)
    try:
        volume = read_volume(path)
    except InputError:
        return
    assert np.isfinite(volume.array).all()
    assert np.isfinite(volume.affine).all()
    assert min(volume.spacing_mm) > 0


def test_small_disagreements_are_accepted(path: Path) -> None:
    assert read_volume(_affine(path, [[1.005, 0, 0], [0, 1, 0.005], [0, 0, 1]])).spacing_mm[0] == pytest.approx(1.005)


def test_labels(path: Path) -> None:
    image = read_volume(save(path))
    label_path = path.with_name("label.nii")
    label = read_label(save(label_path, ARRAY.astype(np.float32)), like=image)
    assert label.array.dtype == np.int32
    np.testing.assert_array_equal(label.array, ARRAY)
    assert not read_label(save(label_path, np.zeros_like(ARRAY)), like=image).array.any()

    with pytest.raises(InputError, match=r"label\.nii must hold whole numbers, got 0.5 \(24 such voxels\)"):
        read_label(save(label_path, ARRAY + np.float32(0.5)))
    with pytest.raises(InputError, match=r"below 2\*\*31"):
        read_label(save(label_path, ARRAY * 1e12))
    with pytest.raises(
        InputError, match=r"label\.nii must have the shape of .*scan\.nii, \(2, 3, 4\), got \(2, 3, 2\)"
    ):
        read_label(save(label_path, ARRAY[..., :2]), like=image)
    moved = AFFINE.copy()
    moved[0, 3] += 0.002
    with pytest.raises(InputError, match=r"must have the affine of .*corners up to 0.002 mm apart"):
        read_label(save(label_path, affine=moved), like=image)
    moved[0, 3] = AFFINE[0, 3] + 0.0005
    read_label(save(label_path, affine=moved), like=image)


@pytest.mark.parametrize("order", AXIS_ORDERS, ids=str)
def test_all_axis_orders(path: Path, order: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    axes, signs = order
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3)[list(axes)].T * signs) * (1.0, 2.0, 3.0)
    affine[:3, 3] = (10, -20, 30)
    volume = read_volume(save(path, affine=affine))
    canonical = to_canonical(volume.array, volume.affine)
    expected = nib.as_closest_canonical(nib.load(path))
    np.testing.assert_array_equal(canonical, expected.get_fdata())
    np.testing.assert_array_equal(from_canonical(canonical, volume.affine), ARRAY)
    assert np.shares_memory(canonical, volume.array)
    assert canonical_spacing_mm(affine) == tuple(np.linalg.norm(expected.affine[:3, :3], axis=0))

    out = path.with_name("out.nii.gz")
    write_label_map(out, ARRAY, like=volume)
    written = read_label(out, like=volume)
    np.testing.assert_array_equal(written.array, ARRAY)
    np.testing.assert_array_equal(written.affine, volume.affine)
    _check_with_itk(out, affine)


def _check_with_itk(path: Path, affine: np.ndarray) -> None:
    """An independent reader sees the same voxels at the same places (its world is LPS+)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its compiled modules warn when they are loaded, and crash if that is an error
        image = itk.imread(str(path))
    np.testing.assert_array_equal(itk.array_from_image(image).T, ARRAY)
    seen = np.eye(4)
    seen[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    seen[:3, 3] = np.asarray(image.GetOrigin())
    np.testing.assert_allclose(np.diag([-1, -1, 1, 1]) @ seen, affine, atol=1e-5)


def test_oblique_geometry_survives_exactly(path: Path) -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.4, 0.4, 1.2)
    volume = read_volume(save(path, affine=affine))
    write_label_map(path.with_name("out.nii"), ARRAY, like=volume)
    np.testing.assert_array_equal(read_label(path.with_name("out.nii")).affine, volume.affine)
    _check_with_itk(path.with_name("out.nii"), affine)


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_label_map_keeps_the_grid_and_drops_everything_else(path: Path, image_class: type) -> None:
    image = image_class(ARRAY, AFFINE)
    image.set_qform(AFFINE, 2)
    image.set_sform(AFFINE, 3)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"], image.header["aux_file"], image.header["intent_name"] = b"SECRET", b"SECRET", b"SECRET"
    image.header["cal_max"], image.header["scl_slope"], image.header["scl_inter"] = 99, 2, 0
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"SECRET"))
    nib.save(image, path)
    volume = read_volume(path)
    out = path.with_name("out.nii")
    write_label_map(out, ARRAY > 5, like=volume)

    assert b"SECRET" in path.read_bytes()
    assert b"SECRET" not in out.read_bytes()
    written = nib.load(out)
    assert type(written) is image_class
    assert written.get_data_dtype() == np.uint8
    header = written.header
    assert (int(header["qform_code"]), int(header["sform_code"]), header.get_xyzt_units()) == (2, 3, ("mm", "sec"))
    assert header.get_intent()[0] == "label"
    assert header["descrip"].item() == b"multijoint label map"
    stored = type(header)(out.read_bytes()[: header.sizeof_hdr])
    assert (stored["cal_max"], stored["scl_slope"], stored["scl_inter"]) == (0, 1, 0)
    np.testing.assert_array_equal(np.asarray(written.dataobj), ARRAY > 5)


def test_equal_labels_give_equal_bytes(path: Path) -> None:
    volume = read_volume(save(path))
    outputs = [path.with_name(name) for name in ("a.nii.gz", "b.nii.gz")]
    for out in outputs:
        write_label_map(out, ARRAY, like=volume)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (ARRAY[..., :3], r"must have the shape of .*scan\.nii, \(2, 3, 4\), got \(2, 3, 3\)"),
        (ARRAY.astype(np.float32), "whole numbers from 0 to 255, got float32"),
        (ARRAY - 1, "got int16 from -1 to 22"),
        (ARRAY + 250, "got int16 from 250 to 273"),
    ],
)
def test_unfit_labels_are_refused(path: Path, labels: np.ndarray, message: str) -> None:
    volume = read_volume(save(path))
    with pytest.raises(InputError, match=message):
        write_label_map(path.with_name("out.nii"), labels, like=volume)
    with pytest.raises(InputError, match=r"must be a \.nii or \.nii\.gz file"):
        write_label_map(path.with_name("out.mha"), ARRAY, like=volume)
    assert [file.name for file in path.parent.iterdir()] == ["scan.nii"]


def test_a_failed_write_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = read_volume(save(path))

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*out\.nii'"):
        write_label_map(path.with_name("out.nii"), ARRAY, like=volume)
    assert [file.name for file in path.parent.iterdir()] == ["scan.nii"]
