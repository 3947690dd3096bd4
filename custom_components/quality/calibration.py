"""Calibration of expected Dice: a monotone map to measured Dice, fitted to very few exams."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from custom_components.errors import InputError

_INSIDE = (0.01, 0.9999)  # beyond, the logit of an expected Dice is infinite or outweighs all others
_TRIALS = 10.0  # weight of a bone
_OFFSET_DEVIATION, _SLOPE_DEVIATION = 0.7, 0.25  # of the normal priors
_LEAST_SLOPE = 0.05  # keeps the map rising
_DIGITS = 6


@dataclass(frozen=True)
class Calibration:
    """The map `logit(confidence) = offset + slope * logit(expected)`, rising for every slope above 0.

    Args:
        offset: negative for an overconfident network.
        slope: above 0.
        bones: number of bones that it was fitted to.
        exams: number of validation exams with these bones.
        error: mean absolute difference between confidence and Dice, cross-validated by leaving out one exam at a time;
            None with fewer than two exams.

    Example:
        >>> Calibration(offset=0.0, slope=1.0, bones=0, exams=0)(0.9)
        0.9
    """

    offset: float
    slope: float
    bones: int
    exams: int
    error: float | None = None

    def __post_init__(self) -> None:
        numbers = [self.offset, self.slope] + ([] if self.error is None else [self.error])
        if not all(isinstance(each, int | float) and math.isfinite(each) for each in numbers) or self.slope <= 0:
            raise InputError(
                f"calibration must be a finite offset and a slope above 0, got {self.offset!r} and {self.slope!r}; "
                "calibrate the model again"
            )

    def __call__(self, expected: float) -> float:
        """Confidence, 0..1, for an expected Dice; 0 for 0, which means that the bone was not found."""
        if expected <= 0:
            return 0.0
        return round(float(_sigmoid(self.offset + self.slope * _logit(np.asarray(expected)))), _DIGITS)


@dataclass(frozen=True)
class DomainQuality:
    """Quality of a model in one domain.

    Args:
        calibration: map from expected Dice to confidence; None without validation exams.
        volumes_ml: smallest and largest volume of each bone in ml, among the training and validation references.
        references: number of these references.
        farthest: largest distance of their scans from the domain, see `inference.domain_fit`; None if it is unknown, as
            in older models.
    """

    calibration: Calibration | None
    volumes_ml: Mapping[str, tuple[float, float]]
    references: int
    farthest: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain types only; `from_dict` reverses it."""
        return {
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "volumes_ml": {bone: list(ends) for bone, ends in self.volumes_ml.items()},
            "references": self.references,
            "farthest": self.farthest,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DomainQuality:
        """Rebuild an instance from `to_dict`."""
        calibration = None if data["calibration"] is None else Calibration(**data["calibration"])
        volumes = {str(bone): (float(low), float(high)) for bone, (low, high) in data["volumes_ml"].items()}
        farthest = data.get("farthest")
        return cls(calibration, volumes, int(data["references"]), None if farthest is None else float(farthest))


def fit_calibration(
    expected: Sequence[float], dice: Sequence[float], *, exams: Sequence[Hashable]
) -> Calibration | None:
    """Fit the map to bones of validation exams.

    This is logistic regression with Dice as the success rate of 10 trials per bone, which gives a Dice of 0.9 a
    standard deviation of 0.09. Normal priors (offset 0 +- 0.7, slope 1 +- 0.25) draw the map to the identity: one
    bone moves it about half-way, twenty determine it. With 2 to 5 exams, more parameters would overfit, so all bones of
    a domain share one map.

    Args:
        expected: expected Dice of each bone, 0..1.
        dice: measured Dice of each bone, 0..1; NaN for a bone absent from both maps, which is left out.
        exams: exam of each bone; to estimate `error`, bones of an exam are left out together.

    Returns:
        The map; None if no bone counts.

    Raises:
        InputError: values outside 0..1, or sequences of different lengths.

    Source:
        Platt, Probabilistic Outputs for Support Vector Machines (1999), with priors instead of its target smoothing.

    Example:
        >>> fit_calibration([0.95, 0.9, 0.97], [0.85, 0.8, 0.9], exams=["a", "a", "b"])(0.95) < 0.9
        True
    """
    x, y = np.asarray(expected, np.float64), np.asarray(dice, np.float64)
    if not len(x) == len(y) == len(exams):
        raise InputError(f"expected, dice and exams must be of one length, got {len(x)}, {len(y)} and {len(exams)}")
    if ((x < 0) | (x > 1) | np.isnan(x) | (y < 0) | (y > 1)).any():
        raise InputError(f"expected Dice and Dice must lie in 0..1, got {x.tolist()} and {y.tolist()}")
    counts = ~np.isnan(y)
    numbers = {exam: number for number, exam in enumerate(dict.fromkeys(exams))}
    owners = np.array([numbers[exam] for exam in exams], np.intp)[counts]
    x, y = _logit(x[counts]), y[counts]
    if not len(x):
        return None
    errors: list[float] = []
    for owner in np.unique(owners):
        own = owners == owner
        if not own.all():
            offset, slope = _fit(x[~own], y[~own])
            errors += np.abs(_sigmoid(offset + slope * x[own]) - y[own]).tolist()
    offset, slope = _fit(x, y)
    error = round(float(np.mean(errors)), _DIGITS) if errors else None
    return Calibration(round(offset, _DIGITS), round(slope, _DIGITS), len(x), len(np.unique(owners)), error)


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    from scipy.optimize import minimize

    # The negative log posterior and its gradient; it is convex, so the start does not matter.
    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        offset, slope = parameters
        score = offset + slope * x
        surprise = np.logaddexp(0, score) - y * score
        wrong = _sigmoid(score) - y
        value = _TRIALS * surprise.sum() + (offset / _OFFSET_DEVIATION) ** 2 / 2
        value += ((slope - 1) / _SLOPE_DEVIATION) ** 2 / 2
        slant = [
            _TRIALS * wrong.sum() + offset / _OFFSET_DEVIATION**2,
            _TRIALS * (wrong * x).sum() + (slope - 1) / _SLOPE_DEVIATION**2,
        ]
        return float(value), np.array(slant)

    bounds = [(None, None), (_LEAST_SLOPE, None)]
    offset, slope = minimize(loss, np.array([0.0, 1.0]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(offset), float(slope)


def _logit(values: np.ndarray) -> np.ndarray:
    inside = np.clip(values, *_INSIDE)
    return np.log(inside / (1 - inside))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))
