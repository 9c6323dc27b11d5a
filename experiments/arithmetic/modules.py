"""The modules: NAU, NMU, Real NPU, NRU and NMRU with one output, for many lanes.

*Learning Division with Neural Arithmetic Logic Modules* (arXiv 2110.05177), sections 3 and 4; NAU and NMU: *Neural
Arithmetic Units* (arXiv 2001.05016). A module's parameters are packed into w, float32 (P, L); it reads inputs x,
float32 (I, B, L), and returns outputs (B, L). Features are chained one by one, so that a lane's arithmetic never
depends on how many lanes there are: no matrix product, and no ``prod``, whose gradient changes for all lanes when one
holds a zero.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from experiments.arithmetic.params import SingleLayer
from orchestrator.lanes.functions import cos

EPS32 = 2.0**-23
"""float32's machine epsilon. Real NPU adds it in training and evaluation, NMRU in training only, NRU never."""

Shape = Callable[[Tensor, Tensor], Tensor]


class Module(Protocol):
    """What the training loop needs of a module."""

    gates: int
    """Parameters that start at ½ and follow the weights in w."""

    def forward(self, w: Tensor, x: Tensor, *, training: bool) -> Tensor:
        """Return outputs (B, L)."""

    def clamp(self, w: Tensor) -> Tensor:
        """Return the parameters as they are put back into bounds after each update."""

    def sparsity(self, w: Tensor) -> Tensor:
        """Return the sparsity regulariser R(W), (L,)."""

    def errors(self, w: Tensor) -> dict[str, Tensor]:
        """Return the sparsity error of each weight tensor, max over its elements of min(|W|, |1-|W||), by tag."""


def build(params: SingleLayer) -> Module:
    """Return the module that the parameters name."""
    shape = SHAPES[params.regulariser.shape if params.regulariser else "linear"]
    match params.layer:
        case "nau":
            return NAU(shape)
        case "nmu":
            return NMU(shape)
        case "nru":
            return NRU(shape, separate_signs=params.nru.signs == "separate")
        case "nmru":
            return NMRU(shape)
        case "real-npu":
            return RealNPU(params.input_size, clip=params.npu.clip)


def _linear(first: Tensor, second: Tensor) -> Tensor:
    return torch.minimum(first.abs(), second.abs())


def _squared(first: Tensor, second: Tensor) -> Tensor:
    return first.square() * second.square()


SHAPES: dict[str, Shape] = {"linear": _linear, "squared": _squared}
"""The distance of a weight from two values, given its differences from them."""


def _product(factors: Tensor) -> Tensor:
    return functools.reduce(operator.mul, factors.unbind(0))


def _sum(terms: Tensor) -> Tensor:
    return functools.reduce(operator.add, terms.unbind(0))


def _mean(terms: Tensor) -> Tensor:
    return _sum(terms) / len(terms)


def _error(w: Tensor) -> Tensor:
    return functools.reduce(torch.maximum, _linear(w, 1 - w.abs()).unbind(0))


def _to_minus_one_zero_one(shape: Shape, w: Tensor) -> Tensor:
    return _mean(shape(w, 1 - w.abs()))


def _to_zero_one(shape: Shape, w: Tensor) -> Tensor:
    return _mean(shape(w, 1 - w))


@dataclass(frozen=True)
class NAU:
    """y = Σ W x, weights in [-1, 1]."""

    shape: Shape
    gates = 0

    def forward(self, w: Tensor, x: Tensor, *, training: bool) -> Tensor:  # noqa: ARG002
        """Return outputs (B, L)."""
        return _sum(self.clamp(w)[:, None] * x)

    def clamp(self, w: Tensor) -> Tensor:
        """Return weights within [-1, 1]."""
        return w.clamp(-1, 1)

    def sparsity(self, w: Tensor) -> Tensor:
        """Return R(W), which draws weights to -1, 0 or 1."""
        return _to_minus_one_zero_one(self.shape, w)

    def errors(self, w: Tensor) -> dict[str, Tensor]:
        """Return the sparsity error of the weights as the forward pass uses them."""
        return {"network/layer_1/nac/W/sparsity_error": _error(self.clamp(w))}


@dataclass(frozen=True)
class NMU:
    """y = Π (W x + 1 - W), weights in [0, 1]."""

    shape: Shape
    gates = 0

    def forward(self, w: Tensor, x: Tensor, *, training: bool) -> Tensor:  # noqa: ARG002
        """Return outputs (B, L)."""
        w = w[:, None]
        return _product(w * x + 1 - w)

    def clamp(self, w: Tensor) -> Tensor:
        """Return weights within [0, 1]."""
        return w.clamp(0, 1)

    def sparsity(self, w: Tensor) -> Tensor:
        """Return R(W), which draws weights to 0 or 1."""
        return _to_zero_one(self.shape, w)

    def errors(self, w: Tensor) -> dict[str, Tensor]:
        """Return the sparsity error of the weights."""
        return {"network/layer_1/nac/W/sparsity_error": _error(w)}


