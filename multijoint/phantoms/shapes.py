"""Smooth implicit shapes: each is a function that says how far a point lies from its surface, negative inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

Array = NDArray[np.float32]
Points = tuple[Array, Array, Array]
Outline = Sequence[tuple[float, float]]

OUTLINES: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("outlines.yaml").read_text("utf-8"))
"""Joint -> name -> the outline of a sheet, or those of a solid by view."""

_STEP_MM = 1.0
_MARGIN_MM = 14.0


@dataclass(frozen=True)
class Shape:
    """A solid in reference coordinates (mm, adult size).

    Args:
        lower, upper: corners of a box that holds the whole solid.
        distance: (x, y, z) arrays -> signed distance, about exact near the surface and monotone further away.

    Example:
        >>> ball = ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0))
        >>> at = tuple(np.array([value], np.float32) for value in (13.0, 0.0, 0.0))
        >>> round(float(ball.distance(at)[0]), 3)
        3.0
    """

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    distance: Callable[[Points], Array]


def smooth_max(a: Array, b: Array, blend: float) -> Array:
    """Larger of two distances (an intersection), its crease rounded over `blend` mm; 0 keeps it sharp."""
    larger = np.maximum(a, b)
    if blend > 0:
        crease = np.maximum(np.float32(blend) - np.abs(a - b), np.float32(0))
        larger += crease * crease * np.float32(0.25 / blend)
    return larger


def smooth_min(a: Array, b: Array, blend: float) -> Array:
    """Smaller of two distances (a union), its crease filled over `blend` mm."""
    return -smooth_max(-a, -b, blend)


def ellipsoid(centre: Sequence[float], radii: Sequence[float]) -> Shape:
    """Ellipsoid along the axes; the distance is exact for a ball and first-order near the surface otherwise."""
    middle, half = np.asarray(centre, np.float32), np.asarray(radii, np.float32)

    def distance(points: Points) -> Array:
        scaled = [(p - m) / r for p, m, r in zip(points, middle, half, strict=True)]
        level = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
        slope = np.sqrt(sum((s / r) ** 2 for s, r in zip(scaled, half, strict=True)))
        return np.where(slope > 1e-4, level * (level - 1) / np.maximum(slope, 1e-4), -half.min()).astype(np.float32)

    return Shape(_triple(middle - half), _triple(middle + half), distance)


def tube(path: Sequence[Sequence[float]], radii: Sequence[float], *, blend: float = 0.0) -> Shape:
    """Rounded cones along a bent line: one radius a point, joints blended over `blend` mm."""
    at, width = np.asarray(path, np.float32), np.asarray(radii, np.float32)

    def distance(points: Points) -> Array:
        cones = []
        for start, end, r0, r1 in zip(at[:-1], at[1:], width[:-1], width[1:], strict=True):
            along = end - start
            offset = [p - s for p, s in zip(points, start, strict=True)]
            t = (offset[0] * along[0] + offset[1] * along[1] + offset[2] * along[2]) / np.float32(along @ along)
            t = np.clip(t, np.float32(0), np.float32(1))
            squared = sum((o - t * a) ** 2 for o, a in zip(offset, along, strict=True))
            cones.append(np.sqrt(squared) - (r0 + t * (r1 - r0)))
        return reduce(partial(smooth_min, blend=blend), cones)

    reach = float(width.max()) + blend / 4
    return Shape(_triple(at.min(0) - reach), _triple(at.max(0) + reach), distance)


def outlined(outlines: Mapping[str, Outline], *, blend: float) -> Shape:
    """Solid with the given silhouettes, as a sculptor cuts a block from its drawn views.

    Args:
        outlines: two or three of "yz" (seen from the side), "xy" (from above) and "xz" (from the front), each a closed
            polygon of (first axis, second axis) points whose corners are rounded.
        blend: rounding of the edges between the views, in mm.
    """
    views = [("xyz".index(key[0]), "xyz".index(key[1]), _Outline(polygon)) for key, polygon in outlines.items()]
    lower, upper = np.full(3, -np.inf), np.full(3, np.inf)
    for first, second, outline in views:
        for axis, low, high in zip((first, second), outline.lower, outline.upper, strict=True):
            lower[axis], upper[axis] = max(lower[axis], low), min(upper[axis], high)

    def distance(points: Points) -> Array:
        seen = [outline.distance(points[first], points[second]) for first, second, outline in views]
        return reduce(partial(smooth_max, blend=blend), seen)

    return Shape(_triple(lower), _triple(upper), distance)


def plate(
    polygon: Outline, *, normal: int, height: Callable[[Array, Array], Array], thickness: float, blend: float = 1.0
) -> Shape:
    """Thin curved sheet: a polygon bent over a height field.

    The polygon lies in the two axes other than `normal` (0, 1, 2), the axis across the sheet, in axis order. `height`
    gives the position of the sheet's middle along it, in mm, with slopes below 1; `blend` rounds the rim, in mm.
    """
    outline = _Outline(polygon)
    first, second = (axis for axis in range(3) if axis != normal)
    corners = np.meshgrid(*(np.linspace(a, b, 9) for a, b in zip(outline.lower, outline.upper, strict=True)))
    levels = height(*(corner.astype(np.float32) for corner in corners))
    lower, upper = np.empty(3), np.empty(3)
    lower[[first, second]], upper[[first, second]] = outline.lower, outline.upper
    lower[normal], upper[normal] = levels.min() - thickness, levels.max() + thickness

    def distance(points: Points) -> Array:
        across = np.abs(points[normal] - height(points[first], points[second])) - np.float32(thickness / 2)
        return smooth_max(across, outline.distance(points[first], points[second]), blend)

    return Shape(_triple(lower), _triple(upper), distance)


def union(shapes: Sequence[Shape], *, blend: float) -> Shape:
    """All the shapes together, their creases filled over `blend` mm."""

    def distance(points: Points) -> Array:
        return reduce(partial(smooth_min, blend=blend), (shape.distance(points) for shape in shapes))

    lower = np.min([shape.lower for shape in shapes], axis=0)
    upper = np.max([shape.upper for shape in shapes], axis=0)
    return Shape(_triple(lower), _triple(upper), distance)


class _Outline:
    """Signed distance to a closed plane curve, tabulated once and looked up by interpolation."""

    def __init__(self, polygon: Outline) -> None:
        curve = np.asarray(polygon, np.float64)
        for _ in range(3):  # Chaikin's corner cutting
            following = np.roll(curve, -1, axis=0)
            curve = np.stack([0.75 * curve + 0.25 * following, 0.25 * curve + 0.75 * following], 1).reshape(-1, 2)
        self.lower, self.upper = curve.min(0), curve.max(0)
        self._origin = self.lower - _MARGIN_MM
        axes = [np.arange(o, u + _MARGIN_MM, _STEP_MM) for o, u in zip(self._origin, self.upper, strict=True)]
        a, b = np.meshgrid(*axes, indexing="ij")
        squared, inside = np.full(a.shape, np.inf), np.zeros(a.shape, bool)
        for (a0, b0), (a1, b1) in zip(curve, np.roll(curve, -1, axis=0), strict=True):
            da, db = a1 - a0, b1 - b0
            t = np.clip(((a - a0) * da + (b - b0) * db) / (da * da + db * db), 0, 1)
            squared = np.minimum(squared, (a - a0 - t * da) ** 2 + (b - b0 - t * db) ** 2)
            if db != 0:
                inside ^= ((b0 > b) != (b1 > b)) & (a < a0 + (b - b0) * da / db)
        self._table = (np.where(inside, -1, 1) * np.sqrt(squared)).astype(np.float32)

    def distance(self, a: Array, b: Array) -> Array:
        a, b = np.broadcast_arrays(a, b)
        at = np.stack([(a - np.float32(self._origin[0])), (b - np.float32(self._origin[1]))]) / np.float32(_STEP_MM)
        return map_coordinates(self._table, at, order=1, mode="nearest", prefilter=False)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
