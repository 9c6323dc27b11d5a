"""Training batches, noise and initial weights of many lanes, drawn inside the step.

Two streams: ``counter``, a function of (seed, iteration), and ``legacy``, the numbers of the papers' code, whose
generators are part of a lane's state. Inputs are float32 (I, B, L), targets float32 (B, L), both reckoned in float64
and rounded at the end, as the original does.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from experiments.arithmetic.data import structure
from experiments.arithmetic.inputs import Inputs
from experiments.arithmetic.modules import Module
from experiments.arithmetic.parts import Constant, drawn, original
from experiments.arithmetic.targets import Targets
from orchestrator.lanes import mt19937, random
from orchestrator.lanes.lanes import Lanes

FIRST, SECOND, COINS, WEIGHTS, REST, REST_OF_SECOND, NOISE = range(7)
"""Names of the counter streams: numbers of the first and the second interval, which of the two, initial weights, the
later digits of Benford's numbers, the modules' noise."""


class Batch(NamedTuple):
    """What a lane trains on in one iteration."""

    x: Tensor
    """float32 (I, B, L)."""
    t: Tensor
    """float32 (B, L)."""
    noise: Tensor | None
    """Uniform numbers in [0, 1) for the modules that want them, float32 (count, L)."""


class Stream(Protocol):
    """Where a run's random numbers come from."""

    def weights(self, rounds: int = 1) -> Tensor:
        """Return initial parameters, float32 (rounds, P, L): those of the start, and of each later reset."""

    def start(self) -> Any:
        """Return the state before the first batch."""

    def draw(self, state: Any, step: Tensor) -> tuple[Batch, Any]:
        """Return a batch, and the state that follows."""


def build(lanes: Lanes, network: Module) -> Stream:
    """Return the stream that the lanes' parameters name."""
    return Legacy(lanes, network) if lanes.static.stream == "legacy" else Counter(lanes, network)


class Counter:
    """Philox: a function of (seed, stream, step); no state."""

    def __init__(self, lanes: Lanes, network: Module) -> None:
        self.params, self.seeds, self.network = lanes.static, lanes.seeds, network
        self.inputs, self.targets = Inputs(lanes), Targets(lanes)

    def weights(self, rounds: int = 1) -> Tensor:
        """Return initial parameters, float32 (rounds, P, L)."""

        def uniforms(number: int, count: int) -> Tensor:
            return random.uniform(self.seeds, torch.full_like(self.seeds, number), count, stream=WEIGHTS)

        return drawn(self.network.parts, uniforms, rounds)

    def start(self) -> Any:
        """Return nothing: there is no state."""
        return ()

    def draw(self, state: Any, step: Tensor) -> tuple[Batch, Any]:
        """Return the batch of this step."""
        inputs, batches = self.inputs, []
        first = self._interval(step, 0)
        for kind in inputs.kinds:
            x = first
            if kind != "one":
                second = self._interval(step, 1)
                x = inputs.halves(first, second) if kind == "input" else self._choose(step, first, second)
            batches.append((x, inputs.is_kind[kind]))
        x = of_kind(batches)
        count = self.network.noise(self.params.batch_size)
        noise = random.uniform(self.seeds, step, count, stream=NOISE).float() if count else None
        return Batch(x.float(), self.targets(x).float(), noise), state

    def _interval(self, step: Tensor, part: int) -> Tensor:
        streams = [(FIRST, REST), (SECOND, REST_OF_SECOND)][part]
        return self.inputs.draw([self._unit(step, name) for name in streams[: self.inputs.numbers]], part)

    def _choose(self, step: Tensor, first: Tensor, second: Tensor) -> Tensor:
        return first.where(self._unit(step, COINS) < 0.5, second)

    def _unit(self, step: Tensor, stream: int) -> Tensor:
        inputs, rows = self.params.input_size, self.params.batch_size
        return random.uniform(self.seeds, step, inputs * rows, stream=stream).view(inputs, rows, -1)


class Legacy:
    """NumPy's ``RandomState`` of the training fork, as a window of its words per lane: int32 (624, L).

    Where modules are noisy, torch's generator, which drew the initial weights, goes on as a second window.
    """

    def __init__(self, lanes: Lanes, network: Module) -> None:
        self.lanes, self.params, self.network = lanes, lanes.static, network
        self.inputs, self.targets = Inputs(lanes), Targets(lanes)
        self.noise = network.noise(self.params.batch_size)

    def weights(self, rounds: int = 1) -> Tensor:
        """Return initial parameters, float32 (rounds, P, L)."""
        seeds = [p.seed for p in self.lanes.params]
        return self.lanes.tensor(original(self.network.parts, self.network.before, seeds, rounds))

    def start(self) -> Any:
        """Return the windows before the first batch."""
        states = [np.random.RandomState(structure(p).stream_seed) for p in self.lanes.params]  # type: ignore[arg-type]
        window = self.lanes.tensor(mt19937.windows(states))
        return (window, self._noise_window()) if self.noise else window

    def draw(self, state: Any, step: Tensor) -> tuple[Batch, Any]:  # noqa: ARG002
        """Return the next batch. Lanes whose ranges consume different amounts each go on from their own place."""
        window, noise = state if self.noise else (state, None)
        batches, windows = [], []
        for kind in self.inputs.kinds:
            x, following = self._draw(kind, window)
            batches.append((x, self.inputs.is_kind[kind]))
            windows.append((following, self.inputs.is_kind[kind]))
        x, window = of_kind(batches), of_kind(windows)
        state, unit = window, None
        if self.noise:
            assert noise is not None
            words, noise = mt19937.advance(noise, self.noise)
            unit = mt19937.single_precision(words)
            state = (window, noise)
        return Batch(x.float(), self.targets(x).float(), unit), state

    def _draw(self, kind: str, window: Tensor) -> tuple[Tensor, Tensor]:
        first, window = self._interval(window, 0)
        if kind == "one":
            return first, window
        second, window = self._interval(window, 1)
        if kind == "input":
            return self.inputs.halves(first, second), window
        coins, window = mt19937.random_bits(window, self._size)
        return first.where(self._as_inputs(coins) == 1, second), window

    def _interval(self, window: Tensor, part: int) -> tuple[Tensor, Tensor]:
        units = []
        for _ in range(self.inputs.numbers):
            unit, window = mt19937.random_sample(window, self._size)
            units.append(self._as_inputs(unit))
        return self.inputs.draw(units, part), window

    @property
    def _size(self) -> int:
        return int(self.params.batch_size * self.params.input_size)

    def _as_inputs(self, drawn: Tensor) -> Tensor:
        """NumPy fills rows: (B · I, L) to (I, B, L)."""
        return drawn.view(self.params.batch_size, self.params.input_size, -1).transpose(0, 1)

    def _noise_window(self) -> Tensor:
        """Return where torch's generator stands after the weights of two resets, each number of which took a word."""
        words = 2 * sum(part.size for part in self.network.parts if not isinstance(part.init, Constant))
        states = [np.random.RandomState(p.seed) for p in self.lanes.params]
        for state in states:
            state.randint(0, 2**32, size=words, dtype=np.uint32)
        return self.lanes.tensor(mt19937.windows(states))


def of_kind(choices: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Take each lane's slice from the choice whose mask (L,) holds it."""
    *others, (chosen, _) = choices
    for tensor, mask in others:
        chosen = torch.where(mask, tensor, chosen)
    return chosen
