"""Fingerprints of images: copies share them, also where one is cropped, padded, mirrored or turned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from custom_components.label_maps import voxels_where

from multijoint.checks.measures import slabs

_KEPT = 512  # peaks of an image
_LEAST = 64  # of an image that can be compared
_SHARED = 0.1  # of the peaks; of images of different people up to 0.01 has been seen
_MOST_SHARING = 50  # images with the same peak, beyond which it says nothing


def fingerprint(voxels: np.ndarray) -> np.ndarray:
    """Numbers of some peaks: voxels brighter than their six neighbours, chosen and named by their values alone.

    A number mixes the value of a peak with sums and differences of its neighbours before and behind along each axis,
    so that it is the same in a mirrored or turned copy. The smallest numbers are kept: a copy of a part of the image
    keeps the same ones of that part.

    Returns:
        At most 512 numbers in ascending order.

    Shape:
        (peaks,), uint64.
    """
    found = np.zeros(0, np.uint64)
    for part in slabs(voxels):
        block = voxels[max(part.start - 2, 0) : part.stop + 2]
        if min(block.shape) >= 5:
            found = np.union1d(found, _peaks(block))[:_KEPT]
    return found


def _peaks(block: np.ndarray) -> np.ndarray:
    """Numbers of the peaks that lie at least two voxels inside a block, of which at least the smallest 512."""
    inner = tuple(slice(2, size - 2) for size in block.shape)
    is_peak = np.ones(block[inner].shape, bool)
    for axis in range(3):
        for side in _pair(block, axis):
            is_peak &= block[inner] > side
    # Places in memory, since few voxels are peaks: a step along an axis is then a sum.
    flat = np.ascontiguousarray(block).reshape(-1)
    places = np.ravel_multi_index(tuple((voxels_where(is_peak) + 2).T), block.shape)
    strides = (block.shape[1] * block.shape[2], block.shape[2], 1)
    numbers = _scramble(_bits(flat[places]))
    for stride in strides:
        own = np.zeros_like(numbers)
        for distance in (1, 2):
            one, two = (flat[places + step].astype(np.float64) for step in (-distance * stride, distance * stride))
            own = _scramble(own ^ _scramble(_bits(one + two)) + _bits(np.abs(one - two)))
        numbers += own
    return _smallest(_scramble(numbers))


def _smallest(numbers: np.ndarray) -> np.ndarray:
    """Different numbers in ascending order: all, or at least the smallest 512 that `fingerprint` keeps."""
    some = 4 * _KEPT  # some of which may be equal
    if len(numbers) > some:
        found = np.unique(np.partition(numbers, some)[:some])
        if len(found) >= _KEPT:
            return found
    return np.unique(numbers)


def _pair(block: np.ndarray, axis: int) -> Iterator[np.ndarray]:
    """The voxels before and behind each inner one."""
    for step in (-1, 1):
        yield block[
            tuple(slice(2 + step * (k == axis), size - 2 + step * (k == axis)) for k, size in enumerate(block.shape))
        ]


def _bits(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float64) + 0.0).view(np.uint64)  # + 0.0 makes one zero of two


def _scramble(numbers: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64: every bit of the result depends on every bit given."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def find_sharing(fingerprints: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs of images that share peaks, the lower number first, in order."""
    having: dict[int, list[int]] = {}
    for number, peaks in enumerate(fingerprints):
        if len(peaks) >= _LEAST:
            for peak in peaks.tolist():
                having.setdefault(peak, []).append(number)
    shared = Counter(pair for each in having.values() if len(each) <= _MOST_SHARING for pair in combinations(each, 2))
    for (first, second), count in sorted(shared.items()):
        if count > _SHARED * min(len(fingerprints[first]), len(fingerprints[second])):
            yield first, second
