"""The improved NALU: weights of its own for sums and products, a gate that no input moves, and a sign.

D. Schlör, M. Ring, A. Hotho, *iNALU: Improved Neural Arithmetic Logic Unit* (arXiv 2003.07629).
"""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import (
    EPS7,
    Module,
    Penalty,
    Size,
    added,
    identity_product,
    mean,
    sparsity_error,
    weighted,
)
from experiments.arithmetic.parts import Normal, Part, Weights

LARGEST_POWER = 20.0
"""Bound of the products' logarithms, and of the size of the parameters."""


class INALU(Module):
    """y = ĝ Σ A x + (1 - ĝ) exp(min(Σ M log|x|, 20)) Π (sign(x) |M| + 1 - |M|); A, M = tanh(Ŵ) σ(M̂), ĝ = σ(g)."""

    def __init__(self, size: Size) -> None:
        shape = (size.inputs, size.outputs)
        self.parts = (
            Part("W_a_hat", shape, Normal(0.88, 0.2)),
            Part("M_a_hat", shape, Normal(0.5, 0.2)),
            Part("W_m_hat", shape, Normal(0.88, 0.2)),
            Part("M_m_hat", shape, Normal(0.5, 0.2)),
            Part("g", (size.outputs,), Normal(0.0, 0.2)),
        )

    def weights(self, w: Weights) -> tuple[Tensor, Tensor]:
        """Return A and M, each (O, I, L)."""
        first, second = (torch.tanh(w[f"W_{path}_hat"]) * torch.sigmoid(w[f"M_{path}_hat"]) for path in "am")
        return first.transpose(0, 1), second.transpose(0, 1)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        additive, multiplicative = (part[:, :, None] for part in self.weights(w))
        gate = torch.sigmoid(w["g"])[:, None]
        power = weighted(multiplicative, x.abs().clamp(min=EPS7).log())
        power = torch.minimum(power, torch.full_like(power, LARGEST_POWER))
        sign = identity_product(multiplicative.abs(), x.sign())
        return gate * weighted(additive, x) + (1 - gate) * torch.exp(power) * sign

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:  # noqa: ARG002
        """Return Σ over parameter tensors of mean max(20 - |p|, 0), which draws the parameters apart."""
        if kind != "inalu":
            return None
        return added(mean(torch.relu(LARGEST_POWER - w[part.name].abs())) for part in self.parts)

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity errors of both weights, their mean, and that of the gate."""
        first, second = map(sparsity_error, self.weights(w))
        return {
            "inalu/W_a": first,
            "inalu/W_m": second,
            "inalu/W": (first + second) / 2,
            "inalu/gate": sparsity_error(torch.sigmoid(w["g"])),
        }
