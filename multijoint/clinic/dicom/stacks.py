"""Stacks of slices: a series sorted into volumes, each on one grid with no slice missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from custom_components.errors import InputError

from multijoint.clinic.dicom.slices import KEYS, Slice

MIN_SLICES = 5
"""Fewer are no volume."""

SPACING_TOLERANCE = 0.02
"""How far a slice may lie from its place in an equally spaced stack, as a share of the spacing; 0.01 mm at least."""

SAME_PLACE_MM = 0.01
"""Slices closer than this lie at one place."""

_ORIENTATION_TOLERANCE = 1e-4  # of a direction cosine: 0.02 mm over 200 mm
_SHIFT_TOLERANCE_MM = 0.05  # of a slice within its plane
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal (the direction of the rows x that of the columns).

    Args:
        keys: what tells it from the other stacks of its series, such as "echo 4.6".
        affine: index (column, row, slice) -> RAS+ position in mm, (4, 4); None if there is a problem.
        problem: why it is no volume, as the end of a sentence that begins with the series, with its remedy if that is
            a special one.
    """

    slices: tuple[Slice, ...]
    keys: str = ""
    affine: np.ndarray | None = None
    problem: str = ""


def stacks_of(slices: Sequence[Slice]) -> list[Stack]:
    """The stacks of a series: one, unless several slices lie at one place and a key tells them apart."""
    found = len({each.shape for each in slices})
    if found > 1:
        return [Stack(tuple(slices), problem=f"must have one image size, got {found}")]
    different: list[np.ndarray] = []
    for own in (np.array(each.orientation) for each in slices):
        if not any(np.abs(own - other).max() <= _ORIENTATION_TOLERANCE for other in different):
            different.append(own)
    if (orientations := len(different)) > 1:
        kind = " (a localiser?)" if orientations >= 3 else ""
        return [Stack(tuple(slices), problem=f"must have slices of one orientation, got {orientations}{kind}")]
    spacings = np.array([each.spacing_mm for each in slices])
    if np.ptp(spacings, axis=0).max() > 1e-4 * spacings.min():
        return [Stack(tuple(slices), problem="must have one pixel spacing, got several")]
    return [_stack(part, keys) for part, keys in _told_apart(list(slices))]


def affine_of(slices: Sequence[Slice]) -> np.ndarray:
    """Index (column, row, slice) -> RAS+ position in mm of sorted, equally spaced slices.

    Shape:
        (4, 4), float64.
    """
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.orientation[:3], first.spacing_mm[1])  # to the next column: along a row
    affine[:3, 1] = np.multiply(first.orientation[3:], first.spacing_mm[0])
    affine[:3, 2] = np.subtract(last.position, first.position) / (len(slices) - 1)
    affine[:3, 3] = first.position
    return _TO_RAS @ affine


def _told_apart(slices: list[Slice]) -> list[tuple[list[Slice], str]]:
    """Split slices by their keys until no two of a part lie at one place, if possible; with the values of the keys.

    A key that has more values than there are slices at one place tells slices apart, not stacks.
    """
    parts = [(slices, "")]
    for index, key in enumerate(KEYS):
        split = []
        for part, keys in parts:
            values = Counter(each.keys[index] for each in part)
            if 1 < len(values) <= _most_at_one_place(part):
                for value in sorted(values, key=_in_order):
                    own = [each for each in part if each.keys[index] == value]
                    split.append((own, f"{keys}, {_said(key, value)}".lstrip(", ")))
            else:
                split.append((part, keys))
        parts = split
    return parts


def _said(key: str, value: str) -> str:
    """A value of a key in words."""
    if key == "part":
        return value or "unknown part"
    return f"{key} {value}" if value else f"no {key}"


def _in_order(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return np.inf, text


def _along_normal(slices: Sequence[Slice]) -> np.ndarray:
    normal = np.cross(slices[0].orientation[:3], slices[0].orientation[3:])
    return np.array([each.position for each in slices]) @ normal


def _most_at_one_place(slices: Sequence[Slice]) -> int:
    return int(_at_each_place(np.sort(_along_normal(slices))).max())


def _at_each_place(heights: np.ndarray) -> np.ndarray:
    """How many of some heights in order lie at each place: a gap above the tolerance begins a new one."""
    return np.bincount(np.cumsum(np.diff(heights, prepend=heights[0]) > SAME_PLACE_MM))


def _stack(slices: list[Slice], keys: str) -> Stack:
    heights = _along_normal(slices)
    order = np.argsort(heights, kind="stable")
    ordered = tuple(slices[k] for k in order)
    try:
        _check(ordered, heights[order])
    except InputError as error:
        return Stack(ordered, keys, problem=str(error))
    return Stack(ordered, keys, affine_of(ordered))


def _check(slices: tuple[Slice, ...], heights: np.ndarray) -> None:
    if len(slices) < MIN_SLICES:
        raise InputError(f"must have at least {MIN_SLICES} slices, got {len(slices)}")
    if (found := len({each.frame_of_reference for each in slices})) > 1:
        rule = "must have one frame of reference, got"
        raise InputError(f"{rule} {found}, whose positions cannot be compared (was the patient moved?)")
    gaps = np.diff(heights)
    if gaps.min() <= SAME_PLACE_MM:
        counts = _at_each_place(heights)
        if np.median(counts) > 1:
            several = f"got up to {counts.max()} at each of {len(counts)} places"
            raise InputError(
                f"must have one slice at a place, {several} (a time series without its times?); export one time point"
            )
        at = int(gaps.argmin())
        raise InputError(f"must have one slice at a place, got two at slice {at + 1} of {len(slices)} (duplicates?)")
    # The median gap is the spacing unless half of the slices are missing. Gaps of nearly whole multiples of it mean
    # missing slices; other gaps mean uneven spacing.
    step = float(np.median(gaps))
    ratios = gaps / step
    if (ratios > 1.5).any() and np.abs(ratios - ratios.round()).max() <= 0.1:
        at, missing = int((ratios > 1.5).argmax()), int((ratios.round() - 1).sum())
        raise InputError(f"must be complete, got {missing} missing, first between slices {at + 1} and {at + 2}")
    even = heights[0] + np.arange(len(slices)) * (heights[-1] - heights[0]) / (len(slices) - 1)
    if np.abs(heights - even).max() > max(SPACING_TOLERANCE * step, SAME_PLACE_MM):
        raise InputError(f"must have equally spaced slices, got gaps from {gaps.min():.4g} to {gaps.max():.4g} mm")
    # The rest of each step, without its part along the normal, is a shift within the plane (a sheared stack).
    positions = np.array([each.position for each in slices])
    normal = np.cross(slices[0].orientation[:3], slices[0].orientation[3:])
    shifts = positions - positions[0] - np.outer(heights - heights[0], normal)
    off = float(np.linalg.norm(shifts, axis=1).max())
    if off > _SHIFT_TOLERANCE_MM:
        raise InputError(f"must have slices behind one another, got some shifted by up to {off:.3g} mm in their plane")
