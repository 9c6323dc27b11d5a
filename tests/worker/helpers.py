"""Studies of tiny experiments that need no torch, and real processes that train them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from orchestrator import identity
from orchestrator.clusters.base import WORKER, environment, python_command
from orchestrator.points import MISSING, Column, Points
from orchestrator.study.records import Submission, TaskSpec
from orchestrator.study.study import Study

T = TypeVar("T")

PARAMS = """
from orchestrator.experiment import Experiment, ExperimentParams, Lane

class Params(ExperimentParams):
    steps: Lane[int] = 20
    pause: Lane[float] = 0.0
    fail_at: Lane[int] = -1
    how: str = "error"

EXP = Experiment("toy", params=Params, train="toy.train:train", form="run", steps="steps")
"""

TRAIN = """
import hashlib, math, os, signal, sys, time

def noise(seed, step):
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=4).digest(), "little") / 2**32

def fail(run, step):
    how = run.params.how
    if how == "error": raise ValueError(f"step {step} of seed {run.seed} is bad")
    if how == "memory": raise MemoryError
    if how == "diverge": raise FloatingPointError("loss is nan")
    if how == "exit": sys.exit(3)
    if how == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if how == "kill once":
        mark = os.path.join(os.environ["TOY_FOLDER"], run.id)
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

def train(run):
    state = run.restore() or {"step": 0, "total": 0.0}
    print("from", state["step"], flush=True)
    while state["step"] < run.params.steps:
        step = state["step"]
        if step == run.params.fail_at: fail(run, step)
        state["total"] = 0.9 * state["total"] + noise(run.seed, step)
        run.log({"total": state["total"], "odd": math.nan if step % 2 else 1.0}, step)
        state["step"] += 1
        time.sleep(run.params.pause)
        run.checkpoint(state)
        if run.should_stop: return
"""

PLAIN = {"toy/__init__.py": "", "toy/params.py": PARAMS, "toy/train.py": TRAIN}
"""A user's project: ordinary code that trains one run at a time."""


def project(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "user" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "user"


def table(rows: Sequence[Mapping[str, Any]], name: str, version: int) -> Points:
    """Points with one code array per leaf, each with its own values."""
    points = Points()
    for path in dict.fromkeys(path for row in rows for path in row):
        values = [row.get(path, MISSING) for row in rows]
        points.codes[path] = array("H", range(len(rows)))
        points.leaves[path] = Column(path, values)
    for i in range(len(rows)):
        points.ids += identity.from_text(identity.run_id(name, version, rows[i]))
    return points


def make_study(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    files: Mapping[str, str] = PLAIN,
    form: str = "run",
    experiment: str = "toy.params:EXP",
    tasks: Sequence[Sequence[int]] | None = None,
    resources: Mapping[str, Any] | None = None,
    lanes: Sequence[str] = (),
    info: Mapping[str, Any] | None = None,
    **entry: Any,
) -> Study:
    """Publish a study with one submission; rows are resolved leaves."""
    study = Study.create(folder / "runs", "toy")
    points = table(rows, experiment, 1)
    asked = {"checkpoint": "0.05s", "workers": 2, "retries": 2, "lanes": 1, "engine": "eager", **(resources or {})}
    own = project(folder, files) if files else None
    record = {
        "experiment": experiment, "version": 1, "form": form, "train": "toy.train:train", "params": "toy.params:Params",
        "steps": "steps", "cadence": None, "lanes": list(lanes), "project": str(own) if own else None,
        "overrides": [], "resources": asked, "export": {"tags": ["*"], "every": 1, "summary": None}, "figures": [],
        "created": "", **(info or {}),
    }  # fmt: skip
    from orchestrator.study import code

    g = study.publish_generation("study: toy\n", record, points)
    specs = tuple(
        TaskSpec(f"1-{at}", [[i, i + 1, 1] for i in task], len(task))
        for at, task in enumerate(tasks or [[i] for i in range(len(rows))])
    )
    entry = {"cluster": "local", "code": study.freeze_code(code.roots(own)), "source": "s", **entry}
    study.publish(Submission(1, generation=g, resources=asked, tasks=specs, arrays=((0, len(specs)),), **entry))
    return study


def plain_study(folder: Path, files: Mapping[str, str], rows: Sequence[Mapping[str, Any]], **options: Any) -> Study:
    """A study of the toy experiment; each row sets what differs from its defaults."""
    defaults = {"steps": 20, "pause": 0.0, "fail_at": -1, "how": "error"}
    full = [{"seed": at, **defaults, **row} for at, row in enumerate(rows)]
    return make_study(folder, full, files=files, lanes=["seed", "steps", "pause", "fail_at"], **options)


def command_study(folder: Path, template: str, rows: Sequence[Mapping[str, Any]], **options: Any) -> Study:
    full = [{"seed": at, "command": template, **row} for at, row in enumerate(rows)]
    return make_study(folder, full, form="command", experiment="command", **options)


def start_worker(study: Study, task: str, **variables: str) -> subprocess.Popen[bytes]:
    code = study.code_dir(study.chain()[0].code)
    command = python_command(code, WORKER, study.path, task, "job")
    return subprocess.Popen(command, env=environment(variables), cwd=study.path, stderr=subprocess.PIPE)


def work(study: Study, task: str = "1-0", **variables: str) -> int:
    """Run a worker to its end."""
    worker = start_worker(study, task, **variables)
    worker.communicate(timeout=120)
    return worker.returncode


def interrupt(study: Study, worker: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    os.kill(worker.pid, number)
    worker.communicate(timeout=60)


def eventually(condition: Callable[[], T], seconds: float = 180) -> T:
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def series(study: Study, run: bytes, tag: str = "total") -> list[tuple[int, float]]:
    """A run's series as TensorBoard reads it, all attempts together."""
    accumulator = EventAccumulator(str(study.events_dir(run)), size_guidance={"scalars": 0})
    accumulator.Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def stderr(study: Study, task: str = "1-0", k: int = 1) -> str:
    path = study.task_path(task, k) / "stderr"
    return path.read_text() if path.exists() else ""
