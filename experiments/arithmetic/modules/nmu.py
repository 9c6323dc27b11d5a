"""The neural multiplication unit, its stochastic form, and σ-NMU.

A. Madsen, A. Johansen, *Neural Arithmetic Units* (arXiv 2001.05016); the stochastic form: B. Mistry, K. Farrahi,
J. Hare, *Improving the Robustness of Neural Multiplication Units with Reversible Stochasticity* (arXiv 2211.05624).
"""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.arithmetic.modules.base import Module, Size, identity_product, product, sparsity_error, total
from experiments.arithmetic.modules.bounds import ZeroOne
from experiments.arithmetic.modules.nau import as_inputs
from experiments.arithmetic.parts import Part, Weights, symmetric


class NMU(ZeroOne):
    """y = Π (W x + 1 - W), weights in [0, 1].

    With ``nmu: {noise: [1, 5]}`` training inputs are multiplied by U[1, 5], and the output is divided by what the same
    weights make of the noise alone.
    """

    def __init__(self, size: Size, columns: int | None = None) -> None:
        super().__init__(size, columns)
        self.options, self.columns = size.options.nmu, columns or size.inputs

    def noise(self, rows: int) -> int:
        """One number for each input, where there is noise."""
        return rows * self.columns if self.options.noise else 0

    def seen(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return inputs with their noise, (I, B, L)."""
        return x if noise is None else x * self._factors(x, noise)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:
        """Return outputs (O, B, L)."""
        return self.multiplied(self.effective(w)[:, :, None], x, noise if training else None)

    def multiplied(self, weights: Tensor, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return the product of weighted inputs, (O, B, L), of weights (O, I, 1, L)."""
        if noise is None:
            return self._scaled(weights, x)
        return self._scaled(weights, self.seen(x, noise)) / self._plain(weights, self._factors(x, noise))

    def _scaled(self, weights: Tensor, x: Tensor) -> Tensor:
        if not self.options.normalised:
            return self._plain(weights, x)
        count = x.shape[0] * x.shape[1]
        middle = total(x).sum(0) / count
        spread = (total((x - middle).square()).sum(0) / (count - 1)).sqrt()
        return self._plain(weights, x / spread) * spread.pow(total(weights, dim=1))

    def _plain(self, weights: Tensor, x: Tensor) -> Tensor:
        if self.options.factor == "plain":
            return product(weights * x, dim=1)
        return identity_product(weights, x)

    def _factors(self, x: Tensor, noise: Tensor) -> Tensor:
        low, high = self.options.noise or (1.0, 1.0)
        return as_inputs(noise, x) * (high - low) + low


class SigmoidNMU(Module):
    """y = Π (W x + 1 - W) with W = σ(Ŵ): not bounded, not regularised."""

    def __init__(self, size: Size) -> None:
        self.parts = (Part("W_hat", (size.outputs, size.inputs), symmetric(3**0.5 * 0.25**0.5)),)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return outputs (O, B, L)."""
        return identity_product(torch.sigmoid(w["W_hat"])[:, :, None], x)

    def errors(self, w: Weights) -> dict[str, Tensor]:
        """Return the sparsity error of W."""
        return {"nac/W": sparsity_error(torch.sigmoid(w["W_hat"]))}
