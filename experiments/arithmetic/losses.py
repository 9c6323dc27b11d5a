"""Training losses, each (L,), of predictions and targets (B, L)."""

from __future__ import annotations

import torch
from torch import Tensor

EPS32 = 2.0**-23


def mse(y: Tensor, t: Tensor) -> Tensor:
    """Return the mean squared error."""
    return (y - t).square().mean(0)


def mape(y: Tensor, t: Tensor) -> Tensor:
    """Return the mean absolute error, relative to the targets."""
    return ((t - y) / t).abs().mean(0)


def pcc(y: Tensor, t: Tensor) -> Tensor:
    """Return 1 - r, r Pearson's correlation, with an epsilon wherever something is divided by."""

    def standardised(values: Tensor) -> Tensor:
        centred = values - values.mean(0)
        return centred / (centred.square().mean(0).clamp(min=EPS32).sqrt() + EPS32)

    return 1 - (standardised(y) * standardised(t)).mean(0)


def criterion(kind: str, y: Tensor, t: Tensor, step: Tensor, mse_from: Tensor) -> Tensor:
    """Return the loss of this name; ``pcc-mse`` is the correlation's until iteration ``mse_from``."""
    match kind:
        case "mape":
            return mape(y, t)
        case "pcc":
            return pcc(y, t)
        case "pcc-mse":
            return torch.where(step < mse_from, pcc(y, t), mse(y, t))
        case _:
            return mse(y, t)
