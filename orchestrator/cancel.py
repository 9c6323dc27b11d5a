"""Cancelling: an order in the chain first, which workers read; then the ends of jobs that have nothing else to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from orchestrator import identity
from orchestrator.clusters import clusters_of
from orchestrator.clusters.base import Part
from orchestrator.desired import now
from orchestrator.liveness import Clusters, busy
from orchestrator.study.history import History
from orchestrator.study.records import Submission, Taken
from orchestrator.study.study import Study


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
    _end_jobs(study, clusters or clusters_of(study))
    return order


def _cancel_order(
    history: History, named: frozenset[bytes] | Literal["all"], argv: Sequence[str] | None
) -> Submission | None:
    if named == "all":
        size = identity.ID_BYTES
        known = {history.asked[at : at + size] for at in range(0, len(history.asked), size)} | history.runs.keys()
    else:
        known = set(named)
    unfinished = [run for run in known if (r := history.runs.get(run)) is None or r.unfinished]
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
    """End what has only runs that are finished, cancelled or somebody else's, at least one of them cancelled."""
    history = study.history()
    owners = busy(history)
    struck = {record.task for record in history.runs.values() if record.cancelled}
    doomed: dict[str, list[Part]] = {}
    for job in study.jobs():
        entry = study.submission(job.n)
        ending, going_on = [], False
        for element in range(entry.elements(job.array)):
            names = {spec.name for spec in entry.tasks_of(job.array, element)}
            going_on |= bool(names & owners)
            if names & struck and not names & owners and not names <= history.ended:
                ending.append(element)
        if ending:
            doomed.setdefault(job.cluster, []).append(Part(job, tuple(ending) if going_on else None))
    for name, parts in doomed.items():
        clusters(name).cancel(parts)
