"""Numbers from 1 to 999 in English words, and which of them are for training, validation and test. NumPy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SMALL = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ["<pad>", "and", *SMALL, *TENS, "hundred"]
"""The vocabulary, in the order of its numbers."""

LENGTH = 5
"""Words of the longest number, such as "three hundred and thirty five"; shorter ones are padded behind."""

TRAIN, VALID, TEST = 169, 200, 630


def words(number: int) -> list[str]:
    """Return a number in words: ``["three", "hundred", "and", "five"]``.

    Raises
    ------
    ValueError
        If it is not from 1 to 999.
    """
    if not 0 < number < 1000:
        raise ValueError(f"{number} is not from 1 to 999")
    hundreds, rest = divmod(number, 100)
    found = [SMALL[hundreds - 1], "hundred"] if hundreds else []
    if hundreds and rest:
        found.append("and")
    if 0 < rest < 20:
        return [*found, SMALL[rest - 1]]
    tens, ones = divmod(rest, 10)
    return [*found, *([TENS[tens - 2]] if tens else []), *([SMALL[ones - 1]] if ones else [])]


def tokens(number: int) -> list[int]:
    """Return a number as places in the vocabulary, padded to :data:`LENGTH`."""
    found = [WORDS.index(word) for word in words(number)]
    return found + [0] * (LENGTH - len(found))


class Split(NamedTuple):
    """Numbers by what they are for, each int64 (n,)."""

    train: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def split(seed: int) -> Split:
    """Divide the numbers: 1 to 19 are for training, and so is the first number that shows a word that is new."""
    train, valid, test = list(range(1, 20)), list[int](), list[int]()
    unseen = set(WORDS[1:]) - {word for number in train for word in words(number)}
    for number in (np.random.RandomState(seed).permutation(980) + 20).tolist():
        new = unseen & set(words(number))
        if new:
            train.append(number)
            unseen -= new
        elif len(test) < TEST:
            test.append(number)
        elif len(valid) < VALID:
            valid.append(number)
        elif len(train) < TRAIN:
            train.append(number)
    return Split(*(np.array(part, np.int64) for part in (train, valid, test)))
