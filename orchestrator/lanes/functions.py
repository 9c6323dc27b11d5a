"""Functions whose vector code looks at several lanes at once, made to look at one.

A vectorised cosine takes a slower and slightly different way for all numbers of a vector when one of them is large,
infinite or NaN: a lane that diverges would change the last bits of its neighbours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TURN = (6.28125, 2 * math.pi - 6.28125)
"""2π in two parts; whole multiples of the first are exact."""


def cos(angle: Tensor) -> Tensor:
    """Return the cosine, lane by lane; NaN where the angle is not finite.

    Angles within [-π, π] go to the cosine as they are, others less whole turns. Those that are so large (10⁵) that
    single precision cannot tell where on the circle they are may come out as 1.
    """
    turns = torch.round(angle.detach() * (1 / (2 * math.pi)))
    reduced = angle - turns * _TURN[0] - turns * _TURN[1]
    safe = torch.where(reduced.abs() <= 4, reduced, 0.0)
    return torch.where(angle.isfinite(), torch.cos(safe), torch.nan)
