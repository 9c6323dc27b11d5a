"""Start-up of ``orch --help`` and ``orch status`` above a bare interpreter: medians of interleaved whole processes.

Usage: ``python benchmarks/bench_start.py [--repeat 21] [--study PATH]``; without a study one of 1,000 runs is made.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Return (wall, CPU) seconds of one whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--study", help="a study to ask the status of, e.g. runs/demo")
    options = parser.parse_args()
    orch = shutil.which("orch", path=str(Path(sys.executable).parent))
    if orch is None:
        sys.exit("orch is not installed beside this Python: make setup")

    with tempfile.TemporaryDirectory() as root:
        env = {**os.environ, "ORCH_ROOT": root, "PYTHONDONTWRITEBYTECODE": ""}
        study = options.study or example(orch, root, env)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "orch --help": [orch, "--help"],
            "orch status": [orch, "status", study],
        }
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for name in list(commands) * (options.repeat + 1):
            samples[name].append(measure(commands[name], env))

    bare = statistics.median(wall for wall, _ in samples["python -c pass"][1:])
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {options.repeat} interleaved repeats\n")
    print("| command | wall ms (median) | CPU ms (median) | wall above bare, ms |\n|---|---|---|---|")
    for name, measured in samples.items():
        wall, cpu = (statistics.median(column) for column in zip(*measured[1:], strict=True))
        print(f"| `{name}` | {wall * 1e3:.0f} | {cpu * 1e3:.0f} | {(wall - bare) * 1e3:.0f} |")


def example(orch: str, root: str, env: dict[str, str]) -> str:
    """Make a finished study of 1,000 command runs in a few tasks, and return its name."""
    grid = Path(root) / "grid.yaml"
    grid.write_text("study: start\ncommand: 'true'\naxes: {seed: 0..999}\nresources: {lanes: 250}\n")
    subprocess.run([orch, "run", str(grid), "--yes"], check=True, stdout=subprocess.DEVNULL, env=env)
    return "start"


if __name__ == "__main__":
    main()
