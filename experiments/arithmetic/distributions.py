"""Distributions of inputs, as grids spell them, and how they draw numbers on the host. No torch.

The papers draw from NumPy's ``RandomState``; what is drawn here are its numbers. Training batches are drawn on the
device: ``experiments/arithmetic/streams.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from experiments.arithmetic.ranges import Spans
from orchestrator.experiment import Group, Lane

Doubles = npt.NDArray[np.float64]
Positive = Annotated[float, Field(gt=0)]
Draw = Callable[[np.random.RandomState, float, float, tuple[int, int]], Doubles]

BENFORD = (0.0, 0.301, 0.176, 0.125, 0.097, 0.079, 0.067, 0.058, 0.051, 0.046)
"""Probability of each first digit."""


class Uniform(Group):
    """U[low, high)."""

    kind: Literal["uniform"] = Field("uniform", description="every number of the range alike")


class TruncatedNormal(Group):
    """A normal distribution cut to the range; training and validation have one, the test another."""

    kind: Literal["truncated-normal"] = Field(description="a normal distribution, cut to the range")
    mean: Lane[float] = Field(0.0, description="of training and validation inputs, before the cut")
    std: Lane[Positive] = Field(1.0, description="of training and validation inputs, before the cut")
    test_mean: Lane[float] = Field(10.0, description="of test inputs, before the cut")
    test_std: Lane[Positive] = Field(1.0, description="of test inputs, before the cut")


class Exponential(Group):
    """An exponential distribution; ranges do not matter."""

    kind: Literal["exponential"] = Field(description="an exponential distribution, whatever the range")
    scale: Lane[Positive] = Field(1.0, description="its mean")


class Benford(Group):
    """Whole numbers whose first digit follows Benford's law, from a range of one order of magnitude."""

    kind: Literal["benford"] = Field(description="whole numbers whose first digit follows Benford's law")


Distribution = Annotated[Uniform | TruncatedNormal | Exponential | Benford, Field(discriminator="kind")]
Set = Literal["interpolation", "extrapolation"]


def benford_scale(low: float, high: float) -> tuple[int, int, int]:
    """Return the bounds [first, last) of the digits after the first, and the weight of the first.

    Raises
    ------
    ValueError
        If the range is not an order of magnitude such as [10, 100].
    """
    power = round(math.log10(low)) if low > 0 else 0
    if power < 1 or low != 10**power or high != 10 ** (power + 1):
        raise ValueError(f"Benford's law draws from [10, 100], [100, 1000] and so on, not from [{low:g}, {high:g}]")
    # The rest has as many digits as the range's smallest number has zeros, and no leading one.
    return 10 ** (power - 1), 10**power, 10**power


def draw_of(distribution: Uniform | TruncatedNormal | Exponential | Benford, ranges: Set) -> Draw:
    """Return how an interval's numbers are drawn from a ``RandomState``: (rng, low, high, size) to float64."""
    match distribution:
        case Uniform():
            return lambda rng, low, high, size: rng.uniform(low, high, size=size)
        case TruncatedNormal():
            inside = ranges == "interpolation"
            mean = distribution.mean if inside else distribution.test_mean
            std = distribution.std if inside else distribution.test_std
            return lambda rng, low, high, size: _truncated_normal(rng, mean, std, low, high, size)
        case Exponential():
            return lambda rng, _, __, size: rng.exponential(distribution.scale, size=size)
        case Benford():
            return _benford


def _truncated_normal(
    rng: np.random.RandomState, mean: float, std: float, low: float, high: float, size: tuple[int, int]
) -> Doubles:
    from scipy.stats import truncnorm

    a, b = (low - mean) / std, (high - mean) / std
    drawn: Doubles = truncnorm.rvs(a, b, loc=mean, scale=std, size=size, random_state=rng)
    return drawn


def _benford(rng: np.random.RandomState, low: float, high: float, size: tuple[int, int]) -> Doubles:
    first, last, weight = benford_scale(low, high)
    digits = rng.choice(10, size=size, p=BENFORD)
    return (digits * weight + rng.randint(first, last, size=size)).astype(np.float64)


def sample(rng: np.random.RandomState, spans: Spans, draw: Draw, rows: int, inputs: int) -> Doubles:
    """Draw inputs from a range, float64 (rows, inputs)."""
    drawn = [draw(rng, low, high, (rows, inputs)) for low, high in spans.intervals]
    if len(drawn) == 1:
        return drawn[0]
    if spans.by == "element":
        return np.where(rng.randint(0, 2, size=(rows, inputs)) == 1, *drawn)
    return np.where(np.arange(inputs) < inputs // 2, *drawn)
