"""Watching heartbeats: for clusters that cannot be asked, the only sign of death there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from orchestrator.study.study import Study

PATIENCE = 3.0
"""How many (heartbeat interval + :data:`SLACK`) a counter must stand still."""

SLACK = 60.0
"""Seconds that a file system may take to show a write to other machines."""


class HeartbeatWatch:
    """Sees heartbeats stand still, by the observer's own monotonic clock; wall clocks are never compared.

    Parameters
    ----------
    study
        The study.
    interval
        Seconds between two beats.
    clock
        Seconds that never go back.
    """

    def __init__(self, study: Study, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._study, self._clock = study, clock
        self._patience = PATIENCE * (interval + SLACK)
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}

    def still(self, tasks: Iterable[str]) -> set[str]:
        """Look at tasks' heartbeats, and return those whose counter has not moved for too long.

        A task that never began has no heartbeat, and is not among them.
        """
        standing: set[str] = set()
        for task in tasks:
            beat = self._study.heartbeat(task)
            if beat is None:
                continue
            before = self._seen.get(task)
            if before is None or before[0] != beat:
                self._seen[task] = (beat, self._clock())
            elif self._clock() - before[1] >= self._patience:
                standing.add(task)
        return standing
