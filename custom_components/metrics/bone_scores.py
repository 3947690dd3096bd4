"""Scores of each bone of a case: Dice, surface distances, whether it was found, missed, invented or misnamed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.label_maps import Bone, find_bones, memory_axes
from custom_components.metrics.nearest_voxels import ClassVoxels
from custom_components.metrics.surface_distances import bone_surfaces, check_mask, check_spacing, symmetric_distances

STATUSES = {(True, True): "ok", (False, True): "missed", (True, False): "false_find", (False, False): "absent"}
"""Whether (prediction, reference) have the bone -> status of its score."""

_UNDEFINED = (math.nan, math.nan)


@dataclass(frozen=True)
class BoneScore:
    """Score of one bone of one case.

    Args:
        label: name of the bone.
        value: its label value in the files.
        dice: Dice coefficient; 0 if missed or false find, NaN if absent.
        assd_mm: average symmetric surface distance in mm; NaN unless both masks have a surface.
        mssd_mm: maximum symmetric surface distance in mm; NaN unless both masks have a surface.
        status: "ok" (in both), "missed" (only in the reference), "false_find" (only in the prediction) or "absent"
            (in neither: not counted).
        taken_for: name of the other bone as which most of it was predicted (a level error), see `score_case`; empty if
            there is none.
    """

    label: str
    value: int
    dice: float
    assd_mm: float
    mssd_mm: float
    status: str
    taken_for: str = ""


class SliceDice(NamedTuple):
    """Dice and areas in voxels of each slice, as arrays of equal length; Dice is NaN where both masks are empty."""

    dice: np.ndarray
    prediction_area: np.ndarray
    reference_area: np.ndarray


def dice_coefficient(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Overlap of two boolean masks of one shape: twice the intersection over the sum of the sizes.

    Returns:
        0..1; 0.0 when one mask is empty, NaN when both are.

    Raises:
        InputError: the masks are not boolean or differ in shape.

    Example:
        >>> dice_coefficient(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    _check_masks(prediction, reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else math.nan


def dice_as_one(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice of all bones as one: how well bone was found, whatever its name.

    Args:
        prediction: class indices or label values, 0 for background, of any shape.
        reference: likewise, of the same shape.

    Returns:
        0..1; 0.0 when one map has no bone, NaN when neither has.

    Raises:
        InputError: the maps differ in shape.

    Example:
        >>> dice_as_one(np.array([0, 2, 2, 0]), np.array([0, 1, 2, 1]))
        0.8
    """
    return dice_coefficient(prediction > 0, reference > 0)


