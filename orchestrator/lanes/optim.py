"""Optimisers for packed parameters, with a learning rate per lane.

Parameters, gradients and moments are float32 (..., L); everything per lane is (L,). The order of operations is that of
``torch.optim``, so that one lane agrees with it to rounding.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """What Adam remembers: running means of the gradient and of its square."""

    first: Tensor
    second: Tensor

    @classmethod
    def zeros(cls, w: Tensor) -> Moments:
        """Return the moments before the first update of parameters ``w``."""
        return cls(torch.zeros_like(w), torch.zeros_like(w))


def adam(
    w: Tensor,
    grad: Tensor,
    moments: Moments,
    step: Tensor,
    lr: Tensor,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Tensor, Moments]:
    """Return parameters and moments after one update of Adam (D. Kingma, J. Ba, arXiv 1412.6980, algorithm 1).

    ``step`` counts a lane's updates from 0; ``lr`` is its learning rate.
    """
    first = moments.first + (grad - moments.first) * (1 - betas[0])
    second = moments.second * betas[1] + grad * grad * (1 - betas[1])
    # 1 - βᵗ through expm1: exact where βᵗ is close to 1, in single precision too.
    t = (step + 1).to(w.dtype)
    corrected = -torch.expm1(t * math.log(betas[0]))
    scale = torch.sqrt(-torch.expm1(t * math.log(betas[1])))
    return w - (lr / corrected) * (first / (second.sqrt() / scale + eps)), Moments(first, second)


def sgd(w: Tensor, grad: Tensor, lr: Tensor) -> Tensor:
    """Return parameters after one step of gradient descent."""
    return w - lr * grad


def momentum(w: Tensor, grad: Tensor, velocity: Tensor, lr: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    """Return parameters and velocity after one step of gradient descent with momentum (not Nesterov's).

    The velocity begins as zeros and takes up each gradient in full, as that of ``torch.optim.SGD`` does.
    """
    velocity = decay * velocity + grad
    return w - lr * velocity, velocity


def clip_norm(grad: Tensor, limit: Tensor) -> Tensor:
    """Scale each lane's gradient to at most ``limit`` in L2 norm; a NaN limit leaves the lane alone.

    The factor is min(1, limit / (norm + 10⁻⁶)), as ``torch.nn.utils.clip_grad_norm_`` has it, and each lane's norm is
    over its own parameters only: a lane that diverges cannot touch another.
    """
    norm = grad.square().reshape(-1, grad.shape[-1]).sum(0).sqrt()
    return grad * torch.where(limit.isnan(), 1.0, (limit / (norm + 1e-6)).clamp(max=1.0))


def clip_value(grad: Tensor, limit: Tensor) -> Tensor:
    """Clamp every part of a lane's gradient to [-limit, limit]; a NaN limit leaves the lane alone."""
    return torch.where(limit.isnan(), grad, torch.minimum(torch.maximum(grad, -limit), limit))
