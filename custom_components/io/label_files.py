"""The bytes of label maps in the formats that are written: NIfTI, NRRD, `.seg.nrrd` of 3D Slicer, and MetaImage."""

from __future__ import annotations

import gzip
import io
import itertools
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io import nifti_files
from custom_components.io.formats import LABEL_ENDINGS, SEGMENTATION, ending_of
from custom_components.io.geometry import find_affine, spacing_of
from custom_components.io.nifti_files import Content
from custom_components.io.nifti_headers import read_header, shape_of, skip_to_voxels

_LEVEL = 6  # of zlib's compression; at 9 a label map takes three times as long and is hardly smaller
_ISAL_LEVEL = 2  # a label map is 1.6 to 2.1 times as large as by zlib; at 3 it takes longer and is larger
_PART = 2**20  # bytes compared at once
_SEGMENTATION = {
    "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
    "Segmentation_ConversionParameters": "",
    "Segmentation_MasterRepresentation": "Binary labelmap",
    "Segmentation_ReferenceImageExtentOffset": "0 0 0",
}
"""Entries that 3D Slicer writes for a segmentation that is stored as a label map."""


def check_ending(path: Path) -> None:
    """Refuse the name of a label map that is not written.

    Raises:
        InputError: another ending than those of `formats.LABEL_ENDINGS` and `.nii`.
    """
    if ending_of(path) not in (*LABEL_ENDINGS, ".nii"):
        kinds = f"{', '.join(LABEL_ENDINGS)} or .nii"
        raise InputError(f"label map must be a {kinds} file, got {show_path(path)}; give another name")


def encode(
    path: Path,
    labels: np.ndarray,
    *,
    affine: np.ndarray,
    header: Any,
    fields: Mapping[str, str],
    extension: bytes = b"",
) -> bytes:
    """Content of the file of a label map; the same labels give the same bytes.

    Args:
        path: its name tells the format.
        labels: (X, Y, Z), uint8.
        affine: voxel index -> RAS+ position in mm.
        header: NIfTI header of the source.
        fields: entries for the header of a `.seg.nrrd`.
        extension: header extension of a little-endian NIfTI file.
    """
    voxels, ending = voxels_of(labels), ending_of(path)
    if ending in (".nii", ".nii.gz"):
        made = label_header(labels.shape, header)
        made["vox_offset"] += len(extension)
        head = made.binaryblock + (b"\1\0\0\0" + extension if extension else bytes(4))
        return compress(head, voxels) if ending == ".nii.gz" else head + voxels
    is_oriented = header["sform_code"] > 0 or header["qform_code"] > 0
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine + 0.0
    if ending == ".mha":
        return _metaimage(labels.shape, lps, voxels, is_oriented=is_oriented)
    own = {**_SEGMENTATION, **fields} if ending == SEGMENTATION else {}
    return _nrrd(labels.shape, lps, voxels, is_oriented=is_oriented, fields=own)


def check_written(path: Path, stored: bytes, labels: np.ndarray, *, affine: np.ndarray, header: Any) -> None:
    """Read the bytes of a label map back.

    Raises:
        InputError: they are of other labels or another grid.
    """
    voxels, content = voxels_of(labels), Content(io.BytesIO(stored), path, size=len(stored))
    if ending_of(path) in (".nii", ".nii.gz"):
        written = read_header(content)
        skip_to_voxels(content, written)
        same = shape_of(written) == labels.shape
        same = same and np.array_equal(find_affine(written, path), find_affine(header, path))
    else:
        from custom_components.io.raster_files import parse_text

        raster = parse_text(content)
        same = raster.shape == labels.shape and np.allclose(raster.affine, affine, rtol=1e-14, atol=1e-12)
        body = io.BytesIO(stored[raster.offset :])
        content = Content(body, path, size=len(stored) - raster.offset, packing=raster.packing)
    parts = (voxels[start : start + _PART] for start in range(0, len(voxels), _PART))
    if not same or any(content.read(len(part)) != part for part in parts) or content.read(1):
        raise InputError(f"label map {show_path(path)} must read back as given, got other labels; report it")


