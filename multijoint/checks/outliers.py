"""Cases far off the others: spacing, field of view, bone volumes, intensities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from custom_components.domains import Domain

from multijoint.checks.records import Exam

__all__ = ["RARE", "far_off", "find_outliers"]

RARE = 0.2
"""A thing that a larger share of the cases has is no outlier, but how the data set is."""

_FEW = 4  # cases that it takes to tell an outlier
_DEVIATIONS = 4.0  # median absolute deviations
_MIN_LEVELS = 16

Said = Iterator[tuple[str, str, str]]


def far_off(values: np.ndarray, least: float) -> np.ndarray:
    """Which rows are outliers: off the median by over `least` and over four median absolute deviations.

    None if there are fewer than four rows, or if more than a fifth (and more than one) would be outliers: then the
    data set is as varied as that.

    Args:
        values: one row a case, a number or several; any of them may be off.
        least: in the unit of the values.

    Example:
        >>> far_off(np.array([1.0, 1.1, 0.9, 1.0, 4.0]), 1.0).tolist()
        [False, False, False, False, True]
    """
    off = np.abs(values - np.median(values, axis=0)).reshape(len(values), -1)
    if len(values) < _FEW:
        return np.zeros(len(values), bool)
    flagged = (off > np.maximum(least, _DEVIATIONS * np.median(off, axis=0))).any(axis=1)
    return flagged if flagged.sum() <= max(1, RARE * len(values)) else np.zeros(len(values), bool)


def _sizes(exams: Sequence[Exam], domain: Domain) -> Said:
    spacing = np.array([exam.spacing_mm for exam in exams]).reshape(-1, 3)
    extent = spacing * np.array([exam.sizes for exam in exams]).reshape(-1, 3)
    for what, values, factor in (("spacing", spacing, 2.0), ("field of view", extent, 2.5)):
        for exam, own, usual in _factors(exams, values, factor):
            shown, common = (" x ".join(f"{value:.3g}" for value in each) for each in (own, usual))
            yield "warning", exam.case.name, f"{what} is {shown} mm, usually {common} mm"


def _volumes(exams: Sequence[Exam], domain: Domain) -> Said:
    for name in domain.labels.values():
        having = [exam for exam in exams if name in exam.bones]
        values = np.array([[exam.bones[name].volume_ml] for exam in having]).reshape(-1, 1)
        usually_cut = 2 * sum(exam.bones[name].at_edge for exam in having) > len(having)
        for exam, own, usual in _factors(having, values, 4.0):
            text = f"volume of {name} is {own[0]:.3g} ml, usually {usual[0]:.3g} ml"
            cut = exam.bones[name].at_edge and bool(own[0] < usual[0]) and not usually_cut
            yield ("note" if cut else "warning"), exam.case.name, f"{text}{', cut by the field of view' * cut}"


def _factors(exams: Sequence[Exam], values: np.ndarray, factor: float) -> Iterator[tuple[Exam, np.ndarray, np.ndarray]]:
    """Exams off the median by a factor, with their values and the median."""
    flagged = far_off(np.log(values), math.log(factor)) if len(values) else ()
    for exam, own, is_off in zip(exams, values, flagged, strict=True):
        if is_off:
            yield exam, own, np.median(values, axis=0)


def _intensities(exams: Sequence[Exam], domain: Domain) -> Said:
    coarse = [exam for exam in exams if exam.num_levels < _MIN_LEVELS]
    for exam in coarse:
        yield "warning", exam.case.name, f"image has only {exam.num_levels} grey levels; is it a label map or a mask?"
    saturated = [exam for exam in exams if exam not in coarse and exam.percentiles[3] == exam.percentiles[4]]
    if len(saturated) > max(1, RARE * len(exams)):
        text = f"{len(saturated)} of {len(exams)} images have their highest intensity in over 1 % of their voxels"
        yield "note", "", f"{text}: they are clipped"
    else:
        for exam in saturated:
            yield "warning", exam.case.name, "image is saturated: over 1 % of it has the highest intensity"
    told = {id(exam) for exam in (*coarse, *saturated)}
    for measure, least, say in _MEASURES:
        known = [exam for exam in exams if math.isfinite(measure(exam))]
        values = np.array([measure(exam) for exam in known])
        for exam, own, is_off in zip(known, values, far_off(values, least) if len(values) else (), strict=True):
            if is_off and id(exam) not in told:
                told.add(id(exam))
                yield "warning", exam.case.name, say(own, float(np.median(values)))


def _range(exam: Exam) -> float:
    _, first, _, last, high = exam.percentiles
    return (last - first) or (high - first)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else float("nan")


_MEASURES: tuple[tuple[Callable[[Exam], float], float, Callable[[float, float], str]], ...] = (
    (
        lambda exam: exam.roughness,
        0.4,
        lambda own, usual: f"neighbouring voxels differ by {own:.2g} standard deviations, usually {usual:.2g}: noise?",
    ),
    (
        lambda exam: _log(exam.contrast),
        math.log(2.5),
        lambda own, usual: (
            f"bones are {math.exp(own):.2g} times as bright as the image, usually {math.exp(usual):.2g} times: "
            "other contrast, or labels in another place"
        ),
    ),
    (
        lambda exam: (exam.percentiles[2] - exam.percentiles[1]) / _range(exam),
        0.35,
        lambda own, usual: (
            f"half of the image is below {100 * own:.0f} % of its intensity range, usually {100 * usual:.0f} %: "
            "inverted, or another contrast"
        ),
    ),
    (
        lambda exam: exam.lowest_share,
        0.35,
        lambda own, usual: f"{100 * own:.0f} % of the image have its lowest intensity, usually {100 * usual:.0f} %",
    ),
    (
        lambda exam: _log(_range(exam)),
        math.log(15),
        lambda own, usual: f"intensities span {math.exp(own):.3g}, usually {math.exp(usual):.3g}: other units?",
    ),
    (
        lambda exam: exam.percentiles[1] / _range(exam),
        1.0,
        lambda own, usual: f"intensities begin {own:.2g} times their range from 0, usually {usual:.2g} times: shifted?",
    ),
    (
        lambda exam: _log((exam.percentiles[4] - exam.percentiles[1]) / _range(exam)),
        math.log(10),
        lambda own, usual: (
            f"highest intensity is {math.exp(own):.3g} times the range of most voxels, usually {math.exp(usual):.3g} "
            "times: spikes?"
        ),
    ),
)
"""What to compare between images, how far off is an outlier, and what to say; one line a case is enough."""

find_outliers: dict[str, Callable[[Sequence[Exam], Domain], Said]] = {
    "size-outlier": _sizes,
    "volume-outlier": _volumes,
    "intensity": _intensities,
}
"""Rules by name."""
