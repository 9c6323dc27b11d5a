"""What every scheduler can do for us, and how our own processes are started."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from orchestrator.states import JobState
from orchestrator.study.records import Job, Submission

if TYPE_CHECKING:
    from orchestrator.study.study import Study

__all__ = [
    "SIGNALS", "STEWARD", "WORKER", "Cluster", "Job", "JobState", "Limits", "environment", "held", "python_command",
]  # fmt: skip


class Limits(NamedTuple):
    """What a scheduler allows.

    Parameters
    ----------
    max_array
        Elements of one array; None: any number.
    max_jobs
        Elements that may be handed over at one time; None: any number.
    """

    max_array: int | None = None
    max_jobs: int | None = None


class Cluster(Protocol):
    """A scheduler as a user reaches it.

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
        UserError
            If the scheduler refuses it or cannot be reached.
        """

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Return a state by ``job_id``, or by ``Job.element`` for single elements: one query, whatever the number.

        Only what is certain is ``gone``; what cannot be known is ``unknown``.
        """

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End jobs; those that are gone already do no harm. Workers get TERM and time for a checkpoint."""

    def limits(self) -> Limits:
        """Return what the scheduler allows now."""


# --- our own processes ------------------------------------------------------------------------------------------------

WORKER: Final = "orchestrator.worker.main:main"
STEWARD: Final = "orchestrator.steward:main"

SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2})
"""What our processes listen to. Sent before they do, it must wait: each would end them."""

_BOOT = """\
import importlib, sys
sys.path = [sys.argv[1], *filter(None, sys.path)]
module, _, function = sys.argv[2].partition(":")
sys.argv[:3] = [module]
sys.exit(getattr(importlib.import_module(module), function)(sys.argv[1:]))
"""


def python_command(code: Path | None, target: str, *arguments: object) -> list[str]:
    """Return the command that runs one of our functions from frozen sources.

    Parameters
    ----------
    code
        The folder that goes first on the import path, in place of the current one; None: the sources of this process.
    target
        ``"module:function"``; it is called with the arguments and returns the exit status.
    arguments
        Handed over as text.
    """
    home = Path(__file__).resolve().parents[2] if code is None else code
    return [sys.executable, "-c", _BOOT, str(home), target, *map(str, arguments)]


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
