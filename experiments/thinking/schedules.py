"""How the step size goes over the epochs: an exponential warm-up, then steps or a cosine.

The published code multiplies what stands in the optimiser, and its warm-up writes over it. What comes of that is a
function of the epoch alone, and so it stands here: a run that resumes has no schedule to restore.
"""

from __future__ import annotations

import math

from experiments.thinking.params import Thinking


def warmup(epoch: int, period: int) -> float:
    """Return the factor of the exponential warm-up, 1 − exp(−(e + 1) / p) while e + 1 < p (spec §3.4)."""
    return 1 - math.exp(-(epoch + 1) / period) if epoch + 1 < period else 1.0


def decay(p: Thinking, epoch: int) -> float:
    """Return the factor of the decay, were there no warm-up; epochs count from 0."""
    if p.lr_decay == "cosine":
        return (1 + math.cos(math.pi * epoch / p.epochs)) / 2
    return p.lr_factor ** sum(epoch >= milestone for milestone in p.lr_schedule)


def factor(p: Thinking, epoch: int) -> float:
    """Return the factor of the step size in an epoch, counted from 0.

    While it lasts, the warm-up sets the step size whatever the decay says; from its end on, the decay goes on from
    there. So a step that falls into the warm-up is lost, and a cosine begins at its end with the full step size.
    """
    last = max(p.warmup_period - 1, 0)
    if epoch < last:
        return warmup(epoch, p.warmup_period)
    before = decay(p, last) if p.warmup_period else 1.0
    return decay(p, epoch) / before if before else 0.0
