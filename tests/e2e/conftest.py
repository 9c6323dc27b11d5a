"""The real ``orch``, and a project of a user's own with a tiny experiment that tests can hold, break and watch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.states import RUN_STATES

ORCH = Path(sys.executable).with_name("orch")
DEADLINE = 120.0

PARAMS = '''\
"""What the toy can be told."""

from orchestrator.experiment import Experiment, ExperimentParams, Lane


class Params(ExperimentParams):
    """A walk towards zero."""

    rate: Lane[float] = 0.5
    steps: int = 20


TOY = Experiment("toy", params=Params, train="toy.train:train", form="run", steps="steps")
'''

TRAIN = '''\
"""A walk towards zero, which tests can hold up or break by files in TOY_FOLDER."""

import os
import time
from pathlib import Path


def train(run):
    folder = Path(os.environ["TOY_FOLDER"])
    with (folder / "begun").open("a") as begun:
        begun.write(f"{run.seed}\\n")
    print(f"seed {run.seed} trains")
    state = run.restore() or {"step": 0, "distance": 1.0 + run.seed}
    while state["step"] < run.params.steps:
        if (folder / f"broken-{run.seed}").exists():
            raise ValueError(f"seed {run.seed} is broken")
        state["distance"] *= 1 - run.params.rate
        run.log({"distance": state["distance"], "sparsity": 0.0}, state["step"])
        state["step"] += 1
        run.checkpoint(state)
        while (folder / "hold").exists() and state["step"] == 10 and not run.should_stop:
            time.sleep(0.01)
        if run.should_stop:
            run.checkpoint(state)
            return
'''

GRID = """\
study: walk
experiment: toy.params:TOY
axes:
  seed: 0..2
  rate: [0.25, 0.5]
resources: {workers: 2, retries: 0}
export:
  summary: {select: distance, error: distance, threshold: 1e-3}
"""


class Project:
    """A folder with an experiment, a grid and its studies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grid = folder / "walk.yaml"
        (folder / "toy").mkdir()
        (folder / "toy" / "__init__.py").write_text("")
        (folder / "toy" / "params.py").write_text(PARAMS)
        (folder / "toy" / "train.py").write_text(TRAIN)
        (folder / "pyproject.toml").write_text("")
        self.grid.write_text(GRID)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORCH_", "COLUMNS"))}
        self.env = {**kept, "TOY_FOLDER": str(folder), "ORCH_ROOT": str(folder / "runs")}
        self._pids: set[int] = set()

    def start(self, *words: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command and return."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([ORCH, *map(str, words)], cwd=self.folder, env=self.env, **{**pipes, **options})

    def orch(self, *words: object, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and check its exit code unless that is None."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=DEADLINE)
        done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        assert code is None or done.returncode == code, f"{words} returned {done.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return done

    def json(self, *words: object, code: int | None = 0) -> Any:
        return json.loads(self.orch(*words, "--json", code=code).stdout)

    def runs(self, study: str = "walk") -> dict[str, int]:
        """Return the counts of status, which add up."""
        counts = self.json("status", study)["runs"]
        assert sum(counts[state] for state in RUN_STATES) == counts["total"]
        return {state: count for state, count in counts.items() if count and state != "total"}

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"{what} did not happen; {self.runs()}\n{self.words()}"
            time.sleep(0.05)

    def settled(self, study: str = "walk") -> None:
        """Wait until no steward is left."""
        self.wait(lambda: self.json("status", study)["idle"], "the end of the steward")

    def words(self) -> str:
        """Return what the processes of all studies said, for a failed test to show."""
        found = (self.folder / "runs").glob("*/[st]*/**/std*")
        return "\n".join(f"--- {path}\n{path.read_text()}" for path in sorted(found) if path.is_file())

    def begun(self) -> Counter[int]:
        """Return how often each seed began to train."""
        file = self.folder / "begun"
        return Counter(map(int, file.read_text().split())) if file.exists() else Counter()

    def stewards(self, study: str = "walk") -> list[int]:
        """Return the process ids of the stewards that live."""
        from orchestrator.clusters.local import LocalCluster
        from orchestrator.study.study import Study

        jobs = Study.open(study, self.folder / "runs").jobs() if (self.folder / "runs" / study).exists() else []
        states = LocalCluster().poll(jobs)
        return sorted({int(job.job_id.split(":")[1]) for job in jobs if states[job.job_id] == "running"})

    def hold(self) -> None:
        """Have every run stop half way."""
        (self.folder / "hold").touch()

    def release(self) -> None:
        """Have them go on."""
        (self.folder / "hold").unlink(missing_ok=True)

    def end(self) -> None:
        """End every steward; its workers end with it."""
        for study in (self.folder / "runs").glob("*/submissions"):
            for pid in self.stewards(study.parent.name):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "a project"  # a space in a path breaks what forgets to quote
    folder.mkdir()
    made = Project(folder)
    yield made
    made.release()
    made.end()
