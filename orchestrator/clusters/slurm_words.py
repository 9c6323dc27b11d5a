"""What Slurm's reasons, refusals and ends mean: tables of sentences with their mends, and what reads them."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from orchestrator.clusters.base import Evidence, LimitReached
from orchestrator.clusters.complaints import Complaint, capital, complain
from orchestrator.clusters.slurm_text import read_size
from orchestrator.errors import UserError
from orchestrator.states import FailureClass, read_word

# --- why a job is pending ---------------------------------------------------------------------------------------------

_NEVER = "it will never start like this: `orch cancel` it, change {}, and submit again"

REASONS: Final[tuple[tuple[str, str], ...]] = (
    (r"None|", "it was handed over just now, and Slurm has not looked at it yet"),
    (r"Resources", "it waits for free cores, memory or accelerators"),
    (r"Priority", "jobs of higher priority come first"),
    (r"Dependency", "it waits for another job to end"),
    (r"DependencyNeverSatisfied", f"the job it waits for did not end as asked; {_NEVER.format('the dependency')}"),
    (r"JobArrayTaskLimit", "as many elements of its array run as `resources.parallel` allows"),
    (
        r"(QOS|Assoc)MaxWallDurationPerJobLimit|PartitionTimeLimit",
        f"its time slice is longer than its partition, account or QOS allows; {_NEVER.format('`resources.time`')}",
    ),
    (
        r"(QOS(Max|Min)|Assoc(Max|Min))\w*PerJob\w*|(QOS|Assoc)Min\w*|MaxMemPerLimit",
        "it asks for more, or less, than one job of its account or QOS may have ({reason}); "
        + _NEVER.format("`resources.cpus`, `memory` or `gpus`"),
    ),
    (r"QOS(Max|Grp)\w*", "a limit of its QOS is used up ({reason}): it starts when others of that QOS end"),
    (r"Assoc(Max|Grp)\w*", "a limit of its account is used up ({reason}): it starts when others of that account end"),
    (
        r"PartitionConfig|PartitionNodeLimit|BadConstraints",
        "no node of its partition can ever give what it asks for ({reason}); "
        + _NEVER.format("`resources.partition`, `cpus`, `memory`, `gpus` or `constraint`"),
    ),
    (
        r"ReqNodeNotAvail.*|NodeDown|Nodes required for job are DOWN.*",
        "nodes that it needs are down, drained or reserved ({reason}): `sinfo -R` says why",
    ),
    (r"PartitionDown|PartitionInactive", "its partition is closed ({reason}): it starts when the site opens it again"),
    (r"Reservation.*", "it waits for its reservation ({reason})"),
    (r"Licenses", "it waits for a licence"),
    (r"BeginTime", "it may not start before its time: after a requeue Slurm itself waits for up to two minutes"),
    (r"JobHeldUser", "it is held: `scontrol release` lets it go"),
    (r"JobHeldAdmin", "an administrator holds it, or its priority is zero: ask your site"),
    (
        r"(?i)(launch|user env retrieval)[ _]failed[ _]requeued[ _]held|JobHoldMaxRequeue",
        "Slurm could not start it and holds it ({reason}): `orch submit` hands its runs over anew, and ends it",
    ),
    (
        r"(?i)job requeued in held state|RequeueHold",
        "somebody had it queued again and holds it ({reason}): `scontrol release` lets it go",
    ),
    (r"InvalidAccount", f"its account is not valid any more; {_NEVER.format('`resources.account`')}"),
    (r"InvalidQOS", f"its QOS is not valid any more; {_NEVER.format('`resources.qos`')}"),
    (r"Cleaning|Prolog", "Slurm is preparing or cleaning up ({reason})"),
)
"""Why Slurm lets a job wait (a pattern for the whole reason), and what that means. The first that matches counts."""


def read_reason(reason: str) -> str:
    """Return a sentence, without its full stop, that says why a job is pending."""
    for pattern, meaning in REASONS:
        if re.fullmatch(pattern, reason.strip()):
            return meaning.format(reason=reason.strip())
    return f"Slurm gives the reason {reason.strip()}"


# --- why a submission is refused --------------------------------------------------------------------------------------

TRANSIENT: Final = re.compile(
    r"(?i)socket timed out|unable to contact slurm controller|connection (refused|timed out|reset)|"
    r"connect failure|send/recv|zero bytes were transmitted|communication (connection|shutdown) failure|"
    r"backup controller in standby|resource temporarily unavailable|temporarily unable to accept job|"
    r"controller is (down|not responding)|slurmctld.*(down|not responding|restarting)|transport endpoint|"
    r"i/o error writing script|unexpected message received|message receive failure|broken pipe"
)
"""Says that a later try may succeed."""

UNREACHABLE: Final = re.compile(
    r"(?i)unable to process configuration file|could not establish a configuration source|"
    r"unable to establish (configuration source|control machine address)|dns srv lookup failed"
)
"""Says that there is no Slurm to be found from this machine."""

FULL: Final = re.compile(
    r"(?i)(assoc|qos)\w*submit\w*limit|job submit limit|job queue full|temporarily unable to accept job|"
    r"maxjobcount|maximum (number of )?jobs|"
    r"too many jobs|submit limit (reached|exceeded)"
)
"""Says that the queue takes no more jobs of this user, or of anybody, for now."""

_POLICY = re.compile(r"(?:QOS|Assoc)(?:Max|Min|Grp)\w+|MaxWallDurationPerJobLimit")


COMPLAINTS: Final = (
    Complaint(r"invalid partition|no partition specified", ("partition",), "`sinfo` lists the partitions"),
    Complaint(r"invalid account", ("account", "partition"), "`sacctmgr show user $USER withassoc` lists your accounts"),
    Complaint(r"invalid qos", ("qos",), "`sacctmgr show user $USER withassoc` lists what you may use"),
    Complaint(
        r"gres|generic resource|gpu",
        ("gpus", "gpu_type"),
        "`sinfo -o '%P %G'` lists the accelerators of each partition",
    ),
    Complaint(r"invalid feature", ("constraint",), "`sinfo -o '%P %f'` lists the features of each partition"),
    Complaint(r"time limit|--time", ("time",), "`sinfo -o '%P %l'` lists the longest time of each partition"),
    Complaint(r"array spec", ("limits.array",), "the bound is MaxArraySize, which `scontrol show config` prints"),
    Complaint(r"memory", ("memory",), "`sinfo -o '%P %m'` lists the memory of the nodes, in megabytes"),
    Complaint(r"cpu count|cpus per task", ("cpus",), "`sinfo -o '%P %c'` lists the cores of the nodes"),
    Complaint(
        r"node configuration|partition configuration",
        ("cpus", "memory", "gpus", "gpu_type", "partition"),
        "no node offers all of it: `sinfo -o '%P %c %m %G'` lists what there is",
    ),
    Complaint(r"not permitted to use this partition|access", ("partition", "account"), "choose one that you may use"),
    Complaint(r"partition.*(inactive|drain|down)", ("partition",), "choose another, or wait until the site opens it"),
    Complaint(
        r"unrecognized option|unrecognised option|invalid option", ("extra",), "`sbatch --help` lists the options"
    ),
    Complaint(r"reservation", ("extra",), "`scontrol show reservation` lists those there are"),
    Complaint(r"dependency", (), "the job it should wait for is not known to Slurm any more"),
)
"""The first whose pattern is found in what ``sbatch`` printed names the options at fault."""


def refusal(said: str, resources: Mapping[str, Any], section: str = "resources") -> UserError:
    """Return the error to raise for what ``sbatch`` printed when it refused a job.

    Parameters
    ----------
    said
        Its output.
    resources
        What was asked for: a field at fault is named with its value.
    section
        Where these fields stand in a grid.
    """
    lines = (re.sub(r"^sbatch: (error: )?(Batch job submission failed: )?", "", line) for line in said.splitlines())
    own = "; ".join(filter(None, map(str.strip, lines))) or "it gives no reason"
    policy = [word for word in _POLICY.findall(said) if "Submit" not in word]
    if FULL.search(said) and not policy:
        return LimitReached(f"Slurm takes no more jobs for now: {own}.")
    if policy:
        return UserError(f"Slurm refuses the job: {own}. {capital(read_reason(policy[0]))}.")
    return complain("Slurm", own, COMPLAINTS, resources, section)


# --- how a job ended --------------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """What is known of one element, from the queue, the controller or accounting; empty where nothing is.

    Parameters
    ----------
    word, reason, exit
        Slurm's words for its state and the reason of it; exit status and signal as ``7:0``.
    node, start, elapsed, limit
        Where and when it ran or will, for how long, and for how long it might.
    used, asked
        Memory, as Slurm writes it.
    steps
        The words for the states of its steps: when memory ran out, only one of these may say so.
    before
        The words under which earlier starts of it ended.
    forgotten
        Whether the queue knows it no more while its state is one of the living: accounting lags behind.
    """

    word: str = ""
    reason: str = ""
    exit: str = ""
    node: str = ""
    start: str = ""
    elapsed: str = ""
    limit: str = ""
    used: str = ""
    asked: str = ""
    steps: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    forgotten: bool = False


NOTHING = {"", "N/A", "None", "Unknown", "(null)", "0", "None assigned", "UNLIMITED", "365-00:00:00"}
_LAUNCH = 53  # Slurm's number for a job that could not begin: a folder is missing on the node
_MEMORY = 125  # Slurm's number for a job that ran out of memory
_NOT_FOUND = (126, 127)


def explain(record: Record) -> Evidence:
    """Say what is known of an element in words, and which class of failure that is."""
    (state, failure), (status, number) = read_word("slurm", record.word), _exit(record.exit)
    if record.forgotten:
        state, failure = "unknown", None
        why = f"The queue has forgotten it; accounting lags behind and still calls it {record.word}."
    elif state == "pending":
        why = f"It is pending: {read_reason(record.reason)}."
    elif state == "running":
        why = f"It is running on {record.node}." if record.node not in NOTHING else "It is running."
    elif state == "gone":
        failure, why = _end(record, failure, status, number)
    else:
        why = f"Slurm calls its state {record.word}: it may start again." if record.word else ""
    node = record.node if record.node not in NOTHING else ""
    return Evidence(record.word, state, failure, why, _details(record, status, number), node)


def _end(record: Record, failure: FailureClass | None, status: int, number: int) -> tuple[FailureClass | None, str]:
    where = f" on {record.node}" if record.node not in NOTHING else ""
    if any(step.startswith("OUT_OF_MEMORY") for step in (record.word, *record.steps)) or record.reason == "OutOfMemory":
        return "oom", "It needed more memory than it had asked for, and was ended: ask for more `resources.memory`."
    match record.word.split():
        case ["COMPLETED", *_]:
            return failure, "It ended by itself, without an error."
        case ["CANCELLED", "by", user]:
            return failure, f"It was cancelled by {_user(user)}."
        case ["CANCELLED", *_]:
            return failure, "It was cancelled."
        case ["TIMEOUT", *_]:
            return failure, f"Its time slice was over ({record.limit or 'the limit of its partition'})."
        case ["NODE_FAIL" | "BOOT_FAIL", *_]:
            return failure, f"The node failed{where}."
        case ["DEADLINE", *_]:
            return failure, "It could not end before its deadline."
        case ["REVOKED", *_]:
            return failure, "It was started on another cluster of the federation."
    if number == _LAUNCH:  # the reason JobLaunchFailure is also given to jobs that a signal ended
        return "node", (
            f"Slurm could not start it{where}: the study's folder could not be opened or written there. Keep studies "
            "on a file system that the nodes share (`--root`, or ORCH_ROOT)."
        )
    if number == signal.SIGKILL:
        return failure, f"It was killed{where}; where memory is not accounted for, too much of it is a usual cause."
    if number:
        return failure, f"It was ended by {_signal(number)}{where}."
    if status in _NOT_FOUND:
        return "user error", (
            f"A command was not found{where} (exit status {status}): see the end of its log, and set "
            "`resources.python` and `resources.prologue` so that they hold on the nodes."
        )
    return failure, f"It ended with exit status {status}{where}." if record.exit else f"It failed{where}."


def _details(record: Record, status: int, number: int) -> tuple[str, ...]:
    """Return facts, one to a line."""
    used, asked = read_size(record.used, "K"), read_size(record.asked)
    memory = [
        f"{used / 2**20:.0f} MiB seen in use" if used else "",
        f"{asked / 2**20:.0f} MiB asked for" if asked else "",
    ]
    pending = read_word("slurm", record.word).state == "pending"
    facts = {
        "state": record.word,
        "reason": record.reason,
        "exit status": str(status) if record.exit and not number and status else "",
        "signal": _signal(number) if number and number not in (_LAUNCH, _MEMORY) else "",
        "node": record.node,
        "expected start" if pending else "start": record.start,
        "time slice" if pending else "ran for": _of(record, pending=pending),
        "memory": ", ".join(filter(None, memory)),
        "earlier starts ended": ", ".join(record.before),
    }
    return tuple(f"{name}: {value}" for name, value in facts.items() if value not in NOTHING)


def _of(record: Record, *, pending: bool) -> str:
    """Return for how long it ran, of how long it might."""
    told = [record.elapsed if not pending else "", record.limit if record.limit not in NOTHING else ""]
    return " of ".join(filter(None, told))


def _exit(text: str) -> tuple[int, int]:
    status, _, number = text.partition(":")
    return int(status) if status.isdecimal() else 0, int(number) if number.isdecimal() else 0


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _user(text: str) -> str:
    import pwd

    try:
        return pwd.getpwuid(int(text)).pw_name
    except (ValueError, KeyError):
        return f"user {text}"
