"""Errors of modules at their gold weights: how well they can divide by small numbers at all.

Figure 5 of *Learning Division with Neural Arithmetic Logic Modules* (arXiv 2110.05177), and the thresholds of its
Figures 11 to 13: float32, on the 10,000 rows of the test set. The NRU is a plain product of powers here, as in the
papers' code; what its gated form can reach is :func:`reachable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from experiments.arithmetic import modules
from experiments.arithmetic.data import evaluation
from experiments.arithmetic.params import SingleLayer

EPS32 = 2.0**-23

Level = Literal["easy", "medium", "hard"]
TASKS: dict[Level, dict[str, object]] = {
    "easy": {"operation": "reciprocal", "input_size": 1, "subsets": 1},
    "medium": {"operation": "reciprocal", "input_size": 2},
    "hard": {"operation": "div", "input_size": 2},
}
"""Input a and target 1/a; inputs a, b and target 1/a; inputs a, b and target a/b."""

POWERS: dict[Level, list[float]] = {"easy": [-1.0], "medium": [-1.0, 0.0], "hard": [1.0, -1.0]}
REAL_NPU: dict[Level, tuple[list[float], list[float]]] = {
    "easy": ([-1.0], [1.0]),
    "medium": ([-1.0, 1.0], [1.0, 0.0]),
    "hard": ([1.0, -1.0], [1.0, 1.0]),
}
"""Weights and gates."""
NMRU: dict[Level, list[float]] = {"easy": [0.0, 1.0], "medium": [0.0, 0.0, 1.0, 0.0], "hard": [1.0, 0.0, 0.0, 1.0]}


class Gold(NamedTuple):
    """One row of the table."""

    level: Level
    module: str
    high: float
    """Inputs come from U[0, high)."""
    error: float
    """Mean squared error at the gold weights."""


def test_set(level: Level, high: float) -> tuple[Tensor, Tensor]:
    """Return the test inputs, float32 (I, N, 1), and their targets, float32 (N, 1)."""
    params = SingleLayer.model_validate(
        TASKS[level] | {"layer": "nru", "interpolation": [0, high], "extrapolation": [0, high]}
    )
    sets = evaluation([params], "extrapolation")
    return torch.from_numpy(sets.x[:, 0, :, None]), torch.from_numpy(sets.t.T)


def _powers(level: Level, x: Tensor) -> Tensor:
    y = torch.ones_like(x[0])
    for column, power in zip(x, POWERS[level], strict=True):
        y = y * column.pow(torch.full_like(column, power))  # a scalar power of -1 would be a reciprocal, rounded once
    return y


def _real_npu(level: Level, x: Tensor, epsilon: float) -> Tensor:
    weights, gates = (torch.tensor(values)[:, None, None] for values in REAL_NPU[level])
    magnitude = gates * (x.abs() + epsilon) + (1 - gates)
    return torch.exp((magnitude.log() * weights).sum(0))  # no input is negative


def _nmru(level: Level, x: Tensor) -> Tensor:
    params = SingleLayer.model_validate({"layer": "nmru"})
    module = modules.build("nmru", len(x), 1, params)
    return module.forward({"W": torch.tensor(NMRU[level])[None, :, None]}, x, training=False)[0]


FORMS: dict[str, Callable[[Level, Tensor], Tensor]] = {
    "Real NPU": lambda level, x: _real_npu(level, x, EPS32),
    "Real NPU (eps=0)": lambda level, x: _real_npu(level, x, 0.0),
    "NRU": _powers,
    "NMRU": _nmru,
}
"""The modules of Figure 5, in its order."""


def reachable(level: Level, high: float) -> float:
    """Return the error of an NRU in its own, gated form at gold weights: 1 is added to each factor and taken off."""
    x, t = test_set(level, high)
    module = modules.build("nru", len(x), 1, SingleLayer.model_validate({"layer": "nru"}))
    y = module.forward({"W": torch.tensor(POWERS[level])[None, :, None]}, x, training=False)[0]
    return _mse(y, t)


def errors(levels: list[Level], highs: list[float]) -> Iterator[Gold]:
    """Yield the error of every module at every level and range."""
    for level in levels:
        for high in highs:
            x, t = test_set(level, high)
            for name, form in FORMS.items():
                yield Gold(level, name, high, _mse(form(level, x), t))


def _mse(y: Tensor, t: Tensor) -> float:
    return float((y - t).square().mean())
