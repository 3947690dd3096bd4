"""Random smooth shapes in random contrasts: no anatomy, but shapes to learn from before the first patient.

What tells the classes apart is the kind of a shape, its proportions or its place in a row, as for bones; never the
signal, which is drawn anew for each class and each tissue around.
"""

from __future__ import annotations

import numpy as np

from multijoint.phantoms.canvas import Canvas, Pose, smooth_noise
from multijoint.phantoms.shapes import Array, Shape, ellipsoid, plate, smooth_min, tube
from multijoint.phantoms.subject import Subject

BALL, COLUMN, SHEET, TOP, MIDDLE, BOTTOM = 1, 2, 3, 4, 5, 6
"""Label values; the last three are a row, one above the other."""

_ROW = {TOP: 1, MIDDLE: 0, BOTTOM: -1}
_PRESENT = 0.75  # chance of the row and of each other shape
_SIGNAL = (60.0, 850.0)  # stored units


def shapes_centre_mm(scale: float) -> np.ndarray:
    """Middle of the field of view in reference mm."""
    return np.zeros(3)


def build_shapes(canvas: Canvas, subject: Subject) -> dict[int, Array]:
    """Paint a random choice of a ball, a column, a sheet and a row of three, never none of them.

    Row and column stand upright in neighbouring lanes, ball and sheet share a third one; the lanes change places.
    Sizes follow the field of view, whose in-plane axes come first. Around them lies a body of random tissues, mostly
    with a skin and air, else up to the edge.

    Returns:
        Label value -> signed distance in mm, of the shapes that are there. They keep a gap from each other.

    Source:
        Billot et al., Medical Image Analysis 2023 (SynthSeg), for random contrasts; Dey et al., ICLR 2025 (anatomix),
        for shapes without anatomy.
    """
    rng = subject.rng
    half = np.array(canvas.shape) * canvas.spacing_mm / (2 * canvas.mm_per_unit)
    gap = np.float32(subject.about(2.0, 0.4) + canvas.edge_mm)
    fields: dict[int, Array] = {}
    for values, members in _choose(canvas, subject, half):
        for value, (shape, pose) in zip(values, members, strict=True):
            rough = np.float32(rng.uniform(0, 1.2)) * smooth_noise(canvas, rng=rng, wavelength_mm=22.0)
            cuts = [gap - other for other in fields.values()]
            fields[value] = np.max([canvas.field(shape, pose) + rough, *cuts], axis=0)
    _paint(canvas, fields, half, rng)
    return dict(sorted(fields.items()))


def _choose(
    canvas: Canvas, subject: Subject, half: np.ndarray
) -> list[tuple[tuple[int, ...], list[tuple[Shape, Pose | None]]]]:
    """Labels and shapes of a case, the row first; `half` is half the field of view along y, z and x (mm)."""
    rng, (wide, high, deep) = subject.rng, half
    unit = min(wide, high)
    lanes = rng.permutation([-0.52, 0.0, 0.52]) * wide + rng.uniform(-0.06, 0.06, 3) * unit
    x = rng.uniform(-0.35, 0.35, 4) * deep
    is_there = rng.random(4) < _PRESENT
    is_there[rng.integers(4)] = True
    side = 0.42 * high * (1 if rng.random() < 0.5 else -1)
    thick = max(unit * rng.uniform(0.07, 0.11), 2.4 * canvas.edge_mm / canvas.mm_per_unit)
    tilt = Pose((rng.uniform(-30, 30), rng.uniform(-10, 10), 0.0), pivot=(x[3], lanes[2], -side))
    choices: list[tuple[tuple[int, ...], list[tuple[Shape, Pose | None]]]] = [
        (tuple(_ROW), [(shape, None) for shape in _row(subject, (x[0], lanes[0]), unit)]),
        ((COLUMN,), [(_column(subject, (x[1], lanes[1]), unit, high), None)]),
        ((BALL,), [(_ball(rng, (x[2], lanes[2], side), unit), None)]),
        ((SHEET,), [(_sheet(rng, (x[3], lanes[2], -side), unit, thick), tilt)]),
    ]
    return [choice for choice, there in zip(choices, is_there, strict=True) if there]


