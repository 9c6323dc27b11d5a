"""The machine at hand: a job is a *steward*, a process of its own session that outlives the shell and feeds workers.

A job's id is ``<host>:<pid>:<start time>``. The start time, as the kernel counts it, tells a process from another one
that was given the same number later.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.clusters.base import JobState, Limits, python_command
from orchestrator.errors import UserError
from orchestrator.study.records import Job, Submission

if TYPE_CHECKING:
    from orchestrator.study.study import Study

STEWARD: Final = "orchestrator.steward:main"

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
        """Start a steward for one array. It ignores the terminal; its output goes into the study."""
        folder = study.steward_dir(submission.n)
        code = study.code_dir(submission.code) if submission.code else None
        command = python_command(code, STEWARD, study.path, submission.n, array)
        try:
            with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as err:
                steward = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=study.path, start_new_session=True
                )
        except OSError as error:
            raise UserError(f"the steward of study {study.name!r} cannot be started: {error}") from error
        _started.append(steward)
        return Job(submission.n, array, self.name, job_id(steward.pid), socket.gethostname())

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Look at the processes. Those of another machine are ``unknown``: it cannot be asked from here."""
        return {job.job_id: _state(job.job_id) for job in jobs}

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Ask stewards to end: their workers write checkpoints and stop."""
        for job in jobs:
            if _state(job.job_id) == "running":
                _terminate(job.job_id)

    def limits(self) -> Limits:
        """Return that there are none: one steward serves any number of tasks."""
        return Limits()


# --- processes --------------------------------------------------------------------------------------------------------


class _Id(NamedTuple):
    host: str
    pid: int
    start: str


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


def _parse(text: str) -> _Id | None:
    host, pid, start = [*text.rsplit(":", 2), "", ""][:3]
    return _Id(host, int(pid), start) if pid.isdecimal() else None


def _state(text: str) -> JobState:
    found = _parse(text)
    if found is None or found.host != socket.gethostname():
        return "unknown"
    for child in _started:
        child.poll()  # takes leave of children that ended
    return "running" if found.start == start_time(found.pid) else "gone"


def _terminate(text: str) -> None:
    found = _parse(text)
    assert found is not None
    if not hasattr(os, "pidfd_open"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
        return
    try:
        descriptor = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor holds on to one process; only now is it certain which.
        if start_time(found.pid) == found.start:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    finally:
        os.close(descriptor)


# --- how many workers -------------------------------------------------------------------------------------------------


def usable_cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many cores this process may use: its affinity, and its cgroup's share of time rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_quota(root))))


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
