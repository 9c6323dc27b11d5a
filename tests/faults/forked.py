"""A study whose workers are forked from the test: no interpreter has to start, so that a sweep can afford hundreds."""

# Calls that may be fatal are system calls, and written in their names.
# ruff: noqa: PTH102, PTH104, PTH208

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from orchestrator import submit
from orchestrator.states import JobState
from orchestrator.study import code
from orchestrator.study.records import Job, Submission
from orchestrator.study.study import Study
from orchestrator.worker import main as worker
from orchestrator.worker import recorder
from tests.faults.inject import Calls, Ended, in_child
from tests.study.studies import FakeCluster
from tests.worker.helpers import make_study

SWEEP = "ORCH_TESTS_SWEEP"
"""Set to ``all``, sweeps take every call; otherwise a sample of them, the same every time."""

NOISY = {
    "toy/__init__.py": "",
    "toy/params.py": """
from orchestrator.experiment import Experiment, ExperimentParams, Lane

class Params(ExperimentParams):
    steps: Lane[int] = 6

EXP = Experiment("toy", params=Params, train="toy.train:train", form="run", steps="steps")
""",
    "toy/train.py": """
import random
import numpy as np

def train(run):
    state = run.restore()
    if state is None:
        random.seed(run.seed)
        np.random.seed(run.seed)
        state = {"step": 0, "w": np.zeros(3)}
    while state["step"] < run.params.steps:
        state["w"] = 0.9 * state["w"] + np.random.standard_normal(3) + random.random()
        run.log({"loss": float(np.square(state["w"]).sum()), "noise": random.random()}, state["step"])
        state["step"] += 1
        run.checkpoint(state)
        if run.should_stop:
            return
""",
}
"""Ordinary code whose numbers come from Python's and NumPy's own generators: to go on exactly, they must, too."""

STACKED = {
    "stacked/__init__.py": "",
    "stacked/params.py": """
from orchestrator.experiment import Experiment, ExperimentParams, Lane

class Params(ExperimentParams):
    rate: Lane[float] = 1.0
    steps: int = 30

EXP = Experiment("stacked", params=Params, train="stacked.train:train", steps="steps")
""",
    "stacked/train.py": """
import torch

def train(lanes):
    p = lanes.values

    def init():
        return {"w": torch.zeros(lanes.width), "v": torch.ones(3, lanes.width)}

    def update(state, step):
        v = torch.sin(state["v"] * 1.7 + step)
        return {"w": state["w"] * 0.99 + p.rate * v.sum(0), "v": v}, {}

    def log(state, step):
        return {"total": state["w"]}

    lanes.run(init=init, step=update, log=log, every=5, steps=lanes.static.steps + 1)
""",
}
"""Stacked lanes."""

RESOURCES = {"checkpoint": "0s", "retries": 2, "workers": 1}
FIELDS: dict[str, Any] = {"cluster": "fake", "scheduler": "slurm", "resources": RESOURCES}


def noisy(folder: Path, runs: int = 2, *, tasks: Any = None, steps: int = 6) -> Study:
    """Publish a study of ordinary code."""
    rows = [{"seed": seed, "steps": steps} for seed in range(runs)]
    return make_study(folder, rows, files=NOISY, lanes=["seed", "steps"], tasks=tasks, **FIELDS)


def stacked(folder: Path, runs: int = 4, *, tasks: Any = None, steps: int = 20) -> Study:
    """Publish a study of lanes."""
    rows = [{"seed": seed, "rate": 0.1 * (seed + 1), "steps": steps} for seed in range(runs)]
    files, name = STACKED, "stacked.params:EXP"
    lanes, tasks = ["seed", "rate"], tasks or [list(range(runs))]
    return make_study(folder, rows, files=files, form="lanes", experiment=name, lanes=lanes, tasks=tasks, **FIELDS)


def copy(study: Study, folder: Path) -> Study:
    """Return a copy that shares the frozen sources."""
    path = folder / study.name
    shutil.copytree(study.path, path, ignore=shutil.ignore_patterns("code"))
    (path / "code").symlink_to(study.path / "code")
    return Study(path)


