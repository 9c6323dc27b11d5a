"""The Slurm that is there: how its commands are run, what it allows, and what `orch doctor` shows of it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeVar

from orchestrator.clusters.base import Limits
from orchestrator.clusters.batch import BRIEFLY, Answer, Commands, QueueFacts, SchedulerFacts, Transient
from orchestrator.clusters.slurm_text import read_number, read_records, read_rows, read_settings, read_size, read_span
from orchestrator.clusters.slurm_words import TRANSIENT, UNREACHABLE
from orchestrator.errors import ExitCode, UserError

T = TypeVar("T")

COMMANDS: Final = Commands(
    scheduler="Slurm",
    transient=TRANSIENT,
    # Inside a job these describe that job, and sbatch would take them for options; SQUEUE_ and the like are a user's
    # own filters and formats, which would hide jobs from us. Which Slurm to talk to stays.
    foreign=re.compile(
        r"(?!SLURM_(CONF|CLUSTERS|JWT|CONF_SERVER)$)(SLURM|SBATCH|SQUEUE|SCANCEL|SACCT|SINFO|SALLOC|SRUN)_.*"
    ),
    # Whole array expressions, and times that can be read, whatever a user's own settings are.
    fixed={"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"},
)


def ask(*command: str, longest: float = BRIEFLY) -> Answer:
    """Run a command that reads, until Slurm answers.

    Raises
    ------
    UserError
        With ``ExitCode.SCHEDULER_UNREACHABLE``, if it cannot be asked.
    """
    answer = COMMANDS.ask(command, longest=longest)
    if answer.code and UNREACHABLE.search(answer.err):
        raise UserError(
            f"Slurm is not set up on this machine: {answer.said} Set SLURM_CONF, or work on a machine of the cluster.",
            exit_code=ExitCode.SCHEDULER_UNREACHABLE,
        )
    return answer


def optional(*command: str, timeout: float = 30) -> str:
    """Return what a command prints; nothing if it cannot be run or fails: accounting is never needed."""
    try:
        answer = COMMANDS.once(command, timeout=timeout)
    except (Transient, UserError):
        return ""
    return "" if answer.code else answer.out


def _once_per_process(function: Callable[[], T]) -> Callable[[], T]:
    """Keep what a function returns, for as long as this process means the same Slurm."""

    @functools.cache
    def kept(*_: str | None) -> T:
        return function()

    return functools.wraps(function)(lambda: kept(os.environ.get("SLURM_CONF"), os.environ.get("PATH")))


# --- what it allows ---------------------------------------------------------------------------------------------------


@_once_per_process
def settings() -> dict[str, str]:
    """Return the cluster's configuration, asked for once per process."""
    return read_settings(ask("scontrol", "show", "config").out)


@_once_per_process
def partitions() -> list[dict[str, str]]:
    """Return the records of all partitions, asked for once per process."""
    return list(read_records(ask("scontrol", "-o", "-a", "show", "partition").out))


def enforced() -> bool:
    """Return whether accounting bounds what a user may submit."""
    return bool({"limits", "safe", "all"} & set(settings().get("AccountingStorageEnforce", "").lower().split(",")))


class Bound(NamedTuple):
    """How many elements may be in the queue, of those whose ``field`` (see :func:`queued`) is ``value``; "" for all."""

    most: int
    field: str = ""
    value: str = ""


_ASSOCIATION = "user,defaultaccount,account,partition,qos,defaultqos,maxsubmit,grpsubmit"
_QOS = "name,maxsubmitpu,maxsubmitpa,grpsubmit"
_QUEUE = "account,qos,partition,id"


@_once_per_process
def associations() -> list[dict[str, str]]:
    """Return the associations of this user, asked for once per process; none if accounting does not answer."""
    asked = ("show", "user", f"name={_me()}", "withassoc", f"format={_ASSOCIATION}")
    return list(read_rows(optional("sacctmgr", "-nP", *asked), _ASSOCIATION))


