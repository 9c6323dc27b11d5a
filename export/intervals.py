"""Estimates with 95 % intervals for a group of runs: Wilson, Student's t, and the fits that the papers published.

``published_*`` reproduce the analysis behind "Neural Arithmetic Units" (arXiv 2001.05016) and "Learning Division with
Neural Arithmetic Logic Modules" (arXiv 2110.05177), whose figures show fitted means: see
docs/papers/arithmetic.md, "Evaluation". Everything else is the plain estimate.

All groups are estimated at once: each function takes a :class:`Sample` of them. The fits need no more of a group than
a few means, and are roots of derivatives, which are found for all groups side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95

HALF_CHI2 = 1.920729410347062
"""Half the 95 % quantile of χ² with one degree of freedom: how far a profile may rise above its minimum."""

SAME = 1e-5
"""Standard deviation up to which steps count as equal, so that no gamma distribution is fitted."""

SAME_ERROR = 1e-10
"""The same for sparsity errors and the beta distribution."""

CLOSE = 0.25
"""Standard deviation, in means, up to which steps count as close together; two maxima take less than 0.22."""

CLAMP = 1e-16
"""Distance that sparsity errors keep from 0 and 0.5 before the beta distribution is fitted."""

NO_HESSIAN = math.sqrt(2.0**-52 / 7e-7)
"""Below this mean (1.8e-5) the published analysis found no standard error, and fell back.

It differentiated the likelihood numerically, with steps of 1e-4 below this value: they leave the parameter's range.
"""

Float64 = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A number with its 95 % interval, for each group: float64 (groups,); NaN where there is none."""

    value: Any
    lower: Any
    upper: Any


