"""Parameters of the single-layer arithmetic task. No torch here: grids are validated with this module alone.

The task and its modules are those of *Learning Division with Neural Arithmetic Logic Modules* (arXiv 2110.05177);
``docs/papers/arithmetic.md`` maps every name below to the paper and to the command line of its code.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from orchestrator.experiment import Experiment, ExperimentParams, Group, Lane

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


# --- ranges -----------------------------------------------------------------------------------------------------------


class Spans(NamedTuple):
    """A range, read: one or two intervals [low, high) and how the inputs are spread over two."""

    intervals: tuple[tuple[float, float], ...]
    by: Literal["element", "input"]
    """``element``: a fair coin per element chooses the interval. ``input``: the first half of the inputs comes from the
    first interval, the others from the second."""


def read_range(value: Any) -> Spans:
    """Read a range as a grid spells it: ``[low, high]``, ``[[a, b], [c, d]]``, or ``[[a, b], [c, d], []]``.

    The third form, the paper's own spelling of its mixed-sign data sets, spreads the inputs over the two intervals by
    their position.

    Raises
    ------
    ValueError
        If it is none of these, an interval is empty, or the two intervals differ in width.
    """
    parts = list(value) if isinstance(value, (list, tuple)) else []
    nested = bool(parts) and all(isinstance(part, (list, tuple)) for part in parts)
    by_input = nested and len(parts) == 3 and not parts[2]
    intervals = parts[:2] if nested else [parts]
    if (nested and len(parts) != 2 + by_input) or not all(map(_is_interval, intervals)):
        raise ValueError(
            "a range is [low, high], a union of two intervals [[a, b], [c, d]], or [[a, b], [c, d], []] for inputs that"
            f" are split between the two; all ends are finite numbers. {value!r} is none of these"
        )
    for low, high in intervals:
        if not low < high:
            raise ValueError(f"the range [{low}, {high}] is empty: its first number must be smaller than its second")
    widths = [high - low for low, high in intervals]
    if not math.isclose(widths[0], widths[-1], rel_tol=1e-9):
        raise ValueError(f"the intervals of {value!r} must be equally wide, not {widths[0]:g} and {widths[1]:g}")
    return Spans(tuple((float(low), float(high)) for low, high in intervals), "input" if by_input else "element")


def _is_interval(ends: Any) -> bool:
    return len(ends) == 2 and all(
        isinstance(end, (int, float)) and not isinstance(end, bool) and math.isfinite(end) for end in ends
    )


def _check_range(value: Any) -> Any:
    read_range(value)
    return value


_INTERVAL = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
Range = Annotated[
    Any,
    PlainValidator(_check_range),
    WithJsonSchema(
        {
            "anyOf": [
                _INTERVAL,
                {"type": "array", "items": _INTERVAL, "minItems": 2, "maxItems": 2},
                {
                    "type": "array",
                    "prefixItems": [_INTERVAL, _INTERVAL, {"type": "array", "maxItems": 0}],
                    "minItems": 3,
                    "maxItems": 3,
                },
            ]
        }
    ),
]
"""``[low, high]`` | ``[[a, b], [c, d]]`` (a coin per element) | ``[[a, b], [c, d], []]`` (first half, second half)."""


# --- groups -----------------------------------------------------------------------------------------------------------


Ramp = TypeVar("Ramp", "Regulariser", "NPURegulariser")


def _check_ramp(ramp: Ramp) -> Ramp:
    if not ramp.start < ramp.end:
        raise ValueError(f"the ramp must start before it ends, but start is {ramp.start:g} and end is {ramp.end:g}")
    return ramp


class Regulariser(Group):
    """Sparsity regulariser of NAU, NMU, NRU and NMRU: weight · s(i) · R(W), s rising from 0 to 1 over [start, end]."""

    weight: Lane[NotNegative] = Field(10.0, description="factor of the regulariser once its ramp has ended")
    start: Lane[NotNegative] = Field(1_000_000.0, description="iteration at which the ramp leaves 0")
    end: Lane[Positive] = Field(2_000_000.0, description="iteration at which the ramp reaches 1")
    shape: Literal["linear", "squared"] = Field(
        "linear", description="linear: mean of min(|W|, |1-|W||); squared: mean of W²(1-|W|)²; likewise for NMU weights"
    )

    @model_validator(mode="after")
    def _check(self) -> Regulariser:
        return _check_ramp(self)


class NPURegulariser(Group):
    """Regularisers of the Real NPU's gate and weights, both scaled by the ramp s(i) from start to end."""

    gate: Lane[NotNegative] = Field(1.0, description="factor of mean min(|g|, |1-g|), which draws gates to 0 or 1")
    weights: Lane[NotNegative] = Field(1.0, description="factor of mean |1-|W||, which draws weights to -1 or 1")
    start: Lane[NotNegative] = Field(1_000_000.0, description="iteration at which the ramp leaves 0")
    end: Lane[Positive] = Field(2_000_000.0, description="iteration at which the ramp reaches 1")

    @model_validator(mode="after")
    def _check(self) -> NPURegulariser:
        return _check_ramp(self)


class NPU(Group):
    """Options of the Real NPU; the defaults are the paper's baseline."""

    init: Literal["xavier-uniform", "xavier-uniform-constrained"] = Field(
        "xavier-uniform",
        description="range of the initial weights: ±√(6/(inputs+outputs)), or at most ±0.5 (constrained)",
    )
    clip: Literal["none", "g", "w", "wg"] = Field(
        "none", description="after each update, clamp gates to [0, 1] (g), weights to [-1, 1] (w), or both (wg)"
    )
    regulariser: NPURegulariser | None = Field(None, description="draws gates and weights to discrete values")


