"""One element of a scheduler's array: takes the array, trains its tasks side by side, and asks to be started again.

=====  ==================================================================================
TERM   workers write checkpoints and stop; the scheduler or the next plan starts them again
USR1   look at the chain now
USR2   the time slice ends, or the machine is wanted: checkpoints, then a requeue
=====  ==================================================================================

Its own clock ends the time slice as well: not every scheduler's warning comes.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator import units
from orchestrator.clusters import get_cluster
from orchestrator.clusters.base import Cluster, Here, environment
from orchestrator.clusters.batch import warning_lead
from orchestrator.clusters.local import worker_environments
from orchestrator.errors import UserError
from orchestrator.study.records import Submission
from orchestrator.study.study import Study
from orchestrator.worker.alarm import Alarm
from orchestrator.worker.log import LOG, to_stderr
from orchestrator.worker.pool import Ended, Pool
from orchestrator.worker.rest import Rest

NODE: Final = "ORCH_NODE"
"""Tells workers the scheduler's name of their machine."""

QUIET: Final = frozenset({"finished", "requeued", "interrupted", "cancelled", "superseded", "probed"})
"""Ends that nobody has to be told of."""

VISIBLE: Final = 120.0
"""Seconds that a file system may take to show a published entry to another machine."""

LOOK: Final = 30.0
"""Seconds between two looks at how many processes the kernel has killed."""

PATIENCE: Final = 600.0
"""Seconds to wait for a disk that takes no more."""

GRACE: Final = 120.0
"""Seconds for workers' last checkpoints after TERM; the scheduler's patience is usually shorter."""

TO_BE_ENDED: Final = 60.0
"""Seconds that a scheduler may take to end an element that it starts again."""

UNFINISHED: Final = frozenset({None, "requeued", "interrupted"})
"""Ends of a task after which an element that is started again goes on with it; others are for the next plan."""


def main(argv: Sequence[str]) -> int:
    """Serve one element of an array.

    Parameters
    ----------
    argv
        The study's folder, the number of the submission, and of its array.

    Returns
    -------
    int
        0, also if another job serves the array already; 2 if this process is no element of such a job.
    """
    alarm = Alarm()  # before anything that takes time
    to_stderr()
    os.environ.update(environment())  # before numerical libraries start threads: a copy of this process would lack them
    folder, n, array = argv
    study = Study(Path(folder))
    try:
        entry = _entry(study, int(n))
        cluster = get_cluster(entry.cluster, entry.scheduler)
    except UserError as error:
        LOG.error("%s", error)
        return 2
    here = cluster.here()
    if here is None:
        LOG.error("this process is no job of %s: hand its script to the scheduler", entry.scheduler)
        return 2
    os.environ[NODE] = here.node or socket.gethostname()
    if not study.take(entry.n, int(array), here.job_id):
        owner = study.owner(entry.n, int(array))
        LOG.info("%s: superseded: array %s of submission %s is served by job %s", here.key, array, n, owner)
        return 0
    Element(study, entry, int(array), cluster, here, alarm).serve()
    return 0


def _entry(study: Study, n: int) -> Submission:
    """Return an entry of the chain; on another machine it may take a while to be seen."""
    try:
        return study.submission(n)
    except UserError:
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

        again = Retrying(
            retry=retry_if_exception_type(UserError), stop=stop_after_delay(VISIBLE), wait=wait_fixed(1), reraise=True
        )
        return again(study.submission, n)


