"""Measurements of an image and its labels, a slab at a time so that they need little memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from custom_components.label_maps import voxels_where
from scipy import ndimage

LARGE = 0.01
"""Share of a bone from which on a component counts as large, such as the epiphysis beyond a growth plate."""

_SLAB = 2**21  # voxels converted at once
_MOST_SAMPLES = 2_000_000
_MOST_BORDERS = 300_000
_FAR = 0.25  # of the diagonal of a bone's largest component ...
_FAR_MM = 5.0  # ... but at least this far is far away
_MOST_LISTED = 20
_WHOLE = 0.01  # how far off a whole number a multiple may be, relative to it


def slabs(array: np.ndarray) -> Iterator[slice]:
    """Parts of the first axis that together are the array."""
    step = max(1, _SLAB * len(array) // max(array.size, 1))
    return (slice(start, start + step) for start in range(0, len(array), step))


def sample(voxels: np.ndarray) -> np.ndarray:
    """A view of some voxels from all over a volume, about two million at most."""
    step = int(np.ceil(max(1.0, voxels.size / _MOST_SAMPLES) ** (1 / 3)))
    return voxels[::step, ::step, ::step]


def hash_array(array: np.ndarray) -> str:
    """SHA-256 of shape and values in C order, in hexadecimal."""
    digest = hashlib.sha256(str(array.shape).encode())
    for part in slabs(array):
        digest.update(np.ascontiguousarray(array[part]).data)
    return digest.hexdigest()


def count_values(values: np.ndarray) -> list[tuple[int, int]]:
    """The values of an integer array in ascending order, each with its number of voxels.

    Example:
        >>> count_values(np.array([2, 0, 2])), count_values(np.array([-1, 300]))
        ([(0, 1), (2, 2)], [(-1, 1), (300, 1)])
    """
    if values.dtype.kind in "iu" and values.size and values.min() >= 0 and values.max() <= np.iinfo(np.uint8).max:
        counts = np.bincount(values.astype(np.uint8).reshape(-1))  # many times faster than sorting
        return [(value, counts[value].item()) for value in np.flatnonzero(counts).tolist()]
    found, numbers = np.unique(values, return_counts=True)
    return list(zip(found.tolist(), numbers.tolist(), strict=True))


def find_quantum(levels: np.ndarray) -> float:
    """The number that all steps between ascending levels are multiples of, as in whole numbers; 0 if there is none.

    Example:
        >>> find_quantum(np.array([0.0, 20, 50, 60])), find_quantum(np.array([0.0, 0.31, 1.2]))
        (10.0, 0.0)
    """
    steps = np.diff(levels.astype(np.float64))
    if not steps.size:
        return 0.0
    quantum = float(steps.min())
    multiples = steps / quantum
    return quantum if bool((np.abs(multiples - np.rint(multiples)) < _WHOLE * multiples).all()) else 0.0


def shrink(voxels: np.ndarray, side: int, *, index: int | None = None) -> np.ndarray:
    """Means over `side` equal parts of each axis, of the values or of the share of voxels with the value `index`.

    A mirrored volume gives the mirrored result.

    Shape:
        (side, side, side), float32.
    """
    rows, columns, depths = (_weights(size, side) for size in voxels.shape)
    result = np.zeros((side, side, side), np.float32)
    for part in slabs(voxels):
        values = (voxels[part] if index is None else voxels[part] == index).astype(np.float32)
        values = np.tensordot(np.tensordot(values, depths, (2, 1)), columns, (1, 1))
        result += np.tensordot(rows[:, part], values, (1, 0))
    return result.transpose(0, 2, 1)


def _weights(size: int, side: int) -> np.ndarray:
    """How much of each voxel lies in each part."""
    edges = np.arange(side + 1) * size / side
    voxels = np.arange(size)
    overlap = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
    return (np.maximum(overlap, 0) * side / size).astype(np.float32)


def unit(values: np.ndarray) -> np.ndarray:
    """Zero mean and unit length, so that a product is a correlation; all zero if constant."""
    flat = values.astype(np.float32) - np.float32(values.mean(dtype=np.float64))
    length = float(np.linalg.norm(flat))
    return flat / np.float32(length) if length > 0 else flat


def measure_bone(mask: np.ndarray, spacing_mm: np.ndarray) -> tuple[int, tuple[int, ...], int, int, np.ndarray]:
    """Components of one bone within its box.

    A component is far away if it lies wholly outside the box of the largest one, widened on all sides by a quarter of
    its diagonal and at least by 5 mm.

    Returns:
        Number of voxels, those of the large components (6-connected, from 1 % of the bone, at most 20, largest first),
        number of all components, number of those far away, and the bone's centre in voxels.
    """
    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    num_far = 0
    if count > 1:
        box = ndimage.find_objects((parts == int(sizes.argmax()) + 1).view(np.uint8))[0]
        diagonal_mm = float(np.linalg.norm([side.stop - side.start for side in box] * spacing_mm))
        margins = np.ceil(max(_FAR * diagonal_mm, _FAR_MM) / spacing_mm).astype(int)
        near = tuple(
            slice(max(side.start - margin, 0), side.stop + margin) for side, margin in zip(box, margins, strict=True)
        )
        within = np.bincount(parts[near].ravel(), minlength=count + 1)[1:]
        num_far = int((within == 0).sum())
    ordered = np.sort(sizes)[::-1]
    total = int(sizes.sum())
    large = ordered[ordered >= LARGE * total][:_MOST_LISTED]
    centre = [
        np.average(np.arange(mask.shape[axis]) + 0.5, weights=mask.sum(axis=tuple(k for k in range(3) if k != axis)))
        for axis in range(3)
    ]
    return total, tuple(large.tolist()), count, num_far, np.array(centre)


def roughness(voxels: np.ndarray) -> np.ndarray:
    """Mean absolute difference of neighbours along each axis, in standard deviations: 1.13 for noise alone."""
    sums, counts = np.zeros(3), np.zeros(3)
    for part in slabs(voxels):
        block = voxels[part.start : part.stop + 1]
        for axis in range(3):
            steps = np.abs(np.diff(block if axis == 0 else voxels[part], axis=axis))
            sums[axis] += steps.sum(dtype=np.float64)
            counts[axis] += steps.size
    return sums / np.maximum(counts, 1) / max(float(sample(voxels).std(dtype=np.float64)), 1e-30)


def edge_fits(
    voxels: np.ndarray, classes: np.ndarray, *, steps: np.ndarray, limits: tuple[float, float]
) -> tuple[float, ...]:
    """How much the image changes across the borders of labels, as they are and mirrored along each axis.

    The steps are the result of `roughness`; intensities beyond the limits count as these.

    Returns:
        Four mean steps in units of the usual step along the same axis; none if there are fewer than 500 borders.
    """
    fits, count = np.zeros(4), 0
    for axis in range(3):
        places = _borders(classes, axis)
        if not len(places) or steps[axis] == 0:
            continue
        for way in range(4):
            first, second = places.copy(), places.copy()
            second[:, axis] += 1
            if way:
                last = voxels.shape[way - 1] - 1
                first[:, way - 1], second[:, way - 1] = last - first[:, way - 1], last - second[:, way - 1]
            low, high = (np.clip(voxels[tuple(each.T)], *limits) for each in (first, second))
            fits[way] += np.abs(high - low).sum(dtype=np.float64) / steps[axis]
        count += len(places)
    return tuple((fits / count).tolist()) if count >= 500 else ()


def _borders(classes: np.ndarray, axis: int) -> np.ndarray:
    """Voxels whose next one along an axis has another class, evenly thinned out if there are many."""
    found = []
    for part in slabs(classes):
        block = classes[part.start : part.stop + 1] if axis == 0 else classes[part]
        where = voxels_where(np.diff(block.astype(np.int16), axis=axis) != 0)
        where[:, 0] += part.start
        found.append(where)
    places = np.concatenate(found)
    return places[:: max(1, -(-len(places) // _MOST_BORDERS))]
