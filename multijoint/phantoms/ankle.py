"""The ankle: talus, calcaneus and tibia, with the fibula, the midfoot and the heel cord that must not be labelled."""

from __future__ import annotations

import numpy as np

from multijoint.phantoms.canvas import Canvas, Contrast, Pose, mottled_marrow, paint_body, paint_bone, paint_cartilage
from multijoint.phantoms.shapes import OUTLINES, Array, Shape, ellipsoid, outlined, plate, smooth_min, tube, union
from multijoint.phantoms.subject import Subject

ANKLE_CONTRAST = Contrast(
    marrow=900, fat=1050, muscle=400, cartilage=560, skin=420, tendon=90, cortex=70, physis=330, lung=0
)

_OUTLINES = OUTLINES["ankle"]


def ankle_centre_mm(scale: float) -> np.ndarray:
    """Middle of the field of view in reference mm: heel and sole just inside, the forefoot cut off in front."""
    return np.array([0.0, (80.5 - 70 * scale - 13) / scale, (70 - 64 * scale - 14) / scale])


def build_ankle(canvas: Canvas, subject: Subject) -> dict[int, Array]:
    """Paint a child's ankle.

    Healthy feet are near the neutral position. Pathological ones are in equinus, pointing downwards with a flattened
    talar dome, as in spastic cerebral palsy.
    """
    flexion = subject.about(-20, 5) if subject.pathological else subject.about(0, 6)
    foot = Pose((flexion, subject.about(0, 4), subject.about(0, 4)))
    gap = subject.about(2.0, 0.3)
    talus = canvas.field(_talus(subject), foot)
    calcaneus = canvas.field(_calcaneus(subject), foot)
    tibia = np.maximum(canvas.field(_tibia(subject)), np.float32(gap) - talus)
    calcaneus = np.maximum(calcaneus, np.float32(gap) - np.minimum(talus, tibia))
    malleolus = [(-25, -9, 230), (-25, -10, 45), (-26, -7, 10), (-24, -6, subject.about(-12, 2))]
    fibula = canvas.field(tube(malleolus, [6, 6, 8, 4.5], blend=3.0))
    fibula = np.maximum(fibula, np.float32(gap) - np.minimum(talus, tibia))
    fibula = np.maximum(fibula, np.float32(gap) - calcaneus)
    midfoot = canvas.field(_midfoot(), foot)
    midfoot = np.maximum(midfoot, np.float32(gap) - np.minimum(talus, calcaneus))

    rng = subject.rng
    skin = smooth_min(_skin(canvas, foot), np.minimum(calcaneus, fibula) - np.float32(6), 8.0)
    paint_body(canvas, skin, ANKLE_CONTRAST, rng=rng, fat_mm=subject.about(5.0, 1.0))
    _paint_soft_tissue(canvas, foot, within=skin + np.float32(1.5))
    for neighbour in (tibia, calcaneus, fibula):
        paint_cartilage(canvas, talus, neighbour, ANKLE_CONTRAST, gap_mm=gap)
    paint_cartilage(canvas, midfoot, np.minimum(talus, calcaneus), ANKLE_CONTRAST, gap_mm=gap)
    cortex, marrow = subject.about(1.3, 0.15), mottled_marrow(canvas, ANKLE_CONTRAST, rng=rng)
    plates = _physes(canvas, subject, foot)
    for bone, physis in zip((talus, calcaneus, tibia, fibula, midfoot), (None, *plates, plates[1], None), strict=True):
        thin = 0.8 if bone is midfoot else 1.0
        paint_bone(canvas, bone, ANKLE_CONTRAST, marrow=marrow, cortex_mm=thin * cortex, physis=physis)
    return {1: calcaneus, 2: talus, 3: tibia}


def _talus(subject: Subject) -> Shape:
    flat = subject.about(0.86, 0.03) if subject.pathological else 1.0
    views = subject.vary_views(_OUTLINES["talus"], 0.6, 0.7, 0.5)
    views["yz"] = [(y, z * flat if z > 0 else z) for y, z in views["yz"]]
    return outlined(views, blend=8.0)


def _calcaneus(subject: Subject) -> Shape:
    body = outlined(subject.vary_views(_OUTLINES["calcaneus"], 0.8, 0.7, 0.5), blend=subject.about(9.0, 0.8))
    shelf = tube([(0, 4, -30), (18, 8, -23)], [11.0, subject.about(7.0, 0.5)], blend=2.0)
    return union([body, shelf], blend=8.0)


