import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.geometry import find_affine, spacing_of
from custom_components.io.nifti_files import open_content
from custom_components.io.nifti_headers import data_type, parse_header, read_header, shape_of, skip_to_voxels
from custom_components.io.nifti_voxels import read_voxels
from hypothesis import given
from hypothesis import strategies as st

ARRAY = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
AFFINE = np.array([[0.0, 0, 3, -7], [0.5, 0, 0, 11], [0, -2, 0, 5], [0, 0, 0, 1]])


def save(path: Path, array: np.ndarray = ARRAY) -> Path:
    image = nib.Nifti1Image(array, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
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


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine."""
    with open_content(path) as content:
        header = read_header(content)
        affine = find_affine(header, path)
        skip_to_voxels(content, header)
        return read_voxels(content, header, kind="image")[0], affine


def affine_of(path: Path) -> np.ndarray:
    return read(path)[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.nii"


@pytest.mark.parametrize("header_class", [nib.Nifti1Header, nib.Nifti2Header])
def test_a_header_needs_no_more_than_its_own_bytes(path: Path, header_class: type) -> None:
    image = (nib.Nifti1Image if header_class is nib.Nifti1Header else nib.Nifti2Image)(ARRAY, AFFINE)
    nib.save(image, path)
    raw = path.read_bytes()[: header_class.sizeof_hdr]
    header = parse_header(raw, path)
    assert type(header) is header_class
    assert shape_of(header) == ARRAY.shape
    assert data_type(header) == np.int16
    np.testing.assert_array_equal(find_affine(header, path), AFFINE)
    with pytest.raises(InputError, match=rf"must start with a NIfTI header, got {len(raw) - 1} bytes of it"):
        parse_header(raw[:-1], path)


@pytest.mark.parametrize("endianness", ["<", ">"])
def test_applies_the_intensity_scaling_in_any_byte_order(path: Path, endianness: str) -> None:
    header = nib.Nifti1Header(endianness=endianness)
    header.set_data_shape((2, 1, 1))
    header.set_data_dtype(np.dtype(endianness + "i2"))
    header.set_sform(np.eye(4), 1)
    header["scl_slope"], header["scl_inter"], header["vox_offset"], header["magic"] = 2, -3, 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4) + struct.pack(endianness + "2h", 10, 20))
    assert read(path)[0].ravel().tolist() == [17.0, 37.0]


def test_axes_of_length_one_beyond_the_third_are_dropped(path: Path) -> None:
    np.testing.assert_array_equal(read(save(path, ARRAY[..., None, None]))[0], ARRAY)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("unknown", 1), ("meter", 1000), ("micron", 0.001)])
def test_units_become_mm(path: Path, unit: str, factor: float) -> None:
    affine = affine_of(patch(save(path), xyzt_units=nib.nifti1.unit_codes[unit]))
    np.testing.assert_allclose(affine[:3], AFFINE[:3] * factor)
    assert affine[3].tolist() == [0, 0, 0, 1]


def test_sform_wins_then_qform_then_voxel_sizes(path: Path) -> None:
    moved = AFFINE.copy()
    moved[:3, 3] = (1, 2, 3)
    image = nib.Nifti1Image(ARRAY, None)
    image.set_qform(AFFINE, 1)
    image.set_sform(moved, 2)
    nib.save(image, path)
    np.testing.assert_allclose(affine_of(path), moved)
    np.testing.assert_allclose(affine_of(patch(path, sform_code=0)), AFFINE, atol=1e-6)
    assert spacing_of(affine_of(patch(path, qform_code=0))) == (0.5, 2.0, 3.0)


@given(st.permutations(range(3)), st.tuples(*[st.floats(0.01, 100)] * 3), st.tuples(*[st.sampled_from((1, -1))] * 3))
def test_spacing_is_blind_to_axis_order_and_direction(order: list[int], sizes: Any, signs: Any) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[order] * sizes * signs
    assert spacing_of(affine) == pytest.approx(sizes)


def _gz(path: Path, change: Callable[[bytearray], Any]) -> Path:
    packed = bytearray(gzip.compress(save(path).read_bytes()))
    change(packed)
    return _write(path.with_name("scan.nii.gz"), packed)


def _truncate(packed: bytearray) -> None:
    del packed[-20:]


def _flip_checksum(packed: bytearray) -> None:
    packed[-6] ^= 1


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _with_nan(path: Path) -> Path:
    array = ARRAY.astype(np.float32)
    array[0, 0, :2] = np.nan, np.inf
    return save(path, array)


def _sform(path: Path, matrix: list[list[float]]) -> Path:
    """Set the sform alone, with voxel sizes of 1."""
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
    "empty": (lambda p: _write(p, b""), "must not be empty"),
    "empty gz": (lambda p: _write(p.with_name("scan.nii.gz"), b""), "must not be empty"),
    "truncated gz": (lambda p: _gz(p, _truncate), "must be an intact gzip file"),
    "checksum": (lambda p: _gz(p, _flip_checksum), "must be an intact gzip file, got CRC check failed"),
    "garbage": (lambda p: _gz(p, lambda packed: packed.extend(b"more")), "must be an intact gzip file"),
    "not gz": (lambda p: save(p).rename(p.with_name("scan.nii.gz")), "intact gzip file, got no gzip file"),
    "not NIfTI": (lambda p: _write(p, b"DICM" * 200), "must start with a NIfTI header"),
    "pair": (lambda p: patch(save(p), magic=b"ni1"), r"got half of a \.hdr/\.img pair"),
    "data type": (lambda p: patch(save(p), datatype=3), "header of .* must be valid NIfTI"),
    "unit": (lambda p: patch(save(p), xyzt_units=7), "header of .* must be valid NIfTI"),
    "slope": (lambda p: patch(save(p), scl_slope=1, scl_inter=np.inf), "header of .* must be valid NIfTI"),
    "short": (lambda p: _write(p, save(p).read_bytes()[:-5]), "got 5 bytes less"),
    "4D": (lambda p: save(p, np.stack([ARRAY, ARRAY], axis=-1)), r"one 3D volume, got shape \(2, 3, 4, 2\)"),
    "2D": (lambda p: save(p, ARRAY[0]), r"one 3D volume, got shape \(3, 4\)"),
    "complex": (lambda p: save(p, ARRAY.astype(np.complex64)), "real numbers, got complex64"),
    "colour": (_rgb, "real numbers, got RGB colour"),
    "NaN": (_with_nan, "must be finite, got 2 NaN or infinite"),
    "pixdim zero": (lambda p: patch(save(p), pixdim=[1, 0.5, 0, 3, 0, 0, 0, 0]), "voxel sizes in .* must be positive"),
    "pixdim negative": (lambda p: patch(save(p), pixdim=[1, 0.5, -2, 3, 0, 0, 0, 0]), "voxel sizes in .* be positive"),
    "sform NaN": (lambda p: _sform(p, [[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]]), "must be finite"),
    "sform zero": (lambda p: _sform(p, [[0, 0, 0], [0, 1, 0], [0, 0, 1]]), "positive voxel sizes"),
    "singular": (lambda p: _sform(p, [[1, 1, 0], [0, 0, 0], [0, 0, 1]]), "right angles, got a cosine of 1.000"),
    "shear": (lambda p: _sform(p, [[1, 0.1, 0], [0, 1, 0], [0, 0, 1]]), "cosine of 0.100 .*resample"),
    "scale": (lambda p: _sform(p, [[1.02, 0, 0], [0, 1, 0], [0, 0, 1]]), r"must agree, got pixdim .* and sform \[1.02"),
    "qform NaN": (lambda p: patch(save(p), qoffset_x=np.nan), "qform of .* must be finite"),
    "qform": (_other_qform, "sform and qform of .* must agree, got axes AIR and RAS"),
}


@pytest.mark.parametrize("problem", NOT_READABLE)
def test_what_cannot_be_trusted_is_refused(path: Path, problem: str) -> None:
    make, message = NOT_READABLE[problem]
    broken = make(path)
    with pytest.raises(InputError, match=message) as caught:
        read(broken)
    assert broken.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_small_disagreements_are_accepted(path: Path) -> None:
    affine = affine_of(_sform(path, [[1.005, 0, 0], [0, 1, 0.005], [0, 0, 1]]))
    assert spacing_of(affine)[0] == pytest.approx(1.005)
