"""Cases that are swapped or turned: against the other cases, or labels against their own image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from custom_components.domains import Domain

from multijoint.checks.checked_case import CheckedCase, Rule, Said
from multijoint.checks.placement import ENDS, agreement, swap_sides, usual_elsewhere

_FEW = 6  # cases that it takes to tell which way round is usual ...
_FEW_SIDES = 12  # ... and that all but one by chance do not show the same side, where a data set mixes them
_ASIDE_MM = 30.0  # from the middle of the scanner, where a scan shows one side of the body
_SWAPPED = "{} more like the {} other cases with {} swapped: stored that way by mistake, or another side shown"
_CLEAR = 1.35  # times better that mirrored labels fit their image; up to 1.20 has been seen in good data
_LEAST_SIDED = 0.1  # in agreement, below which the surroundings of bones count as symmetric
_LEAST_GAIN = 0.2  # in correlation, below which anatomy counts as symmetric
_STRONG, _AGREED = (0.5, 0.2)  # preference for being mirrored, of the one case and of others at most
_USUAL_COSINE, _OTHER_COSINE = 0.5, 0.17  # 60 and 80 degrees
_LEAST_MM = 5.0  # between two bones whose direction is to count


def _swapped(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """The one case that is more like the others when it is mirrored, where all others are less so.

    Data sets that mix sides have no usual side; symmetric anatomy shows nothing along its axis of symmetry.
    """
    having = [case for case in cases if case.layout.size]
    if len(having) < _FEW:
        return
    images, layouts = (np.stack(each) for each in zip(*((case.thumbnail, case.layout) for case in having), strict=True))
    left = _left_sides(having)
    if left.any():
        images[left], layouts[left] = images[left][:, ::-1], layouts[left][:, :, ::-1]
    told = dict(_both_swapped(cases))
    for case, ends in told.items():
        yield "warning", case, _SWAPPED.format("image and labels are", len(having) - 1, ends)
    for axis, ends in enumerate(ENDS):
        by_image, by_label = _preference(images, axis - 3), _preference(layouts, axis - 3)
        for what, against, by in (
            ("image and labels are", (by_image < 0) & (by_label < 0), np.minimum(by_image, by_label)),
            ("labels are", (by_label < 0) & (by_image >= 0), by_label),
            ("image is", (by_image < 0) & (by_label >= 0), by_image),
        ):
            place = int(against.argmax())
            sides_may_mix = axis == 0 and "and" in what and len(having) < _FEW_SIDES and not left.any()
            # A finding about the image or the labels alone must show at the borders, too, if there are enough of them.
            fits = having[place].fits
            doubted = "and" not in what and bool(fits) and fits[axis + 1] <= fits[0]
            if against.sum() != 1 or sides_may_mix or doubted or having[place].name in told:
                continue
            if by[place] < -_STRONG and (np.delete(by, place) > -_AGREED).all():
                yield "warning", having[place].name, _SWAPPED.format(what, len(having) - 1, ends)


def _both_swapped(cases: Sequence[CheckedCase]) -> Iterator[tuple[str, str]]:
    """The one case whose surroundings of the bones are like those of the others when mirrored; and the axis."""
    having = [case for case in cases if case.layers.size]
    if len(having) < _FEW:
        return
    left = _left_sides(having)
    sums = np.stack([case.layers[0] for case in having])
    sums[left] = swap_sides(sums[left], 0)
    usual = usual_elsewhere(sums)
    for axis, ends in enumerate(ENDS):
        gains = agreement(sums, usual) - agreement(swap_sides(sums, axis), usual)
        shown = np.isfinite(gains)
        gain = np.where(shown, gains, 0).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
        typical, place = float(np.median(gain)), int(gain.argmin())
        rest = np.delete(gain, place)
        sides_may_mix = axis == 0 and len(having) < _FEW_SIDES and not left.any()
        if typical < _LEAST_SIDED or gain[place] > -_STRONG * typical or sides_may_mix:
            continue
        if (rest > -0.1 * typical).all() and (rest > 0.2 * typical).mean() > 0.8:
            yield having[place].name, ends


def _left_sides(cases: Sequence[CheckedCase]) -> np.ndarray:
    """Which cases show a left side, by their place in the scanner, if others show a right one; else none.

    These are mirrored before they are compared with the others.
    """
    aside = np.array([case.centre_mm[0] for case in cases])
    known = bool((np.abs(aside) > _ASIDE_MM).all() and aside.min() < 0 < aside.max())
    return (aside < 0) & known


def _preference(small: np.ndarray, axis: int) -> np.ndarray:
    """How much more a case resembles the others as it is than mirrored, in units of the median; 0 without a preference.

    A case that was mirrored by mistake has about -1. One that is unlike the others either way has at least 0.
    """
    rest = small.sum(axis=0) - small
    along = tuple(range(1, small.ndim))
    rest /= np.maximum(np.sqrt(np.square(rest).sum(axis=along, keepdims=True)), 1e-12)
    as_is, mirrored = ((each * rest).sum(axis=along) for each in (small, np.flip(small, axis)))
    usual = float(np.median(as_is - mirrored))
    if usual <= _LEAST_GAIN:
        return np.zeros(len(small))
    return np.where((as_is < mirrored) & (mirrored <= 0), 0.0, as_is - mirrored) / usual


def _fits(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Labels that follow the edges of their own image clearly better when mirrored; no other case is needed."""
    for case in cases:
        if case.fits and case.fits[0] > 0:
            gains = [mirrored / case.fits[0] for mirrored in case.fits[1:]]
            best = int(np.argmax(gains))
            if gains[best] > _CLEAR:
                text = f"labels fit the edges of the image {gains[best]:.2g} times better with {ENDS[best]} swapped"
                yield "warning", case.name, f"{text}: are they mirrored?"


def _arrangement(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """The one case in which a bone lies in another direction from a second bone than in all others."""
    told: dict[str, list[str]] = {}
    for one, two in combinations(domain.labels.values(), 2):
        having = [case for case in cases if one in case.bones and two in case.bones]
        if len(having) < _FEW:
            continue
        left = _left_sides(having)
        ways = np.array([np.subtract(case.bones[two].centre_mm, case.bones[one].centre_mm) for case in having])
        ways[left, 0] *= -1
        lengths = np.linalg.norm(ways, axis=1)
        usual = np.median(ways, axis=0)
        length = float(np.linalg.norm(usual))
        beside = abs(usual[0]) > 0.5 * length
        if length < _LEAST_MM or (beside and len(having) < _FEW_SIDES and not left.any()):
            continue
        cosines = ways @ usual / np.maximum(lengths, 1e-9) / length
        off = (cosines < _OTHER_COSINE) & (lengths > 0.3 * length)
        if off.sum() == 1 and (cosines[~off] > _USUAL_COSINE).all():
            told.setdefault(having[int(off.argmax())].name, []).append(f"{two} from {one}")
    for case, pairs in told.items():
        more = f" (and {len(pairs) - 1} other pairs of bones)" if len(pairs) > 1 else ""
        text = f"{pairs[0]} lies in another direction than in all other cases{more}"
        yield "warning", case, f"{text}: names exchanged, sides swapped, or turned?"


SIDE_RULES: dict[str, Rule] = {"swapped": _swapped, "label-fit": _fits, "arrangement": _arrangement}
"""Rules by name."""
