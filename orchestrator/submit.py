"""The submission procedure: plan → publish → hand over → record. It may die anywhere, and be started again at any time.

What keeps it right is the order. An entry of the chain is published whole before any scheduler hears of it; an array
that no job is known for is handed over by the next command. If the array was handed over and only the record is
missing, there are two jobs for it: the first to begin takes it, the other exits.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from orchestrator import identity
from orchestrator.desired import Desired, again, desired, last_submission
from orchestrator.errors import ExitCode, UserError
from orchestrator.liveness import Clusters, Look, alive, busy, look, task_names, testify
from orchestrator.plan import Plan, PlanOptions, plan
from orchestrator.publish import publish
from orchestrator.sharing import capacity, side_by_side, tasks_per_element
from orchestrator.study.history import History
from orchestrator.study.records import Job, Submission, Taken
from orchestrator.study.study import Study
from orchestrator.succession import Left, end_superseded, leave_steward

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster

__all__ = [
    "Clusters", "Desired", "Request", "Result", "advance", "after_probe", "again", "alive", "complete", "desired",
    "hand_over", "last_submission", "prepare", "shrinks", "submit",
]  # fmt: skip


MOST_EXCLUDED: Final = 16
"""So many machines are kept away from at most: if more fail, it is not the machines."""


@dataclass(frozen=True)
class Request:
    """What a command asks for besides the grid; the fields are those of :class:`orchestrator.plan.PlanOptions`.

    ``shrink`` says what to do when the grid does not name all runs any more that the study asked for: ``refuse``;
    ``prune``: let them go, and cancel what of them is unfinished; ``ignore``: leave them alone. ``probe``: train only
    two extreme tasks for so many steps; their measure decides about the rest. ``patient``: leave the rest to a probe
    that is not over, and to people after one that failed.
    """

    only: Sequence[str] = ()
    shrink: Literal["refuse", "prune", "ignore"] = "refuse"
    rerun_stale: bool = False
    uncancel: bool = True
    retry: Container[bytes] | Literal["all"] = ()
    rerun: Container[bytes] = ()
    probe: int = 0
    patient: bool = False


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
    steward
        The job that goes on with the study, if one was left; or why none could be.
    declined
        Whether the user said no.
    """

    plan: Plan | None = None
    published: list[Submission] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    errors: list[tuple[Submission, int, UserError]] = field(default_factory=list)
    steward: Job | UserError | None = None
    declined: bool = False


# --- planning ---------------------------------------------------------------------------------------------------------


