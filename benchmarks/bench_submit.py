"""Submitting to Slurm beside plain ``submitit.map_array``, on the same private Slurm, the two sides taking turns.

Usage: ``python benchmarks/bench_submit.py [--tasks 1000] [--repeat 7] [--finished 100] [--rounds 3]``. It needs what
``tools/debian.sh slurm`` installs, and root. Two things are measured:

* *latency*: whole processes that hand over ``--tasks`` single-run tasks, as one array, to a Slurm whose nodes are
  drained, and the calls alone within them; and the files that are there afterwards;

* *to the end*: ``--finished`` tasks that do nothing, from the beginning of the command until the client knows that
  all are done; the CPU time of everything that this starts, the scheduler and what our steward exports included; and
  the files that are there then, for each element.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cluster.lab import Lab, missing

GRID = """\
study: {name}
command: 'true'
axes: {{seed: 0..{last}}}
resources: {{cluster: slurm, lanes: 1, workers: {workers}, memory: 400M}}
"""

OURS = """\
import sys, time
from orchestrator.cli.main import main
begun = time.perf_counter()
code = main(["submit", sys.argv[1], "--yes"])
print("CALL", time.perf_counter() - begun)
sys.exit(code)
"""

THEIRS = """\
import os, sys, time
import submitit
begun = time.perf_counter()
executor = submitit.AutoExecutor(folder=sys.argv[2], cluster="slurm")
executor.update_parameters(slurm_array_parallelism=100_000, timeout_min=60, mem_gb=0.4, cpus_per_task=1)
jobs = executor.map_array(abs, range(int(sys.argv[1])))
print("CALL", time.perf_counter() - begun)
if len(sys.argv) > 3:
    for job in jobs:
        job.result()
os._exit(0)  # or it would wait for its own watcher
"""


class Sample(NamedTuple):
    """One submission: seconds of the whole process, seconds of the call, files that came."""

    process: float
    call: float
    files: int


class Side:
    """One way to submit: a folder, and a command for so many tasks."""

    def __init__(self, name: str, folder: Path, command: Callable[[Path, int, bool], list[str]]) -> None:
        self.name, self.folder, self._command = name, folder, command
        self._count = 0

    def submit(self, tasks: int, *, wait: bool = False) -> Sample:
        """Hand over so many tasks, in a folder of its own."""
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir(parents=True)
        command = self._command(folder, tasks, wait)
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        took = time.perf_counter() - begun
        if "CALL" not in done.stdout:
            sys.exit(f"{self.name}: {done.stdout}{done.stderr}")
        call = float(done.stdout.split("CALL")[1].split()[0])
        return Sample(took, call, files(folder))

    @property
    def newest(self) -> Path:
        """The folder of the last submission."""
        return self.folder / str(self._count)


def files(folder: Path) -> int:
    """Count files, the grid and the frozen sources excepted: these do not depend on the number of tasks."""
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return sum("code" not in path.relative_to(folder).parts and path.name != "grid" for path in found)


def ours(workers: int) -> Callable[[Path, int, bool], list[str]]:
    """Return what submits a study of single-run tasks, so many of them side by side in an element."""

    def command(folder: Path, tasks: int, _: bool) -> list[str]:
        grid = folder / "grid"
        grid.write_text(GRID.format(name="bench", last=tasks - 1, workers=workers))
        return [sys.executable, "-c", OURS, str(grid)]

    return command


def theirs(folder: Path, tasks: int, wait: bool) -> list[str]:
    """Return what submits an array of calls of a function, and waits for their results."""
    return [sys.executable, "-c", THEIRS, str(tasks), str(folder / "jobs"), *(["wait"] if wait else [])]


class Meter:
    """Counts the CPU seconds of this process and of all that it starts: a control group of its own, of version 1."""

    def __init__(self) -> None:
        self._group = Path(f"/sys/fs/cgroup/cpuacct/orch-bench-{os.getpid()}")
        try:
            self._group.mkdir()
            (self._group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            print("no control group counts CPU time here: what the whole machine spends is printed instead")
            self._group = Path()

    def read(self) -> float:
        """Return the seconds so far."""
        if self._group != Path():
            return int((self._group / "cpuacct.usage").read_text()) / 1e9
        values = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Remove the group."""
        if self._group != Path():
            (self._group.parent / "cgroup.procs").write_text(str(os.getpid()))
            with contextlib.suppress(OSError):
                self._group.rmdir()


