"""Strict reading of MetaImage headers, with the voxels (`.mha`) and detached (`.mhd`).

Source: the documentation of the format, https://docs.itk.org/en/latest/learn/metaio.html.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.raster import (
    LPS_TO_RAS,
    Raster,
    affine_without_orientation,
    check_scaling,
    check_spacing,
    invalid,
    numbers,
    sibling,
    volume_shape,
    whole_numbers,
)

LAST = "ElementDataFile"
"""Key of the last line."""

_DTYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_SYNONYMS = {
    **dict.fromkeys(("Position", "Origin"), "Offset"),
    **dict.fromkeys(("Orientation", "Rotation"), "TransformMatrix"),
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_USED = frozenset(
    (
        *("ObjectType", "NDims", "DimSize", "ElementType", "ElementSpacing", "ElementNumberOfChannels", "Offset"),
        *("TransformMatrix", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "CompressedDataSize"),
        *("HeaderSize", "ElementSize", "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"),
        *("DistanceUnits", LAST),
    )
)
_MAX_SKIP = 2**24
_MAX_OFF = 0.01  # of the length of a direction from 1


@np.errstate(all="ignore")
def parse_metaimage(text: str, path: Path, *, size: int) -> Raster:
    """Parse the header of a MetaImage file of one 3D volume, up to the line `ElementDataFile` with it.

    Args:
        text: the header.
        path: the file.
        size: its bytes.

    Raises:
        InputError: an invalid entry, several volumes or channels, or a scaling.
    """
    known, free = _entries(text, path)
    if known.get("ObjectType", "Image").lower() != "image":
        invalid(path, "ObjectType", "Image", known["ObjectType"])
    num_axes = whole_numbers(known.get("NDims", ""), "NDims", path)
    if len(num_axes) != 1 or not 1 <= num_axes[0] <= 10:
        invalid(path, "NDims", "one number from 1 to 10", known["NDims"])
    [rank] = num_axes
    sizes = whole_numbers(known.get("DimSize", ""), "DimSize", path)
    if len(sizes) != rank:
        invalid(path, "DimSize", f"{rank} numbers", known["DimSize"])
    shape = volume_shape(sizes, path)
    if rank > 3:  # ITK would leave out the directions
        rule = f"volume {show_path(path)} must have three axes"
        raise InputError(f"{rule}, got shape {tuple(sizes)}; write it as a 3D image")
    if whole_numbers(known.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", path) != [1]:
        found = known["ElementNumberOfChannels"][:20]
        raise InputError(f"volume {show_path(path)} must have one channel, got {found}; extract one of them")
    kind = known.get("ElementType", "none")
    if kind not in _DTYPES:
        invalid(path, "ElementType", f"one of {', '.join(_DTYPES)}", kind)
    if not _flag(known, "BinaryData", True, path):
        invalid(path, "BinaryData", "True", "voxels as text")
    slope, intercept = (
        numbers(known.get(f"ElementToIntensityFunction{key}", default), key, path, size=1).item()
        for key, default in (("Slope", "1"), ("Offset", "0"))
    )
    check_scaling(slope, intercept, path)
    if known.get("DistanceUnits", "mm").lower() not in ("mm", "?", "???", ""):
        invalid(path, "DistanceUnits", "mm", known["DistanceUnits"])
    affine, is_oriented = _affine(known, shape, path)
    is_packed = _flag(known, "CompressedData", False, path)
    data = known.get(LAST, "")
    is_local = data.upper() == "LOCAL"
    skip = whole_numbers(known.get("HeaderSize", "0"), "HeaderSize", path)
    if len(skip) != 1 or not -1 <= skip[0] <= _MAX_SKIP or (skip[0] and (is_packed or is_local)):
        invalid(
            path, "HeaderSize", f"0, or from -1 to {_MAX_SKIP} for plain voxels in another file", known["HeaderSize"]
        )
    return Raster(
        path,
        "MetaImage",
        shape,
        np.dtype(_DTYPES[kind]).newbyteorder(">" if _flag(known, "BinaryDataByteOrderMSB", False, path) else "<"),
        affine,
        is_oriented=is_oriented,
        data="" if is_local else sibling(data, path),
        offset=size if is_local else skip[0],
        packing="zlib" if is_packed else "",
        fields=free,
    )


def _entries(text: str, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Entries that are used here, under one name each, and the others."""
    known: dict[str, str] = {}
    free: dict[str, str] = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        key, value = _SYNONYMS.get(key.strip(), key.strip()), value.strip()
        if not mark:
            if key:
                invalid(path, "each line", "of the form key = value", line)
            continue
        if key in known:
            invalid(path, key, "given once", "it twice")
        (known if key in _USED else free)[key] = value
    return known, free


def _flag(known: dict[str, str], key: str, default: bool, path: Path) -> bool:
    text = known.get(key, str(default)).lower()
    if text not in ("true", "false", "1", "0"):
        invalid(path, key, "True or False", text)
    return text in ("true", "1")


def _affine(known: dict[str, str], shape: tuple[int, int, int], path: Path) -> tuple[np.ndarray, bool]:
    """The affine, and whether the place in the patient is known: spacing, directions and offset are given."""
    key = "ElementSpacing" if "ElementSpacing" in known else "ElementSize"
    if key not in known:
        invalid(path, "ElementSpacing", "given", "none")
    spacing = numbers(known[key], key, path, size=3)
    check_spacing(spacing, path)
    if "TransformMatrix" not in known:
        if "Offset" in known:
            numbers(known["Offset"], "Offset", path, size=3)
        return affine_without_orientation(shape, spacing.tolist()), False
    matrix = numbers(known["TransformMatrix"], "TransformMatrix", path, size=9).reshape(3, 3)
    offset = numbers(known.get("Offset", ""), "Offset", path, size=3)
    lengths = np.sqrt((matrix**2).sum(axis=1))  # a row an axis
    if not (np.abs(lengths - 1) <= _MAX_OFF).all():  # NaN fails, too
        invalid(path, "TransformMatrix", "of directions of length 1", known["TransformMatrix"])
    affine = np.eye(4)
    affine[:3, :3] = matrix.T * spacing
    affine[:3, 3] = offset
    return LPS_TO_RAS @ affine + 0.0, True
