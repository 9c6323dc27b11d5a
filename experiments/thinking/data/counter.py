"""Random numbers by counting: a function of a key and a place, whoever asks for them, in whatever order.

Each number is what SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) has at a place of its sequence, so that sample 17 of
a data set is the same whether it is made alone, or among others, or by another worker. It depends on no library's
generators, which may change.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Distance of two places of the sequence."""


def key(*names: object) -> Words:
    """Return the key of a stream, uint64 of shape (), from what names it."""
    digest = hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=8).digest()
    return np.array(int.from_bytes(digest, "little"), np.uint64)


def words(keys: Words, places: npt.NDArray[Any] | int) -> Words:
    """Return a random number for each key and place, uint64; keys and places are broadcast against each other."""
    with np.errstate(over="ignore"):
        z = keys + GOLDEN * (np.asarray(places).astype(np.uint64) + np.uint64(1))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def below(bound: npt.NDArray[Any] | int, numbers: Words) -> npt.NDArray[np.int64]:
    """Map random numbers to whole numbers from 0 to ``bound`` − 1, bound < 2³²; each is as likely, to 2⁻³² · bound."""
    scaled = (numbers >> np.uint64(32)) * np.asarray(bound).astype(np.uint64) >> np.uint64(32)
    return scaled.astype(np.int64)
