"""Lanes beside one process per run: CPU seconds of whole processes, start-up, evaluation and event files included.

    python benchmarks/bench_lanes.py [--lanes 1,25,225,1000] [--layers nmru,nru,real-npu] [--inputs 2,10]
                                     [--stream legacy] [--engine auto] [--iterations 50000]

The grid is Figure 3's of arXiv 2110.05177: x1 / x2 on nine ranges, as many seeds as it takes, evaluation every 1,000
iterations. The plain side is ``plain.py``. Each side is a line, start-up + iterations · slope: a process is measured
with no iterations and with ``--plain-steps`` or ``--lane-steps``, ``--repeat`` times, medians are taken, and the line
is read at ``--iterations``; the plain side times the number of runs, each with its own start-up. Lanes measured over
``--lane-steps`` equal to ``--iterations`` are not scaled at all. CPU time is user plus system of a process and its
children, compilers included; a first, short run of the lanes fills the compile cache and is reported as "cold".
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RANGES: list[tuple[Any, Any]] = [
    ([-20, -10], [-40, -20]),
    ([-2, -1], [-6, -2]),
    ([-1.2, -1.1], [-6.1, -1.2]),
    ([-0.2, -0.1], [-2, -0.2]),
    ([-2, 2], [[-6, -2], [2, 6]]),
    ([0.1, 0.2], [0.2, 2]),
    ([1, 2], [2, 6]),
    ([1.1, 1.2], [1.2, 6]),
    ([10, 20], [20, 40]),
]
LAYERS: dict[str, dict[str, Any]] = {
    "nmru": {"learning_rate": 1e-2, "clip_grad_norm": 1.0, "regulariser": {"start": 20_000, "end": 35_000}},
    "nru": {"learning_rate": 1.0, "regulariser": {"start": 20_000, "end": 35_000}},
    "real-npu": {"learning_rate": 5e-3, "l1": {"start": 1e-9, "end": 1e-7}},
}


def configuration(layer: str, inputs: int, lane: int, iterations: int, stream: str) -> dict[str, Any]:
    interpolation, extrapolation = RANGES[lane % len(RANGES)]
    return LAYERS[layer] | {
        "layer": layer,
        "operation": "div",
        "seed": lane // len(RANGES),
        "input_size": inputs,
        "interpolation": interpolation,
        "extrapolation": extrapolation,
        "max_iterations": iterations,
        "stream": stream,
    }


# --- the measured processes -------------------------------------------------------------------------------------------


def train_lanes(configurations: list[dict[str, Any]], engine: str, directory: Path) -> None:
    """Train in this process, with the worker's event files."""
    from experiments.arithmetic.params import SINGLE_LAYER, SingleLayer
    from orchestrator.lanes import train
    from orchestrator.recorder import Orders
    from orchestrator.worker.events import EventFiles

    class Recorder:
        def __init__(self, count: int) -> None:
            self.files = EventFiles(lambda lane: directory / str(lane) / "events.out.tfevents.0")
            for lane in range(count):
                self.files.begin(lane, 0)

        def log(self, lanes: Any, steps: Any, tags: Any, values: Any) -> None:
            self.files.add(lanes.tolist(), steps.tolist(), tags, values)
            if self.files.full:
                self.files.flush()

        def orders(self) -> Orders:
            return Orders()

        def checkpoint(self, lanes: Any, snapshot: Any) -> None:
            raise NotImplementedError

        def verdict(self, lanes: Any, outcome: Any, steps: Any) -> None:  # noqa: ARG002
            self.files.flush(lanes.tolist(), durable=True)
            self.files.close(lanes.tolist())

    from orchestrator.lanes.engine import resolve

    params = [SingleLayer.model_validate(values) for values in configurations]
    train(SINGLE_LAYER, params, Recorder(len(params)), engine=resolve(engine, "cpu"))


