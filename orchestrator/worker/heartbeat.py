"""The thread that shows that a worker lives, and looks whether its runs are still its own."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from orchestrator.errors import UserError
from orchestrator.study.incarnation import Incarnation
from orchestrator.study.study import Study
from orchestrator.worker.log import LOG
from orchestrator.worker.signals import Signals
from orchestrator.worker.spent import spent

INTERVAL: Final = 5.0
"""Seconds between two beats, and between two looks at the chain."""

GRACE: Final = 60.0
"""Seconds that a worker has for leaving once all its runs are somebody else's; then it is ended the hard way."""


class Heartbeat(threading.Thread):
    """Beats, and keeps :attr:`gone` up to date.

    A thread, because user code may stay away from us for hours, and what it does then must neither look dead nor go on
    long after its runs were taken over.

    Parameters
    ----------
    study, incarnation
        Whose heart it is.
    signals
        A signal makes it look at once.
    leave
        Ends the process; called when it did not leave by itself.

    Attributes
    ----------
    gone
        Lanes that belong to a successor or are cancelled.
    """

    def __init__(
        self, study: Study, incarnation: Incarnation, signals: Signals, leave: Callable[[int], object] = os._exit
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._study, self._incarnation, self._signals, self._leave = study, incarnation, signals, leave
        self._runs = incarnation.task.runs
        self._ended = threading.Event()
        self._complained = ""
        self.gone: frozenset[int] = frozenset()
        self._attend: Callable[[], None] | None = None

    @property
    def all_gone(self) -> bool:
        """Whether no lane is left to this incarnation."""
        return len(self.gone) == len(self._runs)

    @contextlib.contextmanager
    def attending(self, attend: Callable[[], None]) -> Iterator[None]:
        """Call ``attend`` in this thread at every beat, and at once after a signal: for whoever cannot look itself."""
        self._attend = attend
        self._signals.wake()  # for what came before
        try:
            yield
        finally:
            self._attend = None

    def look(self) -> None:
        """Look at the chain. Call it once before :meth:`start`; afterwards the thread does."""
        try:
            self.gone = frozenset(self._study.superseded(self._incarnation, self._runs))
        except (OSError, UserError) as error:
            self._complain(error)

    def run(self) -> None:
        """Beat until :meth:`end`."""
        lonely_since: float | None = None
        while not self._ended.is_set():
            try:
                self._incarnation.beat()
            except OSError as error:
                self._complain(error)
            self.look()
            attend = self._attend
            if attend is not None:
                try:
                    attend()
                except Exception as error:  # noqa: BLE001  (without this thread nobody would hear an order to stop)
                    self._complain(error)
            if self.all_gone and lonely_since is None:
                lonely_since = time.monotonic()
            if lonely_since is not None and time.monotonic() - lonely_since > GRACE:
                with contextlib.suppress(OSError):
                    self._incarnation.write("end", reason="superseded", **spent())
                self._leave(0)
                return
            self._signals.wait(INTERVAL)

    def end(self) -> None:
        """Stop beating, if it began."""
        self._ended.set()
        self._signals.wake()
        if self.ident is not None:
            self.join()

    def _complain(self, error: Exception) -> None:
        """Say once what is wrong: a file system that is away for a while is no reason to stop training."""
        if str(error) != self._complained:
            self._complained = str(error)
            LOG.warning("heartbeat: %s", error)
