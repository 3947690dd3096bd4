"""Score a bone at a time: Dice, surface distances, and what became of the bone (found, missed, invented)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.metrics.bone_measures import check_classes, measure_bones
from custom_components.metrics.surface_distances import check_masks

__all__ = ["BoneScore", "SliceDice", "dice_coefficient", "score_case", "score_predictions", "slice_dice"]


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
