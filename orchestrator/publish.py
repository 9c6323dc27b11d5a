"""What a plan becomes in the chain: the order to cancel, the generation of the grid, the entries."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator import identity
from orchestrator.desired import Desired, now
from orchestrator.sharing import shares
from orchestrator.study.records import Submission
from orchestrator.study.spans import to_spans
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster
    from orchestrator.submit import Request, Result


def publish(
    study: Study,
    wanted: Desired,
    cluster: Cluster,
    request: Request,
    result: Result,
    argv: Sequence[str] | None = None,
    *,
    tag: str = "",
) -> list[Submission]:
    """Publish what ``result.plan`` wants: the order to cancel, the generation, the entries.

    Parameters
    ----------
    study, wanted, cluster, request, argv
        See :func:`orchestrator.submit.submit`.
    result
        Holds the plan, and is told what was published.
    tag
        What every entry carries; by default each has its own.

    Returns
    -------
    list[Submission]
        The entries that are to be handed over.

    Raises
    ------
    Taken
        If somebody else published the next entry first: plan again.
    """
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
    parts = shares(wanted, doing, cluster, probe=bool(request.probe))
    ordering = any(doing.again.values()) and (len(parts) != 1 or bool(doing.waiting) or bool(request.probe))
    code, packages = (wanted.code(study), wanted.packages(study)) if parts or ordering else ("", "")
    generation = wanted.generation(study)
    entries: list[Submission] = []
    if ordering:
        # Not all of what is to be trained again goes with one entry: whoever comes later must know of the rest.
        order = Submission(
            n,
            "order",
            generation=generation,
            cluster=cluster.name,
            scheduler=cluster.kind,
            code=code,
            source=wanted.source,
            packages=packages,
            only=tuple(request.only),
            rerun=to_spans(doing.again["rerun"]),
            reset=to_spans(doing.again["reset"]),
            **stamp,
        )
        result.published.append(study.publish(order))
        n += 1
    for batch, per_job, arrays in parts:
        entry = Submission(
            n,
            generation=generation,
            cluster=cluster.name,
            scheduler=cluster.kind,
            resources=batch.resources,
            code=code,
            source=wanted.source,
            packages=packages,
            arrays=arrays,
            per_job=per_job,
            probe=request.probe,
            rerun=batch.rerun,
            reset=batch.reset,
            only=tuple(request.only),
            tag=tag,
            **stamp,
        )
        entries.append(study.publish(replace(entry, tasks=batch.tasks).numbered(n)))
        result.published.append(entries[-1])
        n += 1
    return entries
