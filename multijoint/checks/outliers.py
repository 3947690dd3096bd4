"""Cases far off the others: spacing, field of view, bone volumes, intensities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from custom_components.domains import Domain

from multijoint.checks.checked_case import CheckedCase, Rule, Said

RARE = 0.2
"""A property that a larger share of the cases has is no outlier."""

_FEW = 4  # cases that it takes to tell an outlier
_DEVIATIONS = 4.0  # median absolute deviations
_MIN_LEVELS = 16


def far_off(values: np.ndarray, least: float, *, sign: int = 0) -> np.ndarray:
    """Which rows are outliers: off the median by over `least` and over four median absolute deviations.

    The values are one row a case, a number or several, any of which may be off; `least` is in their unit. With a sign
    only values above the median (1), or below it (-1), count. None is an outlier if there are fewer than four rows, or
    if more than a fifth (and more than one) would be: then the data set is as varied as that.

    Example:
        >>> far_off(np.array([1.0, 1.1, 0.9, 1.0, 4.0]), 1.0).tolist()
        [False, False, False, False, True]
    """
    if len(values) < _FEW:
        return np.zeros(len(values), bool)
    off = (values - np.median(values, axis=0)).reshape(len(values), -1)
    limits = np.maximum(least, _DEVIATIONS * np.median(np.abs(off), axis=0))
    flagged = ((sign * off if sign else np.abs(off)) > limits).any(axis=1)
    return flagged if flagged.sum() <= max(1, RARE * len(values)) else np.zeros(len(values), bool)


def _sizes(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    spacing = np.array([case.spacing_mm for case in cases]).reshape(-1, 3)
    extent = spacing * np.array([case.sizes for case in cases]).reshape(-1, 3)
    for what, values, factor in (("spacing", spacing, 2.0), ("field of view", extent, 2.5)):
        for case, own, usual in _factors(cases, values, factor):
            shown, common = (" x ".join(f"{value:.3g}" for value in each) for each in (own, usual))
            yield "warning", case.name, f"{what} is {shown} mm, usually {common} mm"


def _volumes(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    for name in domain.labels.values():
        having = [case for case in cases if name in case.bones]
        values = np.array([[case.bones[name].volume_ml] for case in having]).reshape(-1, 1)
        usually_cut = 2 * sum(case.bones[name].at_edge for case in having) > len(having)
        for case, own, usual in _factors(having, values, 4.0):
            text = f"volume of {name} is {own[0]:.3g} ml, usually {usual[0]:.3g} ml"
            cut = case.bones[name].at_edge and bool(own[0] < usual[0]) and not usually_cut
            yield ("note" if cut else "warning"), case.name, f"{text}{', cut by the field of view' * cut}"


def _factors(
    cases: Sequence[CheckedCase], values: np.ndarray, factor: float
) -> Iterator[tuple[CheckedCase, np.ndarray, np.ndarray]]:
    """Exams off the median by a factor, with their values and the median."""
    for place in np.flatnonzero(far_off(np.log(values), math.log(factor))).tolist():
        yield cases[place], values[place], np.median(values, axis=0)


def _intensities(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    coarse = [case for case in cases if case.num_levels < _MIN_LEVELS]
    for case in coarse:
        yield "warning", case.name, f"image has only {case.num_levels} grey levels; is it a label map or a mask?"
    saturated = [case for case in cases if case not in coarse and case.percentiles[3] == case.percentiles[4]]
    if len(saturated) > max(1, RARE * len(cases)):
        text = f"{len(saturated)} of {len(cases)} images have their highest intensity in over 1 % of their voxels"
        yield "note", "", f"{text}: they are clipped"
    else:
        for case in saturated:
            yield "warning", case.name, "image is saturated: over 1 % of it has the highest intensity"
    told = {id(case) for case in (*coarse, *saturated)}
    for case in _multiplied(cases):
        if id(case) not in told:
            told.add(id(case))
            yield (
                "warning",
                case.name,
                f"intensities are multiples of {case.quantum:.3g}, and span {_range(case):.3g}: multiplied?",
            )
    for least, shown, text, measure in _MEASURES:
        known = [case for case in cases if math.isfinite(measure(case))]
        values = np.array([measure(case) for case in known])
        for place in np.flatnonzero(far_off(values, least)).tolist():
            if id(known[place]) not in told:
                told.add(id(known[place]))
                yield "warning", known[place].name, text.format(shown(values[place]), shown(float(np.median(values))))


def _multiplied(cases: Sequence[CheckedCase]) -> Iterator[CheckedCase]:
    """Cases whose intensities have other steps than usual and another range, both about ten times or more."""
    known = [case for case in cases if case.quantum > 0 and _range(case) > 0]
    steps, ranges = (np.log([measure(case) for case in known]) for measure in (lambda case: case.quantum, _range))
    off = far_off(steps, math.log(9)) & far_off(ranges, math.log(5))
    yield from (known[place] for place in np.flatnonzero(off).tolist())


def _range(case: CheckedCase) -> float:
    _, first, _, last, high = case.percentiles
    return (last - first) or (high - first)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else float("nan")


def _percent(share: float) -> float:
    return 100 * share


_NOISE = "neighbouring voxels differ by {:.2g} standard deviations, usually {:.2g}: noise?"
_CONTRAST = (
    "bones are {:.2g} times as bright as the image, usually {:.2g} times: other contrast, or labels in another place"
)
_INVERTED = (
    "half of the image is below {:.0f} % of its intensity range, usually {:.0f} %: inverted, or another contrast"
)
_LOWEST = "{:.0f} % of the image have its lowest intensity, usually {:.0f} %"
_UNITS = "intensities span {:.3g}, usually {:.3g}: other units?"
_SHIFTED = "intensities begin {:.2g} times their range from 0, usually {:.2g} times: shifted?"
_SPIKES = "highest intensity is {:.3g} times the range of most voxels, usually {:.3g} times: spikes?"
_MEASURES: tuple[tuple[float, Callable[[float], float], str, Callable[[CheckedCase], float]], ...] = (
    (0.4, float, _NOISE, lambda case: case.roughness),
    (math.log(2.5), math.exp, _CONTRAST, lambda case: _log(case.contrast)),
    (0.35, _percent, _INVERTED, lambda case: (case.percentiles[2] - case.percentiles[1]) / _range(case)),
    (0.35, _percent, _LOWEST, lambda case: case.lowest_share),
    (math.log(15), math.exp, _UNITS, lambda case: _log(_range(case))),
    (1.0, float, _SHIFTED, lambda case: case.percentiles[1] / _range(case)),
    (math.log(10), math.exp, _SPIKES, lambda case: _log((case.percentiles[4] - case.percentiles[1]) / _range(case))),
)
"""How far off is an outlier, how numbers are shown, what to say, and the measure; one line a case is enough."""

OUTLIER_RULES: dict[str, Rule] = {"size-outlier": _sizes, "volume-outlier": _volumes, "intensity": _intensities}
"""Rules by name."""
