"""The part of the loss that is not the criterion: every penalty times its weight and its schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.arithmetic.modules import Module, Penalty
from experiments.arithmetic.modules.base import added
from experiments.arithmetic.parts import Weights
from experiments.arithmetic.schedules import beta, exponential, ramp
from experiments.arithmetic.streams import Batch
from orchestrator.lanes.lanes import Lanes

INALU_WEIGHT, INALU_START, INALU_ERROR = 0.05, 10_000, 1.0
"""The iNALU's regulariser: its weight, and that it acts after so many iterations where the last error is below this."""


class PenaltyTerms:
    """The penalties that the parameters of some lanes ask for."""

    def __init__(self, lanes: Lanes, network: Module) -> None:
        self.network, self.static, self.values = network, lanes.static, lanes.values
        self.beta = beta(lanes) if lanes.static.l1 is not None else None

    def __call__(self, w: Weights, step: Tensor, batch: Batch, last_error: Tensor | None) -> Tensor:
        """Return the sum of all penalties, (L,); ``last_error`` is the last validation error, where it is noted."""
        s, p = self.static, self.values
        terms = []

        def term(kind: Penalty) -> Tensor | None:
            return self.network.penalty(kind, w, batch.x, batch.noise)

        if s.regulariser is not None and (sparsity := term("W")) is not None:
            scale = ramp(step, p.regulariser) if s.regulariser.scale == "ramp" else exponential(step)
            terms.append(p.regulariser.weight * scale * sparsity)
        terms.append(term("g"))
        if s.identity is not None and (identity := term("z")) is not None:
            terms.append(p.identity.weight * identity)
        if (outside := term("W-OOB")) is not None:
            terms.append(p.bounds.weight * outside)
        if s.l1 is not None and s.l1.norm:
            assert self.beta is not None
            terms.append(self.beta(step) * _norm(w, s.l1.norm))
        if s.npu.regulariser is not None:
            r = p.npu.regulariser
            scale = ramp(step, r) if self.beta is None or s.npu.regulariser.scale == "ramp" else self.beta(step)
            weights, gates = term("W-NPU"), term("g-NPU")
            both = added([None if weights is None else r.weights * weights, None if gates is None else r.gate * gates])
            terms.append(None if both is None else scale * both)
        terms.append(term("trash"))
        if last_error is not None and (inalu := term("inalu")) is not None:
            active = (last_error < INALU_ERROR) & (step > INALU_START)
            terms.append(torch.where(active, INALU_WEIGHT * inalu, 0.0))
        found = added(terms)
        return torch.zeros_like(step, dtype=batch.t.dtype) if found is None else found

    def schedules(self, step: Tensor) -> dict[str, Tensor]:
        """Return what is logged of the schedules, by tag."""
        return {} if self.beta is None else {"L1/train/beta": self.beta(step)}


def _norm(w: Weights, order: int) -> Tensor:
    """Return the sum over parameter tensors of their L1 norms, or of their L2 norms, (L,)."""
    flat = [part.flatten(0, -2) for part in w.values()]
    if order == 1:
        return torch.cat(flat).abs().sum(0)
    squares = [part.square().sum(0) for part in flat]
    # The gradient of a norm at zero is zero, not 0 / 0.
    sizes = [torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0) for square in squares]
    return torch.stack(sizes).sum(0)
