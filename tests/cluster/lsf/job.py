"""What watches over a job on its node: its environment, output, signals, limits, and the word on how it ended."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.lsf.site import Site, key, mark, marked, note, slurm_key, spec_of, unmark

WATCHED = {
    signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGQUIT,
    signal.SIGCONT, signal.SIGALRM, signal.SIGURG,
}  # fmt: skip
LOOK = 0.5
"""Seconds between two looks at the memory."""

AFTER_LIMIT = 10
"""Minutes between USR2 at the run limit and the end."""

REPORT = """\
Sender: LSF System <lsfadmin@{host}>
Subject: Job {key}: <{name}> in cluster <lab> {how}

Job <{name}> was submitted from host <{host}> by user <root> in cluster <lab>.
{ending}

Resource usage summary:

    CPU time :                                   {cpu:.2f} sec.

The output (if any) follows:

"""


def main(folder: str) -> None:
    """Run a job's script."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    site = Site(Path(folder).parents[1])
    Watcher(site, Path(folder)).run()


class Watcher:
    """Runs one element."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder, self.spec = site, folder, spec_of(folder)
        self.job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ["SLURM_JOB_ID"]
        self.index = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
        self.host = os.environ["SLURMD_NODENAME"]
        self.spool = folder / f"{self.index}.out", folder / f"{self.index}.err"
        self.due: list[tuple[float, signal.Signals]] = []  # signals to be sent, by the clock
        self.why = ""
        self.told = False  # by Slurm, to end
        self.killed_before = oom_kills()

    def run(self) -> None:
        self.site.name_job(self.folder.name, self.job)
        unmark(self.folder, self.index, "end", "kill", "requeue")
        with self.spool[0].open("wb") as out, self.spool[1].open("wb") as err:
            process = self._start(out, err)
        note(self.folder, self.index, "start", host=self.host, pid=process.pid)
        self._limits()
        while process.poll() is None:
            self._step(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what the script left behind
        self._end(process.returncode)

    def _start(self, out: Any, err: Any) -> subprocess.Popen[bytes]:
        def prepare() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # if this watcher is killed, so is the job

        return subprocess.Popen(
            [self.folder / "script"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err if self.spec.get("errors") else out,
            env=self._environment(),
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509  (there is one thread)
        )

    def _environment(self) -> dict[str, str]:
        plain = {n: v for n, v in os.environ.items() if not n.startswith(("SLURM", "SBATCH", "LSB_"))}
        spec, slots, indices = self.spec, self.spec.get("slots", 1), self.spec["indices"]
        plain |= {
            "LSB_JOBID": self.job,
            "LSB_JOBINDEX": str(self.index),
            "LSB_JOBINDEX_END": str(max(indices, default=0)),
            "LSB_JOBINDEX_STEP": "1" if indices else "0",
            "LSB_JOBNAME": f"{spec['name']}[{self.index}]" if self.index else spec["name"],
            "LSB_HOSTS": " ".join([self.host] * slots),
            "LSB_MCPU_HOSTS": f"{self.host} {slots}",
            "LSB_QUEUE": spec["queue"],
            "LSB_OUTPUTFILE": spec.get("output", ""),
            "LSB_SUB_HOST": spec["from"],
            "LSB_JOBFILENAME": str(self.folder / "script"),
            "LSB_TRAPSIGS": "trap # 15 10 12 2 1",
            "LSB_EXIT_PRE_ABORT": "99",
            "LS_SUBCWD": spec["cwd"],
            "LS_JOBPID": str(os.getpid()),
        }
        return plain | {"PATH": os.pathsep.join([str(self.site.folder / "bin"), plain["PATH"]])}

    def _limits(self) -> None:
        limit, now, minute = self.spec.get("limit"), time.monotonic(), self.site.minute
        if limit is None:
            return
        at = now + limit * minute
        self.due.append((at, signal.SIGUSR2))
        if "warning" in self.spec and "warning_time" in self.spec:
            early = at - self.spec["warning_time"] * minute
            self.due.append((early, signal.Signals[f"SIG{self.spec['warning'].removeprefix('SIG')}"]))
        self._escalate(at + AFTER_LIMIT * minute)

    def _escalate(self, at: float) -> None:
        steps = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
        self.due += [(at + step * self.site.terminate_interval, number) for step, number in enumerate(steps)]

    def _step(self, process: subprocess.Popen[bytes]) -> None:
        now = time.monotonic()
        wait = max(0.0, min([LOOK, *(at - now for at, _ in self.due)]))
        came = signal.sigtimedwait(WATCHED, wait)
        number = came.si_signo if came else 0
        if number == signal.SIGINT and (asked := marked(self.folder, self.index, "kill")) and not self.why:
            self.why = asked  # by bkill, not by bkill -s INT
            self._escalate(time.monotonic())
        elif number not in (0, signal.SIGCHLD):
            self.told = self.told or number == signal.SIGTERM
            self._send(process, signal.Signals(number))
        now = time.monotonic()
        for at, due in sorted(entry for entry in self.due if entry[0] <= now):
            self.due.remove((at, due))
            if due == signal.SIGINT and not self.why:
                self.why = "TERM_RUNLIMIT"
            self._send(process, due)
        if oom_kills() > self.killed_before and not self.why:
            self.why = "TERM_MEMLIMIT"
            self._escalate(now)

    def _send(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        note(self.folder, self.index, "signal", name=number.name.removeprefix("SIG"))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def _end(self, status: int) -> None:
        code = 128 - status if status < 0 else status
        why = self.why or ("TERM_MEMLIMIT" if oom_kills() > self.killed_before else "")
        if marked(self.folder, self.index, "requeue") is not None:
            note(self.folder, self.index, "requeue", code=code)
            self._be_ended()
            sys.exit(0)
        if code in self.spec["requeue_codes"]:
            note(self.folder, self.index, "requeue", code=code)
            requeue(self.site, self.folder, self.job, self.index)
            self._be_ended()
            sys.exit(code)
        self._report(code, status)
        stat = "DONE" if code == 0 else "EXIT"
        note(self.folder, self.index, "end", code=code, status=status, why=why)
        end = {"stat": stat, "code": code, "why": why if code else "", "at": time.time(), "host": self.host}
        mark(self.folder, self.index, "end", json.dumps(end))
        sys.exit(code)

    def _be_ended(self) -> None:
        """Wait until Slurm, which will start this element again, ends it."""
        if not self.told:
            signal.sigtimedwait({signal.SIGTERM}, 30)

    def _report(self, code: int, status: int) -> None:
        """Let the output appear: only now, and below a report."""
        how = "Done" if code == 0 else "Exited"
        ending = "Successfully completed." if code == 0 else f"Exited with exit code {code}."
        if status < 0:
            ending = f"Exited by signal {-status}."
        text = REPORT.format(
            host=socket.gethostname(), key=key(self.job, self.index), name=self.spec["name"] or "job", how=how,
            ending=ending, cpu=time.process_time(),
        )  # fmt: skip
        for name, spool, head in (("output", self.spool[0], text), ("errors", self.spool[1], "")):
            if self.spec.get(name):
                file = self.spec[name].replace("%J", self.job).replace("%I", str(self.index))
                with (Path(self.spec["cwd"]) / file).open("w" if self.spec.get(f"{name}_anew") else "a") as out:
                    out.write(head + spool.read_text(errors="replace"))


def requeue(site: Site, folder: Path, job: str, index: int) -> None:
    """Have Slurm start an element again, whether or not it was submitted with ``-r``."""
    mark(folder, index, "requeue")
    unmark(folder, index, "end")
    site.slurm("scontrol", "update", f"jobid={slurm_key(job, index)}", "requeue=1", check=False)
    site.slurm("scontrol", "requeue", slurm_key(job, index), check=False)


def oom_kills() -> int:
    """Return how many processes of this job the kernel has killed for want of memory."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        group = next(line.split(":", 2)[2] for line in lines if line.split(":")[1] == "memory")
        # A step's own group counts what is killed in its tasks' groups only there: ask for the nearest.
        text = Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))
    return 0
