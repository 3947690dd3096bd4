"""A small picture of a case: three planes through its bones, each bone with its outline."""

from __future__ import annotations

import io

import numpy as np
from custom_components.domains import COLORS, PLANES
from PIL import Image, ImageColor
from scipy import ndimage

__all__ = ["draw_planes"]

_HEIGHT = 170  # pixels


def draw_planes(
    voxels: np.ndarray,
    classes: np.ndarray | None,
    spacing_mm: tuple[float, float, float],
    *,
    limits: tuple[float, float],
) -> bytes:
    """JPEG of an axial, a coronal and a sagittal slice side by side, each where most bone is.

    Args:
        voxels: image in RAS+ order.
        classes: class indices on its grid, or None; then the slices are the middle ones.
        spacing_mm: voxel size along the axes.
        limits: intensities drawn black and white.
    """
    planes = [_draw_plane(voxels, classes, spacing_mm, axis, limits) for axis in reversed(PLANES.values())]
    gap = np.zeros((_HEIGHT, 4, 3), np.uint8)
    strip = np.concatenate([part for plane in planes for part in (plane, gap)][:-1], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _draw_plane(
    voxels: np.ndarray,
    classes: np.ndarray | None,
    spacing_mm: tuple[float, float, float],
    axis: int,
    limits: tuple[float, float],
) -> np.ndarray:
    others = tuple(k for k in range(3) if k != axis)
    position = voxels.shape[axis] // 2
    if classes is not None and classes.any():
        position = int((classes > 0).sum(axis=others).argmax())
    low, high = limits
    grey = np.clip((np.take(voxels, position, axis=axis) - low) / max(high - low, 1e-12), 0, 1) * 255
    width_mm, height_mm = (voxels.shape[k] * spacing_mm[k] for k in others)
    width = int(np.clip(round(_HEIGHT * width_mm / height_mm), 8, 4 * _HEIGHT))
    picture = np.repeat(_resized(grey.astype(np.uint8), width, Image.Resampling.BILINEAR)[..., None], 3, axis=2)
    if classes is not None:
        shown = _resized(np.take(classes, position, axis=axis), width, Image.Resampling.NEAREST)
        for index in range(1, int(shown.max(initial=0)) + 1):
            mask = shown == index
            outline = mask & ~ndimage.binary_erosion(mask, border_value=1)
            picture[outline] = ImageColor.getrgb(COLORS[(index - 1) % len(COLORS)])
    return picture


def _resized(plane: np.ndarray, width: int, how: Image.Resampling) -> np.ndarray:
    """The first axis to the left and the second upwards, as `clinic.planes.take_plane` shows them."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane.T[::-1, ::-1])).resize((width, _HEIGHT), how))
