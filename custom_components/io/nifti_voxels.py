"""Voxels of NIfTI files, read in parts to keep no more in memory than the result and one part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from custom_components.io.nifti_files import Content
from custom_components.io.nifti_headers import data_type, shape_of
from custom_components.io.values import MAX_FRACTION, MAX_TRAILING, PART, Found, check_values, collect, wrong_length

_MAX_LABEL_SLOPE = 0.25  # of integers that stand for whole numbers; a larger one could not tell them from fractions


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
        if not 0 <= extra <= MAX_TRAILING:
            raise wrong_length(path, f"{abs(extra)} bytes {'less' if extra < 0 else 'more'}")

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, size, PART):
            wanted = min(PART, size - start) * dtype.itemsize
            raw = content.read(wanted)
            if len(raw) < wanted:
                raise wrong_length(path, f"{(size - start) * dtype.itemsize - len(raw)} bytes less")
            yield _scale(np.frombuffer(raw, dtype), header)

    found = Found(_max_fraction(header))
    voxels = collect(parts(), size, found, kind=kind)
    trailing = len(content.read(MAX_TRAILING + 1))
    if trailing > MAX_TRAILING:
        raise wrong_length(path, f"more than {MAX_TRAILING} bytes more")
    check_values(found, kind, path)
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
    return MAX_FRACTION + (slope / 2 if is_rounded else 0.0)