def prepare(
    study: Study | None,
    wanted: Desired,
    cluster: Cluster,
    request: Request,
    clusters: Clusters | None = None,
    *,
    gone: Container[str] = (),
    seen: Look | None = None,
    most: int | None = None,
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
    seen
        What the caller saw of the study a moment ago; by default the study and its schedulers are looked at.
    most
        No more elements than this, whatever the scheduler allows.
    """
    if seen is None:
        seen = look(study, clusters or _clusters(study)) if study is not None else Look(History(), {}, frozenset())
    together = tasks_per_element(cluster, wanted.resources)
    resources = _elsewhere(seen.history, _measured(study, seen.history, wanted.resources, together))
    limits = cluster.limits(resources)
    options = PlanOptions(
        form=str(wanted.info["form"]),
        lanes=frozenset(wanted.info["lanes"]),
        steps=wanted.info["steps"],
        source=wanted.source,
        resources=resources,
        spread=side_by_side(cluster, resources),
        only=request.only,
        rerun_stale=request.rerun_stale,
        uncancel=request.uncancel,
        retry=request.retry,
        rerun=request.rerun,
        capacity=capacity(limits.room, most, tasks_per_element(cluster, resources)),
        max_array=limits.max_array,
    )
    return plan(wanted.points, seen.history, {name for name in seen.living if name not in gone}, options)


def _measured(study: Study | None, history: History, resources: Mapping[str, Any], together: int) -> Mapping[str, Any]:
    """Return resources with the memory that a probe has measured, where more is needed than was asked for.

    ``together`` is how many tasks share it.
    """
    from orchestrator import probe

    found = probe.measured(study, history, resources) if study is not None else None
    return probe.request(resources, found, together) if found is not None else resources


def _elsewhere(history: History, resources: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return resources that keep away from the machines that failed last."""
    bad = history.bad_nodes[-MOST_EXCLUDED:]
    return {**resources, "exclude": list(dict.fromkeys([*resources.get("exclude", ()), *bad]))} if bad else resources


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
    steward: int = 0,
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
    steward
        The number of the steward that does this; it must leave a successor.

    Raises
    ------
    UserError
        If the study would shrink and nobody said what to do then. What a scheduler refuses is no exception but stands
        in ``Result.errors``: the entry is published, and the next command hands it over.
    """
    from orchestrator.clusters.base import LimitReached

    request, clusters = request or Request(), clusters or _clusters(study)
    result = complete(study, clusters)
    seen = look(study, clusters)
    if testify(study, seen, clusters):
        seen = look(study, clusters)
    asked, most = False, None
    while True:
        refused = _refused(result, cluster) if not request.patient else []
        seen.history.unhanded -= _tasks_of(refused)  # planned again, as the grid and the command have it today
        after = after_probe(study, seen, request)
        if after is None:
            break
        refused += _too_large(result)
        seen.history.unhanded -= _tasks_of(refused)  # planned again, in smaller arrays
        result.plan = prepare(study, wanted, cluster, after, clusters, gone=gone, seen=seen, most=most)
        if result.plan.left and request.shrink == "refuse":
            raise shrinks(study, result.plan)
        if not asked and not confirm(result.plan):
            result.declined = True
            return result
        asked = True
        try:
            published = publish(study, wanted, cluster, after, result, argv)
        except Taken:
            seen = look(study, clusters)  # somebody else published first: what was planned may not hold any more
            continue
        result.errors = [error for error in result.errors if error not in refused]
        for entry in published:
            hand_over(study, entry, range(len(entry.arrays)), cluster, result)
        large = _too_large(result)
        if not large or result.jobs:
            break
        # The scheduler's limit is smaller than anybody could know: halve until something fits.
        most = min(entry.elements(array) for entry, array, _ in large) // 2
        seen = look(study, clusters)
    waiting = len(result.plan.waiting) if result.plan is not None else 0
    left = Left(result.jobs, waiting, refused=bool(result.errors))
    result.steward = leave_steward(study, cluster, wanted.resources, seen, left, steward)
    if result.published:
        end_superseded(study, seen, clusters)
    if isinstance(result.steward, Job):
        # What found no room waits for the steward's coming.
        result.errors = [refusal for refusal in result.errors if not isinstance(refusal[2], LimitReached)]
    return result


def advance(
    study: Study,
    cluster: Cluster,
    clusters: Clusters | None = None,
    *,
    gone: Container[str] = (),
    steward: int = 0,
) -> Result:
    """Submit the next wave, and what is to be tried again, with the sources of the last submission. For stewards."""
    request = Request(only=last_submission(study).only, uncancel=False, shrink="ignore", patient=True)
    wanted = again(study, frozen=True)
    return submit(study, wanted, cluster, request, clusters=clusters, gone=gone, steward=steward)


def after_probe(study: Study, seen: Look, request: Request) -> Request | None:
    """Return what is left of a request in the light of a probe; None if its rest must wait.

    Whoever asks for a probe, and whoever is patient, waits for one that is not over. Nobody probes again what has
    passed; after a probe that failed only a person goes on.
    """
    from orchestrator import probe

    if not (request.probe or request.patient):
        return request
    found = probe.verdict(study, seen.history)
    if isinstance(found, probe.Open):
        return request if (seen.living | seen.history.unhanded).isdisjoint(found.tasks) else None
    if isinstance(found, probe.Failed):
        return request if request.probe else None
    return replace(request, probe=0) if isinstance(found, probe.Passed) else request


def complete(study: Study, clusters: Clusters | None = None) -> Result:
    """Hand over what an earlier command published and did not hand over, unless nobody needs it any more."""
    result = Result()
    history = study.history()
    if not history.unhanded:
        return result
    find, owners = clusters or _clusters(study), busy(history)
    for entry in study.chain():
        arrays = [a for a in range(len(entry.arrays)) if not owners.isdisjoint(history.unhanded & task_names(entry, a))]
        if arrays:
            hand_over(study, entry, arrays, find(entry.cluster), result)
    return result


def hand_over(study: Study, entry: Submission, arrays: Iterable[int], cluster: Cluster, result: Result) -> None:
    """Hand arrays of a published entry to the scheduler, and record their jobs; refusals stand in the result."""
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


def _refused(result: Result, cluster: Cluster) -> list[tuple[Submission, int, UserError]]:
    """Return the arrays that would be refused again as they are, or whose scheduler is not the one that is meant now.

    Whoever mends a partition's name in the grid wants the runs of the entry that had the wrong one, too.
    """
    from orchestrator.clusters.base import LimitReached

    return [
        (entry, array, error)
        for entry, array, error in result.errors
        if entry.cluster != cluster.name
        or not (isinstance(error, LimitReached) or error.exit_code is ExitCode.SCHEDULER_UNREACHABLE)
    ]


def _tasks_of(refused: Iterable[tuple[Submission, int, UserError]]) -> set[str]:
    return {name for entry, array, _ in refused for name in task_names(entry, array)}


def _too_large(result: Result) -> list[tuple[Submission, int, UserError]]:
    """Return the arrays that did not fit and can be cut."""
    from orchestrator.clusters.base import LimitReached

    return [
        (entry, array, error)
        for entry, array, error in result.errors
        if isinstance(error, LimitReached) and entry.elements(array) > 1
    ]


def shrinks(study: Study, refused: Plan) -> UserError:
    """Say that a study would shrink, and what to do about it."""
    count, some = len(refused.left), ", ".join(map(identity.to_text, refused.left[:3]))
    return UserError(
        f"the grid no longer names {count} run{'s' * (count != 1)} that study {study.name!r} asked for ({some}"
        f"{', …' if count > 3 else ''}). Give `--prune` to let them go (what is unfinished is cancelled, results stay "
        "on the disk), `--only key=…` to submit only some of the grid's runs, or the grid another `study:` name"
    )


def _clusters(study: Study | None) -> Clusters:
    from orchestrator.clusters import clusters_of, get_cluster

    return clusters_of(study) if study is not None else get_cluster
