"""What LSF's reasons, refusals and ends mean: tables of sentences with their mends, and what reads them."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestrator.clusters.base import Evidence, LimitReached
from orchestrator.clusters.complaints import Complaint, complain
from orchestrator.clusters.lsf_text import Row, Story
from orchestrator.errors import UserError
from orchestrator.states import LSF_TERMINATION, FailureClass, read_word

TRANSIENT: Final = re.compile(
    r"(?i)not responding|still trying|please wait|try (again )?later|\bis down\b|connection refused|timed? ?out\b"
    r"|server is not connected|unable to contact|temporarily unavailable|concurrent query limit"
    r"|cannot (connect|fork)|too busy"
)
"""Says that a later try may succeed."""

NOT_UNDERSTOOD: Final = re.compile(
    r"(?im)(illegal|invalid|unrecogni[sz]ed|unknown) option|^\s*usage:|(invalid|unknown|bad|not a valid) field"
)
"""Says that an installation does not know an option."""

FULL: Final = re.compile(
    r"(?i)threshold (is |has been )?reached|reached its job limit|job limit (has been |is )?(reached|exceeded)"
    r"|no job id can be used|(exceed\w*|reached)[^.]*\b(pending|submi\w+)\b[^.]*limit|user has no[^.]*limit"
)
"""Says that LSF takes no more jobs of this user, or of anybody, for now."""

FORGOTTEN: Final = re.compile(r"(?i)no matching job|job .*not found|never satisfied")
"""Says that a job that another one should wait for is not known any more."""

ENDED: Final = re.compile(
    r"(?i)no matching job|is not found|already (finished|been)|is being|in progress|no unfinished job"
)
"""Says of a job that is to be ended that it is gone, or on its way."""

COMING: Final = re.compile(r"(?i)already been requeued|has not started|pending|is being requeued|in progress")
"""Says of a job that is to be started again that it waits already."""


# --- why a submission is refused --------------------------------------------------------------------------------------


COMPLAINTS: Final = (
    Complaint(r"(illegal|invalid|unrecogni[sz]ed|unknown) option|usage:", ("extra",), "`bsub -h` lists the options"),
    Complaint(
        r"queue.*(closed|cannot use)|cannot use the queue|such queue", ("queue",), "`bqueues -u $USER` lists yours"
    ),
    Complaint(r"root .*submission|permission denied", (), "LSF takes jobs of users whom it knows, and none of root"),
    Complaint(r"gpu", ("gpus", "gpu_type", "extra"), "`lshosts -gpu` lists the accelerators"),
    Complaint(
        r"resource (requirement|name|reservation)",
        ("constraint", "memory", "gpus", "extra"),
        "`lsinfo` lists the names that a resource requirement may use",
    ),
    Complaint(
        r"hard limit|memli?mi?t|runlimit|bad (time|cpu limit|rlimit)",
        ("time", "memory"),
        "`bqueues -l` lists the limits of each queue",
    ),
    Complaint(r"processors requested", ("cpus",), "`bqueues -l` lists what a queue allows"),
    Complaint(r"project", ("account",), "ask your site which projects you may charge"),
    Complaint(r"array (index|size)", ("limits.array",), "the bound is MAX_JOB_ARRAY_SIZE, which `bparams -l` prints"),
    Complaint(r"dependency|matching job", (), "the job it should wait for is not known to LSF any more"),
    Complaint(r"esub|aborted", ("queue", "account", "extra"), "it is a rule of your site"),
)
"""The first whose pattern is found in what ``bsub`` printed names the options at fault."""


def refusal(said: str, resources: Mapping[str, Any], section: str = "resources") -> UserError:
    """Return the error to raise for what ``bsub`` printed when it refused a job.

    Parameters
    ----------
    said
        Its output, on one line.
    resources
        What was asked for: a field at fault is named with its value.
    section
        Where these fields stand in a grid.
    """
    if FULL.search(said):
        return LimitReached(f"LSF takes no more jobs for now: {said}")
    own = re.sub(r"\.?\s*Job not submitted\b", "", said)
    return complain("LSF", own, COMPLAINTS, resources, section)


# --- why a job waits, and how it ended --------------------------------------------------------------------------------

UNWRITABLE: Final = 73
"""The exit status of a script that cannot write its log."""

_NEVER: Final = "it will never start like this: `orch cancel` it, and submit again"

REASONS: Final[tuple[tuple[str, str], ...]] = (
    (r"new job is waiting|^$", "it was handed over just now, and LSF has not looked at it yet"),
    (r"dependency condition (invalid|.*never)", f"the job it waits for did not end as asked; {_NEVER}"),
    (r"dependency condition", "it waits for another job to end"),
    (r"array has reached its .*limit", "as many elements of its array run as `resources.parallel` allows"),
    (r"suspended by the (user|owner)", "it is held: `bresume` lets it go"),
    (r"requeued", "it waits to be started again"),
)
"""What some of LSF's reasons mean; the others are sentences by themselves. The first that is found counts."""


