"""Training batches and initial weights of many lanes, drawn inside the step.

Two streams: ``counter``, a function of (seed, iteration), and ``legacy``, the numbers of the papers' code, whose
generator is part of a lane's state. Inputs are float32 (I, B, L), targets float32 (B, L), both reckoned in float64 and
rounded at the end, as the original does.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from experiments.arithmetic.data import legacy_weights, structure, weight_init
from experiments.arithmetic.params import SingleLayer, Spans, read_range
from orchestrator.lanes import mt19937, random
from orchestrator.lanes.lanes import Lanes

FIRST, SECOND, COINS, WEIGHTS = range(4)
"""Names of the counter streams: numbers of the first and the second interval, which of the two, initial weights."""


class Stream(Protocol):
    """Where a run's random numbers come from."""

    def weights(self) -> Tensor:
        """Return the initial weights, float32 (count, L)."""

    def start(self) -> Any:
        """Return the state before the first batch."""

    def draw(self, state: Any, step: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Return a batch, (x, t), and the state that follows."""


def build(lanes: Lanes) -> Stream:
    """Return the stream that the lanes' parameters name."""
    return Legacy(lanes) if lanes.static.stream == "legacy" else Counter(lanes)


class Ranges:
    """The lanes' training ranges: maps numbers from [0, 1) to them, in float64 as the papers' code does."""

    def __init__(self, lanes: Lanes) -> None:
        spans = [read_range(p.interpolation) for p in lanes.params]
        ends = np.array([[s.intervals[0], s.intervals[-1]] for s in spans]).transpose(1, 2, 0)  # (part, end, L)
        self.low, self.width = lanes.tensor(ends[:, 0]), lanes.tensor(ends[:, 1] - ends[:, 0])
        kinds = [kind_of(s) for s in spans]
        self.kinds = sorted(set(kinds))
        self.is_kind = {kind: lanes.tensor([k == kind for k in kinds]) for kind in self.kinds}

    def scale(self, unit: Tensor, part: int = 0) -> Tensor:
        """Map unit (I, B, L) to the first (0) or second (1) interval."""
        return unit * self.width[part] + self.low[part]


def kind_of(spans: Spans) -> str:
    """Return what a range draws: ``one`` array of numbers, two for the halves of the ``input``, or two and coins."""
    return "one" if len(spans.intervals) == 1 else spans.by


class Targets:
    """The operation's results, given where each lane's subsets of the inputs lie."""

    def __init__(self, lanes: Lanes) -> None:
        self.params: SingleLayer = lanes.static
        self.offsets = lanes.tensor(np.array([structure(p).offset for p in lanes.params], np.int64))

    def __call__(self, x: Tensor) -> Tensor:
        """Return targets (B, L) of inputs (I, B, L), in their precision."""
        match self.params.operation:
            case "add":
                return self._subset(x, 0) + self._subset(x, 1)
            case "sub":
                return self._subset(x, 0) - self._subset(x, 1)
            case "mul":
                return self._subset(x, 0) * self._subset(x, 1)
            case "div":
                return self._subset(x, 0) / self._subset(x, 1)
            case "squared":
                return self._subset(x, 0).square()
            case "root":
                return self._subset(x, 0).sqrt()
            case "reciprocal":
                return 1.0 / self._subset(x, 0)

    def _subset(self, x: Tensor, number: int) -> Tensor:
        size = self.params.subset_size
        first = number * (size - self.params.subset_overlap)
        return functools.reduce(operator.add, (self._column(x, first + place) for place in range(size)))

    def _column(self, x: Tensor, place: int) -> Tensor:
        """Return the input that is ``place`` after the lane's offset."""
        column = x[place]
        for offset in range(1, self.params.input_size - self.params.span + 1):
            column = torch.where(self.offsets == offset, x[offset + place], column)
        return column


def _halves(first: Tensor, second: Tensor) -> Tensor:
    """Take the first half of the inputs from one array, the others from the other."""
    half = len(first) // 2
    return torch.cat([first[:half], second[half:]])


class Counter:
    """Philox: a function of (seed, stream, step); no state."""

    def __init__(self, lanes: Lanes) -> None:
        self.params: SingleLayer = lanes.static
        self.seeds, self.ranges, self.targets = lanes.seeds, Ranges(lanes), Targets(lanes)

    def weights(self) -> Tensor:
        """Return the initial weights, float32 (count, L)."""
        init = weight_init(self.params)
        unit = random.uniform(self.seeds, torch.zeros_like(self.seeds), init.count, stream=WEIGHTS)
        return (unit * (init.high - init.low) + init.low).float()

    def start(self) -> Any:
        """Return nothing: there is no state."""
        return ()

    def draw(self, state: Any, step: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Return the batch of this step."""
        ranges, batches = self.ranges, []
        first = ranges.scale(self._unit(step, FIRST))
        for kind in ranges.kinds:
            x = first
            if kind != "one":
                second = ranges.scale(self._unit(step, SECOND), 1)
                x = _halves(first, second) if kind == "input" else first.where(self._unit(step, COINS) < 0.5, second)
            batches.append((x, ranges.is_kind[kind]))
        x = _of_kind(batches)
        return x.float(), self.targets(x).float(), state

    def _unit(self, step: Tensor, stream: int) -> Tensor:
        inputs, rows = self.params.input_size, self.params.batch_size
        return random.uniform(self.seeds, step, inputs * rows, stream=stream).view(inputs, rows, -1)


class Legacy:
    """NumPy's ``RandomState`` of the training fork, as a window of its words per lane: int32 (624, L)."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes, self.params = lanes, lanes.static
        self.ranges, self.targets = Ranges(lanes), Targets(lanes)

    def weights(self) -> Tensor:
        """Return the initial weights, float32 (count, L)."""
        return self.lanes.tensor(np.stack([legacy_weights(p) for p in self.lanes.params], axis=-1))

    def start(self) -> Any:
        """Return the window before the first batch."""
        states = [np.random.RandomState(structure(p).stream_seed) for p in self.lanes.params]
        return self.lanes.tensor(mt19937.windows(states))

    def draw(self, state: Any, step: Tensor) -> tuple[Tensor, Tensor, Any]:  # noqa: ARG002
        """Return the next batch. Lanes whose ranges consume different amounts each go on from their own place."""
        batches, windows = [], []
        for kind in self.ranges.kinds:
            x, window = self._draw(kind, state)
            batches.append((x, self.ranges.is_kind[kind]))
            windows.append((window, self.ranges.is_kind[kind]))
        x = _of_kind(batches)
        return x.float(), self.targets(x).float(), _of_kind(windows)

    def _draw(self, kind: str, window: Tensor) -> tuple[Tensor, Tensor]:
        ranges = self.ranges
        unit, window = self._unit(window)
        first = ranges.scale(unit)
        if kind == "one":
            return first, window
        unit, window = self._unit(window)
        second = ranges.scale(unit, 1)
        if kind == "input":
            return _halves(first, second), window
        coins, window = mt19937.random_bits(window, self._size)
        return first.where(self._as_inputs(coins) == 1, second), window

    @property
    def _size(self) -> int:
        return self.params.batch_size * self.params.input_size

    def _unit(self, window: Tensor) -> tuple[Tensor, Tensor]:
        drawn, window = mt19937.random_sample(window, self._size)
        return self._as_inputs(drawn), window

    def _as_inputs(self, drawn: Tensor) -> Tensor:
        """NumPy fills rows: (B · I, L) to (I, B, L)."""
        return drawn.view(self.params.batch_size, self.params.input_size, -1).transpose(0, 1)


def _of_kind(choices: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Take each lane's slice from the choice whose mask (L,) holds it."""
    *others, (chosen, _) = choices
    for tensor, mask in others:
        chosen = torch.where(mask, tensor, chosen)
    return chosen