@dataclass
class Sample:
    """Some groups' values.

    Parameters
    ----------
    count
        int64 (groups,): how many each has.
    values
        float64 (n,): group after group, ascending in each.
    """

    count: npt.NDArray[np.int64]
    values: Float64

    @staticmethod
    def of(group: npt.NDArray[np.int64], values: Float64, groups: int) -> Sample:
        """Return the sample of values whose groups, int64 (n,), are given."""
        return Sample(np.bincount(group, minlength=groups), values[np.lexsort((values, group))])

    @staticmethod
    def one(values: Float64) -> Sample:
        """Return the sample of a single group."""
        return Sample.of(np.zeros(len(values), np.int64), np.asarray(values, np.float64), 1)

    def mean(self, of: Float64 | None = None) -> Float64:
        """Return the means of the values, or of others in the same order; NaN for none."""
        group = np.arange(len(self.count)).repeat(self.count)
        sums = np.bincount(group, weights=self.values if of is None else of, minlength=len(self.count))
        with np.errstate(invalid="ignore"):
            return sums / self.count

    def deviation(self) -> Float64:
        """Return the standard deviations, with n − 1 below; 0 for fewer than two values."""
        squares = (self.values - self.mean().repeat(self.count)) ** 2
        many = self.count > 1
        return np.where(many, np.sqrt(self.mean(squares) * self.count / np.where(many, self.count - 1, 1)), 0.0)

    def at(self, place: npt.NDArray[np.int64]) -> Float64:
        """Return the value at a place of each group's, counted from the least; NaN for groups without any."""
        starts = np.cumsum(self.count) - self.count
        there = self.count > 0
        padded = np.append(self.values, np.nan)
        return np.where(there, padded[np.where(there, starts + place, 0)], np.nan)

    def median(self) -> Float64:
        """Return the medians."""
        return (self.at((self.count - 1) // 2) + self.at(self.count // 2)) / 2

    def largest(self) -> Float64:
        """Return the largest values."""
        return self.at(self.count - 1)

    def clipped(self, low: float, high: float) -> Sample:
        """Return the sample with its values moved into an interval."""
        return Sample(self.count, np.clip(self.values, low, high))


def wilson(successes: Any, runs: Any) -> Estimate:
    """Return success rates with Wilson's score interval, without continuity correction; NaN for no runs."""
    from scipy.special import ndtri

    k, n = np.asarray(successes, np.float64), np.asarray(runs, np.float64)
    z = float(ndtri((1 + LEVEL) / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = k / n
        centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
        lower = np.where(k == 0, 0.0 * rate, centre - half)
        upper = np.where(k == n, 1.0 * rate, centre + half)
    return Estimate(rate, lower, upper)


def student(sample: Sample, low: float = -math.inf, high: float = math.inf) -> Estimate:
    """Return the means with Student's t interval, whose ends are clamped to ``[low, high]``.

    One value has no interval, no value no mean.
    """
    from scipy.special import stdtrit

    mean, many = sample.mean(), sample.count > 1
    with np.errstate(invalid="ignore"):
        quantile = stdtrit(np.where(many, sample.count - 1, 1), (1 + LEVEL) / 2)
        half = np.where(many, quantile * sample.deviation() / np.sqrt(np.maximum(sample.count, 1)), np.nan)
    return Estimate(mean, np.clip(mean - half, low, high), np.clip(mean + half, low, high))


def published_steps(sample: Sample) -> Estimate:
    """Return the published means of solved-at steps: a gamma distribution with the sample's variance s² held fixed.

    With shape μ²/s² and rate μ/s², μ maximises the likelihood; the interval holds every μ whose log-likelihood is
    within half the χ² quantile. Falls back to the mean and Student's t where the steps are all but equal, there are
    fewer than two, or one is not positive.

    Parameters
    ----------
    sample
        Steps at which the solved runs of each group were first solved.
    """
    from scipy.special import gammaln, psi

    deviation = sample.deviation()
    fitted = (sample.count > 1) & (deviation > SAME) & (sample.at(np.zeros_like(sample.count)) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = sample.mean(np.log(sample.values))

    def loss(log_mu: Float64, n: Float64, mean: Float64, variance: Float64, log_mean: Float64) -> Float64:
        mu = np.exp(log_mu)
        shape, rate = mu * mu / variance, mu / variance
        return -n * (shape * np.log(rate) - gammaln(shape) + (shape - 1) * log_mean - rate * mean)

    def slope(log_mu: Float64, n: Float64, mean: Float64, variance: Float64, log_mean: Float64) -> Float64:
        mu = np.exp(log_mu)
        shape, rate = mu * mu / variance, mu / variance
        return -n * mu * (2 * rate * (np.log(rate) - psi(shape) + log_mean) + (mu - mean) / variance)

    facts = tuple(column[fitted] for column in (sample.count.astype(np.float64), sample.mean(), deviation**2, logs))
    begin = np.log(facts[1])
    # Steps that lie close together have a second, lower maximum near 0: nearly all of that distribution is there, and
    # its tail is long. The published fit begins at the mean and does not see it, nor does who begins at half of it.
    close = np.sqrt(facts[2]) < CLOSE * facts[1]
    low = np.where(close, begin + math.log(0.5), begin - 20)
    return _put(fitted, _profile(loss, slope, low, begin + 5, facts), student(sample))


def published_sparsity(sample: Sample) -> Estimate:
    """Return the published means of sparsity errors: a beta distribution fitted to the errors, clamped to (0, 0.5).

    The density is Beta(2μv, (1 − 2μ)v) of the errors themselves, so that μ is *half* their fitted mean; the interval
    is the profile likelihood's over v ≥ 1e-5. Falls back to the mean, not halved, with Student's t, both ends clamped
    to [0, 0.5]: for fewer than two errors, where they are all but equal, and below :data:`NO_HESSIAN`.

    Parameters
    ----------
    sample
        Largest sparsity errors of the solved runs of each group, at their best rows.
    """
    from scipy.special import betaln, psi

    sample = sample.clipped(CLAMP, 0.5 - CLAMP)
    fitted = (sample.count > 1) & (sample.deviation() > SAME_ERROR)
    facts = tuple(
        column[fitted]
        for column in (
            sample.count.astype(np.float64),
            sample.mean(np.log(sample.values)),
            sample.mean(np.log1p(-sample.values)),
        )
    )

    def spread_slope(log_v: Float64, part: Float64, logs: Float64, complements: Float64) -> Float64:
        v = np.exp(log_v)
        a, b = part * v, (1 - part) * v
        return -psi(a + b) + part * (psi(a) - logs) + (1 - part) * (psi(b) - complements)

    def spread(log_mu: Float64, logs: Float64, complements: Float64) -> tuple[Float64, Float64]:
        part = 2 * np.exp(log_mu)
        low, high = np.full_like(part, math.log(1e-5)), np.full_like(part, math.log(1e18))
        v = np.exp(_root(spread_slope, low, high, (part, logs, complements)))
        return part * v, (1 - part) * v

    def loss(log_mu: Float64, n: Float64, logs: Float64, complements: Float64) -> Float64:
        a, b = spread(log_mu, logs, complements)
        return -n * ((a - 1) * logs + (b - 1) * complements - betaln(a, b))

    def slope(log_mu: Float64, n: Float64, logs: Float64, complements: Float64) -> Float64:
        a, b = spread(log_mu, logs, complements)  # at the best v, the slope along v is zero
        return -n * a * (logs - complements - psi(a) + psi(b))

    low, high = (np.full(len(facts[0]), end) for end in (math.log(CLAMP), math.log(0.5) - 1e-12))
    estimate = _profile(loss, slope, low, high, facts)
    large = estimate.value >= NO_HESSIAN
    fitted[fitted] = large
    return _put(fitted, Estimate(*(column[large] for column in estimate)), student(sample, 0.0, 0.5))


Slope = Callable[..., Float64]
"""Of (position, facts…), arrays of (groups,)."""


def _profile(loss: Slope, slope: Slope, low: Float64, high: Float64, facts: tuple[Float64, ...]) -> Estimate:
    """Return where unimodal losses of a logarithm are least, and the ends between which each is HALF_CHI2 above."""
    if not len(low):
        return Estimate(low, low, low)
    best = _root(slope, low, high, facts)
    least = loss(best, *facts)

    def above(at: Float64, least: Float64, *facts: Float64) -> Float64:
        return loss(at, *facts) - least - HALF_CHI2

    ends = [_root(above, end, best, (least, *facts), otherwise=end) for end in (low, high)]
    return Estimate(*(np.exp(end) for end in (best, *ends)))


def _root(
    function: Slope, low: Float64, high: Float64, facts: tuple[Float64, ...], otherwise: Float64 | None = None
) -> Float64:
    """Return a root between ``low`` and ``high`` for each group.

    Where both ends have one sign, it is ``otherwise``, or if that is not given the end with the smaller value.
    """
    from scipy.optimize.elementwise import find_root

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = find_root(function, (low, high), args=facts, tolerances={"xatol": 1e-12, "xrtol": 1e-13}, maxiter=200)
        if found.success.all():
            return np.asarray(found.x)
        if otherwise is None:
            ends = [np.abs(function(end, *facts)) for end in (low, high)]
            otherwise = np.where(ends[0] < ends[1], low, high)
    return np.where(found.success, found.x, otherwise)


def _put(wanted: npt.NDArray[np.bool_], estimate: Estimate, otherwise: Estimate) -> Estimate:
    """Return ``otherwise`` with the estimates of the wanted groups in their places."""
    columns = []
    for mine, rest in zip(estimate, otherwise, strict=True):
        column = np.array(rest, np.float64)
        column[wanted] = mine
        columns.append(column)
    return Estimate(*columns)