def cpu_seconds(command: list[str]) -> float:
    """Return user plus system seconds of a process and its children."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
    root = str(Path(__file__).resolve().parents[1])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={**os.environ, **threads, "PYTHONPATH": root})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def plain(values: dict[str, Any], stream: str) -> float:
    from experiments.arithmetic.params import SingleLayer

    resolved = SingleLayer.model_validate(values | {"stream": stream}).model_dump_json()
    with tempfile.TemporaryDirectory() as directory:
        return cpu_seconds([sys.executable, str(Path(__file__).with_name("plain.py")), resolved, directory])


def lanes(configurations: list[dict[str, Any]], engine: str) -> float:
    with tempfile.TemporaryDirectory() as directory:
        request = Path(directory) / "request.json"
        request.write_text(json.dumps(configurations), encoding="utf-8")
        return cpu_seconds([sys.executable, __file__, "--engine", engine, "--child", str(request)])


def line(short: list[float], long: list[float], steps: int, at: int) -> tuple[float, float]:
    """Return start-up, and the reading at ``at`` iterations, of medians measured with none and with ``steps``."""
    start, whole = statistics.median(short), statistics.median(long)
    return start, start + (whole - start) / steps * at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", default="1,25,225,1000")
    parser.add_argument("--layers", default="nmru,nru,real-npu")
    parser.add_argument("--inputs", default="2,10")
    parser.add_argument("--stream", choices=["legacy", "counter"], default="legacy")
    parser.add_argument("--engine", choices=["auto", "compiled", "eager"], default="auto")
    parser.add_argument("--iterations", type=int, default=50_000, help="the length that is compared")
    parser.add_argument("--plain-steps", type=int, default=4000, help="iterations of a measured plain run")
    parser.add_argument("--lane-steps", type=int, default=5000, help="iterations of a measured run of the lanes")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        train_lanes(json.loads(options.child.read_text(encoding="utf-8")), options.engine, options.child.parent)
        return

    import numpy as np
    import torch

    processor = next(
        (row.split(":")[1].strip() for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row),
        platform.processor(),
    )
    print(
        f"{processor}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores; Python"
        f" {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}; stream {options.stream},"
        f" engine {options.engine}; {options.iterations} iterations, read off lines through 0 and"
        f" {options.plain_steps} (plain) or {options.lane_steps} (lanes) iterations, medians of {options.repeat}\n"
    )
    print(
        "| layer | inputs | lanes | plain, CPU s a run | plain, CPU s | lanes, CPU s (start-up) | cold, CPU s | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for layer, inputs in itertools.product(options.layers.split(","), map(int, options.inputs.split(","))):

        def some(count: int, steps: int, layer: str = layer, inputs: int = inputs) -> list[dict[str, Any]]:
            return [configuration(layer, inputs, lane, steps, options.stream) for lane in range(count)]

        for count in map(int, options.lanes.split(",")):
            cold = lanes(some(count, 0), options.engine)
            measured: list[list[float]] = [[], [], [], []]
            for k in range(options.repeat):  # in turn, so that both sides see the same neighbours
                one = k % len(RANGES)
                # The plain way knows the legacy stream only.
                measured[0].append(plain(some(one + 1, 0)[one], "legacy"))
                measured[1].append(lanes(some(count, 0), options.engine))
                measured[2].append(plain(some(one + 1, options.plain_steps)[one], "legacy"))
                measured[3].append(lanes(some(count, options.lane_steps), options.engine))
            _, per_run = line(measured[0], measured[2], options.plain_steps, options.iterations)
            start, whole = line(measured[1], measured[3], options.lane_steps, options.iterations)
            print(
                f"| {layer} | {inputs} | {count} | {per_run:.1f} | {per_run * count:.0f} | {whole:.1f} ({start:.1f}) |"
                f" +{max(0.0, cold - start):.1f} | {per_run * count / whole:.0f}× |",
                flush=True,
            )


if __name__ == "__main__":
    main()
