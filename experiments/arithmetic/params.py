"""Parameters of the single-layer arithmetic task, and what it shares with the two-layer task. No torch here.

Grids are validated with this module alone. The tasks and their modules are those of *Learning Division with Neural
Arithmetic Logic Modules* (arXiv 2110.05177), *Neural Arithmetic Units* (arXiv 2001.05016) and *A Primer for Neural
Arithmetic Logic Modules* (JMLR 2022); ``docs/papers/arithmetic.md`` maps every name below to the papers and to the
command line of their code.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from experiments.arithmetic.distributions import Distribution, Set, Uniform, benford_scale
from experiments.arithmetic.layers import (
    IDENTITY,
    OPTIONS,
    SPARSE,
    Bounds,
    Layer,
    NACOptions,
    NALUOptions,
    NAUOptions,
    NMUOptions,
    NPUOptions,
    NRUOptions,
)
from experiments.arithmetic.penalties import L1, Identity, Regulariser, Reinit
from experiments.arithmetic.ranges import Range, read_range
from orchestrator.experiment import Absent, Experiment, ExperimentParams, Lane, StopWhen

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

PAIRED = frozenset({"add", "sub", "mul", "div"})
"""Operations of two subsets or more; the others read the first subset only."""

SETS: tuple[Set, ...] = ("interpolation", "extrapolation")


class Options(ExperimentParams):
    """Options of modules; each module reads its own."""

    nac: NACOptions = Field(NACOptions(), description="options of nac, nac-mul, nac-sigma, nac-nmu and nalu")
    nalu: NALUOptions = Field(NALUOptions(), description="options of nalu, nalu-sigma and nalu-nau")
    nau: NAUOptions = Field(NAUOptions(), description="options of nau; init also of nru")
    nmu: NMUOptions = Field(NMUOptions(), description="options of nmu; noise also of nmru")
    npu: NPUOptions = Field(NPUOptions(), description="options of npu and real-npu")
    nru: NRUOptions = Field(NRUOptions(), description="options of nru")
    bounds: Bounds = Field(Bounds(), description="how weights are kept within [-1, 1] or [0, 1]")

    def check_options(self, layers: set[str]) -> None:
        """Refuse options that none of the modules reads.

        Raises
        ------
        ValueError
            It names the group and the modules that it is for.
        """
        for name, readers in OPTIONS.items():
            group = getattr(self, name)
            if group != type(group)() and not readers & layers:
                raise ValueError(
                    f"{name} holds options of {_listed(readers)}, but layer is {_listed(layers)}: leave {name} out"
                )
        if "nalu-nau" in layers and (self.nau.noise or self.nmu.noise is not None):
            raise ValueError("the units within nalu-nau have no noise: leave nau.noise and nmu.noise out")
        if self.npu.clip == "wig" and "npu" not in layers:
            raise ValueError("npu.clip: wig clamps imaginary weights, which layer npu alone has; write wg")


class Task(Options):
    """Inputs from a range, the sums of some of them, and what is to be learned of these."""

    seed: Lane[Annotated[int, Field(ge=0, lt=2**32)]] = Field(
        0, description="seed of the training data, of the initial weights, and of where the subsets lie"
    )
    operation: Literal["add", "sub", "mul", "div", "squared", "root", "reciprocal"] = Field(
        "add", description="what is to be learned; squared, root and reciprocal read the first subset only"
    )
    input_size: Count = Field(2, description="number of inputs, redundant ones included")
    subsets: Count = Field(2, description="number of subsets; add and mul take all of them, sub and div the first two")
    subset_size: Count = Field(1, description="inputs that are summed in each subset")
    subset_overlap: Annotated[int, Field(ge=0)] = Field(0, description="inputs that neighbouring subsets share")

    interpolation: Lane[Range] = Field([1.0, 2.0], description="range of training and validation inputs")
    extrapolation: Lane[Range] = Field([2.0, 6.0], description="range of test inputs")
    distribution: Distribution = Field(Uniform(), description="how inputs are distributed over their range")

    batch_size: Count = Field(128, description="rows of a training batch")
    evaluation_size: Count = Field(10_000, description="rows of the validation and test sets")
    stream: Literal["counter", "legacy"] = Field(
        "counter",
        description="training data and initial weights: counter, a function of (seed, iteration);"
        " legacy, the exact numbers of the papers' code",
    )

    def subset_ranges(self) -> list[tuple[int, int]]:
        """Return where each subset begins and ends, for the first place that the subsets may have."""
        step = self.subset_size - self.subset_overlap
        return [(n * step, n * step + self.subset_size) for n in range(self.subsets)]

    @property
    def span(self) -> int:
        """Number of neighbouring inputs that the subsets cover together."""
        return max(end for _, end in self.subset_ranges())

    @model_validator(mode="after")
    def _check_task(self) -> Self:
        if self.operation in PAIRED and self.subsets < 2:
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
        for name in SETS:
            _check_distribution(self, name)
        return self


class Training(Task):
    """How a network is trained and judged."""

    criterion: Literal["mse", "mape", "pcc", "pcc-mse"] = Field(
        "mse", description="training loss: squared error, relative error, 1 - correlation, or first that and then mse"
    )
    mse_from: Lane[Annotated[int, Field(ge=0)]] = Field(
        25_000, description="iteration at which criterion pcc-mse becomes the squared error"
    )
    optimiser: Literal["adam", "sgd"] = Field("adam", description="Adam with β = (0.9, 0.999), ε = 1e-8, or SGD")
    learning_rate: Lane[Positive] = Field(1e-3, description="step size of the optimiser")
    momentum: Lane[Annotated[float, Field(ge=0, lt=1)]] = Field(0.0, description="momentum of optimiser sgd")
    clip_grad_norm: Lane[Positive | None] = Field(None, description="largest L2 norm of the gradient; null: no limit")
    clip_grad_value: Lane[Positive | None] = Field(None, description="largest part of the gradient; null: no limit")
    regulariser: Regulariser | None = Field(None, description="sparsity regulariser, of modules that have one")
    identity: Identity | None = Field(None, description="regulariser R_z of unused inputs, of modules that have one")
    l1: L1 | None = Field(None, description="L1 or L2 penalty on all parameters")
    reinit: Reinit | None = Field(None, description="draw weights anew where training makes no progress")
    stop_when: Annotated[StopWhen | None, Absent(None)] = Field(None, description="end a run early, at a log point")

    max_iterations: Annotated[int, Field(ge=0)] = Field(
        50_000, description="the last iteration, counted from 0: there are max_iterations + 1 updates"
    )
    log_interval: Count = Field(1000, description="iterations between two evaluations")
    log_weights: Annotated[bool, Absent(False)] = Field(
        False, description="log every parameter too, by its place: weights/layer_1/W/0/1"
    )

    @property
    def layers(self) -> tuple[str, ...]:
        """The modules, from the inputs to the output."""
        raise NotImplementedError

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs of each module, and the last one's outputs."""
        raise NotImplementedError

    def check_training(self, layers: set[str]) -> None:
        """Refuse penalties that no module of the network has, and others that contradict each other.

        Raises
        ------
        ValueError
            A sentence that names the parameters.
        """
        self.check_options(layers)
        if self.regulariser is not None and not SPARSE & layers:
            instead = "; set npu.regulariser instead" if layers & {"npu", "real-npu"} else ""
            raise ValueError(
                f"regulariser belongs to the layers {_listed(SPARSE)}, and {_listed(layers)} has none{instead}"
            )
        if self.identity is not None and not IDENTITY & layers:
            raise ValueError(f"identity belongs to the layers {_listed(IDENTITY)}, and {_listed(layers)} has no R_z")
        if self.npu.regulariser is not None and self.npu.regulariser.scale == "beta" and self.l1 is None:
            raise ValueError("npu.regulariser.scale: beta takes its β from l1, and there is no l1: add one")
        if self.momentum and self.optimiser != "sgd":
            raise ValueError("momentum belongs to optimiser sgd; adam has its own: leave momentum out")
        noisy = self.nau.noise or self.nmu.noise is not None or self.nalu.gate in ("gumbel", "gumbel-per-row")
        if noisy and self.stream == "legacy" and self.nau.init == "beta":
            raise ValueError("noise after nau.init: beta cannot be drawn as the original does; set stream: counter")


class SingleLayer(Training):
    """One module learns one operation: y = op(Σ first subset of x, Σ second subset of x), x drawn from a range."""

    layer: Layer = Field("nau", description="the module that learns")

    @property
    def layers(self) -> tuple[str, ...]:
        """The one module."""
        return (self.layer,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its inputs and its one output."""
        return self.input_size, 1

    @model_validator(mode="after")
    def _check_layer(self) -> SingleLayer:
        self.check_training(set(self.layers))
        return self


def _check_distribution(task: Task, name: Set) -> None:
    intervals = read_range(getattr(task, name)).intervals
    kind = task.distribution.kind
    if kind == "benford":
        for low, high in intervals:
            benford_scale(low, high)
    if task.operation == "root" and kind != "exponential" and min(low for low, _ in intervals) < 0:
        raise ValueError(f"operation root needs inputs that are not negative; mend the range {name}")


def _listed(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names))


SINGLE_LAYER = Experiment(
    "arithmetic.single_layer",
    params=SingleLayer,
    train="experiments.arithmetic.train:train",
    version=3,
    cadence="log_interval",
    steps="max_iterations",
)