def train(
    study: Study,
    task: str,
    job: str = "job1_0",
    fault: Calls | None = None,
    before: Callable[[], object] = lambda: None,
) -> Ended:
    """Run a worker in a child, which writes a checkpoint whenever it may; ``before`` that, do something there."""

    def work() -> int:
        before()
        recorder.CHECKPOINT_SHARE = 1e9  # type: ignore[misc]
        entry = study.submission(int(task.partition("-")[0]))
        code.installed_packages = lambda: {"python": "3"}
        os.chdir(study.path)
        sys.path.insert(0, str(study.code_dir(entry.code)))
        return worker.main([str(study.path), task, job])

    return in_child(work, fault)


class ForkCluster(FakeCluster):
    """A scheduler whose jobs train: when a test says so, in forked children."""

    def adopt(self, study: Study, n: int = 1) -> str:
        """Take note of an entry that was published without us, as if its array ran; its owner is the job."""
        job_id = f"job{len(self.jobs) + 1}"
        self.jobs[job_id], self.states[job_id] = (n, 0), "running"
        assert study.take(n, 0, job_id)
        return job_id

    def work(self, study: Study, job_id: str) -> bool:
        """Train all tasks of a job's array, one after the other."""
        n, array = self.jobs[job_id]
        self.states[job_id] = "gone"
        if not study.take(n, array, job_id):
            return False
        entry: Submission = study.submission(n)
        for index, spec in enumerate(entry.tasks_of(array)):
            train(study, spec.name, f"{job_id}_{index // entry.per_job}")
        return True


def repair(study: Study, cluster: ForkCluster) -> None:
    """Do what the next commands do, as often as it takes: plan again, and work off what was handed over."""
    for _ in range(5):
        fresh = Study(study.path)
        submit.advance(fresh, cluster, cluster)
        waiting = [job for job, state in cluster.states.items() if state != "gone"]
        if not waiting:
            return
        for job_id in waiting:
            cluster.work(fresh, job_id)


def sample(total: int, most: int) -> list[int]:
    """Return the calls at which a process is to die: all of them, or a sample of so many."""
    every = list(range(1, total + 1))
    if os.environ.get(SWEEP) == "all" or total <= most:
        return every
    return sorted(Random(total).sample(every, most))


class FileCluster(ForkCluster):
    """A scheduler whose queue is a folder, so that it outlives the command that died on it; a call of it is one mkdir.

    Parameters
    ----------
    folder
        The queue: ``<job>=<n>=<array>`` for an array, ``steward<k>`` for a steward; what is over ends in ``.gone``.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("fake", max_array=1)
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def _names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def submit(self, study: Study, submission: Submission, array: int) -> Job:
        """Queue an array."""
        job_id = f"job{len(self._names()) + 1}"
        os.mkdir(self.folder / f"{job_id}={submission.n}={array}")
        return Job(submission.n, array, self.name, job_id)

    def steward(self, study: Study, k: int, resources: Any, after: Any) -> Job:
        """Queue a steward."""
        os.mkdir(self.folder / f"steward{k}")
        return Job(0, 0, self.name, f"steward{k}", extra={"after": [job.job_id for job in after]})

    def poll(self, jobs: Any) -> dict[str, JobState]:
        """Say what is in the queue."""
        there = {name.partition("=")[0] for name in self._names() if not name.endswith(".gone")}
        return {job.job_id: "pending" if job.job_id in there else "gone" for job in jobs}

    def cancel(self, parts: Any) -> None:
        """Take whole jobs out of the queue."""
        doomed = {part.job.job_id for part in parts if part.elements is None}
        for name in self._names():
            if name.partition("=")[0] in doomed and not name.endswith(".gone"):
                os.rename(self.folder / name, self.folder / f"{name}.gone")

    def work_off(self, study: Study) -> None:
        """Let every array in the queue run, the last first."""
        for name in reversed(self._names()):
            job_id, _, rest = name.partition("=")
            if rest and not name.endswith(".gone"):
                n, array = map(int, rest.split("="))
                os.rename(self.folder / name, self.folder / f"{name}.gone")
                self.jobs[job_id] = (n, array)
                self.work(study, job_id)
