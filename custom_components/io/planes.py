"""Planes of a volume: the choice of slices to show, and their orientation on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from custom_components.label_maps import memory_axes, voxels_where

_AS_GOOD = 0.98
_LETTERS = ("RL", "AP", "SI")  # the positive end of each patient axis, then the other


def bone_areas(labels: np.ndarray, values: Iterable[int]) -> dict[int, list[np.ndarray]]:
    """Voxels of each bone in each slice along each axis; zeros for a bone that is not there.

    Shape:
        labels (X, Y, Z), of any integer type and memory order; an array of counts an axis.

    Example:
        >>> labels = np.zeros((2, 2, 3), dtype=np.uint8)
        >>> labels[:, 0, 1:] = 7
        >>> [counts.tolist() for counts in bone_areas(labels, [7])[7]]
        [[2, 2], [4, 0], [0, 2, 2]]
    """
    order = memory_axes(labels)
    stored = labels.transpose(order)
    areas = {}
    for value in values:
        where = voxels_where(stored == value).T
        counts = {axis: np.bincount(where[k], minlength=stored.shape[k]) for k, axis in enumerate(order)}
        areas[int(value)] = [counts[axis] for axis in range(3)]
    return areas


def find_planes(shape: Sequence[int], *areas: dict[int, list[np.ndarray]]) -> tuple[int, int, int]:
    """The slice along each axis that goes best through the centres of all bones.

    Each bone counts by the share of its largest area that the slice shows, so that a small bone weighs as much as a
    large one; of slices that are equally good (within 2 %), the one in their middle. Without any bone, the middle of
    the volume. Areas are `bone_areas` of the label map, and of the reference if there is one.

    Example:
        >>> labels = np.zeros((9, 9, 9), dtype=np.uint8)
        >>> labels[1:8, 1:8, 2:7] = 1
        >>> labels[2, 3, 6] = 2
        >>> find_planes(labels.shape, bone_areas(labels, [1, 2]))
        (2, 3, 6)
    """
    values = dict.fromkeys(value for each in areas for value in each)
    x, y, z = (
        _best_slice(size, [[each[value][axis] for each in areas if value in each] for value in values])
        for axis, size in enumerate(shape)
    )
    return x, y, z


def take_plane(array: np.ndarray, axis: int, position: int) -> np.ndarray:
    """One slice as radiologists look at it: the patient's right, or front, to the left, and head or front at the top.

    The axis is 0 for a sagittal, 1 for a coronal, 2 for an axial slice, see `domains.PLANES`.

    Shape:
        (X, Y, Z) in RAS+ order to (rows from the top, columns from the left).

    Example:
        >>> take_plane(np.arange(4).reshape(2, 2, 1), 2, 0).tolist()
        [[3, 1], [2, 0]]
    """
    return array[(slice(None),) * axis + (position,)].T[::-1, ::-1]  # `np.take` would copy a volume that is a view


def plane_edges(axis: int) -> tuple[str, str, str, str]:
    """Which side of the patient is at the left, right, top and bottom of `take_plane`'s result.

    Example:
        >>> ["".join(plane_edges(axis)) for axis in range(3)]
        ['APSI', 'RLSI', 'RLAP']
    """
    across, upwards = (letters for other, letters in enumerate(_LETTERS) if other != axis)
    return across[0], across[1], upwards[0], upwards[1]


def _best_slice(size: int, bones: Iterable[Sequence[np.ndarray]]) -> int:
    """The slice with the largest sum of shares; of label map and reference the one that shows more of a bone counts."""
    shares = np.zeros(size)
    for maps in bones:
        shares += np.max([counts / max(counts.max(), 1) for counts in maps], axis=0)
    best = np.flatnonzero(shares >= _AS_GOOD * shares.max())
    return int(best[len(best) // 2])
