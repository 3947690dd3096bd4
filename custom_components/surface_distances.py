"""Distances between the surfaces of two masks in millimetres: ASSD and MSSD as the CHAOS challenge defines them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from custom_components.errors import InputError

__all__ = ["BORDERS", "SurfaceDistances", "check_masks", "surface_voxels", "symmetric_surface_distances"]

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
    if border not in BORDERS:
        raise InputError(f"border must be one of {', '.join(BORDERS)}, got {border!r}; 'inside' is CHAOS's convention")
    eroded = mask.copy()
    for axis in range(mask.ndim):
        # Views with this axis first: writing to `inner` writes to `eroded`.
        inner, along = np.moveaxis(eroded, axis, 0), np.moveaxis(mask, axis, 0)
        inner[1:] &= along[:-1]
        inner[:-1] &= along[1:]
        if border == "surface":
            inner[:1] = False
            inner[-1:] = False
    return mask & ~eroded


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
    spacing = _check_spacing(spacing_mm, prediction.ndim)
    box = _box(prediction | reference)
    surfaces = [surface_voxels(mask[box], border=border) for mask in (prediction, reference)]
    if not all(surface.any() for surface in surfaces):
        return SurfaceDistances(math.nan, math.nan)
    # Trees, not distance transforms: exact too, and as fast when one stray voxel stretches the box to the whole volume.
    points = [np.argwhere(surface) * spacing for surface in surfaces]
    trees = [KDTree(each, balanced_tree=False, compact_nodes=False) for each in points]
    distances = np.concatenate([trees[1].query(points[0])[0], trees[0].query(points[1])[0]])
    return SurfaceDistances(float(distances.mean()), float(distances.max()))


def check_masks(prediction: np.ndarray, reference: np.ndarray) -> None:
    """Refuse masks that are not boolean or differ in shape.

    Raises:
        InputError: they do.
    """
    _check_mask("prediction", prediction)
    _check_mask("reference", reference)
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction must have the shape of the reference {reference.shape}, got {prediction.shape}; "
            "bring the prediction back to the grid of its source first"
        )


def _check_mask(name: str, mask: np.ndarray) -> None:
    if mask.dtype != np.bool_:
        raise InputError(f"{name} must be a boolean array, got {mask.dtype}; compare a label map with one class first")


def _check_spacing(spacing_mm: Sequence[float], num_axes: int) -> list[float]:
    spacing = [float(value) for value in spacing_mm]
    if len(spacing) != num_axes or not all(math.isfinite(value) and value > 0 for value in spacing):
        raise InputError(
            f"spacing_mm must be {num_axes} positive numbers (mm), one an axis, got {spacing}; read it from the affine"
        )
    return spacing


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """Bounding box of a mask with one voxel of background around it wherever the array has one.

    A face of the box is then either background, whose erosion is background under any convention, or lies on the
    border of the array itself, where the convention applies: cropping neither makes nor deletes surface.
    """
    found = ndimage.find_objects(mask.view(np.uint8), max_label=1)[0]
    if found is None:
        return (slice(0),) * mask.ndim
    return tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in found)
