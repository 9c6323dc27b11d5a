"""The study directory. Every file in it has exactly one writer for ever; see docs/design.md, "The study directory"."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from orchestrator.errors import UserError, nearest
from orchestrator.study import atomic, sealed
from orchestrator.study.chain import Chain
from orchestrator.study.generation import Generation
from orchestrator.study.history import History, fold
from orchestrator.study.incarnation import Incarnation
from orchestrator.study.journal import IncarnationLog, read_heartbeat, read_log
from orchestrator.study.layout import read_object
from orchestrator.study.records import Job, RestorePoint, Task
from orchestrator.study.restore import Standing
from orchestrator.study.spans import from_spans

__all__ = ["Generation", "Study", "studies_root"]

ROOT_VARIABLE = "ORCH_ROOT"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def studies_root(root: str | Path | None = None) -> Path:
    """Return the folder of all studies: ``root``, else ``$ORCH_ROOT``, else ``runs`` in the current folder."""
    return Path(root or os.environ.get(ROOT_VARIABLE) or "runs").absolute()


class Study(Chain):
    """A study on the disk. Holds no open file and no lock; any number of processes may have one.

    Parameters
    ----------
    path
        The study's folder. Use :meth:`open` or :meth:`create`.
    """

    # --- which study ------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, name: str | Path, root: str | Path | None = None) -> Study:
        """Open a study by its name, or by its path.

        Raises
        ------
        UserError
            If there is no such study.
        """
        folder = studies_root(root)
        for path in (folder / name, Path(name).absolute()):
            if (path / "submissions").is_dir():
                return cls(path)
        known = cls.names(root)
        none = "it has none. Was it submitted from another folder? --root and ORCH_ROOT say where studies are."
        there = f"there are: {', '.join(known[:10])}{', …' if len(known) > 10 else ''}." if known else none
        raise UserError(f"there is no study {str(name)!r} in {folder}; {there}{nearest(str(name), known)}")

    @classmethod
    def create(cls, root: str | Path | None, name: str) -> Study:
        """Open a study of this name, made if it does not exist.

        Raises
        ------
        UserError
            If the name cannot be that of a folder, or the folder cannot be written.
        """
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a study: use letters, digits, dots, dashes and underscores, and begin with "
                "none of dot and dash"
            )
        path = studies_root(root) / name
        try:
            for part in ("owners", "tasks", "events", "code", "submissions"):
                atomic.make_folder(path / part)
        except OSError as error:
            raise UserError(
                f"the study's folder {path} cannot be written: {error.strerror}; mend that, or choose another place "
                "with --root or ORCH_ROOT"
            ) from error
        return cls(path)

    @staticmethod
    def names(root: str | Path | None = None) -> list[str]:
        """Return the names of all studies in a folder."""
        folder = studies_root(root)
        return sorted(path.parent.name for path in folder.glob("*/submissions"))

    # --- tasks ------------------------------------------------------------------------------------------------------

    def task(self, name: str) -> Task:
        """Return a task with its runs.

        Raises
        ------
        UserError
            If there is no such task.
        """
        number, _, index = name.partition("-")
        if not (number.isdecimal() and index.isdecimal()):
            raise UserError(f"{name!r} is not the name of a task; tasks are called like 3-17")
        entry = self.submission(int(number))
        if not int(index) < len(entry.tasks):
            raise UserError(
                f"submission {number} of study {self.name!r} has {len(entry.tasks)} tasks, none called {name}"
            )
        spec = entry.tasks[int(index)]
        points, runs = spec.indices(), self.runs_of(entry.generation)
        rerun = frozenset(from_spans(entry.rerun))
        return Task(
            n=entry.n,
            generation=entry.generation,
            name=name,
            index=int(index),
            points=points,
            runs=[runs[point] for point in points],
            fresh=frozenset(lane for lane, point in enumerate(points) if point in rerun),
            submission=entry,
        )

    def begin(self, task_name: str) -> Incarnation:
        """Begin the next incarnation of a task. Its predecessors are superseded from this moment on."""
        task = self.task(task_name)
        k, path = atomic.make_next(self.task_path(task_name))
        return Incarnation(task, k, path, self.superseded)

    def testify(self, task_name: str, reason: str, *, after: int, job: str = "", why: str = "", node: str = "") -> bool:
        """Say why a process of a task ended that could not say it itself: in an incarnation of its own.

        A journal has one writer, so that nobody but the dead process may write into its own.

        Parameters
        ----------
        task_name, reason
            The task, and one of ``states.END_REASONS``.
        after
            The number of the task's last incarnation; 0 if none began.
        job, why, node
            The scheduler's id of the job, what was seen, and the scheduler's name of the machine it was seen on.

        Returns
        -------
        bool
            Whether this testimony counts; not, if the task was begun again, or somebody else testified first.
        """
        import socket

        path = self.task_path(task_name, after + 1)
        if not atomic.make_new(path):
            return False
        incarnation = Incarnation(self.task(task_name), after + 1, path, self.superseded)
        incarnation.write("begin", host=socket.gethostname(), pid=os.getpid(), job=job, node=node, witness=True)
        incarnation.write("end", reason=reason, why=why)
        incarnation.close()
        return True

    def incarnations(self, task_name: str, *, keep_records: bool = False) -> list[IncarnationLog]:
        """Return the parsed journals of a task's incarnations, in order."""
        count = self.task(task_name).submission.tasks[int(task_name.partition("-")[2])].count
        return self._logs(task_name, count, keep_records=keep_records)

    def heartbeat(self, task_name: str) -> tuple[int, int] | None:
        """Return (incarnation, counter) of a task's last incarnation, or None if it has not begun."""
        k = max(self._incarnation_numbers(task_name), default=0)
        return (k, read_heartbeat(self.task_path(task_name, k)) or 0) if k else None

    def superseded(self, incarnation: Incarnation, run_ids: Sequence[bytes]) -> set[int]:
        """Return the indices of ``run_ids`` that an incarnation must leave: they have a new owner, or are cancelled.

        Cheap enough for every heartbeat: two listings of names, and one file for each new entry of the chain.
        Always ask with the same ``run_ids``.
        """
        if any(k > incarnation.k for k in self._incarnation_numbers(incarnation.task.name)):
            incarnation.gone.update(range(len(run_ids)))
            return set(incarnation.gone)
        for n in self._chain_numbers():
            if n <= incarnation.seen:
                continue
            entry = self._entry(n)
            if entry is None:
                break  # not visible here yet: look again at the next heartbeat
            if entry.kind == "cancel":
                named: Iterable[bytes] = run_ids if entry.cancel == "all" else entry.cancelled()
            else:
                runs = self.runs_of(entry.generation)
                named = [runs[point] for spec in entry.tasks for point in spec.indices()]
            taken = frozenset(named)
            incarnation.gone.update(lane for lane, run in enumerate(run_ids) if run in taken)
            incarnation.seen = n
        return set(incarnation.gone)

    # --- what is known ----------------------------------------------------------------------------------------------

    def history(self) -> History:
        """Fold the chain and all journals into what is known of each run, in one pass."""
        begun = frozenset(atomic.names(self.path / "tasks"))
        handed = {(job.n, job.array) for job in self.jobs()}
        # Before the entries: whoever plans must not take a number behind one that this look does not know.
        last = max(self._chain_numbers(), default=0)
        chain = self.chain()
        unhanded = {
            spec.name
            for entry in chain
            for array in range(len(entry.arrays))
            if (entry.n, array) not in handed
            for spec in entry.tasks_of(array)
        }
        known = sealed.read(self.path)
        fresh: dict[str, list[IncarnationLog]] = {}

        def logs(name: str, count: int) -> list[IncarnationLog]:
            if name not in begun:
                return []
            if name in known:
                return known[name]
            found = self._logs(name, count)
            if sealed.over(found):
                fresh[name] = found
            return found

        history = fold(chain, self.runs_of, logs, unhanded)
        sealed.write(self.path, known, fresh)
        history.last = max(history.last, last)  # there may be one that cannot be read
        history.unhanded = unhanded
        history.damaged[:0] = self.damage()
        newest = self.generation()
        if newest is not None:
            history.generation, history.asked = newest.g, newest.ids
        return history

    def restore_points(
        self, run_ids: Iterable[bytes], *, code: str | None = None, without: Container[Path] = ()
    ) -> dict[bytes, RestorePoint]:
        """Return the newest checkpoint that counts for each run that is not finished and has one.

        Parameters
        ----------
        run_ids
            Raw ids.
        code
            If given, only checkpoints that these sources of the experiment wrote (``Submission.source``) count.
        without
            Files that turned out to be damaged.

        Raises
        ------
        OSError
            If a journal that matters is there and cannot be read.

        Notes
        -----
        A file may vanish between this call and its opening, when a superseded owner tidies up: ask again.
        """
        return self.standing(run_ids).restore_points(code, without)

    def finished(self, run_ids: Iterable[bytes]) -> set[bytes]:
        """Return the runs that have a verdict that counts: whoever begins a task leaves them as they are.

        A predecessor may have finished after its successor was submitted. Its verdict counts until the successor
        records that it restored the run, so the successor looks here first.
        """
        return self.standing(run_ids).finished

    def standing(self, run_ids: Iterable[bytes]) -> Standing:
        """Return where some runs can be taken up, and which of them are finished; see :meth:`restore_points`."""
        return Standing(self.chain(), self.runs_of, self._logs, run_ids)

    # --- stewards ---------------------------------------------------------------------------------------------------

    def new_steward(self) -> tuple[int, Path]:
        """Make the folder of the next steward, and return its number and path."""
        return atomic.make_next(self.path / "steward")

    def record_steward(self, k: int, job: Job) -> None:
        """Record which job steward ``k`` is."""
        atomic.publish(self.steward_path(k) / "job.json", json.dumps(job.to_json()).encode())

    def stewards(self) -> dict[int, Job]:
        """Return the recorded jobs of stewards by their numbers, in order."""
        numbers = sorted(int(name) for name in atomic.names(self.path / "steward") if name.isdecimal())
        found = ((k, read_object(self.steward_path(k) / "job.json")) for k in numbers)
        return {k: Job.from_json(data) for k, data in found if data is not None}

    # --- inside -----------------------------------------------------------------------------------------------------

    def _incarnation_numbers(self, task: str) -> list[int]:
        return sorted(int(name) for name in atomic.names(f"{self.path}/tasks/{task}") if name.isdecimal())

    def _logs(self, task: str, count: int, *, keep_records: bool = False) -> list[IncarnationLog]:
        return [
            read_log(task, k, f"{self.path}/tasks/{task}/{k}", count, keep_records=keep_records)
            for k in self._incarnation_numbers(task)
        ]
