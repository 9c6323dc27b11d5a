"""Watching heartbeats: for machines that cannot be asked, the only sign of death there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple

from orchestrator.study import atomic
from orchestrator.study.study import Study

PATIENCE: Final = 3.0
"""How many (heartbeat interval + :data:`SLACK`) a counter must stand still."""

SLACK: Final = 60.0
"""Seconds that a file system may take to show a write to other machines."""

Pulse = Literal["beats", "unsure", "still"]
"""A counter was seen to move; it did not move yet; it stood still for so long that nobody lives there."""


class _Seen(NamedTuple):
    """Counters as they were last seen to change, when that was, and whether they ever did."""

    beats: Mapping[str, tuple[int, int] | None]
    since: float
    moved: bool


class HeartbeatWatch:
    """Sees heartbeats stand still, by the observer's own monotonic clock; wall clocks are never compared.

    Tasks are watched together, as they were handed over: a process that looks after many tasks begins one when another
    has ended, and is dead when none of them moves.

    Parameters
    ----------
    study
        The study.
    interval
        Seconds between two beats.
    clock
        Seconds that never go back.

    Attributes
    ----------
    patience
        Seconds for which nothing may have moved.
    """

    def __init__(self, study: Study, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._study, self._clock = study, clock
        self.patience = PATIENCE * (interval + SLACK)
        self._seen: dict[str, _Seen] = {}

    def look(self, groups: Mapping[str, Collection[str]]) -> dict[str, Pulse]:
        """Look at the heartbeats of groups of tasks, and say of each group how it stands.

        A task that never began has no heartbeat; that it begins is a sign of life.
        """
        begun = frozenset(atomic.names(self._study.path / "tasks"))
        found: dict[str, Pulse] = {}
        for name, tasks in groups.items():
            beats = {task: self._study.heartbeat(task) if task in begun else None for task in tasks}
            before, now = self._seen.get(name), self._clock()
            if before is None:
                self._seen[name] = before = _Seen(beats, now, moved=False)
            elif any(beats[task] != before.beats.get(task, beats[task]) for task in tasks):
                self._seen[name] = before = _Seen(beats, now, moved=True)
            still = now - before.since >= self.patience
            found[name] = "still" if still else "beats" if before.moved else "unsure"
        return found
