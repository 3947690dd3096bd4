"""Consistent names for bones that stand in a row, such as vertebrae: one component, one name, in order."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
from custom_components.errors import InputError
from custom_components.label_maps import check_label_map

_REGIONS = {"C": 7, "T": 12, "L": 5, "S": 5}  # usual numbers of vertebrae; a name beyond, T13 or L6, has its place too
_LEVEL = re.compile(r"(?:vertebra[ _-]?)?([CTLS])(\d{1,2})", re.IGNORECASE)
_FEWEST = 3  # bones of a row

_NECK_MM = 2.0
"""Components of the row hang together by necks of up to twice this width; they are cut there."""

_SPECK = 0.15  # of the median volume: smaller components are no bones
_DOUBLE = 1.4  # of the usual volume: larger components may be several bones that grew together,
_PART = 0.25  # which are the names with such a share of it, or of two bones where it is larger
_LEAST_VOTE = 0.02  # share of the voxels that a name without votes counts as having
_NO_NAME = 0.01  # likewise of being no bone of the row: where a name is left for its place, that is likelier
_COST_OF_A_GAP = 12.0  # of a name more or less than the distance to the next component asks for: three wrong names


def find_row(labels: Sequence[str]) -> list[int]:
    """Class indices of the vertebrae among the names of a domain's labels, from head to foot; empty if not in a row.

    A row is three or more vertebrae (C1..C7, T1..T12, L1..L5, S1..S5) without one left out between.

    Args:
        labels: names of classes 1, 2, ... in class order.

    Example:
        >>> find_row(["sacrum", "L2", "L1", "T12"])
        [4, 3, 2]
        >>> find_row(["L1", "L2", "L4"]), find_row(["tibia", "talus"])
        ([], [])
    """
    found: dict[tuple[int, int], int] = {}
    for index, name in enumerate(labels, start=1):
        match = _LEVEL.fullmatch(name.strip())
        if match:
            found[list(_REGIONS).index(match[1].upper()), int(match[2])] = index
    levels = sorted(found)
    for (region, number), (next_region, next_number) in itertools.pairwise(levels):
        usual = list(_REGIONS.values())[region]
        next_one = next_region == region and next_number == number + 1
        if not next_one and not (next_region == region + 1 and number >= usual and next_number == 1):
            return []
    return [found[level] for level in levels] if len(levels) >= _FEWEST else []


def name_in_order(
    labels: np.ndarray, *, num_classes: int, row: Sequence[int], spacing_mm: Sequence[float]
) -> np.ndarray:
    """Give each component of a row of bones one name, such that the names are in order.

    The bones of the row are taken as one and cut at narrow necks. Each component votes with its voxels' names. Along
    the row, in the direction that fits better, names are assigned that rise by one from a component to the next, or by
    more where the distance to it asks for that; at either end, components that fit no name become background. Of all
    such assignments the most probable one, voxels being independent and a component's weight at most that of a median
    one, is found by dynamic programming. Bones outside of the row stay as they are.

    Args:
        labels: class indices 0..num_classes-1, an integer array of shape (H, W, D).
        num_classes: number of classes, background included.
        row: classes of the row in order, from either end.
        spacing_mm: distance between neighbouring voxels along each axis, in mm.

    Returns:
        A new array of the same shape and type. With fewer than two components nothing changes.

    Raises:
        InputError: `labels` is not a class-index map, or `row` names a class that it cannot have, or one twice.

    Example:
        >>> one = np.array([1, 1, 1, 0, 2, 2, 3, 0, 3, 3, 3]).reshape(11, 1, 1)
        >>> name_in_order(one, num_classes=4, row=[1, 2, 3], spacing_mm=(9.0, 9.0, 9.0)).ravel()
        array([1, 1, 1, 0, 2, 2, 2, 0, 3, 3, 3])
    """
    from scipy import ndimage  # here, as in `components`

    check_label_map(labels, num_classes)
    if len(set(row)) != len(row) or not all(0 < index < num_classes for index in row):
        raise InputError(f"row must be different classes from 1 to {num_classes - 1}, got {list(row)}")
    place = np.zeros(num_classes, np.uint8)  # of a class in the row, from 1
    place[list(row)] = np.arange(1, len(row) + 1)
    result = labels.copy()
    boxes = ndimage.find_objects((place[labels] > 0).astype(np.uint8))
    if not boxes:
        return result
    names = place[labels[boxes[0]]]
    instances = _instances(names, len(row), spacing_mm)
    numbers = np.arange(1, instances.max(initial=0) + 1)
    if len(numbers) < 2:
        return result
    votes = np.zeros((len(numbers) + 1, len(row) + 1))
    np.add.at(votes, (instances.ravel(), names.ravel()), 1)
    centres = np.array(ndimage.center_of_mass(instances > 0, instances, numbers)) * np.asarray(spacing_mm)
    order, along = _line_up(centres)
    assigned = _assign(votes[1:, 1:][order], along)
    value_of = np.zeros(len(numbers) + 1, labels.dtype)
    value_of[1 + order] = np.array([0, *row])[assigned]
    part = result[boxes[0]]
    part[instances > 0] = value_of[instances[instances > 0]]
    return result


def _instances(names: np.ndarray, num_names: int, spacing_mm: Sequence[float]) -> np.ndarray:
    """Number of the component that each voxel of the row belongs to, from 1; 0 elsewhere."""
    from scipy import ndimage

    row = names > 0
    depth = ndimage.distance_transform_edt(np.pad(row, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    cores, count = ndimage.label(depth > min(_NECK_MM, 0.5 * float(depth.max())))
    sizes = np.bincount(cores.ravel(), minlength=count + 1)[1:]
    large = np.sort(sizes)[::-1][:num_names]
    kept = 1 + np.flatnonzero(sizes >= _SPECK * np.median(large))
    number = np.zeros(count + 1, np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    cores = number[cores]
    nearest = ndimage.distance_transform_edt(
        cores == 0, sampling=spacing_mm, return_distances=False, return_indices=True
    )
    instances = np.where(row, cores[tuple(nearest)], 0)
    return _split_grown_together(instances, names, num_names)


def _split_grown_together(instances: np.ndarray, names: np.ndarray, num_names: int) -> np.ndarray:
    """Split components of several bones by the names of their voxels.

    Where slices are coarse, so many bones may hang together that the median component is no bone. The usual volume is
    then the median one of a name, but never less than the smallest component.
    """
    sizes, named = (np.bincount(each.ravel(), minlength=2)[1:] for each in (instances, names))
    of_a_name = np.median(named[named >= _PART * named.max()])
    count, usual = len(sizes), min(np.median(sizes), max(of_a_name, sizes.min()))
    for number in 1 + np.flatnonzero(sizes > _DOUBLE * usual):
        own = instances == number
        least = _PART * min(sizes[number - 1], 2 * usual)
        others = (1 + np.flatnonzero(np.bincount(names[own], minlength=num_names + 1)[1:] >= least))[1:]
        for name in others:
            count += 1
            instances[own & (names >= name)] = count
    return instances


def _line_up(centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of components along their principal axis, and their places on it in mm."""
    offsets = centres - centres.mean(axis=0)
    axis = np.linalg.svd(offsets, full_matrices=False)[2][0]
    along = offsets @ axis
    order = np.argsort(along, kind="stable")
    # The way from one centre to the next: a bent row is longer than its projection.
    steps = np.linalg.norm(np.diff(centres[order], axis=0), axis=1)
    return order, np.concatenate([[0.0], np.cumsum(steps)])


