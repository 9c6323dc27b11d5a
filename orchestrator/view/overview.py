"""What is known of a study at one moment, as plain data: counts, axes, failures, progress, who goes on with it."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.errors import ExitCode, UserError
from orchestrator.filters import select
from orchestrator.liveness import MOST_STEWARDS, Clusters, Elsewhere, ask, elsewhere, unfinished_jobs
from orchestrator.states import RUN_STATES, JobState, RunState
from orchestrator.study.generation import Generation
from orchestrator.study.history import History
from orchestrator.study.study import Study
from orchestrator.study.watch import HeartbeatWatch
from orchestrator.view import breakdown, triage
from orchestrator.view.breakdown import Axis
from orchestrator.view.progress import iterations
from orchestrator.view.steward import Probe, Steward, find_probe, find_steward
from orchestrator.view.triage import Failure

SCHEMA = 1
"""Version of :meth:`Overview.to_json`; raised when a field changes its meaning or goes."""


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
    steward, probe
        Who goes on with it, and what a probe said, if there is one.
    elsewhere
        Tasks that another machine has which cannot be asked from here, by its name.
    idle
        Whether no job of the study is left, no steward either: what waits, waits for the next ``orch submit``.
    damaged
        What could not be read.
    stale_figures
        Figures that would come out otherwise now; for whoever looks once.
    unreachable
        Why the scheduler could not be asked; None if it could.
    left_out
        Runs that wait because the last submission asked for others only.
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
    steward: Steward | None = None
    probe: Probe | None = None
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    idle: bool = True
    damaged: Sequence[str] = ()
    stale_figures: Sequence[str] = ()
    unreachable: str | None = None
    rate: float | None = None
    seconds_left: float | None = None
    left_out: int = 0

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
        return ExitCode.OK if self.runs["done"] + self.left_out == self.total else ExitCode.RUNS_FAILED

    def to_json(self) -> dict[str, Any]:
        """Return the overview as ``orch status --json`` prints it."""
        data = asdict(self)
        head = {"schema": SCHEMA, "study": data.pop("study"), "runs": {"total": self.total, **data.pop("runs")}}
        data["axes"] = {axis.name: axis.values for axis in self.axes}
        return head | data


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Have nobody look for garbage: a look at a study makes many objects, and all last until it is over.

    Otherwise a fifth of the time of ``orch status`` of ten thousand tasks would go there.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@_uncollected()
def observe(
    study: Study,
    clusters: Clusters | None = None,
    *,
    by: Sequence[str] = (),
    details: bool = True,
    watch: HeartbeatWatch | None = None,
) -> Overview:
    """Look at a study: read the chain and the journals, and ask each scheduler once.

    Parameters
    ----------
    study
        The study.
    clusters
        Finds a cluster by name; the installed ones by default.
    by
        Axes or parameters to break down by; by default every axis of few values but the seed.
    details
        Whether axes and failures are wanted.
    watch
        Looks at the heartbeats of machines that cannot be asked, for whoever looks again and again.

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
    others = elsewhere(study, history, jobs) if jobs else {}
    if watch is not None:
        pulses = watch.look({process: other.tasks for process, other in others.items()})
        silent = [other for process, other in others.items() if pulses[process] == "still"]
        others = {process: other for process, other in others.items() if pulses[process] != "still"}
        for other in silent:
            jobs |= dict.fromkeys(other.jobs, "gone")
        alive = study.alive(history, jobs)
    info, points = generation.info, generation.points
    retries = int(info["resources"].get("retries", 2))
    runs = generation.runs
    states = {run: history.state(run, alive, retries) for run in runs}
    last = next((entry for entry in reversed(study.chain()) if entry.kind == "submit"), None)
    made, total = iterations(points, runs, states, history, info.get("steps"))
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
        iterations=made,
        iterations_total=total,
        axes=breakdown.axes(points, runs, states, by) if details else (),
        failures=triage.failures(study, points, runs, states, records, retries) if details else (),
        tasks=len(alive),
        steward=find_steward(study, jobs, sorted(alive)) if jobs else None,
        probe=find_probe(study, history),
        elsewhere=_by_host(others.values(), alive),
        idle=not alive and not unreachable and all(state == "gone" for state in jobs.values()),
        damaged=tuple(map(str, history.damaged)),
        unreachable=unreachable,
        left_out=_left_out(generation, states, last.only if last else ()),
    )


def _left_out(generation: Generation, states: Mapping[bytes, RunState], only: Sequence[str]) -> int:
    """Return how many runs wait because a submission asked for others only."""
    try:
        asked = {generation.runs[position] for position in select(generation.points, only)} if only else states
    except UserError:  # the grid has another axis by now
        return 0
    return sum(state == "waiting" and run not in asked for run, state in states.items())


def _by_host(others: Iterable[Elsewhere], alive: Container[str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for other in others:
        counts[other.host] += sum(task in alive for task in other.tasks)
    return dict(+counts)


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
    """Ask for the state of a study's jobs and stewards, one query per cluster.

    Raises
    ------
    UserError
        If a scheduler cannot be asked.
    """
    if clusters is None:
        from orchestrator.clusters import clusters_of

        clusters = clusters_of(study)
    chain = study.chain()
    last = next((entry for entry in reversed(chain) if entry.kind == "submit"), None)
    jobs = {job.job_id: job for job in unfinished_jobs(study, history)}
    if last is not None and last.scheduler == "local":
        # The job is the steward: when its tasks ended it may be about to go on, or to export. What it goes on with has
        # no job of its own for a moment.
        known = study.jobs()
        newest = max((job.n for job in known), default=0)
        jobs |= {job.job_id: job for job in known if job.n == newest}
    stewards = list(study.stewards().values())
    return ask([*jobs.values(), *stewards[-MOST_STEWARDS:]], clusters)
