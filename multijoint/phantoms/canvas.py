"""The canvas of one scan: where its voxels lie in the body, and how bone, skin, fat and muscle are laid on it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from multijoint.phantoms.shapes import Array, Points, Shape

SUB_SLICES = 3
"""Every slice is painted as this many thin ones and averaged by the scanner: partial volume along the thick side."""

_REACH_MM = 14.0
_PAD_MM = 4.0


@dataclass(frozen=True)
class Pose:
    """Rigid placement of a body part in reference coordinates: rotated about `pivot`, then shifted.

    Args:
        degrees: rotations about x (to medial), y (to anterior), z (up), applied in that order.
        pivot, shift: in reference mm.
    """

    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def matrix(self) -> np.ndarray:
        """4 x 4 matrix from the part's own coordinates to the reference ones."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("xyz", self.degrees, degrees=True).as_matrix()
        matrix[:3, 3] = np.add(self.pivot, self.shift) - matrix[:3, :3] @ np.array(self.pivot)
        return matrix


class Canvas:
    """Fine voxel grid of one scan with the signal painted on it.

    Reference coordinates are an adult's: x to medial, y to anterior, z up, in mm, for left and right sides alike.

    Args:
        shape: voxels of the stored volume; its last axis is painted `SUB_SLICES` times finer.
        affine: stored voxel indices -> world mm (RAS+).
        to_reference: 4 x 4 matrix, world mm -> reference mm (side and size of the subject).
        rng: draws the smooth warp that makes every subject's bones differ.
        warp_mm: its root mean square, in reference mm.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        affine: np.ndarray,
        to_reference: np.ndarray,
        rng: np.random.Generator,
        warp_mm: float,
    ) -> None:
        refine = np.diag([1.0, 1.0, 1.0 / SUB_SLICES, 1.0])
        refine[2, 3] = (1 / SUB_SLICES - 1) / 2
        self.shape = (shape[0], shape[1], shape[2] * SUB_SLICES)
        self.spacing_mm = np.linalg.norm((affine @ refine)[:3, :3], axis=0)
        self.edge_mm = float(self.spacing_mm.mean())
        self.mm_per_unit = float(abs(np.linalg.det(to_reference[:3, :3])) ** (-1 / 3))
        self.signal: Array = np.zeros(self.shape, np.float32)
        self._to_reference = to_reference @ affine @ refine
        i, j, k = (axis.astype(np.float32) for axis in np.ogrid[: self.shape[0], : self.shape[1], : self.shape[2]])
        rows = self._to_reference[:3].astype(np.float32)
        x, y, z = (row[0] * i + row[1] * j + row[2] * k + row[3] for row in rows)
        self.points: Points = (x, y, z)
        for coordinate in self.points:
            coordinate += np.float32(warp_mm) * smooth_noise(self, rng=rng, wavelength_mm=45.0)

    def field(self, shape: Shape, pose: Pose | None = None) -> Array:
        """Signed distance of every voxel to a shape, in mm of the subject; at most 14 mm, further voxels get that."""
        result = np.full(self.shape, _REACH_MM, np.float32)
        box = self._box(shape, pose, margin_mm=_REACH_MM)
        result[box] = np.minimum(self._distance(shape, pose, box), np.float32(_REACH_MM))
        return result

    def paint(self, field: Array, value: float | Array) -> None:
        """Lay `value` over the signal wherever `field` is negative, with an edge one thin voxel wide."""
        cover = np.clip(np.float32(0.5) - field / np.float32(self.edge_mm), 0, 1)
        self.signal += cover * (value - self.signal)

    def paint_shape(
        self, shape: Shape, value: float, pose: Pose | None = None, *, within: Array, edge_mm: float = 0.0
    ) -> None:
        """Like `paint`, for a shape whose distance is not needed: clipped to `within`, with an edge of `edge_mm`."""
        box = self._box(shape, pose, margin_mm=edge_mm + 2 * self.edge_mm)
        distance = np.maximum(self._distance(shape, pose, box), within[box])
        cover = np.clip(np.float32(0.5) - distance / np.float32(max(edge_mm, self.edge_mm)), 0, 1)
        self.signal[box] += cover * (np.float32(value) - self.signal[box])

    def _distance(self, shape: Shape, pose: Pose | None, box: tuple[slice, ...]) -> Array:
        x, y, z = (coordinate[box] for coordinate in self.points)
        if pose is not None:
            back = np.linalg.inv(pose.matrix()).astype(np.float32)
            x, y, z = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in back[:3])
        return shape.distance((x, y, z)) * np.float32(self.mm_per_unit)

    def _box(self, shape: Shape, pose: Pose | None, *, margin_mm: float) -> tuple[slice, ...]:
        margin = margin_mm / self.mm_per_unit + _PAD_MM
        sides = [(low - margin, high + margin) for low, high in zip(shape.lower, shape.upper, strict=True)]
        corners = np.array(np.meshgrid(*sides)).reshape(3, -1)
        matrix = np.linalg.inv(self._to_reference) @ (pose.matrix() if pose else np.eye(4))
        indices = matrix[:3, :3] @ corners + matrix[:3, 3:]
        starts = np.clip(np.floor(indices.min(1)), 0, self.shape).astype(int)
        stops = np.clip(np.ceil(indices.max(1)) + 1, 0, self.shape).astype(int)
        return tuple(slice(start, max(start, stop)) for start, stop in zip(starts, stops, strict=True))


def joined(low: Canvas, high: Canvas) -> Canvas:
    """Canvas of the signal of two that lie side by side along the first axis."""
    both = copy(low)
    both.shape = (low.shape[0] + high.shape[0], *low.shape[1:])
    both.signal = np.concatenate([low.signal, high.signal])
    return both


def smooth_noise(canvas: Canvas, *, rng: np.random.Generator, wavelength_mm: float) -> Array:
    """Random field of unit variance that varies over about `wavelength_mm`.

    It leaves `rng`'s own stream as it is, so that later draws do not depend on the number of voxels.
    """
    return noise_on_grid(canvas.shape, canvas.spacing_mm, rng=rng, wavelength_mm=wavelength_mm)


def noise_on_grid(
    shape: Sequence[int], spacing_mm: Sequence[float] | np.ndarray, *, rng: np.random.Generator, wavelength_mm: float
) -> Array:
    """`smooth_noise` for any grid; `spacing_mm` has one entry an axis."""
    weights = []
    for count, spacing in zip(shape, spacing_mm, strict=True):
        at = (np.arange(count) + 0.5) * spacing
        knots = np.arange(-1, round(count * spacing / (wavelength_mm / 2)) + 2) * (wavelength_mm / 2)
        weight = np.exp(-(((at[:, None] - knots) / (0.45 * wavelength_mm)) ** 2))
        weights.append((weight / np.sqrt((weight**2).sum(1, keepdims=True))).astype(np.float32))
    coarse = rng.spawn(1)[0].standard_normal([weight.shape[1] for weight in weights]).astype(np.float32)
    for weight in weights:
        coarse = np.tensordot(coarse, weight, axes=(0, 1))
    return coarse


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
