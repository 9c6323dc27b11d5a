"""The plain way to train one run of the single-layer task: the yardstick of ``bench_lanes.py``.

One process, one run, ordinary PyTorch: an ``nn.Module``, ``torch.optim.Adam``, a NumPy batch per iteration from the
papers' stream, TensorBoard's ``SummaryWriter``, and one thread, for more are slower at this size. Usage::

    python benchmarks/plain.py '{"layer": "nmru", "operation": "div", "seed": 3}' DIRECTORY

The first argument holds parameters of ``arithmetic.single_layer`` (linear regularisers only). It makes the same numbers
as the lanes with ``stream: legacy``, to rounding.
"""

# ruff: noqa: D101, D102

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

EPS = torch.finfo(torch.float32).eps


# --- data -------------------------------------------------------------------------------------------------------------


def sample(rng: np.random.RandomState, span: Any, rows: int, inputs: int) -> np.ndarray:
    if isinstance(span[0], list):
        (a, b), (c, d) = span
        first, second = rng.uniform(a, b, size=(rows, inputs)), rng.uniform(c, d, size=(rows, inputs))
        return np.where(rng.randint(0, 2, size=(rows, inputs)) == 1, first, second)
    return rng.uniform(span[0], span[1], size=(rows, inputs))


OPERATIONS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


def batch(rng: np.random.RandomState, p: dict[str, Any], span: Any, rows: int, offset: int) -> tuple[Tensor, Tensor]:
    x = sample(rng, span, rows, p["input_size"])
    t = OPERATIONS[p["operation"]](x[:, offset : offset + 1], x[:, offset + 1 : offset + 2])
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(t.astype(np.float32))


# --- modules ----------------------------------------------------------------------------------------------------------


class NAU(nn.Module):
    name = "nac/W"

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(1, inputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = min(0.5, math.sqrt(3.0) * math.sqrt(2.0 / (self.w.shape[1] + 1)))
        nn.init.uniform_(self.w, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.w.clamp(-1, 1))

    def regulariser(self) -> Tensor:
        return torch.min(self.w.abs(), (1 - self.w.abs()).abs()).mean()

    @torch.no_grad()
    def clamp(self) -> None:
        self.w.clamp_(-1, 1)


class NRU(NAU):
    name = "nru/W"

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.tanh(1000 * self.w) ** 2 if self.training else self.w.abs()
        return torch.prod(x.sign() * x.abs() ** self.w * gate + 1 - gate, -1, keepdim=True)


class NMU(nn.Module):
    name = "nac/W"

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(1, inputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.w, 0.25, 0.75)

    def forward(self, x: Tensor) -> Tensor:
        return torch.prod(self.w * x + 1 - self.w, -1, keepdim=True)

    def regulariser(self) -> Tensor:
        return torch.min(self.w.abs(), (1 - self.w).abs()).mean()

    @torch.no_grad()
    def clamp(self) -> None:
        self.w.clamp_(0, 1)


class NMRU(NMU):
    name = "nmru-sign/W"

    def __init__(self, inputs: int) -> None:
        super().__init__(2 * inputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, 1 / (x + EPS if self.training else x)], -1)
        angle = nn.functional.linear((x < 0) * math.pi, self.w)
        return torch.prod(self.w * x.abs() + 1 - self.w, -1, keepdim=True) * torch.cos(angle)


class RealNPU(nn.Module):
    name = "real_npu/W_real"

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(inputs, 1))
        self.g = nn.Parameter(torch.full((inputs,), 0.5))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.w)

    def forward(self, x: Tensor) -> Tensor:
        g = self.g.clamp(0, 1)
        r = g * (x.abs() + EPS) + (1 - g)
        return torch.exp(torch.log(r) @ self.w) * torch.cos((x < 0) * (g * math.pi) @ self.w)

    def regulariser(self) -> Tensor:
        return torch.zeros(())

    def clamp(self) -> None:
        pass


MODULES = {"nau": NAU, "nmu": NMU, "nru": NRU, "nmru": NMRU, "real-npu": RealNPU}


# --- training ---------------------------------------------------------------------------------------------------------


def main(p: dict[str, Any], directory: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(p["seed"])
    module = MODULES[p["layer"]](p["input_size"])
    module.reset_parameters()  # the papers' code draws twice
    optimiser = torch.optim.Adam(module.parameters(), lr=p["learning_rate"])

    parent = np.random.RandomState(p["seed"])
    offset = parent.randint(0, p["input_size"] - 1)
    train = np.random.RandomState(parent.randint(0, 2**32 - 1))
    rows = p["evaluation_size"]
    validation = batch(np.random.RandomState(43953907), p, p["interpolation"], rows, offset)
    test = batch(np.random.RandomState(8689336), p, p["extrapolation"], rows, offset)

    regulariser, l1 = p["regulariser"], p["l1"]
    beta = l1["start"] if l1 else 0.0
    with SummaryWriter(directory) as writer:
        for i in range(p["max_iterations"] + 1):
            logging = i % p["log_interval"] == 0
            if logging:
                module.eval()
                with torch.no_grad():
                    for name, (x, t) in {"valid/interpolation": validation, "test/extrapolation": test}.items():
                        writer.add_scalar(f"metric/{name}", nn.functional.mse_loss(module(x), t), i)
                    error = torch.min(module.w.abs(), (1 - module.w.abs()).abs()).max()
                    writer.add_scalar(f"network/layer_1/{module.name}/sparsity_error", error, i)
                module.train()

            x, t = batch(train, p, p["interpolation"], p["batch_size"], offset)
            criterion = loss = nn.functional.mse_loss(module(x), t)
            if regulariser:
                ramp = (i - regulariser["start"]) / (regulariser["end"] - regulariser["start"])
                loss = criterion + regulariser["weight"] * min(1.0, max(0.0, ramp)) * module.regulariser()
            if l1:
                if i > 0 and i % l1["step"] == 0 and beta < l1["end"] * 0.999:
                    beta *= l1["growth"]
                loss = loss + beta * sum(parameter.abs().sum() for parameter in module.parameters())
            if logging:
                writer.add_scalar("loss/train/critation", criterion, i)
                writer.add_scalar("loss/train/total", loss, i)

            optimiser.zero_grad()
            loss.backward()
            if p["clip_grad_norm"] is not None:
                nn.utils.clip_grad_norm_(module.parameters(), p["clip_grad_norm"])
            optimiser.step()
            module.clamp()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
