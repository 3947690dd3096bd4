"""Labels that do not lie where the image shows their bones, and images that look different around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from custom_components.domains import Domain

from multijoint.checks.checked_case import CheckedCase, Rule, Said
from multijoint.checks.placement import (
    ENDS,
    PLACEMENTS,
    agreement,
    core_spreads,
    median_of_known,
    merge_sides,
    usual_elsewhere,
)

_FEW = 5  # cases that it takes to learn how the image usually looks around a bone
_LEAST_USUAL = 0.2  # agreement, below which bones look too different for any finding
_GAIN = (0.06, 0.6)  # in agreement: a part, and a part over the number of cases; good data stay below
_UNLIKE = 0.3  # of the usual agreement; good data stay above
_INVERTED = -0.5  # of the usual agreement
_FAR = 3  # voxels
_FEW_LOOSE = 6  # cases that it takes for labels that merely fit worse ...
_LOOSE = (0.55, 2.1)  # ... by a sum of three signs: a part, and a part over the number of cases
_GOOD_USUAL = 0.55  # agreement, below which the limit of the sum rises with its square
_LEAST_NEAR = 0.06  # usual agreements that bones gain up to 7 voxels away
_LEAST_SPREAD, _SPREAD_DEVIATIONS = 0.12, 1.5  # of the logarithm of the spread inside the bones
_SUM_DEVIATIONS = 4.0
_WAYS = (("right", "left"), ("front", "back"), ("top", "bottom"))


class Agreement(NamedTuple):
    """How labels agree with their images, by what the other cases show.

    Args:
        placed: agreement of each case for every placement of its labels, NaN where too little lies in the image.
        nearby: how much each bone would gain by its own best move of up to 7 voxels, mean over the bones of a case.
        spreads: logarithm of the spread of intensities inside the bones, against the median of the cases.
    """

    placed: np.ndarray
    nearby: np.ndarray
    spreads: np.ndarray


def _placement(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Labels that agree with their image better elsewhere, or not at all, by what the other cases show."""
    having = [case for case in cases if case.layers.size]
    if len(having) < _FEW:
        return
    agreed = agreements(having)
    usual = float(np.median(np.nan_to_num(agreed.placed[:, 0])))
    if not usual >= _LEAST_USUAL:
        return
    far = np.array([kind == "mirrored" or abs(step) >= _FAR for kind, _, step in PLACEMENTS])
    loose = _is_loose(agreed, usual)
    for case, own, is_loose in zip(having, agreed.placed, loose, strict=True):
        best = int(np.where(far & np.isfinite(own), own, -1).argmax())
        compared = f"(agreement {own[0]:.2f}, usually {usual:.2f}"
        if own[0] < _INVERTED * usual:
            yield "warning", case.name, f"image around the bones is the reverse of the others {compared}): inverted?"
        elif own[best] - own[0] > _GAIN[0] + _GAIN[1] / len(having):
            text = f"labels fit the image better {_place(best)} {compared}, there {own[best]:.2f})"
            yield "warning", case.name, f"{text}: moved, mirrored or of another image?"
        elif own[0] < _UNLIKE * usual:
            yield "warning", case.name, f"image around the bones is unlike the others {compared}): other labels?"
        elif is_loose:
            text = f"labels fit the image worse than in other cases {compared})"
            yield "warning", case.name, f"{text}: moved a little, or of another image?"


def _place(number: int) -> str:
    kind, axis, step = PLACEMENTS[number]
    if kind == "mirrored":
        return f"with {ENDS[axis]} swapped"
    return f"{abs(step)} voxels nearer the {_WAYS[axis][step < 0]}"


def _is_loose(agreed: Agreement, usual: float) -> np.ndarray:
    """Cases that agree less, whose bones would each gain a little elsewhere and hold varied intensities."""
    number = len(agreed.placed)
    if number < _FEW_LOOSE:
        return np.zeros(number, bool)
    nearby = agreed.nearby / usual
    spreads = agreed.spreads - np.median(agreed.spreads)
    sums = 1 - agreed.placed[:, 0] / usual + 2 * nearby + agreed.spreads
    sums = np.nan_to_num(sums)
    sums -= np.median(sums)
    limit = (_LOOSE[0] + _LOOSE[1] / number) * max(1.0, _GOOD_USUAL / usual) ** 2
    return (
        (nearby > _LEAST_NEAR)
        & (spreads > max(_LEAST_SPREAD, _SPREAD_DEVIATIONS * _deviation(spreads)))
        & (sums > max(limit, _SUM_DEVIATIONS * _deviation(sums)))
    )


def _deviation(values: np.ndarray) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def agreements(cases: Sequence[CheckedCase]) -> Agreement:
    """How well each case agrees with the others.

    The image around a bone is compared with what the other cases show in the same layer: the median of their means. A
    bone counts as much as it usually agrees.

    Shape:
        (cases, placements), (cases,) and (cases,).
    """
    sums = np.stack([merge_sides(case.layers) for case in cases])
    usual = usual_elsewhere(sums[:, 0])
    by_bone = np.stack([agreement(own, expected) for own, expected in zip(sums, usual, strict=True)])
    weights = np.maximum(np.nan_to_num(median_of_known(by_bone[:, 0])), 0)
    near = np.array([kind != "mirrored" and abs(step) <= 7 for kind, _, step in PLACEMENTS])
    gains = np.nan_to_num(by_bone, nan=-1.0)[:, near].max(axis=1) - by_bone[:, 0]
    spreads = core_spreads(sums[:, 0])
    return Agreement(
        _mean(by_bone, weights),
        np.nan_to_num(_mean(gains, weights)),
        np.nan_to_num(_mean(spreads - median_of_known(spreads), np.ones_like(weights))),
    )


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the last axis of the values that are known."""
    own = np.where(np.isfinite(values), weights, 0)
    total = own.sum(axis=-1)
    return np.where(total > 0, (own * np.nan_to_num(values)).sum(axis=-1) / np.where(total > 0, total, 1), np.nan)


PLACEMENT_RULES: dict[str, Rule] = {"placement": _placement}
"""Rules by name."""
