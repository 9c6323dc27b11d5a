"""One run at a time, as plainly as PyTorch allows: what the lanes must agree with.

Nothing here is shared with ``experiments/arithmetic`` but the parameter class: data, modules (``plain_modules``),
losses, schedules and the loop are written out once more, from the papers and the behaviour of their code, with autograd
and ``torch.optim``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import scipy.stats
import torch
from torch import Tensor, nn

from experiments.arithmetic.params import SingleLayer
from tests.arithmetic.plain_compounds import drawn, ordered
from tests.arithmetic.plain_modules import EPS32, Module, sparsity_error

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
        if getattr(p, "simple", False):
            self.subsets = [(0, 4), (0, 2)]
            return
        used = self.subsets[-1][1]
        offset = self.rng.randint(0, p.input_size - used + 1)
        self.subsets = [(a + offset, b + offset) for a, b in self.subsets]

    def fork(self, seed: int | None = None) -> np.random.RandomState:
        return np.random.RandomState(self.rng.randint(0, 2**32 - 1) if seed is None else seed)

    def numbers(self, rng: np.random.RandomState, low: float, high: float, shape: tuple, ranges: str) -> np.ndarray:
        d = self.p.distribution
        if d.kind == "uniform":
            return rng.uniform(low, high, size=shape)
        if d.kind == "exponential":
            return rng.exponential(d.scale, size=shape)
        if d.kind == "benford":
            digits = rng.choice(10, size=shape, p=[0, 0.301, 0.176, 0.125, 0.097, 0.079, 0.067, 0.058, 0.051, 0.046])
            rest = rng.randint(low / 10, high / 10, size=shape)
            return np.array([int(f"{d}{r}") for d, r in zip(digits.ravel(), rest.ravel(), strict=True)]).reshape(shape)
        mean, std = (d.mean, d.std) if ranges == "interpolation" else (d.test_mean, d.test_std)
        made = scipy.stats.truncnorm((low - mean) / std, (high - mean) / std, loc=mean, scale=std)
        return made.rvs(size=shape, random_state=rng)

    def sample(
        self, rng: np.random.RandomState, over: list, rows: int, ranges: str = "interpolation"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw inputs, float64 (rows, I), and targets, float64 (rows,)."""
        shape = (rows, self.p.input_size)
        if not isinstance(over[0], (list, tuple)):
            x = self.numbers(rng, over[0], over[1], shape, ranges)
        elif len(over) == 2:
            first, second = (self.numbers(rng, *part, shape, ranges) for part in over)
            x = np.where(rng.randint(0, 2, size=shape) == 1, first, second)
        else:
            first, second = (self.numbers(rng, *part, shape, ranges) for part in over[:2])
            half = self.p.input_size // 2
            x = np.concatenate([first[:, :half], second[:, half:]], axis=1)
        s = [np.sum(x[:, a:b], axis=1) for a, b in self.subsets]
        t = {
            "add": lambda: np.sum(s, axis=0),
            "sub": lambda: s[0] - s[1],
            "mul": lambda: np.prod(s, axis=0),
            "div": lambda: s[0] / s[1],
            "squared": lambda: s[0] ** 2,
            "root": lambda: np.sqrt(s[0]),
            "reciprocal": lambda: 1 / s[0],
        }[self.p.operation]()
        return x, t


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


# --- losses -----------------------------------------------------------------------------------------------------------


