"""How the image looks around each bone, where the labels are and where they would be if moved or mirrored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from custom_components.label_maps import voxels_where
from scipy import ndimage

EDGES = np.array([-4.5, -3.2, -2.1, -1.05, 0.0, 1.05, 2.1, 3.2, 4.5])
"""Upper ends of the layers around a bone's surface, inside negative, in its layer thickness; the first is its core."""

NUM_SIDES = 6
"""Parts of a layer: left and right of the bone's centre, behind and before it, below and above it."""

NUM_LAYERS = len(EDGES) * NUM_SIDES

ENDS = ("left and right", "front and back", "top and bottom")
"""Of each axis, for messages."""

_STEPS = (1, 2, 3, 5, 7, 10, 14, 20)  # voxels
PLACEMENTS: tuple[tuple[str, int, int], ...] = (
    ("as is", 0, 0),
    *(("moved", axis, sign * step) for axis in range(3) for step in _STEPS for sign in (1, -1)),
    *(("mirrored", axis, 0) for axis in range(3)),
)
"""Where labels are tried: kind, axis (RAS+) and number of voxels."""

_LAYERS = 24  # of which a bone's size, the cube root of its volume, is at least one
_MOST_POINTS = 6000  # of a bone
_LEAST_INSIDE = 0.6  # of the points of a bone, for a place to count
_CORE = 4  # layers that lie deeper than a layer inside a bone


def layer_sums(
    voxels: np.ndarray, classes: np.ndarray, spacing_mm: np.ndarray, *, num_bones: int, limits: tuple[float, float]
) -> np.ndarray:
    """Intensities in layers around the surface of each bone, for every placement of the labels.

    Args:
        voxels: image in RAS+ order.
        classes: class indices on the same grid.
        spacing_mm: size of a voxel along each axis.
        num_bones: number of classes but the background.
        limits: intensities that count as 0 and as 1.

    Returns:
        Number of points, sum and sum of squares of their intensities; all zero where a bone is not.

    Shape:
        (placements, bones, layers, 3), float32.
    """
    sums = np.zeros((len(PLACEMENTS), num_bones, NUM_LAYERS, 3), np.float32)
    low, span = limits[0], (limits[1] - limits[0]) or 1.0
    for bone, box in enumerate(ndimage.find_objects(classes, max_label=num_bones)):
        if box is None:
            continue
        points, layers = _points(classes, bone + 1, box, spacing_mm)
        if not len(points):
            continue
        for number, (placement, inside) in enumerate(_placed(points, voxels.shape)):
            if inside.mean() < _LEAST_INSIDE:
                continue
            own = layers[inside]
            values = np.clip((voxels[tuple(placement[inside].T)].astype(np.float64) - low) / span, 0, 1)
            for power in range(3):
                sums[number, bone, :, power] = np.bincount(own, values**power, minlength=NUM_LAYERS)
    return sums


