"""Post-processing against scikit-image and cc3d: largest component and closing of three bones with islands."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial

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

try:
    import cc3d  # of the extra `peers`, under LGPL: for comparison only
except ImportError:
    cc3d = None

_RADIUS = 2  # the default of `SphericalClosingd`, and the paper's


def postprocess(place: Workplace) -> Iterator[Row]:
    """The post-processing of a bundle against other libraries' on the same map, and its memory for a large scan."""
    n, step = place.choose(3), place.choose(1, 2)
    prediction = make_noisy_knee()[1][::step, ::step, ::step].copy()
    peers: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "postprocess": partial(_by_skimage, cropped=False),
        "postprocess, peer closes each bone in its box": partial(_by_skimage, cropped=True),
    }
    targets = {"postprocess": Target(0.1)}
    with_cc3d = "postprocess, peer with cc3d in boxes"
    if cc3d is not None:
        peers[with_cc3d] = partial(_by_skimage, cropped=True, largest=_largest_by_cc3d)
        targets[with_cc3d] = Target(0.5)
    expected = clean(prediction)
    for name, peer in peers.items():
        if not np.array_equal(expected, result := peer(prediction)):
            raise RuntimeError(f"{name} must give our voxels, {np.sum(result != expected)} differ")
    work = [partial(each, prediction) for each in (clean, *peers.values())]
    ours, *theirs = interleave(*work, repetitions=n, warm_up=0)  # all have just run
    for name, seconds in zip(peers, theirs, strict=True):
        packages = ("connected-components-3d",) if name == with_cc3d else ()
        yield Row(name, ours, seconds, "s", n, targets.get(name), packages=packages)
    if cc3d is None:
        yield Row(f"{with_cc3d}: not installed (multijoint[peers])", math.nan, None, "s", 0)
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


def _largest_by_skimage(labels: np.ndarray) -> np.ndarray:
    """The labels without islands, bone by bone."""
    kept = np.zeros_like(labels)
    for index in _present(labels):
        components = label(labels == index, connectivity=1)
        kept[components == np.bincount(components.reshape(-1))[1:].argmax() + 1] = index
    return kept


def _largest_by_cc3d(labels: np.ndarray) -> np.ndarray:
    """The labels without islands, all bones at once."""
    components = cc3d.connected_components(labels, connectivity=6)
    flat = components.reshape(-1)
    sizes = np.bincount(flat)
    bones, kept = np.zeros(len(sizes), labels.dtype), np.zeros(len(sizes), labels.dtype)
    bones[flat] = labels.reshape(-1)
    for index in _present(bones):
        kept[(sizes * (bones == index)).argmax()] = index
    return kept[components]


def _present(labels: np.ndarray) -> list[int]:
    return [index for index in range(1, NUM_CLASSES) if (labels == index).any()]


def _by_skimage(
    labels: np.ndarray, *, cropped: bool, largest: Callable[[np.ndarray], np.ndarray] = _largest_by_skimage
) -> np.ndarray:
    """Clean bone by bone, padded, since a bone that leaves the scan would lose its end; only background changes.

    If `cropped`, each bone, without its islands, is closed in its box instead of in the whole scan.
    """
    kept, closed = largest(labels), {}
    for index in _present(kept):
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
