"""Voxels of NIfTI files, read in parts to keep no more in memory than the result and one part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.nifti_files import Content
from custom_components.io.nifti_headers import data_type, shape_of

_PART = 2**20  # voxels converted at once
_MAX_TRAILING = 512  # bytes; some writers fill up the last block
_LEAST_STEPS = 2**12  # of 64-bit intensities that become float32; fewer near its smallest number are a posterised image
_MAX_FRACTION = 1e-4  # rounding error of a label value
_MAX_LABEL_SLOPE = 0.25  # of integers that stand for whole numbers; a larger one could not tell them from fractions


@dataclass
class _Found:
    """Statistics of the values read so far; label values may be off a whole number by `max_fraction`."""

    max_fraction: float = _MAX_FRACTION
    low: float = math.inf
    high: float = -math.inf
    double: bool = False
    num_infinite: int = 0
    num_fractions: int = 0
    fraction: float = 0.0

    def add(self, values: np.ndarray) -> None:
        if values.dtype.kind == "f":
            finite = np.isfinite(values)
            bad = values.size - int(np.count_nonzero(finite))
            if bad:
                self.num_infinite += bad
                values[~finite] = 0
        self.low, self.high = min(self.low, values.min().item()), max(self.high, values.max().item())
        self.double = values.dtype == np.float64

    def whole(self, values: np.ndarray) -> np.ndarray:
        """Round the values and count those that are not whole."""
        if values.dtype.kind != "f":
            return values
        whole = np.rint(values)
        off = values[np.abs(values - whole) > self.max_fraction]
        if off.size and not self.num_fractions:
            self.fraction = float(off[0])
        self.num_fractions += off.size
        return whole


@np.errstate(all="ignore")
def read_voxels(content: Content, header: Any, *, kind: Literal["image", "label"]) -> tuple[np.ndarray, int]:
    """Read the voxels, from the first one, and the rest of the file, which verifies its checksum.

    The intensity scaling of the header is applied in 64 bits. An "image" becomes float32 and must not be constant; a
    "label" becomes int32, must hold whole numbers, and may be constant; see `_max_fraction`.

    Returns:
        Voxels of shape (X, Y, Z) in Fortran order, as stored, and the number of bytes after them (at most 512).

    Raises:
        InputError: the gzip file is broken, the file is shorter or longer than its header states, or values are not
            finite or do not fit `kind`.
    """
    path, shape, dtype = content.path, shape_of(header), data_type(header)
    size = math.prod(shape)
    if content.size is not None:  # not compressed: the length is known before reading
        extra = content.size - int(header["vox_offset"]) - size * dtype.itemsize
        if not 0 <= extra <= _MAX_TRAILING:
            raise _wrong_length(path, f"{abs(extra)} bytes {'less' if extra < 0 else 'more'}")
    voxels, found = np.empty(size, np.float32 if kind == "image" else np.int32), _Found(_max_fraction(header))
    for start in range(0, size, _PART):
        part = voxels[start : start + _PART]
        raw = content.read(part.size * dtype.itemsize)
        if len(raw) < part.size * dtype.itemsize:
            raise _wrong_length(path, f"{(size - start) * dtype.itemsize - len(raw)} bytes less")
        values = _scale(np.frombuffer(raw, dtype), header)
        found.add(values)
        part[...] = values if kind == "image" else found.whole(values)
    trailing = len(content.read(_MAX_TRAILING + 1))
    if trailing > _MAX_TRAILING:
        raise _wrong_length(path, f"more than {_MAX_TRAILING} bytes more")
    _check_values(found, kind, path)
    return voxels.reshape(shape, order="F"), trailing


def _scale(values: np.ndarray, header: Any) -> np.ndarray:
    """Apply the intensity scaling; returns a new array in native byte order."""
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or (slope, inter) == (1, 0):
        return values.astype(values.dtype.newbyteorder("="))
    scaled = values.astype(np.float64)
    scaled *= slope
    scaled += inter
    return scaled


def _max_fraction(header: Any) -> float:
    """How far a label value may be off a whole number.

    A writer that stores floats as scaled integers puts each at most half a slope off its value. As long as the slope is
    far below 1, the value is still the only whole number that near.
    """
    slope = abs(float(header["scl_slope"]))
    is_rounded = data_type(header).kind != "f" and slope <= _MAX_LABEL_SLOPE
    return _MAX_FRACTION + (slope / 2 if is_rounded else 0.0)


def _check_values(found: _Found, kind: str, path: Path) -> None:
    name = show_path(path)
    if found.num_infinite:
        raise InputError(f"voxels of {name} must be finite, got {found.num_infinite} NaN or infinite; replace them")
    if kind == "image":
        largest, limits = max(-found.low, found.high), np.finfo(np.float32)
        coarse = found.double and 0 < largest < _LEAST_STEPS * float(limits.smallest_subnormal)
        if largest > float(limits.max) or coarse:
            raise InputError(
                f"image {name} must fit in 32-bit floats, got {found.low:g} to {found.high:g}; rescale the intensities"
            )
        if np.float32(found.low) == np.float32(found.high):
            raise InputError(f"image {name} must not be constant, got {found.low:g} in every voxel; check the export")
        return
    if found.num_fractions:
        raise InputError(
            f"label map {name} must hold whole numbers, got {found.fraction:g} ({found.num_fractions} such voxels); "
            "resample labels with nearest neighbour"
        )
    if max(-found.low, found.high) > np.iinfo(np.int32).max:
        raise InputError(f"label map {name} must hold values below 2**31, got {found.high:g}; renumber the labels")


def _wrong_length(path: Path, found: str) -> InputError:
    return InputError(f"volume {show_path(path)} must be as long as its header says, got {found}; copy it again")
