"""The outline of a bone: flat ends, as a cut makes them, and lengths along each axis."""

from __future__ import annotations

import math

import numpy as np

from multijoint.checks.checked_case import Outline


def measure_outline(
    voxels: np.ndarray, classes: np.ndarray, index: int, box: tuple[slice, ...], spacing_mm: np.ndarray
) -> Outline:
    """Flat ends of a bone and its extents; a cut through a bone is a flat end as large as its cross-section.

    Ends at the edge of the field of view do not count.

    Args:
        voxels: image in RAS+ order.
        classes: class indices on the same grid.
        index: of the bone.
        box: that holds it.
        spacing_mm: size of a voxel along each axis.
    """
    wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
    mask, part = classes[wider] == index, voxels[wider].astype(np.float32)
    faces: list[float] = []
    steps: list[float] = []
    extents: list[float] = []
    for axis in range(3):
        across = tuple(other for other in range(3) if other != axis)
        areas = mask.sum(axis=across)
        borders, changes = np.diff(mask.view(np.int8), axis=axis), np.abs(np.diff(part, axis=axis))
        first = np.take(mask, range(max(mask.shape[axis] - 1, 0)), axis)
        inside = float(changes[first & (borders == 0)].mean()) if (first & (borders == 0)).any() else 0.0
        for way in (1, -1):  # begins, ends
            counts = (borders == way).sum(axis=across)
            place = int(counts.argmax()) if len(counts) else 0
            count = int(counts.max(initial=0))
            faces.append(count / int(areas.max()))
            there = np.take(changes, place, axis)[np.take(borders, place, axis) == way] if count else changes[:0]
            steps.append(float(there.mean()) / inside if count and inside > 0 else math.inf)
        places = np.arange(len(areas))
        mean = np.average(places, weights=areas)
        extents.append(float(np.sqrt(np.average((places - mean) ** 2, weights=areas) + 1 / 12) * spacing_mm[axis]))
    return Outline(tuple(faces), tuple(steps), tuple(extents))