def _tibia(subject: Subject) -> Shape:
    body = outlined(subject.vary_views(_OUTLINES["tibia"], 0.4, 0.4), blend=subject.about(15.0, 1.0))
    malleolus = tube([(22, 2, 22), (23.5, 4, 8), (22, 4, subject.about(-3, 1.5))], [9.0, 7.0, 5.0], blend=2.0)
    return union([body, malleolus], blend=5.0)


def _midfoot() -> Shape:
    navicular = ellipsoid((12, 55, -4), (17, 8.5, 12))
    cuboid = outlined(
        {"yz": [(36, -18), (62, -20), (62, -40), (36, -42)], "xy": [(-18, 36), (6, 40), (4, 62), (-18, 58)]}, blend=6.0
    )
    cuneiforms = [ellipsoid((x, 74, z), (7, 11.5, 11)) for x, z in ((22, -12), (8.5, -8))]
    rays = [
        tube([(x, y, z), (1.2 * x, 150, -44)], [radius, radius - 1.5])
        for x, y, z, radius in ((23, 87, -16, 8.5), (9, 92, -12, 6), (-4, 86, -16, 6), (-15, 82, -28, 6))
    ]
    return union([navicular, cuboid, *cuneiforms, *rays], blend=0.0)


def _physes(canvas: Canvas, subject: Subject, foot: Pose) -> tuple[Array | None, Array | None]:
    """Growth plates of the heel and of the distal tibia and fibula."""
    if subject.physis_mm == 0:
        return None, None
    thickness = subject.physis_mm / canvas.mm_per_unit
    square = [(-45.0, -80.0), (45.0, -80.0), (45.0, 60.0), (-45.0, 60.0)]
    heel_at, tibia_at = subject.about(-48, 1), subject.about(36, 1.5)

    def bowed(x: Array, z: Array) -> Array:
        return heel_at - np.float32(0.012) * (z + 40) ** 2 + 0 * x

    def wavy(x: Array, y: Array) -> Array:
        return tibia_at + np.float32(1.5) * np.sin(x / 7) * np.cos(y / 8)

    heel = plate(square, normal=1, height=bowed, thickness=thickness)
    tibia = plate(square, normal=2, height=wavy, thickness=thickness)
    return canvas.field(heel, foot), canvas.field(tibia)


def _skin(canvas: Canvas, foot: Pose) -> Array:
    leg = canvas.field(tube([(0, -16, 240), (0, -16, 110), (0, -12, 55), (0, -8, 10)], [56, 46, 37, 36], blend=8.0))
    return smooth_min(leg, canvas.field(outlined(_OUTLINES["sole"], blend=22.0), foot), 12.0)


def _paint_soft_tissue(canvas: Canvas, foot: Pose, *, within: Array) -> None:
    """Fat pads of the heel and before the heel cord, then the tendons and the plantar fascia."""
    fat, tendon = ANKLE_CONTRAST.fat, ANKLE_CONTRAST.tendon
    canvas.paint_shape(ellipsoid((0, -36, 28), (15, 9, 40)), fat, within=within, edge_mm=3.0)
    canvas.paint_shape(ellipsoid((0, -40, -64), (22, 26, 11)), fat, foot, within=within, edge_mm=3.0)
    canvas.paint_shape(ellipsoid((-8, 16, -16), (9, 8, 7)), fat, foot, within=within, edge_mm=3.0)
    heel = tuple((foot.matrix() @ np.array([0.0, -60.0, -32.0, 1.0]))[:3])
    cord = tube([heel, (0, -55, 8), (0, -50, 60), (0, -46, 240)], [4.5, 3.5, 3.5, 5])
    canvas.paint_shape(cord, tendon, within=within)
    fascia = tube([(0, -50, -61), (0, 0, -58), (0, 120, -58)], [2.2, 1.8, 1.5])
    canvas.paint_shape(fascia, tendon, foot, within=within)
    for path, radius in (
        ([(14, 27, 120), (16, 29, 40), (22, 40, 16), (27, 70, -4)], 2.8),
        ([(2, 28, 120), (2, 30, 40), (4, 42, 18), (10, 100, 0)], 2.2),
        ([(20, -24, 120), (22, -22, 40), (29, -10, 5), (30, 20, -16)], 2.5),
        ([(10, -30, 120), (8, -30, 30), (12, -24, -12), (14, 10, -30)], 2.5),
        ([(-24, -22, 120), (-26, -20, 20), (-27, -12, -16), (-24, 30, -34)], 2.5),
    ):
        canvas.paint_shape(tube(path, [radius] * len(path)), tendon, within=within)
