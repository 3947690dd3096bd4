"""Strict reading of NRRD headers, attached (`.nrrd`, `.seg.nrrd`) and detached (`.nhdr`).

Source: the definition of the format, https://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.raster import (
    LPS_TO_RAS,
    Raster,
    affine_without_orientation,
    check_spacing,
    invalid,
    numbers,
    sibling,
    volume_shape,
    whole_numbers,
)

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPES = {name: kind for kind, names in _TYPES.items() for name in names}
_PACKINGS: dict[str, Literal["", "gzip"]] = {"raw": "", "gzip": "gzip", "gz": "gzip"}
_ENDIANS: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), LPS_TO_RAS),
    **dict.fromkeys(("left-anterior-superior", "las"), np.diag([-1.0, 1.0, 1.0, 1.0])),
    **dict.fromkeys(("right-anterior-superior", "ras"), np.eye(4)),
}
_NAMES = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip", "centerings": "centers"}
_FIELDS = frozenset(
    (
        *("dimension", "type", "sizes", "encoding", "endian", "space", "space dimension", "space units"),
        *("space origin", "space directions", "spacings", "kinds", "data file", "byte skip", "line skip", "units"),
        *("block size", "min", "max", "old min", "oldmin", "old max", "oldmax", "content", "number", "sample units"),
        *("sampleunits", "thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs", "centers", "labels"),
        "measurement frame",
    )
)
_SPATIAL = frozenset(("domain", "space", "???", "none"))
_MAX_SKIP = 2**24
_VECTOR = re.compile(r"\s*(none|\([^()]*\))(?=\s|$)")


@np.errstate(all="ignore")
def parse_nrrd(text: str, path: Path, *, size: int | None) -> Raster:
    """Parse the header of an NRRD file of one 3D volume, or of a segmentation in layers.

    Args:
        text: the header, up to and with the empty line at its end.
        path: the file.
        size: bytes of the header with the empty line; `None` if the file ends without one, as a detached header may.

    Raises:
        InputError: an invalid field, several volumes or channels, or an unknown place in the patient.
    """
    known, free = _fields(text, path)
    sizes = whole_numbers(_needed(known, "sizes", path), "sizes", path)
    num_axes = _one(known, "dimension", path)
    if len(sizes) != num_axes:
        invalid(path, "sizes", f"{num_axes} numbers, one for each dimension", known["sizes"])
    kind = known.get("type", "").lower()
    if kind not in _DTYPES:
        invalid(path, "type", "that of integers or of floats of 32 or 64 bits", known.get("type", "none"))
    dtype = np.dtype(_DTYPES[kind])
    encoding = _needed(known, "encoding", path).lower()
    if encoding not in _PACKINGS:
        invalid(path, "encoding", "raw or gzip", encoding)
    endian = known.get("endian", "").lower()
    if endian not in _ENDIANS and (dtype.itemsize > 1 or endian):
        invalid(path, "endian", "little or big", endian or "none")
    spatial, layers = _spatial_axes(known, sizes, path)
    layers = layers if any(key.startswith("Segment0_") for key in free) else _only(layers, sizes, path)
    shape = volume_shape([sizes[axis] for axis in spatial] if len(sizes) > 3 else sizes, path)
    affine = _affine(known, shape, len(sizes), spatial, path)
    data = known.get("data file", "")
    if size is None and not data:
        invalid(path, "data file", "named, or follow an empty line", "neither")
    if not text.endswith("\n"):  # teem would leave out the last line
        invalid(path, "the last line", "ended", "an open one")
    return Raster(
        path,
        "NRRD",
        shape,
        dtype.newbyteorder(_ENDIANS[endian]) if endian else dtype,
        affine[0],
        is_oriented=affine[1],
        layers=layers,
        data=sibling(data, path) if data else "",
        offset=_skip(known, 0 if data else size or 0, encoding, path),
        packing=_PACKINGS[encoding],
        fields=free,
    )


def _fields(text: str, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Fields that the format defines, and the pairs of `key:=value`."""
    first, *lines = text.replace("\r\n", "\n").split("\n")
    if not re.fullmatch(r"NRRD000[1-5]", first):
        invalid(path, "version", "NRRD0001 to NRRD0005", first)
    known: dict[str, str] = {}
    free: dict[str, str] = {}
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        key, mark, value = line.partition(":")
        if value.startswith("="):
            free[key] = re.sub(r"\\([\\n])", lambda match: "\n" if match[1] == "n" else "\\", value[1:])
            continue
        name = _NAMES.get(key.strip().lower(), key.strip().lower())
        if not mark or name not in _FIELDS:
            invalid(path, "each line", "a field that the format defines", line)
        if name in known:
            invalid(path, name, "given once", "it twice")
        known[name] = value.strip()
    return known, free


