"""What every module shares: its interface, sums and products over features, distances of weights from discrete values.

Features are added and multiplied one by one, or in pairs where there are many of them, and always elementwise in the
lanes: no matrix product, whose order depends on how many lanes there are, and no ``prod``, whose gradient changes for
all lanes when one of them holds a zero.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from experiments.arithmetic.params import Options
from experiments.arithmetic.parts import Part, Weights

EPS32 = 2.0**-23
"""float32's machine epsilon. NPU and Real NPU add it in training and evaluation, NMRU in training only, NRU never."""

EPS7 = 1e-7
"""What is added to |x| before its logarithm, in NAC• and NALU."""

CHAIN = 32
"""So many features are added and multiplied one after the other; more of them in pairs."""


@dataclass(frozen=True)
class Size:
    """How many inputs and outputs a module has, and the options it reads."""

    inputs: int
    outputs: int
    options: Options

    @property
    def shape(self) -> Distance:
        """The distance of the sparsity regulariser."""
        regulariser = getattr(self.options, "regulariser", None)
        return DISTANCES[regulariser.shape if regulariser else "linear"]


Penalty = Literal["W", "z", "W-OOB", "g", "W-NPU", "g-NPU", "inalu", "trash"]
"""Terms of the loss: sparsity, the identity regulariser R_z, out of bounds, a NALU's gate, weights and gate of an NPU,
an iNALU's, an NRU's trash cell. The names are those of the papers' code."""


class Module:
    """A layer for many lanes. ``w`` holds its parameters by name, (*shape, L); inputs are (I, B, L), outputs (O, B, L).

    A module is pure: it keeps no state, and what it computes is elementwise in the lanes.
    """

    parts: tuple[Part, ...] = ()
    """Parameters, in the order in which the original draws their initial values."""

    before: tuple[Part, ...] = ()
    """What the original's constructor draws beforehand."""

    def noise(self, rows: int) -> int:  # noqa: ARG002
        """Return how many uniform random numbers a training batch of ``rows`` rows needs."""
        return 0

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:
        """Return outputs (O, B, L).

        ``noise`` holds uniform numbers in [0, 1), (:meth:`noise`, L), in training.
        """
        raise NotImplementedError

    def clamp(self, w: Weights) -> Weights:
        """Return the parameters as they are put back into bounds after each update."""
        return w

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:  # noqa: ARG002
        """Return a term that this module adds to the loss, (L,), for the training batch x; None if it has none."""
        return None

    def errors(self, w: Weights) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the sparsity error of each weight tensor, max over its elements of min(|W|, |1-|W||), by tag."""
        return {}

    def gates(self, w: Weights, x: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the mean, over rows and outputs, of each gate that depends on the inputs, (L,), by tag."""
        return {}


# --- sums and products ------------------------------------------------------------------------------------------------


def _reduce(function: Callable[[Tensor, Tensor], Tensor], terms: Tensor, dim: int) -> Tensor:
    while terms.shape[dim] > CHAIN:
        half, odd = divmod(terms.shape[dim], 2)
        paired = function(terms.narrow(dim, 0, half), terms.narrow(dim, half, half))
        terms = torch.cat([paired, terms.narrow(dim, 2 * half, odd)], dim) if odd else paired
    return functools.reduce(function, terms.unbind(dim))


def total(terms: Tensor, dim: int = 0) -> Tensor:
    """Return the sum over one dimension."""
    return _reduce(operator.add, terms, dim)


def product(factors: Tensor, dim: int = 0) -> Tensor:
    """Return the product over one dimension."""
    return _reduce(operator.mul, factors, dim)


def mean(terms: Tensor) -> Tensor:
    """Return the mean over everything but the lanes, (L,)."""
    flat = terms.flatten(0, -2)
    return total(flat) / len(flat)


def weighted(weights: Tensor, x: Tensor) -> Tensor:
    """Return Σ W x, (O, B, L), of weights (O, I, 1, L) and inputs (I, B, L)."""
    return total(weights * x, dim=1)


def identity_product(weights: Tensor, x: Tensor) -> Tensor:
    """Return Π (W x + 1 - W), (O, B, L), of weights (O, I, 1, L) and inputs (I, B, L)."""
    return product(weights * x + 1 - weights, dim=1)


# --- distances --------------------------------------------------------------------------------------------------------

Distance = Callable[[Tensor, Tensor], Tensor]
"""The distance of a weight from two values, given its differences from them."""


def linear(first: Tensor, second: Tensor) -> Tensor:
    """Return the smaller of the two distances."""
    return torch.minimum(first.abs(), second.abs())


def squared(first: Tensor, second: Tensor) -> Tensor:
    """Return the product of the squared distances."""
    return first.square() * second.square()


DISTANCES: dict[str, Distance] = {"linear": linear, "squared": squared}


def to_minus_one_zero_one(distance: Distance, w: Tensor) -> Tensor:
    """Return the mean distance of weights from -1, 0 or 1, (L,)."""
    return mean(distance(w, 1 - w.abs()))


def to_zero_one(distance: Distance, w: Tensor) -> Tensor:
    """Return the mean distance of weights from 0 or 1, (L,)."""
    return mean(distance(w, 1 - w))


def nau_identity(w: Tensor, x: Tensor) -> Tensor:
    """Return R_z of an additive unit, (L,): mean of (1 - |W|) x̄², x̄ the batch mean of an input."""
    return mean((1 - w.abs()) * x.mean(1).square())


def nmu_identity(w: Tensor, x: Tensor) -> Tensor:
    """Return R_z of a multiplicative unit, (L,): mean of (1 - W) (1 - x̄)²."""
    return mean((1 - w) * (1 - x.mean(1)).square())


def outside(distance: Distance, excess: Tensor) -> Tensor:
    """Return the mean of how far weights are out of bounds, or of its square, (L,)."""
    beyond = torch.relu(excess)
    return mean(beyond if distance is linear else beyond.square())


def sparsity_error(w: Tensor) -> Tensor:
    """Return the largest distance of a weight from -1, 0 or 1, (L,)."""
    return linear(w, 1 - w.abs()).flatten(0, -2).amax(0)


def added(terms: Iterable[Tensor | None]) -> Tensor | None:
    """Return the sum of the terms that are there; None if none is."""
    there = [term for term in terms if term is not None]
    return functools.reduce(operator.add, there) if there else None