class Element:
    """Trains the tasks of one element with worker processes side by side.

    Parameters
    ----------
    study, entry, array
        What it serves.
    cluster, here
        The scheduler, and which of its elements this process is.
    alarm
        Wakes it.
    """

    def __init__(self, study: Study, entry: Submission, array: int, cluster: Cluster, here: Here, alarm: Alarm) -> None:
        self._study, self._entry, self._cluster, self._here, self._alarm = study, entry, cluster, here, alarm
        self._tasks = [spec.name for spec in entry.tasks_of(array, here.element)]
        from orchestrator.worker.fork import fork

        self._pool = Pool(study, here.key, slots(entry), fork)
        self._stopping = False
        self._kill_at: float | None = None
        self._requeued: list[str] = []

    def serve(self) -> None:
        """Train until every task has ended."""
        seconds = slice_seconds(self._entry)
        for slot, task in enumerate(filter(self._wanted, self._tasks)):
            self._start(task, slot, seconds)
        while self._pool.workers:
            self._wait()
        self._speak()
        if self._requeued and not self._stopping:
            self._start_again()

    def _start(self, task: str, slot: int, seconds: float | None) -> None:
        try:
            self._pool.start(task, slot, seconds=seconds)
        except OSError as error:
            LOG.error("task %s: its worker cannot be started: %s", task, error)
            self._testify(task, "node", f"its worker cannot be started: {error}")

    def _wanted(self, task: str) -> bool:
        logs = self._study.incarnations(task)
        return not logs or logs[-1].end in UNFINISHED

    def _wait(self) -> None:
        came = self._alarm.wait([time.monotonic() + LOOK, self._kill_at, *self._pool.deadlines()])
        if signal.SIGTERM in came and not self._stopping:
            self._stopping, self._kill_at = True, time.monotonic() + GRACE
            self._pool.tell(signal.SIGTERM)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            if number in came:
                self._pool.tell(number)
        self._pool.end_slices()
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._pool.tell(signal.SIGKILL)
            self._kill_at = None
        for ended in self._pool.reap():
            self._note(ended)
        self._pool.look()

    def _note(self, ended: Ended) -> None:
        if (
            ended.reason not in QUIET
        ):  # all elements of an array share a log: what their journals say need not stand there
            LOG.warning("%s: %s", self._here.key, ended)
        if ended.reason == "requeued":
            self._requeued.append(ended.task)
        elif ended.reason is None and not self._stopping:
            # Its neighbours may go on for hours: whoever plans meanwhile need not wait for the scheduler's word.
            how = f"signal {-ended.status}" if ended.status < 0 else f"exit status {ended.status}"
            self._testify(ended.task, "lost", f"its process died without a word: {how}")

    def _speak(self) -> None:
        """Wait for a disk that takes what is to be said of dead workers: unsaid, it would cost their runs a retry."""
        rest = Rest()
        while not (self._spoke() or self._stopping) and rest.lasts < PATIENCE:
            rest.trouble()
            self._stopping = signal.SIGTERM in self._alarm.wait([rest.until])

    def _spoke(self) -> bool:
        try:
            self._pool.speak()
        except (UserError, OSError) as error:
            LOG.error("what befell a worker cannot be written: %s", error)
            return False
        return True

    def _start_again(self) -> None:
        if self._cluster.requeue(self._here):
            deadline = time.monotonic() + TO_BE_ENDED
            while time.monotonic() < deadline and signal.SIGTERM not in self._alarm.wait([deadline]):
                pass
            return
        for task in self._requeued:
            self._testify(task, "timeout", "its time slice ended, and the scheduler refused to start it again")

    def _testify(self, task: str, reason: str, why: str) -> None:
        try:
            self._pool.testify(task, reason, why)
        except (UserError, OSError) as error:
            LOG.error("task %s: %s", task, error)


def slots(entry: Submission) -> list[dict[str, str]]:
    """Return the environment variables of the workers of one element: side by side, accelerators going round."""
    environments = worker_environments({**entry.resources, "workers": entry.per_job})
    if entry.resources.get("gpus"):
        return environments
    # A machine may show accelerators to jobs that did not ask for any.
    return [{**variables, "CUDA_VISIBLE_DEVICES": ""} for variables in environments]


def slice_seconds(entry: Submission) -> float | None:
    """Return after how many seconds workers are told that the slice ends; None without a time limit."""
    limit = entry.resources.get("time")
    if not limit:
        return None
    seconds = units.seconds(limit)
    return seconds - warning_lead(seconds)
