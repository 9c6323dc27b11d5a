"""A private Slurm on this machine: real daemons on loopback that tests start, stop, break and throw away.

Several ``slurmd`` on one host stand for several machines. Nothing outside the lab's folder is touched, except for the
control groups that its nodes make, which go with it. Two labs never share a port, a node's name or a control group.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PORTS = range(20_000, 26_000, 50)
"""Where labs look for ports: below what the system gives to outgoing connections."""

DAEMONS = ("slurmctld", "slurmd")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb", "sacctmgr")
CLIENTS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "setpriv")
GPU_TYPE = "a100"


def missing(*, accounting: bool = False) -> str | None:
    """Say why there can be no lab on this machine; None: there can."""
    lacking = [name for name in DAEMONS + CLIENTS + ACCOUNTING * accounting if shutil.which(name, path=_path()) is None]
    if lacking:
        return f"a private Slurm needs {', '.join(lacking)} (tools/debian.sh slurm installs them)"
    if os.geteuid() != 0:
        return "a private Slurm must be started by root: its node daemons start other people's processes"
    return None


class Lab:
    """A Slurm of one's own.

    Parameters
    ----------
    folder
        Holds everything that it writes.
    nodes, cpus, memory, gpus
        Its nodes, and what each claims to have (memory in MB), whatever this machine has.
    accounting
        Whether there is a slurmdbd, on a MariaDB of its own.
    max_array, max_jobs, min_job_age
        ``MaxArraySize`` (one more than the highest index), ``MaxJobCount``, and ``MinJobAge``: the seconds for which
        the queue remembers jobs that ended.
    submit_limit
        Jobs and elements that a user may have in the queue (needs accounting).
    kill_wait
        Seconds between TERM and KILL.
    extra
        Further lines of slurm.conf; they win over what is written here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 2,
        cpus: int = 8,
        memory: int = 16_000,
        gpus: int = 0,
        accounting: bool = False,
        max_array: int = 1001,
        max_jobs: int = 10_000,
        min_job_age: int = 300,
        submit_limit: int | None = None,
        kill_wait: int = 5,
        extra: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.cpus, self.memory, self.gpus = cpus, memory, gpus
        self.accounting, self.submit_limit = accounting, submit_limit
        self._settings = {"MaxArraySize": max_array, "MaxJobCount": max_jobs, "MinJobAge": min_job_age}
        self._settings["KillWait"] = kill_wait
        self._extra = extra
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._reserved, self._base = _reserve(nodes + 3)
        # The port makes the names unique, and with them the control groups.
        self.nodes = [f"n{self._base}-{index}" for index in range(nodes)]
        self.conf = folder / "etc" / "slurm.conf"

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> Lab:
        """Start everything, and wait until all nodes are idle."""
        try:
            self._write()
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            for node in self.nodes:
                self.start_node(node)
            self.wait_idle()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every process of the lab, jobs included, and remove what it left outside its folder."""
        self._kill_all()
        self._reserved.close()

    def restart(self) -> None:
        """Begin anew, with nothing queued and nothing remembered: for labs that a test has broken."""
        self._kill_all()
        self.start()

    def _kill_all(self) -> None:
        for name in [*self.nodes, "slurmctld", "slurmdbd", "mariadbd"]:
            self._end(name, signal.SIGTERM if name == "mariadbd" else signal.SIGKILL)
        self._kill_jobs()
        for node in self.nodes:
            for group in Path("/sys/fs/cgroup").glob(f"*/slurm_{node}"):
                _remove_group(group)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers.

        One that was killed may take a job for running that ended a moment before, start it again, find its script gone,
        and end itself over that: with ``-i`` it ends the job.
        """
        self._start("slurmctld", "slurmctld", "-D", "-i")
        self.wait(lambda: self.run("scontrol", "ping", check=False).returncode == 0, "an answer of slurmctld")

    def stop_controller(self) -> None:
        """End slurmctld in order: its state is kept."""
        self._end("slurmctld", signal.SIGTERM)

    def kill_controller(self) -> None:
        """Kill slurmctld. What it had not written down yet, up to some seconds' worth, it forgets."""
        self._end("slurmctld", signal.SIGKILL)

    def kill_accounting(self) -> None:
        """Kill slurmdbd; slurmctld keeps what it wants to tell it."""
        self._end("slurmdbd", signal.SIGKILL)

    def start_accounting(self) -> None:
        """Start slurmdbd."""
        self._start("slurmdbd", "slurmdbd", "-D", env={"MYSQL_UNIX_PORT": f"{self.folder}/run/mysql.sock"})

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str, *, jobs: bool = False) -> None:
        """Kill a node's slurmd, and with ``jobs`` what watches over its jobs: the jobs themselves run on, orphaned."""
        self._end(node, signal.SIGKILL)
        for pid in self.processes() if jobs else ():
            with contextlib.suppress(OSError):
                if environ_of(pid).get("SLURMD_NODENAME") == node and _name(pid).startswith("slurmstepd"):
                    os.kill(pid, signal.SIGKILL)

    def clear(self) -> None:
        """End all jobs, whoever started them, and have all nodes and partitions as they were."""
        if "slurmctld" not in self._daemons:
            self.start_controller()
        for node in self.nodes:
            if node not in self._daemons:
                self.start_node(node)
        if self.queue():
            self.run("scancel", "--quiet", "--user", "root", check=False)
            self.wait(lambda: not self.queue(), "the end of all jobs")
        if any(state != "idle" for state in self.node_states().values()):
            for state in ("resume", "idle"):
                self.run("scontrol", "update", f"nodename={','.join(self.nodes)}", f"state={state}", check=False)
        self.wait_idle()

    # --- commands ---------------------------------------------------------------------------------------------------

    @cached_property
    def environment(self) -> dict[str, str]:
        """What a command's environment must hold besides, to speak to this Slurm."""
        return {"SLURM_CONF": str(self.conf), "PATH": _path()}

    def run(self, *words: object, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm to its end."""
        done = subprocess.run(
            [str(word) for word in words],
            env=outside() | self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            **options,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done

    def sbatch(self, script: str, *words: object) -> str:
        """Hand a shell script over, and return the job's id."""
        text = f"#!/bin/sh\n{script}\n"
        return self.run("sbatch", "--parsable", "--output=/dev/null", *words, input=text).stdout.strip()

    def queue(self, *words: object) -> list[str]:
        """Return the ids of the jobs and elements that are not over."""
        return self.run("squeue", "--noheader", "--array", "--format=%i", *words).stdout.split()

    def field(self, job: str, name: str) -> str:
        """Return what ``scontrol show job`` says under a name; empty once the job is forgotten."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job, check=False).stdout
        found = [word.partition("=")[2] for word in shown.split() if word.startswith(f"{name}=")]
        return found[0] if found else ""

    def state(self, job: str) -> str:
        """Return the state of a job or element; empty once it is forgotten."""
        return self.field(job, "JobState")

    def drain(self, node: str) -> None:
        """Let a node finish its jobs and begin no other."""
        self.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    def resume(self, node: str) -> None:
        """Let a drained node begin jobs again."""
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def node_states(self) -> dict[str, str]:
        """Return the state of each node."""
        lines = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T").stdout.splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def wait_idle(self) -> None:
        """Wait until all nodes are idle."""
        self.wait(lambda: set(self.node_states().values()) == {"idle"}, "idle nodes")

    def wait(self, condition: Callable[[], T], what: str | Callable[[], str], seconds: float = 180) -> T:
        """Wait for a condition, looking less often as time goes by, and return what it returned.

        ``what`` says what was waited for, and whatever else helps whoever reads that it did not come.
        """
        begun = time.monotonic()
        while not (found := condition()):
            waited = time.monotonic() - begun
            if waited > seconds:
                said = what if isinstance(what, str) else what()
                raise AssertionError(f"waited in vain for {said}\n{self.logs()}")
            time.sleep(min(0.03 + waited / 20, 0.5))
        return found

    def logs(self, lines: int = 15) -> str:
        """Return the ends of the daemons' logs, for a failed test to show."""
        files = sorted(self.folder.glob("log/*"))
        return "\n".join(f"--- {file.name}\n" + "\n".join(_tail(file, lines)) for file in files)

    # --- daemons ----------------------------------------------------------------------------------------------------

    def _start(self, name: str, *command: str, env: Mapping[str, str] | None = None) -> None:
        """Start a daemon in the foreground; it ends with this process, however that ends."""
        assert name not in self._daemons, f"{name} runs"
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=outside() | self.environment | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _end(self, name: str, number: int) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(number)
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _start_accounting(self) -> None:
        etc, run = self.folder / "etc", self.folder / "run"
        mysql = ("--defaults-file=" + str(etc / "my.cnf"), "--user=root")
        client = ("mariadb", f"--socket={run}/mysql.sock", "-uroot", "-e")
        self.run(
            "mariadb-install-db", *mysql, "--auth-root-authentication-method=normal", "--skip-test-db", cwd=self.folder
        )
        self._start("mariadbd", "mariadbd", *mysql)
        self.wait(lambda: self.run(*client, "create database acct", check=False).returncode == 0, "MariaDB")
        self.start_accounting()
        self.wait(lambda: self.run("sacctmgr", "-n", "list", "cluster", check=False).returncode == 0, "slurmdbd")
        limit = -1 if self.submit_limit is None else self.submit_limit
        for words in ("add cluster lab", f"modify user root set maxsubmitjobs={limit}"):
            self.run("sacctmgr", "--immediate", "--quiet", *words.split())

    def _kill_jobs(self) -> None:
        """Kill what was started in the name of the lab: jobs, and what watches over them."""
        deadline = time.monotonic() + 20
        while (pids := self.processes()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Return the processes that were started to speak to this Slurm, or by it."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                if pid != os.getpid() and environ_of(pid).get("SLURM_CONF") == str(self.conf) and not _zombie(pid):
                    found.append(pid)
        return found

    # --- files ------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        for name in ("etc", "run", "log", "state", "mysql", "dev", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        etc = self.folder / "etc"
        self.conf.write_text("\n".join([*self._slurm_conf(), ""]))
        (etc / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n"
        )
        gres = ["AutoDetect=off"]
        for index in range(self.gpus):
            (self.folder / "dev" / f"nvidia{index}").symlink_to("/dev/null")  # plain files are refused
        if self.gpus:
            devices = f"{self.folder}/dev/nvidia[0-{self.gpus - 1}]"
            gres += [f"NodeName={node} Name=gpu Type={GPU_TYPE} File={devices}" for node in self.nodes]
        (etc / "gres.conf").write_text("\n".join([*gres, ""]))
        if self.accounting:
            (etc / "my.cnf").write_text(self._fill(MY_CNF))
            (etc / "slurmdbd.conf").write_text(self._fill(SLURMDBD_CONF))
            (etc / "slurmdbd.conf").chmod(0o600)

    def _fill(self, text: str) -> str:
        host = socket.gethostname().split(".")[0]
        return text.format(folder=self.folder, host=host, port=self._base + 1, accounting_port=self._base + 2)

    def _slurm_conf(self) -> list[str]:
        lines = [self._fill(SLURM_CONF), *(f"{name}={value}" for name, value in self._settings.items())]
        lines += CGROUPS if has_cgroups() else NO_CGROUPS
        lines += [self._fill(SLURM_CONF_ACCOUNTING)] if self.accounting else []
        gres = f" Gres=gpu:{GPU_TYPE}:{self.gpus}" if self.gpus else ""
        lines += [
            self._fill(f"NodeName={node} NodeHostname={{host}} NodeAddr=127.0.0.1 Port={self._base + 3 + index} ")
            + f"CPUs={self.cpus} RealMemory={self.memory}{gres}"
            for index, node in enumerate(self.nodes)
        ]
        nodes = ",".join(self.nodes)
        lines += [f"PartitionName=main Nodes={nodes} Default=YES PriorityTier=1 DefMemPerCPU=100 GraceTime=20"]
        lines += [f"PartitionName=high Nodes={nodes} PriorityTier=10 PreemptMode=OFF DefMemPerCPU=100"]
        return [*lines, *self._extra]


SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmdParameters=config_overrides
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=50000,sched_interval=1,bf_interval=1,bf_continue,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
OverTimeLimit=0"""
# Other than loopback nothing is listened to (NoInAddrAny). cred_expire is also how long a requeued job waits, and 5 the
# least it can be. config_overrides lets nodes claim more than the machine has. The intervals make scheduling immediate.

CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\n"
CGROUPS = ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup"]
NO_CGROUPS = ["ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "JobAcctGatherParams=OverMemoryKill"]

SLURM_CONF_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits"""

SLURMDBD_CONF = """\
AuthType=auth/none
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting_port}
CommunicationParameters=NoInAddrAny
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=acct
CommitDelay=1
"""

MY_CNF = """\
[mysqld]
datadir={folder}/mysql
socket={folder}/run/mysql.sock
pid-file={folder}/run/mariadbd.pid
log-error={folder}/log/mariadbd.log
skip-networking
innodb_buffer_pool_size=32M
innodb_log_file_size=16M
innodb_flush_log_at_trx_commit=0
innodb_lock_wait_timeout=900
innodb_doublewrite=0
innodb_use_native_aio=0
performance_schema=OFF
"""


def has_cgroups() -> bool:
    """Return whether control groups of version 1 can hold jobs: only then memory limits are the kernel's."""
    folders = [Path("/sys/fs/cgroup") / name for name in ("memory", "freezer")]
    return all(folder.is_mount() and os.access(folder, os.W_OK) for folder in folders)


def outside() -> dict[str, str]:
    """Return this process's environment without what names a Slurm or one of its jobs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH_"))}


def _path() -> str:
    """Return the search path, with the folders of daemons."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _reserve(count: int) -> tuple[socket.socket, int]:
    """Find ports that nobody uses; the first stays bound as long as the lab lives, and so keeps other labs away."""
    for base in PORTS:
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", base))
            for port in range(base + 1, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        return held, base
    raise RuntimeError(f"no {count} ports are free between {PORTS.start} and {PORTS.stop}")


def environ_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with."""
    text = Path(f"/proc/{pid}/environ").read_text(errors="replace")
    return dict(entry.partition("=")[::2] for entry in text.split("\0"))


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def _zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _remove_group(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _tail(file: Path, lines: int) -> list[str]:
    return file.read_text(errors="replace").splitlines()[-lines:]
