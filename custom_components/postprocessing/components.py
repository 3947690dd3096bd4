"""Connected components of the bones of a label map: their sizes, and the largest of each bone.

Components are found by joining runs (straight lines of equal voxels, see `label_maps`) instead of single voxels: two
runs of one bone are connected if they touch, so the runs are the nodes of a graph, and SciPy finds its connected
components. A bone of a million voxels has some ten thousand runs, which makes this many times faster than labelling
each voxel. Noise has about as many runs as voxels; it is labelled voxel by voxel with `scipy.ndimage`.
"""

from __future__ import annotations

import numpy as np
from custom_components.errors import InputError
from custom_components.io.geometry import orientation_of, to_canonical
from custom_components.label_maps import VoxelRuns, check_label_map, find_bones, find_runs, memory_axes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_FEW_RUNS = 2**16
_VOXELS_A_RUN = 32
"""Joining takes about 100 bytes per run: with more than one run in 32 voxels, labelling voxels takes less memory."""

_PARTS = 16  # np.bincount copies its input to 64-bit integers: counting in parts copies a part at a time


def largest_component(
    labels: np.ndarray, *, num_classes: int, connectivity: int = 1, affine: np.ndarray | None = None
) -> np.ndarray:
    """Keep the largest connected component of each bone; the others become background.

    Among equally large components, the one whose first voxel comes first in C order is kept. With `affine`, C order
    refers to the closest RAS+ axis order, so that the same component is kept however the map is stored.

    Args:
        labels: class indices 0..num_classes-1, an integer array of shape (H, W, D).
        num_classes: number of classes, background included.
        connectivity: 1, 2 or 3: neighbours share a face (6 of them), an edge (18) or a corner (26).
        affine: voxel index -> RAS+ position, shape (4, 4).

    Returns:
        A new array of the same shape, type and order in memory. A bone without voxels remains without.

    Raises:
        InputError: `labels` is not a class-index map, or `connectivity` is unknown.

    Example:
        >>> largest_component(np.array([[[1, 0, 1, 1]]]), num_classes=2)
        array([[[0, 0, 1, 1]]])
    """
    _check_connectivity(connectivity)
    check_label_map(labels, num_classes)
    result = labels.copy(order="K")
    volume = result.transpose(memory_axes(result))  # C-contiguous, and a view of the result
    runs = _runs_if_few(volume)
    if runs is None:
        _erase_by_voxel(result if affine is None else to_canonical(result, affine), num_classes, connectivity)
        return result
    components, classes, sizes = _join(runs, volume.shape, connectivity)
    most = np.zeros(num_classes, np.intp)
    np.maximum.at(most, classes, sizes)
    kept = sizes == most[classes]
    if np.bincount(classes[kept]).max(initial=0) > 1:
        first = np.full(len(sizes), volume.size)
        # Ties are rare, so positions are computed only here. A run is straight: in any order and
        # direction of the axes, its first voxel is one of its two ends.
        for ends in (runs.starts, runs.stops - 1):
            np.minimum.at(first, components, _place(ends, result, affine))
        foremost = np.full(num_classes, volume.size)
        np.minimum.at(foremost, classes[kept], first[kept])
        kept &= first == foremost[classes]
    gone, voxels = ~kept[components], volume.reshape(-1)
    for start, stop in zip(runs.starts[gone].tolist(), runs.stops[gone].tolist(), strict=True):
        voxels[start:stop] = 0
    return result


def component_sizes(labels: np.ndarray, *, num_classes: int, connectivity: int = 1) -> list[list[int]]:
    """Sizes in voxels of the connected components of each bone, the largest first.

    For the arguments see `largest_component`.

    Returns:
        A list for each foreground class 1..num_classes-1; empty for a bone without voxels.

    Raises:
        InputError: `labels` is not a class-index map, or `connectivity` is unknown.

    Example:
        >>> component_sizes(np.array([[[1, 0, 1, 1, 2]]]), num_classes=4)
        [[2, 1], [1], []]
    """
    _check_connectivity(connectivity)
    check_label_map(labels, num_classes)
    volume = np.ascontiguousarray(labels.transpose(memory_axes(labels)))
    runs = _runs_if_few(volume)
    found: list[np.ndarray] = [np.zeros(0, np.intp)] * num_classes
    if runs is not None:
        _, classes, sizes = _join(runs, volume.shape, connectivity)
        found = [sizes[classes == index] for index in range(num_classes)]
    else:
        from scipy import ndimage  # here: few maps need it, and it takes longer to import than to use

        structure = ndimage.generate_binary_structure(3, connectivity)
        for bone in find_bones(volume, num_classes=num_classes):
            components, count = ndimage.label(volume[bone.box] == bone.index, structure)
            found[bone.index] = _sizes(components, count)[1:]
    return [np.sort(sizes)[::-1].tolist() for sizes in found[1:]]


