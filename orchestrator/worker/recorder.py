"""The recorder of a task: event files, checkpoints, verdicts, and the orders that come back.

In this order, so that a reader can believe what it finds: the lanes' events are appended and on the disk; then the
checkpoint that covers them is written aside, synced, published and journalled; verdicts come last.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from orchestrator.recorder import IntArray, Orders, Outcome, Snapshot
from orchestrator.study.history import NEVER
from orchestrator.study.incarnation import Incarnation
from orchestrator.study.study import Study
from orchestrator.worker import snapshots
from orchestrator.worker.events import EventFiles
from orchestrator.worker.failures import Failure, Unrecorded
from orchestrator.worker.heartbeat import Heartbeat
from orchestrator.worker.signals import Signals

FLUSH: Final = 30.0
"""Seconds after which events are appended even without a checkpoint."""

PROGRESS: Final = (1.0, 30.0)
"""Seconds between two records of progress: at first, and at most; each wait is half as long again as the last."""

CHECKPOINT_SHARE: Final = 0.05
"""The part of the time that checkpoints may take; where they would take more, they become rarer."""

PROBE_SECONDS: Final = 60.0
"""Seconds after which a probe has seen enough, however few steps it made."""


class TaskRecorder:
    """Records what happens to the lanes of one task. Lanes are indices among the task's runs.

    Parameters
    ----------
    study, incarnation
        Where it is recorded.
    signals, heartbeat
        Where orders come from.
    cadence
        Seconds between checkpoints.
    clock
        Seconds that never go back.
    probe
        After so many steps there is nothing more to learn, and the lanes are to stop; 0: train to the end.
    """

    def __init__(
        self,
        study: Study,
        incarnation: Incarnation,
        signals: Signals,
        heartbeat: Heartbeat,
        cadence: float,
        clock: Callable[[], float] = time.monotonic,
        probe: int = 0,
    ) -> None:
        self._incarnation, self._signals, self._heartbeat = incarnation, signals, heartbeat
        self._cadence, self._clock, self._probe = cadence, clock, probe
        task = incarnation.task
        self.events = EventFiles(lambda lane: study.event_file(task.runs[lane], task.n, task.name, incarnation.k))
        self._count = len(task.runs)
        self.begun = np.full(self._count, NEVER, np.int64)  # the step from which a lane began
        self.steps = np.full(self._count, NEVER, np.int64)  # the last step it told of
        self.saved = np.full(self._count, NEVER, np.int64)  # the step of its last checkpoint
        self.open = np.zeros(self._count, np.bool_)  # lanes that began and have neither verdict nor failure
        self.closed = np.zeros(self._count, np.bool_)  # lanes that have one
        self._closed_any = False  # of those that began here, not of what an earlier incarnation said
        self._told = self.steps.copy()
        self._started = self._checkpointed = self._flushed = self._progressed = clock()
        self._training: float | None = None  # since when lanes train
        self._cost = 0.0
        self._patience = PROGRESS[0]

    # --- what the worker says -----------------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether to stop: a signal came, all lanes are somebody else's, or a probe has seen enough."""
        return bool(self._signals.stop) or self._heartbeat.all_gone or self.probed

    @property
    def probed(self) -> bool:
        """Whether this is a probe that has seen enough."""
        if not self._probe or self._training is None:
            return False
        made = int((self.steps - np.maximum(self.begun, 0)).max())
        return made >= self._probe or self._clock() - self._training >= PROBE_SECONDS

    @property
    def progressed(self) -> bool:
        """Whether this incarnation got anything further: a verdict, or a checkpoint beyond where a lane began."""
        return self._closed_any or bool((self.saved > self.begun).any())

    def left(self, lanes: Iterable[int]) -> list[int]:
        """Return the lanes among ``lanes`` that still want training."""
        return [lane for lane in lanes if not self.closed[lane] and lane not in self._heartbeat.gone]

    def begin(self, lanes: Sequence[int], restored: Mapping[int, Snapshot]) -> None:
        """Begin lanes, or begin them again, at their snapshots or at the beginning."""
        steps = [int(restored[lane].steps[0]) if lane in restored else NEVER for lane in lanes]
        where = np.asarray(lanes, np.int64)
        with _disk():
            self._incarnation.write("restored", lanes=lanes, steps=steps)
        for lane, step in zip(lanes, steps, strict=True):
            self.events.begin(lane, step + 1)
        fresh = ~self.open[where]  # to begin again does not undo progress
        self.begun[where[fresh]] = np.asarray(steps)[fresh]
        for array in (self.steps, self.saved, self._told):
            array[where] = steps
        self.open[where] = True
        self._training = self._training or self._clock()
        # The time that came before (imports, compilation, another lane's training) is not this lane's.
        self._checkpointed = self._clock()

    def fail(self, lanes: Sequence[int], failure: Failure) -> None:
        """Record why lanes end without a verdict."""
        with _disk():
            self.events.flush(lanes)
            fields: dict[str, Any] = {"class": failure.kind}
            self._incarnation.write(
                "failed",
                lanes=lanes,
                message=failure.message,
                signature=failure.signature,
                traceback=failure.traceback,
                **fields,
            )
        self._close(np.asarray(lanes, np.int64))

    def flush(self) -> None:
        """Append all events, and tell of all progress."""
        with _disk():
            self.events.flush()
            self._flushed = self._clock()
            self._tell()

    # --- what a train loop says: orchestrator.recorder.Recorder -------------------------------------------------------

    def log(self, lanes: IntArray, steps: IntArray, tags: Sequence[str], values: npt.NDArray[Any]) -> None:
        """Keep events in memory; append them now and then."""
        self.events.add(lanes.tolist(), steps.tolist(), tags, values)
        self.steps[lanes] = np.maximum(self.steps[lanes], steps)
        now = self._clock()
        if self.events.full or now - self._flushed >= FLUSH:
            self.flush()
        if now - self._progressed >= self._patience:
            self._patience = min(1.5 * self._patience, PROGRESS[1])
            with _disk():
                self._tell()

    def orders(self) -> Orders:
        """Return what signals, other people's submissions and the clock demand. Asks neither disk nor kernel."""
        stop = self.stopping
        wait = max(self._cadence, self._cost / CHECKPOINT_SHARE)
        due = self._clock() - self._checkpointed >= wait
        return Orders(
            checkpoint=(due or stop) and not self._heartbeat.all_gone, stop=stop, cancelled=self._heartbeat.gone
        )

    def checkpoint(self, lanes: IntArray, snapshot: Snapshot) -> None:
        """Make the lanes' events durable, then publish the snapshot."""
        started = self._clock()
        if self._heartbeat.all_gone:
            return  # nobody would read it
        with _disk():
            self.events.flush(lanes.tolist(), durable=True)
            self._incarnation.checkpoint(lambda file: snapshots.write(file, snapshot), lanes, snapshot.steps)
        self.saved[lanes] = snapshot.steps
        self.steps[lanes] = np.maximum(self.steps[lanes], snapshot.steps)
        self._checkpointed = self._clock()
        self._cost = self._checkpointed - started

    def verdict(self, lanes: IntArray, outcome: Outcome, steps: IntArray) -> None:
        """Make the lanes' events durable, then journal the verdict."""
        with _disk():
            self.events.flush(lanes.tolist(), durable=True)
            self._incarnation.write("verdict", lanes=lanes, steps=steps, outcome=outcome)
        self._close(lanes)

    def _close(self, lanes: IntArray) -> None:
        self._closed_any |= bool(self.open[lanes].any())
        self.open[lanes], self.closed[lanes] = False, True
        self.events.close(lanes.tolist())

    def _tell(self) -> None:
        """Journal the steps that changed since the last time, of lanes that still train."""
        lanes = np.flatnonzero(self.open & (self.steps != self._told))
        self._progressed = self._clock()
        if len(lanes):
            elapsed = round(self._progressed - self._started, 3)
            self._incarnation.write("progress", lanes=lanes, steps=self.steps[lanes], elapsed=elapsed)
            self._told[lanes] = self.steps[lanes]


