"""Linear layers with a bias, and activations: the papers' baselines."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.arithmetic.modules.base import Module, Size, sparsity_error, weighted
from experiments.arithmetic.parts import Constant, Init, Part, Weights, glorot, symmetric

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "relu6": nn.functional.relu6,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softsign": nn.functional.softsign,
    "selu": nn.functional.selu,
    "elu": nn.functional.elu,
}


def _init(activation: str, inputs: int, outputs: int) -> Init:
    match activation:
        case "relu" | "relu6" | "elu":
            return symmetric(math.sqrt(6.0 / inputs))  # He et al., arXiv 1502.01852
        case "selu":
            return symmetric(math.sqrt(3.0 / inputs))
        case "tanh":
            return glorot(inputs, outputs, gain=5 / 3)
        case _:
            return glorot(inputs, outputs)


class Linear(Module):
    """y = act(W x + b)."""

    def __init__(self, size: Size, activation: str = "linear") -> None:
        self.activation = ACTIVATIONS[activation]
        self.parts = (
            Part("W", (size.outputs, size.inputs), _init(activation, size.inputs, size.outputs)),
            Part("bias", (size.outputs,), Constant(0.0)),
        )

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        return self.activation(weighted(w["W"][:, :, None], x) + w["bias"][:, None])

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity error of the weights."""
        return {"basic/W": sparsity_error(w["W"])}
