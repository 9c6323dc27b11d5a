"""The neural multiplicative reciprocal unit and its ablations (arXiv 2110.05177, section 4 and appendix)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import EPS32, Penalty, Size, linear, to_zero_one, weighted
from experiments.arithmetic.modules.nmu import NMU
from experiments.arithmetic.parts import Constant, Part, Weights
from orchestrator.lanes.functions import cos

Signs = Literal["cosine", "gated", "none"]


class NMRU(NMU):
    """y = Π (W |x̃| + 1 - W) · cos(π Σ W [x̃ < 0]) of x̃ = (x, 1/x), weights (O, 2 I) in [0, 1].

    In training the reciprocals are of x + ε. ``signs: none`` is the product of x̃ itself, an NMU of inputs and
    reciprocals; ``gated`` multiplies x̃ by gates g first, so that a closed gate makes the factor 1 - W.
    """

    tag = "nmru-sign/W"

    def __init__(self, size: Size, signs: Signs = "cosine") -> None:
        super().__init__(size, columns=2 * size.inputs)
        self.signs = signs
        self.tag = {"cosine": "nmru-sign/W", "gated": "gated-nmru-sign/W", "none": "nmru/W"}[signs]
        if signs == "gated":
            self.parts = (*self.parts, Part("g", (2 * size.inputs,), Constant(0.5)))

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:
        """Return outputs (O, B, L)."""
        both = self._extended(w, x, training=training)
        if self.signs == "none":
            return super().forward(w, both, training=training, noise=noise)
        weights = self.effective(w)[:, :, None]
        magnitude = self.multiplied(weights, both.abs(), noise if training else None)
        raw = weights if self.clips else w["W"][:, :, None]
        return magnitude * cos(weighted(raw, torch.where(both < 0, math.pi, 0.0)))

    def clamp(self, w: Weights) -> Weights:
        """Return weights within [0, 1], and gates too."""
        clamped = super().clamp(w)
        return {**clamped, "g": w["g"].clamp(0, 1)} if self.signs == "gated" else clamped

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return an NMU's term for x̃, or that of the gates."""
        if kind == "g-NPU":
            return to_zero_one(linear, w["g"]) if self.signs == "gated" else None
        both = self._extended(w, x, training=True)
        return super().penalty(kind, w, both if self.signs == "none" else both.abs(), noise)

    def _extended(self, w: Weights, x: Tensor, *, training: bool) -> Tensor:
        both = torch.cat([x, 1 / (x + EPS32 if training else x)])
        return both * w["g"][:, None] if self.signs == "gated" else both
