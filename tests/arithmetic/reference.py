"""One run at a time, as plainly as PyTorch allows: what the lanes must agree with.

Nothing here is shared with ``experiments/arithmetic`` but the parameter class: data, modules, schedules and the loop
are written out once more, from the papers and the behaviour of their code, with autograd and ``torch.optim``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor, nn

from experiments.arithmetic.params import SingleLayer

EPS32 = 2.0**-23


# --- data -------------------------------------------------------------------------------------------------------------


class DataSet:
    """The arithmetic data set of one run; a fork shares its structure and has its own generator."""

    def __init__(self, p: SingleLayer) -> None:
        self.p = p
        self.rng = np.random.RandomState(p.seed)
        size, overlap = p.subset_size, p.subset_overlap
        self.subsets = []
        start = 0
        for _ in range(p.subsets):
            self.subsets.append((start, start + size))
            start = start + size - overlap
        used = self.subsets[-1][1]
        offset = self.rng.randint(0, p.input_size - used + 1)
        self.subsets = [(a + offset, b + offset) for a, b in self.subsets]

    def fork(self, seed: int | None = None) -> np.random.RandomState:
        return np.random.RandomState(self.rng.randint(0, 2**32 - 1) if seed is None else seed)

    def sample(self, rng: np.random.RandomState, over: list, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw inputs, float64 (rows, I), and targets, float64 (rows,)."""
        shape = (rows, self.p.input_size)
        if not isinstance(over[0], (list, tuple)):
            x = rng.uniform(over[0], over[1], size=shape)
        elif len(over) == 2:
            first, second = rng.uniform(*over[0], size=shape), rng.uniform(*over[1], size=shape)
            x = np.where(rng.randint(0, 2, size=shape) == 1, first, second)
        else:
            first, second = rng.uniform(*over[0], size=shape), rng.uniform(*over[1], size=shape)
            half = self.p.input_size // 2
            x = np.concatenate([first[:, :half], second[:, half:]], axis=1)
        s = [np.sum(x[:, a:b], axis=1) for a, b in self.subsets]
        t = {
            "add": lambda: s[0] + s[1],
            "sub": lambda: s[0] - s[1],
            "mul": lambda: s[0] * s[1],
            "div": lambda: s[0] / s[1],
            "squared": lambda: s[0] ** 2,
            "root": lambda: np.sqrt(s[0]),
            "reciprocal": lambda: 1 / s[0],
        }[self.p.operation]()
        return x, t


# --- modules ----------------------------------------------------------------------------------------------------------


class Module(nn.Module):
    """A layer (B, I) -> (B, 1), its regularisers, its clamping, and the weights whose sparsity error is logged."""

    tag = "W"

    def __init__(self, p: SingleLayer) -> None:
        super().__init__()
        self.p = p
        self.build()
        self.reset_parameters()
        self.reset_parameters()

    def build(self) -> None:
        self.W = nn.Parameter(torch.empty(1, self.p.input_size))

    def regularisers(self) -> dict[str, Tensor]:
        return {}

    def clamp(self) -> None:
        pass


def nau_bound(inputs: int, outputs: int = 1) -> float:
    return min(0.5, math.sqrt(3.0) * math.sqrt(2.0 / (inputs + outputs)))


class NAU(Module):
    def reset_parameters(self) -> None:
        r = nau_bound(self.p.input_size)
        nn.init.uniform_(self.W, -r, r)

    def forward(self, x: Tensor) -> Tensor:
        return x @ torch.clamp(self.W, -1, 1).T

    def regularisers(self) -> dict[str, Tensor]:
        w = self.W.abs()
        return {"W": torch.minimum(w, (1 - w).abs()), "W²": w**2 * (1 - w) ** 2}

    def clamp(self) -> None:
        self.W.data.clamp_(-1, 1)


class NMU(Module):
    def reset_parameters(self) -> None:
        nn.init.uniform_(self.W, 0.25, 0.75)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.W + 1 - self.W).prod(-1, keepdim=True)

    def regularisers(self) -> dict[str, Tensor]:
        return {"W": torch.minimum(self.W.abs(), (1 - self.W).abs()), "W²": self.W**2 * (1 - self.W) ** 2}

    def clamp(self) -> None:
        self.W.data.clamp_(0, 1)


class NMRU(NMU):
    def build(self) -> None:
        self.W = nn.Parameter(torch.empty(1, 2 * self.p.input_size))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, 1 / (x + EPS32 if self.training else x)], dim=-1)
        k = math.pi * (x < 0).to(x.dtype)
        magnitude = (self.W * x.abs() + 1 - self.W).prod(-1, keepdim=True)
        return magnitude * torch.cos((k * self.W).sum(-1, keepdim=True))


class NRU(NAU):
    def forward(self, x: Tensor) -> Tensor:
        gate = torch.tanh(1000 * self.W) ** 2 if self.training else self.W.abs()
        power = x.abs() ** self.W
        if self.p.nru.signs == "together":
            return (x.sign() * power * gate + 1 - gate).prod(-1, keepdim=True)
        sign = (x.sign() ** torch.round(self.W)).prod(-1, keepdim=True)
        return (power * gate + 1 - gate).prod(-1, keepdim=True) * sign