@_once_per_process
def qualities() -> list[dict[str, str]]:
    """Return the limits of every QOS, asked for once per process; none if accounting does not answer."""
    return list(read_rows(optional("sacctmgr", "-nP", "show", "qos", f"format={_QOS}"), _QOS))


def bounds(resources: Mapping[str, Any]) -> Iterator[Bound]:
    """Return what bounds the number of elements in the queue, for jobs of these resources.

    What others of the same account, or of the whole cluster, have in the queue is not counted, and limits of the
    accounts above it are not asked for: Slurm itself has the last word, and refuses what does not fit.
    """
    if (most := read_number(settings().get("MaxJobCount", ""))) is not None:
        yield Bound(most - 1)  # the array itself counts besides its elements
    if (own := (resources.get("limits") or {}).get("jobs")) is not None:
        yield Bound(own)
    if not enforced():
        return
    # Which elements count for which QOS: those handed in under it, and those in the partition that it belongs to.
    counted = {name: ("partition", partition) for partition, name in _partition_qos(resources)}
    for row in _fitting(associations(), resources):
        for field in ("maxsubmit", "grpsubmit"):
            if (most := read_number(row[field])) is not None:
                yield Bound(most, "account", row["account"])
        name = resources.get("qos") or row["defaultqos"] or "normal"
        counted[name] = ("qos", name)
    for row in qualities():
        for field in ("maxsubmitpu", "maxsubmitpa", "grpsubmit"):
            if row["name"] in counted and (most := read_number(row[field])) is not None:
                yield Bound(most, *counted[row["name"]])


