"""The knee: femur, tibia and patella, with the fibula, ligaments and fat pads that must not be labelled."""

from __future__ import annotations

import numpy as np

from multijoint.phantoms.canvas import Canvas, Contrast, Pose, mottled_marrow, paint_body, paint_bone, paint_cartilage
from multijoint.phantoms.shapes import (
    OUTLINES,
    Array,
    Points,
    Shape,
    ellipsoid,
    outlined,
    plate,
    smooth_min,
    tube,
    union,
)
from multijoint.phantoms.subject import Subject

KNEE_CONTRAST = Contrast(
    marrow=760, fat=880, muscle=300, cartilage=640, skin=360, tendon=80, cortex=65, physis=250, lung=0
)

_OUTLINES = OUTLINES["knee"]


def knee_centre_mm(scale: float) -> np.ndarray:
    """Middle of the field of view in reference mm: both long bones leave it, the joint line is near the middle."""
    return np.array([0.0, -6.0, 4.0 / scale])


def build_knee(canvas: Canvas, subject: Subject, *, contrast: Contrast = KNEE_CONTRAST) -> dict[int, Array]:
    """Paint a child's knee, nearly straight, under one sequence.

    Pathological knees are those of an unstable kneecap: a shallow femoral groove, the patella high, tilted and drawn to
    the outer side.
    """
    sick = subject.pathological
    shank = Pose((subject.about(-6, 3), subject.about(0, 2), subject.about(0, 4)), pivot=(0, -6, 16))
    tilt, rise, aside = (-14, 11, -7) if sick else (0, 0, -1)
    cap = Pose(
        (subject.about(0, 3), 0.0, subject.about(tilt, 4)),
        pivot=(0, 38, 20),
        shift=(subject.about(aside, 1.5), 0.0, subject.about(rise, 2.5)),
    )
    gap = subject.about(2.2, 0.25)
    femur = canvas.field(_femur(subject))
    shaft = outlined(subject.vary_views(_OUTLINES["tibia"], 0.5, 0.5, 0.6), blend=subject.about(12.0, 0.8))
    spines = union([ellipsoid((x, -4, 2), (4, 8, 6)) for x in (-4, 5)], blend=2.0)
    tibia = np.maximum(canvas.field(union([shaft, spines], blend=4.0), shank), np.float32(gap) - femur)
    width, height = subject.about(22, 0.8), subject.about(21, 0.8)
    kneecap = union([ellipsoid((0, 39, 20), (width, 11, height)), ellipsoid((0, 36, 4), (8, 7, 9))], blend=8.0)
    patella = np.maximum(canvas.field(kneecap, cap), np.float32(gap) - np.minimum(femur, tibia))
    outer = [(-35, -19, subject.about(-13, 1.5) - 8), (-35, -17, -44), (-33, -12, -240)]
    fibula = canvas.field(tube(outer, [9.5, 6.5, 5.5], blend=4.0), shank)
    fibula = np.maximum(fibula, np.float32(gap) - np.minimum(femur, tibia))

    rng = subject.rng
    bones = np.minimum(np.minimum(femur, patella), np.minimum(tibia, fibula))
    thigh = tube([(0, -10, 250), (0, -10, 95), (0, -4, 25), (0, -6, 0)], [76, 63, 55, 53], blend=12.0)
    calf = tube([(0, -6, 0), (0, -12, -45), (0, -20, -110), (0, -20, -250)], [53, 50, 53, 48], blend=12.0)
    skin = smooth_min(canvas.field(union([thigh, calf], blend=12.0)), bones - np.float32(6), 12.0)
    paint_body(canvas, skin, contrast, rng=rng, fat_mm=subject.about(7.0, 1.5))
    _paint_soft_tissue(canvas, shank, cap, contrast, within=skin + np.float32(2))
    for neighbour in (tibia, patella):
        paint_cartilage(canvas, femur, neighbour, contrast, gap_mm=gap)
    cortex, marrow = subject.about(1.4, 0.15), mottled_marrow(canvas, contrast, rng=rng)
    above, below = _physes(canvas, subject, shank)
    for bone, physis in ((femur, above), (tibia, below), (patella, None), (fibula, below)):
        paint_bone(canvas, bone, contrast, marrow=marrow, cortex_mm=cortex, physis=physis)
    return {1: femur, 2: tibia, 3: patella}


