"""Data sets and initial weights, number for number those of the papers' code. NumPy only, no torch.

The original draws every run's training data from ``RandomState`` objects: a parent seeded with the run's seed places
the subsets, then seeds the training fork; validation and test sets come from forks with fixed seeds, so all runs of a
range share them (arXiv 2110.05177, code ``nalm-division``; docs/papers/arithmetic.md, "Streams"). Rows are drawn in
float64, targets are reckoned in float64, and both are rounded to float32.

Half of the time of a lane goes into these draws, hence two measures. Doubles come in blocks of many iterations through
a ``Generator`` on the ``RandomState``'s own bit generator, which yields the same numbers faster. And lanes whose
streams stand at the same place of the same generator, for example one seed on nine ranges, share the draw: only the map
from [0, 1) to the lane's range is done per lane.
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
Words = npt.NDArray[np.uint32]

VALIDATION_SEED = 43953907
TEST_SEED = 8689336

STATE_WORDS = 625
"""Words of a generator's state: the 624 of MT19937 and the position among them."""

_SCRATCH = 2**16
"""Doubles per input that are reckoned at once: enough to spread NumPy's overhead, few enough for the cache."""


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
    sums = []
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


# --- drawing ----------------------------------------------------------------------------------------------------------

Kind = Literal["one", "input", "element"]
"""What a range consumes per iteration: one array of doubles, two of them, or two and an array of coins."""


def _kind(spans: Spans) -> Kind:
    return "one" if len(spans.intervals) == 1 else spans.by


def _seeded(seed: int) -> Words:
    return _words(np.random.RandomState(seed))


def _words(random_state: np.random.RandomState) -> Words:
    _, key, position, *_ = random_state.get_state(legacy=True)
    return np.append(key, np.uint32(position)).astype(np.uint32)


class _Source:
    """One MT19937 stream, read together by G lanes with ranges of one kind."""

    def __init__(self, state: Words, spans: Sequence[Spans]) -> None:
        self.kind = _kind(spans[0])
        ends = np.array([s.intervals for s in spans])[..., None]
        self.low, self.width = ends[:, :, 0], ends[:, :, 1] - ends[:, :, 0]
        self.random_state = np.random.RandomState()
        self.random_state.set_state(("MT19937", state[:-1], int(state[-1])))
        self.generator = np.random.Generator(self.random_state._bit_generator)

    @property
    def state(self) -> Words:
        return _words(self.random_state)

    def draw(self, count: int, inputs: int, rows: int) -> Doubles:
        """Return the inputs of ``count`` iterations, float64 (I, count, G, rows)."""
        unit = np.empty((count, 1 if self.kind == "one" else 2, rows, inputs))
        coins = np.empty((count, rows, inputs), np.int64)
        if self.kind == "element":
            for k in range(count):
                self.generator.random(out=unit[k])
                coins[k] = self.random_state.randint(0, 2, size=(rows, inputs))
        else:
            self.generator.random(out=unit)
        columns = np.empty((inputs, count, len(self.low), rows))
        for i, out in enumerate(columns):
            self._map(unit, i, int(self.kind == "input" and i >= inputs // 2), out)
            if self.kind == "element":
                other = self._map(unit, i, 1, np.empty_like(out))
                np.copyto(out, other, where=coins[:, None, :, i] == 0)
        return columns

    def _map(self, unit: Doubles, i: int, part: int, out: Doubles) -> Doubles:
        drawn = np.ascontiguousarray(unit[:, part, :, i])
        np.multiply(drawn[:, None, :], self.width[:, part], out=out)
        out += self.low[:, part]
        return out


def _as_slice(lanes: Sequence[int]) -> slice | list[int]:
    """Return evenly spaced lanes as a slice, which NumPy writes to without an index array."""
    steps = set(np.diff(lanes).tolist()) or {1}
    return slice(lanes[0], lanes[-1] + 1, steps.pop()) if len(steps) == 1 and min(steps) > 0 else list(lanes)


# --- training data ----------------------------------------------------------------------------------------------------


class Batches:
    """The training batches of some lanes, in the original's streams.

    Parameters
    ----------
    params
        One run per lane. Seeds and ranges may differ; task and shapes are those of the first.
    """

    def __init__(self, params: Sequence[SingleLayer]) -> None:
        structures = [structure(p) for p in params]
        self.params = list(params)
        self.offsets = [s.offset for s in structures]
        self._attach(np.stack([_seeded(s.stream_seed) for s in structures], axis=-1))

    def _attach(self, state: Words) -> None:
        """Give every lane its source; lanes with equal states, kinds and offsets share one, for they go on together."""
        groups: dict[tuple[Kind, int, bytes], list[int]] = {}
        spans = [read_range(p.interpolation) for p in self.params]
        for lane, offset in enumerate(self.offsets):
            groups.setdefault((_kind(spans[lane]), offset, state[:, lane].tobytes()), []).append(lane)
        self._sources = [
            (_Source(state[:, lanes[0]], [spans[lane] for lane in lanes]), lanes) for lanes in groups.values()
        ]

    @property
    def state(self) -> Words:
        """Where each lane's stream stands, uint32 (625, L); setting it restores the streams."""
        state = np.empty((STATE_WORDS, len(self.params)), np.uint32)
        for source, lanes in self._sources:
            state[:, lanes] = source.state[:, None]
        return state

    @state.setter
    def state(self, state: Words) -> None:
        self._attach(np.ascontiguousarray(state, np.uint32))

    def select(self, lanes: Sequence[int]) -> Batches:
        """Return the batches of some of the lanes from where they stand; the two then go on independently."""
        chosen = Batches([self.params[lane] for lane in lanes])
        chosen.state = self.state[:, list(lanes)]
        return chosen

    def draw(self, x: Floats, t: Floats) -> None:
        """Fill the batches of the next K iterations.

        Parameters
        ----------
        x
            float32 (K, I, L, B), inputs; written in place, whatever its strides.
        t
            float32 (K, L, B), targets.
        """
        count, inputs, _, rows = x.shape
        for source, lanes in self._sources:
            block = max(1, _SCRATCH // (len(lanes) * rows))
            where = _as_slice(lanes)
            for start in range(0, count, block):
                part = slice(start, min(start + block, count))
                columns = source.draw(part.stop - start, inputs, rows)
                for i, column in enumerate(columns):
                    x[part, i, where] = column
                t[part, where] = target(self.params[lanes[0]], self.offsets[lanes[0]], columns)


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
    seed = VALIDATION_SEED if ranges == "interpolation" else TEST_SEED
    columns: dict[Spans, Doubles] = {}
    sets: dict[tuple[Spans, int], int] = {}
    x, t, which = [], [], []
    for p in params:
        spans: Spans = read_range(getattr(p, ranges))
        offset = structure(p).offset
        if (spans, offset) not in sets:
            if spans not in columns:
                columns[spans] = _Source(_seeded(seed), [spans]).draw(1, p.input_size, p.evaluation_size)[:, 0, 0]
            sets[spans, offset] = len(sets)
            x.append(columns[spans].astype(np.float32))
            t.append(target(p, offset, columns[spans]).astype(np.float32))
        which.append(sets[spans, offset])
    return Evaluation(np.stack(x, axis=1), np.stack(t), np.array(which))


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
