"""Measure all bones of a label map at once: Dice, surface distances, and what became of each bone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from custom_components.errors import InputError
from custom_components.label_maps import Bone, find_bones, memory_axes
from custom_components.metrics.nearest_voxels import ClassVoxels
from custom_components.metrics.surface_distances import (
    UNDEFINED,
    bone_surfaces,
    check_shapes,
    check_spacing,
    symmetric_distances,
)

__all__ = ["STATUSES", "BoneMeasures", "check_classes", "measure_bones"]

STATUSES = {(True, True): "ok", (False, True): "missed", (True, False): "false_find", (False, False): "absent"}
"""Whether (prediction, reference) have the bone -> status of its score."""


class BoneMeasures(NamedTuple):
    """The numbers of a `BoneScore`, without its names."""

    dice: float
    assd_mm: float
    mssd_mm: float
    status: str


def measure_bones(
    predictions: Sequence[np.ndarray],
    reference: np.ndarray,
    *,
    num_classes: int,
    spacing_mm: Sequence[float],
    border: str,
) -> list[list[BoneMeasures]]:
    """Measure the bones of several predictions of one case, without their names.

    Args:
        predictions: class indices 0..num_classes-1, as `check_classes` accepts them.
        reference: likewise.
        num_classes: number of classes, background included.
        spacing_mm: distance between neighbouring voxels along each axis, in mm.
        border: surface convention, see `surface_distances.BORDERS`.

    Returns:
        For each prediction the measures of classes 1..num_classes-1.

    Raises:
        InputError: shapes differ, or spacing or border is unusable.
    """
    spacing = check_spacing(spacing_mm, reference.ndim)
    axes = memory_axes(reference)
    how: dict[str, Any] = {"num_classes": num_classes, "spacing_mm": [spacing[axis] for axis in axes], "border": border}
    wanted = _find(reference.transpose(axes), **how)
    measures = []
    for prediction in predictions:
        check_shapes(prediction, reference)
        measures.append(_compare(_find(prediction.transpose(axes), **how), wanted, num_classes))
    return measures


def check_classes(name: str, classes: np.ndarray, num_classes: int) -> None:
    """Refuse an array that holds anything but class indices 0..num_classes-1 (floats may, if whole).

    Raises:
        InputError: it does; the message begins with `name`.
    """
    whole = classes.dtype.kind in "biu" or bool((classes == np.floor(classes)).all())
    if classes.size and not (whole and classes.min() >= 0 and classes.max() < num_classes):
        unknown = classes[~np.isin(classes, range(num_classes))]
        raise InputError(
            f"{name} must hold class indices 0..{num_classes - 1}, got {unknown[0]:g}; encode its label values first"
        )


class _Found(NamedTuple):
    """What measuring takes of one map."""

    labels: np.ndarray
    bones: dict[int, Bone]
    surfaces: ClassVoxels


def _find(labels: np.ndarray, *, num_classes: int, spacing_mm: Sequence[float], border: str) -> _Found:
    labels = labels.astype(np.min_scalar_type(num_classes - 1), copy=False)
    bones = find_bones(labels, num_classes=num_classes)
    surfaces = bone_surfaces(labels, bones, spacing_mm=spacing_mm, border=border)
    return _Found(labels, {bone.index: bone for bone in bones}, surfaces)


def _compare(prediction: _Found, reference: _Found, num_classes: int) -> list[BoneMeasures]:
    distances = symmetric_distances(prediction.surfaces, reference.surfaces)
    measures = []
    for index in range(1, num_classes):
        between = distances.get(index, UNDEFINED)
        status = STATUSES[index in prediction.bones, index in reference.bones]
        measures.append(BoneMeasures(_dice(prediction, reference, index), between.assd_mm, between.mssd_mm, status))
    return measures


def _dice(prediction: _Found, reference: _Found, index: int) -> float:
    bones = [found.bones[index] for found in (prediction, reference) if index in found.bones]
    if len(bones) < 2:
        return 0.0 if bones else math.nan
    # Where both boxes are: a stray voxel stretches one of them only.
    box = tuple(
        slice(max(one.start, other.start), max(one.start, other.start, min(one.stop, other.stop)))
        for one, other in zip(*(bone.box for bone in bones), strict=True)
    )
    overlap = np.count_nonzero((prediction.labels[box] == index) & (reference.labels[box] == index))
    return float(2 * overlap / sum(bone.num_voxels for bone in bones))
