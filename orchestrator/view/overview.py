"""What is known of a study at one moment, as plain data: counts, axes, failures, progress."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator import identity, policy
from orchestrator.errors import ExitCode, UserError, nearest
from orchestrator.points import Column, Missing, Points
from orchestrator.states import RUN_STATES, JobState, RunState
from orchestrator.study.history import History, RunRecord, lost
from orchestrator.study.records import Job
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster
    from orchestrator.submit import Clusters

SCHEMA = 1
"""Version of :meth:`Overview.to_json`; raised when a field changes its meaning or goes."""

MOST_VALUES = 24
"""An axis of more values is left out of the breakdown unless it is asked for; so is the seed, which says nothing."""


@dataclass(frozen=True)
class Axis:
    """Counts by the values of one axis: ``{text of the value: {state: runs}}``, in grid order."""

    name: str
    values: Mapping[str, Mapping[RunState, int]]


@dataclass(frozen=True)
class Failure:
    """Runs that failed alike.

    Parameters
    ----------
    kind
        The class of the failure.
    message
        What the first of them said.
    runs
        How many.
    example
        Id of the first of them, in grid order.
    shared
        Labels that all of them have and not every run of the study does: where to look for the cause.
    advice
        What to do about it.
    """

    kind: str
    message: str
    runs: int
    example: str
    shared: Mapping[str, str]
    advice: str


@dataclass(frozen=True)
class Overview:
    """A study at one moment.

    Parameters
    ----------
    study, path, generation, experiment, cluster
        Which study, where, its newest grid, what it trains, and where it was last submitted to.
    runs
        Runs by state; the parts add up to ``total``.
    done
        Runs with a verdict by ``finished diverged stopped``, which add up, and ``stale`` among them.
    waiting
        Runs that wait by ``submitted`` and ``not_submitted``.
    live
        Live runs by ``running`` and ``queued``.
    iterations, iterations_total
        Steps made and to be made by all runs that are not cancelled; None if the experiment names no number of steps.
    rate, seconds_left
        Iterations (runs, where there are none) per second, and how long the rest takes at this rate. Only a view that
        looks again and again knows them: see :class:`Meter`.
    axes, failures
        Breakdowns.
    tasks
        Number of tasks that a scheduler has.
    idle
        Whether no job of the study is left: what waits, waits for the next ``orch submit``.
    damaged
        What could not be read.
    unreachable
        Why the scheduler could not be asked; None if it could.
    """

    study: str
    path: str
    generation: int
    experiment: str
    cluster: str
    runs: Mapping[RunState, int]
    done: Mapping[str, int]
    waiting: Mapping[str, int]
    live: Mapping[str, int]
    iterations: int | None
    iterations_total: int | None
    axes: Sequence[Axis] = ()
    failures: Sequence[Failure] = ()
    tasks: int = 0
    idle: bool = True
    damaged: Sequence[str] = ()
    unreachable: str | None = None
    rate: float | None = None
    seconds_left: float | None = None

    @property
    def total(self) -> int:
        """Number of distinct runs that the grid asks for."""
        return sum(self.runs.values())

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen by itself: every run is done, failed or cancelled."""
        return not (self.runs["live"] or self.runs["waiting"] or self.runs["lost"])

    @property
    def exit_code(self) -> ExitCode:
        """What ``orch run`` and ``orch watch`` return when they end here."""
        if self.unreachable:
            return ExitCode.SCHEDULER_UNREACHABLE
        return ExitCode.OK if self.runs["done"] == self.total else ExitCode.RUNS_FAILED

    def to_json(self) -> dict[str, Any]:
        """Return the overview as ``orch status --json`` prints it."""
        data = asdict(self)
        head = {"schema": SCHEMA, "study": data.pop("study"), "runs": {"total": self.total, **data.pop("runs")}}
        data["axes"] = {axis.name: axis.values for axis in self.axes}
        return head | data


