"""A slice with the contours of prediction and reference, as a small picture."""

from __future__ import annotations

import math

import numpy as np
from custom_components.io.pictures import draw_plane, grey_limits

__all__ = ["draw_slice"]

_LEAST = 256  # pixels of the longer side of a picture


def draw_slice(image: np.ndarray, prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Draw a slice with the outline of the reference in white and, over it, each predicted bone in its colour.

    Args:
        image: intensities, any range.
        prediction: class indices; 0 is background.
        reference: likewise.

    Shape:
        all (H, W), rows along the first axis of the plane in RAS+ order; the result (rows, columns, 3), uint8, with the
        first axis to the right and the second upwards, a whole number of pixels a voxel, 256 or more along the longer
        side.

    Example:
        >>> empty = np.zeros((64, 32))
        >>> draw_slice(empty, empty, empty).shape
        (128, 256, 3)
    """
    scale = math.ceil(_LEAST / max(image.shape))
    grey, classes, truth = (each.T[::-1] for each in (image, prediction, reference))
    size = (image.shape[0] * scale, image.shape[1] * scale)
    return np.asarray(draw_plane(grey, classes, size=size, limits=grey_limits(image), reference=truth))
