"""Spherical closing of the bones of a label map, with one bit per voxel.

A closing is a dilation followed by an erosion. Both combine copies of the bone shifted to every voxel of the ball, by
OR or by AND. The bone is packed into 64-bit words along each line, so that one operation handles 64 voxels, and a shift
along the line is a bit shift. The ball is a union of lines of bits, one for each shift across planes and lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from custom_components.errors import InputError
from custom_components.label_maps import check_label_map, find_bones, memory_axes


def spherical_closing(labels: np.ndarray, *, num_classes: int, radius: int = 2) -> np.ndarray:
    """Close holes and clefts of each bone with a ball, without changing other bones.

    The array is treated as surrounded by background, so a bone cut by the field of view keeps its cut face. Only
    background voxels change. A background voxel claimed by the closings of two bones is assigned to the bone with the
    nearer voxel in the input (centre to centre, in voxels), and at equal distance to the lower class index. All
    closings start from the input, so the result does not depend on their order.

    Args:
        labels: class indices 0..num_classes-1, an integer array of shape (H, W, D).
        num_classes: number of classes, background included.
        radius: radius of the ball in voxels; 2 is the paper's 5x5x5 ball of 33 voxels, 0 changes nothing.

    Returns:
        A new array of the same shape, type and order in memory. A bone without voxels remains without.

    Raises:
        InputError: `labels` is not a class-index map, or `radius` is not a whole number from 0.

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
    # A ball is the same along any axis, so the lines of bits may follow the axis that is contiguous in memory.
    axes = memory_axes(result)
    before, after = labels.transpose(axes), result.transpose(axes)
    steps = _ball(int(radius))
    for bone in find_bones(before, num_classes=num_classes):
        for voxels in _gains(before[bone.box], bone.index, int(radius)):
            voxels += [[side.start] for side in bone.box]
            # Voxels that a bone of lower index has gained already: this bone takes those to which it is nearer.
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
    """Steps to the voxels of the ball, shape (n, 3), sorted by length."""
    steps = np.array(list(product(range(-radius, radius + 1), repeat=3)))
    squares = (steps**2).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    return steps[order[: np.count_nonzero(squares <= radius**2)]]


def _gains(inside: np.ndarray, index: int, radius: int) -> Iterator[np.ndarray]:
    """Yield the background voxels that closing one bone adds, as indices (3, n) into its bounding box, by plane.

    A closing never leaves the bounding box of the bone, so only the box is processed. It needs a margin of two radii:
    the dilation grows into one radius of it, and each combination over the ball drops one radius at every side.
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
    """Mark the voxels equal to `index`, one bit per voxel, in words of 64 voxels of a line.

    The result is surrounded by zeros: `margin` planes and lines, and at least `radius` bits at both ends of each line.
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

    The result has `radius` fewer planes and lines on each side. After an erosion, bits within a radius of the ends of a
    line are meaningless.
    """
    views = _views_over_ball(words, radius, combine)
    result = next(views).copy()
    for view in views:
        combine(result, view, out=result)
    return result


def _views_over_ball(words: np.ndarray, radius: int, combine: np.ufunc) -> Iterator[np.ndarray]:
    """Yield the words combined along each line of the ball, shifted to the position of that line.

    Lines are visited by length: `words` is combined with its neighbours along the line, one voxel further each time, so
    all lines of equal length share one array, and a shift across planes and lines is a view of it.
    """
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
    """Shift each bit one place forwards (1) or back (-1) along its line, carrying across words.

    Lines end in zeros, so no bone is carried into the next line.
    """
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
    """Squared distance in voxels of each voxel to the nearest voxel of a bone.

    Args:
        labels: class indices of the input, shape (H, W, D).
        voxels: positions, shape (3, n).
        indices: class index of the bone, for all voxels or each.
        steps: steps of the ball, sorted by length. A closing adds only voxels that have the bone within the ball.
    """
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
