"""Parameters of a module: named tensors with a distribution of initial values, packed into one tensor for all lanes.

Packed parameters are float32 (P, L): the tensors of each lane one after the other, in the order of the parts. One
tensor is what the optimisers and the checkpoints see; modules see the parts by name, each (*shape, L).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]
"""Parameters by name, (*shape, L)."""


class Init(Protocol):
    """A distribution of initial values."""

    def of(self, unit: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Map uniform numbers, float64 (numel, L), to values (numel, L)."""

    def draw(self, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """Draw values float32 (*shape) as torch's own initialisers do."""


@dataclass(frozen=True)
class Part:
    """One parameter tensor of a module."""

    name: str
    shape: tuple[int, ...]
    init: Init

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Uniform:
    """U[low, high)."""

    low: float
    high: float

    def of(self, unit: Tensor, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        """Scale to the range."""
        return unit * (self.high - self.low) + self.low

    def draw(self, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """Draw as ``torch.nn.init.uniform_`` does."""
        return torch.empty(shape).uniform_(self.low, self.high, generator=generator)


@dataclass(frozen=True)
class Normal:
    """N(mean, std²)."""

    mean: float
    std: float

    def of(self, unit: Tensor, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        """Take quantiles."""
        values: Tensor = torch.special.ndtri(unit) * self.std + self.mean
        return values

    def draw(self, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """Draw as ``torch.nn.init.normal_`` does."""
        return torch.empty(shape).normal_(self.mean, self.std, generator=generator)


@dataclass(frozen=True)
class Constant:
    """One value everywhere; nothing is drawn."""

    value: float

    def of(self, unit: Tensor, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        """Return the value."""
        return torch.full_like(unit, self.value)

    def draw(self, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        """Return the value."""
        return torch.full(shape, self.value)


@dataclass(frozen=True)
class Beta:
    """2 Beta(a, a) - 1, on (-1, 1)."""

    a: float

    def of(self, unit: Tensor, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG002
        """Take quantiles."""
        from scipy.special import betaincinv

        return torch.from_numpy(2 * betaincinv(self.a, self.a, unit.cpu().numpy()) - 1).to(unit.device)

    def draw(self, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """Draw as ``torch.distributions.Beta`` does: the first of a Dirichlet pair."""
        pairs = torch._sample_dirichlet(torch.full((*shape, 1, 2), self.a), generator=generator)
        values: Tensor = pairs[..., 0, 0] * 2 - 1
        return values


@dataclass(frozen=True)
class Orthogonal:
    """A matrix (rows, columns) whose rows, or columns if there are fewer, are orthonormal; the identity if square."""

    identity: bool = False
    """Whether a square matrix is the identity instead."""

    def of(self, unit: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Make normal numbers orthogonal, lane by lane."""
        rows, columns = shape
        if self.identity and rows == columns:
            return torch.eye(rows, dtype=unit.dtype, device=unit.device).flatten()[:, None].expand(unit.shape)
        normal = torch.special.ndtri(unit).T.reshape(-1, rows, columns)
        tall = normal if rows >= columns else normal.mT
        q, r = torch.linalg.qr(tall)
        q = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
        values: Tensor = (q if rows >= columns else q.mT).reshape(len(normal), -1).T
        return values

    def draw(self, generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
        """Draw as ``torch.nn.init.orthogonal_`` does."""
        if self.identity and shape[0] == shape[1]:
            return torch.eye(shape[0])
        values: Tensor = nn.init.orthogonal_(torch.empty(shape), generator=generator)
        return values


def half(inputs: int, outputs: int) -> Uniform:
    """Return the NAU's distribution: Glorot's uniform one, at most ±½."""
    return symmetric(min(0.5, math.sqrt(3.0) * math.sqrt(2.0 / (inputs + outputs))))


def glorot(inputs: int, outputs: int, gain: float = 1.0) -> Uniform:
    """Return the uniform distribution of X. Glorot and Y. Bengio (AISTATS 2010)."""
    return symmetric(gain * math.sqrt(6.0 / (inputs + outputs)))


def symmetric(bound: float) -> Uniform:
    """Return U[-bound, bound)."""
    return Uniform(-bound, bound)


# --- packing ----------------------------------------------------------------------------------------------------------


def unpack(parts: Sequence[Part], packed: Tensor) -> dict[str, Tensor]:
    """Return the parts of packed parameters (P, L) by name, (*shape, L)."""
    named, start = {}, 0
    for part in parts:
        named[part.name] = packed[start : start + part.size].reshape(*part.shape, -1)
        start += part.size
    return named


def pack(parts: Sequence[Part], named: Weights) -> Tensor:
    """Return parameters (P, L), packed in the order of the parts."""
    return torch.cat([named[part.name].flatten(0, len(part.shape) - 1) for part in parts])


def within(prefix: str, named: Weights) -> dict[str, Tensor]:
    """Return the parameters whose names begin with a prefix, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def under(prefix: str, parts: Sequence[Part]) -> tuple[Part, ...]:
    """Return parts with a prefix to their names."""
    return tuple(Part(prefix + part.name, part.shape, part.init) for part in parts)


# --- initial values ---------------------------------------------------------------------------------------------------

Uniforms = Callable[[int, int], Tensor]
"""(round, count) to uniform numbers in (0, 1), float64 (count, L)."""


def drawn(parts: Sequence[Part], uniforms: Uniforms, rounds: int = 1) -> Tensor:
    """Return initial values, float32 (rounds, P, L), as quantiles of uniform numbers; constants use none."""
    found = []
    for number in range(rounds):
        random = [part for part in parts if not isinstance(part.init, Constant)]
        unit, start, values = uniforms(number, sum(part.size for part in random)), 0, []
        for part in parts:
            take = 0 if isinstance(part.init, Constant) else part.size
            mine = unit[start : start + take] if take else unit.new_empty(part.size, unit.shape[-1])
            values.append(part.init.of(mine, part.shape))
            start += take
        found.append(torch.cat(values).float())
    return torch.stack(found)


def original(parts: Sequence[Part], before: Sequence[Part], seeds: Sequence[int], rounds: int = 1) -> Tensor:
    """Return the initial values of the papers' code, float32 (rounds, P, L).

    Its networks reset their parameters twice, so that the first values in use are the second that torch's generator
    draws. ``before`` are draws that come first of all: layers of torch's own draw when they are made. Later rounds are
    what a network would draw that is reset while it trains.
    """
    lanes: dict[int, Tensor] = {}
    for seed in seeds:
        if seed not in lanes:
            generator = torch.Generator().manual_seed(seed)
            for part in before:
                part.init.draw(generator, part.shape)
            draws = [
                torch.cat([part.init.draw(generator, part.shape).flatten() for part in parts])
                for _ in range(rounds + 1)
            ]
            lanes[seed] = torch.stack(draws[1:])
    return torch.from_numpy(np.stack([lanes[seed].numpy() for seed in seeds], axis=-1))
