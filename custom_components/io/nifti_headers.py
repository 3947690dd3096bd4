"""Strict reading of NIfTI headers: every field used here is validated."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.geometry import MM_OF_UNIT
from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS, Content, check_size

_CLASSES = (nib.Nifti1Header, nib.Nifti2Header)
_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_OTHER_DTYPES = {
    1: "bits",
    32: "complex64",
    128: "RGB colour",
    1536: "float128",
    1792: "complex128",
    2048: "complex256",
    2304: "RGBA colour",
}
_MAX_OFFSET = 2**24  # header and extensions
_MAX_FORM_CODE = 5
_TIME_UNITS = range(0, 56, 8)


def read_header(content: Content) -> Any:
    """Read the header of a NIfTI file and no further bytes; see `parse_header`.

    Raises:
        InputError: the header is invalid, or the gzip file is broken.
    """
    raw = content.read(nib.Nifti1Header.sizeof_hdr)
    if _find_class(raw) is nib.Nifti2Header:
        raw += content.read(nib.Nifti2Header.sizeof_hdr - len(raw))
    return parse_header(raw, content.path)


def parse_header(raw: bytes, path: Path) -> Any:
    """Parse the header of a single-file NIfTI-1 or NIfTI-2 volume of either byte order, from its first bytes.

    Returns:
        A `nibabel.Nifti1Header` or `Nifti2Header` of one 3D volume of real numbers, as stored; only a qfac other than
        1 and -1 is replaced by 1.

    Raises:
        InputError: not NIfTI, half of a pair, an invalid field, a voxel size that is not positive, or more voxels or
            bytes than the limits of `nifti_files` allow.
    """
    name = show_path(path)
    if not raw:
        raise InputError(f"volume {name} must not be empty, got 0 bytes; copy or download it again")
    header_class = _find_class(raw)
    if header_class is None or len(raw) < header_class.sizeof_hdr:
        found, remedy = "other bytes", "convert it to NIfTI"
        if header_class is not None:
            found, remedy = f"{len(raw)} bytes of it", "copy or download it again"
        elif raw.startswith(b"\x1f\x8b"):
            found, remedy = "a gzip file", "name it .nii.gz"
        raise InputError(f"volume {name} must start with a NIfTI header, got {found}; {remedy}")
    endianness = "<" if int.from_bytes(raw[:4], "little") == header_class.sizeof_hdr else ">"
    # nibabel's check would repair an invalid header, with a message on the terminal, instead of refusing it.
    header = header_class(raw[: header_class.sizeof_hdr], endianness=endianness, check=False)
    _check_magic(header, name)
    shape, dtype = _check_shape(header, name), _check_type(header, name)
    _check_numbers(header, name)
    check_size(math.prod(shape), limit=MAX_VOXELS, path=path)
    check_size(int(header["vox_offset"]) + math.prod(shape) * dtype.itemsize, limit=MAX_BYTES, path=path)
    return header


def shape_of(header: Any) -> tuple[int, int, int]:
    """Shape (X, Y, Z) of the volume of a header from `parse_header`."""
    x, y, z = (int(size) for size in header["dim"][1:4])
    return x, y, z


def data_type(header: Any) -> np.dtype[Any]:
    """Type and byte order of the stored voxels of a header from `parse_header`."""
    return np.dtype(header.endianness + _DTYPES[int(header["datatype"])])


def skip_to_voxels(content: Content, header: Any) -> list[bytes]:
    """Advance from the end of the header to the first voxel, and check the extensions between them.

    Returns:
        What each extension holds, with its padding.

    Raises:
        InputError: an extension is damaged, or the file ends before the first voxel.
    """
    flag = content.read(4)
    size = int(header["vox_offset"]) - header.sizeof_hdr - 4
    between = content.read(size)
    if len(flag) + len(between) < size + 4:
        missing = size + 4 - len(flag) - len(between)
        raise InputError(
            f"volume {show_path(content.path)} must be as long as its header says, got at least {missing} bytes less; "
            "copy it again"
        )
    position, extensions = 0, []
    while flag[0] and size - position >= 16:
        (length,) = struct.unpack_from(header.endianness + "i", between, position)
        if length < 16 or length % 16 or position + length > size:
            raise InputError(
                f"header extensions of {show_path(content.path)} must have sizes that are multiples of 16 and end "
                f"before the voxels, got {length} with {size - position} bytes left; convert the file again"
            )
        extensions.append(between[position + 8 : position + length])
        position += length
    return extensions


def _find_class(raw: bytes) -> Any:
    """Find the header class by the size stated in the first four bytes; None if there is none."""
    for header_class in _CLASSES:
        if header_class.sizeof_hdr in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")):
            return header_class
    return None


def _check_magic(header: Any, name: str) -> None:
    magic = header["magic"].item()
    if magic == header.pair_magic:
        raise InputError(f"volume {name} must be a single NIfTI file, got half of a .hdr/.img pair; convert the pair")
    if magic != header.single_magic:
        raise _invalid(name, "magic", magic, f"{header.single_magic!r} (ANALYZE is not NIfTI)")
    if "eol_check" in header and header["eol_check"].tolist() not in ([13, 10, 26, 10], [0] * 4):
        raise _invalid(name, "eol_check", header["eol_check"].tolist(), "[13, 10, 26, 10] (copied as text?)")


def _check_shape(header: Any, name: str) -> tuple[int, ...]:
    sizes = [int(size) for size in header["dim"]]
    if not 1 <= sizes[0] <= 7:
        raise _invalid(name, "dim[0]", sizes[0], "from 1 to 7")
    shape = tuple(sizes[1 : sizes[0] + 1])
    if min(shape) < 1:
        raise _invalid(name, "dim", list(shape), "positive")
    if len(shape) < 3 or max(shape[3:], default=1) > 1:
        raise InputError(f"volume {name} must be one 3D volume, got shape {shape}; extract a single 3D volume")
    return shape


def _check_type(header: Any, name: str) -> np.dtype[Any]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in _OTHER_DTYPES:
        remedy = "convert to grey values of at most 64 bits"
        raise InputError(f"voxels of {name} must be real numbers, got {_OTHER_DTYPES[code]}; {remedy}")
    if code not in _DTYPES:
        raise _invalid(name, "datatype", code, f"one of {sorted(_DTYPES)}")
    dtype = data_type(header)
    if bits != 8 * dtype.itemsize:
        raise _invalid(name, "bitpix", bits, f"{8 * dtype.itemsize}, that of datatype {code}")
    return dtype


def _check_numbers(header: Any, name: str) -> None:
    offset, first = header["vox_offset"].item(), header.sizeof_hdr + 4
    if not (first <= offset <= _MAX_OFFSET and offset == int(offset)):
        raise _invalid(name, "vox_offset", offset, f"a whole number from {first} to {_MAX_OFFSET}")
    sizes = header["pixdim"][1:4]
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise InputError(f"voxel sizes in {name} must be positive, got {sizes.tolist()}; correct pixdim in the header")
    for field in ("scl_slope", "scl_inter"):
        if not np.isfinite(header[field]):
            raise _invalid(name, field, header[field].item(), "finite")
    for field in ("qform_code", "sform_code"):
        if not 0 <= header[field] <= _MAX_FORM_CODE:
            raise _invalid(name, field, int(header[field]), f"from 0 to {_MAX_FORM_CODE}")
    qfac = header["pixdim"][0].item()
    if qfac not in (-1, 1):
        if qfac != 0 and header["qform_code"] > 0:
            raise _invalid(name, "pixdim[0] (qfac)", qfac, "1 or -1")
        header["pixdim"][0] = 1
    units = int(header["xyzt_units"])
    if units % 8 not in MM_OF_UNIT or units - units % 8 not in _TIME_UNITS:
        raise _invalid(name, "xyzt_units", units, "known units of space and time")


def _invalid(name: str, field: str, value: Any, rule: str) -> InputError:
    return InputError(f"header of {name} must be valid NIfTI: {field} must be {rule}, got {value}; convert it again")
