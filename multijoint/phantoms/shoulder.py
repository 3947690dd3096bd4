"""The shoulder: humerus and scapula, among clavicle, ribs, spine, lung and muscle that must not be labelled."""

from __future__ import annotations

import numpy as np

from multijoint.phantoms.canvas import Canvas, Contrast, Pose, mottled_marrow, paint_body, paint_bone, paint_cartilage
from multijoint.phantoms.shapes import OUTLINES, Array, Points, Shape, ellipsoid, plate, smooth_min, tube, union
from multijoint.phantoms.subject import Subject

SHOULDER_CONTRAST = Contrast(
    marrow=680, fat=560, muscle=370, cartilage=820, skin=300, tendon=110, cortex=80, physis=260, lung=45
)

_OUTLINES = OUTLINES["shoulder"]
_MIDLINE_MM = 178.0


def shoulder_centre_mm(scale: float) -> np.ndarray:
    """Middle of the field of view in reference mm: the arm's skin just inside, the chest cut off near the middle."""
    return np.array([(77 * scale - 25) / scale, 2.0, (60 * scale + 16 - 95) / scale])


def build_shoulder(canvas: Canvas, subject: Subject) -> dict[int, Array]:
    """Paint a child's shoulder.

    Pathological shoulders are those of obstetrical brachial plexus palsy: a small flattened head that has slipped
    backwards in a retroverted glenoid, a small scapula, the arm turned inwards. The blade is never thinner than 2
    voxels nor spine and acromion than 1 slice, so that a coarse grid still shows them.
    """
    sick = subject.pathological
    turn = subject.about(-45 if sick else -10, 10)
    slip = (0.0, subject.about(-5 if sick else 0, 1), subject.about(0, 1))
    arm = Pose((subject.about(0, 5), subject.about(12, 5), turn), shift=slip)
    girdle = Pose((subject.about(6, 3), subject.about(0, 4), subject.about(-37 if sick else -32, 3)))
    gap = subject.about(2.2, 0.3)
    humerus = canvas.field(_humerus(subject), arm)
    scapula = canvas.field(_scapula(subject, canvas), girdle)
    scapula = np.maximum(scapula, np.float32(gap) - humerus)
    path = [(0, 0, 44), (25, 2, 46), (55, 4, 45), (90, 22, 40), (125, 38, 34), (150, 42, 28)]
    clavicle = canvas.field(tube(path, [6.5, 6, 5.5, 5.5, 7, 9], blend=3.0), Pose((0, subject.about(0, 3), 0)))
    clavicle = np.maximum(clavicle, np.float32(gap) - scapula)

    rng, contrast = subject.rng, SHOULDER_CONTRAST
    chest = canvas.field(_rib_cage())
    upper_arm = tube([(-10, 0, -30), (-12, 0, -90), (-12, 0, -280)], [46, 43, 38], blend=8.0)
    sleeve = union([ellipsoid((-8, -2, -8), (50, 54, 60)), upper_arm], blend=15.0)
    skin = smooth_min(canvas.field(_trunk()), canvas.field(sleeve, arm), 30.0)
    bones = np.minimum(np.minimum(humerus, scapula), clavicle)
    skin = smooth_min(skin, bones - np.float32(5), 10.0)
    paint_body(canvas, skin, contrast, rng=rng, fat_mm=subject.about(6.0, 1.5))
    _paint_soft_tissue(canvas, humerus, scapula, arm, skin=skin)
    _paint_thorax(canvas, chest, bones, contrast)
    paint_cartilage(canvas, humerus, scapula, contrast, gap_mm=gap)
    cortex, marrow = subject.about(1.5, 0.2), mottled_marrow(canvas, contrast, rng=rng)
    physis = None
    if subject.physis_mm > 0:
        middle, square = subject.about(-9, 1), [(-40.0, -40.0), (40.0, -40.0), (40.0, 40.0), (-40.0, 40.0)]

        def tented(x: Array, y: Array) -> Array:
            return middle - np.float32(0.012) * ((x + 6) ** 2 + y**2) + np.float32(0.15) * (-x)

        thickness = subject.physis_mm / canvas.mm_per_unit
        physis = canvas.field(plate(square, normal=2, height=tented, thickness=thickness), arm)
    paint_bone(canvas, humerus, contrast, marrow=marrow, cortex_mm=cortex, physis=physis)
    paint_bone(canvas, scapula, contrast, marrow=marrow, cortex_mm=0.8 * cortex)
    paint_bone(canvas, clavicle, contrast, marrow=marrow, cortex_mm=cortex)
    return {1: humerus, 2: scapula}


def _humerus(subject: Subject) -> Shape:
    flat = subject.about(0.84, 0.03) if subject.pathological else 1.0
    radius = subject.about(23.5, 0.6)
    head = ellipsoid((0, -1, 0), (radius * flat, radius, radius * flat))
    neck = tube([(-8, 0, -6), (-11, 0, -34), (-11, 0, -60), (-12, 0, -280)], [19, 14.5, 11.5, 11], blend=4.0)
    greater = tube([(-19, 2, 9), (-18, -4, -2), (-15, 0, -18)], [9, 10, 10], blend=3.0)
    lesser = ellipsoid((-6, 18, -3), (7.5, 7, 10))
    body = union([neck, greater, lesser], blend=4.0)
    groove = tube([(-17.5, 19, 14), (-17.5, 19, -45)], [5, 5])

    def distance(points: Points) -> Array:
        grooved = -smooth_min(-body.distance(points), groove.distance(points), 3.0)
        return smooth_min(head.distance(points), grooved, 2.5)

    outer = union([head, body], blend=0.0)
    return Shape(outer.lower, outer.upper, distance)