def _row(subject: Subject, at: tuple[float, float], unit: float) -> list[Shape]:
    """Three blocks with rounded edges, top first, on a bent line."""
    rng, (x, y) = subject.rng, at
    height, between = unit * rng.uniform(0.22, 0.34), unit * rng.uniform(0.04, 0.09)
    width = unit * rng.uniform(0.16, 0.23)
    depth, middle = width * rng.uniform(0.9, 1.4), unit * rng.uniform(-0.2, 0.2)
    bend, lean = unit * rng.uniform(-0.06, 0.06), rng.uniform(-0.12, 0.12)
    shapes = []
    for place in _ROW.values():
        z, forward = middle + place * (height + between), y + bend * place**2 + lean * place * height
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        spread = 1 + 0.08 * np.clip(rng.standard_normal(12), -2, 2)
        outline = list(zip(x + depth * spread * np.cos(turn), forward + width * spread * np.sin(turn), strict=True))

        def level(_: Array, across: Array, z: float = z, slope: float = -lean * place, y: float = forward) -> Array:
            return np.float32(z) + np.float32(slope) * (across - np.float32(y))

        size = height * rng.uniform(0.92, 1.05)
        shapes.append(plate(outline, normal=2, height=level, thickness=size, blend=0.3 * float(width)))
    return shapes


def _column(subject: Subject, at: tuple[float, float], unit: float, high: float) -> Shape:
    """A long upright column, wider at one end."""
    rng, (x, y) = subject.rng, at
    length, radius = high * rng.uniform(1.1, 1.7), unit * rng.uniform(0.08, 0.12)
    heights = rng.uniform(-0.15, 0.15) * high + length * np.array([-0.5, 0.0, 0.5])
    path = [(x + dx, y + dy, z) for (dx, dy), z in zip(unit * rng.uniform(-0.07, 0.07, (3, 2)), heights, strict=True)]
    return tube(path, [radius * rng.uniform(0.85, 1.2) for _ in path], blend=3.0)


def _ball(rng: np.random.Generator, at: tuple[float, float, float], unit: float) -> Shape:
    return ellipsoid(at, (unit * rng.uniform(0.14, 0.22) * rng.uniform(0.9, 1.1, 3)).tolist())


def _sheet(rng: np.random.Generator, at: tuple[float, float, float], unit: float, thick: float) -> Shape:
    """A lying sheet, bent upwards or downwards."""
    x, y, z = at
    a, b = unit * rng.uniform(0.30, 0.42, 2)
    bend = rng.uniform(-0.5, 0.5) / unit
    outline = [(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)]

    def bent(over: Array, across: Array) -> Array:
        return (z + bend * ((across - y) ** 2 + 0.3 * (over - x) ** 2)).astype(np.float32)

    return plate(outline, normal=2, height=bent, thickness=thick, blend=1.0)


def _paint(canvas: Canvas, fields: dict[int, Array], half: np.ndarray, rng: np.random.Generator) -> None:
    """Lay air, a body of up to five tissues, sheaths of some shapes and the shapes, some of them with a rim."""
    wide, high, deep = half
    radii = np.array((deep, wide, high)) * rng.uniform((0.9, 0.85, 1.0), (1.3, 1.05, 1.6))
    body = ellipsoid((0, 0, 0), radii.tolist())
    is_bounded = rng.random() < 0.75
    shapes = np.min(list(fields.values()), axis=0)
    skin = smooth_min(canvas.field(body), shapes - np.float32(4), 8.0) if is_bounded else np.full_like(shapes, -14)
    canvas.signal[...] = rng.uniform(0, 100)
    canvas.paint(skin, _texture(canvas, rng))
    inside = skin + np.float32(rng.uniform(1, 8))
    for _ in range(rng.integers(1, 6)):
        wavelength = float(rng.uniform(0.15, 0.6) * min(wide, high) * canvas.mm_per_unit)
        blob = np.float32(rng.uniform(0.0, 1.2)) - smooth_noise(canvas, rng=rng, wavelength_mm=wavelength)
        canvas.paint(np.maximum(blob * np.float32(wavelength / 3), inside), _texture(canvas, rng))
    if rng.random() < 0.5:
        canvas.paint(shapes - np.float32(rng.uniform(1, 5)), _texture(canvas, rng))
    rim, rim_mm = _texture(canvas, rng), np.float32(rng.uniform(0.8, 2.5))
    has_rim, is_alike, common = rng.random() < 0.5, rng.random() < 0.3, _texture(canvas, rng)
    for field in fields.values():
        own = _texture(canvas, rng)
        if has_rim:
            canvas.paint(field, rim)
        canvas.paint(field + rim_mm * np.float32(has_rim), common if is_alike else own)


def _texture(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Signal of a tissue: a random mean, uneven by up to 20 % over a random wavelength."""
    uneven = smooth_noise(canvas, rng=rng, wavelength_mm=float(rng.uniform(5, 30)))
    return np.float32(rng.uniform(*_SIGNAL)) * (1 + np.float32(rng.uniform(0, 0.2)) * uneven)
