"""The submission procedure: plan → publish → hand over → record. It may die anywhere, and be started again at any time.

What keeps it right is the order. An entry of the chain is published whole before any scheduler hears of it; an array
that no job is known for is handed over by the next command. If the array was handed over and only the record is
missing, there are two jobs for it: the first to begin takes it, the other exits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator import identity
from orchestrator.errors import UserError
from orchestrator.plan import Batch, Plan, PlanOptions, plan
from orchestrator.points import Points
from orchestrator.states import JobState
from orchestrator.study import code as sources
from orchestrator.study.history import History
from orchestrator.study.records import Job, Submission, Taken
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster
    from orchestrator.grid import Grid

Clusters = Callable[[str], "Cluster"]


@dataclass(frozen=True)
class Request:
    """What a command asks for besides the grid; the fields are those of :class:`orchestrator.plan.PlanOptions`.

    ``shrink`` says what to do when the grid does not name all runs any more that the study asked for: ``refuse``;
    ``prune``: let them go, and cancel what of them is unfinished; ``ignore``: leave them alone.
    """

    only: Sequence[str] = ()
    shrink: Literal["refuse", "prune", "ignore"] = "refuse"
    rerun_stale: bool = False
    uncancel: bool = True
    retry: Container[bytes] | Literal["all"] = ()
    rerun: Container[bytes] = ()


@dataclass(frozen=True)
class Desired:
    """What a study should hold, resolved: made of a grid (:func:`desired`) or of what was submitted (:func:`again`).

    Parameters
    ----------
    info
        What a generation records of the grid.
    points
        All points.
    generation
        Publishes the generation, unless it is there, and returns its number.
    code
        Freezes the sources and returns their digest.
    source
        Digest of the experiment's own sources.
    packages
        Records the installed packages and returns their digest.
    """

    info: Mapping[str, Any]
    points: Points
    generation: Callable[[Study], int]
    code: Callable[[Study], str]
    source: str
    packages: Callable[[Study], str]

    @property
    def resources(self) -> Mapping[str, Any]:
        """The grid's resources."""
        resources: Mapping[str, Any] = self.info["resources"]
        return resources


@dataclass
class Result:
    """What a submission did.

    Parameters
    ----------
    plan
        The plan it carried out; None if it only completed what an earlier command had begun.
    published
        Entries of the chain.
    jobs
        What was handed over.
    errors
        For each array that was not: its entry, its index, and why.
    declined
        Whether the user said no.
    """

    plan: Plan | None = None
    published: list[Submission] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    errors: list[tuple[Submission, int, UserError]] = field(default_factory=list)
    declined: bool = False


# --- what is desired --------------------------------------------------------------------------------------------------


def desired(grid: Grid, points: Points, project: Path | None = None) -> Desired:
    """Resolve a grid.

    Parameters
    ----------
    grid, points
        The grid and its points.
    project
        The folder of a user's own code, for experiments that are not installed and for commands.
    """
    from orchestrator.experiment import lane_paths

    experiment = grid.experiment
    info = {
        "experiment": experiment.reference,
        "version": experiment.version,
        "form": experiment.form,
        "train": experiment.train,
        "params": f"{experiment.params.__module__}:{experiment.params.__qualname__}",
        "steps": experiment.steps,
        "cadence": experiment.cadence,
        "lanes": sorted(lane_paths(experiment.params)),
        "project": str(project.absolute()) if project is not None else None,
        "overrides": list(grid.overrides),
        "resources": grid.resources.model_dump(),
        "export": grid.export.model_dump(),
        "figures": [figure.model_dump() for figure in grid.figures],
        "created": now(),
    }
    return _today(info, points, lambda study: study.publish_generation(grid.text, info, points))


