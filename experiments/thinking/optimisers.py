"""Optimisers, their two groups of weights, and gradients that are zero instead of absent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from experiments.thinking.params import Thinking

RECURRENT = "recur"
"""What the names of the recurrent module's parameters have in them, and no others."""

OPTIMISERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda groups, **given: torch.optim.SGD(groups, momentum=0.9, **given),
    "adam": lambda groups, **given: torch.optim.Adam(groups, fused=True, **given),
    "adamw": lambda groups, **given: torch.optim.AdamW(groups, fused=True, **given),
    "adadelta": lambda groups, **given: torch.optim.Adadelta(groups, rho=0.9, eps=1e-6, **given),
}


def groups(net: nn.Module, p: Thinking) -> list[dict[str, Any]]:
    """Divide a net's parameters: one group; or two with ``lr_throttle``, the second one's step size divided by T.

    The second is the recurrent module, the recall convolution included; feed-forward nets have none, and it is empty.
    """
    named = list(net.named_parameters())
    if not p.lr_throttle:
        return [{"params": [weight for _, weight in named], "base": p.lr}]
    recurrent = [weight for name, weight in named if RECURRENT in name]
    others = [weight for name, weight in named if RECURRENT not in name]
    return [{"params": others, "base": p.lr}, {"params": recurrent, "base": p.lr / p.max_iters}]


def build(net: nn.Module, p: Thinking) -> Optimizer:
    """Make the optimiser of a net. Its groups keep their step size after the warm-up as ``base``."""
    made = OPTIMISERS[p.optimizer](groups(net, p), lr=p.lr, weight_decay=p.decay)
    set_rate(made, 1.0)
    return made


def set_rate(optimiser: Optimizer, factor: float) -> None:
    """Give every group its base step size times a factor."""
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * factor


def clear(optimiser: Optimizer, *, zero: bool) -> None:
    """Clear the gradients before a batch.

    Parameters
    ----------
    optimiser
        Of which.
    zero
        Weights that had a gradient before get zeros, as torch gave them until 2.0: Adam's momentum and weight decay
        then move them in batches that have no gradient for them, such as the projection's in a progressive loss.
        Otherwise such batches leave them alone.
    """
    optimiser.zero_grad(set_to_none=not zero)
    if zero:
        for group in optimiser.param_groups:
            for weight in group["params"]:
                if weight.grad is None and optimiser.state.get(weight):
                    weight.grad = torch.zeros_like(weight)  # after a checkpoint, which does not hold gradients
