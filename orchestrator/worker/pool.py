"""Worker processes side by side, on this machine: a steward's, or those of one element of a scheduler's array."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from orchestrator.clusters.base import WORKER, environment, held, python_command
from orchestrator.errors import UserError
from orchestrator.study.study import Study
from orchestrator.worker.log import LOG

UNWRITTEN: Final = os.EX_IOERR
"""A worker's exit status if not even the reason of its end could be written."""


class Process(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None as long as it runs."""

    def poll(self) -> int | None:
        """Look whether it ended, and return its exit status then."""

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""


Launch = Callable[[Sequence[str], Path | None, Mapping[str, str]], Process]
"""Starts a worker: its arguments, the folder of its frozen sources, and environment variables."""


@dataclass
class Worker:
    """A running worker: its task, the slot it sits in, and when it is told that its time slice ends."""

    task: str
    slot: int
    process: Process
    ends: float | None = None


class Ended(NamedTuple):
    """How a worker ended.

    Parameters
    ----------
    task
        Its task.
    reason
        What its journal says, or what was testified in its stead; None if it died without a word.
    status
        The process's exit status; negative for a signal.
    """

    task: str
    reason: str | None
    status: int

    def __str__(self) -> str:
        how = f"signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
        return f"task {self.task}: {self.reason or f'died without a word, {how}'}"


class Pool:
    """Workers of one study.

    Parameters
    ----------
    study
        The study.
    job
        The scheduler's id of the job, or element, that this process is.
    slots
        One set of environment variables for each worker that may run at one time.
    launch
        :func:`execute`, or ``orchestrator.worker.fork.fork``.

    Attributes
    ----------
    workers
        Those that run.
    """

    def __init__(
        self, study: Study, job: str, slots: Sequence[Mapping[str, str]] = (), launch: Launch | None = None
    ) -> None:
        self.slots: Sequence[Mapping[str, str]] = list(slots)
        self.workers: list[Worker] = []
        self._study, self._job, self._launch = study, job, launch or execute
        self._oom_kills = oom_kills()
        self._unsaid: list[tuple[str, str, str]] = []
        self._own: dict[str, int] = {}  # by task: the last incarnation that this process may speak for

    @property
    def free(self) -> list[int]:
        """The slots in which no worker sits."""
        taken = {worker.slot for worker in self.workers}
        return [slot for slot in range(len(self.slots)) if slot not in taken]

    def start(self, task: str, slot: int, *, seconds: float | None = None) -> None:
        """Start a worker.

        Parameters
        ----------
        task
            The task it trains.
        slot
            A free slot.
        seconds
            After so long it is told that its time slice ends; None: never.
        """
        entry = self._study.submission(int(task.partition("-")[0]))
        code = self._study.code_dir(entry.code) if entry.code else None
        self._own[task] = (self._study.heartbeat(task) or (0, 0))[0]
        arguments = [str(self._study.path), task, self._job, str(os.getpid())]
        with held():  # a signal that comes before the worker can take it waits
            process = self._launch(arguments, code, self.slots[slot])
        self.workers.append(Worker(task, slot, process, None if seconds is None else time.monotonic() + seconds))

    def tell(self, number: int, workers: Iterable[Worker] | None = None) -> None:
        """Send a signal to workers; to all by default. One that has ended takes no harm."""
        for worker in list(self.workers if workers is None else workers):
            worker.process.send_signal(number)

    def deadlines(self) -> list[float | None]:
        """Return when slices end, by the monotonic clock."""
        return [worker.ends for worker in self.workers]

    def end_slices(self) -> None:
        """Tell the workers whose slice is over, once."""
        now = time.monotonic()
        for worker in self.workers:
            if worker.ends is not None and now >= worker.ends:
                worker.ends = None
                self.tell(signal.SIGUSR2, [worker])

    def reap(self) -> list[Ended]:
        """Take leave of workers that ended. A death by the kernel's hand for want of memory is testified."""
        found = []
        for worker in [worker for worker in self.workers if worker.process.poll() is not None]:
            self.workers.remove(worker)
            found.append(Ended(worker.task, self._reason(worker), worker.process.returncode or 0))
        return found

    def look(self) -> None:
        """Note how many processes the kernel has killed so far; call it while all is well."""
        self._oom_kills = oom_kills()

    def testify(self, task: str, reason: str, why: str = "") -> None:
        """Say why a worker ended that could not say it itself. Where the task was begun again since, that says nothing.

        The scheduler may have started this very element elsewhere: what befalls a copy that was cut off is no news of
        the one that lives.
        """
        self._study.testify(task, reason, after=self._own.get(task, 0), job=self._job, why=why)

    def speak(self) -> None:
        """Say what could not be said before.

        Raises
        ------
        OSError
            If it still cannot.
        """
        while self._unsaid:
            self.testify(*self._unsaid[0])
            del self._unsaid[0]

    def _reason(self, worker: Worker) -> str | None:
        reason = None
        try:
            # The reason that the worker itself gave for its end, if it came so far; nobody else's counts.
            reason = self._said(worker)
        except (UserError, OSError) as error:
            LOG.error("task %s: %s", worker.task, error)
        if reason is None:
            reason, why = self._seen(worker)
            if reason is not None:
                self._unsaid.append((worker.task, reason, why))
                try:
                    self.speak()
                except (UserError, OSError) as error:
                    LOG.error("task %s: %s", worker.task, error)
        return reason

    def _said(self, worker: Worker) -> str | None:
        """Return what a worker said of its end, and note which incarnation it was."""
        before, here = self._own[worker.task], socket.gethostname()
        for log in self._study.incarnations(worker.task):
            if log.k <= before:
                continue
            if log.begin.get("pid") == worker.process.pid and log.begin.get("host", here) == here:
                self._own[worker.task] = log.k
                return log.end
            if log.k == before + 1 and not log.begin:  # it died in its first moment
                self._own[worker.task] = log.k
        return None

    def _seen(self, worker: Worker) -> tuple[str | None, str]:
        """Return what can be seen from outside of a worker that did not say why it ended."""
        if worker.process.returncode == UNWRITTEN:
            return "disk", "the study's files could not be written"
        if worker.process.returncode == -signal.SIGKILL and oom_kills() > self._oom_kills:
            return "oom", "the kernel ended its process for want of memory"
        return None, ""


# --- starting ---------------------------------------------------------------------------------------------------------


def execute(arguments: Sequence[str], code: Path | None, variables: Mapping[str, str]) -> Process:
    """Start a worker from its own frozen sources, in an interpreter of its own."""
    command = python_command(code, WORKER, *arguments)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment(variables), cwd=arguments[0])


# --- want of memory ---------------------------------------------------------------------------------------------------


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processes the kernel has killed for want of memory: in this control group, or on the machine.

    On a machine that is shared, only the own control group tells our dead from others'. 0 where nobody says.
    """
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers in ("", "memory") or "memory" in controllers.split(","):
            name = "memory.events" if not controllers else "memory.oom_control"
            root = cgroups if not controllers else cgroups / "memory"
            count = _counter(root / path.lstrip("/") / name)
            if count is not None:
                return count
    return _counter(proc / "vmstat") or 0


def _counter(path: Path) -> int | None:
    for line in _lines(path):
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdecimal():
            return int(count)
    return None


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    return []
