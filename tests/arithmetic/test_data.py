"""Data sets of both streams, against draws spelled out with ``RandomState``."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.arithmetic import networks, streams
from experiments.arithmetic.data import evaluation, structure
from experiments.arithmetic.params import SingleLayer
from orchestrator.lanes import mt19937
from tests.arithmetic.reference import DataSet

NORMAL = {"kind": "truncated-normal", "mean": -1, "std": 3, "test_mean": -10, "test_std": 3}
DISTRIBUTIONS = {
    "normal, left": (NORMAL, [-5, 10], [-15, -5]),
    "normal, right": (NORMAL | {"mean": 1, "test_mean": 10}, [-10, 5], [5, 15]),
    "normal, narrow": (NORMAL | {"mean": 0, "std": 1, "test_mean": 10, "test_std": 1}, [-5, 5], [5, 15]),
    "normal, far out": (NORMAL | {"mean": -9, "std": 1.5}, [1, 2], [2, 6]),
    "exponential": ({"kind": "exponential", "scale": 2.5}, [1, 2], [2, 6]),
    "benford": ({"kind": "benford"}, [10, 100], [100, 1000]),
}
ONE, UNION, MIXED = [-2, 2], [[-6, -2], [2, 6]], [[0.1, 2], [-2, -0.1], []]


def make(**values):
    return SingleLayer.model_validate(
        {"operation": "div", "batch_size": 16, "evaluation_size": 50, "stream": "legacy"} | values
    )


def draw(params, count):
    """Return the first batches of some lanes: float32 (count, I, B, L) and (count, B, L)."""
    seeds = torch.tensor([p.seed for p in params])
    lanes = SimpleNamespace(
        params=params, static=params[0], seeds=seeds, tensor=lambda array: torch.as_tensor(np.ascontiguousarray(array))
    )
    stream = streams.build(lanes, networks.build(params[0]))
    state, batches = stream.start(), []
    for step in range(count):
        batch, state = stream.draw(state, torch.full((len(params),), step))
        batches.append((batch.x.numpy(), batch.t.numpy()))
    return tuple(np.stack(arrays) for arrays in zip(*batches, strict=True))


def expected(p, count):
    """Return what one run sees in its first iterations: float32 (count, I, B) and (count, B)."""
    data = DataSet(p)
    fork = data.fork()
    xs, ts = zip(*(data.sample(fork, p.interpolation, p.batch_size) for _ in range(count)), strict=True)
    return np.stack([x.T for x in xs]).astype(np.float32), np.stack(ts).astype(np.float32)


def test_the_first_numbers_of_a_run_in_plain_numpy():
    """Parent of seed 0; with two inputs the offset consumes nothing, so the first word seeds the stream."""
    stream = np.random.RandomState(np.random.RandomState(0).randint(0, 2**32 - 1))
    rows = stream.uniform(1, 2, size=(16, 2))
    x, t = draw([make()], 1)
    np.testing.assert_array_equal(x[0, :, :, 0], rows.T.astype(np.float32))
    np.testing.assert_array_equal(t[0, :, 0], (rows[:, 0] / rows[:, 1]).astype(np.float32))


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "div", "squared", "root", "reciprocal"])
@pytest.mark.parametrize(
    "shape", [{"input_size": 2}, {"input_size": 10}, {"input_size": 24, "subset_size": 7, "subset_overlap": 3}]
)
def test_batches_are_the_originals(operation, shape):
    over = [[1, 2], [1, 3]]
    lanes = [make(operation=operation, seed=seed, interpolation=o, **shape) for seed in (0, 7) for o in over]
    x, t = draw(lanes, 3)
    for lane, p in enumerate(lanes):
        inputs, targets = expected(p, 3)
        np.testing.assert_array_equal(x[..., lane], inputs)
        np.testing.assert_array_equal(t[..., lane], targets)


@settings(deadline=None, max_examples=15)
@given(
    lanes=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([ONE, [1, 2], UNION, MIXED])), min_size=1, max_size=7),
    input_size=st.sampled_from([2, 3, 10]),
)
def test_lanes_over_ranges_of_all_forms_draw_what_they_would_alone(lanes, input_size):
    params = [make(seed=seed, interpolation=over, input_size=input_size) for seed, over in lanes]
    x, t = draw(params, 12)
    for lane, p in enumerate(params):
        inputs, targets = expected(p, 12)
        np.testing.assert_array_equal(x[..., lane], inputs)
        np.testing.assert_array_equal(t[..., lane], targets)


@pytest.mark.parametrize("over", [ONE, [1, 2], UNION, MIXED])
def test_the_counter_stream_draws_from_the_same_distribution(over):
    x, t = draw([make(stream="counter", interpolation=over, batch_size=4000, seed=seed) for seed in range(3)], 2)
    data = DataSet(make(interpolation=over))
    rows, _ = data.sample(data.fork(), over, 40_000)
    for column in range(2):
        quantiles = np.quantile(rows[:, column], np.linspace(0.05, 0.95, 10))
        ranks = np.mean(x[:, column, ..., None] < quantiles, axis=(0, 1, 2))
        np.testing.assert_allclose(ranks, np.linspace(0.05, 0.95, 10), atol=0.02)
    np.testing.assert_allclose(t, x[:, 0] / x[:, 1], rtol=1e-6)
    assert len(np.unique(x)) > 0.99 * x.size  # lanes, iterations and inputs are independent draws


@pytest.mark.parametrize("name", [name for name in DISTRIBUTIONS if name != "benford"])
def test_other_distributions_are_the_originals_too(name):
    distribution, inside, outside = DISTRIBUTIONS[name]
    lanes = [
        make(operation="sub", seed=seed, distribution=distribution, interpolation=inside, extrapolation=outside)
        for seed in (0, 7)
    ]
    x, t = draw(lanes, 40)
    for lane, p in enumerate(lanes):
        inputs, targets = expected(p, 40)
        # Reckoned in float64 with another library's functions: the last bit of single precision may differ, rarely.
        assert np.mean(x[..., lane] != inputs) < 1e-3
        np.testing.assert_allclose(x[..., lane], inputs, rtol=2e-7)
        np.testing.assert_allclose(t[..., lane], targets, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("stream", ["counter", "legacy"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_both_streams_draw_from_the_distribution_asked_for(name, stream):
    distribution, inside, outside = DISTRIBUTIONS[name]
    p = make(stream=stream, distribution=distribution, interpolation=inside, extrapolation=outside, batch_size=4000)
    x, _ = draw([p], 3)
    rows, _ = DataSet(p).sample(np.random.RandomState(5), inside, 40_000)
    levels = np.quantile(rows, np.linspace(0.05, 0.95, 10))
    np.testing.assert_allclose(
        np.mean(x[..., None] < levels, axis=(0, 1, 2, 3)), np.mean(rows[..., None] < levels, axis=(0, 1)), atol=0.02
    )
    if name == "benford":
        assert set(np.unique(x)) == {10.0 * d + r for d in range(1, 10) for r in range(1, 10)}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("ranges", ["interpolation", "extrapolation"])
def test_evaluation_sets_of_other_distributions(name, ranges):
    distribution, inside, outside = DISTRIBUTIONS[name]
    p = make(distribution=distribution, interpolation=inside, extrapolation=outside)
    sets = evaluation([p], ranges)
    data = DataSet(p)
    seed, over = (43953907, inside) if ranges == "interpolation" else (8689336, outside)
    x, t = data.sample(data.fork(seed), over, 50, ranges)
    np.testing.assert_array_equal(sets.x[:, 0], x.T.astype(np.float32))
    np.testing.assert_array_equal(sets.t[0], t.astype(np.float32))


def test_lanes_of_unlike_distributions_keep_their_own_evaluation_sets():
    params = [make(distribution=NORMAL | {"mean": mean}, interpolation=[-5, 10]) for mean in (-1, 2, -1)]
    sets = evaluation(params, "interpolation")
    assert sets.which.tolist() == [0, 1, 0]


@pytest.mark.parametrize("stream", ["counter", "legacy"])
@pytest.mark.parametrize("operation", ["add", "mul", "sub"])
def test_sums_and_products_take_all_subsets_and_differences_two(operation, stream):
    p = make(operation=operation, stream=stream, input_size=9, subsets=3, subset_size=3)
    x, t = draw([p], 1)
    a, b, c = (x[0, 3 * n : 3 * n + 3, :, 0].astype(float).sum(0) for n in range(3))
    expected = {"add": a + b + c, "mul": a * b * c, "sub": a - b}[operation]
    np.testing.assert_allclose(t[0, :, 0], expected, rtol=1e-5, atol=1e-5)


def test_subsets_of_many_inputs_lie_where_each_seed_puts_them():
    """100 inputs, subsets of 25 that overlap in 12: 63 places, so that inputs are masked and not picked."""
    shape = {"input_size": 100, "subset_size": 25, "subset_overlap": 12, "batch_size": 4, "stream": "counter"}
    params = [make(operation="mul", seed=seed, **shape) for seed in range(5)]
    x, t = draw(params, 1)
    offsets = set()
    for lane, p in enumerate(params):
        (a, b), (c, d) = DataSet(p).subsets
        rows = x[0, ..., lane].astype(float)
        np.testing.assert_allclose(t[0, :, lane], rows[a:b].sum(0) * rows[c:d].sum(0), rtol=1e-6)
        offsets.add(a)
    assert len(offsets) > 3


def test_noise_is_what_torchs_generator_draws_after_the_weights():
    p = make(layer="nmu", nmu={"noise": [1, 5]}, operation="mul", seed=3)
    lanes = SimpleNamespace(params=[p], static=p, seeds=torch.tensor([3]), tensor=torch.as_tensor)
    stream = streams.build(lanes, networks.build(p))
    generator = torch.Generator().manual_seed(3)
    torch.rand(4, generator=generator)  # two resets of two weights
    state = stream.start()
    for step in range(3):
        batch, state = stream.draw(state, torch.tensor([step]))
        assert torch.equal(batch.noise[:, 0], torch.rand(32, generator=generator))
    words, _ = mt19937.advance(torch.from_numpy(mt19937.windows([np.random.RandomState(9)])), 1000)
    drawn = mt19937.single_precision(words)[:, 0]
    assert torch.equal(drawn, torch.rand(1000, generator=torch.Generator().manual_seed(9)))


@pytest.mark.parametrize("ranges", ["interpolation", "extrapolation"])
def test_evaluation_sets_come_from_forks_of_fixed_seed(ranges):
    params = [
        make(seed=s, input_size=n, **{ranges: over}) for n in (10,) for s in range(6) for over in (ONE, UNION, MIXED)
    ]
    sets = evaluation(params, ranges)
    for lane, p in enumerate(params):
        data = DataSet(p)
        x, t = data.sample(data.fork(43953907 if ranges == "interpolation" else 8689336), getattr(p, ranges), 50)
        np.testing.assert_array_equal(sets.x[:, sets.which[lane]], x.T.astype(np.float32))
        np.testing.assert_array_equal(sets.t[sets.which[lane]], t.astype(np.float32))
    assert len(sets.t) == 3 * len({structure(p).offset for p in params})


def test_trap_14_runs_of_a_range_share_their_evaluation_sets():
    params = [make(seed=seed, extrapolation=over) for seed in range(4) for over in ([2, 6], UNION)]
    sets = evaluation(params, "extrapolation")
    assert sets.x.shape == (2, 2, 50)
    assert sets.which.tolist() == [0, 1] * 4


def test_trap_7_targets_are_rounded_not_reckoned_again():
    x, t = draw([make(interpolation=[0.1, 0.2], batch_size=1000)], 1)
    again = x[0, 0, :, 0] / x[0, 1, :, 0]
    assert 0.1 < np.mean(again != t[0, :, 0]) < 1
    np.testing.assert_allclose(again, t[0, :, 0], rtol=3e-7)


def test_ten_inputs_hold_two_neighbours_at_a_place_of_the_seeds_choice():
    offsets = {structure(make(seed=seed, input_size=10)).offset for seed in range(100)}
    assert offsets == set(range(9))
    assert {structure(make(seed=seed)).offset for seed in range(10)} == {0}
