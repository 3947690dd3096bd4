"""The scanner: turns painted signal into a stored volume, with partial volume, bias field, motion ghosts and noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.ndimage import label as label_components

from multijoint.phantoms.canvas import SUB_SLICES, Canvas, noise_on_grid
from multijoint.phantoms.shapes import Array

__all__ = ["Acquisition", "acquire", "rasterise"]

_LEAST_COVER, _BRIDGE_COVER = 0.4, 0.1


@dataclass(frozen=True)
class Acquisition:
    """What one sequence adds to the signal.

    Args:
        noise: standard deviation of each of the two Gaussian channels behind the Rician noise, in stored units.
        bias: standard deviation of the logarithm of the smooth receive field.
        ghost_chance: share of subjects that move.
        ghost_radians: largest phase error of a k-space line of those who do.
    """

    noise: float
    bias: float
    ghost_chance: float = 0.0
    ghost_radians: float = 0.0


def acquire(canvas: Canvas, acquisition: Acquisition, *, rng: np.random.Generator) -> NDArray[np.int16]:
    """Image of the painted signal: thick slices, receive field, ghosts along the second axis, Rician noise."""
    image = _thick(canvas.signal)
    spacing = canvas.spacing_mm * (1, 1, SUB_SLICES)
    image *= np.exp(acquisition.bias * noise_on_grid(image.shape, spacing, rng=rng, wavelength_mm=130.0))
    moved, amplitude = rng.random() < acquisition.ghost_chance, rng.uniform(0.4, 1.0) * acquisition.ghost_radians
    period, phase = rng.uniform(5, 11), rng.uniform(0, 2 * np.pi, image.shape[2])
    if moved:
        image = _ghosted(image, amplitude=amplitude, period=period, phase=phase)
    real, imaginary = (acquisition.noise * rng.standard_normal(image.shape, np.float32) for _ in range(2))
    image = np.sqrt((image + real) ** 2 + imaginary**2)
    return np.clip(np.rint(image), 0, 1500).astype(np.int16)


def rasterise(canvas: Canvas, bones: Mapping[int, Array]) -> NDArray[np.uint8]:
    """Label map of the bones: a voxel belongs to the bone that fills most of it, and at least 40 %.

    Where the grid breaks a thin bone, voxels between the pieces that hold a little of it are added, and crumbs still
    apart are dropped: each label is one 6-connected component.
    """
    covers = {value: _thick(np.clip(0.5 - field / np.float32(canvas.edge_mm), 0, 1)) for value, field in bones.items()}
    labels = np.zeros((canvas.shape[0], canvas.shape[1], canvas.shape[2] // SUB_SLICES), np.uint8)
    best = np.full(labels.shape, _LEAST_COVER, np.float32)
    for value, cover in covers.items():
        labels[cover >= best] = value
        best = np.maximum(best, cover)
    for value, cover in covers.items():
        bone = labels == value
        labels[bone] = 0
        labels[_joined(bone, spare=(cover >= _BRIDGE_COVER) & (labels == 0))] = value
    return labels


def _joined(bone: NDArray[np.bool_], *, spare: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece of `bone` with the pieces that few more voxels of `spare` connect to it."""
    while True:
        parts, count = label_components(bone)
        if count <= 1:
            return bone
        largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        for reach in (1, 2, 3):
            near = binary_dilation(largest, iterations=reach) & binary_dilation(bone & ~largest, iterations=reach)
            bridge = near & spare & ~bone
            if bridge.any():
                break
        else:
            return largest
        bone = bone | bridge


def _thick(values: Array) -> Array:
    x, y, z = values.shape
    return values.reshape(x, y, z // SUB_SLICES, SUB_SLICES).mean(axis=3)


def _ghosted(image: Array, *, amplitude: float, period: float, phase: np.ndarray | float) -> Array:
    """Periodic phase error along the phase-encoding axis (the second), each slice at its own moment of the breath."""
    lines = np.arange(image.shape[1])[:, None]
    error = np.exp(1j * amplitude * np.sin(2 * np.pi * lines / period + phase)).astype(np.complex64)
    spectrum = np.fft.fft(image, axis=1)
    return np.abs(np.fft.ifft(spectrum * error, axis=1)).astype(np.float32)
