"""Statistics of plain arrays: SciPy's tests with results for empty samples, effect sizes, intervals, Holm."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats


def ks_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p of a Kolmogorov-Smirnov test of samples (N,) and (M,) from one distribution; NaN if one is empty.

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
    """Two-sided p of Wilcoxon's signed-rank test that paired differences (N,) lie symmetrically about 0.

    Zero differences are left out; p is 1 if all are 0, NaN if there is none. SciPy computes an exact p for up to 50
    differences without ties and for up to 13 with ties; n differences cannot give less than 2^(1 - n).

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
    """Effect size of the signed-rank test of differences (N,): -1 (all negative) to 1; NaN if none differs from 0.

    It is the sum of the ranks of the positive differences minus that of the negative ones, over the sum of both. Ranks
    are those of the absolute differences; ties share their mean rank, and zero differences are left out.

    Source:
        Kerby, "The simple difference formula", Comprehensive Psychology 2014 (matched-pairs rank-biserial correlation).

    Example:
        >>> rank_biserial(np.array([1.0, -2.0, 3.0, 0.0]))
        0.3333333333333333
    """
    nonzero = differences[differences != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum()) if len(nonzero) else math.nan


def bootstrap_interval(strata: Sequence[np.ndarray], *, num_resamples: int = 10_000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of all values, each stratum of independent values by itself.

    The resamples are the same ones in each call. Both ends are NaN when a stratum has fewer than 2 values, or there is
    none.

    Source:
        Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. With few values it is somewhat too
        narrow.

    Example:
        >>> bootstrap_interval([np.array([2.0, 2.0]), np.array([5.0, 5.0])])
        (3.5, 3.5)
    """
    if not strata or min(map(len, strata)) < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        strata,
        lambda *samples, axis: np.concatenate(samples, axis=axis).mean(axis=axis),
        n_resamples=num_resamples, vectorized=True, axis=-1, method="percentile", random_state=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of a family of tests for the chance of any false positive; at most 1, in the given order.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may fall below its predecessor. NaN, for no
    test, stays NaN and does not count.

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
