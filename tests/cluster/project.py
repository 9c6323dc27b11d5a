"""The end-to-end tests' project on a scheduler, and a search path whose commands count, fail and lie."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from orchestrator.study.study import Study
from tests.cluster.lab import Lab
from tests.e2e.conftest import DEADLINE, GRID, TRAIN, Project

HUNGRY = """
    (folder / f"devices-{run.seed}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
    if (folder / f"hungry-{run.seed}").exists():
        fed = b"x" * int((folder / f"hungry-{run.seed}").read_text())
"""
"""Tests say by a file how many bytes a seed's runs need; the runs say by a file which accelerators they see."""


class ClusterProject(Project):
    """A project whose studies train on a scheduler.

    Parameters
    ----------
    folder
        Where it is.
    cluster
        The name in ``resources.cluster``.
    lab
        The Slurm below.
    """

    def __init__(self, folder: Path, cluster: str, lab: Lab) -> None:
        super().__init__(folder)
        self.lab, self.cluster = lab, cluster
        self.calls = folder / "calls"
        self._bin = folder / "bin"
        begins = '    folder = Path(os.environ["TOY_FOLDER"])\n'
        assert begins in TRAIN
        (folder / "toy" / "train.py").write_text(TRAIN.replace(begins, begins + HUNGRY))
        self.resources()

    def resources(self, *, sections: str = "", axes: str | None = None, **changes: object) -> None:
        """Write the grid anew, with other resources, axes or further sections."""
        asked = {"cluster": self.cluster, "workers": 1, "lanes": 1, "retries": 2, "memory": "300M", **changes}
        line = next(line for line in GRID.splitlines() if line.startswith("resources:"))
        text = GRID.replace(line, f"resources: {{{', '.join(f'{name}: {value}' for name, value in asked.items())}}}")
        if axes is not None:
            start, stop = text.index("axes:"), text.index("resources:")
            text = f"{text[:start]}axes: {axes}\n{text[stop:]}"
        self.grid.write_text(text + sections)

    # --- commands that are not what they seem -----------------------------------------------------------------------

    def wrap(self, name: str, script: str) -> None:
        """Put a command before the real one, which the script finds as ``$REAL``; jobs find it too."""
        real = shutil.which(name, path=self.lab.environment["PATH"])
        self._bin.mkdir(exist_ok=True)
        file = self._bin / name
        file.write_text(f'#!/bin/sh\nREAL={real}\nHERE={self.folder}\n{script}\nexec "$REAL" "$@"\n')
        file.chmod(0o755)
        if str(self._bin) not in self.env["PATH"].split(os.pathsep):
            self.env["PATH"] = os.pathsep.join([str(self._bin), self.env["PATH"]])

    def unwrap(self, name: str) -> None:
        """Take it away."""
        (self._bin / name).unlink()

    def count(self, *names: str) -> None:
        """Note every call of these commands."""
        for name in names:
            self.wrap(name, f'echo {name} >> "$HERE/calls"')

    def counted(self) -> Counter[str]:
        """Return how often each was called, and begin to count anew."""
        found = Counter(self.calls.read_text().split()) if self.calls.exists() else Counter[str]()
        self.calls.unlink(missing_ok=True)
        return found

    # --- looking ----------------------------------------------------------------------------------------------------

    def study(self, name: str = "walk") -> Study:
        """Return the study."""
        return Study.open(name, self.folder / "runs")

    def done(self, name: str = "walk") -> int:
        """Return how many runs have a verdict: cheaper than to ask the command line."""
        return sum(record.outcome is not None for record in self.study(name).history().runs.values())

    def job(self) -> str:
        """Return the id of the newest job."""
        return self.study().jobs()[-1].job_id

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        self.lab.wait(condition, lambda: f"{what}; {self.runs()}\n{self.words()}", DEADLINE)

    def empty(self, seconds: float = 120) -> None:
        """Wait until nothing is queued any more, stewards included."""
        self.lab.wait(lambda: not self.lab.queue(), lambda: f"an empty queue; {self.words()}", seconds)

    def words(self) -> str:
        """Return what jobs and stewards said, for a failed test to show."""
        found = [
            *(self.folder / "runs").glob("*/submissions/*.log"),
            *(self.folder / "runs").glob("*/steward/*/stdout"),
        ]
        return "\n".join(f"--- {path}\n{path.read_text()[-3000:]}" for path in sorted(found))

    def verdicts(self, study: str = "walk") -> Counter[int]:
        """Return how many runs have how many verdicts, over all incarnations of all tasks."""
        opened, found = self.study(study), Counter[bytes]()
        for entry in opened.chain():
            for spec in entry.tasks:
                runs = opened.task(spec.name).runs
                for log in opened.incarnations(spec.name):
                    found.update(run for run, verdict in zip(runs, log.verdicts, strict=True) if verdict is not None)
        return Counter(found.values())

    def end(self) -> None:
        """Nothing: the lab ends all jobs."""