@dataclass(frozen=True)
class NMRU(NMU):
    """y = Π (W |x̃| + 1 - W) · cos(π Σ W [x̃ < 0]) of x̃ = (x, 1/x), weights in [0, 1]: w is (2 I, L)."""

    def forward(self, w: Tensor, x: Tensor, *, training: bool) -> Tensor:
        """Return outputs (B, L); in training the reciprocals are of x + ε."""
        both = torch.cat([x, 1 / (x + EPS32 if training else x)])
        w = w[:, None]
        magnitude = _product(w * both.abs() + 1 - w)
        return magnitude * cos(_sum(torch.where(both < 0, math.pi, 0.0) * w))

    def errors(self, w: Tensor) -> dict[str, Tensor]:
        """Return the sparsity error of the weights."""
        return {"network/layer_1/nmru-sign/W/sparsity_error": _error(w)}


@dataclass(frozen=True)
class NRU(NAU):
    """y = Π (sign(x) |x|^W τ(W) + 1 - τ(W)), weights in [-1, 1]; τ is tanh²(1000 W) in training and |W| otherwise."""

    separate_signs: bool = False
    """y = Π (|x|^W τ(W) + 1 - τ(W)) · Π sign(x)^round(W) instead."""

    def forward(self, w: Tensor, x: Tensor, *, training: bool) -> Tensor:
        """Return outputs (B, L)."""
        gate = (torch.tanh(1000 * w).square() if training else w.abs())[:, None]
        power = x.abs().pow(w[:, None])
        if not self.separate_signs:
            return _product(x.sign() * power * gate + 1 - gate)
        # sign(x)^n of a whole n: 1 if n is 0, sign(x) if it is odd; |W| ≤ 1, so n is -1, 0 or 1.
        signs = torch.where(w[:, None].round() == 0, torch.ones_like(x), x.sign())
        return _product(power * gate + 1 - gate) * _product(signs)

    def errors(self, w: Tensor) -> dict[str, Tensor]:
        """Return the sparsity error of the weights."""
        return {"network/layer_1/nru/W/sparsity_error": _error(w)}


@dataclass(frozen=True)
class RealNPU:
    """y = exp(Σ W log r) · cos(π Σ W ĝ [x < 0]) with r = ĝ (|x| + ε) + 1 - ĝ and ĝ the gate g within [0, 1].

    w holds the weights (I, L), then the gates (I, L). ``clip`` names what is clamped after each update: gates to
    [0, 1] (``g``), weights to [-1, 1] (``w``).
    """

    inputs: int
    clip: str

    @property
    def gates(self) -> int:
        """One gate per input."""
        return self.inputs

    def forward(self, w: Tensor, x: Tensor, *, training: bool) -> Tensor:  # noqa: ARG002
        """Return outputs (B, L)."""
        weights, gates = self._parts(w)
        weights, gates = weights[:, None], gates.clamp(0, 1)[:, None]  # torch's clamp passes gradients at 0 and 1
        magnitude = gates * (x.abs() + EPS32) + (1 - gates)
        angle = gates * torch.where(x < 0, math.pi, 0.0)
        return torch.exp(_sum(magnitude.log() * weights)) * cos(_sum(angle * weights))

    def clamp(self, w: Tensor) -> Tensor:
        """Return the parameters, clamped as ``clip`` says."""
        weights, gates = self._parts(w)
        if "w" in self.clip:
            weights = weights.clamp(-1, 1)
        if "g" in self.clip:
            gates = gates.clamp(0, 1)
        return torch.cat([weights, gates])

    def sparsity(self, w: Tensor) -> Tensor:
        """Return zero: the Real NPU has regularisers of its own."""
        return torch.zeros_like(w[0])

    def gate_regulariser(self, w: Tensor) -> Tensor:
        """Return mean min(|g|, |1 - g|), (L,), which draws gates to 0 or 1."""
        return _to_zero_one(_linear, self._parts(w)[1])

    def weight_regulariser(self, w: Tensor) -> Tensor:
        """Return mean |1 - |W||, (L,), which draws weights to -1 or 1."""
        return _mean((1 - self._parts(w)[0].abs()).abs())

    def errors(self, w: Tensor) -> dict[str, Tensor]:
        """Return the sparsity errors of weights and gates."""
        weights, gates = self._parts(w)
        return {
            "network/layer_1/real_npu/W_real/sparsity_error": _error(weights),
            "network/layer_1/real_npu/gate/sparsity_error": _error(gates.clamp(0, 1)),
        }

    def _parts(self, w: Tensor) -> tuple[Tensor, Tensor]:
        return w[: self.inputs], w[self.inputs :]
