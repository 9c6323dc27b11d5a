"""The neural addition unit (A. Madsen, A. Johansen, *Neural Arithmetic Units*, arXiv 2001.05016)."""

from __future__ import annotations

from torch import Tensor

from experiments.arithmetic.modules.base import Size, total, weighted
from experiments.arithmetic.modules.bounds import MinusOneOne
from experiments.arithmetic.parts import Weights


class NAU(MinusOneOne):
    """y = Σ W x, weights in [-1, 1].

    With ``nau: {noise: true}`` a training input gets noise U[-a, a] added, a = 1/var(x), whose share of the output is
    taken off again: it disturbs no more than the gradient.
    """

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.noisy, self.inputs = size.options.nau.noise, size.inputs

    def noise(self, rows: int) -> int:
        """One number for each input, where there is noise."""
        return rows * self.inputs if self.noisy else 0

    def effective(self, w: Weights) -> Tensor:
        """Return the weights within [-1, 1], whatever holds them there after the update."""
        return w["W"].clamp(-1, 1)

    def seen(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Return inputs with their noise, (I, B, L)."""
        return x if noise is None else x + self._added(x, noise)

    def forward(self, w: Weights, x: Tensor, *, training: bool, noise: Tensor | None = None) -> Tensor:
        """Return outputs (O, B, L)."""
        weights = self.effective(w)[:, :, None]
        if noise is None or not training:
            return weighted(weights, x)
        return weighted(weights, self.seen(x, noise)) - weighted(weights, self._added(x, noise))

    def _added(self, x: Tensor, noise: Tensor) -> Tensor:
        count = x.shape[0] * x.shape[1]
        middle = total(x).sum(0) / count
        variance = total((x - middle).square()).sum(0) / (count - 1)
        return (2 * as_inputs(noise, x) - 1) / variance


def as_inputs(noise: Tensor, x: Tensor) -> Tensor:
    """Return noise (B · I, L), drawn row by row, as the inputs are laid out, (I, B, L)."""
    return noise.view(x.shape[1], x.shape[0], -1).transpose(0, 1)
