"""Close holes and clefts of the bones of a label map with a ball, on one bit a voxel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from custom_components.errors import InputError
from custom_components.label_maps import check_label_map, find_bones, memory_axes

__all__ = ["spherical_closing"]


def spherical_closing(labels: np.ndarray, *, num_classes: int, radius: int = 2) -> np.ndarray:
    """Close holes and clefts of each bone with a ball, leaving every other bone as it is.

    Each bone is closed as if background went on beyond the array, so a bone that the field of view cuts keeps its cut
    face. Only background changes hands. A background voxel that the closings of two bones claim goes to the bone with
    the nearer voxel in the input (centre to centre, in voxels), and at equal distance to the lower class index; all
    closings start from the input, so their order plays no part.

    Args:
        labels: class indices 0..num_classes-1, an integer array of shape (H, W, D).
        num_classes: number of classes, background included.
        radius: radius of the ball in voxels; 2 is the paper's 5x5x5 ball of 33 voxels, 0 changes nothing.

    Returns:
        A new array of the same shape, type and order in memory. A bone without voxels stays without.

    Raises:
        InputError: `labels` is no class-index map, or `radius` is no whole number from 0.

    Example:
        >>> bone = np.ones((3, 3, 3), dtype=int)
        >>> bone[1, 1, 1] = 0
        >>> int(spherical_closing(bone, num_classes=2)[1, 1, 1])
        1
    """
    if isinstance(radius, bool) or not isinstance(radius, int | np.integer) or radius < 0:
        raise InputError(f"radius must be a whole number of voxels from 0, got {radius!r}; the paper's ball has 2")
    check_label_map(labels, num_classes)
    result = labels.copy(order="K")
    # A ball looks the same along any axis, so each line of bits may be one that lies contiguous in memory.
    axes = memory_axes(result)
    before, after = labels.transpose(axes), result.transpose(axes)
    steps = _ball(int(radius))
    for bone in find_bones(before, num_classes=num_classes):
        for voxels in _gains(before[bone.box], bone.index, int(radius)):
            voxels += [[side.start] for side in bone.box]
            rivals = after[tuple(voxels)]
            contested = np.flatnonzero(rivals)
            if len(contested):
                at = voxels[:, contested]
                lost = _squared_distances(before, at, bone.index, steps) >= _squared_distances(
                    before, at, rivals[contested], steps
                )
                voxels = np.delete(voxels, contested[lost], axis=1)
            after[tuple(voxels)] = bone.index
    return result


def _ball(radius: int) -> np.ndarray:
    """Steps (n, 3) to the voxels of the ball, the nearest first."""
    steps = np.array(list(product(range(-radius, radius + 1), repeat=3)))
    squares = (steps**2).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    return steps[order[: np.count_nonzero(squares <= radius**2)]]


def _gains(inside: np.ndarray, index: int, radius: int) -> Iterator[np.ndarray]:
    """Background voxels that closing one bone adds, as indices (3, n) into its bounding box, plane by plane.

    A closing never leaves the bounding box, so the box is all there is to look at; two radii of background around it
    are what the dilation and then the erosion reach into.
    """
    margin = 2 * radius
    bone = _over_ball(_packed(inside, index, radius, margin), radius, np.bitwise_or)
    gained = _over_ball(bone, radius, np.bitwise_and)
    gained &= _packed(inside, 0, radius, 0)
    for number, plane in enumerate(gained):
        if plane.any():
            bits = np.unpackbits(plane.view(np.uint8), axis=1, bitorder="little")
            lines, along = np.nonzero(bits)
            yield np.stack([np.full(len(lines), number), lines, along - 8 * _num_bytes(radius)])


def _packed(inside: np.ndarray, index: int, radius: int, margin: int) -> np.ndarray:
    """Where an array is `index`, one bit a voxel, 64 voxels of a line to a word.

    Zeros surround it: `margin` planes and lines, and at least a radius of bits at both ends of each line.
    """
    planes, lines, length = inside.shape
    first, num_bytes = _num_bytes(radius), _num_bytes(length)
    num_words = _num_bytes(first + num_bytes + _num_bytes(radius))
    packed = np.zeros((planes + 2 * margin, lines + 2 * margin, 8 * num_words), np.uint8)
    for number, plane in enumerate(inside, start=margin):
        bits = np.packbits(plane == index, axis=1, bitorder="little")
        packed[number, margin : margin + lines, first : first + num_bytes] = bits
    return packed.view("<u8")


def _num_bytes(num_bits: int) -> int:
    return -(-num_bits // 8)


def _over_ball(words: np.ndarray, radius: int, combine: np.ufunc) -> np.ndarray:
    """Dilate (`np.bitwise_or`) or erode (`np.bitwise_and`) by the ball.

    A ball is a line of bits for each step across planes and lines; the result is a radius of planes and lines smaller
    on each side. Bits within a radius of the ends of a line mean nothing after an erosion.
    """
    views = _views_over_ball(words, radius, combine)
    result = next(views).copy()
    for view in views:
        combine(result, view, out=result)
    return result


def _views_over_ball(words: np.ndarray, radius: int, combine: np.ufunc) -> Iterator[np.ndarray]:
    size = [length - 2 * radius for length in words.shape[:2]]
    steps = list(product(range(-radius, radius + 1), repeat=2))
    for half_length in range(radius + 1):
        if half_length:
            words = combine(combine(words, _moved(words, 1)), _moved(words, -1))
        for step in steps:
            left = radius**2 - step[0] ** 2 - step[1] ** 2
            if left >= 0 and math.isqrt(left) == half_length:
                yield words[tuple(slice(radius + by, radius + by + n) for by, n in zip(step, size, strict=True))]


def _moved(words: np.ndarray, by: int) -> np.ndarray:
    """Each bit one place further (1) or back (-1) along its line; lines end in zeros, so none runs into the next."""
    flat = words.reshape(-1)
    if by > 0:
        moved = flat << 1
        moved[1:] |= flat[:-1] >> 63
    else:
        moved = flat >> 1
        moved[:-1] |= flat[1:] << 63
    return moved.reshape(words.shape)


def _squared_distances(
    labels: np.ndarray, voxels: np.ndarray, indices: np.ndarray | int, steps: np.ndarray
) -> np.ndarray:
    """Squared distance of each voxel to the nearest one of a bone; `steps`, nearest first, lead to one from each."""
    shape = np.array(labels.shape)[:, None]
    result = np.zeros(voxels.shape[1], np.intp)
    left = np.arange(voxels.shape[1])
    wanted = np.broadcast_to(indices, left.shape)
    for step in steps:
        at = voxels[:, left] + step[:, None]
        found = ((at >= 0) & (at < shape)).all(axis=0)
        found &= labels[tuple(np.clip(at, 0, shape - 1))] == wanted[left]
        result[left[found]] = step @ step
        left = left[~found]
        if not len(left):
            break
    return result
