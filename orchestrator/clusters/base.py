"""What every scheduler can do for us, and how our own processes are started."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from orchestrator.errors import UserError
from orchestrator.states import FailureClass, JobState
from orchestrator.study.records import Job, Submission

if TYPE_CHECKING:
    from orchestrator.study.study import Study

__all__ = [
    "ELEMENT", "SIGNALS", "STEWARD", "WAVE", "WORKER", "Cluster", "Evidence", "Here", "Job", "JobState", "LimitReached",
    "Limits", "Part", "environment", "held", "python_command",
]  # fmt: skip


class Limits(NamedTuple):
    """What a scheduler allows.

    Parameters
    ----------
    max_array
        Elements of one array; None: any number.
    room
        Elements that may be handed over now, besides all that this user has in the queue already, foreign jobs
        included; None: any number.
    """

    max_array: int | None = None
    room: int | None = None


class LimitReached(UserError):  # noqa: N818  (an event that is planned for, not a fault)
    """The scheduler takes no more jobs for now. What was refused is handed over later, perhaps in smaller arrays."""


class Part(NamedTuple):
    """Some elements of a job, counted from 0; None: all of them."""

    job: Job
    elements: tuple[int, ...] | None = None


class Here(NamedTuple):
    """Which job, and which of its elements (counted from 0), this process is, and the scheduler's name of its node."""

    job_id: str
    element: int
    node: str = ""

    @property
    def key(self) -> str:
        """The key of ``Job.element``."""
        return f"{self.job_id}_{self.element}"


class Evidence(NamedTuple):
    """What a scheduler says of one element, for people and for the classification of a death without a word.

    Parameters
    ----------
    word
        The scheduler's own word for its state; empty if it has none.
    state
        What that means.
    failure
        The class of failure that it explains, if any.
    why
        One sentence: why it is pending, or how it ended; empty if nothing is known.
    details
        Further facts, one to a line: exit status, machine, memory used and asked for, expected start.
    node
        The scheduler's name of the machine that it ran on, if it ran.
    """

    word: str = ""
    state: JobState = "unknown"
    failure: FailureClass | None = None
    why: str = ""
    details: tuple[str, ...] = ()
    node: str = ""


class Cluster(Protocol):
    """A scheduler as a user reaches it.

    An array of a submission becomes one job; each of its *elements*, counted from 0, trains ``Submission.per_job``
    tasks side by side (``Submission.tasks_of``). A poll answers under ``Job.element(index)``.

    Attributes
    ----------
    kind
        ``local``, ``slurm`` or ``lsf``: the row of ``states.SCHEDULER_WORDS`` that holds its words.
    name
        The name in ``resources.cluster``.
    """

    kind: str
    name: str

    def submit(self, study: Study, submission: Submission, array: int) -> Job:
        """Hand one array of a published submission over.

        The process that begins it takes ``owners/<n>.<array>`` first, and exits if that is taken: to hand an array
        over twice is harmless.

        Raises
        ------
        LimitReached
            If it does not fit now.
        UserError
            If the scheduler refuses it or cannot be reached; transient errors were tried again before that.
        """

    def steward(self, study: Study, k: int, resources: Mapping[str, Any], after: Sequence[Job]) -> Job | None:
        """Leave a one-core job that plans again when ``after`` have ended, however they ended.

        Parameters
        ----------
        study, k
            The study, and the number of the steward: its output goes to ``study.steward_path(k)``.
        resources
            Those of the submission; ``resources["steward"]`` overrides them.
        after
            The jobs that it waits for.

        Returns
        -------
        Job | None
            The job (``n`` and ``array`` are 0), None where jobs are stewards themselves.

        Raises
        ------
        UserError
            As :meth:`submit`.
        """

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Return a state by ``job_id``, or by ``Job.element`` for single elements: one query, whatever the number.

        Only what is certain is ``gone``; what cannot be known is ``unknown``. Where elements are told apart, the answer
        for ``job_id`` holds for those that are not named.

        Raises
        ------
        UserError
            With ``ExitCode.SCHEDULER_UNREACHABLE``, if the scheduler cannot be asked.
        """

    def evidence(self, parts: Sequence[Part]) -> dict[str, Evidence]:
        """Say what is known of elements, by ``Job.element``: accounting where there is one, the queue where not.

        For people, and for elements that are gone without a word. A few queries whatever the number; never raises:
        what cannot be found out is not in the answer.
        """

    def cancel(self, parts: Sequence[Part]) -> None:
        """End jobs or elements; those that are gone already do no harm. Workers get TERM and time for a checkpoint."""

    def limits(self, resources: Mapping[str, Any]) -> Limits:
        """Return what the scheduler allows now to jobs of these resources."""

    def estimate(self, resources: Mapping[str, Any], elements: int) -> str | None:
        """Say in a phrase when such an array would start (``"14:05 today"``), if the scheduler can tell; else None."""

    def here(self) -> Here | None:
        """Return which job this very process is, from its environment; None if it is none of this scheduler's."""

    def requeue(self, here: Here) -> bool:
        """Ask the scheduler, from inside a job, to start this element again. Returns whether it will.

        That it will do so anyway ("already pending") is a yes.
        """


# --- our own processes ------------------------------------------------------------------------------------------------

WORKER: Final = "orchestrator.worker.main:main"
STEWARD: Final = "orchestrator.steward.local:main"
ELEMENT: Final = "orchestrator.worker.element:main"
WAVE: Final = "orchestrator.steward.wave:main"
"""What our processes run. An element's arguments are the study's folder, the submission and the array; a wave steward's
are the study's folder and its number ``k``."""

SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2})
"""What our processes listen to. Sent before they do, it must wait: each would end them."""

_BOOT = """\
import importlib, sys
sys.path = [sys.argv[1], *filter(None, sys.path)]
module, _, function = sys.argv[2].partition(":")
sys.argv[:3] = [module]
sys.exit(getattr(importlib.import_module(module), function)(sys.argv[1:]))
"""


def python_command(code: Path | None, target: str, *arguments: object, python: str | None = None) -> list[str]:
    """Return the command that runs one of our functions from frozen sources.

    Parameters
    ----------
    code
        The folder that goes first on the import path, in place of the current one; None: the sources of this process.
    target
        ``"module:function"``; it is called with the arguments and returns the exit status.
    arguments
        Handed over as text.
    python
        The interpreter; this process's own by default.
    """
    home = Path(__file__).resolve().parents[2] if code is None else code
    return [python or sys.executable, "-c", _BOOT, str(home), target, *map(str, arguments)]


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold our signals back in the processes that are started meanwhile, until they are ready to take them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a worker: this one, and one thread for every numerical library."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(threads, "1"), **(changes or {})}
