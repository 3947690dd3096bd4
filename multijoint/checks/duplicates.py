"""Duplicate scans, found by content: equal files, equal voxels, nearly equal images, moved or mirrored ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import permutations, product

import numpy as np

from multijoint.checks.checked_case import CheckedCase
from multijoint.checks.findings import Finding
from multijoint.checks.fingerprints import find_sharing

_ALIKE = 0.99  # correlation; of different people's images up to 0.90 has been seen
_ROWS = 256  # compared at once
_COARSE = 0.9  # correlation of still smaller copies from which on it is worth to look closer


def find_duplicates(cases: Sequence[CheckedCase]) -> Iterator[Finding]:
    """Cases whose image or labels an earlier case has as well, in any data set.

    Under two subjects that is an error: a split would train on one and test on the other. Subjects of two data sets
    differ, even with the same name.
    """
    usable = [case for case in cases if case.shape]
    told: dict[int, int] = {}
    for first, second in _equal(usable, lambda case: case.digests.image_file):
        told[second] = first
        yield _image(usable[first], usable[second], "the same file")
    for first, second in _equal(usable, lambda case: case.digests.voxels):
        is_told = usable[first].digests.image_file == usable[second].digests.image_file
        if told.setdefault(second, first) == first and not is_told:
            yield _image(usable[first], usable[second], "the same voxels")
    for first, second, turned in _alike(usable):
        if second not in told and told.get(first) != second:
            told[second] = first
            how = "nearly the same, mirrored or turned" if turned else "nearly the same"
            yield _image(usable[first], usable[second], f"{how} (correlation over {_ALIKE})", nearly=True)
    for first, second in find_sharing([case.peaks for case in usable]):
        if second not in told and told.get(first) != second:
            told[second] = first
            yield _image(
                usable[first], usable[second], "partly the same voxels, as in a cropped or turned copy", nearly=True
            )
    for first, second in _equal(usable, lambda case: case.digests.bones):
        one, two = usable[first], usable[second]
        if second in told:
            continue
        if float((one.bone_thumbnail * two.bone_thumbnail).sum()) > _ALIKE:
            yield _image(one, two, "the same around the same labels, cropped or padded", nearly=True)
        elif one.digests.labels == two.digests.labels and (one.domain, one.subject) != (two.domain, two.subject):
            text = f"labels must differ from those of {_name(one, two)}, got the same for another image; correct them"
            yield Finding("error", "duplicate", two.domain, two.name, text)


def _name(case: CheckedCase, beside: CheckedCase) -> str:
    return case.name if case.domain == beside.domain else f"{case.domain}/{case.name}"


def _image(first: CheckedCase, second: CheckedCase, how: str, *, nearly: bool = False) -> Finding:
    level = "error"
    remedy = "leave one out, or a split trains on one and tests on the other"
    if (first.domain, first.subject) == (second.domain, second.subject):
        level, remedy = "note" if nearly else "warning", "both are of one subject, so no split parts them"
    elif nearly:
        remedy = "leave one out or give both one subject, or a split trains on one and tests on the other"
    text = f"image must differ from that of {_name(first, second)}, got {how}; {remedy}"
    return Finding(level, "duplicate", second.domain, second.name, text)


def _equal(cases: Sequence[CheckedCase], key: Callable[[CheckedCase], Hashable]) -> Iterator[tuple[int, int]]:
    """Each case with the first one that has the same key."""
    first: dict[Hashable, int] = {}
    for number, case in enumerate(cases):
        if key(case) and first.setdefault(key(case), number) != number:
            yield first[key(case)], number


def _alike(cases: Sequence[CheckedCase]) -> Iterator[tuple[int, int, bool]]:
    """Pairs of images that correlate, each with an earlier one; and whether only after turning one."""
    if not cases:
        return
    # Unit vectors: their product is the correlation. Small copies (12 voxels a side) are compared in all 48 axis
    # orders, a block of rows at a time; only pairs that correlate there are compared in the larger copies.
    fine = np.stack([case.thumbnail for case in cases])
    coarse = _halved(fine)
    sizes = np.array([case.sizes for case in cases])
    turns = list(product(permutations(range(3)), product((1, -1), repeat=3)))
    for turn in turns:  # the first leaves all as it is
        turned, turned_sizes = _turn(coarse, turn), sizes[:, turn[0]]
        flat = turned.reshape(len(cases), -1)
        for start in range(0, len(cases), _ROWS):
            rows = slice(start, start + _ROWS)
            alike = coarse[rows].reshape(-1, flat.shape[1]) @ flat[: start + _ROWS].T > _COARSE
            for second, first in np.argwhere(alike):
                second = int(second) + start
                if first < second and (sizes[second] == turned_sizes[first]).all():
                    other = _turn(fine[first : first + 1], turn)[0]
                    if float((fine[second] * other).sum()) > _ALIKE:
                        yield int(first), second, turn is not turns[0]


def _turn(volumes: np.ndarray, turn: tuple[tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    order, directions = turn
    moved = volumes.transpose(0, *(axis + 1 for axis in order))
    return moved[(slice(None), *(slice(None, None, step) for step in directions))]


def _halved(volumes: np.ndarray) -> np.ndarray:
    """Means over 2 x 2 x 2 voxels, of unit length again."""
    number, side = volumes.shape[0], volumes.shape[1] // 2
    small = volumes.reshape(number, side, 2, side, 2, side, 2).mean(axis=(2, 4, 6))
    lengths = np.sqrt(np.square(small).sum(axis=(1, 2, 3), keepdims=True))
    return np.asarray(small / np.maximum(lengths, np.float32(1e-12)), np.float32)
