"""Growing pauses after trouble with a machine or its disks, so that a bad minute costs a few tries and not all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FIRST: Final = 1.0
LONGEST: Final = 60.0
"""Seconds of the first pause, and at most; each is twice as long as the last."""


class Rest:
    """When to try again. Trouble that is told of during a pause is the same trouble.

    Parameters
    ----------
    clock
        Seconds that never go back.

    Attributes
    ----------
    until
        By that clock; None: no pause.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.until: float | None = None
        self._clock = clock
        self._pause = 0.0
        self._since: float | None = None

    @property
    def on(self) -> bool:
        """Whether it is too early to try again."""
        return self.until is not None and self._clock() < self.until

    @property
    def lasts(self) -> float:
        """Seconds since the trouble began; 0 where there is none."""
        return 0.0 if self._since is None else self._clock() - self._since

    def trouble(self) -> None:
        """Note that something failed: wait, longer than the last time."""
        if self.on:
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        self._pause = min(max(FIRST, 2 * self._pause), LONGEST)
        self.until = now + self._pause

    def well(self) -> None:
        """Note that something went well: the trouble is over."""
        self.until, self._pause, self._since = None, 0.0, None
