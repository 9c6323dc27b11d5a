"""The LSF that is installed: its commands, and what it answers. Both our cluster and the submitit plugin speak to it.

What it knows is asked once per process: help texts, which ask nobody but the program, ``lsid`` and ``bparams``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from orchestrator.clusters import lsf_text
from orchestrator.clusters.base import LimitReached
from orchestrator.clusters.batch import BRIEFLY, Commands, SchedulerFacts, Transient
from orchestrator.clusters.lsf_options import Dialect, element, listed_options
from orchestrator.clusters.lsf_text import WIDE, Format, Listing, Product, Row, Story
from orchestrator.clusters.lsf_words import COMING, ENDED, FULL, NOT_UNDERSTOOD, TRANSIENT, refusal
from orchestrator.errors import ExitCode, UserError
from orchestrator.states import read_word

LSF: Final = Commands(
    "LSF",
    transient=TRANSIENT,
    # Variables of the job that we are in; some make bsub silent, wait, or only look at what it was given.
    foreign=re.compile(r"LSB_(?!DEFAULT)\w*|LS_\w+|BSUB_\w+"),
    # Without it bsub and bjobs wait for ever where they would have to wait. How long to insist is decided here.
    fixed={"LSB_NTRIES": "1"},
)

_HELP: Final = replace(LSF, transient=re.compile(r"(?!)"))
SLOW: Final = 30.0
"""Seconds for a command whose answer is not needed: histories are read from files that may be large."""

_ARGUMENTS: Final = 60_000
"""Characters of ids in one command."""

# --- what it knows ----------------------------------------------------------------------------------------------------
# Asked once for each program that is found on the search path.


def _options(command: str) -> frozenset[str]:
    return _listed(command, shutil.which(command))


@functools.cache
def _listed(command: str, _: str | None) -> frozenset[str]:
    answer = _HELP.once([command, "-h", "all"])  # since version 10 "-h" alone names no options any more
    return listed_options(answer.out + answer.err)


def product() -> Product:
    """Return what ``lsid`` tells; nothing where it tells nothing."""
    return _product(shutil.which("lsid"))


@functools.cache
def _product(program: str | None) -> Product:
    if program is None:
        return Product()
    answer = LSF.ask(["lsid"], longest=BRIEFLY)
    return lsf_text.read_product(answer.out + answer.err)


def parameters() -> dict[str, str]:
    """Return what the site has set: ``lsf.conf``, ``bparams``, and the environment over both.

    Raises
    ------
    UserError
        If LSF cannot be reached.
    """
    unit = os.environ.get("LSF_UNIT_FOR_LIMITS")
    found = _parameters(shutil.which("bparams"), os.environ.get("LSF_ENVDIR") or "/etc")
    return {**found, **({"LSF_UNIT_FOR_LIMITS": unit} if unit else {})}


@functools.cache
def _parameters(_: str | None, folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        found = lsf_text.read_parameters((Path(folder) / "lsf.conf").read_text(encoding="utf-8", errors="replace"))
    for option in ("-l", "-a"):  # older members of the family know only the first
        found |= lsf_text.read_parameters(LSF.ask(["bparams", option]).out)
        if "MAX_JOB_ARRAY_SIZE" in found:
            break
    return found


ELSEWHERE: Final = Dialect(Product("IBM Spectrum LSF 10.1.0.13", (10, 1, 0, 13)))
"""What is believed of an LSF that is not on this machine: scripts for it can be written anywhere."""


def dialect() -> Dialect:
    """Return what the installation understands, as far as submitting goes.

    Raises
    ------
    UserError
        If LSF is here and cannot be reached.
    """
    if shutil.which("bsub") is None:
        return ELSEWHERE
    return Dialect(product(), {"bsub": _options("bsub")}, parameters())


def _formats() -> list[Format]:
    """Return how jobs are listed, the best way last. What proves not to be understood is taken off."""
    return _formats_of(shutil.which("bjobs"))


@functools.cache
def _formats_of(_: str | None) -> list[Format]:
    listed = _options("bjobs")
    best = Dialect(Product() if "-J" in listed else product(), {"bjobs": listed}).listing
    return [WIDE] if best is WIDE else [WIDE, best]


def room(jobs: int | None) -> int | None:
    """Return how many more jobs and elements LSF takes of this user; None if nothing bounds them.

    Parameters
    ----------
    jobs
        How many there may be in the queue, by the user's own wish.
    """
    most = [int(parameters()[name]) for name in _PENDING if parameters().get(name, "").isdecimal()]
    users = lsf_text.read_table(_optional("busers", "-w"))
    most += [int(user["MPJOBS"]) for user in users if user.get("MPJOBS", "").isdecimal()]
    if not most and jobs is None:
        return None
    rows = ask_listing([], ended=False).rows
    waiting = sum(read_word("lsf", row.word).state == "pending" for row in rows)
    return max(0, min([limit - waiting for limit in most] + ([] if jobs is None else [jobs - len(rows)])))


_PENDING: Final = ("MAX_PEND_JOBS",)


def _optional(*command: str) -> str:
    """Return what a command prints; nothing if it cannot be run, or takes too long. Some fail after they have told."""
    try:
        return LSF.once(command, timeout=SLOW).out
    except (Transient, UserError):
        return ""


def facts() -> SchedulerFacts:
    """Return what can be found out about this LSF; never raises."""
    try:
        said, known, queued = parameters(), dialect(), ask_listing([], ended=False)
    except (UserError, Transient) as error:
        return SchedulerFacts("lsf", reachable=False, problem=str(error))
    seconds = {name: float(said[name]) for name in ("CLEAN_PERIOD", "JOB_TERMINATE_INTERVAL") if name in said}
    default = re.split(r"[\s,]+", said.get("DEFAULT_QUEUE", ""))
    return SchedulerFacts(
        "lsf",
        version=known.product.title,
        cluster=known.product.cluster,
        controller=known.product.master,
        queues=lsf_text.read_queues(_optional("bqueues", "-l"), default),
        max_array=known.max_array,
        submit_limit=next((int(said[name]) for name in _PENDING if said.get(name, "").isdecimal()), None),
        queued=len(queued.rows),
        accounts=(said["DEFAULT_PROJECT"],) if "DEFAULT_PROJECT" in said else (),
        accounting=shutil.which("bacct") is not None,
        remembers=seconds.get("CLEAN_PERIOD", 3600.0),
        grace=seconds.get("JOB_TERMINATE_INTERVAL", 10.0),
        memory_unit=f"{known.unit}B",
        notes=tuple(known.notes()),
    )


# --- asking for jobs --------------------------------------------------------------------------------------------------


def listing(words: Sequence[str], ended: bool = True) -> Listing:
    """List jobs with one command, whatever their number.

    Parameters
    ----------
    words
        Ids, or ``-J`` and a name; without any: all jobs of this user.
    ended
        Whether those count that have ended and are remembered.

    Raises
    ------
    Transient
        If LSF cannot answer just now.
    UserError
        If it cannot be asked, or says something else.
    """
    options = ["-a"] if ended else []
    while True:
        form = _formats()[-1]
        answer = LSF.once(["bjobs", *options, *form.options, *words])
        found = lsf_text.read_listing(form, answer.out, answer.err, answer.code)
        if found.rows or found.whole:
            return found
        if form is WIDE or not NOT_UNDERSTOOD.search(answer.err + answer.out):
            raise UserError(f"LSF says of our jobs: {answer.said}", exit_code=ExitCode.SCHEDULER_UNREACHABLE)
        _formats().pop()


def ask_listing(words: Sequence[str], *, ended: bool = True, longest: float = BRIEFLY) -> Listing:
    """As :func:`listing`; where LSF cannot answer just now, it is asked again for up to ``longest`` seconds."""
    return LSF.insist(lambda: listing(words, ended), longest)


def pending(words: Sequence[str]) -> dict[tuple[str, int], tuple[str, ...]]:
    """Return why jobs wait, by (job id, number)."""
    return lsf_text.read_pending(LSF.ask(["bjobs", "-p", *words], longest=BRIEFLY).out)


def stories(words: Sequence[str]) -> dict[tuple[str, int], Story]:
    """Return how jobs went, by (job id, number): from the newest events, then from all, then from accounting.

    What cannot be found out is not in the answer: sites may have any of these, or none, and they may be slow.
    """
    told: dict[tuple[str, int], Story] = {}
    for command in (["bhist", "-l"], ["bhist", "-l", "-n", "0"], ["bacct", "-l"]):
        missing = [word for word in words if not _ended(told, word)]
        if not missing:
            break
        for job, story in lsf_text.read_stories(_optional(*command, *missing)).items():
            if story.ended or job not in told:
                told[job] = story
    return told


def _ended(told: Mapping[tuple[str, int], Story], word: str) -> bool:
    ends = [story.ended for job, story in told.items() if word in (job[0], element(*job))]
    return bool(ends) and all(ends)


# --- handing over -----------------------------------------------------------------------------------------------------


def hand_over(
    text: str,
    resources: Mapping[str, Any],
    section: str = "resources",
    *,
    name: str | None = None,
    again: bool = False,
) -> str:
    """Hand a batch script over and return the job's id.

    Parameters
    ----------
    text
        The script; it is read from standard input, the only way in which its ``#BSUB`` lines count everywhere.
    resources, section
        What was asked for, in a user's words, and where that stands in a grid.
    name
        The job's name, if it is the only one of that name: so it is found where an error hides a success.
    again
        Whether it may have been handed over before.

    Raises
    ------
    LimitReached
        If LSF takes no more jobs for now.
    UserError
        If it refuses the job, or cannot be reached.
    """

    def attempt() -> str | None:
        try:
            answer = LSF.once(["bsub"], text=text)
        except Transient as error:  # older versions wait for room whatever they are told
            if FULL.search(str(error)):
                raise LimitReached(f"LSF takes no more jobs for now: {error}") from error
            raise
        if answer.code:
            raise refusal(answer.said, resources, section)
        return lsf_text.read_submitted(answer.out + answer.err)

    def find() -> str | None:
        rows: tuple[Row, ...] = listing(["-J", name]).rows if name else ()
        return max((row.job_id for row in rows if row.name == name), key=int, default=None)

    job_id = LSF.hand_over(attempt, find, again=again)
    if job_id is None:
        raise UserError("LSF took a job and told no id, and does not list it: look for it with `bjobs -a`")
    return job_id


# --- ending and starting again ----------------------------------------------------------------------------------------


def kill(words: Iterable[str], signal: str | None = None) -> None:
    """End jobs and elements, or send them a signal; what is gone does no harm.

    Raises
    ------
    UserError
        If LSF cannot be reached, or refuses.
    """
    for some in _chunks(words):
        answer = LSF.ask(["bkill", *(["-s", signal] if signal else []), *some])
        bad = [line for line in answer.err.splitlines() if line.strip() and not ENDED.search(line)]
        if answer.code and bad:
            raise UserError(f"LSF did not end every job: {' '.join(bad)}")


def requeue(word: str) -> tuple[bool, str]:
    """Start a job again from its beginning. Return whether it will be, and what LSF said.

    LSF may have done so by itself meanwhile: that it waits already is a yes. And it may end this job, with the command
    in it, before that can say so.
    """
    answer = LSF.ask(["brequeue", word])
    taken = answer.code is not None and answer.code <= 0
    return taken or bool(COMING.search(answer.err + answer.out)), answer.said


def _chunks(words: Iterable[str]) -> Iterable[list[str]]:
    chunk: list[str] = []
    for word in words:
        if chunk and sum(map(len, chunk)) + len(word) > _ARGUMENTS:
            yield chunk
            chunk = []
        chunk.append(word)
    if chunk:
        yield chunk