def _needed(known: dict[str, str], key: str, path: Path) -> str:
    if key not in known:
        invalid(path, key, "given", "none")
    return known[key]


def _one(known: dict[str, str], key: str, path: Path) -> int:
    found = whole_numbers(_needed(known, key, path), key, path)
    if len(found) != 1 or not 1 <= found[0] <= 16:
        invalid(path, key, "one number from 1 to 16", known[key])
    return found[0]


def _spatial_axes(known: dict[str, str], sizes: Sequence[int], path: Path) -> tuple[list[int], int]:
    """The three axes in space, and the length of one before them."""
    kinds = re.findall(r'"[^"]*"|\S+', known.get("kinds", ""))
    if kinds and len(kinds) != len(sizes):
        invalid(path, "kinds", f"{len(sizes)} words", known["kinds"])
    if len(sizes) <= 3:
        other = next((kind for kind in kinds if kind.lower() not in _SPATIAL), "")
        if other and min(sizes) >= 1:
            rule = f"volume {show_path(path)} must be one 3D volume, got an axis of kind {other[:40]!r}"
            raise InputError(f"{rule}; extract a single 3D volume")
        return list(range(len(sizes))), 1
    is_first = len(sizes) == 4 and bool(kinds) and kinds[0].lower() not in _SPATIAL
    volume_shape(sizes[1:] if is_first else sizes, path)
    return [1, 2, 3] if is_first else [0, 1, 2], max(sizes[0], 0) if is_first else 1


def _only(layers: int, sizes: Sequence[int], path: Path) -> int:
    if layers != 1:
        shape = tuple(sizes)
        raise InputError(f"volume {show_path(path)} must have one channel, got shape {shape}; extract one of them")
    return layers


def _affine(
    known: dict[str, str], shape: tuple[int, int, int], num_axes: int, spatial: Sequence[int], path: Path
) -> tuple[np.ndarray, bool]:
    """The affine, and whether the place in the patient is known."""
    for key in ("space units", "units"):
        units = re.findall(r'"([^"]*)"', known.get(key, ""))
        if other := next((unit for unit in units if unit.lower() not in ("mm", "", "???")), ""):
            invalid(path, key, "mm", other)
    if "space" not in known:
        if "space directions" in known or "space dimension" in known:
            invalid(path, "space", "left-posterior-superior, or another one of a patient", "none")
        words = _needed(known, "spacings", path).split()
        if len(words) != num_axes:
            invalid(path, "spacings", f"{num_axes} numbers", known["spacings"])
        spacing = numbers(" ".join(words[axis] for axis in spatial), "spacings", path, size=3)
        check_spacing(spacing, path)
        return affine_without_orientation(shape, spacing.tolist()), False
    turn = _SPACES.get(known["space"].lower())
    if turn is None:
        invalid(path, "space", "left-posterior-superior, or another one of a patient", known["space"])
    if "spacings" in known or "space dimension" in known:
        invalid(path, "space directions", "given without spacings and space dimension", "both")
    vectors = _vectors(_needed(known, "space directions", path), "space directions", path)
    if len(vectors) != num_axes:
        invalid(path, "space directions", f"{num_axes} vectors", known["space directions"])
    origin = _vectors(_needed(known, "space origin", path), "space origin", path)
    affine = np.eye(4)
    axes = [vectors[axis] for axis in spatial]
    if len(origin) != 1 or None in (*axes, *origin):
        invalid(path, "space directions and space origin", "vectors of three numbers", known["space directions"])
    for column, vector in enumerate((*axes, *origin)):
        affine[:3, column] = numbers(str(vector), "space directions and space origin", path, size=3)
    return turn @ affine + 0.0, True


def _vectors(text: str, key: str, path: Path) -> list[str | None]:
    """The numbers of each vector as text, None for `none`."""
    found: list[str | None] = []
    place = 0
    while place < len(text):
        match = _VECTOR.match(text, place)
        if match is None:
            invalid(path, key, "vectors such as (1,0,0)", text)
        found.append(None if match[1] == "none" else match[1][1:-1].replace(",", " "))
        place = match.end()
    return found


def _skip(known: dict[str, str], before: int, encoding: str, path: Path) -> int:
    skip = known.get("byte skip", "0")
    if whole_numbers(known.get("line skip", "0"), "line skip", path) != [0]:
        invalid(path, "line skip", "0", known["line skip"])
    if skip == "-1" and encoding == "raw":
        return -1
    [found] = whole_numbers(skip, "byte skip", path)[:1]
    if not 0 <= found <= (_MAX_SKIP if encoding == "raw" else 0):
        invalid(path, "byte skip", f"from 0 to {_MAX_SKIP}, or -1, and 0 when packed", skip)
    return before + found
