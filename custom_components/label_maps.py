"""Sizes and bounding boxes of the bones of a label map, from its runs of equal voxels.

A run is a straight line of voxels of one bone along the axis that is contiguous in memory. One pass over the map finds
the runs; a bone of a million voxels has some ten thousand of them, so everything counted from runs is almost free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from custom_components.errors import InputError

__all__ = ["Bone", "VoxelRuns", "check_label_map", "find_bones", "find_runs", "memory_axes", "voxels_where"]

_PART = 2**18  # voxels processed at once, so that temporary arrays stay small and in the processor's cache


@dataclass(frozen=True)
class VoxelRuns:
    """Runs of voxels of one bone along the last axis of a C-contiguous array, in ascending order.

    Args:
        starts: flat position of the first voxel of each run.
        stops: flat position after the last voxel of each run.
        classes: class index of each run, never 0.
    """

    starts: np.ndarray
    stops: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Bone:
    """Size and bounding box of one bone of a label map.

    Args:
        index: class index.
        num_voxels: number of voxels.
        box: bounding box, one slice per axis.
    """

    index: int
    num_voxels: int
    box: tuple[slice, ...]


def voxels_where(mask: np.ndarray) -> np.ndarray:
    """The voxels where a mask is true, as `np.argwhere` gives them, in a quarter of its time.

    Shape:
        mask of any shape, bool; to (voxels, axes).

    Example:
        >>> voxels_where(np.array([[False, True], [True, False]])).tolist()
        [[0, 1], [1, 0]]
    """
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape), axis=1)


def check_label_map(labels: np.ndarray, num_classes: int) -> None:
    """Raise `InputError` unless `labels` is an integer array of shape (H, W, D) with values 0..num_classes-1."""
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels must be an integer array of shape (H, W, D), got {labels.dtype} of shape {labels.shape}; "
            "give class indices, without channels"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise InputError(
            f"labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}; "
            "encode label values as class indices or correct num_classes"
        )


def memory_axes(array: np.ndarray) -> tuple[int, ...]:
    """Order of axes that makes the transposed array C-contiguous, or as close to it as possible.

    Example:
        >>> memory_axes(np.zeros((2, 3, 4), order="F"))
        (2, 1, 0)
    """
    return tuple(np.argsort([-abs(stride) for stride in array.strides], kind="stable").tolist())


def find_runs(volume: np.ndarray, *, at_most: int | None = None) -> VoxelRuns | None:
    """Runs of foreground voxels along the last axis; None if there are more than `at_most`.

    Args:
        volume: class indices, a C-contiguous array of at least one axis.
        at_most: largest number of runs to keep in memory, at about 17 bytes each; None for no limit.

    Example:
        >>> find_runs(np.array([[0, 2, 2], [2, 1, 0]]))
        VoxelRuns(starts=array([1, 3, 4]), stops=array([3, 4, 5]), classes=array([2, 2, 1]))
    """
    parts: list[tuple[np.ndarray, ...]] = []
    found = 0
    for part in _parts_of_runs(volume):
        parts.append(part)
        found += len(part[0])
        if at_most is not None and found > at_most:
            return None
    if not parts:
        nowhere = np.zeros(0, np.intp)
        return VoxelRuns(nowhere, nowhere, np.zeros(0, volume.dtype))
    return VoxelRuns(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def find_bones(labels: np.ndarray, *, num_classes: int) -> list[Bone]:
    """The bones of a label map that have voxels, in class order, with their sizes and bounding boxes.

    Args:
        labels: class indices 0..num_classes-1, an integer array of at least one axis.
        num_classes: number of classes, background included.

    Example:
        >>> find_bones(np.array([[0, 2, 2], [0, 0, 2]]), num_classes=4)
        [Bone(index=2, num_voxels=3, box=(slice(0, 2, None), slice(1, 3, None)))]
    """
    axes = memory_axes(labels)
    volume = np.ascontiguousarray(labels.transpose(axes))
    sizes = np.zeros(num_classes, np.intp)
    low = np.full((labels.ndim, num_classes), np.iinfo(np.intp).max)
    high = np.zeros((labels.ndim, num_classes), np.intp)
    for starts, stops, classes in _parts_of_runs(volume):
        indices = classes.astype(np.intp)
        np.add.at(sizes, indices, stops - starts)
        for axis, along in enumerate(np.unravel_index(starts, volume.shape)):
            np.minimum.at(low[axes[axis]], indices, along)
            np.maximum.at(high[axes[axis]], indices, along)
        # Along the last axis a run has length; `along` still holds the starts along it from the loop.
        np.maximum.at(high[axes[-1]], indices, along + (stops - starts - 1))
    return [
        Bone(int(index), int(sizes[index]), tuple(map(slice, low[:, index].tolist(), (high[:, index] + 1).tolist())))
        for index in np.flatnonzero(sizes)
    ]


def _parts_of_runs(volume: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield starts, stops and classes of the foreground runs, for about `_PART` voxels in whole lines at a time."""
    if not volume.size:
        return
    length = volume.shape[-1]
    lines = volume.reshape(-1, length)
    step = max(1, _PART // length)
    for first in range(0, len(lines), step):
        voxels = lines[first : first + step].reshape(-1)
        begins = np.empty(voxels.shape, bool)
        np.not_equal(voxels[1:], voxels[:-1], out=begins[1:])
        begins[::length] = True  # a run ends with its line, even if the next line starts with the same class
        starts = np.flatnonzero(begins)
        classes = voxels[starts]
        bone = classes != 0
        stops = np.append(starts[1:], voxels.size)
        yield starts[bone] + first * length, stops[bone] + first * length, classes[bone]