def again(study: Study, *, frozen: bool) -> Desired:
    """Take up what was last submitted.

    Parameters
    ----------
    study
        The study.
    frozen
        Whether the sources are those of the last submission (a steward's next wave) or today's (a user's retry).

    Raises
    ------
    UserError
        If nothing was submitted yet.
    """
    last = last_submission(study)
    generation = study.generation(last.generation)
    if generation is None:
        raise UserError(f"generation {last.generation} of study {study.name!r} is not there")
    info, points = generation.info, generation.points
    if not frozen:
        return _today(info, points, lambda _: last.generation)
    return Desired(info, points, lambda _: last.generation, lambda _: last.code, last.source, lambda _: last.packages)


def _today(info: Mapping[str, Any], points: Points, generation: Callable[[Study], int]) -> Desired:
    project = Path(info["project"]) if info["project"] else None
    modules = [str(info[name]).partition(":")[0] for name in ("params", "train")]
    return Desired(
        info,
        points,
        generation,
        code=lambda study: study.freeze_code(sources.roots(project)),
        # What a command runs is its own affair: no result of it is ever called stale.
        source="" if info["form"] == "command" else sources.source_digest(modules, project),
        packages=lambda study: study.record_packages(sources.installed_packages()),
    )


def last_submission(study: Study) -> Submission:
    """Return the newest entry of the chain that names runs."""
    for entry in reversed(study.chain()):
        if entry.kind == "submit":
            return entry
    raise UserError(f"nothing was submitted in study {study.name!r} yet: use `orch submit` with its grid")


# --- looking ----------------------------------------------------------------------------------------------------------


def alive(study: Study, history: History, clusters: Clusters, still: Container[str] = ()) -> set[str]:
    """Return the names of the tasks that a scheduler still has: one query per cluster that has unfinished jobs.

    Parameters
    ----------
    study, history
        The study and what is known of it.
    clusters
        Finds a cluster by name.
    still
        Tasks whose heartbeat was seen to stand still (:class:`orchestrator.study.watch.HeartbeatWatch`).
    """
    queries: dict[str, list[Job]] = {}
    for job in study.jobs():
        if not history.ended.issuperset(_names(study.submission(job.n), job.array)):
            queries.setdefault(job.cluster, []).append(job)
    states: dict[str, JobState] = {}
    for name, jobs in queries.items():
        states.update(clusters(name).poll(jobs))
    return study.alive(history, states, still)


def prepare(
    study: Study | None,
    wanted: Desired,
    cluster: Cluster,
    request: Request,
    clusters: Clusters | None = None,
    *,
    gone: Container[str] = (),
) -> Plan:
    """Plan and write nothing.

    Parameters
    ----------
    study
        The study; None if it does not exist yet.
    wanted
        What it should hold.
    cluster
        Where tasks are to go.
    request
        What else was asked for.
    clusters
        Finds the clusters of earlier submissions by name.
    gone
        Tasks that the caller knows to have ended, whatever the scheduler says: a steward sees its workers die.
    """
    history = study.history() if study is not None else History()
    living = alive(study, history, clusters or _clusters) if study is not None else set()
    living = {name for name in living if name not in gone}
    most = cluster.limits().max_jobs
    here = [name for name in living if study is not None and _entry_of(study, name).cluster == cluster.name]
    options = PlanOptions(
        form=str(wanted.info["form"]),
        lanes=frozenset(wanted.info["lanes"]),
        steps=wanted.info["steps"],
        source=wanted.source,
        resources=wanted.resources,
        spread=_spread(cluster, wanted.resources),
        only=request.only,
        rerun_stale=request.rerun_stale,
        uncancel=request.uncancel,
        retry=request.retry,
        rerun=request.rerun,
        capacity=None if most is None else most - len(here),
    )
    return plan(wanted.points, history, living, options)


# --- doing ------------------------------------------------------------------------------------------------------------