def slice_dice(prediction: np.ndarray, reference: np.ndarray, *, slice_axis: int) -> SliceDice:
    """2D Dice of each slice of two boolean masks (H, W, D) along an axis, 0, 1 or 2, for the paper's statistics.

    Returns:
        One entry per slice. A mean should leave out the slices whose Dice is NaN and state how many remain.

    Raises:
        InputError: the masks are not boolean or differ in shape, or the axis does not exist.

    Example:
        >>> prediction = np.array([[[True, True, False]]])
        >>> slice_dice(prediction, np.array([[[True, False, False]]]), slice_axis=2).dice
        array([ 1.,  0., nan])
    """
    _check_masks(prediction, reference)
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

    A bone of the reference is taken for another, a level error, if it shares more voxels with that other predicted bone
    than with its own prediction. Background does not count: a bone with no predicted bone on it is no level error.

    Args:
        prediction: class indices of `domain`, whole numbers of any type, shape (H, W, D).
        reference: class indices of `domain`, of the same shape.
        domain: names and label values of the bones.
        spacing_mm: distance between neighbouring voxels along each axis, in mm.
        border: surface convention, see `surface_distances.BORDERS`.

    Returns:
        One score for each foreground class, in class order, absent bones included.

    Raises:
        InputError: a map has an unknown class, shapes differ, or spacing or border is invalid.

    Example:
        >>> foot = Domain("foot", {7: "talus"}, "axial")
        >>> reference = np.zeros((4, 4, 4), dtype=int)
        >>> reference[1:3, 1:3, 1:3] = 1
        >>> score_case(np.zeros_like(reference), reference, domain=foot, spacing_mm=(1.0, 1.0, 1.0))
        [BoneScore(label='talus', value=7, dice=0.0, assd_mm=nan, mssd_mm=nan, status='missed', taken_for='')]
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

    The surfaces of the reference are extracted only once.
    """
    for prediction in predictions:
        _check_classes("prediction", prediction, domain.num_classes)
    _check_classes("reference", reference, domain.num_classes)
    # All maps are viewed in the axis order of the reference's memory: scans are rarely stored in C order.
    axes = memory_axes(reference)
    spacing = [check_spacing(spacing_mm, reference.ndim)[axis] for axis in axes]
    wanted = _measure(reference.transpose(axes), domain.num_classes, spacing, border)
    scores = []
    for prediction in predictions:
        _check_shapes(prediction, reference)
        found = _measure(prediction.transpose(axes), domain.num_classes, spacing, border)
        distances = symmetric_distances(found.surfaces, wanted.surfaces)
        scores.append(
            [
                BoneScore(
                    label,
                    value,
                    _dice(found, wanted, index),
                    *distances.get(index, _UNDEFINED),
                    STATUSES[index in found.bones, index in wanted.bones],
                    _taken_for(found, wanted, index, ["", *domain.labels.values()]),
                )
                for index, (value, label) in enumerate(domain.labels.items(), start=1)
            ]
        )
    return scores


class _Measured(NamedTuple):
    """Parts of one map that are compared with those of another."""

    labels: np.ndarray
    bones: dict[int, Bone]
    surfaces: ClassVoxels


def _measure(labels: np.ndarray, num_classes: int, spacing_mm: Sequence[float], border: str) -> _Measured:
    labels = labels.astype(np.min_scalar_type(num_classes - 1), copy=False)
    bones = find_bones(labels, num_classes=num_classes)
    surfaces = bone_surfaces(labels, bones, spacing_mm=spacing_mm, border=border)
    return _Measured(labels, {bone.index: bone for bone in bones}, surfaces)


def _dice(prediction: _Measured, reference: _Measured, index: int) -> float:
    bones = [measured.bones[index] for measured in (prediction, reference) if index in measured.bones]
    if len(bones) < 2:
        return 0.0 if bones else math.nan
    # The intersection of the two boxes suffices, and stays small when a stray voxel stretches one of them.
    box = tuple(
        slice(max(one.start, other.start), max(one.start, other.start, min(one.stop, other.stop)))
        for one, other in zip(*(bone.box for bone in bones), strict=True)
    )
    overlap = np.count_nonzero((prediction.labels[box] == index) & (reference.labels[box] == index))
    return float(2 * overlap / sum(bone.num_voxels for bone in bones))


def _taken_for(prediction: _Measured, reference: _Measured, index: int, names: Sequence[str]) -> str:
    if index not in reference.bones:
        return ""
    box = reference.bones[index].box
    overlaps = np.bincount(prediction.labels[box][reference.labels[box] == index], minlength=len(names))
    overlaps[0] = 0
    other = int(overlaps.argmax())
    return names[other] if overlaps[other] > overlaps[index] else ""


def _check_masks(prediction: np.ndarray, reference: np.ndarray) -> None:
    check_mask("prediction", prediction)
    check_mask("reference", reference)
    _check_shapes(prediction, reference)


def _check_shapes(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction must have the shape of the reference {reference.shape}, got {prediction.shape}; "
            "bring the prediction back to the grid of its source first"
        )


def _check_classes(name: str, classes: np.ndarray, num_classes: int) -> None:
    """Refuse values other than the class indices 0..num_classes-1; whole numbers may be stored as floats."""
    whole = classes.dtype.kind in "biu" or bool((classes == np.floor(classes)).all())
    if classes.size and not (whole and classes.min() >= 0 and classes.max() < num_classes):
        unknown = classes[~np.isin(classes, range(num_classes))]
        raise InputError(
            f"{name} must hold class indices 0..{num_classes - 1}, got {unknown[0]:g}; encode its label values first"
        )