def observe(
    study: Study, clusters: Clusters | None = None, *, by: Sequence[str] = (), details: bool = True
) -> Overview:
    """Look at a study: read the chain and the journals, and ask each scheduler once.

    Parameters
    ----------
    study
        The study.
    clusters
        Finds a cluster by name; the installed ones by default.
    by
        Axes or parameters to break down by; by default every axis but the seed of at most :data:`MOST_VALUES` values.
    details
        Whether axes and failures are wanted.

    Raises
    ------
    UserError
        If nothing was submitted yet, or ``by`` names no axis and no parameter.
    """
    generation = study.generation()
    if generation is None:
        raise UserError(f"nothing was submitted in study {study.name!r} yet: use `orch submit` with its grid")
    history = study.history()
    alive, jobs, unreachable = living(study, history, clusters)
    info, points = generation.info, generation.points
    retries = int(info["resources"].get("retries", 2))
    runs = generation.runs
    states = {run: history.state(run, alive, retries) for run in runs}
    last = next((entry for entry in reversed(study.chain()) if entry.kind == "submit"), None)
    iterations, iterations_total = _iterations(points, runs, states, history, info.get("steps"))
    records = history.runs
    done = Counter(records[run].outcome for run, state in states.items() if state == "done")
    source = last.source if last else ""
    queued = sum(records[run].k == 0 for run, state in states.items() if state == "live")
    # A run that a job had, or that waits for a job: anything else was never handed to a scheduler.
    submitted = sum(
        state == "waiting" and run in records and records[run].n > 0 and records[run].task not in history.unhanded
        for run, state in states.items()
    )
    counts = Counter(states.values())
    return Overview(
        study=study.name,
        path=str(study.path),
        generation=generation.g,
        experiment=str(info["experiment"]),
        cluster=last.cluster if last else "",
        runs={state: counts[state] for state in RUN_STATES},
        done={
            "finished": done["done"],
            "diverged": done["diverged"],
            "stopped": done["stopped"],
            "stale": sum(
                state == "done" and bool(source and records[run].code and records[run].code != source)
                for run, state in states.items()
            ),
        },
        waiting={"submitted": submitted, "not_submitted": counts["waiting"] - submitted},
        live={"running": counts["live"] - queued, "queued": queued},
        iterations=iterations,
        iterations_total=iterations_total,
        axes=_axes(points, runs, states, by) if details else (),
        failures=failures(points, runs, states, records, retries) if details else (),
        tasks=len(alive),
        idle=not alive and not unreachable and all(state == "gone" for state in jobs.values()),
        damaged=tuple(map(str, history.damaged)),
        unreachable=unreachable,
    )


def living(
    study: Study, history: History, clusters: Clusters | None = None
) -> tuple[set[str], dict[str, JobState], str | None]:
    """Return the tasks that a scheduler has, the states of the jobs, and why it could not be asked, if it could not."""
    try:
        jobs = poll(study, history, clusters)
    except UserError as error:
        return study.alive(history, {}), {}, str(error)  # whoever cannot be asked is not dead
    return study.alive(history, jobs), jobs, None


def poll(study: Study, history: History, clusters: Clusters | None = None) -> dict[str, JobState]:
    """Ask for the state of a study's jobs, one query per cluster: those that may have work, and the last submission's.

    Raises
    ------
    UserError
        If a scheduler cannot be asked.
    """
    chain = {entry.n: entry for entry in study.chain()}
    known = study.jobs()
    latest = max((job.n for job in known), default=0)
    jobs: dict[str, list[Job]] = defaultdict(list)
    for job in known:
        entry = chain.get(job.n)
        if entry is None or job.array >= len(entry.arrays):
            continue
        tasks = entry.tasks[slice(*entry.arrays[job.array])]
        # The last submission's jobs are asked for even when their tasks ended: a steward may be about to go on.
        if job.n == latest or not all(task.name in history.ended for task in tasks):
            jobs[job.cluster].append(job)
    states: dict[str, JobState] = {}
    for name, mine in jobs.items():
        states.update((clusters or installed_cluster)(name).poll(mine))
    return states


def installed_cluster(name: str) -> Cluster:
    """Find a cluster by name."""
    from orchestrator.clusters import get_cluster

    return get_cluster(name)


# --- progress ---------------------------------------------------------------------------------------------------------


