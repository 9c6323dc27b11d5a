"""The neural reciprocal unit (B. Mistry, K. Farrahi, J. Hare, arXiv 2110.05177, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import Penalty, Size, product
from experiments.arithmetic.modules.bounds import MinusOneOne
from experiments.arithmetic.parts import Constant, Part, Weights


class NRU(MinusOneOne):
    """y = Π (sign(x) |x|^W τ(W) + 1 - τ(W)), weights in [-1, 1]; τ is tanh²(1000 W) in training and |W| otherwise.

    With ``nru: {signs: separate}``: Π (|x|^W τ(W) + 1 - τ(W)) · Π sign(x)^round(W).
    """

    tag = "nru/W"

    def __init__(self, size: Size) -> None:
        super().__init__(size, low=-1 + size.options.bounds.lowest)
        self.separate, self.trash = size.options.nru.signs == "separate", size.options.nru.trash
        if self.trash:
            self.parts = (*self.parts, Part("trash", (1,), Constant(0.0)))

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        weights = self.effective(w)
        gate = (torch.tanh(1000 * weights).square() if training else weights.abs())[:, :, None]
        power = x.abs().pow(weights[:, :, None])
        if not self.separate:
            y = product(x.sign() * power * gate + 1 - gate, dim=1)
        else:
            # sign(x)^n of a whole n: 1 if n is 0, sign(x) if it is odd; |W| ≤ 1, so n is -1, 0 or 1.
            signs = torch.where(weights[:, :, None].round() == 0, torch.ones_like(x), x.sign())
            y = product(power * gate + 1 - gate, dim=1) * product(signs, dim=1)
        return y + w["trash"] if self.trash and training else y

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return a bounded module's term, or the size of the trash cell."""
        if kind == "trash":
            return w["trash"][0].abs() if self.trash else None
        return super().penalty(kind, w, x, noise)
