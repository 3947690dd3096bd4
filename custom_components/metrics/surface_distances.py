"""Distances between the surfaces of two masks in millimetres: ASSD and MSSD as the CHAOS challenge defines them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from custom_components.errors import InputError
from custom_components.label_maps import Bone, find_bones
from custom_components.metrics.nearest_voxels import ClassVoxels

__all__ = [
    "BORDERS",
    "UNDEFINED",
    "SurfaceDistances",
    "bone_surfaces",
    "check_masks",
    "check_shapes",
    "check_spacing",
    "surface_voxels",
    "symmetric_distances",
    "symmetric_surface_distances",
]

BORDERS = {
    "inside": "the outside of the array counts as foreground: a bone cut by the field of view has no surface there",
    "surface": "the outside of the array counts as background: the cut face of a bone is surface",
}
"""Convention for the border of the array -> what it means."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces; both are NaN where undefined.

    Args:
        assd_mm: average symmetric surface distance: the mean over all distances of both directions, pooled, in mm.
        mssd_mm: maximum symmetric surface distance: the largest of them (the Hausdorff distance), in mm.
    """

    assd_mm: float
    mssd_mm: float


UNDEFINED = SurfaceDistances(math.nan, math.nan)
"""Of a bone without a surface in one of the maps."""


def surface_voxels(mask: np.ndarray, *, border: str = "inside") -> np.ndarray:
    """Find the surface of a mask: the mask minus its erosion by the neighbours that share a face.

    Args:
        mask: boolean array of any number of dimensions.
        border: "inside" or "surface", see `BORDERS`.

    Returns:
        Boolean array of the same shape. Empty for an empty mask and, with "inside", for a mask that fills the array.

    Raises:
        InputError: `mask` is not boolean or `border` is unknown.

    Source:
        Kavur et al., CHAOS challenge, Medical Image Analysis 2021, evaluation code (`border_value=1`): "inside".

    Example:
        >>> cut = np.array([True, True, True, False])
        >>> surface_voxels(cut).tolist(), surface_voxels(cut, border="surface").tolist()
        ([False, False, True, False], [True, False, True, False])
    """
    _check_mask("mask", mask)
    return mask & _differs(mask, border)


def bone_surfaces(
    labels: np.ndarray, bones: Sequence[Bone], *, spacing_mm: Sequence[float], border: str = "inside"
) -> ClassVoxels:
    """Find the surfaces of all bones of a label map in one pass; each is that of the bone's own mask.

    Args:
        labels: class indices, an integer array of any number of dimensions.
        bones: of the map, as `voxel_runs.find_bones` finds them.
        spacing_mm: distance between neighbouring voxels along each axis, in mm.
        border: "inside" or "surface", see `BORDERS`.

    Returns:
        The voxels of the surfaces, to measure distances with.

    Raises:
        InputError: spacing is not one positive number an axis, or `border` is unknown.

    Example:
        >>> labels = np.array([0, 1, 1, 1, 2, 2])
        >>> bone_surfaces(labels, find_bones(labels, num_classes=3), spacing_mm=[2.0]).voxels(1).tolist()
        [[1], [3]]
    """
    spacing = check_spacing(spacing_mm, labels.ndim)
    box = _box(bones, labels.ndim)
    inside = np.ascontiguousarray(labels[box])
    surface = _differs(inside, border)
    surface &= inside != 0
    found = np.flatnonzero(surface)
    voxels = np.stack(np.unravel_index(found, inside.shape), axis=1) + [side.start for side in box]
    return ClassVoxels(voxels, inside.reshape(-1)[found], spacing_mm=spacing)


def symmetric_distances(prediction: ClassVoxels, reference: ClassVoxels) -> dict[int, SurfaceDistances]:
    """ASSD and MSSD of each bone that has a surface in both maps, by class index."""
    forth, back = prediction.distances_mm(reference), reference.distances_mm(prediction)
    both = {index: np.concatenate([forth[index], back[index]]) for index in forth}
    return {index: SurfaceDistances(float(each.mean()), float(each.max())) for index, each in both.items()}


def symmetric_surface_distances(
    prediction: np.ndarray, reference: np.ndarray, *, spacing_mm: Sequence[float], border: str = "inside"
) -> SurfaceDistances:
    """Measure how far two surfaces lie apart, symmetrically.

    Args:
        prediction: boolean array.
        reference: boolean array of the same shape.
        spacing_mm: distance between neighbouring voxels along each axis of the arrays, in mm.
        border: "inside" or "surface", see `BORDERS`.

    Returns:
        ASSD and MSSD; both NaN if either surface has no voxels. That is so for an empty mask and, with "inside", for a
        mask that fills the whole array.

    Raises:
        InputError: masks are not boolean or differ in shape, spacing is not one positive number an axis, or `border`
            is unknown.

    Source:
        Kavur et al., CHAOS challenge, Medical Image Analysis 2021. Distances between voxel centres, each surface voxel
        counted once, whatever its area.

    Example:
        >>> prediction = np.zeros((1, 1, 9), dtype=bool); prediction[..., 1] = True
        >>> reference = np.zeros((1, 1, 9), dtype=bool); reference[..., 4] = True
        >>> symmetric_surface_distances(prediction, reference, spacing_mm=(1.0, 1.0, 0.5))
        SurfaceDistances(assd_mm=1.5, mssd_mm=1.5)
    """
    check_masks(prediction, reference)
    surfaces = []
    for mask in (prediction, reference):
        labels = mask.view(np.uint8)
        bones = find_bones(labels, num_classes=2)
        surfaces.append(bone_surfaces(labels, bones, spacing_mm=spacing_mm, border=border))
    return symmetric_distances(*surfaces).get(1, UNDEFINED)


def check_masks(prediction: np.ndarray, reference: np.ndarray) -> None:
    """Refuse masks that are not boolean or differ in shape.

    Raises:
        InputError: they do.
    """
    _check_mask("prediction", prediction)
    _check_mask("reference", reference)
    check_shapes(prediction, reference)


def check_shapes(prediction: np.ndarray, reference: np.ndarray) -> None:
    """Refuse arrays that differ in shape.

    Raises:
        InputError: they do.
    """
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction must have the shape of the reference {reference.shape}, got {prediction.shape}; "
            "bring the prediction back to the grid of its source first"
        )


def _check_mask(name: str, mask: np.ndarray) -> None:
    if mask.dtype != np.bool_:
        raise InputError(f"{name} must be a boolean array, got {mask.dtype}; compare a label map with one class first")


def check_spacing(spacing_mm: Sequence[float], num_axes: int) -> list[float]:
    """Refuse what is not one positive number an axis.

    Raises:
        InputError: it is not.
    """
    spacing = [float(value) for value in spacing_mm]
    if len(spacing) != num_axes or not all(math.isfinite(value) and value > 0 for value in spacing):
        raise InputError(
            f"spacing_mm must be {num_axes} positive numbers (mm), one an axis, got {spacing}; read it from the affine"
        )
    return spacing


def _box(bones: Sequence[Bone], num_axes: int) -> tuple[slice, ...]:
    """Bounding box of all bones with one voxel of background around it wherever the array has one.

    A face of the box is then either background, whose erosion is background under any convention, or lies on the
    border of the array itself, where the convention applies: cropping neither makes nor deletes surface.
    """
    if not bones:
        return (slice(0, 0),) * num_axes
    return tuple(
        slice(max(min(side.start for side in sides) - 1, 0), max(side.stop for side in sides) + 1)
        for sides in zip(*(bone.box for bone in bones), strict=True)
    )


def _differs(labels: np.ndarray, border: str) -> np.ndarray:
    """Where a voxel has a neighbour, of those that share a face, of another class."""
    if border not in BORDERS:
        raise InputError(f"border must be one of {', '.join(BORDERS)}, got {border!r}; 'inside' is CHAOS's convention")
    volume = np.ascontiguousarray(labels)
    values, differs = volume.reshape(-1), np.zeros(volume.size, bool)
    for axis in range(volume.ndim):
        apart = math.prod(volume.shape[axis + 1 :])  # in memory: views of it are compared, whole lines at once
        steps = np.zeros(volume.shape, bool)
        np.not_equal(values[apart:], values[: values.size - apart], out=steps.reshape(-1)[: values.size - apart])
        np.moveaxis(steps, axis, 0)[-1:] = border == "surface"  # the next voxel in memory is none of its neighbours
        differs |= steps.reshape(-1)
        differs[apart:] |= steps.reshape(-1)[: values.size - apart]
        if border == "surface":
            np.moveaxis(differs.reshape(volume.shape), axis, 0)[:1] = True
    return differs.reshape(volume.shape)