class Part:
    """A recorder for some lanes of a task, which the train loop counts from zero.

    Parameters
    ----------
    whole
        The task's recorder.
    lanes
        The task's lane of each of them.
    """

    def __init__(self, whole: TaskRecorder, lanes: Sequence[int]) -> None:
        self._whole, self._lanes = whole, np.asarray(lanes, np.int64)
        self._gone: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())

    def log(self, lanes: IntArray, steps: IntArray, tags: Sequence[str], values: npt.NDArray[Any]) -> None:
        """Record values; see :meth:`TaskRecorder.log`."""
        self._whole.log(self._lanes[lanes], steps, tags, values)

    def orders(self) -> Orders:
        """Return orders; see :meth:`TaskRecorder.orders`."""
        orders = self._whole.orders()
        if orders.cancelled is not self._gone[0]:
            own = frozenset(np.flatnonzero(np.isin(self._lanes, list(orders.cancelled))).tolist())
            self._gone = orders.cancelled, own
        return orders._replace(cancelled=self._gone[1])

    def checkpoint(self, lanes: IntArray, snapshot: Snapshot) -> None:
        """Keep a snapshot; see :meth:`TaskRecorder.checkpoint`."""
        self._whole.checkpoint(self._lanes[lanes], snapshot)

    def verdict(self, lanes: IntArray, outcome: Outcome, steps: IntArray) -> None:
        """Close lanes; see :meth:`TaskRecorder.verdict`."""
        self._whole.verdict(self._lanes[lanes], outcome, steps)


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """Tell trouble with the study's files from trouble in an experiment."""
    try:
        yield
    except OSError as error:
        raise Unrecorded(str(error)) from error
