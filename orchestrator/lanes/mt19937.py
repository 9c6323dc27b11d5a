"""NumPy's legacy generator (MT19937) for many lanes at once, as elementwise tensor operations.

The research code draws its training data from one ``numpy.random.RandomState`` per run. Drawing those numbers on the
host, lane by lane, costs more than training on them. The recurrence of the generator,

    x[k + 624] = x[k + 397] ^ twist(x[k] & 0x80000000 | x[k + 1] & 0x7fffffff)

(M. Matsumoto, T. Nishimura, ACM TOMACS 8(1), 1998), only looks back, and it is the same at every position. So a
lane's state is kept as a *window*: the next 624 words of its sequence, untempered, wherever in NumPy's blocks of 624
they begin. Lanes that have drawn different amounts then advance together, 227 words at a time, and the drawing compiles
into the training step. Bit for bit NumPy's doubles (``tests/lanes/test_mt19937.py``).

Words are int32 tensors that hold the bits of uint32 words; lanes are on the last axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SIZE, MIDDLE = 624, 397
REACH = SIZE - MIDDLE
"""Words that can be made at once: a new word needs the one 227 places before it."""


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


UPPER, LOWER = _signed(0x80000000), 0x7FFFFFFF
MATRIX = _signed(0x9908B0DF)
TEMPER_B, TEMPER_C = _signed(0x9D2C5680), _signed(0xEFC60000)


def _shift_right(words: Tensor, bits: int) -> Tensor:
    """Shift as if unsigned: the sign bits that an arithmetic shift brings in are masked off."""
    return (words >> bits) & ((1 << (32 - bits)) - 1)


def _recur(first: Tensor, second: Tensor, middle: Tensor) -> Tensor:
    mixed = (first & UPPER) | (second & LOWER)
    return middle ^ _shift_right(mixed, 1) ^ (-(mixed & 1) & MATRIX)


def _temper(words: Tensor) -> Tensor:
    words = words ^ _shift_right(words, 11)
    words = words ^ ((words << 7) & TEMPER_B)
    words = words ^ ((words << 15) & TEMPER_C)
    return words ^ _shift_right(words, 18)


def advance(window: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Take the next ``count`` words of every lane.

    Parameters
    ----------
    window
        int32 (624, L): the next words of each lane, untempered.
    count
        How many words to take; a constant of the program.

    Returns
    -------
    tuple
        The words taken, untempered, int32 (count, L), and the window that follows.
    """
    parts = [window]

    def between(start: int, stop: int) -> Tensor:
        found, position = [], 0
        for part in parts:
            low, high = max(start - position, 0), min(stop - position, len(part))
            if low < high:
                found.append(part[low:high])
            position += len(part)
        return found[0] if len(found) == 1 else torch.cat(found or [window[:0]])

    for made in range(0, count, REACH):
        more = min(REACH, count - made)
        parts.append(
            _recur(
                between(made, made + more),
                between(made + 1, made + 1 + more),
                between(made + MIDDLE, made + MIDDLE + more),
            )
        )
    return between(0, count), between(count, count + SIZE)


def random_sample(window: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` doubles of every lane, as ``RandomState.random_sample`` does: 53 bits from two words.

    Returns
    -------
    tuple
        Doubles in [0, 1), float64 (count, L), and the window that follows (int32 (624, L)).
    """
    words, window = advance(window, 2 * count)
    pairs = words.view(count, 2, words.shape[-1])
    high, low = _shift_right(_temper(pairs[:, 0]), 5), _shift_right(_temper(pairs[:, 1]), 6)
    return (high.double() * 67108864.0 + low.double()) * (1.0 / 9007199254740992.0), window


def random_bits(window: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` fair bits of every lane, as ``RandomState.randint(0, 2)`` does: the lowest of one word each.

    Returns
    -------
    tuple
        int32 (count, L), and the window that follows.
    """
    words, window = advance(window, count)
    return _temper(words) & 1, window


def single_precision(words: Tensor) -> Tensor:
    """Return untempered words as torch's generator makes float32 numbers in [0, 1) of them: their lower 24 bits."""
    return (_temper(words) & 0xFFFFFF).float() * 2.0**-24


def windows(states: Sequence[np.random.RandomState]) -> npt.NDArray[np.int32]:
    """Return the windows of NumPy generators: where each goes on, int32 (624, L)."""
    columns = []
    for state in states:
        _, key, position, *_ = state.get_state(legacy=True)
        block = torch.from_numpy(np.asarray(key, np.uint32).view(np.int32).copy())[:, None]
        columns.append(advance(block, int(position))[1].numpy())
    return np.concatenate(columns, axis=-1)
