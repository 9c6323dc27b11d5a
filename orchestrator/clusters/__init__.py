"""Schedulers: the only room that names their commands. A new one is a module here, and a line in ``CLUSTERS``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from orchestrator.errors import UserError, nearest

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster

CLUSTERS = {"local": "orchestrator.clusters.local:LocalCluster"}
"""Name to ``module:class``; a class is made with the name."""


def get_cluster(name: str) -> Cluster:
    """Return a cluster by its name.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name not in CLUSTERS:
        raise UserError(
            f"there is no cluster {name!r} in this version; there is: {', '.join(CLUSTERS)}."
            f"{nearest(name, CLUSTERS) or ' Set `cluster: local` in resources to train on this machine.'}"
        )
    module, _, attribute = CLUSTERS[name].partition(":")
    cluster: Cluster = getattr(import_module(module), attribute)(name)
    return cluster
