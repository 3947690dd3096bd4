"""The signal of each tissue, and how bone, skin, fat and muscle are laid on a canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from multijoint.phantoms.canvas import Canvas, smooth_noise
from multijoint.phantoms.shapes import Array

__all__ = ["Contrast", "mottled_marrow", "paint_body", "paint_bone", "paint_cartilage"]


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue under one sequence, before bias field and noise (stored units)."""

    marrow: float
    fat: float
    muscle: float
    cartilage: float
    skin: float
    tendon: float
    cortex: float
    physis: float
    lung: float


def paint_body(canvas: Canvas, skin: Array, contrast: Contrast, *, rng: np.random.Generator, fat_mm: float) -> None:
    """Lay skin, fat of about `fat_mm` and muscle with septa of fat below a skin at signed distance `skin` (mm)."""
    canvas.paint(skin, contrast.skin)
    canvas.paint(skin + np.float32(1.3), contrast.fat)
    layer = np.float32(fat_mm) * (1 + np.float32(0.25) * smooth_noise(canvas, rng=rng, wavelength_mm=50.0))
    muscle = contrast.muscle * (1 + np.float32(0.05) * smooth_noise(canvas, rng=rng, wavelength_mm=10.0))
    canvas.paint(skin + np.maximum(layer, np.float32(1.5)) + np.float32(1.3), muscle)
    septa = np.abs(smooth_noise(canvas, rng=rng, wavelength_mm=26.0)) * 9 - np.float32(0.5)
    canvas.paint(np.maximum(septa, skin + np.float32(fat_mm)), 0.5 * (contrast.fat + contrast.muscle))


def mottled_marrow(canvas: Canvas, contrast: Contrast, *, rng: np.random.Generator) -> Array:
    """Signal of fatty marrow, uneven as trabeculae and red marrow make it."""
    fine = np.float32(0.045) * smooth_noise(canvas, rng=rng, wavelength_mm=7.0)
    coarse = np.float32(0.04) * smooth_noise(canvas, rng=rng, wavelength_mm=25.0)
    return np.float32(contrast.marrow) * (np.float32(1) + fine + coarse)


def paint_bone(
    canvas: Canvas, bone: Array, contrast: Contrast, *, marrow: Array, cortex_mm: float, physis: Array | None = None
) -> None:
    """Lay a bone: a dark cortical rim around `marrow`, crossed by a dark growth plate if one is given."""
    canvas.paint(bone, contrast.cortex)
    canvas.paint(bone + np.float32(cortex_mm), marrow)
    if physis is not None:
        canvas.paint(np.maximum(physis, bone + np.float32(0.5)), contrast.physis)


def paint_cartilage(canvas: Canvas, bone: Array, neighbour: Array, contrast: Contrast, *, gap_mm: float) -> None:
    """Fill the joint between two bones; call it before the bones are laid."""
    canvas.paint(np.maximum(bone, neighbour) - np.float32(gap_mm + 0.6), contrast.cartilage)
