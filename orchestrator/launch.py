"""Studies launched by hand: what every element of a script that ``orch script`` printed runs.

The first element to come plans for the whole job, publishes the entry of the chain that says which element trains
what, and leaves a steward; the others find that entry by its tag. From there on each is an element like any other. A
second launch of the same script plans again: what is done or under way is left alone.

Which element plans is told by ``owners/0.<job>``: there is no submission 0. That only avoids work; what keeps it right
is that an entry of the chain is published once.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import tenacity

from orchestrator import units
from orchestrator.clusters import clusters_of, get_cluster
from orchestrator.clusters.base import ELEMENT, Here, Limits, python_command
from orchestrator.errors import UserError
from orchestrator.liveness import look
from orchestrator.plan import Batch, Plan
from orchestrator.publish import publish
from orchestrator.sharing import tasks_per_element
from orchestrator.study.records import Job, Submission, Taken, TaskSpec
from orchestrator.study.spans import Span, from_spans, to_spans
from orchestrator.study.study import Study
from orchestrator.submit import Request, Result, prepare, shrinks
from orchestrator.succession import Left, end_superseded, leave_steward
from orchestrator.worker.log import LOG, to_stderr

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster
    from orchestrator.desired import Desired
    from orchestrator.states import JobState

TARGET: Final = "orchestrator.launch:main"
"""What the script runs."""

PLANNING: Final = 600.0
"""Seconds that the element which plans has for it. After that the others do it: all of them, so that it is generous."""

VISIBLE: Final = 120.0
"""Seconds that a file system may take to show what was published."""


@dataclass(frozen=True)
class Told:
    """What a script tells its elements beside the grid.

    Parameters
    ----------
    study, root
        The study, and the folder of all studies.
    cluster, kind
        The cluster, and its kind.
    elements
        Elements of the script's array.
    resources
        The grid's resources, resolved.
    job
        In what the resources of this script's job differ from these.
    overrides, only, rerun_stale
        What the command line said besides.
    project
        The folder of a user's own code.
    steward
        Whether a steward goes on with the study when the job has ended.
    """

    study: str
    root: str
    cluster: str
    kind: str
    elements: int
    resources: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    rerun_stale: bool = False
    project: str | None = None
    steward: bool = True

    def to_json(self) -> str:
        """Return it as one argument of a command; what is as by default is left out."""
        defaults = {name: field.default for name, field in self.__dataclass_fields__.items()}
        data = {name: value for name, value in asdict(self).items() if value not in (defaults[name], {})}
        return json.dumps(data)

    @staticmethod
    def from_json(text: str) -> Told:
        """Read it back."""
        data = json.loads(text)
        return Told(**{**data, **{name: tuple(data.get(name, ())) for name in ("overrides", "only")}})


class ByHand:
    """A cluster that somebody else hands jobs to: it bounds nothing, and where it cannot be asked, nothing is gone.

    Parameters
    ----------
    inner
        The cluster.
    """

    def __init__(self, inner: Cluster) -> None:
        self._inner, self.kind, self.name = inner, inner.kind, inner.name

    @staticmethod
    def of(inner: Cluster) -> Cluster:
        """Return such a cluster."""
        return cast("Cluster", ByHand(inner))

    def limits(self, resources: Mapping[str, Any]) -> Limits:  # noqa: ARG002
        """Return that there are none: the script's array has the size that it has."""
        return Limits()

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Ask, if that is possible from here."""
        with contextlib.suppress(UserError):
            return self._inner.poll(jobs)
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


# --- an element -------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Publish what this job trains, unless that was done, and become one of its elements.

    Parameters
    ----------
    argv
        What the script tells (:class:`Told`), as JSON. The grid is read from standard input.

    Returns
    -------
    int
        0 if there is nothing to do for this element; otherwise the process becomes another, or says what is wrong.
    """
    to_stderr()
    try:
        told = Told.from_json(argv[0])
        cluster = get_cluster(told.cluster, told.kind)
        here = _here(cluster)
        study = Study.create(told.root, told.study)
        entry = _entry(study, told, cluster, here)
    except UserError as error:
        LOG.error("%s", error)
        return int(error.exit_code)
    if entry is None or not entry.arrays or here.element >= entry.elements(0):
        LOG.info("%s: nothing is left to do for it in study %s", here.key, study.path)
        return 0
    _become(study, entry)
    return 0  # not reached


def _here(cluster: Cluster) -> Here:
    here = cluster.here()
    if here is None:
        raise UserError(f"this process is no job of {cluster.kind}: hand the script to the scheduler")
    return here


def _become(study: Study, entry: Submission) -> None:
    """Replace this process by the element's own, from the frozen sources, its output where all elements' goes."""
    log = os.open(study.log_path(entry.n, 0), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, stream)
    python = entry.resources.get("python")
    command = python_command(study.code_dir(entry.code), ELEMENT, study.path, entry.n, 0, python=python)
    os.execv(command[0], command)  # noqa: S606  (an interpreter and its arguments, no shell)


def _entry(study: Study, told: Told, cluster: Cluster, here: Here) -> Submission | None:
    """Return the entry of the chain that says what this job trains; None if there is nothing to train."""
    entry = _find(study, told, here)
    if entry is not None:
        return entry
    if not study.take(0, int(here.job_id), here.key):  # another element plans
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda found: found is None),
            wait=tenacity.wait_random_exponential(multiplier=0.2, min=0.2, max=10),
            stop=tenacity.stop_after_delay(PLANNING),
            retry_error_callback=lambda _: None,
        )
        entry = waiting(_find, study, told, here)
    return entry or _plan(study, told, cluster, here)