def submit(
    study: Study,
    wanted: Desired,
    cluster: Cluster,
    request: Request | None = None,
    *,
    confirm: Callable[[Plan], bool] = lambda _: True,
    clusters: Clusters | None = None,
    gone: Container[str] = (),
    argv: Sequence[str] | None = None,
) -> Result:
    """Bring a study to what is desired.

    Parameters
    ----------
    study, wanted, cluster, request, clusters, gone
        See :func:`prepare`.
    confirm
        Is shown the plan before anything is written; asked once.
    argv
        The command, for the record.

    Raises
    ------
    UserError
        If the study would shrink and nobody said what to do then. What a scheduler refuses is no exception but stands
        in ``Result.errors``: the entry is published, and the next command hands it over.
    """
    request, clusters = request or Request(), clusters or _clusters
    result = complete(study, clusters)
    asked = False
    while True:
        result.plan = prepare(study, wanted, cluster, request, clusters, gone=gone)
        if result.plan.left and request.shrink == "refuse":
            raise shrinks(study, result.plan)
        if not asked and not confirm(result.plan):
            result.declined = True
            return result
        asked = True
        try:
            _publish(study, wanted, cluster, request, result, argv)
        except Taken:
            continue  # somebody else published first: what was planned may not hold any more
        break
    for entry in [entry for entry in result.published if entry.kind == "submit"]:
        _hand_over(study, entry, range(len(entry.arrays)), cluster, result)
    return result


def advance(study: Study, cluster: Cluster, clusters: Clusters | None = None, *, gone: Container[str] = ()) -> Result:
    """Submit the next wave, and what is to be tried again, with the sources of the last submission. For stewards."""
    request = Request(only=last_submission(study).only, uncancel=False, shrink="ignore")
    return submit(study, again(study, frozen=True), cluster, request, clusters=clusters, gone=gone)


def complete(study: Study, clusters: Clusters | None = None) -> Result:
    """Hand over what an earlier command published and did not hand over, unless nobody needs it any more."""
    result = Result()
    history = study.history()
    if not history.unhanded:
        return result
    busy = _busy(history)
    for entry in study.chain():
        arrays = [a for a in range(len(entry.arrays)) if not busy.isdisjoint(history.unhanded & _names(entry, a))]
        if arrays:
            _hand_over(study, entry, arrays, (clusters or _clusters)(entry.cluster), result)
    return result


def cancel(
    study: Study,
    runs: Iterable[bytes] | Literal["all"],
    clusters: Clusters | None = None,
    argv: Sequence[str] | None = None,
) -> Submission | None:
    """Order runs to be cancelled, and end the jobs that have no other.

    Returns
    -------
    Submission | None
        The order; None if there was nothing to cancel.
    """
    named = runs if runs == "all" else frozenset(runs)
    while True:
        history = study.history()
        order = _cancel_order(history, named, argv)
        if order is None:
            return None
        try:
            order = study.publish(order)
        except Taken:
            continue
        break
    _end_jobs(study, clusters or _clusters)
    return order


def shrinks(study: Study, refused: Plan) -> UserError:
    """Say that a study would shrink, and what to do about it."""
    count, some = len(refused.left), ", ".join(map(identity.to_text, refused.left[:3]))
    return UserError(
        f"the grid no longer names {count} run{'s' * (count != 1)} that study {study.name!r} asked for ({some}"
        f"{', …' if count > 3 else ''}). Give `--prune` to let them go (what is unfinished is cancelled, results stay "
        "on the disk), `--only key=…` to submit only some of the grid's runs, or the grid another `study:` name"
    )


