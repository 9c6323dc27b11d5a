"""What is drawn once per run: where the subsets lie, and the evaluation sets. NumPy only, no torch.

Number for number those of the papers' code. The original draws a run's data from ``RandomState`` objects: a parent
seeded with the run's seed places the subsets, then seeds the training fork; validation and test sets come from forks
with fixed seeds, so all runs of a range share them (arXiv 2110.05177, code ``nalm-division``;
docs/papers/arithmetic.md, "Streams"). Rows are drawn in float64, targets are reckoned in float64, and both are rounded
to float32. Training batches and initial weights are drawn on the device: ``experiments/arithmetic/streams.py``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.arithmetic.distributions import Set, draw_of, sample
from experiments.arithmetic.params import PAIRED, Task
from experiments.arithmetic.ranges import read_range

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


def structure(params: Task) -> Structure:
    """Draw where the subsets lie, then the seed of the training data, from the parent generator of ``params.seed``."""
    parent = np.random.RandomState(params.seed)
    offset = parent.randint(0, params.input_size - params.span + 1, dtype=np.int64)
    return Structure(int(offset), int(parent.randint(0, 2**32 - 1, dtype=np.int64)))


def subset_columns(params: Task, offset: int) -> list[slice]:
    """Return the inputs of each subset that the operation reads: all of them, two, or the first alone."""
    read = {"add": params.subsets, "mul": params.subsets}.get(params.operation, 2 if params.operation in PAIRED else 1)
    return [slice(offset + start, offset + end) for start, end in params.subset_ranges()[:read]]


def target(params: Task, offset: int, columns: Doubles) -> Doubles:
    """Return the operation's result, float64 (...), for inputs given column by column, float64 (I, ...)."""
    sums: list[Doubles] = []
    for subset in subset_columns(params, offset):
        chosen = columns[subset]
        # The original sums along rows, and NumPy adds in another order along other axes.
        sums.append(chosen[0] if len(chosen) == 1 else np.ascontiguousarray(np.moveaxis(chosen, 0, -1)).sum(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        match params.operation:
            case "add":
                return functools.reduce(operator.add, sums)
            case "sub":
                return sums[0] - sums[1]
            case "mul":
                return functools.reduce(operator.mul, sums)
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


def evaluation(params: Sequence[Task], ranges: Set) -> Evaluation:
    """Draw the validation sets (ranges: ``interpolation``) or the test sets (``extrapolation``) of some lanes.

    The inputs depend on the range and the distribution alone, not on the run's seed; the targets also on where the
    run's subsets lie.
    """
    columns: dict[object, Doubles] = {}
    sets: dict[object, int] = {}
    x, t, which = [], [], []
    for p in params:
        spans = read_range(getattr(p, ranges))
        offset, inputs = structure(p).offset, (spans, p.distribution)
        if (inputs, offset) not in sets:
            if inputs not in columns:
                fork = np.random.RandomState(VALIDATION_SEED if ranges == "interpolation" else TEST_SEED)
                draw = draw_of(p.distribution, ranges)
                columns[inputs] = sample(fork, spans, draw, p.evaluation_size, p.input_size).T
            sets[inputs, offset] = len(sets)
            with np.errstate(over="ignore"):
                x.append(columns[inputs].astype(np.float32))
                t.append(target(p, offset, columns[inputs]).astype(np.float32))
        which.append(sets[inputs, offset])
    return Evaluation(np.stack(x, axis=1), np.stack(t), np.array(which))