def read_reasons(reasons: Sequence[str]) -> str:
    """Return a sentence, without its full stop, that says why a job is pending."""
    said = [_meaning(reason) for reason in reasons if not re.match(r"(?i)(non-)?candidate host", reason)]
    return "; ".join(dict.fromkeys(said)) or "LSF gives no reason"


def _meaning(reason: str) -> str:
    found = (meaning for pattern, meaning in REASONS if re.search(pattern, reason, re.IGNORECASE))
    return next(found, reason.rstrip(".;"))


def termination(reason: str) -> str:
    """Return the keyword in LSF's reason for ending a job: ``TERM_MEMLIMIT``; empty if there is none."""
    found = re.search(r"TERM_[A-Z_]+", reason)
    return found[0] if found else ""


def explain(row: Row | None, reasons: Sequence[str] | None, story: Story | None) -> Evidence | None:
    """Say what is known of an element in words, and which class of failure that is; None if nothing is.

    Parameters
    ----------
    row
        As it is listed; None if it is not.
    reasons
        Why it waits, if it does.
    story
        As it is remembered; None if it is not.
    """
    told = merged(row, story)
    if row is None and not told.ended:
        return None
    word = row.word if row else "DONE" if told.done else "EXIT"
    state, failure = read_word("lsf", word)
    match word:
        case "DONE":
            why = "It ended by itself, without an error."
        case "EXIT":
            failure, why = _end(told)
        case "UNKWN":
            why = f"Its machine{_on(told.host, ' ')} cannot be reached: it may well run there."
        case "ZOMBI":
            why = f"Its machine{_on(told.host, ' ')} was lost, and it was given up."
        case "SSUSP" | "USUSP":
            why = f"It is suspended{_on(told.host)}, by {'the scheduler' if word == 'SSUSP' else 'its owner'}."
        case _ if state == "pending":
            why = f"It is pending: {read_reasons(reasons or ())}."
        case _ if state == "running":
            why = f"It is running{_on(told.host)}."
        case _:
            why = f"LSF calls its state {word}."
    return Evidence(word, state, failure, why, _details(told))


def merged(row: Row | None, story: Story | None) -> Story:
    """Put together what the queue and the history tell of an element; the queue is newer."""
    told = story or Story()
    if row is None:
        return told
    if read_word("lsf", row.word).state != "gone":
        return Story(host=row.host, memory=told.memory)
    code, number = told.code, told.signal
    if row.code.isdecimal() and number is None:
        status = int(row.code)
        code, number = (None, status - 128) if 128 < status < 192 else (status, None)
    return told._replace(
        done=row.word == "DONE",
        code=code,
        signal=number,
        reason=row.reason or told.reason,
        host=row.host or told.host,
    )


def _end(told: Story) -> tuple[FailureClass | None, str]:
    keyword = termination(told.reason)
    failure = LSF_TERMINATION.get(keyword, "lost")
    if failure == "oom":
        return failure, f"It needed more memory than it may have, and LSF ended it: {told.reason}."
    if keyword:
        return failure, f"LSF ended it: {told.reason}{_by(told)}."
    if told.signal == signal.SIGUSR2:
        return "timeout", "Its time slice was over, and it was not ready for LSF's signal."
    if told.asked:
        return "preempted", f"It was ended{_by(told)}."
    if told.signal == signal.SIGKILL:
        return (
            failure,
            f"It was killed{_on(told.host)}; where memory is not accounted for, too much of it is a usual cause.",
        )
    if told.signal:
        return failure, f"It was ended by {_signal(told.signal)}{_on(told.host)}."
    if told.code == UNWRITABLE:
        return "node", (
            f"The study's folder could not be written{_on(told.host)}. Keep studies on a file system that the machines "
            "of the cluster share (`--root`, or ORCH_ROOT)."
        )
    if told.code in (126, 127):
        return "user error", (
            f"A command was not found{_on(told.host)} (exit status {told.code}): see the end of its log, and set "
            "`resources.python` and `resources.prologue` so that they hold on the machines of the cluster."
        )
    return (
        failure,
        f"It ended with exit status {told.code}{_on(told.host)}." if told.code else f"It failed{_on(told.host)}.",
    )


def _by(told: Story) -> str:
    return f", as {told.asked[1]} asked" if told.asked else ""


def _on(host: str, before: str = " on ") -> str:
    return f"{before}{host}" if host else ""


def _details(told: Story) -> tuple[str, ...]:
    facts = {
        "reason": told.reason,
        "exit status": str(told.code) if told.code else "",
        "signal": _signal(told.signal) if told.signal else "",
        "asked for": f"{told.asked[0]} by {told.asked[1]}" if told.asked else "",
        "machine": told.host,
        "memory": f"{told.memory} used" if told.memory else "",
        "unreachable": "its machine could not be reached for a while" if told.unreachable else "",
    }
    return tuple(f"{name}: {value}" for name, value in facts.items() if value)


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
