"""What the outside says to a worker by signals.

===========  ===========================================================================================
USR2         the time slice ends: write a checkpoint, stop, and have the same task started again
TERM, INT    somebody wants the machine back: write a checkpoint if there is time, and stop
USR1         look at the chain now: something was ordered
===========  ===========================================================================================

A handler does nothing but note what came, so that no signal, and no second one, ever breaks off a write.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import Final, Literal

from orchestrator.clusters.base import SIGNALS

Stop = Literal["", "requeue", "exit"]

STOPS: Final[dict[int, Stop]] = {signal.SIGUSR2: "requeue", signal.SIGTERM: "exit", signal.SIGINT: "exit"}

_PR_SET_PDEATHSIG = 1


class Signals:
    """The signals of this process. Make one in the main thread, before anything slow is imported.

    Attributes
    ----------
    stop
        What the most urgent signal so far asked for; ``exit`` is never taken back by a later USR2.
    """

    def __init__(self) -> None:
        self.stop: Stop = ""
        self._masks = threading.local()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        for number in SIGNALS:
            signal.signal(number, self._note)
        # Whoever started us may have held signals back until there was somebody to take them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        # A child that user code forks inherits the handlers, and would survive its parent's terminate(). Python forgets
        # what reaches a child in its first moment: until the child has handlers of its own, signals wait in the kernel.
        os.register_at_fork(before=self._hold, after_in_parent=self._let_go, after_in_child=self._let_go_in_child)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.stop != "exit":
            self.stop = STOPS.get(number, self.stop)
        self.wake()

    def _hold(self) -> None:
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _let_go(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _let_go_in_child(self) -> None:
        for number in SIGNALS:
            if signal.getsignal(number) == self._note:  # user code may have put its own there
                signal.signal(number, signal.SIG_DFL)
        self._let_go()

    def wake(self) -> None:
        """Wake up whoever is in :meth:`wait`."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, at most so long. Returns whether one came since the last call; for one thread only."""
        ready = bool(select.select([self._reader], [], [], seconds)[0])
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._reader, 4096)
        return ready

    def follow(self, parent: int) -> None:
        """Receive TERM when the process ``parent``, which started this one, dies. Linux only; elsewhere nothing."""
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != parent:  # it died before we could say so
                self._note(signal.SIGTERM, None)
