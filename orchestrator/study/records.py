"""What the chain says: submissions, their tasks, and the jobs they were handed over as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from orchestrator import identity
from orchestrator.study.spans import Span, from_spans


class Taken(Exception):  # noqa: N818  (an event that the caller plans for, not a fault)
    """The next number of the chain was published by somebody else: what was planned may not hold any more."""


@dataclass(frozen=True)
class TaskSpec:
    """The runs that one process trains, by their positions among a generation's points.

    Parameters
    ----------
    name
        ``<submission>-<index>``, e.g. ``3-17``.
    points
        Spans ``[start, stop, step]`` of positions; a run that stands at several points is named by the first.
    count
        How many runs there are.
    """

    name: str
    points: list[Span]
    count: int

    def indices(self) -> list[int]:
        """Return the positions, in the order of the task's lanes."""
        return from_spans(self.points)


@dataclass(frozen=True)
class Submission:
    """An entry of the chain. Either it names runs to train, or it orders runs to be cancelled.

    Parameters
    ----------
    n
        The number in the chain, counted from 1.
    kind
        ``"submit"``, ``"cancel"``, or ``"order"``: it has no tasks, and says of runs (``rerun``, ``reset``) that later
        entries are to train them again, when the scheduler has room or a probe has passed.
    generation
        The generation of the grid that the positions belong to.
    cluster, scheduler
        Name of the cluster that the tasks were meant for, and its kind: ``local``, ``slurm``, ``lsf``.
    resources
        The resources of one job, as the grid resolved them.
    code
        Digest of the frozen sources: the folder ``code/<digest>`` that workers run.
    source
        Digest of the experiment's own sources; results of another digest are stale.
    packages
        Digest of the list of installed packages (``Study.packages``).
    tasks
        The tasks, named ``<n>-<index>``.
    arrays
        Which tasks form one scheduler array: ``[start, stop]`` indices of tasks.
    per_job
        How many tasks one element of an array trains side by side.
    probe
        Steps after which its tasks stop, once they were measured; 0: they train to the end.
    cancel
        For ``"cancel"``: ``"all"``, or ids as text.
    rerun
        Spans of positions that start from nothing: earlier verdicts and checkpoints count no more.
    reset
        Spans of positions whose retry budget starts anew.
    only
        The ``--only`` filters in force, so that later waves keep to them.
    tag
        What the job carries in its name, unique to this entry.
    created, argv
        When, in UTC, and by what command: for people to read, nothing depends on it.
    """

    n: int
    kind: Literal["submit", "cancel", "order"] = "submit"
    generation: int = 0
    cluster: str = ""
    scheduler: str = "local"
    resources: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    source: str = ""
    packages: str = ""
    tasks: tuple[TaskSpec, ...] = ()
    arrays: tuple[tuple[int, int], ...] = ()
    per_job: int = 1
    probe: int = 0
    cancel: Literal["all"] | tuple[str, ...] | None = None
    rerun: list[Span] = field(default_factory=list)
    reset: list[Span] = field(default_factory=list)
    only: tuple[str, ...] = ()
    tag: str = ""
    created: str = ""
    argv: tuple[str, ...] = ()

    def array_of(self, index: int) -> int:
        """Return the array that task ``index`` belongs to."""
        return next(a for a, (start, stop) in enumerate(self.arrays) if start <= index < stop)

    def elements(self, array: int) -> int:
        """Return how many elements an array has."""
        start, stop = self.arrays[array]
        return -(-(stop - start) // self.per_job)

    def tasks_of(self, array: int, element: int | None = None) -> tuple[TaskSpec, ...]:
        """Return the tasks of an array, or of one of its elements."""
        start, stop = self.arrays[array]
        if element is None:
            return self.tasks[start:stop]
        begin = start + element * self.per_job
        return self.tasks[begin : min(begin + self.per_job, stop)]

    def cancelled(self) -> frozenset[bytes]:
        """Return the ids that a cancel order names, raw; empty for ``"all"``."""
        return frozenset(map(identity.from_text, self.cancel)) if isinstance(self.cancel, tuple) else frozenset()

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON-able data."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        data["tasks"] = [[task.name, task.points, task.count] for task in self.tasks]
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Submission:
        """Read an entry back; fields of a later version are ignored."""
        known = {name: value for name, value in data.items() if name in Submission.__dataclass_fields__}
        known["tasks"] = tuple(TaskSpec(*task) for task in data.get("tasks", ()))
        known["arrays"] = tuple((start, stop) for start, stop in data.get("arrays", ()))
        for name in ("only", "argv"):
            known[name] = tuple(data.get(name, ()))
        if isinstance(data.get("cancel"), list):
            known["cancel"] = tuple(data["cancel"])
        return Submission(**known)

    def numbered(self, n: int) -> Submission:
        """Return the entry under another number, its tasks renamed."""
        tasks = tuple(replace(task, name=f"{n}-{index}") for index, task in enumerate(self.tasks))
        return replace(self, n=n, tasks=tasks)


@dataclass(frozen=True)
class Job:
    """One array as the scheduler knows it.

    Parameters
    ----------
    n, array
        The submission, and which of its arrays.
    cluster
        Name of the cluster that has it.
    job_id
        The scheduler's id of the whole array.
    host
        Where it was handed over.
    extra
        What else the cluster wants to remember (a pid's start time, a steward's job).
    """

    n: int
    array: int
    cluster: str
    job_id: str
    host: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def element(self, index: int) -> str:
        """Return the key of element ``index`` (counted within the array) in the answer of ``Cluster.poll``.

        A cluster that knows single elements answers under this key; otherwise the answer for ``job_id`` holds for all.
        """
        return f"{self.job_id}_{index}"

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON-able data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """Read a record back; fields of a later version are ignored."""
        return Job(**{name: value for name, value in data.items() if name in Job.__dataclass_fields__})


@dataclass(frozen=True)
class Task:
    """A task with its runs resolved.

    Parameters
    ----------
    n, generation, name, index
        The submission, its generation of the grid, and the task's name and index in the submission.
    points
        Positions among the generation's points; position ``points[lane]`` describes lane ``lane``.
    runs
        Raw ids; ``runs[lane]`` is the run of lane ``lane``.
    fresh
        Lanes that start from nothing whatever checkpoints there are.
    submission
        The entry of the chain.
    """

    n: int
    generation: int
    name: str
    index: int
    points: Sequence[int]
    runs: Sequence[bytes]
    fresh: frozenset[int]
    submission: Submission


@dataclass(frozen=True)
class RestorePoint:
    """The newest checkpoint that counts for a run: a file, the run's column in it, and its step.

    ``code`` is the digest of the experiment's sources that wrote it, ``engine`` the engine's record.
    """

    path: Any
    column: int
    step: int
    code: str = ""
    engine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Damage:
    """Something that could not be read: the file, the line (from 1; 0 for the whole file), and why."""

    file: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why}" if self.line else f"{self.file}: {self.why}"
