"""Steps of the deep-thinking nets beside a straightforward implementation, and small nets side by side or packed.

    python benchmarks/bench_thinking.py [--cases prefix,small] [--repeat 3] [--engine eager] [--precision float32]
                                        [--parts steps,tests,lanes]

A step is data on the device, loss, gradient, clipping and Adam; both sides make the same steps from the same weights
with the same drawn iterations, and their losses must agree. Progressive steps cost what was drawn: four draws are used,
which have together the mean of all (n = 14.5 and k = 8.25 for T = 30). On CPUs one thread computes, and CPU seconds
(user and system) are compared, since the machine may be busy; on a GPU it is the clock. Medians of ``--repeat`` rounds.

Predicted before the first run, on a CPU: 2.6× for the default prefix sums (1.9× for iterations and readouts that nobody
needs, 1.4× for channels last in memory), 1.4× for delta, 1.4× for mazes with α = 0.01, where nearly everything is
needed, and 1.5× for small nets. Lanes: none, the convolutions of even the smallest nets being near what a core can do.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from thinking_plain import PlainNet, delta, progressive
from torch import Tensor, nn

from experiments.thinking import computation, nets, optimisers
from experiments.thinking.data.problem import Problem, Split
from experiments.thinking.evaluate import evaluate
from experiments.thinking.losses import Batch, _progressive
from experiments.thinking.losses import delta as our_delta
from experiments.thinking.params import Thinking


class Case(NamedTuple):
    """What is measured: parameters, and the size of a sample."""

    title: str
    given: dict[str, Any]
    cells: tuple[int, ...]


PREFIX = {"width": 400, "max_iters": 30, "clip": 1.0}
MAZES = {"problem": "mazes", "model": "dt_net_recall_2d", "width": 128, "max_iters": 30}
SMALL = {"width": 32, "clip": 1.0}
CASES = {
    "prefix": Case("DT prefix sums: w 400, batch 100, T 30, α 1", PREFIX | {"train_batch_size": 100}, (32,)),
    "delta": Case("delta prefix sums", PREFIX | {"train_batch_size": 100, "train_mode": "delta"}, (32,)),
    "mazes": Case("DT mazes: w 128, batch 5, T 30, α 0.01", MAZES | {"train_batch_size": 5, "alpha": 0.01}, (24, 24)),
    "mazes1": Case("mazes, α 1", MAZES | {"train_batch_size": 5, "alpha": 1.0}, (24, 24)),
    "small": Case(
        "small: w 32, 16 bits, batch 100, T 10, α 1", SMALL | {"train_batch_size": 100, "max_iters": 10}, (16,)
    ),
    "quick": Case(
        "quick: w 32, 12 bits, batch 100, T 6, delta",
        SMALL | {"train_batch_size": 100, "max_iters": 6, "train_mode": "delta"},
        (12,),
    ),
}
WINDOWS = [(0.1, 14 / 30), (11 / 30, 10 / 30), (18 / 30, 6 / 30), (26 / 30, 3 / 30)]
"""Parts of T that n and k are."""


def spent(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def windows(iterations: int) -> list[tuple[int, int]]:
    return [(round(n * iterations), max(1, round(k * iterations))) for n, k in WINDOWS]


def data(p: Thinking, cells: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor | None]:
    drawn = torch.Generator().manual_seed(1)
    x = torch.randint(2, (p.train_batch_size, p.shape.channels, *cells), generator=drawn).float()
    t = torch.randint(2, (p.train_batch_size, *cells), generator=drawn)
    mask = (x.amax(1) > 0).to(device) if p.problem == "mazes" else None
    return (x - 0.5 if p.problem == "prefix_sums" else x).to(device), t.to(device), mask


def measure(case: Case, given: dict[str, Any], repeat: int, device: torch.device) -> tuple[float, float, list[float]]:
    """Return seconds of a plain step and of ours, and the relative differences of their losses, step by step."""
    p = Thinking(**{"seed": 0, **case.given, **given})
    computation.prepare(p)
    x, t, mask = data(p, case.cells, device)
    torch.manual_seed(0)
    ours = nets.build(p)
    plain = PlainNet(p.shape.dimensions, p.shape.channels, p.width)
    copy_weights(ours, plain)
    computation.place(ours, p, device)
    plain.to(device)
    iterations, batch = p.max_iters, Batch(x, t.float(), mask)

    def plain_loss(n: int, k: int) -> Tensor:
        if p.train_mode == "delta":
            return delta(plain, x, t, mask, iterations)
        return progressive(plain, x, t, mask, iterations, p.alpha, n, k)

    def our_loss(n: int, k: int) -> Tensor:
        with computation.precision(p, device):
            if p.train_mode == "delta":
                return our_delta(ours, batch, p, np.random.default_rng(0)).loss
            return _progressive(ours, batch, iterations, p.alpha, n, k).loss

    adam = torch.optim.Adam(plain.parameters(), lr=p.lr, weight_decay=p.decay)
    steps = [stepper(plain, adam, p, plain_loss), stepper(ours, optimisers.build(ours, p), p, our_loss)]
    times: list[list[float]] = [[], []]
    losses: list[list[float]] = [[], []]
    drawn = windows(iterations)[: 1 if p.train_mode == "delta" else None]  # delta draws nothing
    for turn in range(repeat + 1):
        for side, step in enumerate(steps):
            start = spent(device)
            losses[side] += [step(n, k) for n, k in drawn]
            if turn:  # the first round warms up, and compiles
                times[side].append((spent(device) - start) / len(drawn))
    differences = [abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)]
    return statistics.median(times[0]), statistics.median(times[1]), differences


def copy_weights(ours: nets.Net, plain: PlainNet) -> None:
    mine = ours.state_dict()
    order = ["projection", "recur_recall", "recur", "head"]
    names = sorted(mine, key=lambda name: order.index(name.split(".")[0]))
    for name, weight in zip(names, plain.parameters(), strict=True):
        weight.data = mine[name].detach().clone().contiguous().view_as(weight)


def stepper(
    net: nn.Module, optimiser: torch.optim.Optimizer, p: Thinking, loss: Callable[[int, int], Tensor]
) -> Callable[[int, int], float]:
    def step(n: int, k: int) -> float:
        optimiser.zero_grad()
        found = loss(n, k)
        found.backward()  # type: ignore[no-untyped-call]
        if p.clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), p.clip)
        optimiser.step()
        return float(found.detach())

    return step


# --- tests ------------------------------------------------------------------------------------------------------------


def tests(width: int, bits: int, iterations: int, repeat: int, device: torch.device) -> tuple[float, float]:
    """Return seconds of a test of 500 strings after every iteration: all readouts at once, and ours."""
    p = Thinking(seed=0, width=width)
    torch.manual_seed(0)
    ours, plain = nets.build(p), PlainNet(1, 1, width)
    copy_weights(ours, plain)
    ours.to(device).eval()
    plain.to(device).eval()
    drawn = torch.randint(2, (500, 1, bits), generator=torch.Generator().manual_seed(1), dtype=torch.uint8).to(device)
    split = Split(drawn, drawn[:, 0])
    problem = Problem(split, split, split, lambda inputs: inputs.float() - 0.5, None)
    times: list[list[float]] = [[], []]
    for _ in range(repeat):
        start = spent(device)
        with torch.no_grad():
            readouts = torch.stack(plain(problem.encode(drawn), iterations)[0], 1)
            expected = (readouts.argmax(2) == split.targets[:, None]).all(2).float().mean(0).mul(100).tolist()
        middle = spent(device)
        found = evaluate(ours, p.problem, problem, split, "default", range(1, iterations + 1), 500)
        times[0].append(middle - start)
        times[1].append(spent(device) - middle)
        assert max(abs(found[i + 1] - value) for i, value in enumerate(expected)) < 1
    return statistics.median(times[0]), statistics.median(times[1])


# --- lanes ------------------------------------------------------------------------------------------------------------


def lanes(width: int, count: int, repeat: int, device: torch.device) -> tuple[float, float]:
    """Return seconds of an iteration's four convolutions and their gradients, per net: alone, and as lanes.

    Lanes are groups of one convolution, which is what stacked nets of the same shape come to.
    """

    def seconds(groups: int) -> float:
        weights = [
            (torch.randn(groups * width, width, 1, 3, device=device) / width**0.5)
            .contiguous(memory_format=torch.channels_last)
            .requires_grad_()
            for _ in range(4)
        ]
        x = torch.rand(100, groups * width, 1, 16, device=device).contiguous(memory_format=torch.channels_last)

        def work() -> None:
            h = x
            for _ in range(5):
                for weight in weights:
                    h = torch.relu(nn.functional.conv2d(h, weight, padding=(0, 1), groups=groups))
            h.sum().backward()  # type: ignore[no-untyped-call]

        work()
        found = []
        for _ in range(repeat):
            start = spent(device)
            for _ in range(max(1, 8 // groups)):
                work()
            found.append((spent(device) - start) / max(1, 8 // groups) / 5 / groups)
        return statistics.median(found)

    return seconds(1), seconds(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--parts", default="steps,tests,lanes")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--engine", default="eager", choices=["eager", "compiled"])
    parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "bf16"], help="of our side")
    options = parser.parse_args()
    given = {"engine": options.engine, "precision": options.precision}
    device = computation.prepare(Thinking())
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPUs, one thread"
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {where}, load {os.getloadavg()[0]:.1f}\n")
    if "steps" in options.parts:
        print("| net | plain, s a step | ours, s a step | ratio | losses differ at step 1 | at most, steps |")
        print("|---|---|---|---|---|---|", flush=True)
        for name in options.cases.split(","):
            plain, ours, found = measure(CASES[name], given, options.repeat, device)
            times = f"{plain:.3g} | {ours:.3g} | {plain / ours:.2f}×"
            print(f"| {CASES[name].title} | {times} | {found[0]:.1g} | {max(found):.1g}, {len(found)} |", flush=True)
    if "tests" in options.parts:
        print("\n| test of 500 strings | plain, s | ours, s | ratio |\n|---|---|---|---|", flush=True)
        for width, bits, iterations in [(32, 32, 50), (64, 48, 30)]:
            plain, ours = tests(width, bits, iterations, options.repeat, device)
            title = f"w {width}, {bits} bits, {iterations} iterations"
            print(f"| {title} | {plain:.3g} | {ours:.3g} | {plain / ours:.2f}× |", flush=True)
    if "lanes" in options.parts:
        print("\n| width | alone, ms an iteration and net | lanes | ms | alone ÷ lanes |\n|---|---|---|---|---|")
        for width, count in [(8, 8), (8, 32), (32, 8), (32, 32), (64, 8)]:
            alone, together = (1e3 * value for value in lanes(width, count, options.repeat, device))
            print(f"| {width} | {alone:.3g} | {count} | {together:.3g} | {alone / together:.2f}× |", flush=True)


if __name__ == "__main__":
    main()
