"""The machine at hand: a job is a *steward*, a process of its own session that outlives the shell and feeds workers.

A study has one steward on a machine as long as there is work: another array is handed to the one that runs. A job's id
is ``<host>:<pid>:<start time>``, with ``/<n>.<array>`` behind it for every further array of the same process. The start
time, as the kernel counts it, tells a process from another one that was given the same number later.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.clusters.base import STEWARD, Evidence, Here, JobState, Limits, Part, held, python_command
from orchestrator.errors import UserError
from orchestrator.study.records import Job, Submission

if TYPE_CHECKING:
    from orchestrator.study.study import Study

PATIENCE: Final = 2.0
"""Seconds that a running steward has for taking another array, before a new one is started."""

_started: list[subprocess.Popen[bytes]] = []  # children of this process, so that their ends are noticed


class LocalCluster:
    """The machine at hand.

    Parameters
    ----------
    name
        The name in ``resources.cluster``.
    """

    kind = "local"

    def __init__(self, name: str = "local") -> None:
        self.name = name

    def submit(self, study: Study, submission: Submission, array: int) -> Job:
        """Hand an array to the study's steward on this machine, or start one.

        A steward needs no terminal and outlives this process; its output goes into the study.
        """
        owner = self._adopted(study, submission.n, array)
        if owner is not None:
            return self._job(study, submission.n, array, owner)
        folder = study.steward_dir(submission.n)
        code = study.code_dir(submission.code) if submission.code else None
        command = python_command(code, STEWARD, study.path, submission.n, array)
        try:
            with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as err, held():
                steward = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=study.path, start_new_session=True
                )
        except OSError as error:
            raise UserError(f"the steward of study {study.name!r} cannot be started: {error}") from error
        _started.append(steward)
        return self._job(study, submission.n, array, job_id(steward.pid))

    def _job(self, study: Study, n: int, array: int, identifier: str) -> Job:
        return Job(n, array, self.name, identifier, socket.gethostname(), {"study": str(study.path)})

    def _adopted(self, study: Study, n: int, array: int) -> str | None:
        """Ask a steward of this study that runs here to take an array; return its id for it, None if there is none."""
        jobs = [job for job in study.jobs() if job.cluster == self.name and _state(job.job_id) == "running"]
        if not jobs:
            return None
        for process in {_process(job.job_id) for job in jobs}:
            _send(process, signal.SIGUSR1)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            owner = study.owner(n, array)
            if owner is not None:
                return owner if _state(owner) == "running" else None
            time.sleep(0.01)
        return None  # it is about to end

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Look at the processes. Those of another machine are ``unknown``: it cannot be asked from here."""
        return {job.job_id: _state(job.job_id) for job in jobs}

    def cancel(self, parts: Sequence[Part]) -> None:
        """Ask stewards to end: their workers write checkpoints and stop.

        One that also serves other arrays, or other tasks of the array, is only told to look at the chain, where the
        order to cancel stands.
        """
        whole = {part.job.job_id for part in parts if part.elements is None}
        for job in {_process(part.job.job_id): part.job for part in parts}.values():
            process = _process(job.job_id)
            if _state(process) == "running":
                served = {other for other in _served(job) if _process(other) == process}
                _send(process, signal.SIGTERM if served <= whole else signal.SIGUSR1)

    def steward(self, study: Study, k: int, resources: Mapping[str, Any], after: Sequence[Job]) -> Job | None:  # noqa: ARG002
        """Return None: every job is a steward here."""
        return None

    def evidence(self, parts: Sequence[Part]) -> dict[str, Evidence]:  # noqa: ARG002
        """Return nothing: a steward that sees a worker die writes it into the study itself."""
        return {}

    def limits(self, resources: Mapping[str, Any]) -> Limits:  # noqa: ARG002
        """Return that there are none: one steward serves any number of tasks."""
        return Limits()

    def estimate(self, resources: Mapping[str, Any], elements: int) -> str | None:  # noqa: ARG002
        """Return None: work begins at once."""
        return None

    def here(self) -> Here | None:
        """Return None: a steward takes whole arrays."""
        return None

    def requeue(self, here: Here) -> bool:  # noqa: ARG002
        """Return False: a steward starts its tasks again itself."""
        return False


# --- processes --------------------------------------------------------------------------------------------------------


def job_id(pid: int) -> str:
    """Return the id of the job that a process of this machine is."""
    return f"{socket.gethostname()}:{pid}:{start_time(pid) or 0}"


def start_time(pid: int) -> str | None:
    """Return when a process started, in the kernel's own count; None if there is none, or it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    # The second field is the command in parentheses, which may hold anything; the state is the third field.
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZXx" else fields[18]


def _start_time_by_ps(pid: int) -> str | None:
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = found.stdout.strip().partition(" ")
    return "".join(filter(str.isalnum, started)) if state and not state.startswith("Z") else None


def _process(text: str) -> str:
    """Return a job's id without what tells the arrays of one process apart."""
    return text.partition("/")[0]


def _served(job: Job) -> set[str]:
    """Return the ids of all jobs of a job's study."""
    from orchestrator.study.study import Study

    return {other.job_id for other in Study(Path(job.extra["study"])).jobs()} if "study" in job.extra else {job.job_id}


def _parse(text: str) -> tuple[str, int, str] | None:
    host, pid, start = [*_process(text).rsplit(":", 2), "", ""][:3]
    return (host, int(pid), start) if pid.isdecimal() else None


def _state(text: str) -> JobState:
    found = _parse(text)
    if found is None or found[0] != socket.gethostname():
        return "unknown"
    for child in _started:
        child.poll()  # takes leave of children that ended
    return "running" if found[2] == start_time(found[1]) else "gone"


def _send(text: str, number: int) -> None:
    """Send a signal to the very process that an id names."""
    found = _parse(text)
    assert found is not None
    _, pid, start = found
    with contextlib.suppress(ProcessLookupError):
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, number)
            return
        descriptor = os.pidfd_open(pid)
        try:
            # The descriptor holds on to one process; only now is it certain which.
            if start_time(pid) == start:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


# --- how many workers -------------------------------------------------------------------------------------------------


def usable_cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: its affinity, and its cgroup's share of time rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(root))))


def _quota(root: Path) -> float:
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # noqa: PERF203  (two versions of cgroups)
            continue
    return math.inf


def usable_gpus() -> list[str]:
    """Return what may stand in ``CUDA_VISIBLE_DEVICES``, one entry per accelerator; none without NVIDIA's driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(index) for index, line in enumerate(filter(None, listed.stdout.splitlines())) if line.startswith("GPU")]


def worker_environments(resources: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one set of environment variables for each worker that runs side by side on this machine.

    Parameters
    ----------
    resources
        ``workers``: a number, or ``auto`` for one per core, or one per accelerator where the runs must compute there
        (``device: cuda``, or ``gpus`` above zero). Accelerators go round among the workers.
    """
    gpus = usable_gpus() if resources.get("device") != "cpu" else []
    asked, must = resources.get("workers", "auto"), resources.get("device") == "cuda" or resources.get("gpus")
    count = int(asked) if asked != "auto" else len(gpus) if gpus and must else usable_cores()
    return [{"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if gpus else {} for slot in range(count)]
