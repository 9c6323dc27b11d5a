"""Estimates with 95 % intervals for a group of runs: Wilson, Student's t, and the fits that the papers published.

``published_*`` reproduce the analysis behind "Neural Arithmetic Units" (arXiv 2001.05016) and "Learning Division with
Neural Arithmetic Logic Modules" (arXiv 2110.05177), whose figures show fitted means: see
docs/papers/arithmetic.md, "Evaluation". Everything else is the plain estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95

HALF_CHI2 = 1.920729410347062
"""Half the 95 % quantile of χ² with one degree of freedom: how far a profile may rise above its minimum."""

SAME = 1e-5
"""Standard deviation up to which steps count as equal, so that no gamma distribution is fitted."""

SAME_ERROR = 1e-10
"""The same for sparsity errors and the beta distribution."""

CLAMP = 1e-16
"""Distance that sparsity errors keep from 0 and 0.5 before the beta distribution is fitted."""

NO_HESSIAN = math.sqrt(2.0**-52 / 7e-7)
"""Below this mean (1.8e-5) the published analysis found no standard error, and fell back.

It differentiated the likelihood numerically, with steps of 1e-4 below this value: they leave the parameter's range.
"""

Float64 = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A number with its 95 % interval; NaN where there is none."""

    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan


def wilson(successes: int, runs: int) -> Estimate:
    """Return a success rate with Wilson's score interval, without continuity correction; NaN for no runs."""
    from scipy.stats import binomtest

    if runs == 0:
        return Estimate()
    interval = binomtest(successes, runs).proportion_ci(LEVEL, method="wilson")
    return Estimate(successes / runs, float(interval.low), float(interval.high))


def student(values: Float64, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """Return the mean with Student's t interval, whose ends are clamped to ``[low, high]``.

    One value has no interval, no value no mean.
    """
    from scipy.stats import t

    count = len(values)
    if count == 0:
        return Estimate()
    mean = float(np.mean(values))
    if count == 1:
        return Estimate(mean)
    half = float(t.ppf((1 + LEVEL) / 2, count - 1) * np.std(values, ddof=1) / math.sqrt(count))
    return Estimate(mean, min(high, max(low, mean - half)), min(high, max(low, mean + half)))


def published_steps(values: Float64) -> Estimate:
    """Return the published mean of solved-at steps: a gamma distribution with the sample's variance s² held fixed.

    With shape μ²/s² and rate μ/s², μ maximises the likelihood; the interval holds every μ whose log-likelihood is
    within half the χ² quantile. Falls back to the mean and Student's t where the steps are all but equal, there are
    fewer than two, or one is not positive.

    Parameters
    ----------
    values
        float64 (k,): steps at which the solved runs were first solved.
    """
    from scipy.special import gammaln

    if len(values) < 2 or np.std(values, ddof=1) <= SAME or np.min(values) <= 0:
        return student(values)
    mean, variance, log_mean = float(np.mean(values)), float(np.var(values, ddof=1)), float(np.mean(np.log(values)))

    def loss(log_mu: float) -> float:
        mu = math.exp(log_mu)
        shape, rate = mu * mu / variance, mu / variance
        log_density = shape * math.log(rate) - gammaln(shape) + (shape - 1) * log_mean - rate * mean
        return -len(values) * float(log_density)

    at = math.log(mean)
    return Estimate(*(math.exp(end) for end in _profile(loss, at - 20, at + 5)))


def published_sparsity(values: Float64) -> Estimate:
    """Return the published mean of sparsity errors: a beta distribution fitted to the errors, clamped to (0, 0.5).

    The density is Beta(2μv, (1 − 2μ)v) of the errors themselves, so that μ is *half* their fitted mean; the interval
    is the profile likelihood's over v ≥ 1e-5. Falls back to the mean, not halved, with Student's t, both ends clamped
    to [0, 0.5]: for fewer than two errors, where they are all but equal, and below :data:`NO_HESSIAN`.

    Parameters
    ----------
    values
        float64 (k,): largest sparsity errors of the solved runs, at their best rows.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import betaln

    x = np.clip(values, CLAMP, 0.5 - CLAMP)
    if len(x) < 2 or np.std(x, ddof=1) <= SAME_ERROR:
        return student(x, 0.0, 0.5)
    logs, complements = float(np.mean(np.log(x))), float(np.mean(np.log1p(-x)))

    def loss(log_mu: float) -> float:
        part = 2 * math.exp(log_mu)

        def at(log_v: float) -> float:
            a, b = part * math.exp(log_v), (1 - part) * math.exp(log_v)
            return -len(x) * float((a - 1) * logs + (b - 1) * complements - betaln(a, b))

        best = minimize_scalar(at, bounds=(math.log(1e-5), math.log(1e18)), method="bounded", options={"xatol": 1e-9})
        return float(best.fun)

    estimate = Estimate(*(math.exp(end) for end in _profile(loss, math.log(CLAMP), math.log(0.5) - 1e-12)))
    return estimate if estimate.value >= NO_HESSIAN else student(x, 0.0, 0.5)


def _profile(loss: Callable[[float], float], low: float, high: float) -> tuple[float, float, float]:
    """Return where a unimodal loss is least, and the ends of the interval in which it is at most HALF_CHI2 above."""
    from scipy.optimize import brentq, minimize_scalar

    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-10})

    def above(at: float) -> float:
        return loss(at) - best.fun - HALF_CHI2

    ends = (brentq(above, end, best.x, xtol=1e-12) if above(end) > 0 else end for end in (low, high))
    return (float(best.x), *map(float, ends))  # type: ignore[return-value]
