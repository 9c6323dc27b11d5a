"""What is to be learned of the training inputs of many lanes."""

from __future__ import annotations

import functools
import operator

import numpy as np
import torch
from torch import Tensor

from experiments.arithmetic.data import structure, subset_columns
from experiments.arithmetic.params import Task
from orchestrator.lanes.lanes import Lanes

CHOICES = 64
"""Up to so many selections pick a subset's inputs one by one; where there would be more, all inputs are masked."""


class Targets:
    """The operation's results, given where each lane's subsets of the inputs lie."""

    def __init__(self, lanes: Lanes) -> None:
        self.params: Task = lanes.static
        offsets = np.array([structure(p).offset for p in lanes.params], np.int64)  # type: ignore[arg-type]
        self.offsets = lanes.tensor(offsets)
        self.places = range(self.params.input_size - self.params.span + 1)
        self.subsets = subset_columns(self.params, 0)

    def __call__(self, x: Tensor) -> Tensor:
        """Return targets (B, L) of inputs (I, B, L), in their precision."""
        sums = [self._sum(x, subset) for subset in self.subsets]
        match self.params.operation:
            case "add":
                return functools.reduce(operator.add, sums)
            case "sub":
                return sums[0] - sums[1]
            case "mul":
                return functools.reduce(operator.mul, sums)
            case "div":
                return sums[0] / sums[1]
            case "squared":
                return sums[0].square()
            case "root":
                return sums[0].sqrt()
            case "reciprocal":
                return 1.0 / sums[0]

    def _sum(self, x: Tensor, subset: slice) -> Tensor:
        size = subset.stop - subset.start
        if size * len(self.places) <= CHOICES:
            columns = [self._column(x, place) for place in range(subset.start, subset.stop)]
            return functools.reduce(operator.add, columns)
        place = torch.arange(len(x), device=x.device)[:, None] - self.offsets
        inside = (place >= subset.start) & (place < subset.stop)
        return torch.where(inside[:, None], x, torch.zeros((), dtype=x.dtype, device=x.device)).sum(0)

    def _column(self, x: Tensor, place: int) -> Tensor:
        """Return the input that is ``place`` after the lane's offset."""
        column = x[place]
        for offset in self.places[1:]:
            column = torch.where(self.offsets == offset, x[offset + place], column)
        return column