def _assign(votes: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Names (0 for background) of components in order, from their votes (components, names)."""
    sizes = votes.sum(axis=1)
    weight = np.minimum(sizes / np.median(sizes), 1.0)
    likely = np.log(np.maximum(votes / sizes[:, None], _LEAST_VOTE)) * weight[:, None]
    dropped = np.log(_NO_NAME) * weight
    steps = np.diff(along)
    wanted = np.maximum(np.rint(steps / np.median(steps)), 1)
    forwards, backwards = (_best_path(likely[:, ::way], dropped, wanted) for way in (1, -1))
    if forwards[0] >= backwards[0]:
        return forwards[1]
    return np.where(backwards[1] > 0, votes.shape[1] + 1 - backwards[1], 0)


def _best_path(likely: np.ndarray, dropped: np.ndarray, wanted: np.ndarray) -> tuple[float, np.ndarray]:
    """Best score and names, rising along the components; `wanted` is by how many from each to the next."""
    count, names = likely.shape
    before = np.concatenate([[0.0], np.cumsum(dropped)])  # the cost of dropping the first components
    rises = np.arange(names)[:, None] - np.arange(names)[None, :]  # to a name (rows) from one
    score = likely + before[:-1, None]
    source = np.full((count, names), -1)
    for index in range(1, count):
        cost = np.where(rises > 0, _COST_OF_A_GAP * np.abs(rises - wanted[index - 1]), np.inf)
        reached = score[index - 1][None, :] - cost
        best = reached.max(axis=1) + likely[index]
        better = best > score[index]
        score[index] = np.where(better, best, score[index])
        source[index] = np.where(better, reached.argmax(axis=1), -1)
    total = score + (before[-1] - before[1:])[:, None]
    last, name = np.unravel_index(int(total.argmax()), total.shape)
    path = np.zeros(count, np.int64)
    index, at = int(last), int(name)
    while index >= 0 and at >= 0:
        path[index] = at + 1
        index, at = index - 1, int(source[index, at])
    return float(total.max()), path