def now() -> str:
    """Return the time in UTC, for people to read."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _publish(
    study: Study,
    wanted: Desired,
    cluster: Cluster,
    request: Request,
    result: Result,
    argv: Sequence[str] | None,
) -> None:
    """Publish what a plan wants: the order to cancel, the generation, the entries."""
    doing = result.plan
    assert doing is not None
    n = doing.n
    stamp: dict[str, Any] = {"created": now(), "argv": tuple(sys.argv if argv is None else argv)}
    if doing.cancel and request.shrink == "prune":
        # Before the generation: were it the other way round, a command that died in between would leave runs at work
        # that nobody asks for any more.
        order = Submission(n, "cancel", cancel=tuple(map(identity.to_text, doing.cancel)), **stamp)
        result.published.append(study.publish(order))
        n += 1
    code, packages = (wanted.code(study), wanted.packages(study)) if doing.batches else ("", "")
    generation = wanted.generation(study)
    for batch in doing.batches:
        entry = Submission(
            n,
            generation=generation,
            cluster=cluster.name,
            resources=batch.resources,
            code=code,
            source=wanted.source,
            packages=packages,
            arrays=_arrays(batch, cluster),
            rerun=batch.rerun,
            reset=batch.reset,
            only=tuple(request.only),
            **stamp,
        )
        result.published.append(study.publish(replace(entry, tasks=batch.tasks).numbered(n)))
        n += 1


def _arrays(batch: Batch, cluster: Cluster) -> tuple[tuple[int, int], ...]:
    """Cut tasks into arrays: a limit bounds the index, so each array counts from zero."""
    most = cluster.limits().max_array or len(batch.tasks)
    return tuple((start, min(start + most, len(batch.tasks))) for start in range(0, len(batch.tasks), most))


def _hand_over(study: Study, entry: Submission, arrays: Iterable[int], cluster: Cluster, result: Result) -> None:
    waiting = list(arrays)
    while waiting:
        try:
            job = cluster.submit(study, entry, waiting[0])
        except UserError as error:
            # A scheduler that refused one array will refuse the next: leave them to the next command.
            result.errors += [(entry, array, error) for array in waiting]
            return
        study.record_job(entry.n, waiting.pop(0), job)
        result.jobs.append(job)


def _names(entry: Submission, array: int) -> set[str]:
    """Return the names of an array's tasks."""
    return {spec.name for spec in entry.tasks[slice(*entry.arrays[array])]}


def _entry_of(study: Study, task: str) -> Submission:
    return study.submission(int(task.partition("-")[0]))


def _busy(history: History) -> set[str]:
    """Return the names of the tasks that own a run which is neither finished nor cancelled."""
    return {record.task for record in history.runs.values() if record.outcome is None and not record.cancelled}


def _cancel_order(
    history: History, named: frozenset[bytes] | Literal["all"], argv: Sequence[str] | None
) -> Submission | None:
    if named == "all":
        size = identity.ID_BYTES
        known = {history.asked[at : at + size] for at in range(0, len(history.asked), size)} | history.runs.keys()
    else:
        known = set(named)
    unfinished = [run for run in known if (r := history.runs.get(run)) is None or not (r.outcome or r.cancelled)]
    if not unfinished:
        return None
    return Submission(
        history.last + 1,
        "cancel",
        generation=history.generation,
        cancel="all" if named == "all" else tuple(sorted(map(identity.to_text, unfinished))),
        created=now(),
        argv=tuple(sys.argv if argv is None else argv),
    )


def _end_jobs(study: Study, clusters: Clusters) -> None:
    """End the jobs all of whose runs are finished, cancelled or somebody else's, at least one of them cancelled."""
    history = study.history()
    busy = _busy(history)
    struck = {record.task for record in history.runs.values() if record.cancelled}
    doomed: dict[str, list[Job]] = {}
    for job in study.jobs():
        names = _names(study.submission(job.n), job.array)
        if names & struck and not names & busy and not names <= history.ended:
            doomed.setdefault(job.cluster, []).append(job)
    for name, jobs in doomed.items():
        clusters(name).cancel(jobs)


def _spread(cluster: Cluster, resources: Mapping[str, Any]) -> int:
    """Return how many workers a job will have side by side."""
    if cluster.kind == "local":
        from orchestrator.clusters.local import worker_environments

        return len(worker_environments(resources))
    workers = resources.get("workers", "auto")
    return int(resources.get("cpus", 1)) if workers == "auto" else int(workers)


def _clusters(name: str) -> Cluster:
    from orchestrator.clusters import get_cluster

    return get_cluster(name)
