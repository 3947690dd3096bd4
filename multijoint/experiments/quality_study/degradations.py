"""Degradations of a scan, of a strength at which a network trained on good scans may or may not fail."""

from __future__ import annotations

import numpy as np
from monai.transforms import RandBiasField

DEGRADATIONS = ("none", "noise", "bias", "motion", "contrast", "crop")

_NOISE = 0.08  # of the 99th percentile, standard deviation of both channels behind Rician noise
_BIAS = (0.15, 0.3)  # coefficients of a cubic polynomial field, whose exponential multiplies
_MOTION_RADIANS = (0.3, 0.7)  # phase error of lines of k-space
_CROPPED = 0.15  # of the longest axis
_AIR = 0.05  # of the 99th percentile: darker voxels stay dark when the others are inverted


def degrade(image: np.ndarray, label: np.ndarray, *, how: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Degrade a scan in one way.

    - none: no change.
    - noise: Rician, of 8 % of the scan's 99th percentile.
    - bias: a smooth field (MONAI's `RandBiasField`, cubic, coefficients 0.15 to 0.3).
    - motion: ghosts by a periodic phase error of 0.3 to 0.7 rad along the second axis, as breathing makes them.
    - contrast: bright tissue becomes dark and dark tissue bright, except air.
    - crop: the last 15 % of the longest axis are cut off, of the reference too.

    Returns:
        Float32 image (X, Y, Z) and reference; their first voxel stays the same.
    """
    rng = np.random.default_rng(seed)
    image = image.astype(np.float32)
    bright = float(np.percentile(image, 99))
    if how == "noise":
        real, imaginary = (_NOISE * bright * rng.standard_normal(image.shape, np.float32) for _ in range(2))
        image = np.sqrt((image + real) ** 2 + imaginary**2)
    elif how == "bias":
        field = RandBiasField(degree=3, coeff_range=_BIAS, prob=1.0)
        field.set_random_state(seed=seed)
        image = np.asarray(field(image[None]))[0]
    elif how == "motion":
        lines = np.arange(image.shape[1])[:, None]
        phase = 2 * np.pi * lines / rng.uniform(5, 11) + rng.uniform(0, 2 * np.pi, image.shape[2])
        error = np.exp(1j * rng.uniform(*_MOTION_RADIANS) * np.sin(phase))
        image = np.abs(np.fft.ifft(np.fft.fft(image, axis=1) * error, axis=1)).astype(np.float32)
    elif how == "contrast":
        tissue = image > _AIR * bright
        image = np.where(tissue, np.maximum(bright * (1 + _AIR) - image, 0), image)
    elif how == "crop":
        axis = int(np.argmax(image.shape))
        kept = slice(0, round(image.shape[axis] * (1 - _CROPPED)))
        image, label = (each[(slice(None),) * axis + (kept,)] for each in (image, label))
    return image, label
