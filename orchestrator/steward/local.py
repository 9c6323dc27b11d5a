"""The steward: keeps this machine's workers busy until a study's runs are done, tries again, and exports in the end.

It waits for the ends of processes and for signals, and looks at the chain once in a while. To the submission procedure
it is a cluster: what it plans anew is handed over to itself.

=====  ==================================================================================
TERM   workers write checkpoints and stop; then it ends, and nothing is tried again
USR1   look at the chain now
USR2   the time slice ends: workers write checkpoints, and their tasks are started again
=====  ==================================================================================
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator import submit, units
from orchestrator.clusters import get_cluster
from orchestrator.clusters.base import Cluster, Evidence, Here, JobState, Limits, Part
from orchestrator.clusters.local import LocalCluster, job_id, worker_environments
from orchestrator.errors import UserError
from orchestrator.liveness import Unread, busy
from orchestrator.steward.finish import finish
from orchestrator.study.records import Job, Submission
from orchestrator.study.study import Study
from orchestrator.worker.alarm import Alarm
from orchestrator.worker.log import LOG, to_stderr
from orchestrator.worker.pool import Pool
from orchestrator.worker.rest import Rest

LOOK: Final = 1.0
"""Seconds between two looks at the chain."""

PATIENCE: Final = 1800.0
"""Seconds of trouble, without a word of anything that went well, after which the rest is left to people."""

TROUBLE: Final = frozenset({"disk", "node"})
"""Ends of workers that others would come to as well, if they were started at once."""

GRACE: Final = 60.0
"""Seconds that workers have for their last checkpoint after TERM."""


def main(argv: Sequence[str]) -> int:
    """Serve an array of a submission.

    Parameters
    ----------
    argv
        The study's folder, the number of the submission, and of its array.

    Returns
    -------
    int
        0, also if somebody else serves the array already.
    """
    to_stderr()
    folder, n, array = argv
    study = Study(Path(folder))
    steward = Steward(study)
    if not steward.take(study.submission(int(n)), int(array)):
        LOG.info("superseded: array %s of submission %s is served by %s", array, n, study.owner(int(n), int(array)))
        return 0
    steward.serve()
    if not steward.stopping:
        finish(study)
    return 0


class Steward:
    """Serves arrays of one study with worker processes side by side.

    Parameters
    ----------
    study
        The study.

    Attributes
    ----------
    stopping
        Whether somebody asked it to end.
    """

    kind = "local"

    def __init__(self, study: Study) -> None:
        self.name = "local"
        self.stopping = False
        self._study, self._id = study, job_id(os.getpid())
        self._arrays: dict[str, tuple[Submission, int]] = {}  # by job id
        self._queue: deque[str] = deque()
        self._pool = Pool(study, self._id)
        self._seen = 0  # the last entry of the chain that was looked at
        self._planned = True  # nothing has ended since the last plan
        self._looked = time.monotonic()
        self._kill_at: float | None = None
        self._alarm = Alarm()
        self._rest = Rest()

    # --- as a cluster: orchestrator.clusters.base.Cluster -------------------------------------------------------------

    def submit(self, study: Study, submission: Submission, array: int) -> Job:
        """Take an array that this steward itself planned, or that a command left behind."""
        del study
        self.take(submission, array)
        owner = self._study.owner(submission.n, array) or self._id
        return Job(submission.n, array, self.name, owner, socket.gethostname(), {"study": str(self._study.path)})

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Answer task by task for this steward's own arrays; the tasks of others live as long as their steward."""
        states = LocalCluster(self.name).poll([job for job in jobs if job.job_id not in self._arrays])
        running = {worker.task for worker in self._pool.workers}
        for job in jobs:
            if job.job_id in self._arrays:
                entry, array = self._arrays[job.job_id]
                for index, spec in enumerate(entry.tasks_of(array)):
                    here: JobState = "pending" if spec.name in self._queue else "gone"
                    states[job.element(index)] = "running" if spec.name in running else here
        return states

    def cancel(self, parts: Sequence[Part]) -> None:
        """End other stewards' jobs; its own are ended by the order in the chain."""
        LocalCluster(self.name).cancel([part for part in parts if part.job.job_id not in self._arrays])

    def limits(self, resources: Mapping[str, Any]) -> Limits:  # noqa: ARG002
        """Return that there are none."""
        return Limits()

    def steward(self, study: Study, k: int, resources: Mapping[str, Any], after: Sequence[Job]) -> None:
        """Leave nobody: this is the steward."""

    def evidence(self, parts: Sequence[Part]) -> dict[str, Evidence]:  # noqa: ARG002
        """Return nothing: what it sees it writes into the study."""
        return {}

    def estimate(self, resources: Mapping[str, Any], elements: int) -> None:
        """Return None: work begins at once."""

    def here(self) -> Here | None:
        """Return None: it takes whole arrays."""
        return None

    def requeue(self, here: Here) -> bool:  # noqa: ARG002
        """Return False: it starts tasks again itself."""
        return False

    # --- work ---------------------------------------------------------------------------------------------------------

    def take(self, submission: Submission, array: int) -> bool:
        """Take an array, unless somebody else has it, and queue its tasks. Returns whether it is this steward's."""
        first = not self._arrays
        identifier = self._id if first else f"{self._id}/{submission.n}.{array}"
        if not self._study.take(submission.n, array, identifier):
            return False
        if first:
            self._pool.slots = worker_environments(submission.resources)
            self._seen = submission.n
        self._arrays[identifier] = (submission, array)
        self._queue.extend(spec.name for spec in submission.tasks_of(array))
        return True

    def serve(self) -> None:
        """Train until nothing is left to do, or TERM."""
        LOG.info("%d tasks, %d workers", len(self._queue), len(self._pool.slots))
        while True:
            for slot in self._pool.free:
                if self._queue and not self._rest.on:
                    self._start(slot)
            if self._pool.free and not (self._planned or self.stopping or self._rest.on):
                self._plan_again()
            elif not self._pool.workers and not self._queue and (self._planned or self.stopping):
                break
            else:
                self._wait()
        self._alarm.silence()  # the export needs no last words: TERM ends it, and nobody is told anything else

    def _start(self, slot: int) -> None:
        task = self._queue[0]
        try:
            time_slice = self._study.submission(int(task.partition("-")[0])).resources.get("time")
            self._pool.start(task, slot, seconds=units.seconds(time_slice) if time_slice else None)
        except (UserError, OSError) as error:
            LOG.error("task %s: its worker cannot be started: %s", task, error)
            self._trouble()
            return
        self._queue.popleft()

    def _trouble(self) -> None:
        """Leave the machine and its disks alone for a while; if that does not help, leave the rest to people."""
        self._rest.trouble()
        if self._rest.lasts > PATIENCE:
            LOG.error("this goes on for too long: what is left waits for the next `orch submit`")
            self._queue.clear()
            self._planned = True

    def _wait(self) -> None:
        """Wait until a process ends, a signal comes, or it is time to look; then do what that asks for."""
        rest = self._rest.until if self._rest.on else None
        came = self._alarm.wait([self._looked + LOOK, self._kill_at, rest, *self._pool.deadlines()])
        if signal.SIGTERM in came:
            self._stop()
        if signal.SIGUSR2 in came:
            self._pool.tell(signal.SIGUSR2)
        ended = self._pool.reap()
        for worker in ended:
            LOG.info("%s", worker)
            if worker.reason in TROUBLE:
                self._trouble()
            else:
                self._rest.well()
        if ended:
            self._planned = False
        self._queue.extend(worker.task for worker in ended if worker.reason == "requeued" and not self.stopping)
        self._pool.end_slices()
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at:
            self._pool.tell(signal.SIGKILL)
            self._kill_at = None
        if ended or signal.SIGUSR1 in came or now >= self._looked + LOOK:  # before anything new is started
            self._looked = now
            self._pool.look()
            try:
                self._look()
            except (UserError, OSError) as error:
                LOG.error("cannot look at the chain: %s", error)

    def _stop(self) -> None:
        if not self.stopping:
            LOG.info("asked to end")
            self.stopping = True
            self._queue.clear()
            self._kill_at = time.monotonic() + GRACE
            self._pool.tell(signal.SIGTERM)

    def _look(self) -> None:
        """Look at the chain: take what was submitted since, drop what was cancelled or has another owner."""
        new = [entry for entry in self._study.chain() if entry.n > self._seen]
        if not new or self.stopping:
            return
        for entry in new:
            self._seen = entry.n
            for array in range(len(entry.arrays) if entry.cluster == self.name else 0):
                if self._study.owner(entry.n, array) is None and self.take(entry, array):
                    LOG.info("submission %d, array %d", entry.n, array)
        if self._queue:
            wanted = busy(self._study.history())
            self._queue = deque(task for task in self._queue if task in wanted)
        self._pool.tell(signal.SIGUSR1)

    def _plan_again(self) -> None:
        """Take up what ended unfinished and may be tried again."""
        self._planned = True
        try:
            self._pool.speak()
            result = submit.advance(self._study, self, self._find)
        except (UserError, OSError) as error:
            LOG.error("cannot plan again: %s", error)
            if isinstance(error, (OSError, Unread)):
                self._planned = False
                self._trouble()
            return
        for entry in result.published:
            LOG.info("submission %d: %d tasks to try again", entry.n, len(entry.tasks))

    def _find(self, name: str) -> Cluster:
        return self if name == self.name else get_cluster(name)
