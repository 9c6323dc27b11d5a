"""Neural power units: the complex NPU and the Real NPU (N. Heim, T. Pevný, V. Šmídl, arXiv 2006.01681)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import (
    EPS32,
    Module,
    Penalty,
    Size,
    linear,
    mean,
    sparsity_error,
    to_minus_one_zero_one,
    to_zero_one,
    total,
)
from experiments.arithmetic.parts import Constant, Part, Weights, glorot, half
from orchestrator.lanes.functions import cos


class RealNPU(Module):
    """y = exp(Σ W log r) · cos(Σ W k) with r = ĝ (|x| + ε) + 1 - ĝ, k = π ĝ [x < 0], and ĝ the gate g within [0, 1].

    ``npu.clip`` names what is clamped after each update: gates to [0, 1] (``g``), weights to [-1, 1] (``w``).
    """

    tag = "real_npu"

    def __init__(self, size: Size) -> None:
        init = (glorot if size.options.npu.init == "xavier-uniform" else half)(size.inputs, size.outputs)
        self.parts = (Part("W_real", (size.inputs, size.outputs), init), Part("g", (size.inputs,), Constant(0.5)))
        clip, regulariser = size.options.npu.clip, size.options.npu.regulariser
        self.clipped = frozenset(clip) if clip != "none" else frozenset[str]()
        self.to_zero_too = regulariser is not None and regulariser.values == "-1,0,1"

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        size, angle = self._polar(w, x)
        weights = w["W_real"][:, :, None]
        return torch.exp(total(size * weights)) * cos(total(angle * weights))

    def clamp(self, w: Weights) -> Weights:
        """Return the parameters, clamped as ``npu.clip`` says."""
        clamped = dict(w)
        if "w" in self.clipped:
            clamped["W_real"] = w["W_real"].clamp(-1, 1)
        if "g" in self.clipped:
            clamped["g"] = w["g"].clamp(0, 1)
        return clamped

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:  # noqa: ARG002
        """Return the term of the gates, or that of the weights."""
        match kind:
            case "g-NPU":
                return to_zero_one(linear, w["g"])
            case "W-NPU" if self.to_zero_too:
                return to_minus_one_zero_one(linear, w["W_real"])
            case "W-NPU":
                return mean((1 - w["W_real"].abs()).abs())
            case _:
                return None

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity errors of weights and gates."""
        return {
            f"{self.tag}/W_real": sparsity_error(w["W_real"]),
            f"{self.tag}/gate": sparsity_error(w["g"].clamp(0, 1)),
        }

    def _polar(self, w: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log r and k of the gated inputs, each (I, 1, B, L)."""
        gates = w["g"].clamp(0, 1)[:, None]  # torch's clamp passes gradients at 0 and 1
        magnitude = gates * (x.abs() + EPS32) + (1 - gates)
        angle = gates * torch.where(x < 0, math.pi, 0.0)
        return magnitude.log()[:, None], angle[:, None]


class NPU(RealNPU):
    """y = exp(Σ W log r - Σ V k) · cos(Σ W k + Σ V log r): W the real, V the imaginary part of a complex power.

    ``npu.clip: wig`` clamps both parts and the gates, and adds Σ |V| to the regulariser of the weights.
    """

    tag = "npu"

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        weights, gates = self.parts
        self.parts = (weights, Part("W_im", weights.shape, Constant(0.0)), gates)
        self.to_zero_too = False

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        size, angle = self._polar(w, x)
        real, imaginary = w["W_real"][:, :, None], w["W_im"][:, :, None]
        magnitude = torch.exp(total(size * real) - total(angle * imaginary))
        return magnitude * cos(total(angle * real) + total(size * imaginary))

    def clamp(self, w: Weights) -> Weights:
        """Return the parameters, clamped as ``npu.clip`` says."""
        clamped = dict(super().clamp(w))
        if "i" in self.clipped:
            clamped["W_im"] = w["W_im"].clamp(-1, 1)
        return clamped

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return the Real NPU's terms; that of the weights has the imaginary ones too where they are clamped."""
        term = super().penalty(kind, w, x, noise)
        if kind == "W-NPU" and term is not None and "i" in self.clipped:
            return term + total(w["W_im"].abs().flatten(0, 1))
        return term

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity errors of both weights and of the gates, and the sum of the first two."""
        errors = super().errors(w)
        errors["npu/W_im"] = sparsity_error(w["W_im"])
        return {**errors, "npu/W": errors["npu/W_real"] + errors["npu/W_im"]}
