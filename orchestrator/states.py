"""One table of what a run can be, what can befall it, and what the schedulers' words mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

RunState = Literal["done", "live", "waiting", "failed", "cancelled", "lost"]
"""Every run is in exactly one.

``done``: it has a verdict. ``live``: a job that the scheduler lists will train it, or does. ``waiting``: no job has it
yet, or it ended early and the next submission goes on. ``failed``: it ended, and will not be tried again by itself.
``cancelled``: on request. ``lost``: its job is gone without a word; the next submission goes on.
"""

RUN_STATES: tuple[RunState, ...] = get_args(RunState)

Outcome = Literal["done", "diverged", "stopped"]
"""A verdict: all steps were made; the run's own numbers went bad; its ``stop_when`` was met. All three are results."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

JobState = Literal["pending", "running", "gone", "unknown"]
"""What a scheduler says of a job. ``unknown`` is not death: only what is ``gone`` may be given to a new owner."""

FailureClass = Literal["user error", "diverged", "oom", "timeout", "preempted", "node", "disk", "lost", "engine"]
"""Why an attempt ended without a verdict (``diverged`` is one, and stands here so that the table is whole)."""

FAILURE_CLASSES: tuple[FailureClass, ...] = get_args(FailureClass)

END_REASONS: Mapping[str, FailureClass | None] = {
    "finished": None,  # every lane has a verdict or a failure of its own
    "probed": None,  # it was measured; a later submission goes on
    "requeued": None,  # the scheduler starts the same task again
    "superseded": None,  # a later submission or incarnation owns all of it
    "cancelled": None,
    "interrupted": "preempted",  # TERM or INT: somebody or something wanted the machine back
    "environment": "engine",  # other packages than the submission's: another machine may have them
    **{name: name for name in FAILURE_CLASSES},
}
"""What an incarnation may give as the reason of its end, and what that means for runs that have no verdict."""


def failure_of(reason: str) -> FailureClass | None:
    """Return the failure class of an incarnation's end; a reason nobody knows counts as ``lost``."""
    return END_REASONS.get(reason, "lost")


class Word(NamedTuple):
    """What a scheduler's word for a job's state means, and which failure it explains, if any."""

    state: JobState
    failure: FailureClass | None = None


SCHEDULER_WORDS: Mapping[str, Mapping[str, Word]] = {
    "slurm": {
        "PENDING": Word("pending"),
        "CONFIGURING": Word("pending"),
        "REQUEUED": Word("pending"),
        "REQUEUE_FED": Word("pending"),
        "REQUEUE_HOLD": Word("pending"),
        "SPECIAL_EXIT": Word("pending"),
        "RESV_DEL_HOLD": Word("pending"),
        "RUNNING": Word("running"),
        "COMPLETING": Word("running"),
        "RESIZING": Word("running"),
        "SIGNALING": Word("running"),
        "STAGE_OUT": Word("running"),
        "STOPPED": Word("running"),
        "SUSPENDED": Word("running"),
        # While squeue lists a preempted job it may still come back: PreemptMode=REQUEUE.
        "PREEMPTED": Word("unknown", "preempted"),
        "COMPLETED": Word("gone"),
        "REVOKED": Word("gone"),
        "CANCELLED": Word("gone", "preempted"),
        "FAILED": Word("gone", "lost"),
        "BOOT_FAIL": Word("gone", "node"),
        "NODE_FAIL": Word("gone", "node"),
        "OUT_OF_MEMORY": Word("gone", "oom"),
        "TIMEOUT": Word("gone", "timeout"),
        "DEADLINE": Word("gone", "timeout"),
    },
    "lsf": {
        "PEND": Word("pending"),
        "WAIT": Word("pending"),
        "PSUSP": Word("pending"),
        "FWD_PEND": Word("pending"),
        "RUN": Word("running"),
        "USUSP": Word("running"),
        "SSUSP": Word("running"),
        "PROV": Word("running"),
        # The host cannot be reached: the job may well be alive there.
        "UNKWN": Word("unknown"),
        "DONE": Word("gone"),
        "EXIT": Word("gone", "lost"),
        "ZOMBI": Word("gone", "node"),
    },
    "local": {
        "running": Word("running"),
        "pending": Word("pending"),
        "gone": Word("gone"),
    },
}
"""What each scheduler's own words mean. One row per word; a word that is not here is ``unknown``."""

LSF_TERMINATION: Mapping[str, FailureClass] = {
    "TERM_MEMLIMIT": "oom",
    "TERM_SWAP": "oom",
    "TERM_RUNLIMIT": "timeout",
    "TERM_CPULIMIT": "timeout",
    "TERM_DEADLINE": "timeout",
    "TERM_WINDOW": "preempted",
    "TERM_PREEMPT": "preempted",
    "TERM_REQUEUE_OWNER": "preempted",
    "TERM_REQUEUE_ADMIN": "preempted",
    "TERM_OWNER": "preempted",
    "TERM_ADMIN": "preempted",
    "TERM_FORCE_OWNER": "preempted",
    "TERM_FORCE_ADMIN": "preempted",
    "TERM_BUCKET_KILL": "preempted",
    "TERM_LOAD": "preempted",
    "TERM_RC": "preempted",
    "TERM_REQUEUE_RC": "preempted",
    "TERM_UNKNOWN": "lost",
    "TERM_ZOMBIE": "node",
    "TERM_REMOVE_HUNG_JOB": "node",
    "TERM_CWD_NOTEXIST": "node",
}
"""Why LSF says that a job was ended (``bjobs -o exit_reason``, ``bhist -l``)."""


def read_word(kind: str, word: str) -> Word:
    """Say what a scheduler's word means; ``CANCELLED by 1000`` and ``CANCELLED+`` read as ``CANCELLED``.

    Parameters
    ----------
    kind
        ``slurm``, ``lsf`` or ``local``.
    word
        As the scheduler prints it.
    """
    first = next(iter(word.split()), "").rstrip("+")
    return SCHEDULER_WORDS.get(kind, {}).get(first, Word("unknown"))
