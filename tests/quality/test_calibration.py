"""The map from expected Dice to confidence: monotone, within 0..1, modest with few bones, right with many."""

import json
import math

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.quality.calibration import Calibration, DomainQuality, fit_calibration
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.metrics import log_loss

share = st.floats(0, 1)


@given(st.lists(st.tuples(share, share), min_size=1, max_size=12))
def test_monotone_and_within_bounds_whatever_was_seen(bones: list[tuple[float, float]]) -> None:
    calibration = fit_calibration(*zip(*bones, strict=True), exams=range(len(bones)))
    assert calibration is not None
    values = [calibration(value) for value in np.linspace(0, 1, 50)]
    assert values == sorted(values)
    assert values[0] == 0
    assert 0 < values[-1] <= 1
    assert calibration.error is None or 0 <= calibration.error <= 1


def test_what_fits_already_stays() -> None:
    expected = [0.95, 0.9, 0.8, 0.6]
    calibration = fit_calibration(expected, expected, exams=["a", "a", "b", "b"])
    assert calibration is not None
    assert (calibration.offset, calibration.slope) == pytest.approx((0, 1), abs=1e-4)
    assert (calibration.bones, calibration.exams) == (4, 2)
    assert calibration.error == pytest.approx(0, abs=1e-4)


def test_few_bones_correct_a_little_and_many_decide() -> None:
    distance = []
    for number in (1, 3, 10, 300):
        calibration = fit_calibration([0.95] * number, [0.8] * number, exams=range(number))
        assert calibration is not None
        distance.append(calibration(0.95) - 0.8)
    assert distance == sorted(distance, reverse=True)
    assert 0.04 < distance[0] < 0.11
    assert abs(distance[-1]) < 0.002


def test_recovers_a_known_map_from_many_bones() -> None:
    expected = np.linspace(0.3, 0.99, 300)
    calibration = fit_calibration(expected, expit(-0.7 + 0.6 * logit(expected)), exams=range(300))
    assert calibration is not None
    assert (calibration.offset, calibration.slope) == pytest.approx((-0.7, 0.6), abs=0.05)


def test_no_neighbour_is_better_by_scikit_learns_loss() -> None:
    expected, dice = np.array([0.99, 0.9, 0.97, 0.85, 0.6]), np.array([0.9, 0.85, 0.7, 0.6, 0.2])
    calibration = fit_calibration(expected, dice, exams=range(5))
    assert calibration is not None

    def loss(offset: float, slope: float) -> float:
        chance = expit(offset + slope * logit(expected))
        outcome, weight = np.repeat([1, 0], 5), 10 * np.concatenate([dice, 1 - dice])
        surprise = log_loss(outcome, np.tile(chance, 2), sample_weight=weight, normalize=False)
        return surprise + (offset / 0.7) ** 2 / 2 + ((slope - 1) / 0.25) ** 2 / 2

    least = loss(calibration.offset, calibration.slope)
    for step in (1e-3, -1e-3):
        assert loss(calibration.offset + step, calibration.slope) > least
        assert loss(calibration.offset, calibration.slope + step) > least


def test_a_bone_in_neither_map_does_not_count_and_a_missed_one_does() -> None:
    assert fit_calibration([0.0], [math.nan], exams=["a"]) is None
    assert fit_calibration([], [], exams=[]) is None
    one = fit_calibration([0.9, 0.0], [0.8, math.nan], exams=["a", "a"])
    assert one is not None
    assert (one.bones, one.exams, one.error) == (1, 1, None)
    assert one == fit_calibration([0.9], [0.8], exams=["a"])
    false_find = fit_calibration([0.9, 0.9], [0.8, 0.0], exams=["a", "a"])
    assert false_find is not None
    assert false_find(0.9) < one(0.9)


def test_a_bone_that_was_not_found_has_no_confidence() -> None:
    assert Calibration(offset=5.0, slope=1.0, bones=1, exams=1)(0.0) == 0.0


def test_survives_plain_types() -> None:
    calibration = fit_calibration([0.9, 0.8], [0.7, 0.9], exams=["a", "b"])
    assert calibration is not None
    quality = DomainQuality(calibration, {"talus": (3.0, 9.0)}, 2)
    assert DomainQuality.from_dict(json.loads(json.dumps(quality.to_dict()))) == quality


@pytest.mark.parametrize("change", [{"slope": 0.0}, {"slope": -1.0}, {"offset": math.nan}, {"offset": "x"}])
def test_a_map_that_falls_or_is_no_map_is_refused(change: dict) -> None:
    with pytest.raises(InputError, match="calibration must be a finite offset and a slope above 0, got "):
        Calibration(**({"offset": 0.0, "slope": 1.0, "bones": 1, "exams": 1} | change))


def test_numbers_that_are_no_dice_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected Dice and Dice must lie in 0\.\.1, got \[1\.2\] and \[0\.5\]"):
        fit_calibration([1.2], [0.5], exams=["a"])
    with pytest.raises(InputError, match="must be of one length, got 1, 2 and 1"):
        fit_calibration([0.2], [0.5, 0.5], exams=["a"])