class RealNPU(Module):
    tag = "W_real"

    def build(self) -> None:
        self.W = nn.Parameter(torch.empty(self.p.input_size, 1))
        self.g = nn.Parameter(torch.empty(self.p.input_size))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.g, 0.5)
        if self.p.npu.init == "xavier-uniform":
            nn.init.xavier_uniform_(self.W)
        else:
            r = nau_bound(self.p.input_size)
            nn.init.uniform_(self.W, -r, r)

    def forward(self, x: Tensor) -> Tensor:
        g = torch.clamp(self.g, 0, 1)
        r = g * (x.abs() + EPS32) + (1 - g)
        k = g * math.pi * (x < 0).to(x.dtype)
        return torch.exp(torch.log(r) @ self.W) * torch.cos(k @ self.W)

    def regularisers(self) -> dict[str, Tensor]:
        return {
            "W-NPU": (1 - self.W.abs()).abs(),
            "g-NPU": torch.minimum(self.g.abs(), (1 - self.g).abs()),
        }

    def clamp(self) -> None:
        if "w" in self.p.npu.clip and self.p.npu.clip != "none":
            self.W.data.clamp_(-1, 1)
        if "g" in self.p.npu.clip:
            self.g.data.clamp_(0, 1)


MODULES = {"nau": NAU, "nmu": NMU, "nru": NRU, "nmru": NMRU, "real-npu": RealNPU}


def sparsity_error(weights: Tensor) -> float:
    return float(torch.minimum(weights.abs(), (1 - weights.abs()).abs()).max())


# --- schedules --------------------------------------------------------------------------------------------------------


def ramp(i: int, start: float, end: float) -> float:
    return min(1.0, max(0.0, (i - start) / (end - start)))


def betas(start: float, end: float, step: int, growth: int) -> Iterator[float]:
    """Yield β for iteration 0, 1, 2, …, as the original's loop changes it."""
    beta, last, descending = Decimal(str(start)), Decimal(str(end)), start > end
    i = 0
    while True:
        if i > 0 and i % step == 0:
            if descending and beta > last:
                beta /= growth
            elif not descending and beta < last:
                beta *= growth
        yield float(beta)
        i += 1


# --- the loop ---------------------------------------------------------------------------------------------------------


class Run:
    """A run in progress; :meth:`train` yields every log point's metrics.

    Parameters
    ----------
    p
        The run's parameters; ``stream`` must be ``legacy``.
    dtype
        ``torch.float32``, as the original, or ``torch.float64`` to tell rounding from mistakes. Initial weights and
        data are rounded to float32 in both cases.
    """

    def __init__(self, p: SingleLayer, dtype: torch.dtype = torch.float32) -> None:
        assert p.stream == "legacy"
        self.p, self.dtype = p, dtype
        state = torch.get_rng_state()
        torch.manual_seed(p.seed)
        self.module: Module = MODULES[p.layer](p).to(dtype)
        torch.set_rng_state(state)
        self.data = DataSet(p)
        self.stream = self.data.fork()
        self.validation = self.tensors(self.data.fork(43953907), p.interpolation, p.evaluation_size)
        self.test = self.tensors(self.data.fork(8689336), p.extrapolation, p.evaluation_size)
        kind = torch.optim.Adam if p.optimiser == "adam" else torch.optim.SGD
        self.optimiser = kind(self.module.parameters(), lr=p.learning_rate)
        self.beta = None if p.l1 is None else betas(p.l1.start, p.l1.end, p.l1.step, p.l1.growth)
        self.iteration = 0

    def tensors(self, rng: np.random.RandomState, over: list, rows: int) -> tuple[Tensor, Tensor]:
        x, t = self.data.sample(rng, over, rows)
        return tuple(torch.from_numpy(a.astype(np.float32)).to(self.dtype) for a in (x, t[:, None]))

    def evaluate(self) -> dict[str, float]:
        self.module.eval()
        with torch.no_grad():
            errors = [float(((self.module(x) - t) ** 2).mean()) for x, t in (self.validation, self.test)]
        self.module.train()
        return {
            "metric/valid/interpolation": errors[0],
            "metric/test/extrapolation": errors[1],
            f"{self.module.tag}/sparsity_error": sparsity_error(self.module.W.detach()),
        }

    def loss(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the total loss at the current iteration."""
        p, i = self.p, self.iteration
        terms = self.module.regularisers()
        total = ((self.module(x) - t) ** 2).mean()
        if p.regulariser is not None:
            key = "W" if p.regulariser.shape == "linear" else "W²"
            total = total + p.regulariser.weight * ramp(i, p.regulariser.start, p.regulariser.end) * terms[key].mean()
        if p.npu.regulariser is not None:
            scale = ramp(i, p.npu.regulariser.start, p.npu.regulariser.end)
            total = total + p.npu.regulariser.weights * scale * terms["W-NPU"].mean()
            total = total + p.npu.regulariser.gate * scale * terms["g-NPU"].mean()
        if self.beta is not None:
            beta = next(self.beta)
            total = total + beta * sum(parameter.abs().sum() for parameter in self.module.parameters())
        return total

    def step(self) -> None:
        x, t = self.tensors(self.stream, self.p.interpolation, self.p.batch_size)
        self.optimiser.zero_grad()
        self.loss(x, t).backward()
        if self.p.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.p.clip_grad_norm, foreach=False)
        self.optimiser.step()
        self.module.clamp()
        self.iteration += 1

    def train(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Make all max_iterations + 1 updates; metrics are those of the weights before the update of their step."""
        while self.iteration <= self.p.max_iterations:
            if self.iteration % self.p.log_interval == 0:
                yield self.iteration, self.evaluate()
            self.step()

    @property
    def weights(self) -> np.ndarray:
        """The weights in the order of the inputs, (count,)."""
        return self.module.W.detach().numpy().ravel().copy()

    @property
    def gates(self) -> np.ndarray | None:
        """The gates of a Real NPU, (I,)."""
        return self.module.g.detach().numpy().copy() if isinstance(self.module, RealNPU) else None
