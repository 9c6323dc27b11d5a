"""Data sets and initial weights, against draws spelled out with ``RandomState`` and torch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.arithmetic import streams
from experiments.arithmetic.data import evaluation, legacy_weights, structure, weight_init
from experiments.arithmetic.params import SingleLayer
from tests.arithmetic.reference import MODULES, DataSet

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
    stream = streams.build(lanes)
    state, batches = stream.start(), []
    for step in range(count):
        x, t, state = stream.draw(state, torch.full((len(params),), step))
        batches.append((x.numpy(), t.numpy()))
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


# --- initial weights --------------------------------------------------------------------------------------------------

INITS = [
    ({"layer": "nau"}, 2, 0.5), ({"layer": "nau"}, 10, 0.5), ({"layer": "nau"}, 100, 0.24373334),
    ({"layer": "nru"}, 2, 0.5),
    ({"layer": "nmu"}, 2, 0.25), ({"layer": "nmru"}, 10, 0.25),
    ({"layer": "real-npu"}, 2, 1.41421356), ({"layer": "real-npu"}, 10, 0.73854895),
    ({"layer": "real-npu", "npu": {"init": "xavier-uniform-constrained"}}, 2, 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("model", "inputs", "half_width"), INITS)
def test_initial_weights_are_uniform_within_the_papers_bounds(model, inputs, half_width):
    init = weight_init(make(input_size=inputs, **model))
    assert (init.high - init.low) / 2 == pytest.approx(half_width, rel=1e-6)
    drawn = np.stack([legacy_weights(make(input_size=inputs, seed=seed, **model)) for seed in range(400)])
    assert drawn.shape == (400, init.count)
    assert drawn.min() >= np.float32(init.low)
    assert drawn.max() < np.float32(init.high)
    quarters = init.low + (init.high - init.low) * np.array([0.25, 0.5, 0.75])
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.75]), quarters, atol=0.1 * half_width)


@pytest.mark.parametrize(("model", "inputs", "_"), INITS)
def test_trap_1_initial_weights_are_torchs_second_draw(model, inputs, _):
    for seed in (0, 1, 24, 2**31 + 5):
        p = make(input_size=inputs, seed=seed, **model)
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        module = MODULES[p.layer](p)
        torch.set_rng_state(state)
        np.testing.assert_array_equal(legacy_weights(p), module.W.detach().numpy().ravel())
