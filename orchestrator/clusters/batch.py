"""What batch schedulers share: their commands and how long we insist, names of jobs, scripts, what a site tells."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from orchestrator.study.study import Study

T = TypeVar("T")

PATIENCE_VARIABLE: Final = "ORCH_PATIENCE"
PATIENCE: Final = 60.0
"""How long transient errors of a scheduler are tried again, in seconds, unless the variable says otherwise."""

BRIEFLY: Final = 8.0
"""How long a reading command insists: somebody waits for the answer, and the next refresh asks again."""

TIMEOUT: Final = 60.0
"""How long one command of a scheduler may take, in seconds."""

STEWARD_SCRIPT: Final = "job.sh"
STEWARD_LOG: Final = "stdout"
"""A steward's batch script, and what it prints: names in ``study.steward_path(k)``."""


# --- what a site tells ------------------------------------------------------------------------------------------------


class QueueFacts(NamedTuple):
    """A partition (Slurm) or queue (LSF).

    Parameters
    ----------
    name
        As ``resources.partition`` or ``resources.queue`` has it.
    default
        Whether it takes jobs that name none.
    state
        The scheduler's own words: ``up``, ``drain``, ``Open:Active`` …
    max_time
        The longest time slice, in seconds; None: unlimited or unknown.
    nodes
        How many nodes it has; None: unknown.
    cpus, memory
        Cores, and bytes of memory, of its largest node; None: unknown.
    gpus
        Types of accelerators in it; an accelerator without a type is ``"gpu"``.
    preempt
        What becomes of a job that another one displaces, in the scheduler's words; empty if nothing displaces it.
    """

    name: str
    default: bool = False
    state: str = ""
    max_time: float | None = None
    nodes: int | None = None
    cpus: int | None = None
    memory: int | None = None
    gpus: tuple[str, ...] = ()
    preempt: str = ""


class SchedulerFacts(NamedTuple):
    """What can be found out about a scheduler from this machine. What could not be found out is None or empty.

    Parameters
    ----------
    kind
        ``slurm`` or ``lsf``.
    reachable
        Whether it answered. If not, ``problem`` says why, in a sentence with its mend, and nothing else is filled.
    problem
        Empty if it is reachable.
    version, cluster, controller
        Of the scheduler; the cluster's own name; the machine of its controller or master.
    queues
        Partitions or queues that this user can see, the default first.
    max_array
        Elements that one array may have.
    max_jobs
        Jobs that the scheduler keeps at one time, those of all users together.
    submit_limit
        Jobs and elements that this user may have in the queue at one time.
    queued
        How many there are now.
    accounts
        Accounts or projects that this user may charge, the default first.
    accounting
        Whether accounting answers (``sacct``, ``bacct``). Nothing depends on it; explanations are poorer without.
    preempt
        What becomes of displaced jobs where the queue does not say otherwise.
    remembers
        For how many seconds an ended job can still be asked about.
    grace
        Seconds between TERM and KILL when a job is ended.
    memory_unit
        The unit of memory limits where it is a setting of the site (LSF), such as ``MB``.
    notes
        Further sentences for people: what will not work here, and what to do about it.
    """

    kind: str
    reachable: bool = True
    problem: str = ""
    version: str = ""
    cluster: str = ""
    controller: str = ""
    queues: tuple[QueueFacts, ...] = ()
    max_array: int | None = None
    max_jobs: int | None = None
    submit_limit: int | None = None
    queued: int | None = None
    accounts: tuple[str, ...] = ()
    accounting: bool = False
    preempt: str = ""
    remembers: float | None = None
    grace: float | None = None
    memory_unit: str = ""
    notes: tuple[str, ...] = ()


SUBMIT: Final = {"slurm": "sbatch", "lsf": "bsub"}
"""What hands jobs over, by the kind of cluster."""


def installed() -> list[str]:
    """Return the kinds of schedulers whose commands are on this machine."""
    return [kind for kind, command in SUBMIT.items() if shutil.which(command)]


