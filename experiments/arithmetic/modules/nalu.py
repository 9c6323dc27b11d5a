"""The NALU with all its gates and multiplications, G-NALU among them, and the gated NAU/NMU.

A. Trask et al., *Neural Arithmetic Logic Units* (arXiv 1808.00508); its variants: *Neural Arithmetic Units* (arXiv
2001.05016), and *A Primer for Neural Arithmetic Logic Modules* (JMLR 2022) for the golden ratio.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import EPS7, Module, Penalty, Size, added, weighted
from experiments.arithmetic.modules.nac import GOLDEN, LOGARITHMS
from experiments.arithmetic.parts import Constant, Part, Weights, glorot, under, within

TINY = 1e-8
"""Keeps the logarithms of Gumbel noise finite."""


class NALU(Module):
    """y = g ⊙ a(x) + (1 - g) ⊙ m(x) with a gate g = σ(G x), an additive unit a and a multiplicative one m.

    By default a is NAC₊ and m(x) = exp(a(log(|x| + 1e-7))), with the same weights.
    """

    def __init__(self, size: Size, additive: Module, multiplicative: Module | None) -> None:
        options = size.options.nalu
        self.options, self.additive, self.multiplicative = options, additive, multiplicative
        gate = glorot(size.inputs, size.outputs)
        names = ["add", "mul"] if options.gates == "two" else ["add"]
        self.parts = under("nac_add.", additive.parts)
        if multiplicative is not None:
            self.parts += under("nac_mul.", multiplicative.parts)
        self.parts += tuple(Part(f"G_{name}", (size.outputs, size.inputs), gate) for name in names)
        if options.bias:
            self.parts += tuple(Part(f"bias_{name}", (size.outputs,), Constant(0.0)) for name in names)
        self.names, self.size = names, size

    def noise(self, rows: int) -> int:
        """One number for each output, or for each output and row, where the gate is noisy."""
        count = {"gumbel": self.size.outputs, "gumbel-per-row": self.size.outputs * rows}.get(self.options.gate, 0)
        return count * len(self.names)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:
        """Return outputs (O, B, L)."""
        gates = self._gates(w, x, noise if training else None)
        first, second = gates if len(gates) == 2 else (gates[0], 1 - gates[0])
        added = self.additive.forward(within("nac_add.", w), x, training=training)
        return first * added + second * self._multiplied(w, x, training=training)

    def clamp(self, w: Weights) -> Weights:
        """Return the units' parameters, each within its bounds."""
        clamped = dict(w)
        for prefix, unit in self._units():
            bounded = unit.clamp(within(prefix, w))
            clamped |= {prefix + name: value for name, value in bounded.items()}
        return clamped

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return Σ g² (1 - g)² over batch and outputs, or the sum of the units' terms."""
        if kind == "g":
            if self.options.gate != "regularised":
                return None
            return added((g.square() * (1 - g).square()).sum(1).sum(0) for g in self._gates(w, x, noise))
        return added(
            unit.penalty(kind, within(prefix, w), seen)
            for (prefix, unit), seen in zip(self._units(), self._seen(x), strict=True)
        )

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity errors of the units' weights."""
        found = {}
        for prefix, unit in self._units():
            name = "nac" if self.multiplicative is None else prefix.removesuffix(".")
            for tag, error in unit.errors(within(prefix, w)).items():
                found[f"nalu/{name}/{tag.rpartition('/')[2]}"] = error
        return found

    def gates(self, w: Weights, x: Tensor) -> dict[str, Tensor]:
        """Return the mean of the gate g: 1 where sums are all that counts, 0 where products are."""
        return {"nalu/gate/mean": self._gates(w, x, None)[0].mean((0, 1), dtype=torch.float64)}

    def _units(self) -> list[tuple[str, Module]]:
        units = [("nac_add.", self.additive)]
        return units if self.multiplicative is None else [*units, ("nac_mul.", self.multiplicative)]

    def _seen(self, x: Tensor) -> list[Tensor]:
        """Return what each unit has seen of a batch: one that is shared, the inputs and their logarithms."""
        second = x if self.options.multiplication == "nmu" else self._logarithm(x)
        return [torch.cat([x, second], dim=1)] if self.multiplicative is None else [x, second]

    def _gates(self, w: Weights, x: Tensor, noise: Tensor | None) -> list[Tensor]:
        gates = []
        for number, name in enumerate(self.names):
            logits = weighted(w[f"G_{name}"][:, :, None], x)
            if self.options.bias:
                logits = logits + w[f"bias_{name}"][:, None]
            if noise is not None:
                logits = logits + self._gumbel(noise.chunk(len(self.names))[number], x)
            gates.append(torch.sigmoid(logits * math.log(GOLDEN) if self.options.gate == "golden-ratio" else logits))
        return gates

    def _gumbel(self, unit: Tensor, x: Tensor) -> Tensor:
        gumbel = -torch.log(TINY - torch.log(unit + TINY))
        if self.options.gate == "gumbel":
            return gumbel[:, None]
        return gumbel.view(x.shape[1], self.size.outputs, -1).transpose(0, 1)

    def _logarithm(self, x: Tensor) -> Tensor:
        if self.options.multiplication == "trig":
            return torch.log(x + (x.square() + 1).sqrt() + EPS7)
        return LOGARITHMS["safe" if self.options.multiplication == "safe" else "plain"](x)

    def _multiplied(self, w: Weights, x: Tensor, *, training: bool) -> Tensor:
        prefix, unit = self._units()[-1]
        if self.options.multiplication == "nmu":
            return unit.forward(within(prefix, w), x, training=training)
        power = unit.forward(within(prefix, w), self._logarithm(x), training=training)
        return torch.sinh(power) if self.options.multiplication == "trig" else torch.exp(power)