class NRU(Group):
    """Options of the NRU."""

    signs: Literal["together", "separate"] = Field(
        "together", description="separate: the product of magnitudes times the product of signs"
    )


class L1(Group):
    """β(i) · Σ|parameters|, gates included; β is multiplied by growth every step iterations until it reaches end."""

    start: Lane[Positive] = Field(1e-5, description="β in the first iterations")
    end: Lane[Positive] = Field(1e-4, description="β grows (or shrinks) until it has reached this")
    step: Lane[Annotated[int, Field(ge=1)]] = Field(10_000, description="iterations between two changes of β")
    growth: Lane[Annotated[int, Field(ge=2)]] = Field(10, description="factor of each change; divides if start > end")


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


# --- the experiment ---------------------------------------------------------------------------------------------------


class SingleLayer(ExperimentParams):
    """One module learns one operation: y = op(Σ first subset of x, Σ second subset of x), x uniform over a range."""

    seed: Lane[Annotated[int, Field(ge=0, lt=2**32)]] = Field(
        0, description="seed of the training data, of the initial weights, and of where the subsets lie"
    )

    layer: Literal["nau", "nmu", "nru", "nmru", "real-npu"] = Field("nau", description="the module that learns")
    npu: NPU = Field(NPU(), description="options of layer real-npu")
    nru: NRU = Field(NRU(), description="options of layer nru")

    operation: Literal["add", "sub", "mul", "div", "squared", "root", "reciprocal"] = Field(
        "add", description="what is to be learned; squared, root and reciprocal read the first subset only"
    )
    input_size: Annotated[int, Field(ge=1)] = Field(2, description="number of inputs, redundant ones included")
    subsets: Annotated[int, Field(ge=1)] = Field(2, description="number of subsets of the inputs")
    subset_size: Annotated[int, Field(ge=1)] = Field(1, description="inputs that are summed in each subset")
    subset_overlap: Annotated[int, Field(ge=0)] = Field(0, description="inputs that neighbouring subsets share")

    interpolation: Lane[Range] = Field([1.0, 2.0], description="range of training and validation inputs")
    extrapolation: Lane[Range] = Field([2.0, 6.0], description="range of test inputs")

    optimiser: Literal["adam", "sgd"] = Field("adam", description="Adam with β = (0.9, 0.999), ε = 1e-8, or plain SGD")
    learning_rate: Lane[Positive] = Field(1e-3, description="step size of the optimiser")
    clip_grad_norm: Lane[Positive | None] = Field(None, description="largest L2 norm of the gradient; null: no limit")
    regulariser: Regulariser | None = Field(None, description="sparsity regulariser of nau, nmu, nru and nmru")
    l1: L1 | None = Field(None, description="L1 penalty on all parameters")

    max_iterations: Annotated[int, Field(ge=0)] = Field(
        50_000, description="the last iteration, counted from 0: there are max_iterations + 1 updates"
    )
    log_interval: Annotated[int, Field(ge=1)] = Field(1000, description="iterations between two evaluations")
    batch_size: Annotated[int, Field(ge=1)] = Field(128, description="rows of a training batch")
    evaluation_size: Annotated[int, Field(ge=1)] = Field(10_000, description="rows of the validation and test sets")
    stream: Literal["counter", "legacy"] = Field(
        "counter",
        description="training data and initial weights: counter, a function of (seed, iteration);"
        " legacy, the exact numbers of the papers' code",
    )

    @property
    def span(self) -> int:
        """Number of neighbouring inputs that the subsets cover together."""
        return self.subset_size + (self.subsets - 1) * (self.subset_size - self.subset_overlap)

    @model_validator(mode="after")
    def _check_layer(self) -> SingleLayer:
        if self.layer != "real-npu" and self.npu != NPU():
            raise ValueError(f"npu holds options of layer real-npu, but layer is {self.layer}: leave npu out")
        if self.layer != "nru" and self.nru != NRU():
            raise ValueError(f"nru holds options of layer nru, but layer is {self.layer}: leave nru out")
        if self.layer == "real-npu" and self.regulariser is not None:
            raise ValueError(
                "regulariser belongs to the layers nau, nmu, nru and nmru; for real-npu set npu.regulariser instead"
            )
        return self

    @model_validator(mode="after")
    def _check_task(self) -> SingleLayer:
        if self.operation in ("add", "sub", "mul", "div") and self.subsets < 2:
            raise ValueError(f"operation {self.operation} combines two subsets, but subsets is {self.subsets}")
        if self.subset_overlap > self.subset_size:
            raise ValueError(
                f"subset_overlap ({self.subset_overlap}) must not be larger than subset_size ({self.subset_size})"
            )
        if self.span > self.input_size:
            raise ValueError(
                f"{self.subsets} subsets of {self.subset_size} inputs need {self.span} inputs,"
                f" but input_size is {self.input_size}"
            )
        if self.operation == "root":
            for name in ("interpolation", "extrapolation"):
                if min(low for low, _ in read_range(getattr(self, name)).intervals) < 0:
                    raise ValueError(f"operation root needs inputs that are not negative; mend the range {name}")
        return self


SINGLE_LAYER = Experiment(
    "arithmetic.single_layer",
    params=SingleLayer,
    train="experiments.arithmetic.train:train",
    version=1,
    cadence="log_interval",
    steps="max_iterations",
)
