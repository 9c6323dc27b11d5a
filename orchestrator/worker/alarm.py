"""Waiting for signals and deadlines at once: for processes that look after others."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from types import FrameType

from orchestrator.clusters.base import SIGNALS


class Alarm:
    """Notes signals, and wakes whoever waits. Make one in the main thread.

    INT and HUP are ignored: they are meant for people's shells, and whoever wants this process to end sends TERM.

    Attributes
    ----------
    LISTENS
        The signals that are noted; SIGCHLD among them, so that a child's end wakes too.
    """

    LISTENS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self) -> None:
        self._came: set[int] = set()
        self._reader, self._writer = os.pipe()
        for descriptor in (self._reader, self._writer):
            os.set_blocking(descriptor, False)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for number in self.LISTENS:
            signal.signal(number, self._note)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._came.add(number)

    def wait(self, deadlines: Iterable[float | None]) -> set[int]:
        """Wait for a signal or the first deadline, and return the signals that came since the last call.

        Parameters
        ----------
        deadlines
            By the monotonic clock; None counts for nothing. Without any, only a signal ends the wait.
        """
        times = [at for at in deadlines if at is not None]
        patience = max(0.0, min(times) - time.monotonic()) if times else None
        if not self._came:
            select.select([self._reader], [], [], patience)
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        came, self._came = self._came, set()
        return came

    def silence(self) -> None:
        """Go back to what signals do by themselves: TERM ends this process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
