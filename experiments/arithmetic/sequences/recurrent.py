"""Recurrent simple function task: sums over subsets of the numbers of all steps, and an operation on the two.

*Neural Arithmetic Logic Units* (arXiv 1808.00508), section 4.1; the network of the code of *Neural Arithmetic Units*
(arXiv 2001.05016): a recurrent cell whose first state is learned, and an output layer. Sequences of 10 steps are
learned, and 1000 steps are the test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.arithmetic.data import TEST_SEED, VALIDATION_SEED, structure, target
from experiments.arithmetic.ranges import read_range
from experiments.arithmetic.sequences import training
from experiments.arithmetic.sequences.cells import Cell, Unit
from experiments.arithmetic.sequences.recurrent_params import Recurrent

RNN = ("lstm", "gru", "rnn-tanh", "rnn-relu")


class Network(nn.Module):
    """Sequences (n, steps, I) to numbers (n, 1)."""

    def __init__(self, p: Recurrent) -> None:
        super().__init__()
        self.cell = Cell(p.cell, p.input_size, p.hidden, p)
        self.output = Unit("linear" if p.cell in RNN else p.cell, p.hidden, 1, p)
        count = 2 if p.cell == "lstm" else 1
        self.first = nn.ParameterList(nn.Parameter(torch.zeros(p.hidden)) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """Return the results."""
        states = tuple(first.expand(len(x), -1) for first in self.first)
        state = states if len(states) == 2 else states[0]
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        y: Tensor = self.output(self.cell.output(state))
        return y


def draw(p: Recurrent, seed: object, rows: int, steps: int, ranges: str) -> tuple[Tensor, Tensor]:
    """Draw sequences, float32 (rows, steps, I), and their results, float32 (rows, 1)."""
    (low, high), *_ = read_range(getattr(p, ranges)).intervals
    x = np.random.default_rng(seed).uniform(low, high, size=(rows, steps, p.input_size))  # type: ignore[arg-type]
    t = target(p, structure(p).offset, x.sum(axis=1).T)
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(t.astype(np.float32))[:, None]


def train(run: Any) -> None:
    """Train one run."""
    p: Recurrent = run.params
    torch.set_num_threads(1)
    torch.manual_seed(p.seed)
    network = Network(p)
    sets = {
        "metric/valid/interpolation": draw(p, VALIDATION_SEED, p.evaluation_size, p.length, "interpolation"),
        "metric/test/extrapolation": draw(p, TEST_SEED, p.evaluation_size, p.test_length, "interpolation"),
    }

    def batch(step: int) -> tuple[Tensor, Tensor]:
        return draw(p, [p.seed, step], p.batch_size, p.length, "interpolation")

    def evaluate() -> dict[str, float]:
        return {tag: float(functional.mse_loss(network(x).double(), t.double())) for tag, (x, t) in sets.items()}

    training.train(run, network, batch, evaluate, steps=p.max_iterations + 1, every=p.log_interval)
