"""Tests, intervals and effect sizes on plain arrays: what SciPy lacks, and its own with the edges settled."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

__all__ = ["bootstrap_interval", "correct_holm", "ks_p_value", "rank_biserial", "signed_rank_p_value"]


def ks_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sample Kolmogorov-Smirnov test of whether two samples come from one distribution.

    It takes all values as independent and asks for any difference of the distributions, not which one is better.

    Args:
        first: values of shape (N,).
        second: values of shape (M,).

    Returns:
        Two-sided p; NaN for an empty sample.

    Source:
        Boutillon et al., MICCAI 2021, Table 2, with SciPy's default arguments: exact up to 10,000 values a sample.

    Example:
        >>> round(ks_p_value(np.array([1.0, 2.0]), np.array([3.0, 4.0])), 4)
        0.3333
    """
    if not len(first) or not len(second):
        return math.nan
    with warnings.catch_warnings():
        # The exact computation may overflow for thousands of slices; the asymptotic p, then as good, is what we want.
        warnings.filterwarnings("ignore", message=".*Switching to", category=RuntimeWarning)
        return float(stats.ks_2samp(first, second).pvalue)


def signed_rank_p_value(differences: np.ndarray) -> float:
    """Wilcoxon signed-rank test of whether paired differences lie symmetrically about 0.

    Zero differences are left out. The p is exact, by SciPy's choice, for up to 50 differences without ties and for up
    to 13 with ties; n differences cannot give less than 2^(1 - n).

    Args:
        differences: one a pair, of shape (N,).

    Returns:
        Two-sided p; 1 if all differences are 0, NaN if there is none.

    Source:
        Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1945.

    Example:
        >>> signed_rank_p_value(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
        0.0625
    """
    if not len(differences):
        return math.nan
    nonzero = differences[differences != 0]
    return float(stats.wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0


def rank_biserial(differences: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation: the effect size that goes with the signed-rank test.

    The sum of the ranks of the positive differences minus that of the negative ones, over the sum of both. Ranks are
    those of the absolute differences, ties share theirs, zero differences are left out.

    Args:
        differences: one a pair, of shape (N,).

    Returns:
        From -1 (all differences negative) to 1 (all positive); NaN without a difference other than 0.

    Source:
        Kerby, "The simple difference formula", Comprehensive Psychology 2014.

    Example:
        >>> rank_biserial(np.array([1.0, -2.0, 3.0, 0.0]))
        0.3333333333333333
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return math.nan
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())


def bootstrap_interval(strata: Sequence[np.ndarray], *, num_resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of all values, each stratum resampled by itself.

    Args:
        strata: arrays of independent values, one a stratum, in their unit.
        num_resamples: number of resamples; they are the same for the same sizes, so that the interval is repeatable.

    Returns:
        Lower and upper end in the unit of the values; NaN when a stratum has fewer than 2 values, or there is none.

    Source:
        Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. With few values it is somewhat too
        narrow.

    Example:
        >>> bootstrap_interval([np.array([2.0, 2.0]), np.array([5.0, 5.0])])
        (3.5, 3.5)
    """
    if not strata or min(map(len, strata)) < 2:
        return math.nan, math.nan

    def mean(*samples: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate(samples, axis=axis).mean(axis=axis)

    interval = stats.bootstrap(
        tuple(strata),
        mean,
        n_resamples=num_resamples,
        vectorized=True,
        axis=-1,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of one family of tests so that the chance of any false alarm stays below the level.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may fall below its predecessor.

    Args:
        p_values: any number; NaN (no test was possible) stays NaN and does not count.

    Returns:
        Corrected p-values in the given order, at most 1.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.

    Example:
        >>> correct_holm([0.5, 0.01, 0.02])
        [0.5, 0.03, 0.04]
    """
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given)  # NaN last
    factors = np.count_nonzero(~np.isnan(given)) - np.arange(len(given))
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1)
    return corrected.tolist()
