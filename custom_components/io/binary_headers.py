"""Strict reading of the binary headers of Analyze 7.5, GIPL and FreeSurfer's MGH.

Source: nibabel's description of Analyze and MGH; for GIPL, the reader of ITK (`itkGiplImageIO.cxx`).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.raster import (
    Raster,
    affine_without_orientation,
    check_scaling,
    check_spacing,
    invalid,
    volume_shape,
)
from nibabel.analyze import AnalyzeHeader
from nibabel.freesurfer.mghformat import MGHHeader

ANALYZE_SIZE, GIPL_SIZE, MGH_SIZE = 348, 256, 284
"""Bytes of a header."""

_ANALYZE_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"}
_GIPL_TYPES = {7: "i1", 8: "u1", 15: "i2", 16: "u2", 31: "u4", 32: "i4", 64: "f4", 65: "f8"}
_MGH_TYPES = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}
_GIPL_MAGIC = (0xEFFFE9B0, 0x2AE389B8)
_MGH_FOOTER = 2**20  # scan parameters and the commands that made the file


def parse_analyze(raw: bytes, path: Path) -> Raster:
    """Parse the header of an Analyze 7.5 pair, whose orientation is not known.

    Raises:
        InputError: NIfTI, an invalid field, several volumes, or a scaling.
    """
    _check_length(raw, ANALYZE_SIZE, "Analyze", path)
    sizes = [int.from_bytes(raw[:4], order) for order in ("little", "big")]
    if ANALYZE_SIZE not in sizes:
        raise _other(path, "Analyze")
    if raw[344:347] in (b"ni1", b"n+1"):
        rule = f"volume {show_path(path)} must be Analyze 7.5"
        raise InputError(f"{rule}, got half of a NIfTI .hdr/.img pair; convert the pair to .nii")
    # nibabel's check would repair an invalid header instead of refusing it
    header: Any = AnalyzeHeader(raw[:ANALYZE_SIZE], endianness="<" if sizes[0] == ANALYZE_SIZE else ">", check=False)
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        invalid(path, "dim[0]", "from 1 to 7", rank)
    shape = volume_shape([int(size) for size in header["dim"][1 : rank + 1]], path)
    dtype = _dtype(int(header["datatype"]), _ANALYZE_TYPES, "datatype", path).newbyteorder(header.endianness)
    if int(header["bitpix"]) != 8 * dtype.itemsize:
        invalid(path, "bitpix", f"{8 * dtype.itemsize}, that of the datatype", int(header["bitpix"]))
    spacing = header["pixdim"][1:4].astype(np.float64)
    check_spacing(spacing, path)
    if header["vox_offset"].item() != 0:
        invalid(path, "vox_offset", "0", header["vox_offset"].item())
    check_scaling(header["funused1"].item() or 1.0, 0.0, path)  # which SPM wrote there
    affine = affine_without_orientation(shape, spacing.tolist())
    data = path.with_suffix(".IMG" if path.suffix.isupper() else ".img").name
    return Raster(path, "Analyze", shape, dtype, affine, is_oriented=False, data=data)


def parse_gipl(raw: bytes, path: Path) -> Raster:
    """Parse the header of a GIPL file, whose orientation is not known.

    Raises:
        InputError: other bytes, an invalid field, several volumes, or a scaling.
    """
    _check_length(raw, GIPL_SIZE, "GIPL", path)
    (magic,) = struct.unpack_from(">I", raw, 252)
    if magic not in _GIPL_MAGIC:
        raise _other(path, "GIPL")
    sizes = list(struct.unpack_from(">4H", raw))
    shape = volume_shape([*sizes[:3], max(sizes[3], 1)], path)
    (code,) = struct.unpack_from(">H", raw, 8)
    spacing = np.array(struct.unpack_from(">3f", raw, 10), np.float64)
    check_spacing(spacing, path)
    intercept, slope = struct.unpack_from(">2f", raw, 236)
    check_scaling(slope or 1.0, intercept, path)
    dtype = _dtype(code, _GIPL_TYPES, "image type", path).newbyteorder(">")
    affine = affine_without_orientation(shape, spacing.tolist())
    return Raster(path, "GIPL", shape, dtype, affine, is_oriented=False, offset=GIPL_SIZE)


@np.errstate(all="ignore")
def parse_mgh(raw: bytes, path: Path) -> Raster:
    """Parse the header of an MGH or MGZ file.

    Raises:
        InputError: other bytes, an invalid field, or several volumes.
    """
    _check_length(raw, MGH_SIZE, "MGH", path)
    if int.from_bytes(raw[:4], "big") != 1:
        raise _other(path, "MGH")
    header: Any = MGHHeader(raw[: MGHHeader._hdrdtype.itemsize], check=False)
    shape = volume_shape([int(size) for size in header["dims"]], path)
    dtype = _dtype(int(header["type"]), _MGH_TYPES, "type", path).newbyteorder(">")
    spacing, is_oriented = header["delta"].astype(np.float64), int.from_bytes(raw[28:30], "big") > 0
    check_spacing(spacing, path)
    lengths = np.sqrt((header["Mdc"].astype(np.float64) ** 2).sum(axis=1))
    if not (np.abs(lengths - 1) <= 0.01).all():  # NaN fails, too
        invalid(path, "Mdc", "of directions of length 1", header["Mdc"].tolist())
    affine = affine_without_orientation(shape, spacing.tolist())
    if is_oriented:
        affine = np.array(header.get_affine(), np.float64)
    return Raster(
        path, "MGH", shape, dtype, affine, is_oriented=is_oriented, offset=MGH_SIZE, most_trailing=_MGH_FOOTER
    )


def _check_length(raw: bytes, size: int, kind: str, path: Path) -> None:
    if len(raw) < size:
        rule = f"volume {show_path(path)} must start with a header of {kind}, {size} bytes"
        raise InputError(f"{rule}, got {len(raw)}; copy or download it again")


def _other(path: Path, kind: str) -> InputError:
    return InputError(f"volume {show_path(path)} must start with a header of {kind}, got other bytes; convert it")


def _dtype(code: int, known: dict[int, str], key: str, path: Path) -> np.dtype[Any]:
    if code not in known:
        invalid(path, key, f"one of {sorted(known)}, integers or floats", code)
    return np.dtype(known[code])