def latency(lab: Lab, sides: list[Side], tasks: int, repeat: int) -> None:
    """Measure how long it takes to hand an array over, and what is on the disk then."""
    for node in lab.nodes:
        lab.drain(node)
    samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
    for turn in range(repeat + 1):
        for side in sides if turn % 2 else sides[::-1]:
            samples[side.name].append(side.submit(tasks))
            lab.run("scancel", "--user=root")
            lab.wait(lambda: not lab.queue(), "an empty queue")
            shutil.rmtree(side.newest)
    print(f"\n| {tasks} tasks, one array | whole process, s | the call, s | files |\n|---|---|---|---|")
    for side in sides:
        process, call, count = (statistics.median(column) for column in zip(*samples[side.name][1:], strict=True))
        print(f"| {side.name} | {process:.2f} | {call:.2f} | {count:.0f} |")
    for node in lab.nodes:
        lab.resume(node)
    lab.wait_idle()


def to_the_end(lab: Lab, sides: list[Side], tasks: int, rounds: int, meter: Meter) -> None:
    """Measure how long it takes until all is done and known, what it costs, and what is on the disk then."""
    rows: dict[str, list[tuple[float, float, float]]] = {side.name: [] for side in sides}
    for turn in range(rounds):
        for side in sides if turn % 2 else sides[::-1]:
            begun, cpu = time.perf_counter(), meter.read()
            side.submit(tasks, wait=True)
            if side.name.startswith("orch"):
                wait_done(side.newest)
            took = time.perf_counter() - begun
            lab.wait(lambda: not lab.queue(), "an empty queue")
            rows[side.name].append((took, meter.read() - cpu, files(side.newest) / tasks))
    print(
        f"\n| {tasks} tasks that do nothing | until all are known to be done, s | CPU s for each"
        " | files for each |\n|---|---|---|---|"
    )
    for side in sides:
        took, cpu, count = (statistics.median(column) for column in zip(*rows[side.name], strict=True))
        print(f"| {side.name} | {took:.1f} | {cpu / tasks:.2f} | {count:.2f} |")


def wait_done(folder: Path) -> None:
    """Watch a study of ours to its end."""
    orch = Path(sys.executable).with_name("orch")
    subprocess.run(
        [orch, "watch", "bench", "--interval", "1"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000, help="tasks handed over for latency")
    parser.add_argument("--repeat", type=int, default=7, help="submissions of each side")
    parser.add_argument("--finished", type=int, default=100, help="tasks trained to the end; 0: none")
    parser.add_argument("--rounds", type=int, default=3, help="how often")
    options = parser.parse_args()
    why = missing(accounting=True)
    if why is not None:
        sys.exit(f"bench_submit.py: {why}")
    root = Path(tempfile.mkdtemp(prefix="orch-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    # submitit learns of failures from accounting alone, so both sides have it.
    lab = Lab(root / "lab", nodes=2, cpus=4, accounting=True, max_array=max(1001, options.tasks + 1))
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH", "ORCH_"))]:
        del os.environ[name]
    os.environ.update(lab.environment)
    meter = Meter()
    sides = [
        Side("orch", root / "orch", ours(1)),
        Side("orch, `workers: 4`", root / "packed", ours(4)),
        Side("submitit.map_array", root / "submitit", theirs),
    ]
    try:
        lab.start()
        said = lab.run("sinfo", "--version").stdout.strip()
        print(
            f"{said}, submitit {version('submitit')}, Python {platform.python_version()}, {os.cpu_count()} cores, "
            f"{options.repeat} and {options.rounds} interleaved repeats, medians"
        )
        latency(lab, sides, options.tasks, options.repeat)
        if options.finished:
            to_the_end(lab, sides, options.finished, options.rounds, meter)
    finally:
        lab.close()
        meter.close()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