def _find(study: Study, told: Told, here: Here) -> Submission | None:
    tag = tag_of(here.job_id)
    return next((e for e in study.chain() if e.tag == tag and e.cluster == told.cluster), None)


def tag_of(job_id: str) -> str:
    """Return the tag of the entry that a job launched by hand serves."""
    return f"hand-{job_id}"


# --- planning ---------------------------------------------------------------------------------------------------------


def _plan(study: Study, told: Told, cluster: Cluster, here: Here) -> Submission | None:
    """Plan for the whole job, and publish what it trains."""
    wanted = _desired(told, sys.stdin.buffer.read().decode())
    # Until a file system shows what somebody else published, the same number would be tried again and again.
    trying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Taken),
        wait=tenacity.wait_random(0.2, 1),
        stop=tenacity.stop_after_delay(VISIBLE),
        reraise=True,
    )
    try:
        return trying(_publish, study, told, wanted, cluster, here)
    except Taken as error:
        raise UserError(f"the chain of study {study.path} does not show what others publish there") from error


def _desired(told: Told, text: str) -> Desired:
    from orchestrator.desired import desired
    from orchestrator.grid import Resources, expand, load

    project = Path(told.project) if told.project else None
    grid = load(text, file="the script's grid", overrides=told.overrides, project=project)
    grid = replace(grid, resources=Resources.model_validate(dict(told.resources)))
    return desired(grid, expand(grid), project)


def _publish(study: Study, told: Told, wanted: Desired, cluster: Cluster, here: Here) -> Submission | None:
    """Publish the entry, record the job, and leave a steward."""
    if (entry := _find(study, told, here)) is not None:
        return entry
    find, by_hand = clusters_of(study), ByHand.of(cluster)
    seen = look(study, lambda name: ByHand.of(find(name)))
    request = Request(only=told.only, rerun_stale=told.rerun_stale)
    plan = prepare(study, wanted, by_hand, request, seen=seen)
    if plan.left:
        raise shrinks(study, plan)
    mine = share(plan, wanted, by_hand, told)
    if not mine.batches:
        return _publish_nothing(study, told, plan, here)
    entry = publish(study, wanted, by_hand, request, Result(plan=mine), tag=tag_of(here.job_id))[0]
    job = Job(entry.n, 0, cluster.name, here.job_id, socket.gethostname(), {"tag": entry.tag})
    study.record_job(entry.n, 0, job)
    LOG.info("submission %d: %d tasks for %d elements", entry.n, len(entry.tasks), entry.elements(0))
    if told.steward:
        steward: Job | UserError | None
        try:
            left = Left([job], len(mine.waiting), refused=False)
            steward = leave_steward(study, cluster, wanted.resources, seen, left)
        except UserError as error:
            steward = error
        if isinstance(steward, UserError):
            LOG.warning("no steward could be left, `orch submit` goes on later: %s", steward)
    end_superseded(study, seen, lambda name: ByHand.of(find(name)))
    return entry


def _publish_nothing(study: Study, told: Told, plan: Plan, here: Here) -> Submission | None:
    """Publish that this job has nothing to do, so that no element of it plans again: the last entry without tasks."""
    LOG.info("nothing to do: %d runs are done, %d are under way", len(plan.keep) + len(plan.stale), len(plan.live))
    last = next((entry for entry in reversed(study.chain()) if entry.kind == "submit"), None)
    if last is None:
        return None
    entry = replace(
        last, n=plan.n, tasks=(), arrays=(), rerun=[], reset=[], probe=0, tag=tag_of(here.job_id),
        cluster=told.cluster, scheduler=told.kind, argv=tuple(sys.argv),
    )  # fmt: skip
    return study.publish(entry)


def share(plan: Plan, wanted: Desired, cluster: Cluster, told: Told) -> Plan:
    """Return the part of a plan that a script's job carries out: one batch at most, of one array.

    Parameters
    ----------
    plan, wanted, cluster
        The whole plan, what the study should hold, and where.
    told
        How many elements there are, and what they have: tasks that ask for more, or for something else, are left.
    """
    own = {**wanted.resources, **told.job}
    served = [batch for batch in plan.batches if serves(own, batch.resources)]
    tasks = [task for batch in served for task in batch.tasks]
    kept = tasks[: told.elements * tasks_per_element(cluster, own)]
    if (left := len(plan.tasks) - len(kept)) > 0:
        LOG.info("%d tasks are left for another script, or another launch of this one", left)
    if not kept:
        return replace(plan, batches=[], waiting=[])
    rerun = [span for batch in served for span in batch.rerun]
    reset = [span for batch in served for span in batch.reset]
    return replace(plan, batches=[Batch(own, tuple(kept), _within(kept, rerun), _within(kept, reset))], waiting=[])


def _within(tasks: Sequence[TaskSpec], spans: Sequence[Span]) -> list[Span]:
    """Return what of some spans belongs to tasks."""
    if not spans:
        return []
    positions = {position for task in tasks for position in task.indices()}
    return to_spans(sorted(positions.intersection(from_spans(spans))))


def serves(own: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Return whether a job that has its ``own`` resources can train tasks that ask for the same, or for less memory.

    Which machines to keep away from was said in the script's own header.
    """
    alike = all(own.get(name) == asked.get(name) for name in {*own, *asked} - {"memory", "exclude"})
    enough = own.get("memory") is None or (
        asked.get("memory") is not None and units.size(asked["memory"]) <= units.size(own["memory"])
    )
    return alike and enough
