"""The stacked generator draws NumPy's numbers, from any position and for any number of words."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.lanes import mt19937


@settings(deadline=None, max_examples=30)
@given(
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    skipped=st.integers(0, 1500) | st.sampled_from([622, 623, 624, 625, 1248]),
    counts=st.lists(st.integers(1, 900), min_size=1, max_size=3),
)
def test_every_lane_draws_its_own_numpy_stream(seeds, skipped, counts):
    states = [np.random.RandomState(seed) for seed in seeds]
    for lane, state in enumerate(states):
        state.randint(0, 2**32, size=skipped + lane, dtype=np.uint32)  # unequal positions
    window = torch.from_numpy(mt19937.windows(states))
    for count in counts:
        drawn, window = mt19937.random_sample(window, count)
        expected = np.stack([state.random_sample(count) for state in states], axis=-1)
        np.testing.assert_array_equal(drawn.numpy(), expected)


def test_taking_windows_leaves_the_generators_where_they_are():
    state, twin = np.random.RandomState(7), np.random.RandomState(7)
    mt19937.windows([state])
    assert state.random_sample() == twin.random_sample()


def test_single_precision_numbers_are_torchs():
    window = torch.from_numpy(mt19937.windows([np.random.RandomState(seed) for seed in (3, 77)]))
    words, _ = mt19937.advance(window, 700)
    for lane, seed in enumerate((3, 77)):
        expected = torch.rand(700, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(mt19937.single_precision(words)[:, lane], expected)
