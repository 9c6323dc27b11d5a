"""What is drawn once per run: where the subsets lie, evaluation sets, initial weights. NumPy only, no torch.

Number for number those of the papers' code. The original draws a run's data from ``RandomState`` objects: a parent
seeded with the run's seed places the subsets, then seeds the training fork; validation and test sets come from forks
with fixed seeds, so all runs of a range share them (arXiv 2110.05177, code ``nalm-division``;
docs/papers/arithmetic.md, "Streams"). Rows are drawn in float64, targets are reckoned in float64, and both are rounded
to float32. The training batches are drawn inside the step: ``experiments/arithmetic/streams.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from experiments.arithmetic.params import SingleLayer, Spans, read_range

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

VALIDATION_SEED = 43953907
TEST_SEED = 8689336


# --- structure --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Structure:
    """What the parent generator decides for one run."""

    offset: int
    """First input of the first subset."""
    stream_seed: int
    """Seed of the training fork."""


def structure(params: SingleLayer) -> Structure:
    """Draw where the subsets lie, then the seed of the training data, from the parent generator of ``params.seed``."""
    parent = np.random.RandomState(params.seed)
    offset = parent.randint(0, params.input_size - params.span + 1, dtype=np.int64)
    return Structure(int(offset), int(parent.randint(0, 2**32 - 1, dtype=np.int64)))


def subset_columns(params: SingleLayer, offset: int) -> list[slice]:
    """Return the inputs of each subset that the operation reads (two, or the first alone)."""
    step = params.subset_size - params.subset_overlap
    read = 2 if params.operation in ("add", "sub", "mul", "div") else 1
    return [slice(offset + n * step, offset + n * step + params.subset_size) for n in range(read)]


def target(params: SingleLayer, offset: int, columns: Doubles) -> Doubles:
    """Return the operation's result, float64 (...), for inputs given column by column, float64 (I, ...)."""
    sums: list[Doubles] = []
    for subset in subset_columns(params, offset):
        chosen = columns[subset]
        # The original sums along rows, and NumPy adds in another order along other axes.
        sums.append(chosen[0] if len(chosen) == 1 else np.ascontiguousarray(np.moveaxis(chosen, 0, -1)).sum(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        match params.operation:
            case "add":
                return sums[0] + sums[1]
            case "sub":
                return sums[0] - sums[1]
            case "mul":
                return sums[0] * sums[1]
            case "div":
                return sums[0] / sums[1]
            case "squared":
                return sums[0] * sums[0]
            case "root":
                return np.sqrt(sums[0])
            case "reciprocal":
                return 1.0 / sums[0]


# --- evaluation data --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """A validation or test set for every lane; lanes with equal sets share one."""

    x: Floats
    """float32 (I, S, N): inputs of the S different sets of N rows."""
    t: Floats
    """float32 (S, N): their targets."""
    which: npt.NDArray[np.int64]
    """int64 (L,): the set of each lane."""


def evaluation(params: Sequence[SingleLayer], ranges: Literal["interpolation", "extrapolation"]) -> Evaluation:
    """Draw the validation sets (ranges: ``interpolation``) or the test sets (``extrapolation``) of some lanes.

    The inputs depend on the range alone, not on the run's seed; the targets also on where the run's subsets lie.
    """
    columns: dict[Spans, Doubles] = {}
    sets: dict[tuple[Spans, int], int] = {}
    x, t, which = [], [], []
    for p in params:
        spans: Spans = read_range(getattr(p, ranges))
        offset = structure(p).offset
        if (spans, offset) not in sets:
            if spans not in columns:
                fork = np.random.RandomState(VALIDATION_SEED if ranges == "interpolation" else TEST_SEED)
                columns[spans] = sample(fork, spans, p.evaluation_size, p.input_size).T
            sets[spans, offset] = len(sets)
            with np.errstate(over="ignore"):
                x.append(columns[spans].astype(np.float32))
                t.append(target(p, offset, columns[spans]).astype(np.float32))
        which.append(sets[spans, offset])
    return Evaluation(np.stack(x, axis=1), np.stack(t), np.array(which))


def sample(fork: np.random.RandomState, spans: Spans, rows: int, inputs: int) -> Doubles:
    """Draw inputs from a range, float64 (rows, inputs)."""
    drawn = [fork.uniform(low, high, size=(rows, inputs)) for low, high in spans.intervals]
    if len(drawn) == 1:
        return drawn[0]
    if spans.by == "element":
        return np.where(fork.randint(0, 2, size=(rows, inputs)) == 1, *drawn)
    return np.where(np.arange(inputs) < inputs // 2, *drawn)


# --- initial weights --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightInit:
    """Uniform initial weights: how many a run has, and their bounds. Gates are not among them: they start at ½."""

    count: int
    low: float
    high: float


def weight_init(params: SingleLayer) -> WeightInit:
    """Return number and bounds of a run's initial weights (NMRU: one per input, then one per reciprocal)."""
    inputs = params.input_size
    match params.layer:
        case "nmu":
            return WeightInit(inputs, 0.25, 0.75)
        case "nmru":
            return WeightInit(2 * inputs, 0.25, 0.75)
        case "real-npu" if params.npu.init == "xavier-uniform":
            bound = math.sqrt(6.0 / (inputs + 1))
        case _:
            bound = min(0.5, math.sqrt(3.0) * math.sqrt(2.0 / (inputs + 1)))
    return WeightInit(inputs, -bound, bound)


def legacy_weights(params: SingleLayer) -> Floats:
    """Return the initial weights of the original, float32 (count,), in the order of the inputs.

    The original resets its parameters twice, so these are the second draw of torch's generator. That generator is the
    MT19937 of ``RandomState`` with the same seed; torch keeps the lower 24 bits of each word and maps them to the range
    with one rounding (a fused multiply-add), for which float64 stands in here.
    """
    init = weight_init(params)
    words = np.random.RandomState(params.seed).randint(0, 2**32, size=2 * init.count, dtype=np.uint32)[init.count :]
    low, high = np.float32(init.low), np.float32(init.high)
    return ((words & (2**24 - 1)) * 2.0**-24 * np.float64(high - low) + low).astype(np.float32)
