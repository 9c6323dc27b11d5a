"""Penalties on weights, and their schedules, as grids spell them; no torch."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from orchestrator.experiment import Group, Lane

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Ramp = TypeVar("Ramp", "Regulariser", "NPURegulariser")


def _check_ramp(ramp: Ramp) -> Ramp:
    if not ramp.start < ramp.end:
        raise ValueError(f"the ramp must start before it ends, but start is {ramp.start:g} and end is {ramp.end:g}")
    return ramp


class Regulariser(Group):
    """Sparsity regulariser weight · s(i) · R(W), s rising from 0 to 1 over [start, end]."""

    weight: Lane[NotNegative] = Field(10.0, description="factor of the regulariser once its ramp has ended")
    start: Lane[NotNegative] = Field(1_000_000.0, description="iteration at which the ramp leaves 0")
    end: Lane[Positive] = Field(2_000_000.0, description="iteration at which the ramp reaches 1")
    scale: Literal["ramp", "exponential"] = Field("ramp", description="s(i): the ramp, or 1 - exp(-1e-5 i)")
    shape: Literal["linear", "squared"] = Field(
        "linear", description="linear: mean of min(|W|, |1-|W||); squared: mean of W²(1-|W|)²; likewise for NMU weights"
    )

    @model_validator(mode="after")
    def _check(self) -> Regulariser:
        return _check_ramp(self)


class Identity(Group):
    """Regulariser weight · R_z, which draws inputs that a module does not use to its identity element."""

    weight: Lane[NotNegative] = Field(1.0, description="factor of the regulariser")


class NPURegulariser(Group):
    """Regularisers of the gate and the weights of NPU and Real NPU, both scaled by s(i)."""

    gate: Lane[NotNegative] = Field(1.0, description="factor of mean min(|g|, |1-g|), which draws gates to 0 or 1")
    weights: Lane[NotNegative] = Field(1.0, description="factor of the regulariser that draws weights to `values`")
    values: Literal["-1,1", "-1,0,1"] = Field(
        "-1,1", description="where weights are drawn to: mean |1-|W||, or mean min(|W|, |1-|W||) with 0 among them"
    )
    scale: Literal["ramp", "beta"] = Field("ramp", description="s(i): the ramp, or the β(i) of l1")
    start: Lane[NotNegative] = Field(1_000_000.0, description="iteration at which the ramp leaves 0")
    end: Lane[Positive] = Field(2_000_000.0, description="iteration at which the ramp reaches 1")

    @model_validator(mode="after")
    def _check(self) -> NPURegulariser:
        return _check_ramp(self)


class L1(Group):
    """β(i) · Σ‖parameter tensor‖, gates included; β grows by a factor every step iterations until it reaches end."""

    start: Lane[Positive] = Field(1e-5, description="β in the first iterations")
    end: Lane[Positive] = Field(1e-4, description="β grows (or shrinks) until it has reached this")
    step: Lane[Annotated[int, Field(ge=1)]] = Field(10_000, description="iterations between two changes of β")
    growth: Lane[Annotated[int, Field(ge=2)]] = Field(10, description="factor of each change; divides if start > end")
    norm: Literal[0, 1, 2] = Field(
        1, description="L1 or L2 norm (not squared) of each tensor; 0: no penalty, β serves npu.regulariser alone"
    )


def beta_levels(start: float, end: float, growth: int = 10) -> list[float]:
    """Return the values that β takes, in order: β(i) is ``levels[min(i // step, len(levels) - 1)]``.

    Reckoned in decimal numbers, because in binary ones 1e-11 · 10 · 10 is less than 1e-9 and would grow once more.
    """
    beta, last = Decimal(repr(float(start))), Decimal(repr(float(end)))
    levels = [beta]
    rising = beta < last
    while beta < last if rising else beta > last:
        beta = beta * growth if rising else beta / growth
        levels.append(beta)
    return [float(level) for level in levels]


class Reinit(Group):
    """Draw all weights anew where training makes no progress (the iNALU's scheme)."""

    every: Annotated[int, Field(ge=1)] = Field(10, description="iterations between two checks")
    history: Annotated[int, Field(ge=1)] = Field(5000, description="iterations that must have passed since the last")
    threshold: Lane[NotNegative] = Field(1.0, description="only if the mean error of the later half is above this")