def _fitting(rows: Iterable[dict[str, str]], resources: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Return the association that a job is charged to: the one of its partition, if there is such a one."""
    found = [row for row in rows if row["account"] == (resources.get("account") or row["defaultaccount"])]
    exact = [row for row in found if row["partition"] and row["partition"] == resources.get("partition")]
    yield from exact or [row for row in found if not row["partition"]]


def _partition_qos(resources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the partition that a job goes to, and its QOS: that one's limits hold besides those of the job's own."""
    wanted = resources.get("partition")
    for record in partitions():
        if record.get("PartitionName") == wanted or (wanted is None and record.get("Default") == "YES"):
            yield record.get("PartitionName", ""), record.get("QoS", "")


def queued() -> list[dict[str, str]]:
    """Return a row (``account``, ``qos``, ``partition``, ``id``) for each element that this user has in the queue."""
    asked = ask("squeue", "-h", "-a", "-r", "-u", _me(), "-o", "%a|%q|%P|%i")
    return list(read_rows(asked.out, _QUEUE))


def room(limits: Iterable[Bound], queue: Iterable[Mapping[str, str]]) -> int | None:
    """Return how many elements fit besides those in the queue; None if nothing bounds them."""
    rows = list(queue)
    left = [most - sum(not field or row[field] == value for row in rows) for most, field, value in limits]
    return max(min(left), 0) if left else None


def limits(resources: Mapping[str, Any]) -> Limits:
    """Return what Slurm, accounting and ``resources["limits"]`` allow now.

    Raises
    ------
    UserError
        If Slurm cannot be asked.
    """
    # MaxArraySize bounds the index, which begins at 0.
    sizes = [read_number(settings().get("MaxArraySize", "")), (resources.get("limits") or {}).get("array")]
    max_array = min((max(size, 1) for size in sizes if size is not None), default=None)
    if enforced():
        _ask_at_once(partitions, associations, qualities, _load)
    bounding = list(bounds(resources))
    return Limits(max_array, room(bounding, queued()) if bounding else None)


def _ask_at_once(*questions: Callable[[], object]) -> None:
    """Ask what is kept for the rest of this process side by side: accounting alone may take a second for an answer."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(questions)) as pool:
        list(pool.map(lambda question: question(), questions))


def _load() -> None:
    """Load what writes batch scripts: whoever asks for limits is about to need it, and has nothing to do meanwhile."""
    import_module("orchestrator.clusters.slurm_executor")


def _me() -> str:
    """Return the name of this user; the number where it has no name here."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


# --- what `orch doctor` shows -----------------------------------------------------------------------------------------

_SINFO = "partition,state,time,nodes,cpus,memory,gres,preempt"


def facts() -> SchedulerFacts:
    """Return what can be found out about Slurm from this machine. Never raises."""
    try:
        config = settings()
        listed = ask("sinfo", "-h", "-e", "-o", "%P|%a|%l|%D|%c|%m|%G|%M").out
        in_queue = len(queued())
    except UserError as error:
        return SchedulerFacts("slurm", reachable=False, problem=str(error))
    rows = associations()
    accounting = bool(optional("sacctmgr", "-nP", "show", "cluster", "format=cluster"))
    most = [bound.most for bound in bounds({}) if bound.field]
    preempt = config.get("PreemptMode", "")
    return SchedulerFacts(
        kind="slurm",
        version=config.get("SLURM_VERSION", ""),
        cluster=config.get("ClusterName", ""),
        controller=config.get("SlurmctldHost[0]", config.get("ControlMachine", "")),
        queues=read_queues(listed),
        max_array=read_number(config.get("MaxArraySize", "")),
        max_jobs=read_number(config.get("MaxJobCount", "")),
        submit_limit=min(most, default=None),
        queued=in_queue,
        accounts=tuple(dict.fromkeys(name for row in rows for name in (row["defaultaccount"], row["account"]) if name)),
        accounting=accounting,
        preempt="" if preempt in ("", "OFF") else preempt,
        remembers=_seconds(config.get("MinJobAge", "")),
        grace=_seconds(config.get("KillWait", "")),
        notes=tuple(_notes(config, accounting=accounting)),
    )


def read_queues(text: str) -> tuple[QueueFacts, ...]:
    """Read partitions from ``sinfo``, which prints a row for each kind of node; the default one first."""
    queues: dict[str, QueueFacts] = {}
    for row in read_rows(text, _SINFO):
        name = row["partition"].rstrip("*")
        known = queues.get(name, QueueFacts(name))
        queues[name] = QueueFacts(
            name,
            default=known.default or row["partition"].endswith("*"),
            state=row["state"],
            max_time=read_span(row["time"]),
            nodes=(known.nodes or 0) + (read_number(row["nodes"]) or 0),
            cpus=max(known.cpus or 0, read_number(row["cpus"]) or 0) or None,
            memory=max(known.memory or 0, read_size(row["memory"]) or 0) or None,
            gpus=tuple(dict.fromkeys([*known.gpus, *_gpus(row["gres"])])),
            preempt="" if row["preempt"] == "OFF" else row["preempt"],
        )
    return tuple(sorted(queues.values(), key=lambda queue: not queue.default))


def _gpus(gres: str) -> Iterator[str]:
    """Return the types of accelerators in ``gpu:a100:4(S:0-1),gpu:2``."""
    for item in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, _, rest = item.partition(":")
        if name == "gpu":
            kind = rest.partition(":")[0]
            yield "gpu" if kind.isdecimal() or not kind else kind


def _seconds(text: str) -> float | None:
    number = read_number(text)
    return None if number is None else float(number)


def _notes(config: Mapping[str, str], *, accounting: bool) -> Iterator[str]:
    """Return what a user of this cluster should know."""
    if "CANCEL" in config.get("PreemptMode", ""):
        yield "Displaced jobs are cancelled here, not started again: the steward hands their runs over anew."
    if not accounting and (_seconds(config.get("MinJobAge", "")) or 0) < 60:
        yield (
            "There is no accounting, and ended jobs are forgotten within a minute (MinJobAge): why a job died without "
            "a word can often not be told. Nothing else depends on it."
        )
    if (read_number(config.get("MaxArraySize", "")) or 2) < 2:
        yield "Job arrays are switched off (MaxArraySize): every job is handed over by itself."
