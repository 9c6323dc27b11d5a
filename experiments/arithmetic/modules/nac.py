"""NAC₊ and its multiplicative forms NAC•, NAC•,σ and NAC•,NMU.

A. Trask et al., *Neural Arithmetic Logic Units* (arXiv 1808.00508); the last two: *Neural Arithmetic Units* (arXiv
2001.05016). The multiplicative forms are linear in the logarithms of the inputs: y = exp(W log(|x| + 1e-7)). What W is
made of, ``nac.weights`` says (:data:`FORMS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import (
    EPS7,
    Module,
    Penalty,
    Size,
    added,
    mean,
    nau_identity,
    sparsity_error,
    weighted,
)
from experiments.arithmetic.modules.bounds import ZeroOne
from experiments.arithmetic.parts import Normal, Part, Weights, glorot, symmetric

GOLDEN = (1 + math.sqrt(5)) / 2
"""φ, the base that G-NALU has in place of e."""

LOGARITHMS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda x: torch.log(x.abs() + EPS7),
    "safe": lambda x: torch.log((x - 1).abs() + 1),
    "max-safe": lambda x: torch.log(torch.relu(x - 1) + 1),
}


def nac_bound(inputs: int, outputs: int) -> float:
    """Return r such that tanh(Ŵ) σ(M̂) of Ŵ, M̂ from U[-r, r] has the variance 2 / fan; fan is at least 5."""
    from scipy.optimize import bisect

    def variance(r: float) -> float:
        return (1 - math.tanh(r) / r) * (r - math.tanh(r / 2)) / (2 * r) if r else 0.0

    fan = max(inputs + outputs, 5)
    return float(bisect(lambda r: fan * variance(r) - 2, 0, 10))


class NAC(Module):
    """y = W x with W = tanh(Ŵ) σ(M̂): weights near -1, 0 and 1."""

    def __init__(self, size: Size) -> None:
        bound, shape = symmetric(nac_bound(size.inputs, size.outputs)), (size.outputs, size.inputs)
        self.parts = (Part("W_hat", shape, bound), Part("M_hat", shape, bound))
        self.base = math.log(GOLDEN) if size.options.nac.weights == "golden-ratio" else 1.0

    def weights(self, w: Weights) -> Tensor:
        """Return W, (O, I, L)."""
        return torch.tanh(w["W_hat"] * self.base) * torch.sigmoid(w["M_hat"] * self.base)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        return weighted(self.weights(w)[:, :, None], x)

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:  # noqa: ARG002
        """Return R_z, which draws inputs without a weight to 0."""
        return nau_identity(self.weights(w), x) if kind == "z" else None

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity error of W."""
        return {"nac/W": sparsity_error(self.weights(w))}


class IndependentNAC(NAC):
    """A NAC whose Ŵ and M̂ get their gradients as if the other one's factor were 1: ∂W/∂Ŵ = tanh'(Ŵ), ∂W/∂M̂ = σ'(M̂)."""

    def weights(self, w: Weights) -> Tensor:
        """Return W, (O, I, L); what is added to the product is 0, and has the gradient."""
        tanh, sigmoid = torch.tanh(w["W_hat"]), torch.sigmoid(w["M_hat"])
        return (tanh * sigmoid).detach() + (tanh - tanh.detach()) + (sigmoid - sigmoid.detach())


class SoftmaxNAC(NAC):
    """y = W x with the mean of 1, -1 and 0 as W, weighted by the softmax of two parameters and 0."""

    def __init__(self, size: Size) -> None:
        bound = glorot(2 * size.inputs, 2 * size.outputs, gain=math.sqrt(0.5))
        self.parts = (Part("W_hat", (size.outputs, size.inputs, 2), bound),)

    def weights(self, w: Weights) -> Tensor:
        """Return W, (O, I, L)."""
        logits = w["W_hat"]
        plus, minus, _ = torch.softmax(torch.cat([logits, torch.zeros_like(logits[:, :, :1])], 2), 2).unbind(2)
        return plus - minus


class FreeNAC(NAC):
    """y = W x with nothing that bounds W: a linear layer without a bias."""

    def __init__(self, size: Size) -> None:
        self.parts = (Part("W", (size.outputs, size.inputs), glorot(size.inputs, size.outputs)),)

    def weights(self, w: Weights) -> Tensor:
        """Return W, (O, I, L)."""
        return w["W"]


FORMS: dict[str, Callable[[Size], Module]] = {
    "plain": NAC,
    "golden-ratio": NAC,
    "independent": IndependentNAC,
    "softmax": SoftmaxNAC,
    "linear": FreeNAC,
}
"""NAC₊ by ``nac.weights``; all but the first two are in the code of arXiv 2001.05016 and in none of its figures."""


def additive(size: Size) -> Module:
    """Return NAC₊ with the weights that the options ask for."""
    return FORMS[size.options.nac.weights](size)


class SigmoidNAC(Module):
    """y = W x with W = σ(Ŵ)."""

    def __init__(self, size: Size) -> None:
        std = math.sqrt(2.0 / (size.inputs + size.outputs))
        self.parts = (Part("W_hat", (size.outputs, size.inputs), Normal(0.0, std)),)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        return weighted(torch.sigmoid(w["W_hat"])[:, :, None], x)

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity error of W."""
        return {"nac/W": sparsity_error(torch.sigmoid(w["W_hat"]))}


class LinearNAC(ZeroOne):
    """y = W x with the weights of an NMU."""

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        return weighted(self.effective(w)[:, :, None], x)


class Multiplicative(Module):
    """y = exp(m(log …)) of a module m that is linear in its inputs."""

    def __init__(self, size: Size, inner: Module) -> None:
        self.inner, self.parts = inner, inner.parts
        self.safe = size.options.nac.log == "max-safe"
        self.log = LOGARITHMS[size.options.nac.log]

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:
        """Return outputs (O, B, L)."""
        return torch.exp(self.inner.forward(w, self.log(x), training=training, noise=noise))

    def clamp(self, w: Weights) -> Weights:
        """Return the inner module's parameters, within its bounds."""
        return self.inner.clamp(w)

    def penalty(self, kind: Penalty, w: Weights, x: Tensor, noise: Tensor | None = None) -> Tensor | None:
        """Return the inner module's term; with ``log: max-safe``, R_z also draws inputs above 1."""
        inner = self.inner.penalty(kind, w, self.log(x), noise)
        return added([inner, mean(torch.relu(1 - x).mean(1))]) if kind == "z" and self.safe else inner

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the inner module's sparsity errors."""
        return self.inner.errors(w)
