"""How the weights of penalties change during training: s(i) and β(i), each (L,)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.arithmetic.penalties import beta_levels
from orchestrator.lanes.lanes import Lanes

Schedule = Callable[[Tensor], Tensor]
"""Each lane's step, int64 (L,), to a factor (L,)."""


def ramp(step: Tensor, values: Any) -> Tensor:
    """Return s(i): it rises from 0 at ``start`` to 1 at ``end``."""
    rise: Tensor = ((step - values.start) / (values.end - values.start)).clamp(0, 1)
    return rise


def exponential(step: Tensor) -> Tensor:
    """Return s(i) = 1 - exp(-1e-5 i)."""
    return -torch.expm1(-1e-5 * step)


def beta(lanes: Lanes) -> Schedule:
    """Return β(i): every ``step`` iterations the next of its levels, which are exact decimal numbers."""
    levels = [beta_levels(p.l1.start, p.l1.end, p.l1.growth) for p in lanes.params]  # type: ignore[attr-defined]
    longest = max(map(len, levels))
    padded = np.array([row + row[-1:] * (longest - len(row)) for row in levels], np.float32)
    table, every = lanes.tensor(padded.T), lanes.values.l1.step

    def schedule(step: Tensor) -> Tensor:
        place = (step // every).clamp(max=longest - 1)
        return table.gather(0, place[None])[0]

    return schedule