def _iterations(
    points: Points, runs: Sequence[bytes], states: Mapping[bytes, RunState], history: History, name: str | None
) -> tuple[int | None, int | None]:
    column = points.leaves.get(name or "")
    if column is None:
        return None, None
    made = total = 0
    seen: set[bytes] = set()
    for run, steps in zip(runs, _values(points, column, len(runs)), strict=True):
        if run in seen or states[run] == "cancelled" or not isinstance(steps, (int, float)):
            continue
        seen.add(run)
        total += int(steps)
        record = history.runs.get(run)
        if record is not None:
            made += int(steps) if states[run] == "done" else min(max(record.step, 0), int(steps))
    return made, total


def _values(points: Points, column: Column, count: int) -> Iterable[Any]:
    if column.by:
        return map(column.values.__getitem__, points.codes[column.by])
    return [column.values[0]] * count


class Meter:
    """Measures a rate from what an observer saw, by the observer's own monotonic clock.

    Parameters
    ----------
    window
        Seconds that the rate is averaged over.
    """

    def __init__(self, window: float = 60.0) -> None:
        self.window = window
        self._seen: list[tuple[float, int]] = []

    def add(self, now: float, amount: int) -> float | None:
        """Note an amount and return the rate per second over the window; None while there is nothing to go by."""
        if self._seen and amount < self._seen[-1][1]:
            self._seen.clear()  # runs went back to a checkpoint, or the grid changed
        self._seen.append((now, amount))
        while len(self._seen) > 2 and now - self._seen[1][0] >= self.window:
            self._seen.pop(0)
        (begin, least), (end, most) = self._seen[0], self._seen[-1]
        return (most - least) / (end - begin) if end > begin and most > least else None


# --- breakdowns -------------------------------------------------------------------------------------------------------


def _axes(
    points: Points, runs: Sequence[bytes], states: Mapping[bytes, RunState], by: Sequence[str]
) -> tuple[Axis, ...]:
    known = {**points.leaves, **points.labels}
    for name in by:
        if name not in known:
            raise UserError(f"there is no axis or parameter {name!r}.{nearest(name, known)}")
    few = [
        name
        for name, column in points.labels.items()
        if name != "seed" and 1 < len(set(map(str, column.values))) <= MOST_VALUES
    ]
    axes = []
    for name in by or few:
        column = known[name]
        # One entry per (value, run): a run that stands at several points under one value counts once there.
        pairs = set(zip(map(_text, _values(points, column, len(runs))), runs, strict=True))
        counts: dict[str, Counter[RunState]] = {_text(value): Counter() for value in column.values}
        for text, run in pairs:
            counts[text][states[run]] += 1
        axes.append(Axis(name, {text: {s: n[s] for s in RUN_STATES} for text, n in counts.items() if n.total()}))
    return tuple(axes)


def _text(value: object) -> str:
    return "-" if isinstance(value, Missing) else str(value)


def failures(
    points: Points,
    runs: Sequence[bytes],
    states: Mapping[bytes, RunState],
    records: Mapping[bytes, RunRecord],
    retries: int,
) -> tuple[Failure, ...]:
    """Group the runs that failed by what befell them, the most frequent first."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    seen: set[bytes] = set()
    for position, run in enumerate(runs):
        if states[run] == "failed" and run not in seen:
            seen.add(run)
            record = records[run]
            groups[record.failure or "lost", record.signature or record.message].append(position)
    whole = {name: set(map(str, column.values)) for name, column in points.labels.items()}
    found = []
    for (kind, _), positions in groups.items():
        record = records[runs[positions[0]]]
        labels = [points.label(position) for position in positions]
        shared = {
            name: text
            for name, text in labels[0].items()
            if len(whole[name]) > 1 and len(positions) > 1 and all(label.get(name) == text for label in labels)
        }
        example = identity.to_text(runs[positions[0]])
        found.append(
            Failure(
                kind, record.message, len(positions), example, shared, reason(record, retries).removeprefix(f"{kind}: ")
            )
        )
    return tuple(sorted(found, key=lambda failure: -failure.runs))


def reason(record: RunRecord, retries: int) -> str:
    """Say why a run that has no verdict stands where it stands, and what to do about it."""
    failure = record.failure
    return (policy.decide(failure, record.used, retries) if failure is not None else lost(record, retries)).why
