import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from export import intervals
from export.intervals import Estimate, Sample


def student(values: np.ndarray, *ends: float) -> Estimate:
    return Estimate(*(float(part[0]) for part in intervals.student(Sample.one(values), *ends)))


def published_steps(values: np.ndarray) -> Estimate:
    return Estimate(*(float(part[0]) for part in intervals.published_steps(Sample.one(values))))


def published_sparsity(values: np.ndarray) -> Estimate:
    return Estimate(*(float(part[0]) for part in intervals.published_sparsity(Sample.one(values))))


@pytest.mark.parametrize(
    ("solved", "runs", "lower", "upper"),
    [(25, 25, 0.8668, 1.0), (0, 25, 0.0, 0.1332), (98, 100, 0.929988, 0.994498), (31, 100, 0.227797, 0.406261)],
)
def test_wilson(solved: int, runs: int, lower: float, upper: float) -> None:
    """The last two stand in the results of "Neural Arithmetic Units"."""
    estimate = intervals.wilson(solved, runs)
    assert estimate.value == solved / runs
    assert (estimate.lower, estimate.upper) == pytest.approx((lower, upper), abs=5e-5 if runs == 25 else 5e-7)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_closed_form(counts: tuple[int, int]) -> None:
    k, n = counts
    p, z = k / n, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    estimate = intervals.wilson(k, n)
    assert (estimate.lower, estimate.upper) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-9)


def test_no_runs_have_no_rate() -> None:
    assert all(map(math.isnan, intervals.wilson(0, 0)))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_student_is_scipys(values: list[float]) -> None:
    estimate = student(np.array(values))
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    assert estimate.value == pytest.approx(float(np.mean(values)))
    if spread > 1e-6:
        interval = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=spread)
        assert (estimate.lower, estimate.upper) == pytest.approx(interval)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    assert student(np.array([3.0]))[:1] == (3.0,)
    assert all(map(math.isnan, student(np.array([3.0]))[1:]))
    assert all(map(math.isnan, student(np.array([]))))
    for fit in (published_steps, published_sparsity):
        assert all(map(math.isnan, fit(np.array([]))))
        assert fit(np.array([0.25])).value == 0.25


def gamma_loss(mu: float, values: np.ndarray, variance: float) -> float:
    return -float(np.sum(stats.gamma.logpdf(values, mu * mu / variance, scale=variance / mu)))


@pytest.mark.parametrize("seed", range(5))
def test_published_steps_are_the_conditional_likelihoods(seed: int) -> None:
    values = np.round(np.random.default_rng(seed).gamma(1 + seed, 2000, 25), -3) + 1000
    variance = float(np.var(values, ddof=1))
    mean = float(np.mean(values))
    best = optimize.minimize_scalar(
        gamma_loss, bounds=(mean / 5, mean * 5), args=(values, variance), method="bounded", options={"xatol": 1e-4}
    )
    estimate = published_steps(values)
    assert estimate.value == pytest.approx(best.x, rel=1e-5)
    level = best.fun + stats.chi2.ppf(0.95, 1) / 2
    for end in estimate[1:]:
        assert gamma_loss(end, values, variance) == pytest.approx(level, abs=1e-5)
    assert estimate.lower < estimate.value < estimate.upper


@pytest.mark.parametrize("steps", [[51e3, 52e3, 51e3, 51e3, 51e3], [51e3, 51e3, 52e3, 54e3, 55e3], [20e3, 28e3]])
def test_published_steps_that_lie_close_together_are_fitted_at_their_mean(steps: list[float]) -> None:
    """The likelihood has another maximum near 0, far below that one."""
    estimate = published_steps(np.array(steps))
    assert estimate.value == pytest.approx(np.mean(steps), rel=0.05)
    assert np.mean(steps) / 2 < estimate.lower < estimate.value < estimate.upper < np.mean(steps) * 2


@pytest.mark.parametrize("values", [[1000.0, 1000.0, 1000.0], [0.0, 1000.0, 2000.0]])
def test_published_steps_fall_back_to_the_mean(values: list[float]) -> None:
    assert published_steps(np.array(values)) == student(np.array(values))


def beta_loss(parameters: tuple[float, float], x: np.ndarray) -> float:
    mu, v = parameters
    return -float(np.sum(np.clip(stats.beta.logpdf(x, 2 * mu * v, (1 - 2 * mu) * v), -1e6, 1e6)))


@pytest.mark.parametrize(("seed", "scale"), [(0, 1.0), (1, 0.3), (2, 0.02), (3, 1e-3)])
def test_published_sparsity_is_the_profile_likelihoods(seed: int, scale: float) -> None:
    x = np.random.default_rng(seed).beta(2, 3, 25) * 0.5 * scale
    start = [np.mean(x) / 2, np.mean(x) * (0.5 - np.mean(x)) / np.var(x, ddof=1)]
    best = optimize.minimize(
        beta_loss, start, args=(x,), method="Nelder-Mead", options={"xatol": 1e-12, "fatol": 1e-10, "maxiter": 4000}
    )
    estimate = published_sparsity(x)
    assert estimate.value == pytest.approx(best.x[0], rel=1e-4)
    assert estimate.value == pytest.approx(np.mean(x) / 2, rel=0.2), "half of the mean"
    for end in estimate[1:]:
        profile = optimize.minimize_scalar(
            lambda log_v, mu=end: beta_loss((mu, math.exp(log_v)), x), bounds=(-5, 30), method="bounded"
        )
        assert profile.fun - best.fun == pytest.approx(1.920729, abs=1e-4)


def test_published_sparsity_falls_back_unhalved() -> None:
    """Errors around 1e-7 are what solved runs of clamped modules have."""
    tiny = np.random.default_rng(0).uniform(1e-7, 3e-7, 25)
    assert published_sparsity(tiny) == student(tiny, 0.0, 0.5)
    wide = np.array([1e-9, 2e-9, 6e-5])
    assert published_sparsity(wide).lower == 0.0
    above = np.array([0.53, 0.6, 0.55])
    assert published_sparsity(above) == pytest.approx((0.5, 0.5, 0.5))


GROUPS = st.lists(
    st.lists(st.sampled_from([0.0, 1e-9, 1e-7, 1e-3, 0.1, 0.2, 0.49, 0.5, 1000.0, 3000.0]), max_size=12), max_size=6
)


@settings(deadline=None, max_examples=5)
@given(GROUPS)
def test_groups_side_by_side_are_as_each_alone(groups: list[list[float]]) -> None:
    group = np.repeat(np.arange(len(groups)), [len(values) for values in groups])
    values = np.array([value for values in groups for value in values], float)
    order = np.random.default_rng(len(values)).permutation(len(values))
    sample = Sample.of(group[order], values[order], len(groups))
    for together, alone in (
        (intervals.student(sample), student), (intervals.published_steps(sample), published_steps),
        (intervals.published_sparsity(sample), published_sparsity),
    ):  # fmt: skip
        for i, mine in enumerate(groups):
            expected = alone(np.array(mine, float))
            np.testing.assert_allclose([part[i] for part in together], expected, rtol=1e-6, atol=1e-12)
    for i, mine in enumerate(groups):
        if mine:
            assert sample.median()[i] == np.median(mine)
            assert sample.largest()[i] == max(mine)
