"""Number translation: "three hundred and five" is to become 305.

*Neural Arithmetic Logic Units* (arXiv 1808.00508), section 4.2, as the code of *Neural Arithmetic Units* (arXiv
2001.05016) has it. The words go through an LSTM into a recurrent cell of the module, whose last output is the number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.arithmetic.sequences import numerals, training
from experiments.arithmetic.sequences.cells import Cell
from experiments.arithmetic.sequences.translation_params import NumberTranslation


class Network(nn.Module):
    """Words (n, length) to numbers (n, 1). Where a sentence has ended, the last output stays."""

    def __init__(self, p: NumberTranslation) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(numerals.WORDS), p.embedding)
        self.lstm = nn.LSTMCell(p.embedding, p.hidden)
        self.cell = Cell(p.cell, p.hidden, 1, p)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers."""
        embedded = self.embedding(x)
        memory = (embedded.new_zeros(len(x), self.lstm.hidden_size),) * 2
        state = self.cell.initial(len(x), embedded)
        if self.cell.unit is not None:
            state = torch.zeros_like(state)  # whatever the module: nothing has been counted yet
        for step in range(x.shape[1]):
            memory = self.lstm(embedded[:, step], memory)
            following = self.cell(memory[0], state)
            ended = x[:, step, None] == 0
            state = (
                tuple(torch.where(ended, old, new) for old, new in zip(state, following, strict=True))
                if isinstance(state, tuple)
                else torch.where(ended, state, following)
            )
        return self.cell.output(state)


def train(run: Any) -> None:
    """Train one run."""
    p: NumberTranslation = run.params
    torch.set_num_threads(1)
    numbers = numerals.split(p.seed)
    sets = {
        name: (torch.tensor([numerals.tokens(n) for n in part.tolist()]), torch.from_numpy(part).float()[:, None])
        for name, part in numbers._asdict().items()
    }
    torch.manual_seed(p.seed)
    network = Network(p)
    words, values = sets["train"]
    per_epoch = -(-len(words) // p.batch_size)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(step, per_epoch)
        order = torch.from_numpy(np.random.default_rng([p.seed, epoch]).permutation(len(words)))
        chosen = order[place * p.batch_size : (place + 1) * p.batch_size]
        return words[chosen], values[chosen]

    def evaluate() -> dict[str, float]:
        found = {}
        for name, (x, t) in sets.items():
            y = network(x)
            found[f"metric/{name}/mse"] = float(functional.mse_loss(y, t))
            found[f"metric/{name}/acc"] = float((y.round() == t).float().mean())
        return found

    training.train(run, network, batch, evaluate, steps=p.epochs * per_epoch, every=p.evaluate_every * per_epoch)
