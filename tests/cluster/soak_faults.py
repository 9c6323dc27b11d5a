"""What can befall a study under fire: each fault is a function that finds a victim, or says that there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.cluster.matrix import send

if TYPE_CHECKING:
    from tests.cluster.soak import Soak


class Mend(NamedTuple):
    """How to end a fault that lasts, and after how many seconds."""

    after: float
    work: Callable[[], object]


Found = bool | Mend
"""What came of a fault: it found nobody whom it could befall, or it did its work; or it lasts until it is mended."""


def _worker_killed(soak: Soak) -> Found:
    pid = soak.worker()
    return bool(pid and not send(pid, signal.SIGKILL))


def _worker_suspended(soak: Soak) -> Found:
    pid = soak.worker()
    if not pid:
        return False
    send(pid, signal.SIGSTOP)
    return Mend(soak.chance.uniform(1, 12), lambda: send(pid, signal.SIGCONT))


def _out_of_memory(soak: Soak) -> Found:
    """Somebody takes the rest of a job's memory, and the kernel ends the worker that it likes least."""
    pid = soak.worker()
    group = memory_group(pid) if pid else None
    if group is None:
        return False
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        subprocess.run([sys.executable, "-c", EATER, str(pid), str(group)], timeout=30, capture_output=True)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True


EATER = """
import sys
from pathlib import Path

victim, group = Path("/proc", sys.argv[1], "stat"), Path(sys.argv[2])
most = int((group / "memory.limit_in_bytes").read_text()) >> 20
(group / "cgroup.procs").write_text("0")
held = []
while len(held) < most and victim.exists() and ") Z " not in victim.read_text():
    held.append(b"x" * 2**20)
"""
"""Eats memory in a control group until a process of it is dead."""


def memory_group(pid: int) -> Path | None:
    """Return the control group (version 1) that bounds a process' memory; None if nothing of a job's own does."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    names = [line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] == "memory"]
    group = Path(f"/sys/fs/cgroup/memory{names[0]}") if names and "slurm" in names[0] else None
    return group if group is not None and (group / "memory.limit_in_bytes").exists() else None


def _element_killed(soak: Soak) -> Found:
    pid = soak.one([pid for pid, workers in soak.processes().items() if workers])
    return bool(pid and not send(pid, signal.SIGKILL))


def _steward_killed(soak: Soak) -> Found:
    pid = soak.one(list(soak.processes("-steward")))
    return bool(pid and not send(pid, signal.SIGKILL))


def _cancelled_from_outside(soak: Soak) -> Found:
    name = soak.element()
    if name and soak.chance.random() < 0.3:
        name = name.partition("_")[0]  # the whole array
    return soak.ordered(name, "scancel", name)


def _requeued(soak: Soak) -> Found:
    name = soak.element("RUNNING")
    return soak.ordered(name, "scontrol", "requeue", name)


def _slice_ends(soak: Soak) -> Found:
    """Twice in a row, as it may happen."""
    name = soak.element("RUNNING")
    return all(soak.ordered(name, "scancel", "-b", "--signal=USR2", name) for _ in range(2))


def _job_suspended(soak: Soak) -> Found:
    name = soak.element("RUNNING")
    if not name:
        return False
    soak.slurm("scontrol", "suspend", name)
    return Mend(soak.chance.uniform(3, 10), lambda: soak.slurm("scontrol", "resume", name))


def _preempted(soak: Soak) -> Found:
    node = None if "slurmctld" in soak.away else soak.node()
    words = ("--partition=high", f"--nodelist={node}", "--exclusive", "--mem=0", "--time=1", "--output=/dev/null")
    return soak.ordered(node, "sbatch", *words, input="#!/bin/sh\nsleep 1\n")  # it comes when there is room


def _node_cut_off(soak: Soak) -> Found:
    """Its daemons die, its jobs go on, and nobody hears of them; it comes back before or after it was given up."""
    node = soak.node()
    if not node:
        return False
    soak.away.add(node)
    soak.lab.kill_node(node, jobs=True)
    return Mend(soak.chance.uniform(1, 15), lambda: _back(soak, node))


def _node_daemon_restarted(soak: Soak) -> Found:
    node = soak.node()
    if not node:
        return False
    soak.away.add(node)
    soak.lab.kill_node(node)
    return Mend(soak.chance.uniform(0.5, 3), lambda: _back(soak, node))


def _back(soak: Soak, node: str) -> None:
    soak.lab.start_node(node)
    soak.away.discard(node)


def _controller_killed(soak: Soak) -> Found:
    """What it has not written down yet it forgets, jobs included."""
    if "slurmctld" in soak.away:
        return False
    soak.away.add("slurmctld")
    soak.lab.kill_controller()

    def back() -> None:
        soak.lab.start_controller()
        soak.away.discard("slurmctld")

    return Mend(soak.chance.uniform(0.5, 4), back)


def _accounting_killed(soak: Soak) -> Found:
    if not soak.lab.accounting or "slurmdbd" in soak.away:
        return False
    soak.away.add("slurmdbd")
    soak.lab.kill_accounting()

    def back() -> None:
        soak.lab.start_accounting()
        soak.away.discard("slurmdbd")

    return Mend(soak.chance.uniform(1, 10), back)


def _client_killed(soak: Soak) -> Found:
    soak.submit(kill_after=soak.chance.uniform(0.2, 3))
    return True


def _two_clients(soak: Soak) -> Found:
    for _ in range(2):
        soak.submit()
    return True


def _cancelled_by_order(soak: Soak) -> Found:
    """Some runs are cancelled; the next submission takes them up again."""
    if not (soak.project.folder / "runs/walk/submissions/1.json").exists():
        return False
    first = soak.chance.randrange(soak.project.count_of_runs)
    soak.start("cancel", "walk", f"seed={first}..{first + 3}", "--yes")
    return True


def _disk_full(soak: Soak) -> Found:
    """The file system of the study is cut to what is used of it."""
    root = soak.project.folder / "runs"
    if not root.is_mount() or "disk" in soak.away:
        return False
    stat = os.statvfs(root)
    used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    if not used or subprocess.run(["mount", "-o", f"remount,size={used}", root], capture_output=True).returncode != 0:
        return False  # there is nothing yet (and no size means no bound), or it grew meanwhile
    soak.away.add("disk")

    def room() -> None:
        subprocess.run(["mount", "-o", "remount,size=512m", root], check=True)
        soak.away.discard("disk")

    return Mend(soak.chance.uniform(0.5, 3), room)


FAULTS: dict[str, Callable[[Soak], Found]] = {
    "a worker is killed": _worker_killed,
    "a worker is suspended": _worker_suspended,
    "a worker wants memory": _out_of_memory,
    "an element is killed": _element_killed,
    "a steward is killed": _steward_killed,
    "scancel": _cancelled_from_outside,
    "scontrol requeue": _requeued,
    "scontrol suspend": _job_suspended,
    "the slice ends, twice": _slice_ends,
    "preemption": _preempted,
    "a node is cut off": _node_cut_off,
    "slurmd is restarted": _node_daemon_restarted,
    "slurmctld is killed": _controller_killed,
    "slurmdbd is killed": _accounting_killed,
    "the client is killed": _client_killed,
    "two clients at once": _two_clients,
    "orch cancel": _cancelled_by_order,
    "the disk is full": _disk_full,
}
"""What can happen, each in a function that finds a victim or says that there is none."""


def small_disk(path: Path) -> bool:
    """Give a folder a file system of its own, if that is allowed here."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(path)]
    return sys.platform == "linux" and subprocess.run(command, capture_output=True).returncode == 0