def criterion(p: SingleLayer, i: int, y: Tensor, t: Tensor) -> Tensor:
    kind = p.criterion
    if kind == "pcc-mse":
        kind = "pcc" if i < p.mse_from else "mse"
    if kind == "mse":
        return nn.functional.mse_loss(y, t)
    if kind == "mape":
        return torch.mean(torch.abs((t - y) / t))
    n = len(y)
    s_y, s_t = (torch.sqrt(torch.clamp(torch.sum((v - v.mean()) ** 2) / n, min=EPS32)) for v in (y, t))
    return 1 - torch.sum((y - y.mean()) / (s_y + EPS32) * (t - t.mean()) / (s_t + EPS32)) / n


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

    inalu_start = 10_000

    def __init__(self, p: SingleLayer, dtype: torch.dtype = torch.float32) -> None:
        assert p.stream == "legacy"
        self.p, self.dtype = p, dtype
        self.module: Module = self.network().to(dtype)
        self.data = DataSet(p)
        self.stream = self.data.fork()
        self.validation = self.tensors(self.data.fork(43953907), "interpolation", p.evaluation_size)
        self.test = self.tensors(self.data.fork(8689336), "extrapolation", p.evaluation_size)
        own = list(self.module.parameters())
        if p.optimiser == "adam":
            self.optimiser: torch.optim.Optimizer = torch.optim.Adam(own, lr=p.learning_rate)
        else:
            self.optimiser = torch.optim.SGD(own, lr=p.learning_rate, momentum=p.momentum)
        self.beta = None if p.l1 is None else betas(p.l1.start, p.l1.end, p.l1.step, p.l1.growth)
        self.iteration = 0
        self.rng = torch.Generator()
        self.rng.set_state(self.module.rng)
        self.listed: list[float] = []
        self.resets = 0

    def network(self) -> nn.Module:
        return drawn(self.p.layer, self.p, self.p.input_size, 1, self.p.seed)

    def tensors(self, rng: np.random.RandomState, ranges: str, rows: int) -> tuple[Tensor, Tensor]:
        x, t = self.data.sample(rng, getattr(self.p, ranges), rows, ranges)
        return tuple(torch.from_numpy(a.astype(np.float32)).to(self.dtype) for a in (x, t[:, None]))

    def evaluate(self) -> dict[str, float]:
        self.module.eval()
        with torch.no_grad():
            errors = [float(((self.module(x) - t) ** 2).mean()) for x, t in (self.validation, self.test)]
        self.module.train()
        self.last_error = errors[0]
        return {
            "metric/valid/interpolation": errors[0],
            "metric/test/extrapolation": errors[1],
            "sparsity_error": max(map(sparsity_error, self.module.sparse()), default=0.0),
        }

    def loss(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the total loss at the current iteration."""
        p, i = self.p, self.iteration
        noise = self.noise(len(x))
        total = criterion(p, i, self.module(x, noise), t)
        terms = self.module.regularisers(x, noise)
        beta = None if self.beta is None else next(self.beta)
        if p.regulariser is not None:
            r = p.regulariser
            scale = ramp(i, r.start, r.end) if r.scale == "ramp" else 1 - math.exp(-1e-5 * i)
            total = total + r.weight * scale * terms["W"]
        total = total + terms.get("g", 0) + terms.get("trash", 0)
        if p.identity is not None:
            total = total + p.identity.weight * terms["z"]
        total = total + p.bounds.weight * terms.get("W-OOB", 0)
        if p.l1 is not None and p.l1.norm:
            total = total + beta * sum(torch.linalg.vector_norm(v, p.l1.norm) for v in self.module.parameters())
        if p.npu.regulariser is not None:
            r = p.npu.regulariser
            scale = beta if r.scale == "beta" else ramp(i, r.start, r.end)
            total = total + scale * (r.weights * terms.get("W-NPU", 0) + r.gate * terms.get("g-NPU", 0))
        if "inalu" in terms and i > self.inalu_start and self.last_error < 1:
            total = total + 0.05 * terms["inalu"]
        return total

    def step(self) -> None:
        p, own = self.p, list(self.module.parameters())
        x, t = self.tensors(self.stream, "interpolation", p.batch_size)
        self.optimiser.zero_grad()
        self.loss(x, t).backward()
        if p.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(own, p.clip_grad_norm, foreach=False)
        if p.clip_grad_value is not None:
            nn.utils.clip_grad_value_(own, p.clip_grad_value)
        self.optimiser.step()
        self.module.clamp()
        if p.reinit is not None:
            self.reinit()
        self.iteration += 1

    def reinit(self) -> None:
        """The list of errors, one for each iteration, and what becomes of it (values are set anew by the test)."""
        p, i = self.p, self.iteration
        self.listed.append(self.last_error)
        if i % p.reinit.every == 0 and i > 0 and len(self.listed) > p.reinit.history:
            first, later = np.split(np.array(self.listed), [len(self.listed) // 2])
            if first.mean() <= later.mean() + later.std() and later.mean() > p.reinit.threshold:
                self.resets += 1
                self.listed = []
                state = torch.get_rng_state()
                torch.set_rng_state(self.rng.get_state())
                # Values drawn in single precision, as they were at the start.
                self.module.float().reset_parameters()
                self.module.to(self.dtype)
                self.rng.set_state(torch.get_rng_state())
                torch.set_rng_state(state)

    def noise(self, rows: int) -> Tensor | None:
        """Draw what noisy modules need in one iteration, as torch's own generator goes on after the weights."""
        p = self.p
        count = (
            rows
            * p.input_size
            * (p.nau.noise or (p.nmu.noise is not None) * (1 + getattr(p, "layer", "").startswith("nmru")))
        )
        gates = {"gumbel": 1, "gumbel-per-row": rows}.get(p.nalu.gate, 0) * (1 + (p.nalu.gates == "two"))
        drawn = torch.rand(count + gates, generator=self.rng).to(self.dtype)
        return drawn if len(drawn) else None

    def train(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Make all max_iterations + 1 updates; metrics are those of the weights before the update of their step."""
        while self.iteration <= self.p.max_iterations:
            if self.iteration % self.p.log_interval == 0:
                yield self.iteration, self.evaluate()
            self.step()

    @property
    def packed(self) -> np.ndarray:
        """The parameters in the order in which they are drawn, (P,)."""
        return torch.cat([p.detach().ravel() for p in ordered(self.module)]).numpy().copy()
