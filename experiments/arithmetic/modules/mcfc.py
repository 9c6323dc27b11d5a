"""Mass-conserving layers: MCFC, and its multiplicative forms.

P.-J. Hoedt et al., *MC-LSTM: Mass-Conserving LSTM* (arXiv 2101.05186); the forms with signs: notes of the code of *A
Primer for Neural Arithmetic Logic Modules* (JMLR 2022).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import (
    Module,
    Penalty,
    Size,
    identity_product,
    linear,
    mean,
    sparsity_error,
    to_zero_one,
    weighted,
)
from experiments.arithmetic.parts import Constant, Orthogonal, Part, Weights, symmetric
from orchestrator.lanes.functions import cos

Signs = Literal["none", "inalu", "real-npu"]


class MCFC(Module):
    """y = σ(w + b) ⊙ (x J): J, the softmax of R over the outputs, shares each input out among them."""

    def __init__(self, size: Size) -> None:
        outputs = size.outputs
        self.parts = (
            Part("out_gate.weight", (outputs, 1), Orthogonal()),
            Part("out_gate.bias", (outputs,), Constant(0.0)),
            Part("junction", (size.inputs, outputs), Orthogonal(identity=True)),
        )
        # What a linear layer and the two initialisers draw when they are made.
        made = symmetric(1.0)
        self.before = (
            Part("", (outputs, 1), made),
            Part("", (outputs,), made),
            Part("", (outputs, 1), Orthogonal()),
            Part("", (size.inputs, outputs), Orthogonal(identity=True)),
        )

    def junction(self, w: Weights) -> Tensor:
        """Return J, (O, I, L)."""
        return torch.softmax(w["junction"], dim=1).transpose(0, 1)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        gate = torch.sigmoid(w["out_gate.weight"][:, 0] + w["out_gate.bias"])
        return gate[:, None] * weighted(self.junction(w)[:, :, None], x)

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:  # noqa: ARG002
        """Return minus the mean squares of the parameters: they are rewarded for growing."""
        if kind != "W":
            return None
        return -mean(w["junction"].square()) - mean(w["out_gate.weight"].square()) - mean(w["out_gate.bias"].square())

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity errors of J and of the gate."""
        gate = torch.sigmoid(w["out_gate.weight"][:, 0] + w["out_gate.bias"])
        return {"MCFC/W": sparsity_error(self.junction(w)), "MCFC/out_gate": sparsity_error(gate)}


class MulMCFC(Module):
    """y = exp(MCFC(log x) + β), or of |x| with a sign that is found as in an iNALU or as in a Real NPU."""

    def __init__(self, size: Size, signs: Signs = "none") -> None:
        self.inner, self.signs = MCFC(size), signs
        self.before = self.inner.before
        self.parts = (*self.inner.parts, Part("bias", (size.outputs,), Constant(0.0)))
        if signs == "real-npu":
            self.parts = (*self.parts, Part("g", (size.inputs,), Constant(0.5)))

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        logarithm = torch.log(x if self.signs == "none" else x.abs())
        magnitude = torch.exp(self.inner.forward(w, logarithm, training=training) + w["bias"][:, None])
        junction = self.inner.junction(w)[:, :, None]
        match self.signs:
            case "none":
                return magnitude
            case "inalu":
                return magnitude * identity_product(junction.abs(), x.sign())
            case "real-npu":
                angle = w["g"].clamp(0, 1)[:, None] * torch.where(x < 0, math.pi, 0.0)
                return magnitude * cos(weighted(junction, angle))

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return the MCFC's term, or that of the gates."""
        if kind == "g-NPU":
            return to_zero_one(linear, w["g"]) if self.signs == "real-npu" else None
        return self.inner.penalty(kind, w, x, noise)

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the MCFC's sparsity errors."""
        return self.inner.errors(w)
