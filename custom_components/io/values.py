"""Values of voxels as they come from files: converted in parts, and refused if they cannot be what they are for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from custom_components.errors import InputError, show_path

PART = 2**20
"""Voxels converted at once."""

MAX_TRAILING = 512
"""Bytes that may follow the voxels; some writers fill up the last block."""

MAX_FRACTION = 1e-4
"""Rounding error of a label value."""

_LEAST_STEPS = 2**12  # of 64-bit intensities that become float32; fewer near its smallest number are a posterised image


@dataclass
class Found:
    """Statistics of the values read so far; label values may be off a whole number by `max_fraction`."""

    max_fraction: float = MAX_FRACTION
    low: float = math.inf
    high: float = -math.inf
    double: bool = False
    num_infinite: int = 0
    num_fractions: int = 0
    fraction: float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Count a part; values that are not finite become 0 in it."""
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
def collect(parts: Iterable[np.ndarray], num: int, found: Found, *, kind: Literal["image", "label"]) -> np.ndarray:
    """The `num` values of all parts, which are changed; an "image" becomes float32, a "label" int32."""
    voxels, start = np.empty(num, np.float32 if kind == "image" else np.int32), 0
    for values in parts:
        found.add(values)
        voxels[start : start + values.size] = values if kind == "image" else found.whole(values)
        start += values.size
    return voxels


@np.errstate(all="ignore")
def check_values(found: Found, kind: Literal["image", "label"], path: Path) -> None:
    """Refuse values that are not finite or do not fit `kind`.

    Raises:
        InputError: NaN or infinite; an image that is constant or beyond 32-bit floats; labels that are not whole.
    """
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


def wrong_length(path: Path, found: str) -> InputError:
    """An error that a file is longer or shorter than its header says."""
    return InputError(f"volume {show_path(path)} must be as long as its header says, got {found}; copy it again")
