"""Who goes on with a study when its jobs have ended: a steward is left behind as a job that waits for them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import UserError
from orchestrator.liveness import Clusters, Look, Silent, busy, parts_of, silent, task_names
from orchestrator.study.records import Job
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster


class Left(NamedTuple):
    """What a command leaves behind.

    Parameters
    ----------
    jobs
        What it handed over.
    waiting
        How many runs found no room.
    refused
        Whether the scheduler refused an array.
    """

    jobs: Sequence[Job]
    waiting: int
    refused: bool


def leave_steward(
    study: Study, cluster: Cluster, resources: Mapping[str, Any], seen: Look, left: Left, me: int = 0
) -> Job | UserError | None:
    """Leave a job that goes on with the study when its jobs have ended, unless one is there that will.

    Where more waits than the scheduler takes now, it comes when the oldest job has ended: then there is room.

    Parameters
    ----------
    study, cluster, resources
        The study, where its jobs are, and what they ask for today.
    seen
        What was seen of them.
    left
        What was handed over and what waits.
    me
        The number of the steward that does this; 0 if none does.

    Returns
    -------
    Job | UserError | None
        The job; why there is none although one is needed; None if none is needed, or one is there.
    """
    from orchestrator.clusters.base import LimitReached, Part

    if cluster.kind == "local":
        return None
    # Where no job was left to be asked about, nobody was asked about stewards either: an old number may be another
    # job's by now, and one that still comes sees that it has a successor.
    known = study.stewards() if seen.states else {}
    there = {k: job for k, job in known.items() if k != me and seen.states.get(job.job_id, "gone") != "gone"}
    living = {
        job.job_id: job
        for job in study.jobs()
        if job.cluster == cluster.name and task_names(study.submission(job.n), job.array) & seen.living
    }
    living |= {job.job_id: job for job in left.jobs if job.cluster == cluster.name}
    if not living and left.waiting and not left.refused:
        return LimitReached(
            f"the queue has no room for this study, and none of its jobs is there to wait for; {left.waiting} "
            f"run{'s wait' if left.waiting > 1 else ' waits'} for the next `orch submit`"
        )
    if not living or (there and not left.jobs):
        return None
    more = left.refused or left.waiting
    after = list(living.values())[: 1 if more else None]
    k, _ = study.new_steward()
    try:
        job = cluster.steward(study, k, resources, after)
    except UserError as error:
        return error
    if job is None:
        return None
    steward = replace(job, extra={**job.extra, "after": [other.job_id for other in after]})
    study.record_steward(k, steward)
    # The newest that counts as gone may stand in the queue all the same: see `end_superseded`.
    held = {n: old for n, old in list(known.items())[-1:] if n != me}
    with contextlib.suppress(UserError):  # one that comes all the same sees that it has a successor, and leaves
        cluster.cancel([Part(old) for old in {**there, **held}.values()])
    return steward


def end_superseded(study: Study, seen: Look, clusters: Clusters) -> None:
    """End tasks that count as gone and whose runs have another owner by now.

    Slurm keeps a job that a machine could not start until somebody releases or cancels it, and it counts as gone long
    before. This only tidies up: should it come all the same, it finds its runs in other hands, and leaves.

    Parameters
    ----------
    study
        The study, after what is next was published.
    seen
        What was seen of it before.
    clusters
        Finds a cluster by name.
    """
    found = silent(study, seen)
    owners = busy(study.history()) if found else set()
    superseded: dict[str, list[Silent]] = {}
    for one in found:
        if one.task not in owners:
            superseded.setdefault(one.job.cluster, []).append(one)
    for name, some in superseded.items():
        with contextlib.suppress(UserError):
            clusters(name).cancel(parts_of(some))