def facts(kind: str) -> SchedulerFacts:
    """Ask a scheduler what can be found out about it from this machine."""
    found: SchedulerFacts = import_module(f"orchestrator.clusters.{kind}").facts()
    return found


# --- running a scheduler's commands -----------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a command printed, and how it ended. ``code`` is None if it did not end in time."""

    code: int | None
    out: str
    err: str

    @property
    def said(self) -> str:
        """What it has to say for itself, on one line: its errors, or its output if there are none."""
        return " ".join((self.err.strip() or self.out.strip()).split()) or f"nothing (exit status {self.code})"


class Transient(Exception):  # noqa: N818  (an event that is planned for, not a fault)
    """The scheduler could not answer just now."""


def patience(longest: float = PATIENCE) -> float:
    """Return for how many seconds transient errors are tried again: ``$ORCH_PATIENCE`` if set, ``longest`` at most."""
    try:
        return min(longest, float(os.environ[PATIENCE_VARIABLE]))
    except (KeyError, ValueError):
        return longest


@dataclass(frozen=True)
class Commands:
    """How the commands of one scheduler are run.

    Parameters
    ----------
    scheduler
        Its name, for sentences.
    transient
        Finds, in what a failed command printed, that a later try may succeed.
    foreign
        Matches names of environment variables that no command may see: they describe the job that we are in, or bend
        what a command prints.
    fixed
        Variables that every command is given.
    """

    scheduler: str
    transient: re.Pattern[str]
    foreign: re.Pattern[str]
    fixed: Mapping[str, str] = field(default_factory=dict)

    def environment(self, keep: Iterable[str] = ()) -> dict[str, str]:
        """Return the environment of a command; ``keep`` names variables that are handed on all the same."""
        kept = set(keep)
        own = {name: value for name, value in os.environ.items() if name in kept or not self.foreign.fullmatch(name)}
        return {**own, **self.fixed}

    def once(
        self, command: Sequence[str], *, text: str | None = None, keep: Iterable[str] = (), timeout: float = TIMEOUT
    ) -> Answer:
        """Run a command.

        Parameters
        ----------
        command
            The program and its arguments.
        text
            What it reads from standard input; nothing by default.
        keep
            See :meth:`environment`.
        timeout
            How long it may take, in seconds.

        Raises
        ------
        Transient
            If a later try may succeed.
        UserError
            If there is no such program.
        """
        try:
            ended = subprocess.run(
                command, input=text or "", capture_output=True, text=True, encoding="utf-8", errors="replace",
                env=self.environment(keep), timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            said = " ".join(_text(part).strip() for part in (error.stderr, error.stdout)).strip()
            raise Transient(f"`{command[0]}` did not end within {timeout:.0f} s. {said}".strip()) from error
        except OSError as error:
            raise UserError(
                f"{self.scheduler}'s command `{command[0]}` cannot be run ({error.strerror}). Is this a machine from "
                f"which jobs can be handed over? If {self.scheduler} lives elsewhere, put the folder with "
                f"`{command[0]}` on PATH.",
                exit_code=ExitCode.SCHEDULER_UNREACHABLE,
            ) from error
        answer = Answer(ended.returncode, ended.stdout, ended.stderr)
        if answer.code and self.transient.search(answer.err + answer.out):
            raise Transient(answer.said)
        return answer

    def ask(self, command: Sequence[str], *, text: str | None = None, longest: float = PATIENCE) -> Answer:
        """Run a command until the scheduler answers.

        Raises
        ------
        UserError
            With ``ExitCode.SCHEDULER_UNREACHABLE``, if it did not within :func:`patience` of ``longest``.
        """
        return self.insist(lambda: self.once(command, text=text), longest)

    def insist(self, attempt: Callable[[], T], longest: float = PATIENCE) -> T:
        """Return what ``attempt`` returns, called again with growing pauses while it raises :class:`Transient`.

        Raises
        ------
        UserError
            With ``ExitCode.SCHEDULER_UNREACHABLE``, if it still does after :func:`patience` of ``longest``.
        """
        import tenacity

        bound = patience(longest)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=15) + tenacity.wait_fixed(0.05),
            stop=tenacity.stop_before_delay(bound),
            reraise=True,
        )
        try:
            return retrying(attempt)
        except Transient as error:
            said = str(error).rstrip(".")
            raise UserError(
                f"{self.scheduler} did not answer for {bound:.0f} s. It says: {said}. Nothing is lost; give the same "
                "command again when it is back.",
                exit_code=ExitCode.SCHEDULER_UNREACHABLE,
            ) from error

    def hand_over(
        self,
        attempt: Callable[[], str | None],
        find: Callable[[], str | None],
        *,
        again: bool = False,
    ) -> str | None:
        """Hand a job over and return its id; where an error may hide a success, look for the job before the next try.

        Parameters
        ----------
        attempt
            Hands it over: returns the id, or None if the scheduler said yes and told none.
        find
            Looks for a job of that name in the queue.
        again
            Whether it may have been handed over before, by a process that did not live to tell.

        Returns
        -------
        str | None
            None if the scheduler said yes, told no id, and lists no such job.
        """
        doubtful = again

        def try_once() -> str | None:
            nonlocal doubtful
            if doubtful and (found := find()):
                return found
            doubtful = True
            return attempt() or find()

        try:
            return self.insist(try_once)
        except UserError as error:
            # The last try, too, may have been heard although no answer came back.
            if error.exit_code is ExitCode.SCHEDULER_UNREACHABLE and (found := self._found(find)):
                return found
            raise

    def _found(self, find: Callable[[], str | None]) -> str | None:
        try:
            return find()
        except (Transient, UserError):
            return None


