"""Recurrent cells made of the arithmetic modules, as ordinary PyTorch modules.

A cell applies its module to the concatenation of its input and its last state. The module is the very one that trains
in lanes, with one lane.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from experiments.arithmetic import modules
from experiments.arithmetic.modules import Penalty
from experiments.arithmetic.params import Options

State = Any
"""A cell's state: a tensor (B, H), or the pair of an LSTM."""

MULTIPLICATIVE = frozenset({"nac-mul", "nac-sigma", "nac-nmu", "nmu", "sigma-nmu"})
"""Modules whose state begins as 1, the identity of a product."""

_RNN: dict[str, Any] = {
    "lstm": nn.LSTMCell,
    "gru": nn.GRUCell,
    "rnn-tanh": lambda i, h: nn.RNNCell(i, h, nonlinearity="tanh"),
    "rnn-relu": lambda i, h: nn.RNNCell(i, h, nonlinearity="relu"),
}


class Unit(nn.Module):
    """An arithmetic module from (B, I) to (B, O), with parameters of its own.

    While it trains it remembers its inputs, for the regulariser R_z, until :meth:`clamp` is called after an update.
    """

    def __init__(self, layer: str, inputs: int, outputs: int, options: Options) -> None:
        super().__init__()
        self.module = modules.build(layer, inputs, outputs, options)
        self.weights = nn.ParameterDict(
            {
                self._key(part.name): nn.Parameter(part.init.draw(torch.default_generator, part.shape))
                for part in self.module.parts
            }
        )
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (B, O)."""
        x = x.T[..., None]
        if self.training:
            self.seen.append(x)
        y: Tensor = self.module.forward(self._lanes(), x, training=self.training)
        return y[..., 0].T

    def penalty(self, kind: Penalty) -> Tensor | None:
        """Return a term of the loss, a scalar, for all inputs since the last update."""
        term = self.module.penalty(kind, self._lanes(), torch.cat(self.seen, dim=1))
        return None if term is None else term[0]

    def clamp(self) -> None:
        """Put the parameters back into bounds, and forget the inputs."""
        self.seen.clear()
        with torch.no_grad():
            for name, value in self.module.clamp(self._lanes()).items():
                self.weights[self._key(name)].copy_(value[..., 0])

    def sparsity_errors(self) -> dict[str, float]:
        """Return the sparsity error of each weight tensor, by tag."""
        with torch.no_grad():
            return {tag: float(error[0]) for tag, error in self.module.errors(self._lanes()).items()}

    def _lanes(self) -> dict[str, Tensor]:
        return {part.name: self.weights[self._key(part.name)][..., None] for part in self.module.parts}

    @staticmethod
    def _key(name: str) -> str:
        return name.replace(".", "_")  # a dot would be a path


class Cell(nn.Module):
    """A recurrent cell: state' = unit([input, state])."""

    def __init__(self, layer: str, inputs: int, hidden: int, options: Options) -> None:
        super().__init__()
        self.layer, self.hidden = layer, hidden
        self.rnn = _RNN[layer](inputs, hidden) if layer in _RNN else None
        self.unit = None if self.rnn is not None else Unit(layer, inputs + hidden, hidden, options)

    def initial(self, rows: int, like: Tensor) -> State:
        """Return the state before the first input: 1 for a multiplicative module, 0 for others."""
        state = like.new_full((rows, self.hidden), 1.0 if self.layer in MULTIPLICATIVE else 0.0)
        return (state, state) if self.layer == "lstm" else state

    def forward(self, x: Tensor, state: State) -> State:
        """Return the next state."""
        if self.rnn is not None:
            return self.rnn(x, state)
        assert self.unit is not None
        return self.unit(torch.cat([x, state], dim=-1))

    @staticmethod
    def output(state: State) -> Tensor:
        """Return what a cell in this state puts out, (B, H)."""
        result: Tensor = state[0] if isinstance(state, tuple) else state
        return result


def units(network: nn.Module) -> list[Unit]:
    """Return the arithmetic modules within a network."""
    return [module for module in network.modules() if isinstance(module, Unit)]


def regulariser(network: nn.Module, options: Any, scale: float) -> Tensor | float:
    """Return the sum of the penalties that the parameters ask for; ``scale`` is s(i)."""
    total: Tensor | float = 0.0
    for unit in units(network):
        weights: dict[Penalty, float] = {"g": 1.0, "W-OOB": options.bounds.weight}
        if options.regulariser is not None:
            weights["W"] = options.regulariser.weight * scale
        if options.identity is not None:
            weights["z"] = options.identity.weight
        for kind, weight in weights.items():
            if weight and (term := unit.penalty(kind)) is not None:
                total = total + weight * term
    return total


def clamp(network: nn.Module) -> None:
    """Put all arithmetic modules of a network back into bounds."""
    for unit in units(network):
        unit.clamp()