def _scapula(subject: Subject, canvas: Canvas) -> Shape:
    small = 0.9 if subject.pathological else 1.0
    voxel = canvas.edge_mm / canvas.mm_per_unit
    sheet = max(subject.about(4.2, 0.4), 2.0 * voxel)
    ledge, shelf = max(1.1 * sheet, 3.0 * voxel), max(subject.about(8.0, 0.6), 3.0 * voxel)

    def bowed(x: Array, z: Array) -> Array:
        return (0.0030 * (x - 82) ** 2 + 0.0008 * (z + 30) ** 2 - 6.0).astype(np.float32)

    def rising(x: Array, y: Array) -> Array:
        return (10 + np.clip(126 - x, 0, 100) * 0.11 - np.minimum(y, 0) * 0.42).astype(np.float32)

    def arched(x: Array, y: Array) -> Array:
        return 36 - np.float32(0.006) * (x - 10) ** 2 + 0 * y

    outline = subject.vary_views({"blade": _OUTLINES["blade"]}, 1.2)["blade"]
    blade = plate(outline, normal=1, height=bowed, thickness=sheet, blend=2.0)
    pillar = tube([(38, 0, -14), (64, -4, -56), (90, -2, -100)], [6.5, 5.0, 4.0])
    border = tube([(124, 1, 12), (119, 0, -40), (98, -1, -102)], [3.2, 3.2, 4.0])
    spine = plate(_OUTLINES["spine"], normal=2, height=rising, thickness=ledge, blend=2.0)
    crest = tube([(106, -11, 17), (72, -24, 26), (46, -34, 33), (26, -38, 36)], [3.5, 4.5, 5.0, 5.0], blend=3.0)
    acromion = plate(_OUTLINES["acromion"], normal=2, height=arched, thickness=shelf, blend=3.0)
    coracoid = tube([(42, 6, 12), (36, 18, 27), (22, 30, 24), (12, 35, 18)], [8.0, 6.5, 6.0, 5.0], blend=3.0)
    neck = union([ellipsoid((32, 0, -1), (10, 14, 19)), tube([(32, 0, -2), (54, -3, -2)], [12, 5])], blend=5.0)
    whole = union([blade, pillar, border, spine, crest, acromion, neck, coracoid], blend=4.0)

    def distance(points: Points) -> Array:
        x, y, z = (coordinate / np.float32(small) for coordinate in points)
        return np.float32(small) * whole.distance((x + np.float32(30 - 30 / small), y, z))

    return Shape(whole.lower, whole.upper, distance)


def _paint_soft_tissue(canvas: Canvas, humerus: Array, scapula: Array, arm: Pose, *, skin: Array) -> None:
    """Fat under the deltoid and in the armpit, then the cuff's tendon over the head and the biceps tendon."""
    contrast = SHOULDER_CONTRAST
    uneven = np.float32(9) + np.float32(1e-3) * (canvas.points[0] ** 2 - np.float32(0.5) * canvas.points[1] ** 2)
    sheath = np.abs(np.minimum(humerus, scapula) - np.clip(uneven, 5, 13)) - np.float32(0.6)
    canvas.paint(np.maximum(sheath, skin + np.float32(6)), 0.4 * contrast.fat + 0.6 * contrast.muscle)
    canvas.paint_shape(ellipsoid((38, 8, -70), (13, 22, 34)), 0.85 * contrast.fat, within=skin, edge_mm=8.0)
    cap = canvas.field(ellipsoid((-8, 0, 12), (26, 24, 22)), arm)
    canvas.paint(np.maximum(humerus - np.float32(4.5), cap), contrast.tendon)
    biceps = tube([(-20, 22, 8), (-19, 22, -40), (-18, 22, -80)], [2.5, 2.5, 2.0])
    canvas.paint_shape(biceps, contrast.tendon, arm, within=skin)


def _rib_cage() -> Shape:
    """Outer surface of the ribs: an egg around the midline, narrow at the top."""
    return ellipsoid((_MIDLINE_MM, 10, -120), (118, 80, 180))


def _trunk() -> Shape:
    """Skin of the chest, the shoulders' slope and the neck."""
    chest = ellipsoid((_MIDLINE_MM, -4, -140), (154, 118, 220))
    slope = tube([(30, -12, 8), (90, -16, 22), (_MIDLINE_MM, -18, 55)], [38, 46, 58], blend=20.0)
    neck = tube([(_MIDLINE_MM, -10, 40), (_MIDLINE_MM, 0, 160)], [58, 55])
    back = tube([(36, -26, -12), (84, -52, -84)], [42, 42])
    return union([chest, slope, neck, back], blend=25.0)


def _paint_thorax(canvas: Canvas, cage: Array, bones: Array, contrast: Contrast) -> None:
    """Lay the ribs, the lung inside them and the spine; the ribs keep clear of `bones` (signed distance in mm)."""
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