def _text(part: str | bytes | None) -> str:
    return part.decode(errors="replace") if isinstance(part, bytes) else part or ""


# --- names, times, scripts --------------------------------------------------------------------------------------------

TAG_LENGTH: Final = 64


def tag(study: Study, part: str) -> str:
    """Return the name of a job: ``orch-<study>-<part>-<8 hex digits of the study's path>``, at most 64 characters.

    Parameters
    ----------
    study
        Its name is cut if there is not enough room.
    part
        What tells the study's jobs apart: ``<n>.<array>``, or ``steward<k>``; letters, digits, dot, dash, underscore.
    """
    digest = blake2b(os.fsencode(study.path), digest_size=4).hexdigest()
    room = TAG_LENGTH - len(f"orch---{part}{digest}")
    name = re.sub(r"[^A-Za-z0-9._-]", "_", study.name)[:room]
    return f"orch-{name}-{part}-{digest}"


def warning_lead(seconds: float) -> int:
    """Return how long before the end of a time slice its workers are told: a tenth of it, from 30 to 300 seconds."""
    return round(min(max(seconds / 10, 30), 300))


def prologue(resources: Mapping[str, Any]) -> list[str]:
    """Return the lines of a batch script that come before its command: the user's own, signals held off meanwhile.

    A warning that comes before our process is ready would end it: it is ignored until a handler is set, which works
    through ``exec``. Our own timer is there in its place.
    """
    return ["trap '' USR2", *(resources.get("prologue") or "").splitlines()]


def exec_line(command: Sequence[str]) -> str:
    """Return the last line of a batch script: the shell becomes ``command``, so that signals reach it."""
    return f"exec {shlex.join(command)}"


def steward_resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a steward's job asks for: one core, no accelerator, and whatever ``resources["steward"]`` changes."""
    own = {name: value for name, value in (resources.get("steward") or {}).items() if value is not None}
    plain = {"cpus": 1, "gpus": 0, "gpu_type": None, "memory": "2G", "time": "1h", "parallel": None}
    return {**resources, **plain, **own}
