"""What was asked of a study: generations of its grid, the chain of submissions, and the jobs that serve them."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError
from orchestrator.states import JobState
from orchestrator.study import atomic
from orchestrator.study.generation import Generation
from orchestrator.study.history import History
from orchestrator.study.layout import read_object
from orchestrator.study.pinned import Pinned
from orchestrator.study.records import Damage, Job, Submission, Taken

if TYPE_CHECKING:
    from orchestrator.points import Points

SEEN = 20
"""So many times, half a second apart, an owner's file is read that cannot be seen yet."""

_GENERATION = re.compile(r"grid\.(\d+)\.(json|yaml)")
_ENTRY = re.compile(r"(\d+)\.json")
_OWNER = re.compile(r"(\d+)\.(\d+)")
_JOB = re.compile(r"(\d+)\.job-[0-9a-f]+\.json")


class Chain(Pinned):
    """The generations, submissions, jobs and owners in a study's folder.

    Parameters
    ----------
    path
        The study's folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._entries: dict[int, Submission] = {}
        self._generations: dict[int, Generation] = {}

    # --- generations of the grid ------------------------------------------------------------------------------------

    def generation(self, g: int | None = None) -> Generation | None:
        """Return generation ``g`` of the grid, or the newest complete one."""
        if g is None:
            g = max(self._numbers(_GENERATION, self.path, ".json"), default=0)
        if g not in self._generations:
            if not (self.path / f"grid.{g}.json").exists():
                return None
            self._generations[g] = Generation(g, self.path)
        return self._generations[g]

    def publish_generation(self, text: str, info: Mapping[str, Any], points: Points) -> int:
        """Publish a generation of the grid and return its number: the newest one's if that says the same.

        Parameters
        ----------
        text
            The grid file.
        info
            What it resolved to (see :attr:`Generation.info`); the points are added here.
        points
            All points of the grid.
        """
        ids = bytes(points.ids)
        whole = json.loads(json.dumps({"schema": 1, "study": self.name, **info, "points": points.dump()}))
        newest = self.generation()
        if newest and newest.says(text, whole, ids):
            return newest.g
        g = max(self._numbers(_GENERATION, self.path), default=0)
        while True:
            g += 1
            try:
                atomic.publish(self.path / f"grid.{g}.yaml", text.encode())
            except FileExistsError:
                continue  # claimed by another process, or by one that died
            break
        atomic.publish(self.path / f"grid.{g}.ids", ids)
        atomic.publish(self.path / f"grid.{g}.json", json.dumps(whole).encode())
        newest = self.generation()
        if newest is not None:
            atomic.replace(self.path / "grid.yaml", newest.text.encode())
        return g

    def runs_of(self, g: int) -> list[bytes]:
        """Return the raw ids of a generation's points.

        Raises
        ------
        UserError
            If it is not there.
        """
        generation = self.generation(g)
        if generation is None:
            raise UserError(f"generation {g} of study {self.name!r} is named by a submission and is not there")
        return generation.runs

    # --- entries ------------------------------------------------------------------------------------------------------

    def chain(self) -> list[Submission]:
        """Return the entries of the chain in order. An entry that cannot be read is left out; see :meth:`damage`."""
        return [entry for n in self._chain_numbers() if (entry := self._entry(n)) is not None]

    def submission(self, n: int) -> Submission:
        """Return entry ``n`` of the chain."""
        entry = self._entry(n)
        if entry is None:
            raise UserError(f"submission {n} of study {self.name!r} is not there or cannot be read")
        return entry

    def publish(self, submission: Submission) -> Submission:
        """Publish the next entry of the chain, whole.

        Parameters
        ----------
        submission
            Carries the number it was planned for: the highest one that the planner saw, plus one.

        Raises
        ------
        Taken
            If somebody else published that number first: plan again.
        """
        n = submission.n
        submission = replace(submission, tag=submission.tag or f"orch-{self.name}-{n}-{secrets.token_hex(3)}")
        data = json.dumps(submission.to_json(), separators=(",", ":")).encode()
        try:
            atomic.publish(self.path / "submissions" / f"{n}.json", data)
        except FileExistsError as error:
            raise Taken(f"entry {n} of study {self.name!r}") from error
        self._entries[n] = submission
        return submission

    def damage(self) -> list[Damage]:
        """Return the control files that cannot be read; journals report their own (:meth:`history`)."""
        folder = self.path / "submissions"
        return [
            Damage(str(folder / f"{n}.json"), 0, "not an entry of the chain")
            for n in self._chain_numbers()
            if self._entry(n) is None
        ]

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def record_job(self, n: int, array: int, job: Job) -> None:
        """Record what an array was handed over as. An array may have several jobs: all but the first exit at once."""
        path = self.path / "submissions" / f"{n}.job-{secrets.token_hex(4)}.json"
        atomic.publish(path, json.dumps(replace(job, n=n, array=array).to_json()).encode())

    def jobs(self) -> list[Job]:
        """Return the jobs that may serve an array, in the order of the chain.

        Where a job took an array, that is the one, recorded or not; others exit as soon as they begin.
        """
        folder = self.path / "submissions"
        found = (read_object(folder / name) for name in atomic.names(folder) if _JOB.fullmatch(name))
        jobs = [Job.from_json(data) for data in found if data is not None]
        owners = self._owners()
        jobs = [job for job in jobs if owners.get((job.n, job.array), job.job_id) == job.job_id]
        recorded = {(job.n, job.array) for job in jobs}
        for (n, array), job_id in owners.items():
            entry = self._entry(n)
            if (n, array) not in recorded and entry is not None:
                jobs.append(Job(n, array, entry.cluster, job_id))
        return sorted(jobs, key=lambda job: (job.n, job.array, job.job_id))

    def alive(self, history: History, states: Mapping[str, JobState]) -> set[str]:
        """Return the names of the tasks that a scheduler still has.

        Parameters
        ----------
        history
            Says which tasks ended.
        states
            The answer of ``Cluster.poll`` for :meth:`jobs`: a state by ``job_id``, or by ``Job.element`` where single
            elements are known. What is not named there is ``unknown``, and that is not death.
        """
        names: set[str] = set()
        for job in self.jobs():
            entry = self._entry(job.n)
            if entry is None or job.array >= len(entry.arrays):
                continue
            start, stop = entry.arrays[job.array]
            whole = states.get(job.job_id, "unknown")
            for index, spec in enumerate(entry.tasks[start:stop]):
                state = states.get(job.element(index // entry.per_job), whole)
                if state != "gone" and spec.name not in history.ended:
                    names.add(spec.name)
        return names

    def take(self, n: int, array: int, job_id: str) -> bool:
        """Take array ``array`` of submission ``n`` for a scheduler's job. The first comes, the others exit.

        Returns
        -------
        bool
            Whether ``job_id`` owns the array; the owner itself may ask any number of times.
        """
        import socket

        owner = {"job_id": job_id, "host": socket.gethostname()}
        try:
            atomic.publish(self.path / "owners" / f"{n}.{array}", json.dumps(owner).encode())
        except FileExistsError:
            for _ in range(SEEN):  # a file system may show its name a moment before what is in it
                if (taken := self.owner(n, array)) is not None:
                    return taken == job_id
                time.sleep(0.5)
            return False
        return True

    def owner(self, n: int, array: int) -> str | None:
        """Return the scheduler's job that serves an array, if one has begun."""
        data = read_object(self.path / "owners" / f"{n}.{array}")
        return str(data["job_id"]) if data else None

    # --- inside -----------------------------------------------------------------------------------------------------

    def _numbers(self, pattern: re.Pattern[str], folder: Path, ending: str = "") -> list[int]:
        matches = (pattern.fullmatch(name) for name in atomic.names(folder) if name.endswith(ending))
        return sorted({int(match.group(1)) for match in matches if match})

    def _owners(self) -> dict[tuple[int, int], str]:
        owners: dict[tuple[int, int], str] = {}
        for name in atomic.names(self.path / "owners"):
            if match := _OWNER.fullmatch(name):
                n, array = int(match.group(1)), int(match.group(2))
                owner = self.owner(n, array)
                if owner is not None:
                    owners[n, array] = owner
        return owners

    def _chain_numbers(self) -> list[int]:
        return self._numbers(_ENTRY, self.path / "submissions")

    def _entry(self, n: int) -> Submission | None:
        if n not in self._entries:
            data = read_object(self.path / "submissions" / f"{n}.json")
            try:
                if data is None or data["n"] != n:
                    return None
                self._entries[n] = Submission.from_json(data)
            except (TypeError, KeyError, ValueError):
                return None
        return self._entries[n]
