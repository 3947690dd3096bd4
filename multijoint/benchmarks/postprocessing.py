"""Post-processing against scikit-image: largest component and closing of three bones with islands."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import torch
from custom_components.postprocessing.transforms import default_steps
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import ball, closing

from multijoint.benchmarks.fixtures import Workplace
from multijoint.benchmarks.noisy_knee import NUM_CLASSES, make_noisy_knee
from multijoint.benchmarks.rows import Row, Target, interleave

_RADIUS = 2  # the default of `SphericalClosingd`, and the paper's


def postprocess(place: Workplace) -> Iterator[Row]:
    """The post-processing of a bundle against scikit-image's on the same map, and its memory for a large scan."""
    n, step = place.choose(5), place.choose(1, 2)
    prediction = make_noisy_knee()[1][::step, ::step, ::step]
    expected = _by_skimage(prediction, cropped=False)
    for result in (clean(prediction), _by_skimage(prediction, cropped=True)):
        if not np.array_equal(result, expected):
            raise RuntimeError(f"post-processing must give scikit-image's voxels, {np.sum(result != expected)} differ")
    ours, peer, cropping = interleave(
        lambda: clean(prediction),
        lambda: _by_skimage(prediction, cropped=False),
        lambda: _by_skimage(prediction, cropped=True),
        repetitions=n,
        warm_up=0,  # all three have just run
    )
    yield Row("postprocess", ours, peer, "s", n, Target(0.1))
    yield Row("postprocess, peer closes each bone in its box", ours, cropping, "s", n)
    large = prediction.repeat(2, axis=0).repeat(2, axis=1).repeat(4, axis=2)[..., :600].copy()
    tracemalloc.start()
    clean(large)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    name = f"postprocess, memory of {'x'.join(map(str, large.shape))} on top of the map"
    yield Row(name, peak / large.nbytes, None, "x its size", 1, Target(3, of="ours"))


def clean(labels: np.ndarray) -> np.ndarray:
    """Clean a map of class indices with the transforms of the bundles."""
    steps = Compose(default_steps("pred"))
    item = {"pred": MetaTensor(torch.from_numpy(labels)[None], affine=torch.eye(4))}
    return np.asarray(steps(item)["pred"])[0]


def _by_skimage(labels: np.ndarray, *, cropped: bool) -> np.ndarray:
    """Clean bone by bone, padded, since a bone that leaves the scan would lose its end; only background changes.

    If `cropped`, each bone, without its islands, is closed in its box instead of in the whole scan.
    """
    kept, closed = np.zeros_like(labels), {}
    present = [index for index in range(1, NUM_CLASSES) if (labels == index).any()]
    for index in present:
        components = label(labels == index, connectivity=1)
        kept[components == np.bincount(components.reshape(-1))[1:].argmax() + 1] = index
    for index in present:
        mask = (kept == index).view(np.uint8)
        box = ndimage.find_objects(mask)[0] if cropped else (slice(None),) * 3
        padded = closing(np.pad(mask[box], 2 * _RADIUS), ball(_RADIUS))
        whole = np.zeros(labels.shape, bool)
        whole[box] = padded[(slice(2 * _RADIUS, -2 * _RADIUS),) * 3]
        closed[index] = whole & (kept == 0)
    result, claims = kept.copy(), np.zeros(labels.shape, np.uint8)
    for index, gained in closed.items():
        result[gained] = index
        claims += gained
    for voxel in np.argwhere(claims > 1):
        around = kept[tuple(slice(max(at - _RADIUS, 0), at + _RADIUS + 1) for at in voxel)]
        centre = np.minimum(voxel, _RADIUS)
        rivals = [index for index, gained in closed.items() if gained[tuple(voxel)]]
        distances = [((np.argwhere(around == index) - centre) ** 2).sum(axis=1).min() for index in rivals]
        result[tuple(voxel)] = rivals[int(np.argmin(distances))]
    return result
