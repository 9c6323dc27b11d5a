"""Expansion of grids: CPU seconds for 10⁵ runs, and bytes kept per run for 10⁶.

Usage: ``python benchmarks/bench_grid.py``.
"""

from __future__ import annotations

import gc
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, create_model, model_validator

from orchestrator.experiment import Experiment, ExperimentParams, Group, Lane
from orchestrator.grid import Grid, expand, load
from orchestrator.points import Points


class Ramp(Group):
    """A group with a check of its own."""

    start: Lane[float] = 1e6
    end: Lane[float] = 2e6

    @model_validator(mode="after")
    def _check(self) -> Ramp:
        if self.end <= self.start:
            raise ValueError("end must be above start")
        return self


class Few(ExperimentParams):
    """Twelve parameters, and a check across them that every run must pass."""

    layer: Literal["nmru", "nru", "real-npu"] = "nmru"
    operation: Literal["mul", "div"] = "mul"
    interpolation: Lane[tuple[float, float]] = (1, 2)
    extrapolation: Lane[tuple[float, float]] = (2, 6)
    learning_rate: Lane[Annotated[float, Field(gt=0)]] = 1e-3
    regulariser: Ramp | None = None
    l1: Ramp | None = None
    max_iterations: int = 50_000
    log_interval: int = 1000

    @model_validator(mode="after")
    def _check(self) -> Few:
        if self.log_interval > self.max_iterations:
            raise ValueError("log_interval must not be above max_iterations")
        return self


Many = create_model("Many", __base__=Few, **{f"extra_{i}": (float, float(i)) for i in range(20)})
FEW = Experiment("few", params=Few, train="none:train")
MANY = Experiment("many", params=Many, train="none:train")

GRID = """\
study: bench
experiment: {experiment}
axes:
  seed: 0..{seeds}
  range:
    A: {{interpolation: [-20, -10], extrapolation: [-40, -20]}}
    B: {{interpolation: [-2, -1], extrapolation: [-6, -2]}}
    C: {{interpolation: [-1.2, -1.1], extrapolation: [-6.1, -1.2]}}
    D: {{interpolation: [1, 2], extrapolation: [2, 6]}}
    E: {{interpolation: [10, 20], extrapolation: [20, 40]}}
  operation: [mul, div]
  learning_rate: {{log: {{start: 1e-4, stop: 1e-1, count: 5}}}}
  model:
    Real NPU: {{layer: real-npu, l1: {{start: 1e-9, end: 1e-7}}}}
    NMRU: {{layer: nmru, regulariser: {{start: 20_000, end: 35_000}}}}
{more}"""

RULES = """\
skip:
  - {model: NMRU, range: C, seed: 0..9}
when:
  - {if: {model: NMRU, range: D}, set: {max_iterations: 20_000}}
"""


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of 5\n")
    print("| grid | runs | CPU s | µs per run |\n|---|---|---|---|")
    cases: dict[str, tuple[str, str]] = {
        "10 parameters": ("FEW", ""),
        "10 parameters, skip and when": ("FEW", RULES),
        "30 parameters": ("MANY", ""),
    }
    for name, (experiment, more) in cases.items():
        count, seconds = measure(lambda experiment=experiment, more=more: expand(grid(experiment, 1000, more)))
        print(f"| {name} | {count:,} | {seconds:.2f} | {seconds / count * 1e6:.1f} |")
    print()
    tracemalloc.start()
    points = expand(grid("FEW", 10_000, ""))
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    arrays = len(points.ids) + sum(codes.itemsize * len(codes) for codes in points.codes.values())
    print("| runs | ids and codes, bytes per run | kept | peak |\n|---|---|---|---|")
    print(f"| {len(points):,} | {arrays / len(points):.1f} | {kept / len(points):.1f} | {peak / len(points):.1f} |")


def grid(experiment: str, seeds: int, more: str) -> Grid:
    return load(GRID.format(experiment=f"{__name__}:{experiment}", seeds=seeds - 1, more=more), file="bench")


def measure(work: Callable[[], Points]) -> tuple[int, float]:
    """Return the number of points and the median CPU seconds."""
    seconds = []
    for _ in range(5):
        start = time.process_time()
        points = work()
        seconds.append(time.process_time() - start)
    return len(points), statistics.median(seconds)


if __name__ == "__main__":
    main()
