"""Label maps of a knee's three bones with the faults of a network: uneven surfaces, pits, islands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multijoint.benchmarks.fixtures import magnify

SHAPE = (256, 256, 194)
SPACING_MM = (0.6, 0.6, 0.8)

BONES = {
    "femur": ((128, 126, 150), (50, 42, 60)),  # leaves the scan
    "tibia": ((126, 130, 45), (48, 41, 47)),  # touches the femur here and there
    "patella": ((124, 48, 112), (34, 31, 38)),
}
"""Centre and radii in voxels; class 1 is the first."""

NUM_CLASSES = len(BONES) + 1

_CELL = 16  # voxels over which a surface rises or falls
_UNEVEN, _WRONG = 0.15, 0.06  # of the squared radius: the shape itself, and the error of the prediction
_NUM_PITS, _NUM_ISLANDS = 200, 40  # a bone


def make_noisy_knee(*, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make a reference and a prediction, uint8 class indices of shape `SHAPE`."""
    rng = np.random.default_rng(seed)
    depths = np.zeros((2, *SHAPE), np.float32)
    labels = np.zeros((2, *SHAPE), np.uint8)
    for index, (centre, radii) in enumerate(BONES.values(), start=1):
        box, depth = _ellipsoid(centre, radii)
        depth += _UNEVEN * _hills(depth.shape, rng)
        for number, each in enumerate((depth, depth + _WRONG * _hills(depth.shape, rng))):
            deepest = depths[number][box]
            mine = each > deepest
            deepest[mine] = each[mine]
            labels[number][box][mine] = index
    reference, prediction = labels
    bones = [np.argwhere(prediction == index) for index in range(1, NUM_CLASSES)]
    for bone in bones:
        for place in bone[rng.integers(len(bone), size=_NUM_PITS)]:
            prediction[_ball_at(place, int(rng.integers(1, 3)))] = 0
    for index in range(1, NUM_CLASSES):
        for place in (rng.random((_NUM_ISLANDS, 3)) * SHAPE).astype(int):
            island = _ball_at(place, int(rng.integers(1, 5)))
            prediction[island] = np.where(prediction[island] == 0, index, prediction[island])
    return reference, prediction


def _ellipsoid(centre: Sequence[int], radii: Sequence[int]) -> tuple[tuple[slice, ...], np.ndarray]:
    """A box around an ellipsoid, and depths in it: 1 in the centre, 0 on the surface, negative outside."""
    reach = [int(1.5 * radius) for radius in radii]
    sides = zip(centre, reach, SHAPE, strict=True)
    box = tuple(slice(max(middle - far, 0), min(middle + far, size)) for middle, far, size in sides)
    axes = zip(np.ogrid[box], centre, radii, strict=True)
    x, y, z = (((axis - middle) / radius) ** 2 for axis, middle, radius in axes)
    return box, (1 - x - y - z).astype(np.float32)


def _hills(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of a standard deviation near 1."""
    return magnify(rng.standard_normal([size // _CELL + 1 for size in shape]).astype(np.float32), shape)


def _ball_at(place: np.ndarray, radius: int) -> tuple[np.ndarray, ...]:
    steps = np.argwhere(np.ones((2 * radius + 1,) * 3)) - radius
    voxels = place + steps[(steps**2).sum(axis=1) <= radius**2]
    return tuple(voxels[((voxels >= 0) & (voxels < SHAPE)).all(axis=1)].T)
