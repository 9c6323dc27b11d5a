"""Schedulers: the only room that names their commands. A new one is a module here, and a line in ``KINDS``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from orchestrator.errors import UserError, nearest

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster
    from orchestrator.study.study import Study

KINDS = {
    "local": "orchestrator.clusters.local:LocalCluster",
    "slurm": "orchestrator.clusters.slurm:SlurmCluster",
    "lsf": "orchestrator.clusters.lsf:LsfCluster",
}
"""Kind to ``module:class``; a class is made with the cluster's name. A kind is also a cluster that needs no profile."""


def get_cluster(name: str, kind: str | None = None) -> Cluster:
    """Return a cluster by its name.

    Parameters
    ----------
    name
        A kind, or the name of a cluster profile.
    kind
        Its kind, where that is known; otherwise a profile is looked for.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    from orchestrator.clusters import profiles

    kind = kind or (name if name in KINDS else None) or profiles.kind_of(name)
    if kind not in KINDS:
        known = [*KINDS, *profiles.names()]
        raise UserError(
            f"there is no cluster {name!r}; there is: {', '.join(known)}."
            f"{nearest(name, known) or ' `orch doctor --write-profile NAME` makes a profile.'}"
        )
    module, _, attribute = KINDS[kind].partition(":")
    cluster: Cluster = getattr(import_module(module), attribute)(name)
    return cluster


def clusters_of(study: Study) -> Callable[[str], Cluster]:
    """Return what finds the clusters that a study was submitted to: their kinds stand in its chain."""
    kinds = {entry.cluster: entry.scheduler for entry in study.chain() if entry.cluster}
    return lambda name: get_cluster(name, kinds.get(name))
