"""A project whose numbers come from a random generator, and that can be held up, made deaf, and proved."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator import identity
from orchestrator.study.journal import IncarnationLog
from orchestrator.study.study import Study
from tests.cluster.lab import Lab
from tests.cluster.project import ClusterProject
from tests.e2e.conftest import Project
from tests.faults.proof import Rows, proven, rows

TRAIN = '''\
"""A random walk, which tests can hold up or make deaf by files in TOY_FOLDER."""

import os
import random
import time
from pathlib import Path


def held(folder, run):
    if (folder / f"deaf-{run.seed}").exists():
        return True  # whatever it is told
    return (folder / "hold").exists() and not run.should_stop


def pause(folder):
    begun = time.monotonic()
    try:
        while time.monotonic() - begun < float((folder / "pause").read_text() or 0):
            time.sleep(0.02)
    except FileNotFoundError:
        pass


def train(run):
    folder = Path(os.environ["TOY_FOLDER"])
    with (folder / "begun").open("a") as begun:
        begun.write(f"{run.seed}\\n")
    state = run.restore()
    if state is None:
        random.seed(run.seed)
        state = {"step": 0, "distance": 1.0}
    while state["step"] < run.params.steps:
        state["distance"] += random.gauss(0, run.params.rate)
        run.log({"distance": state["distance"], "sparsity": random.random()}, state["step"])
        state["step"] += 1
        run.checkpoint(state)
        pause(folder)
        waits = 0
        while state["step"] == 10 and held(folder, run):
            if waits < 50:
                run.checkpoint(state)  # until it was due once
            waits += 1
            time.sleep(0.02)
        if run.should_stop:
            run.checkpoint(state)
            return
'''

WALK = {"toy/train.py": TRAIN}
"""Ordinary code."""

STACKED = {
    "toy/params.py": """
from orchestrator.experiment import Experiment, ExperimentParams, Lane


class Params(ExperimentParams):
    rate: Lane[float] = 0.5
    steps: int = 100


TOY = Experiment("toy", params=Params, train="toy.train:train", steps="steps")
""",
    "toy/train.py": """
import os
import time
from pathlib import Path

import torch


def train(lanes):
    pause = Path(os.environ["TOY_FOLDER"]) / "pause"
    seeds = torch.tensor([float(params.seed) for params in lanes.params] + [0.0] * (lanes.width - len(lanes.params)))

    def init():
        return {"w": torch.zeros(lanes.width), "v": torch.ones(3, lanes.width) + seeds}

    def update(state, step):
        v = torch.sin(state["v"] * 1.7 + step)
        return {"w": state["w"] * 0.99 + lanes.values.rate * v.sum(0), "v": v}, {}

    def log(state, step):
        time.sleep(float(pause.read_text()) if pause.exists() else 0)
        return {"distance": state["w"], "sparsity": state["v"][0]}

    lanes.run(init=init, step=update, log=log, every=5, steps=lanes.static.steps + 1)
""",
}
"""Stacked lanes."""

DEADLINE = 240.0


class MatrixProject(ClusterProject):
    """A project of the random walk on a Slurm that other tests use at the same time.

    Parameters
    ----------
    folder, lab
        Where it is, and the Slurm.
    runs
        How many it has.
    files
        Its experiment, by the names of files.
    resources
        What its grid asks for besides.
    """

    def __init__(
        self, folder: Path, lab: Lab, *, runs: int = 3, files: Mapping[str, str] = WALK, **resources: object
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, "slurm", lab)
        for name, text in files.items():
            (folder / name).write_text(text)
        self.resources(checkpoint="0s", axes=f"{{seed: 0..{runs - 1}, rate: [0.5]}}", **resources)
        self.count_of_runs = runs

    def logs(self) -> list[IncarnationLog]:
        """Return the journals of all incarnations of all tasks."""
        study = self.study()
        return [log for entry in study.chain() for spec in entry.tasks for log in study.incarnations(spec.name)]

    def ends(self) -> list[str | None]:
        """Return how they ended."""
        return [log.end for log in self.logs()]

    def pids(self) -> list[int]:
        """Return the processes that trained or train."""
        return [log.begin["pid"] for log in self.logs() if log.begin and not log.begin.get("witness")]

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition without starting processes."""
        deadline = time.monotonic() + DEADLINE
        while not (found := condition()):
            assert time.monotonic() < deadline, f"{what} did not happen\n{self.words()}\n{self.lab.logs()}"
            time.sleep(0.05)
        return found

    def held(self) -> str:
        """Submit, have every run stop half way, and return the job's id once all have come there."""
        self.hold()
        self.orch("submit", "walk.yaml")
        self.until(lambda: self.half() == self.count_of_runs, "runs half way")
        return self.job()

    def half(self) -> int:
        """Return how many runs have come half way by what is saved."""
        return sum(record.saved >= 9 for record in self.study().history().runs.values())

    def arrived(self, expected: Rows) -> None:
        """Wait until all runs are done, and prove that they are what they would be if nothing had happened."""
        study = self.study()
        generation = study.generation()
        assert generation is not None
        count = self.count_of_runs
        self.until(lambda: study.history().counts(generation.runs, ())["done"] == count, "the end of all runs")
        proven(study, {name: expected[name] for name in map(identity.to_text, generation.runs)})


def undisturbed(folder: Path, *, runs: int = 3, files: Mapping[str, str] = WALK) -> Rows:
    """Return the series of the runs on this machine, with nothing in their way."""
    folder.mkdir(parents=True, exist_ok=True)
    calm = Project(folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    grid = calm.grid.read_text().replace("seed: 0..2", f"seed: 0..{runs - 1}").replace("[0.25, 0.5]", "[0.5]")
    calm.grid.write_text(grid.replace("retries: 0", f"retries: 0, engine: eager, lanes: {runs // 2 + 1}"))
    for name in [name for name in calm.env if name.startswith(("SLURM", "SBATCH"))]:
        del calm.env[name]
    try:
        calm.orch("run", "walk.yaml")
        return rows(Study.open("walk", folder / "runs"))
    finally:
        calm.end()


def alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
