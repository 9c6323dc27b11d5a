"""Networks that hold the modules: a single module, or two, one after the other."""

from __future__ import annotations

import itertools

from torch import Tensor

from experiments.arithmetic import modules
from experiments.arithmetic.modules import Module, Penalty
from experiments.arithmetic.modules.base import added
from experiments.arithmetic.params import Training
from experiments.arithmetic.parts import Weights, under, within


class Network(Module):
    """Modules in a row; the last has one output."""

    def __init__(self, layers: list[Module]) -> None:
        self.layers = {f"layer_{number}": layer for number, layer in enumerate(layers, start=1)}
        self.parts = tuple(part for name, layer in self.layers.items() for part in under(f"{name}.", layer.parts))
        self.before = tuple(part for layer in layers for part in layer.before)

    def noise(self, rows: int) -> int:
        """Return how many random numbers all layers need."""
        return sum(layer.noise(rows) for layer in self.layers.values())

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:
        """Return the network's output, (1, B, L)."""
        for name, layer in self.layers.items():
            mine, noise = _take(layer, x, noise)
            x = layer.forward(within(f"{name}.", w), x, training=training, noise=mine)
        return x

    def clamp(self, w: Weights) -> Weights:
        """Return the parameters of all layers within their bounds."""
        clamped = {name: layer.clamp(within(f"{name}.", w)) for name, layer in self.layers.items()}
        return {f"{name}.{part}": value for name, parts in clamped.items() for part, value in parts.items()}

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return the sum of the layers' terms."""
        terms = []
        for number, (name, layer) in enumerate(self.layers.items(), start=1):
            mine, noise = _take(layer, x, noise)
            own = within(f"{name}.", w)
            terms.append(layer.penalty(kind, own, x, mine))
            if number < len(self.layers):
                x = layer.forward(own, x, training=True, noise=mine)
        return added(terms)

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the layers' sparsity errors, under the original's tags."""
        return {
            f"network/{name}/{tag}/sparsity_error": error
            for name, layer in self.layers.items()
            for tag, error in layer.errors(within(f"{name}.", w)).items()
        }

    def gates(self, w: Weights, x: Tensor) -> dict[str, Tensor]:
        """Return the means of the layers' gates, under the original's tags."""
        found: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            own = within(f"{name}.", w)
            found |= {f"network/{name}/{tag}": value for tag, value in layer.gates(own, x).items()}
            x = layer.forward(own, x, training=False)
        return found


def _take(layer: Module, x: Tensor, noise: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Split off a layer's share of the noise."""
    count = layer.noise(x.shape[1])
    if noise is None or not count:
        return None, noise
    return noise[:count], noise[count:]


def build(params: Training) -> Network:
    """Return the network that the parameters describe."""
    sizes = itertools.pairwise(params.sizes)
    return Network([modules.build(layer, *size, params) for layer, size in zip(params.layers, sizes, strict=True)])
