"""Distances between the surfaces of bones in millimetres: ASSD and MSSD as the CHAOS challenge defines them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from custom_components.errors import InputError
from custom_components.label_maps import Bone
from custom_components.metrics.nearest_voxels import ClassVoxels

BORDERS = {
    "inside": "the outside of the array counts as foreground: a bone cut by the field of view has no surface there",
    "surface": "the outside of the array counts as background: the cut face of a bone is surface",
}
"""Convention for the border of the array -> its meaning."""


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
    check_mask("mask", mask)
    return mask & _differs(mask, border)


def bone_surfaces(
    labels: np.ndarray, bones: Sequence[Bone], *, spacing_mm: Sequence[float], border: str = "inside"
) -> ClassVoxels:
    """Find the surfaces of all bones of a label map in one pass; each equals the surface of the bone's own mask.

    Args:
        labels: class indices, an integer array of any number of dimensions.
        bones: bones of the map, as returned by `label_maps.find_bones`.
        spacing_mm: distance between neighbouring voxels along each axis, in mm.
        border: see `BORDERS`.

    Raises:
        InputError: spacing is not one positive number per axis, or `border` is unknown.

    Example:
        >>> from custom_components.label_maps import find_bones
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


def symmetric_distances(prediction: ClassVoxels, reference: ClassVoxels) -> dict[int, tuple[float, float]]:
    """Average (ASSD) and maximum (MSSD) symmetric surface distance of each bone, in mm.

    ASSD is the mean over the distances of both directions, pooled; MSSD is the largest of them (the Hausdorff
    distance). Distances are taken between voxel centres; each surface voxel counts once, whatever its area.

    Returns:
        Class index -> (ASSD, MSSD), for each bone that has a surface in both maps.

    Source:
        Kavur et al., CHAOS challenge, Medical Image Analysis 2021.

    Example:
        >>> prediction = ClassVoxels(np.array([[0, 0, 1]]), np.array([7]), spacing_mm=(1.0, 1.0, 0.5))
        >>> reference = ClassVoxels(np.array([[0, 0, 4]]), np.array([7]), spacing_mm=(1.0, 1.0, 0.5))
        >>> symmetric_distances(prediction, reference)
        {7: (1.5, 1.5)}
    """
    forth, back = prediction.distances_mm(reference), reference.distances_mm(prediction)
    both = {index: np.concatenate([forth[index], back[index]]) for index in forth}
    return {index: (float(each.mean()), float(each.max())) for index, each in both.items()}


def check_border(border: str) -> None:
    """Raise `InputError` for an unknown surface convention."""
    if border not in BORDERS:
        raise InputError(f"border must be one of {', '.join(BORDERS)}, got {border!r}; 'inside' is CHAOS's convention")


def check_mask(name: str, mask: np.ndarray) -> None:
    """Raise `InputError`, whose message begins with `name`, for an array that is not boolean."""
    if mask.dtype != np.bool_:
        raise InputError(f"{name} must be a boolean array, got {mask.dtype}; compare a label map with one class first")


def check_spacing(spacing_mm: Sequence[float], num_axes: int) -> list[float]:
    """Return the spacing as floats; raise `InputError` unless it is one positive number per axis."""
    spacing = [float(value) for value in spacing_mm]
    if len(spacing) != num_axes or not all(math.isfinite(value) and value > 0 for value in spacing):
        raise InputError(
            f"spacing_mm must be {num_axes} positive numbers (mm), one an axis, got {spacing}; read it from the affine"
        )
    return spacing


def _box(bones: Sequence[Bone], num_axes: int) -> tuple[slice, ...]:
    """Bounding box of all bones, with a margin of one background voxel wherever the array has one.

    Cropping to this box neither adds nor removes surface: each face of the box is either background, which has no
    surface, or the border of the array itself, where the convention applies.
    """
    if not bones:
        return (slice(0, 0),) * num_axes
    return tuple(
        slice(max(min(side.start for side in sides) - 1, 0), max(side.stop for side in sides) + 1)
        for sides in zip(*(bone.box for bone in bones), strict=True)
    )


def _differs(labels: np.ndarray, border: str) -> np.ndarray:
    """Mark each voxel that has a neighbour of another class across one of its faces."""
    check_border(border)
    volume = np.ascontiguousarray(labels)
    values, differs = volume.reshape(-1), np.zeros(volume.size, bool)
    for axis in range(volume.ndim):
        # In flat memory, the next voxel along this axis lies `apart` elements further. Comparing the flat array with
        # itself shifted by `apart` handles all lines in one contiguous operation.
        apart = math.prod(volume.shape[axis + 1 :])
        steps = np.zeros(volume.shape, bool)  # whether a voxel and the next one differ
        np.not_equal(values[apart:], values[: values.size - apart], out=steps.reshape(-1)[: values.size - apart])
        # For the last voxel of a line the shift reaches the next line, which is no neighbour: apply the convention.
        np.moveaxis(steps, axis, 0)[-1:] = border == "surface"
        # A step belongs to the surface on both sides.
        differs |= steps.reshape(-1)
        differs[apart:] |= steps.reshape(-1)[: values.size - apart]
        if border == "surface":
            np.moveaxis(differs.reshape(volume.shape), axis, 0)[:1] = True
    return differs.reshape(volume.shape)