def voxels_of(labels: np.ndarray) -> memoryview:
    """Label values in the order of all formats, the first axis fastest."""
    return np.asfortranarray(labels, dtype=np.uint8).reshape(-1, order="F").data


def compress(head: bytes, voxels: memoryview) -> bytes:
    """A gzip file; the same content gives the same bytes, by zlib or, where it is installed, by ISA-L."""
    if nifti_files.isal_zlib is not None:
        packer = nifti_files.isal_zlib.compressobj(_ISAL_LEVEL, wbits=31)
        return packer.compress(head) + packer.compress(voxels) + packer.flush()
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=_LEVEL, mtime=0) as file:
        file.write(head)
        file.write(voxels)
    return stream.getvalue()


def _nrrd(
    shape: tuple[int, ...], lps: np.ndarray, voxels: memoryview, *, is_oriented: bool, fields: Mapping[str, str]
) -> bytes:
    lines = ["NRRD0004", "type: unsigned char", "dimension: 3"]
    if is_oriented:
        vectors = [f"({','.join(map(repr, column))})" for column in lps[:3].T.tolist()]
        lines += ["space: left-posterior-superior", f"sizes: {_words(shape)}"]
        lines += [f"space directions: {' '.join(vectors[:3])}", "kinds: domain domain domain"]
        lines += ["encoding: gzip", f"space origin: {vectors[3]}"]
    else:
        lines += [f"sizes: {_words(shape)}", f"spacings: {_words(spacing_of(lps))}", "encoding: gzip"]
    lines += [f"{key}:={_escaped(value)}" for key, value in fields.items()]
    return "\n".join([*lines, "", ""]).encode() + compress(b"", voxels)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _metaimage(shape: tuple[int, ...], lps: np.ndarray, voxels: memoryview, *, is_oriented: bool) -> bytes:
    isal = nifti_files.isal_zlib
    packed = isal.compress(voxels, _ISAL_LEVEL) if isal is not None else zlib.compress(voxels, _LEVEL)
    columns = [_split(column) for column in lps[:3, :3].T.tolist()]
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += ["CompressedData = True", f"CompressedDataSize = {len(packed)}"]
    if is_oriented:
        directions = itertools.chain.from_iterable(direction for _, direction in columns)
        lines += [f"TransformMatrix = {_words(directions)}", f"Offset = {_words(lps[:3, 3].tolist())}"]
        lines += ["CenterOfRotation = 0 0 0"]
    lines += [f"ElementSpacing = {_words(size for size, _ in columns)}", f"DimSize = {_words(shape)}"]
    lines += ["ElementType = MET_UCHAR", "ElementDataFile = LOCAL", ""]
    return "\n".join(lines).encode() + packed


def _split(column: list[float]) -> tuple[float, list[float]]:
    """Length and direction of a vector; where there are such numbers, their product is the vector to the last bit."""
    length = best = math.sqrt(math.fsum(value * value for value in column))
    up = down = length
    for _ in range(8):
        for size in (up, down):
            direction = [_divided(value, size) for value in column]
            if [part * size for part in direction] == column:
                return size, direction
        up, down = math.nextafter(up, math.inf), math.nextafter(down, 0)
    return best, [value / best for value in column]


def _divided(value: float, size: float) -> float:
    part = value / size
    near = (part, math.nextafter(part, math.inf), math.nextafter(part, -math.inf))
    return next((each for each in near if each * size == value), part)


def _words(values: Any) -> str:
    return " ".join(map(repr, values))


def label_header(shape: tuple[int, ...], source: Any) -> Any:
    """NIfTI header of a label map on the grid of a source, without any other field of it."""
    header = type(source)(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header["pixdim"][:4] = source["pixdim"][:4]
    for field in header:
        grid = field.startswith(("qform_", "sform_", "quatern_", "qoffset_", "srow_")) or field == "xyzt_units"
        if grid and np.isfinite(source[field]).all():  # a form that is not used may hold anything
            header[field] = source[field]
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.sizeof_hdr + 4
    header.set_intent("label")
    header["descrip"] = b"multijoint label map"
    return header