def _points(
    classes: np.ndarray, index: int, box: tuple[slice, ...], spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels in and around a bone but in no other, and the layer of each."""
    volume_mm3 = float(np.count_nonzero(classes[box] == index)) * float(np.prod(spacing))
    thickness = max(float(np.sort(spacing)[1]), volume_mm3 ** (1 / 3) / _LAYERS)
    steps = np.maximum(1, (thickness / (2 * spacing)).astype(int))
    margins = np.ceil(EDGES[-1] * thickness / spacing).astype(int) + 1
    starts = [max(side.start - margin, 0) for side, margin in zip(box, margins, strict=True)]
    near = tuple(
        slice(start, side.stop + margin, step)
        for start, side, margin, step in zip(starts, box, margins, steps, strict=True)
    )
    part = classes[near]
    mask = part == index
    if not mask.any():  # thinner than the steps
        return np.zeros((0, 3), int), np.zeros(0, int)
    sampling = steps * spacing / thickness
    distances = ndimage.distance_transform_edt(~mask, sampling=sampling) - 0.5
    distances[mask] = 0.5 - ndimage.distance_transform_edt(mask, sampling=sampling)[mask]
    where = voxels_where((distances <= EDGES[-1]) & (mask | (part == 0)))
    where = where[:: max(1, -(-len(where) // _MOST_POINTS))]
    layers = np.searchsorted(EDGES, distances[tuple(where.T)])
    return where * steps + starts, layers * NUM_SIDES + _sides(where, mask)


def _sides(points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The side of a bone's centre that each point lies on, compared with the bone's extent along each axis."""
    inside = voxels_where(mask)
    off = (points - inside.mean(axis=0)) / np.maximum(inside.std(axis=0), 0.5)
    axis = np.abs(off).argmax(axis=1)
    ahead = np.take_along_axis(off, axis[:, None], 1)[:, 0] > 0
    return 2 * axis + ahead


def _placed(points: np.ndarray, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The points in every placement, and which of them lie in the image."""
    for kind, axis, step in PLACEMENTS:
        moved = points.copy()
        moved[:, axis] = shape[axis] - 1 - moved[:, axis] if kind == "mirrored" else moved[:, axis] + step
        yield moved, (moved[:, axis] >= 0) & (moved[:, axis] < shape[axis])


def agreement(sums: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Correlation of the image around each bone with what is usual in each layer.

    Args:
        sums: of `layer_sums`, (..., layers, 3).
        usual: intensity of each layer, (..., layers); NaN where it is not known.

    Returns:
        (...), NaN where nothing is known.
    """
    known = np.isfinite(usual) & (sums[..., 0] > 0)
    number, first, second = np.moveaxis(np.where(known[..., None], sums, 0).astype(np.float64), -1, 0)
    usual = np.where(known, usual, 0)
    count = np.maximum(number.sum(-1), 1)
    mean, expected = first.sum(-1) / count, (number * usual).sum(-1) / count
    variance = second.sum(-1) / count - mean**2
    expected_variance = (number * usual**2).sum(-1) / count - expected**2
    covariance = (first * usual).sum(-1) / count - mean * expected
    scale = np.sqrt(np.maximum(variance * expected_variance, 0))
    result = np.where(scale > 1e-9, covariance / np.maximum(scale, 1e-9), 0.0)
    return np.where(number.sum(-1) > 0, result, np.nan)


def merge_sides(sums: np.ndarray) -> np.ndarray:
    """Left and right of each layer as one, so that bones of both sides of the body can be compared."""
    split = sums.reshape(*sums.shape[:-2], len(EDGES), NUM_SIDES, 3)
    merged = np.concatenate([split[..., :1, :] + split[..., 1:2, :], split[..., 2:, :]], axis=-2)
    return merged.reshape(*sums.shape[:-2], -1, 3)


def swap_sides(sums: np.ndarray, axis: int) -> np.ndarray:
    """What a mirrored image with mirrored labels has."""
    split = sums.reshape(*sums.shape[:-2], len(EDGES), NUM_SIDES, 3)
    order = list(range(NUM_SIDES))
    order[2 * axis : 2 * axis + 2] = 2 * axis + 1, 2 * axis
    return split[..., order, :].reshape(sums.shape)


def layer_means(sums: np.ndarray) -> np.ndarray:
    """Mean intensity of each layer in standard deviations from that of all layers of the bone; NaN without points."""
    number, first, second = np.moveaxis(sums.astype(np.float64), -1, 0)
    count = np.maximum(number.sum(-1, keepdims=True), 1)
    mean = first.sum(-1, keepdims=True) / count
    deviation = np.sqrt(np.maximum(second.sum(-1, keepdims=True) / count - mean**2, 1e-12))
    return np.where(number > 0, (first / np.maximum(number, 1) - mean) / deviation, np.nan)


def usual_elsewhere(sums: np.ndarray) -> np.ndarray:
    """For each case the layer means that are usual in the others: their median.

    Shape:
        (cases, bones, layers, 3) -> (cases, bones, layers), NaN where at most one other case has points.
    """
    means = layer_means(sums)
    return np.stack([median_of_known(np.delete(means, place, 0)) for place in range(len(means))])


def median_of_known(values: np.ndarray) -> np.ndarray:
    """The median over cases of the finite values; NaN where at most one is."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.isfinite(values).sum(axis=0)
    low, high = (np.take_along_axis(ordered, np.maximum(at, 0)[None], 0)[0] for at in ((count - 1) // 2, count // 2))
    return np.where(count > 1, (low + np.where(count > 0, high, 0)) / 2, np.nan)


def core_spreads(sums: np.ndarray) -> np.ndarray:
    """Logarithm of the deviation of intensities inside each bone over that of all its layers; NaN without points."""
    inside = (np.arange(sums.shape[-2]) * len(EDGES)) // sums.shape[-2] < _CORE
    deviations = []
    for part in (sums[..., inside, :], sums):
        number, first, second = np.moveaxis(part.astype(np.float64).sum(axis=-2), -1, 0)
        count = np.maximum(number, 1)
        deviations.append(np.sqrt(np.maximum(second / count - (first / count) ** 2, 1e-12)))
    return np.where(sums[..., inside, 0].sum(axis=-1) > 0, np.log(deviations[0] / deviations[1]), np.nan)