def _check_connectivity(connectivity: int) -> None:
    if connectivity not in (1, 2, 3):
        raise InputError(f"connectivity must be 1, 2 or 3, got {connectivity!r}; 1 joins voxels that share a face")


def _runs_if_few(volume: np.ndarray) -> VoxelRuns | None:
    return find_runs(volume, at_most=max(_FEW_RUNS, volume.size // _VOXELS_A_RUN))


def _join(runs: VoxelRuns, shape: tuple[int, ...], connectivity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join runs that touch: the component of each run, and the class and the size in voxels of each component.

    Runs lie along the last axis, so each has up to 8 neighbouring lines. Touching is symmetric: it suffices to link
    each run to the 4 neighbouring lines that lie ahead of it in memory.
    """
    links = [_links(runs, shape, step, connectivity) for step in ((0, 1), (1, 0), (1, 1), (1, -1))]
    rows, columns = (np.concatenate(part) for part in zip(*links, strict=True))
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(runs.starts),) * 2)
    count, components = connected_components(graph, directed=False)
    classes = np.zeros(count, np.intp)
    classes[components] = runs.classes
    sizes = np.zeros(count, np.intp)
    np.add.at(sizes, components, runs.stops - runs.starts)
    return components, classes, sizes


def _links(
    runs: VoxelRuns, shape: tuple[int, ...], step: tuple[int, int], connectivity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs of one class that touch, the second of which lies in the line `step` (planes, lines) ahead.

    A run touches those runs of the other line that overlap with its own extent, moved to that line. Starts and stops
    are both sorted, so the overlapping runs are consecutive and two binary searches find the first and the last one.
    """
    planes, lines = step
    apart = planes + abs(lines)
    if apart > connectivity:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    num_lines, length = shape[1:]
    # If an edge or a corner in common is enough, runs also touch when one begins right after the other has ended.
    reach = int(connectivity > apart)
    line_starts = runs.starts - runs.starts % length
    shift = (planes * num_lines + lines) * length
    low = np.maximum(runs.starts - reach, line_starts) + shift
    high = np.minimum(runs.stops + reach, line_starts + length) + shift
    first = np.searchsorted(runs.stops, low, side="right")
    counts = np.searchsorted(runs.starts, high) - first
    if lines:
        target = line_starts // length % num_lines + lines
        counts[(target < 0) | (target >= num_lines)] = 0  # flat memory continues there with another plane
    # Expand to pairs: run i occurs counts[i] times, paired with first[i], first[i] + 1, ...
    rows = np.repeat(np.arange(len(counts)), counts)
    columns = np.arange(len(rows)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    same = runs.classes[rows] == runs.classes[columns]
    return rows[same], columns[same]


def _place(positions: np.ndarray, labels: np.ndarray, affine: np.ndarray | None) -> np.ndarray:
    """Convert positions in memory to positions in C order of the array, or of its closest RAS+ axis order."""
    axes = memory_axes(labels)
    along = dict(zip(axes, np.unravel_index(positions, [labels.shape[axis] for axis in axes]), strict=True))
    order: list[int] = list(range(labels.ndim))
    if affine is not None:
        orientation = orientation_of(affine)
        order = np.argsort(orientation[:, 0]).tolist()
        for axis in order:
            if orientation[axis, 1] < 0:
                along[axis] = labels.shape[axis] - 1 - along[axis]
    return np.ravel_multi_index([along[axis] for axis in order], [labels.shape[axis] for axis in order])


def _erase_by_voxel(view: np.ndarray, num_classes: int, connectivity: int) -> None:
    """Erase in place all components of each bone except the largest; of equal ones the first in C order stays."""
    from scipy import ndimage  # here: few maps need it, and it takes longer to import than to use

    structure = ndimage.generate_binary_structure(3, connectivity)
    for bone in find_bones(view, num_classes=num_classes):
        voxels = view[bone.box]
        components, count = ndimage.label(voxels == bone.index, structure)
        sizes = _sizes(components, count)
        sizes[0] = 0
        largest = sizes == sizes.max()
        # Label numbers do not tell which component comes first in C order of a view, so the first voxel of a largest
        # component is searched for, plane by plane.
        kept = next(plane[hit].item(0) for plane in components if (hit := largest[plane]).any())
        for plane, inside in zip(components, voxels, strict=True):
            inside[(plane != kept) & (plane != 0)] = 0


def _sizes(components: np.ndarray, count: int) -> np.ndarray:
    """Number of voxels of the background and of each numbered component."""
    sizes = np.zeros(count + 1, np.intp)
    for part in np.array_split(components.reshape(-1), _PARTS):
        sizes += np.bincount(part, minlength=count + 1)
    return sizes
