"""Statistics of plain arrays: SciPy's tests with results for empty samples, effect sizes, intervals, Holm."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["bootstrap_interval", "correct_holm", "ks_p_value", "rank_biserial", "signed_rank_p_value"]


def ks_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sample Kolmogorov-Smirnov test of whether two samples, (N,) and (M,), come from one distribution.

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
        # The exact computation may overflow for thousands of slices; the asymptotic p is then as good.
        warnings.filterwarnings("ignore", message=".*Switching to", category=RuntimeWarning)
        return float(stats.ks_2samp(first, second).pvalue)


def signed_rank_p_value(differences: np.ndarray) -> float:
    """Wilcoxon signed-rank test of whether paired differences (N,) lie symmetrically about 0.

    Zero differences are left out. SciPy computes an exact p for up to 50 differences without ties and for up to 13 with
    ties; n differences cannot give less than 2^(1 - n).

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
    """Matched-pairs rank-biserial correlation of differences (N,), the effect size of the signed-rank test.

    It is the sum of the ranks of the positive differences minus that of the negative ones, over the sum of both. Ranks
    are those of the absolute differences; ties share their mean rank, and zero differences are left out.

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
        strata: arrays of independent values.
        num_resamples: number of resamples, the same ones in each call.

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

    how: dict[str, Any] = {"vectorized": True, "axis": -1, "method": "percentile"}
    found = stats.bootstrap(strata, mean, n_resamples=num_resamples, random_state=np.random.default_rng(0), **how)
    interval = found.confidence_interval
    return float(interval.low), float(interval.high)


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of a family of tests for the chance of any false positive.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may fall below its predecessor. NaN, for no
    test, stays NaN and does not count.

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
