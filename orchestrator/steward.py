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

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from orchestrator import submit, units
from orchestrator.clusters import get_cluster
from orchestrator.clusters.base import SIGNALS, WORKER, Cluster, JobState, Limits, environment, held, python_command
from orchestrator.clusters.local import LocalCluster, job_id, worker_environments
from orchestrator.errors import UserError
from orchestrator.states import FailureClass
from orchestrator.study.records import Job, Submission, TaskSpec
from orchestrator.study.study import Study
from orchestrator.worker.log import LOG, to_stderr

LOOK: Final = 1.0
"""Seconds between two looks at the chain."""

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


@dataclass
class _Worker:
    """A running worker: its task, the slot it sits in, and when it is told that its time slice ends."""

    task: str
    slot: int
    process: subprocess.Popen[bytes]
    ends: float | None = None


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
        self._workers: list[_Worker] = []
        self._slots: list[dict[str, str]] = []
        self._seen = 0  # the last entry of the chain that was looked at
        self._planned = True  # nothing has ended since the last plan
        self._looked = time.monotonic()
        self._kill_at: float | None = None
        self._oom_kills = oom_kills()
        self._signals: set[int] = set()
        self._reader, writer = os.pipe()
        for descriptor in (self._reader, writer):
            os.set_blocking(descriptor, False)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._note)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

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
        running = {worker.task for worker in self._workers}
        for job in jobs:
            if job.job_id in self._arrays:
                for index, spec in enumerate(self._specs(*self._arrays[job.job_id])):
                    here: JobState = "pending" if spec.name in self._queue else "gone"
                    states[job.element(index)] = "running" if spec.name in running else here
        return states

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End other stewards' jobs; its own are ended by the order in the chain."""
        LocalCluster(self.name).cancel([job for job in jobs if job.job_id not in self._arrays])

    def limits(self) -> Limits:
        """Return that there are none."""
        return Limits()

    # --- work ---------------------------------------------------------------------------------------------------------

    def take(self, submission: Submission, array: int) -> bool:
        """Take an array, unless somebody else has it, and queue its tasks. Returns whether it is this steward's."""
        first = not self._arrays
        identifier = self._id if first else f"{self._id}/{submission.n}.{array}"
        if not self._study.take(submission.n, array, identifier):
            return False
        if first:
            self._slots = worker_environments(submission.resources)
            self._seen = submission.n
        self._arrays[identifier] = (submission, array)
        self._queue.extend(spec.name for spec in self._specs(submission, array))
        return True

    def serve(self) -> None:
        """Train until nothing is left to do, or TERM."""
        LOG.info("%d tasks, %d workers", len(self._queue), len(self._slots))
        while True:
            self._start_workers()
            if len(self._workers) < len(self._slots) and not self._planned and not self.stopping:
                self._plan_again()
            elif not self._workers and not self._queue:
                break
            else:
                self._wait()
        # The export needs no last words: TERM ends it, and nobody is told anything else.
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.add(number)

    def _specs(self, submission: Submission, array: int) -> tuple[TaskSpec, ...]:
        return submission.tasks[slice(*submission.arrays[array])]

    def _start_workers(self) -> None:
        taken = {worker.slot for worker in self._workers}
        for slot, variables in enumerate(self._slots):
            if slot not in taken and self._queue:
                self._start(self._queue.popleft(), slot, variables)

    def _start(self, task: str, slot: int, variables: dict[str, str]) -> None:
        entry = self._study.submission(int(task.partition("-")[0]))
        code = self._study.code_dir(entry.code) if entry.code else None
        command = python_command(code, WORKER, self._study.path, task, self._id, os.getpid())
        time_slice = entry.resources.get("time")
        with held():  # a signal that comes before the worker can take it waits
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=environment(variables), cwd=self._study.path
            )
        ends = time.monotonic() + units.seconds(time_slice) if time_slice else None
        self._workers.append(_Worker(task, slot, process, ends))

    def _wait(self) -> None:
        """Wait until a process ends, a signal comes, or it is time to look; then do what that asks for."""
        now = time.monotonic()
        times = [self._looked + LOOK, self._kill_at, *(worker.ends for worker in self._workers)]
        select.select([self._reader], [], [], max(0.0, min(at for at in times if at is not None) - now))
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        came, self._signals = self._signals, set()
        if signal.SIGTERM in came:
            self._stop()
        if signal.SIGUSR2 in came:
            self._tell(self._workers, signal.SIGUSR2)
        ended = self._reap()
        now = time.monotonic()
        for worker in self._workers:
            if worker.ends is not None and now >= worker.ends:
                worker.ends = None
                self._tell([worker], signal.SIGUSR2)
        if self._kill_at is not None and now >= self._kill_at:
            self._tell(self._workers, signal.SIGKILL)
            self._kill_at = None
        if ended or signal.SIGUSR1 in came or now >= self._looked + LOOK:  # before anything new is started
            self._looked, self._oom_kills = now, oom_kills()
            try:
                self._look()
            except (UserError, OSError) as error:
                LOG.error("cannot look at the chain: %s", error)

    def _reap(self) -> bool:
        """Take leave of workers that ended. Returns whether there were any."""
        ended = [worker for worker in self._workers if worker.process.poll() is not None]
        for worker in ended:
            self._workers.remove(worker)
            self._planned = False
            status, reason = worker.process.returncode, None
            try:
                reason = self._last_word(worker)
                if reason is None and status == -signal.SIGKILL and oom_kills() > self._oom_kills:
                    reason = self._speak_for(worker.task, "oom")
            except (UserError, OSError) as error:
                LOG.error("task %s: %s", worker.task, error)
            LOG.info("task %s: %s", worker.task, reason or f"died, exit status {status}")
            if reason == "requeued" and not self.stopping:
                self._queue.append(worker.task)
        return bool(ended)

    def _last_word(self, worker: _Worker) -> str | None:
        """Return the reason that a worker gave for its end, if it came so far; its predecessors' do not count."""
        logs = self._study.incarnations(worker.task)
        return logs[-1].end if logs and logs[-1].begin.get("pid") == worker.process.pid else None

    def _speak_for(self, task: str, reason: FailureClass) -> str:
        """Say why a worker ended that could not: in an incarnation of its own, for a journal has one writer."""
        incarnation = self._study.begin(task)
        incarnation.write("begin", host=socket.gethostname(), pid=os.getpid(), job=self._id)
        incarnation.write("end", reason=reason)
        incarnation.close()
        return reason

    def _stop(self) -> None:
        if not self.stopping:
            LOG.info("asked to end")
            self.stopping = True
            self._queue.clear()
            self._kill_at = time.monotonic() + GRACE
            self._tell(self._workers, signal.SIGTERM)

    def _tell(self, workers: Sequence[_Worker], number: int) -> None:
        for worker in workers:
            worker.process.send_signal(number)  # does nothing to a process that was waited for

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
            wanted = {
                record.task
                for record in self._study.history().runs.values()
                if record.outcome is None and not record.cancelled
            }
            self._queue = deque(task for task in self._queue if task in wanted)
        self._tell(self._workers, signal.SIGUSR1)

    def _plan_again(self) -> None:
        """Take up what ended unfinished and may be tried again."""
        self._planned = True
        try:
            result = submit.advance(self._study, self, self._find)
        except (UserError, OSError) as error:
            LOG.error("cannot plan again: %s", error)
            return
        for entry in result.published:
            LOG.info("submission %d: %d tasks to try again", entry.n, len(entry.tasks))

    def _find(self, name: str) -> Cluster:
        return self if name == self.name else get_cluster(name)


def oom_kills(path: Path = Path("/proc/vmstat")) -> int:
    """Return how many processes this machine's kernel has killed for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def finish(study: Study) -> None:
    """Export the tables and draw the figures. What goes wrong is told and changes no result."""
    generation = study.generation()
    history = study.history()
    if generation is None or not any(record.outcome for record in history.runs.values()):
        return
    try:
        from export.figures import draw
        from export.tables import export_study

        export_study(study)
        LOG.info("tables are in %s", study.tables)
        if generation.info.get("figures"):
            for path in draw(study):
                LOG.info("figure %s", path)
    except UserError as error:
        LOG.error("%s", error)
    except Exception:  # noqa: BLE001  (it is logged with its traceback)
        LOG.exception("the export failed; `orch export %s` tries again", study.name)
