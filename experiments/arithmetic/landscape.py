"""How the error of a two-layer network depends on one weight of each layer: no training, a table for a map.

Figure 2 of *Neural Arithmetic Units* (arXiv 2001.05016) and Figure 9 of *Learning Division with Neural Arithmetic Logic
Modules* (arXiv 2110.05177). The input is (1, 1.2, 1.8, 2), the target (x₁ + x₂)(x₁ + x₂ + x₃ + x₄) = 13.2. The first
layer is [[w₁, w₁, 0, 0], [w₁, w₁, w₁, w₁]], both weights of the second are w₂; the error is that of this one input::

    python -m experiments.arithmetic.landscape > landscape.csv
    Rscript r_plots/loss_landscape.R landscape.csv landscape.pdf
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

X = (1.0, 1.2, 1.8, 2.0)
TARGET = (X[0] + X[1]) * sum(X)


def _nac(epsilon: float) -> Callable[[Doubles, Doubles], Doubles]:
    return lambda z, w: (np.abs(z) + epsilon) ** w


def _nru(z: Doubles, w: Doubles, gate: Doubles) -> Doubles:
    return np.sign(z) * np.abs(z) ** w * gate + 1 - gate


FACTORS: dict[str, Callable[[Doubles, Doubles], Doubles]] = {
    "NAC*, epsilon 1e-7": _nac(1e-7),
    "NAC*, epsilon 0.1": _nac(0.1),
    "NAC*, epsilon 1": _nac(1.0),
    "NMU": lambda z, w: w * z + 1 - w,
    "NRU, |w|": lambda z, w: _nru(z, w, np.abs(w)),
    "NRU, tanh": lambda z, w: _nru(z, w, np.tanh(1000 * w) ** 2),
}
"""What a module makes of one hidden value and one weight; its output is the product."""


def surface(name: str, w1: Doubles, w2: Doubles) -> Doubles:
    """Return the absolute error of a module, (n, n), at weights w1 (n,) along columns and w2 (n,) along rows."""
    factor = FACTORS[name]
    first, second = np.meshgrid(w1, w2)
    y = factor(first * (X[0] + X[1]), second) * factor(first * sum(X), second)
    return np.abs(y - TARGET)


def rows(step: float = 0.02) -> Iterator[dict[str, Any]]:
    """Yield the table: module, w1, w2, loss. Zero is between two steps, where powers of it have no value."""
    weights = np.arange(-1 + step / 2, 1, step)
    for name in FACTORS:
        for w2, line in zip(weights, surface(name, weights, weights), strict=True):
            for w1, loss in zip(weights, line, strict=True):
                yield {"module": name, "w1": round(float(w1), 6), "w2": round(float(w2), 6), "loss": float(loss)}


if __name__ == "__main__":
    writer = csv.DictWriter(sys.stdout, fieldnames=["module", "w1", "w2", "loss"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows())
