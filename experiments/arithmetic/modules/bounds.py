"""Modules whose weights are bounded: within [-1, 1], as an NAU's, or within [0, 1], as an NMU's.

By default the raw weight is what the forward pass uses, and it is clamped after each update. With ``bounds: {mode:
regularised}`` the forward pass uses a clamped copy, and only a penalty holds the weight itself.
"""

from __future__ import annotations

from torch import Tensor

from experiments.arithmetic.modules.base import (
    Module,
    Penalty,
    Size,
    nau_identity,
    nmu_identity,
    outside,
    sparsity_error,
    to_minus_one_zero_one,
    to_zero_one,
)
from experiments.arithmetic.parts import Beta, Init, Part, Uniform, Weights, half


class Bounded(Module):
    """A module with one weight tensor W, (O, I), between two bounds."""

    tag = "nac/W"

    def __init__(self, size: Size, init: Init, low: float, columns: int | None = None) -> None:
        self.parts = (Part("W", (size.outputs, columns or size.inputs), init),)
        self.low, self.clips, self.distance = low, size.options.bounds.mode == "clip", size.shape

    def effective(self, w: Weights) -> Tensor:
        """Return the weights as the forward pass uses them, (O, I, L)."""
        return w["W"] if self.clips else w["W"].clamp(self.low, 1)

    def seen(self, x: Tensor, noise: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return the inputs that the weights meet, (I, B, L), given those of the module."""
        return x

    def clamp(self, w: Weights) -> Weights:
        """Return weights within their bounds, or as they are where a penalty holds them."""
        return {**w, "W": w["W"].clamp(self.low, 1)} if self.clips else w

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity error of the weights as the forward pass uses them."""
        return {self.tag: sparsity_error(self.effective(w))}


class MinusOneOne(Bounded):
    """Weights within [-1, 1], drawn to -1, 0 or 1; inputs that are not used are drawn to 0."""

    def __init__(self, size: Size, low: float = -1.0) -> None:
        init = Beta(7.0) if size.options.nau.init == "beta" else half(size.inputs, size.outputs)
        super().__init__(size, init, low)

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return the sparsity regulariser of the raw weights, R_z, or what is out of bounds."""
        match kind:
            case "W":
                return to_minus_one_zero_one(self.distance, w["W"])
            case "z":
                return nau_identity(w["W"], self.seen(x, noise))
            case "W-OOB" if not self.clips:
                return outside(self.distance, w["W"].abs() - 1)
            case _:
                return None


class ZeroOne(Bounded):
    """Weights within [0, 1], drawn to 0 or 1; inputs that are not used are drawn to 1."""

    def __init__(self, size: Size, columns: int | None = None) -> None:
        super().__init__(size, Uniform(0.25, 0.75), size.options.bounds.lowest, columns)

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return the sparsity regulariser of the raw weights, R_z, or what is out of bounds."""
        match kind:
            case "W":
                return to_zero_one(self.distance, w["W"])
            case "z":
                return nmu_identity(w["W"], self.seen(x, noise))
            case "W-OOB" if not self.clips:
                return outside(self.distance, (w["W"] - 0.5).abs() - 0.5)
            case _:
                return None
