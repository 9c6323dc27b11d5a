"""What a problem is to the rest: three splits, how inputs become a network's input, and which cells count."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

SPLIT_SEED = 42
"""Seed of the division into training and validation, as published."""


class Split(NamedTuple):
    """Samples and their solutions, on the CPU."""

    inputs: Tensor
    """uint8 (n, channels, *cells), 0 or 1."""
    targets: Tensor
    """uint8 (n, *cells), 0 or 1."""

    def first(self, batches: int, batch_size: int) -> Split:
        """Return the samples of the first few batches; all of them for 0 batches, as in the delta-loss code."""
        count = batches * batch_size if batches else len(self.targets)
        return Split(self.inputs[:count], self.targets[:count])


class Problem(NamedTuple):
    """The data of one problem."""

    train: Split
    val: Split
    """Held out of the same pool as ``train``: equally hard."""
    test: Split
    """Harder: longer strings, larger mazes, puzzles of a higher rating."""
    encode: Callable[[Tensor], Tensor]
    """From inputs (b, channels, *cells) of 0 and 1 to the network's input, float32 of the same shape."""
    mask: Callable[[Tensor], Tensor] | None
    """From inputs to the cells that count, bool (b, *cells); None where all of them do."""


def divide(pool: Split, fraction: float) -> tuple[Split, Split]:
    """Divide a pool at random into training and validation, as ``random_split`` does with generator seed 42.

    Parameters
    ----------
    pool
        n samples.
    fraction
        Of the samples that are for training, rounded down; the spec has 0.8, and 5/6 for the first chess nets.
    """
    count = len(pool.targets)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, val = order[: int(fraction * count)], order[int(fraction * count) :]
    return Split(pool.inputs[train], pool.targets[train]), Split(pool.inputs[val], pool.targets[val])
