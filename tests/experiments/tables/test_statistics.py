"""Tests on arrays: exact p-values counted by hand, agreement with SciPy and by enumeration, and empty input."""

import itertools
import math
import types
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from multijoint.experiments.tables.statistics import (
    bootstrap_interval,
    correct_holm,
    ks_p_value,
    rank_biserial,
    signed_rank_p_value,
)

differences = st.lists(st.integers(-5, 5), min_size=1, max_size=8).map(lambda values: np.array(values, dtype=float))


@pytest.mark.parametrize("size", [1, 3, 4])
def test_ks_of_separate_samples_by_counting(size):
    # Of all ways to deal 2n ranks to two samples, two separate them completely.
    low = np.arange(size, dtype=float)
    assert ks_p_value(low, low + size) == pytest.approx(2 / math.comb(2 * size, size))
    assert ks_p_value(low, low) == 1


def test_ks_is_silent_only_about_switching_to_the_asymptotic_p(monkeypatch):
    def ks_2samp(first, second):
        warnings.warn(f"ks_2samp: {first[0]}", RuntimeWarning, stacklevel=1)
        return types.SimpleNamespace(pvalue=0.5)

    monkeypatch.setattr(stats, "ks_2samp", ks_2samp)
    assert ks_p_value(["Exact calculation unsuccessful. Switching to method=asymp."], [0]) == 0.5
    with pytest.warns(RuntimeWarning, match="something else"):
        ks_p_value(["something else"], [0])


def test_ks_of_many_slices_does_not_warn():
    random = np.random.default_rng(0)
    first, second = random.beta(8, 1, 10_001), random.beta(8, 1.2, 9_000)
    assert ks_p_value(first, second) == pytest.approx(stats.ks_2samp(first, second, method="asymp").pvalue)
    assert ks_p_value(first, second) < 1e-6


def test_signed_rank_p_by_hand():
    # Five differences of one sign: 2 of the 2^5 signings are as extreme.
    assert signed_rank_p_value(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(0.0625)
    assert signed_rank_p_value(-np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(0.0625)
    # Zeros are left out, even where SciPy would then fall back to the normal approximation.
    assert signed_rank_p_value(np.array([0.0] * 20 + [1.0, 2.0, 3.0])) == pytest.approx(0.25)
    assert signed_rank_p_value(np.array([3.0])) == 1


@given(differences)
@settings(max_examples=40)
def test_signed_rank_p_and_effect_agree_with_enumeration(values):
    nonzero = values[values != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    observed = abs((ranks * np.sign(nonzero)).sum())
    sums = [abs((ranks * signs).sum()) for signs in itertools.product([-1, 1], repeat=len(nonzero))]
    assert signed_rank_p_value(values) == pytest.approx(np.mean([each >= observed - 1e-9 for each in sums]))
    effect = rank_biserial(values)
    assert -rank_biserial(-values) == pytest.approx(effect, nan_ok=True)
    assert abs(effect) == pytest.approx(observed / ranks.sum() if len(nonzero) else math.nan, nan_ok=True)


def test_rank_biserial_by_hand():
    # Ranks 1, 2.5, 2.5 and 4; the zero has none.
    assert rank_biserial(np.array([0.1, -0.2, 0.2, 0.0, 0.7])) == pytest.approx((1 - 2.5 + 2.5 + 4) / 10)
    assert rank_biserial(np.array([1.0, 2.0])) == 1
    assert rank_biserial(np.array([-1.0, -2.0])) == -1


def test_bootstrap_of_two_values_by_hand():
    # The mean of two draws is 0, 5 or 10 with chances 1/4, 1/2, 1/4.
    assert bootstrap_interval([np.array([0.0, 10.0])]) == (0, 10)
    # Within strata: the second never moves the mean of all four by more than its own spread, which is none.
    assert bootstrap_interval([np.array([0.0, 10.0]), np.array([4.0, 4.0])]) == (2, 7)


def test_bootstrap_is_repeatable_and_near_the_normal_interval():
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = bootstrap_interval([values])
    assert (low, high) == bootstrap_interval([values])
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_strata_narrow_the_interval_of_unlike_groups():
    low, high = np.arange(10.0), np.arange(100.0, 110.0)
    stratified, plain = bootstrap_interval([low, high]), bootstrap_interval([np.concatenate([low, high])])
    assert stratified[1] - stratified[0] < (plain[1] - plain[0]) / 5


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; the last may not fall below 0.06.
    assert correct_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert correct_holm([0.9, 0.9]) == [1, 1]
    assert correct_holm([math.nan, 0.02, 0.01]) == pytest.approx([math.nan, 0.02, 0.02], nan_ok=True)


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(max_examples=40)
def test_holm_keeps_the_order_and_never_helps(p_values):
    corrected = correct_holm(p_values)
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert [holm for _, holm in pairs] == sorted(corrected)
    for p, holm in pairs:
        assert p <= holm
    assert min(corrected, default=0) == min(1, min(p_values, default=0) * len(p_values))


def test_nothing_to_test_gives_nan_and_no_difference_gives_one():
    empty = np.array([])
    undefined = [ks_p_value(empty, np.ones(2)), ks_p_value(np.ones(2), empty), signed_rank_p_value(empty)]
    undefined += [rank_biserial(empty), rank_biserial(np.zeros(3))]
    undefined += [
        *bootstrap_interval([]),
        *bootstrap_interval([np.ones(1)]),
        *bootstrap_interval([np.ones(3), np.ones(1)]),
    ]
    assert all(map(math.isnan, undefined))
    assert signed_rank_p_value(np.zeros(4)) == 1
    assert correct_holm([]) == []
