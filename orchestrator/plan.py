"""From what is desired and what is known to what is to be done. Pure: no file, no scheduler, no clock.

Points are worked on column by column. What decides a run's program, resources and steps is looked up once per value of
an axis; a point costs a few list accesses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import iter_unpack
from typing import Any, Literal

from orchestrator import policy, units
from orchestrator.filters import select
from orchestrator.identity import ID_BYTES
from orchestrator.packing import Group, Shape, pack, restored
from orchestrator.points import Points
from orchestrator.study.history import History, RunRecord, lost
from orchestrator.study.records import Damage, TaskSpec
from orchestrator.study.spans import Span, to_spans

MOST_MEMORY = 8
"""After want of memory, no more than so many times the memory that the grid asks for, unless it says how much."""

Disposition = Literal["keep", "stale", "live", "failed", "cancelled", "new", "retry", "reset", "rerun"]


@dataclass(frozen=True)
class PlanOptions(Shape):
    """What a plan depends on besides the points and the history, the shape of tasks among it.

    Parameters
    ----------
    steps
        The parameter that holds the number of iterations, if there is one.
    only
        Filters ``key=value[,value…]`` over labels and parameters; ``key=0..3`` takes a span of integers. Runs that
        ``retry`` or ``rerun`` name are trained all the same.
    rerun_stale
        Train results of other sources again.
    uncancel
        Train cancelled runs again.
    retry
        Failed runs that get a new budget: raw ids, or ``"all"``.
    rerun
        Runs that start again from nothing, results included: raw ids.
    capacity
        How many tasks can be handed over now; the others wait.
    max_array
        How many elements one array may have; handed on with the plan.
    """

    steps: str | None = None
    only: Sequence[str] = ()
    rerun_stale: bool = False
    uncancel: bool = False
    retry: Container[bytes] | Literal["all"] = ()
    rerun: Container[bytes] = ()
    capacity: int | None = None
    max_array: int | None = None

    @property
    def retries(self) -> int:
        """The budget that the resources set."""
        return int(self.resources.get("retries", 2))


@dataclass(frozen=True)
class Batch:
    """Tasks that ask for the same resources: one entry of the chain."""

    resources: Mapping[str, Any]
    tasks: tuple[TaskSpec, ...]
    rerun: list[Span]
    reset: list[Span]


@dataclass(frozen=True)
class Cost:
    """What a plan would train: runs, tasks, and iterations if the experiment says which parameter holds them."""

    runs: int
    tasks: int
    iterations: int | None


@dataclass(frozen=True)
class Plan:
    """What is to be done. Each desired run is named once, by the position of its first point.

    Parameters
    ----------
    n
        The number of the next entry of the chain.
    keep, stale
        Runs with a verdict; by other sources than today's.
    live
        Runs that a job has, or is about to get.
    failed, cancelled
        Runs that nothing is done about.
    new, retry, rerun
        Runs to train: never begun; begun; from nothing, whatever there is.
    waiting
        Runs to train that do not fit now.
    aside
        Unfinished runs that ``only`` leaves out.
    left
        Raw ids of the runs that the study asked for and the grid does not name any more.
    cancel
        Those among them that a job may still train.
    batches
        The tasks.
    again
        Positions, in order, of runs that this plan is the first to train again: from nothing (``rerun``), with a new
        budget or although they were cancelled (``reset``). Later waves cannot know by themselves that they are meant.
    cost
        Of the tasks.
    damaged
        What could not be read of the study.
    max_array
        How many elements one array may have; None: any number.
    """

    n: int
    keep: Sequence[int]
    stale: Sequence[int]
    live: Sequence[int]
    failed: Sequence[int]
    cancelled: Sequence[int]
    new: Sequence[int]
    retry: Sequence[int]
    rerun: Sequence[int]
    waiting: Sequence[int]
    aside: Sequence[int]
    left: Sequence[bytes]
    cancel: Sequence[bytes]
    batches: Sequence[Batch]
    again: Mapping[Literal["rerun", "reset"], Sequence[int]]
    cost: Cost
    damaged: Sequence[Damage] = ()
    max_array: int | None = None

    @property
    def tasks(self) -> list[TaskSpec]:
        """All tasks."""
        return [task for batch in self.batches for task in batch.tasks]

    @property
    def total(self) -> int:
        """Number of desired runs."""
        parts = (self.keep, self.stale, self.live, self.failed, self.cancelled, self.aside)
        return sum(map(len, parts)) + len(self.new) + len(self.retry) + len(self.rerun)


def plan(points: Points, history: History, alive: Container[str], options: PlanOptions) -> Plan:
    """Decide what to do about every desired run.

    Parameters
    ----------
    points
        What is desired.
    history
        What is known.
    alive
        Names of the tasks that a scheduler still lists: their runs are left to them.
    options
        See :class:`PlanOptions`.

    Raises
    ------
    UserError
        If a filter names what does not exist.
    """
    ids = _ids(points.ids)
    desired = _distinct(ids)
    todo: dict[Disposition, Sequence[int]] = {name: [] for name in _DISPOSITIONS}
    if history.runs:
        lists: dict[Disposition, list[int]] = {name: [] for name in _DISPOSITIONS}
        known, dispose = history.runs, _disposer(history, alive, options)
        for position in desired:
            record = known.get(ids[position])
            lists["new" if record is None else dispose(ids[position], record)].append(position)
        todo = {**lists}
    else:
        todo["new"] = desired
    aside: list[int] = []
    if options.only:
        chosen = {ids[position] for position in select(points, options.only)}
        chosen |= {ids[position] for position in todo["reset"] if options.retry != "all"}
        chosen |= {ids[p] for p in todo["rerun"] if ids[p] in options.rerun or history.runs[ids[p]].ordered}
        for name in ("new", "retry", "reset", "rerun"):
            aside += [position for position in todo[name] if ids[position] not in chosen]
            todo[name] = [position for position in todo[name] if ids[position] in chosen]
    begun = [*todo["retry"], *todo["reset"]]
    fresh = todo["new"] if not todo["rerun"] else sorted([*todo["new"], *todo["rerun"]])
    tasks = pack(points, ids, history, begun, fresh, options, anew=frozenset(todo["reset"]))
    fitting = tasks if options.capacity is None else tasks[: max(0, options.capacity)]
    waiting = [position for task in tasks[len(fitting) :] for position in task.positions]
    batches = _batches(points, history.last + 1, fitting, todo, options)
    left, cancel = _left(points, ids, history, alive)
    return Plan(
        n=history.last + 1,
        keep=todo["keep"],
        stale=todo["stale"],
        live=todo["live"],
        failed=todo["failed"],
        cancelled=todo["cancelled"],
        new=todo["new"],
        retry=[*todo["retry"], *todo["reset"]],
        rerun=todo["rerun"],
        waiting=waiting,
        aside=aside,
        left=left,
        cancel=cancel,
        batches=batches,
        again=_again(ids, history, todo),
        cost=_cost(points, ids, history, fitting, todo["rerun"], options),
        damaged=history.damaged,
        max_array=options.max_array,
    )


# --- what to do about a run -------------------------------------------------------------------------------------------

_DISPOSITIONS: tuple[Disposition, ...] = (
    "keep",
    "stale",
    "live",
    "failed",
    "cancelled",
    "new",
    "retry",
    "reset",
    "rerun",
)


def _disposer(
    history: History, alive: Container[str], options: PlanOptions
) -> Callable[[bytes, RunRecord], Disposition]:
    retries, source = options.retries, options.source

    def dispose(run: bytes, record: RunRecord) -> Disposition:
        if record.ordered is not None:
            return "rerun" if run in options.rerun else record.ordered
        if record.outcome is not None:
            stale = bool(source and record.code and record.code != source)
            if run in options.rerun or (stale and options.rerun_stale):
                return "rerun"
            return "stale" if stale else "keep"
        if record.cancelled:
            return "cancelled" if not options.uncancel else "retry" if record.n else "new"
        if record.failure is None and (record.task in alive or record.task in history.unhanded):
            return "live"
        if run in options.rerun:
            return "rerun"
        if not record.n:
            return "new"
        if options.retry == "all" or run in options.retry:
            return "reset"
        decision = (
            lost(record, retries) if record.failure is None else policy.decide(record.failure, record.used, retries)
        )
        return "failed" if decision.action == "stop" else "retry"

    return dispose


def _again(
    ids: Sequence[bytes], history: History, todo: Mapping[Disposition, Sequence[int]]
) -> dict[Literal["rerun", "reset"], Sequence[int]]:
    """Return what is to be trained again and no order of the chain says yet."""

    def new(how: Literal["rerun", "reset"], positions: Iterable[int]) -> list[int]:
        return sorted(p for p in positions if (r := history.runs.get(ids[p])) is not None and r.ordered != how)

    taken_up = (p for name in ("new", "retry") for p in todo[name] if (r := history.runs.get(ids[p])) and r.cancelled)
    return {"rerun": new("rerun", todo["rerun"]), "reset": new("reset", [*todo["reset"], *taken_up])}


def _left(
    points: Points, ids: Sequence[bytes], history: History, alive: Container[str]
) -> tuple[list[bytes], list[bytes]]:
    """Return what the newest generation asked for and is desired no more, and what a job may still train in vain."""
    if not history.last or history.asked == bytes(points.ids):
        return [], []
    desired = set(ids)
    left = [run for run in dict.fromkeys(_ids(history.asked)) if run not in desired]
    cancel = [
        run
        for run, record in history.runs.items()
        if run not in desired
        and (
            record.ordered is not None
            or (
                record.outcome is None
                and record.failure is None
                and not record.cancelled
                and (record.task in alive or record.task in history.unhanded)
            )
        )
    ]
    return left, cancel


# --- batches ----------------------------------------------------------------------------------------------------------


def _batches(
    points: Points,
    n: int,
    groups: Sequence[Group],
    todo: Mapping[Disposition, Sequence[int]],
    options: PlanOptions,
) -> list[Batch]:
    """Put tasks of like resources together; each batch becomes the next entry of the chain."""
    rerun, reset = frozenset(todo["rerun"]), frozenset(todo["reset"])
    alike: dict[tuple[int, int], list[Group]] = defaultdict(list)
    for group in groups:
        alike[group.resource, group.memory].append(group)
    batches: list[Batch] = []
    for at, ((resource, memory), members) in enumerate(alike.items(), n):
        resources = {**options.resources, **points.resources[resource]}
        if memory > 1 and resources.get("memory"):
            resources["memory"] = more_memory(str(resources["memory"]), memory, resources.get("max_memory"))
        tasks = tuple(
            TaskSpec(f"{at}-{index}", to_spans(group.positions), len(group.positions))
            for index, group in enumerate(members)
        )
        batches.append(Batch(resources, tasks, _marked(members, rerun), _marked(members, reset)))
    return batches


def _marked(groups: Iterable[Group], chosen: frozenset[int]) -> list[Span]:
    return to_spans(sorted(p for group in groups for p in group.positions if p in chosen)) if chosen else []


def more_memory(memory: str, factor: int, most: str | None = None) -> str:
    """Multiply an amount of memory: ``2G`` times 2 is ``4G``.

    Parameters
    ----------
    memory, factor
        The amount, and by what.
    most
        No more than this; by default no more than :data:`MOST_MEMORY` times the amount.
    """
    number = memory.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    if most is None:
        return f"{float(number) * min(factor, MOST_MEMORY):g}{memory[len(number) :]}"
    asked = f"{float(number) * factor:g}{memory[len(number) :]}"
    return most if units.size(asked) > units.size(most) else asked


def _cost(
    points: Points,
    ids: Sequence[bytes],
    history: History,
    groups: Sequence[Group],
    rerun: Sequence[int],
    options: PlanOptions,
) -> Cost:
    runs = sum(len(group.positions) for group in groups)
    column = points.leaves.get(options.steps or "")
    if column is None:
        return Cost(runs, len(groups), None)
    steps = [int(value) if isinstance(value, (int, float)) else 0 for value in column.values]
    positions = (position for group in groups for position in group.positions)
    iterations = (
        sum(map(steps.__getitem__, map(points.codes[column.by].__getitem__, positions)))
        if column.by
        else runs * steps[0]
    )
    if history.runs:
        again = frozenset(rerun)
        for group in groups:
            for position in group.positions:
                record = history.runs.get(ids[position])
                if record is not None and position not in again:
                    iterations -= max(0, restored(record, options))
    return Cost(runs, len(groups), iterations)


# --- points -----------------------------------------------------------------------------------------------------------


def _ids(raw: bytes | bytearray) -> list[bytes]:
    return [run for (run,) in iter_unpack(f"{ID_BYTES}s", raw)]


def _distinct(ids: Sequence[bytes]) -> Sequence[int]:
    """Return the first position of each run."""
    if len(set(ids)) == len(ids):
        return range(len(ids))
    seen: dict[bytes, int] = {}
    for position, run in enumerate(ids):
        seen.setdefault(run, position)
    return list(seen.values())
