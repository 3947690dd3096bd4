"""A slice with the contours of prediction and reference, as a small picture."""

from __future__ import annotations

import math

import numpy as np
from custom_components.domains import COLORS
from skimage.segmentation import find_boundaries

__all__ = ["draw_slice"]

_LEAST = 256  # pixels of the longer side of a picture


def draw_slice(image: np.ndarray, prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Grey values with the reference in white and, over it, each predicted bone in its colour.

    Args:
        image: intensities, any range.
        prediction: class indices; 0 is background.
        reference: likewise.

    Shape:
        all (H, W), rows along the first axis of the plane in RAS+ order; the result (rows, columns, 3), uint8, as one
        looks at it: the first axis to the right, the second upwards. Each pixel is repeated so that the longer side has
        256 or more.

    Example:
        >>> empty = np.zeros((64, 32))
        >>> draw_slice(empty, empty, empty).shape
        (128, 256, 3)
    """
    scale = math.ceil(_LEAST / max(image.shape))
    grey, *maps = (_turned(each, scale) for each in (image, prediction, reference))
    low, high = np.percentile(image, [1, 99.5])
    shade = np.clip((grey - low) / max(high - low, 1e-9), 0, 1) * 255
    picture = np.repeat(shade[:, :, None], 3, axis=2).astype(np.uint8)
    for classes, drawn in ((maps[1], None), (maps[0], COLORS)):
        for value in np.unique(classes[classes > 0]):
            colour = "#ffffff" if drawn is None else drawn[(int(value) - 1) % len(drawn)]
            edge = find_boundaries(classes == value, mode="inner")
            picture[edge] = list(bytes.fromhex(colour[1:]))
    return picture


def _turned(plane: np.ndarray, scale: int) -> np.ndarray:
    return np.kron(plane.T[::-1], np.ones((scale, scale), dtype=plane.dtype))
