"""Prefix sums: strings of bits, and at each place the parity of all bits up to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from experiments.thinking.data import counter

VERSION = 1
"""Of the generator; raised when it gives other strings."""

SAMPLES = 10_000
"""Strings of each length that were published."""

LENGTHS = (*range(16, 65), 72, 128, 256, 512)
"""Lengths that were published: 53 of them."""

ENUMERATED = 24
"""Shorter strings were drawn from a list of all there are, and so never twice."""

Bits = npt.NDArray[np.uint8]


def strings(length: int, count: int = SAMPLES, seed: int = 0, *, dedupe: bool | None = None) -> Bits:
    """Draw strings of bits, a function of length, seed and place.

    Parameters
    ----------
    length
        Bits of a string, 2 or more.
    count
        How many strings.
    seed
        Of the data set.
    dedupe
        Whether no string may come twice. By default that is so below 24 bits, as published. Where fewer than ``count``
        strings exist, repeats cannot be avoided, and strings are drawn independently.

    Returns
    -------
    uint8 (count, length)
        Zeros and ones. The first of more strings are those of fewer.
    """
    if length < 2:
        raise ValueError(f"strings have 2 bits or more, not {length}")
    alone = length < ENUMERATED if dedupe is None else dedupe
    stream = counter.key("prefix_sums", VERSION, length, seed)
    if not alone or 2**length < count:
        return _independent(stream, 0, count, length)
    return _enumerated(stream, count, length) if length < ENUMERATED else _distinct(stream, count, length)


def sums(bits: Bits) -> Bits:
    """Return the inclusive running sums modulo 2 of strings (n, length), uint8 of the same shape."""
    return np.bitwise_xor.accumulate(bits, axis=1)


def _independent(stream: counter.Words, first: int, count: int, length: int) -> Bits:
    blocks = -(-length // 64)
    numbers = counter.words(stream, np.arange(first * blocks, (first + count) * blocks))
    bits = np.unpackbits(numbers.astype("<u8").view(np.uint8), bitorder="little")
    return bits.reshape(count, blocks * 64)[:, :length].copy()


def _enumerated(stream: counter.Words, count: int, length: int) -> Bits:
    """Draw without replacement: bit j of a string is bit j of an integer, the least significant first."""
    ranks = counter.words(stream, np.arange(2**length))
    chosen = np.argpartition(ranks, count - 1)[:count] if count < 2**length else np.arange(count)
    chosen = chosen[np.argsort(ranks[chosen], kind="stable")]
    return ((chosen[:, None] >> np.arange(length)) & 1).astype(np.uint8)


def _distinct(stream: counter.Words, count: int, length: int) -> Bits:
    """Draw independently, and pass over strings that came before."""
    drawn, found = 0, np.empty((0, length), np.uint8)
    while len(found) < count:
        more = count - len(found)
        found = np.concatenate([found, _independent(stream, drawn, more, length)])
        drawn += more
        _, places = np.unique(found, axis=0, return_index=True)
        found = found[np.sort(places)]
    return found
