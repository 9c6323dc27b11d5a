"""How a plan meets a cluster: tasks side by side in elements, elements in arrays, as many as there is room for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.desired import Desired
from orchestrator.plan import Batch, Plan
from orchestrator.study.spans import from_spans, to_spans

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster


def side_by_side(cluster: Cluster, resources: Mapping[str, Any]) -> int:
    """Return how many workers a job will have side by side."""
    if cluster.kind == "local":
        from orchestrator.clusters.local import worker_environments

        return len(worker_environments(resources))
    if (workers := resources.get("workers", "auto")) != "auto":
        return int(workers)
    # On accelerators one process with many lanes beats several processes that share one.
    on_gpus = resources.get("gpus") and resources.get("device") != "cpu"
    return int(resources.get("gpus" if on_gpus else "cpus") or 1)


def tasks_per_element(cluster: Cluster, resources: Mapping[str, Any]) -> int:
    """Return how many tasks one element trains side by side; a steward of this machine feeds its workers one by one."""
    return 1 if cluster.kind == "local" else side_by_side(cluster, resources)


def capacity(room: int | None, most: int | None, per_job: int) -> int | None:
    """Return how many tasks can be handed over now. One place in the queue is the steward's.

    Parameters
    ----------
    room
        How many elements the scheduler takes now; None: any number.
    most
        No more elements than this, whatever the scheduler allows; None: any number.
    per_job
        How many tasks one element trains side by side.
    """
    bounds = [bound for bound in (most, None if room is None else room - 1) if bound is not None]
    return max(0, min(bounds)) * per_job if bounds else None


class Share(NamedTuple):
    """A batch as it is handed over.

    Parameters
    ----------
    batch
        Its tasks and resources.
    per_job
        How many of them one element trains side by side.
    arrays
        Where its arrays begin and end among the tasks.
    """

    batch: Batch
    per_job: int
    arrays: tuple[tuple[int, int], ...]

    @property
    def elements(self) -> int:
        """Elements of all arrays."""
        return sum(-(-(stop - start) // self.per_job) for start, stop in self.arrays)


def shares(wanted: Desired, doing: Plan, cluster: Cluster, *, probe: bool = False) -> list[Share]:
    """Say how a plan is handed over; of a probe, only the two extreme tasks are."""
    found = []
    for batch in _probed(wanted, doing) if probe else doing.batches:
        per_job = 1 if probe else tasks_per_element(cluster, batch.resources)
        found.append(
            Share(batch, per_job, _arrays(len(batch.tasks), per_job, doing.max_array, halved=bool(doing.waiting)))
        )
    return found


def _probed(wanted: Desired, doing: Plan) -> list[Batch]:
    """Return the one batch of a probe: the two most extreme tasks of the plan."""
    from orchestrator import probe

    corners = probe.corners(wanted.points, doing, probe.ignored(wanted.info))
    first = next((batch for batch in doing.batches if corners[0] in batch.tasks), None) if corners else None
    if first is None:
        return []
    mine = frozenset(position for task in corners for position in task.indices())
    rerun, reset = (
        to_spans(sorted(mine.intersection(p for batch in doing.batches for p in from_spans(getattr(batch, name)))))
        for name in ("rerun", "reset")
    )
    return [replace(first, tasks=tuple(corners), rerun=rerun, reset=reset)]


def _arrays(count: int, per_job: int, max_array: int | None, *, halved: bool) -> tuple[tuple[int, int], ...]:
    """Cut tasks into arrays: a limit bounds the index, so each array counts from zero.

    Where more waits, no array takes more than half of the room, so that the next wave comes while the other half works.
    """
    elements = -(-count // per_job)
    most = min(max_array or elements, -(-elements // 2) if halved else elements)
    size = max(1, most) * per_job
    return tuple((start, min(start + size, count)) for start in range(0, count, size))
