"""Score a bone at a time: Dice, surface distances, and what became of the bone (found, missed, invented)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.label_maps import Bone, find_bones, memory_axes
from custom_components.metrics.nearest_voxels import ClassVoxels
from custom_components.metrics.surface_distances import (
    UNDEFINED,
    bone_surfaces,
    check_masks,
    check_shapes,
    check_spacing,
    symmetric_distances,
)

__all__ = [
    "BoneMeasures",
    "BoneScore",
    "STATUSES",
    "SliceDice",
    "check_classes",
    "dice_coefficient",
    "measure_bones",
    "score_case",
    "score_predictions",
    "slice_dice",
]


@dataclass(frozen=True)
class BoneScore:
    """How well one bone of one case was found.

    Args:
        label: name of the bone.
        value: its label value in the files.
        dice: Dice coefficient; 0 if missed or false find, NaN if absent.
        assd_mm: average symmetric surface distance in mm; NaN unless both masks have a surface.
        mssd_mm: maximum symmetric surface distance in mm; NaN unless both masks have a surface.
        status: "ok" (in both), "missed" (only in the reference), "false_find" (only in the prediction) or "absent"
            (in neither: not counted).
    """

    label: str
    value: int
    dice: float
    assd_mm: float
    mssd_mm: float
    status: str


class SliceDice(NamedTuple):
    """Dice and areas of each slice, arrays of one length.

    Args:
        dice: NaN where prediction and reference are both empty.
        prediction_area: in voxels.
        reference_area: in voxels.
    """

    dice: np.ndarray
    prediction_area: np.ndarray
    reference_area: np.ndarray


def dice_coefficient(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Overlap of two boolean masks: twice the intersection over the sum of the sizes.

    Returns:
        0..1; 0.0 when one mask is empty, NaN when both are.

    Raises:
        InputError: the masks are not boolean or differ in shape.

    Example:
        >>> dice_coefficient(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    check_masks(prediction, reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else math.nan


def slice_dice(prediction: np.ndarray, reference: np.ndarray, *, slice_axis: int) -> SliceDice:
    """2D Dice of each slice of a bone, for the paper's statistics.

    Args:
        prediction: boolean array of shape (H, W, D).
        reference: boolean array of the same shape.
        slice_axis: axis that the slices are stacked along, 0, 1 or 2.

    Returns:
        One entry a slice. Keep those whose Dice is not NaN, and print how many.

    Raises:
        InputError: the masks are not boolean or differ in shape, or there is no such axis.

    Example:
        >>> prediction = np.array([[[True, True, False]]])
        >>> slice_dice(prediction, np.array([[[True, False, False]]]), slice_axis=2).dice
        array([ 1.,  0., nan])
    """
    check_masks(prediction, reference)
    if slice_axis not in range(prediction.ndim):
        raise InputError(f"slice_axis must be one of {list(range(prediction.ndim))}, got {slice_axis!r}")
    axes = tuple(axis for axis in range(prediction.ndim) if axis != slice_axis)
    areas = [np.count_nonzero(mask, axis=axes) for mask in (prediction, reference)]
    total = areas[0] + areas[1]
    dice = np.full(total.shape, math.nan)
    np.divide(2 * np.count_nonzero(prediction & reference, axis=axes), total, out=dice, where=total > 0)
    return SliceDice(dice, *areas)


def score_case(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    domain: Domain,
    spacing_mm: Sequence[float],
    border: str = "inside",
) -> list[BoneScore]:
    """Score every bone of one case in 3D, on the grid of the source.

    Args:
        prediction: class indices of `domain`, an integer array.
        reference: class indices of `domain`, an integer array of the same shape.
        domain: gives the bones' names and label values.
        spacing_mm: distance between neighbouring voxels along each axis, in mm.
        border: surface convention, see `surface_distances.BORDERS`.

    Shape:
        prediction, reference: (H, W, D).

    Returns:
        One score for each foreground class, in class order, absent bones included.

    Raises:
        InputError: a map is not integer or has an unknown class, shapes differ, or spacing or border is unusable.

    Example:
        >>> foot = Domain("foot", {7: "talus"}, "axial")
        >>> reference = np.zeros((4, 4, 4), dtype=int)
        >>> reference[1:3, 1:3, 1:3] = 1
        >>> score_case(np.zeros_like(reference), reference, domain=foot, spacing_mm=(1.0, 1.0, 1.0))
        [BoneScore(label='talus', value=7, dice=0.0, assd_mm=nan, mssd_mm=nan, status='missed')]
    """
    return score_predictions([prediction], reference, domain=domain, spacing_mm=spacing_mm, border=border)[0]


def score_predictions(
    predictions: Sequence[np.ndarray],
    reference: np.ndarray,
    *,
    domain: Domain,
    spacing_mm: Sequence[float],
    border: str = "inside",
) -> list[list[BoneScore]]:
    """Score several predictions of one case, such as before and after post-processing; see `score_case`.

    What is looked for in the reference is looked for once.

    Example:
        >>> foot = Domain("foot", {7: "talus"}, "axial")
        >>> reference = np.zeros((4, 4, 4), dtype=int)
        >>> reference[1:3, 1:3, 1:3] = 1
        >>> predictions = [np.zeros_like(reference), reference]
        >>> scores = score_predictions(predictions, reference, domain=foot, spacing_mm=(1.0, 1.0, 1.0))
        >>> [bone.status for (bone,) in scores]
        ['missed', 'ok']
    """
    for prediction in predictions:
        check_classes("prediction", prediction, domain.num_classes)
    check_classes("reference", reference, domain.num_classes)
    how: dict[str, Any] = {"num_classes": domain.num_classes, "spacing_mm": spacing_mm, "border": border}
    return [
        [BoneScore(label, value, *each) for (value, label), each in zip(domain.labels.items(), bones, strict=True)]
        for bones in measure_bones(predictions, reference, **how)
    ]


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
