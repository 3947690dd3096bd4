"""The chest next to a shoulder: trunk, ribs, lung and spine, none of them labelled."""

from __future__ import annotations

import numpy as np

from multijoint.phantoms.canvas import Canvas
from multijoint.phantoms.shapes import Array, Shape, ellipsoid, tube, union
from multijoint.phantoms.tissue import Contrast

__all__ = ["paint_thorax", "rib_cage", "trunk"]

_MIDLINE_MM = 178.0


def rib_cage() -> Shape:
    """Outer surface of the ribs: an egg around the midline, narrow at the top."""
    return ellipsoid((_MIDLINE_MM, 10, -120), (118, 80, 180))


def trunk() -> Shape:
    """Skin of the chest, the shoulders' slope and the neck."""
    chest = ellipsoid((_MIDLINE_MM, -4, -140), (154, 118, 220))
    slope = tube([(30, -12, 8), (90, -16, 22), (_MIDLINE_MM, -18, 55)], [38, 46, 58], blend=20.0)
    neck = tube([(_MIDLINE_MM, -10, 40), (_MIDLINE_MM, 0, 160)], [58, 55])
    back = tube([(36, -26, -12), (84, -52, -84)], [42, 42])
    return union([chest, slope, neck, back], blend=25.0)


def paint_thorax(canvas: Canvas, cage: Array, bones: Array, contrast: Contrast) -> None:
    """Lay the ribs, the lung inside them and the spine.

    Args:
        canvas: painted on.
        cage: signed distance to `rib_cage`, in mm.
        bones: signed distance to the labelled bones and the clavicle, which the ribs keep clear of.
        contrast: signal of each tissue.
    """
    x, y, z = canvas.points
    lung = cage + np.float32(11)
    canvas.paint(lung, contrast.lung)
    vessels = tube([(_MIDLINE_MM, -24, -260), (_MIDLINE_MM, -12, -60), (_MIDLINE_MM, 6, 90)], [30, 32, 30])
    mediastinum = union([vessels, ellipsoid((_MIDLINE_MM - 10, 34, -150), (52, 48, 70))], blend=20.0)
    canvas.paint_shape(mediastinum, 1.15 * contrast.muscle, within=lung, edge_mm=4.0)
    slant = z + np.float32(0.45) * y - np.float32(0.15) * (x - np.float32(_MIDLINE_MM))
    along = np.abs(np.mod(slant, np.float32(25)) - np.float32(12.5)) * np.float32(canvas.mm_per_unit)
    rib = np.maximum(np.abs(cage + np.float32(6)) - np.float32(4.0), along - np.float32(6 * canvas.mm_per_unit))
    rib = np.maximum(rib, np.float32(4) - bones)
    canvas.paint(rib, contrast.cortex)
    canvas.paint(rib + np.float32(1.4), contrast.marrow)
    column = [(_MIDLINE_MM, -48, -260), (_MIDLINE_MM, -46, -60), (_MIDLINE_MM, -34, 120)]
    spine = canvas.field(tube(column, [18, 17, 13]))
    disc = np.abs(np.mod(z, np.float32(24)) - np.float32(12)) - np.float32(2.5)
    canvas.paint(spine, contrast.cortex)
    canvas.paint(spine + np.float32(1.3), contrast.marrow)
    canvas.paint(np.maximum(spine + np.float32(1.0), disc), contrast.muscle)
    canal = tube([(_MIDLINE_MM, -74, -260), (_MIDLINE_MM, -72, -60), (_MIDLINE_MM, -58, 120)], [8, 8, 8])
    canvas.paint_shape(canal, 0.4 * contrast.muscle, within=cage - np.float32(30))
