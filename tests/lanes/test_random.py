"""Philox4x32-10 against its authors' known answers and against whole numbers; uniform numbers by (seed, step)."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.lanes import random

# Random123, examples/kat_vectors: philox4x32 10.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def tensors(words):
    return tuple(torch.tensor([word]) for word in words)


def whole_number_philox(counter, key):
    """Algorithm of Salmon et al. in Python's unbounded integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 % 2**32, (p0 >> 32) ^ c[3] ^ k[1], p0 % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return tuple(c)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_known_answers(counter, key, answer):
    assert tuple(int(word) for word in random.philox(tensors(counter), tensors(key))) == answer
    assert whole_number_philox(counter, key) == answer


WORD = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(counter=st.tuples(WORD, WORD, WORD, WORD), key=st.tuples(WORD, WORD))
def test_any_counter_and_key(counter, key):
    made = random.philox(tensors(counter), tensors(key))
    assert tuple(int(word) for word in made) == whole_number_philox(counter, key)


@settings(deadline=None, max_examples=30)
@given(
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4),
    step=st.integers(0, 2**40),
    count=st.integers(1, 23),
    stream=st.integers(0, 2**32 - 1),
)
def test_uniform_numbers_are_a_function_of_seed_stream_and_step(seeds, step, count, stream):
    drawn = random.uniform(torch.tensor(seeds), torch.full((len(seeds),), step), count, stream=stream)
    assert drawn.shape == (count, len(seeds))
    assert drawn.dtype == torch.float64
    blocks = -(-count // 4)
    for lane, seed in enumerate(seeds):
        counters = [(block, stream, step % 2**32, step >> 32) for block in range(blocks)]
        words = [whole_number_philox(counter, (seed % 2**32, seed >> 32)) for counter in counters]
        places = itertools.product(range(4), range(blocks))
        expected = [(words[block][place] + 0.5) / 2**32 for place, block in places]
        assert drawn[:, lane].tolist() == expected[:count]


@pytest.mark.parametrize(("low", "width"), [(-2.0, 4.0), (-1.0, 3.0), (-1.7, 4.0)])
def test_a_range_around_zero_yields_no_zero(low, width, monkeypatch):
    middle = round(-low / width * 2**32)
    for word in range(middle - 3, middle + 3):
        monkeypatch.setattr(random, "philox", lambda counter, key, word=word: (torch.full((1, 1), word),) * 4)
        (drawn,) = random.uniform(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 1, stream=0)
        assert 0 < drawn < 1
        assert (low + width * drawn).float() != 0


def test_uniform_numbers_are_uniform():
    seeds, step = torch.arange(64), torch.zeros(64, dtype=torch.int64)
    drawn = random.uniform(seeds, step, 4096, stream=0).numpy()
    counts, _ = np.histogram(drawn, bins=64, range=(0, 1))
    expected = drawn.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 130  # chi-squared, 63 degrees of freedom: p < 1e-6
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.08
