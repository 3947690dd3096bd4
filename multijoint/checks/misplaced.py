"""Labels that do not lie where the image shows their bones, and images that look different around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from custom_components.domains import Domain

from multijoint.checks.checked_case import CheckedCase, Rule, Said
from multijoint.checks.placement import PLACEMENTS, agreement, layer_means

_FEW = 5  # cases that it takes to learn how the image usually looks around a bone
_LEAST_USUAL = 0.2  # agreement, below which bones look too different for any finding
_GAIN = (0.06, 0.6)  # in agreement: a part, and a part over the number of cases; good data stay below
_UNLIKE = 0.3  # of the usual agreement; good data stay above
_INVERTED = -0.5  # of the usual agreement
_FAR = 3  # voxels
_WAYS = (("right", "left"), ("front", "back"), ("top", "bottom"))
_ENDS = ("left and right", "front and back", "top and bottom")


def _placement(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Labels that agree with their image better elsewhere, or not at all, by what the other cases show."""
    having = [case for case in cases if case.layers.size and np.isfinite(case.layers).all()]
    if len(having) < _FEW:
        return
    agreed = agreements(having)
    usual = float(np.median(agreed[:, 0]))
    if not usual >= _LEAST_USUAL:
        return
    far = np.array([kind == "mirrored" or abs(step) >= _FAR for kind, _, step in PLACEMENTS])
    for case, own in zip(having, agreed, strict=True):
        best = int(np.where(far & np.isfinite(own), own, -1).argmax())
        compared = f"(agreement {own[0]:.2f}, usually {usual:.2f}"
        if own[0] < _INVERTED * usual:
            yield "warning", case.name, f"image around the bones is the reverse of the others {compared}): inverted?"
        elif own[best] - own[0] > _GAIN[0] + _GAIN[1] / len(having):
            text = f"labels fit the image better {_place(best)} {compared}, there {own[best]:.2f})"
            yield "warning", case.name, f"{text}: moved, mirrored or of another image?"
        elif own[0] < _UNLIKE * usual:
            yield "warning", case.name, f"image around the bones is unlike the others {compared}): other labels?"


def _place(number: int) -> str:
    kind, axis, step = PLACEMENTS[number]
    if kind == "mirrored":
        return f"with {_ENDS[axis]} swapped"
    return f"{abs(step)} voxels nearer the {_WAYS[axis][step < 0]}"


def agreements(cases: Sequence[CheckedCase]) -> np.ndarray:
    """How well each case agrees with the others, for every placement of its labels.

    The image around a bone is compared with what the other cases show in the same layer: the median of their means. A
    bone counts as much as it usually agrees.

    Shape:
        (cases, placements); NaN where too little lies in the image.
    """
    sums = np.stack([case.layers for case in cases])
    means = layer_means(sums[:, 0])
    by_bone = np.stack([agreement(own, _median(np.delete(means, place, 0))) for place, own in enumerate(sums)])
    weights = np.maximum(np.nan_to_num(_median(by_bone[:, 0])), 0)
    weights = np.where(np.isfinite(by_bone), weights, 0)
    total = weights.sum(axis=2)
    return np.where(total > 0, (weights * np.nan_to_num(by_bone)).sum(axis=2) / np.where(total > 0, total, 1), np.nan)


def _median(values: np.ndarray) -> np.ndarray:
    """Over cases, of the finite ones; NaN where at most one is."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.isfinite(values).sum(axis=0)
    low, high = (np.take_along_axis(ordered, np.maximum(at, 0)[None], 0)[0] for at in ((count - 1) // 2, count // 2))
    return np.where(count > 1, (low + np.where(count > 0, high, 0)) / 2, np.nan)


PLACEMENT_RULES: dict[str, Rule] = {"placement": _placement}
"""Rules by name."""