def _femur(subject: Subject) -> Shape:
    body = outlined(subject.vary_views(_OUTLINES["femur"], 0.5, 0.5, 0.6), blend=subject.about(12.0, 0.8))
    notch = ellipsoid((0, -30, -2), (subject.about(9.5, 0.6), 25, 24))
    depth = subject.about(1.0, 0.3) if subject.pathological else subject.about(5.0, 0.6)
    groove = tube([(-1, 56 - depth, -12), (-1, 56 - depth, 34)], [24, 24])

    def distance(points: Points) -> Array:
        notched = -smooth_min(-body.distance(points), notch.distance(points), 4.0)
        return -smooth_min(-notched, groove.distance(points), 5.0)

    return Shape(body.lower, body.upper, distance)


def _physes(canvas: Canvas, subject: Subject, shank: Pose) -> tuple[Array | None, Array | None]:
    """Growth plates of the distal femur and of the proximal tibia and fibula."""
    if subject.physis_mm == 0:
        return None, None
    thickness = subject.physis_mm / canvas.mm_per_unit
    square = [(-55.0, -50.0), (55.0, -50.0), (55.0, 50.0), (-55.0, 50.0)]
    above, below = subject.about(30, 1.5), subject.about(-20, 1)

    def wavy(x: Array, y: Array) -> Array:
        return above + np.float32(2.0) * np.cos(x / 9) * np.cos(y / 14)

    def tented(x: Array, y: Array) -> Array:
        return below - np.float32(0.004) * x**2 - np.float32(0.10) * y

    femur = plate(square, normal=2, height=wavy, thickness=thickness)
    tibia = plate(square, normal=2, height=tented, thickness=thickness)
    return canvas.field(femur), canvas.field(tibia, shank)


def _paint_soft_tissue(canvas: Canvas, shank: Pose, cap: Pose, contrast: Contrast, *, within: Array) -> None:
    """Fat below the kneecap and behind the joint, then the extensor's tendons, the cruciates and the hamstrings."""
    fat, tendon = contrast.fat, contrast.tendon
    canvas.paint_shape(ellipsoid((0, 30, -4), (24, 13, 15)), fat, within=within, edge_mm=3.0)
    canvas.paint_shape(ellipsoid((0, -48, 12), (20, 15, 55)), 0.95 * fat, within=within, edge_mm=6.0)
    upper, lower = (tuple((cap.matrix() @ np.array([0.0, 42.0, z, 1.0]))[:3]) for z in (38.0, 0.0))
    tubercle = tuple((shank.matrix() @ np.array([0.0, 30.0, -44.0, 1.0]))[:3])
    canvas.paint_shape(tube([upper, (0, 34, 90), (0, 34, 240)], [5, 5, 7]), tendon, within=within)
    canvas.paint_shape(tube([lower, tubercle], [4.5, 4]), tendon, within=within)
    for path, radius in (
        ([(3, 4, -2), (-7, -18, 20)], 4.0),
        ([(0, -24, -6), (6, -8, 18)], 4.5),
        ([(-36, -30, 120), (-38, -28, 20), (-36, -20, -16)], 4.0),
        ([(34, -40, 120), (38, -34, 10), (26, 6, -50)], 3.0),
        ([(28, -46, 120), (33, -40, 10), (24, 4, -56)], 3.0),
        ([(4, -46, 240), (4, -44, -240)], 4.0),  # flowing blood is dark
        ([(-6, -46, 240), (-6, -44, -240)], 4.5),
    ):
        canvas.paint_shape(tube(path, [radius] * len(path)), tendon, within=within)
