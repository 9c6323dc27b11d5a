"""Slurm's texts, read and written: pure functions, tested on what real commands printed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from orchestrator.states import JobState, read_word

# --- array expressions ------------------------------------------------------------------------------------------------


class Indices(NamedTuple):
    """Indices of array elements.

    Parameters
    ----------
    values
        In the order of the text.
    whole
        False if the text was cut short: there are more.
    """

    values: tuple[int, ...]
    whole: bool = True


_ITEM = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


def read_indices(text: str) -> Indices:
    """Read ``2-9,11%2``, ``1-7:2``, ``4%1`` or ``0-2,5,...``, in brackets or not.

    Raises
    ------
    ValueError
        If it is nothing of that kind.
    """
    values: list[int] = []
    for item in text.strip().removeprefix("[").removesuffix("]").partition("%")[0].split(","):
        if "..." in item:
            return Indices(tuple(values), whole=False)
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{text!r} names no elements of an array")
        first, last, step = (int(group) if group else None for group in match.groups())
        assert first is not None
        values.extend(range(first, (first if last is None else last) + 1, step or 1))
    return Indices(tuple(values))


def write_indices(values: Iterable[int]) -> str:
    """Write indices as Slurm takes them: ``0-2,5``; ascending, each once."""
    ordered = sorted(set(values))
    breaks = [at for at, (left, right) in enumerate(pairwise(ordered), start=1) if right != left + 1]
    runs = [ordered[start:stop] for start, stop in pairwise([0, *breaks, len(ordered)])] if ordered else []
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


_KEY = re.compile(r"(\d+)(?:_(?:(\d+)|\[([^\]]*)\]?))?")


class Key(NamedTuple):
    """What a job or some elements are called: the array's id, and its elements; None: a job that is no array."""

    job_id: str
    elements: Indices | None


def read_key(text: str) -> Key | None:
    """Read ``102``, ``102_3`` or ``102_[4-9%2]``; None for anything else, such as the parts of a heterogeneous job."""
    match = _KEY.fullmatch(text.strip())
    if match is None:
        return None
    job_id, element, expression = match.groups()
    if expression is None:
        return Key(job_id, Indices((int(element),)) if element else None)
    try:
        return Key(job_id, read_indices(expression))
    except ValueError:
        return None


# --- sbatch -----------------------------------------------------------------------------------------------------------

_SUBMITTED = re.compile(r"^\s*Submitted batch job (\d+)", re.MULTILINE)
_PARSABLE = re.compile(r"^(\d+)(?:;\S*)?\s*$", re.MULTILINE)
_START = re.compile(r"Job \d+ to start at (\S+)")


def read_job_id(text: str) -> str | None:
    """Find the id of the job that ``sbatch`` handed over, whatever a site prints before and after it."""
    for pattern in (_SUBMITTED, _PARSABLE):
        if found := pattern.findall(text):
            return str(found[-1])
    return None


def read_start(text: str) -> datetime | None:
    """Read when ``sbatch --test-only`` would start a job; None if it cannot tell."""
    match = _START.search(text)
    return read_time(match[1]) if match else None


def phrase(start: datetime, now: datetime) -> str:
    """Say when something starts: ``at once``, ``14:05 today``, ``09:30 tomorrow``, ``09:30 on 24 Nov``."""
    if start - now < timedelta(minutes=1):
        return "at once"
    days = (start.date() - now.date()).days
    if days > 365:
        return "not within a year"
    return f"{start:%H:%M} {('today', 'tomorrow')[days] if days < 2 else f'on {start.day} {start:%b}'}"


# --- squeue -----------------------------------------------------------------------------------------------------------

LISTING = "%i|%T|%r"
"""What every refresh asks of ``squeue``: no field that a user can fill with anything."""

ABANDONED = re.compile(r"(launch failed|user env retrieval failed) requeued held|jobholdmaxrequeue")
"""Why a job waits that no machine could start: for somebody to release it, and nobody knows that he should.

It counts as gone. Should it be released after all, its tasks have another owner by then, and it leaves.
"""


def read_listing(text: str) -> Iterator[tuple[Key, str, str]]:
    """Read rows of :data:`LISTING`: which elements, the scheduler's word, and why; anything else is passed over."""
    for line in text.splitlines():
        name, separator, rest = line.partition("|")
        key = read_key(name)
        if separator and key is not None:
            word, _, reason = rest.partition("|")
            yield key, word.strip(), reason.strip()


_ALIVE: Mapping[JobState, int] = {"gone": 0, "pending": 1, "unknown": 2, "running": 3}


def read_states(text: str, asked: Collection[str]) -> dict[str, JobState]:
    """Return the states of jobs: by id, and by ``<id>_<index>`` for the elements that a listing names.

    Parameters
    ----------
    text
        The listing. What it does not name is gone, unless it was cut short: then the rest of that array is pending.
    asked
        Ids of the jobs in question; others may stand in the listing too.
    """
    states: dict[str, JobState] = dict.fromkeys(asked, "gone")
    for (job_id, elements), word, reason in read_listing(text):
        if job_id not in states or ABANDONED.fullmatch(_plain(reason)):
            continue
        state = read_word("slurm", word).state
        keys = [job_id] if elements is None else [f"{job_id}_{index}" for index in elements.values]
        if elements is not None and not elements.whole:
            keys.append(job_id)
        for key in keys:  # an element that is listed twice, while it is requeued, is what is more alive
            states[key] = max(state, states.get(key, "gone"), key=_ALIVE.__getitem__)
    return states


def _plain(reason: str) -> str:
    """Return a reason as every version of Slurm may have written it: with blanks or underscores, in any case."""
    return reason.replace("_", " ").strip("()").lower()


# --- tables and records -----------------------------------------------------------------------------------------------


def read_rows(text: str, fields: str) -> Iterator[dict[str, str]]:
    """Read lines of values between bars (``squeue -o``, ``sacct -nP``, ``sacctmgr -nP``).

    Parameters
    ----------
    text
        Lines with another number of values are passed over.
    fields
        Names of the values, with commas between them.
    """
    names = fields.split(",")
    for line in text.splitlines():
        values = line.split("|")
        if len(values) == len(names):
            yield dict(zip(names, map(str.strip, values), strict=True))


_PAIR = re.compile(r"(?:^|\s)([A-Za-z][\w/:]*)=")


def read_records(text: str) -> Iterator[dict[str, str]]:
    """Read what ``scontrol -o show`` prints: ``Name=value`` pairs, a record to a line; values may hold spaces."""
    for line in text.splitlines():
        marks = list(_PAIR.finditer(line))
        ends = [mark.start() for mark in marks[1:]] + [len(line)]
        if marks:
            yield {mark[1]: line[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)}


def read_settings(text: str) -> dict[str, str]:
    """Read what ``scontrol show config`` prints: ``Name = value``, one to a line."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


# --- values -----------------------------------------------------------------------------------------------------------

_SPAN = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)[nc]?")
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def read_number(text: str) -> int | None:
    """Read a number at the beginning of a text (``300 sec``, ``2+``); None if there is none."""
    match = re.match(r"\d+", text.strip())
    return int(match[0]) if match else None


def read_span(text: str) -> float | None:
    """Read ``1-02:03:04``, ``02:03:04`` or ``03:04`` in seconds; None for ``UNLIMITED`` and the like."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def read_size(text: str, unit: str = "M") -> int | None:
    """Read an amount of memory (``500M``, ``2Gn``, ``4000+``) in bytes; a bare number is in ``unit``."""
    match = _SIZE.fullmatch(text.strip().rstrip("+"))
    return int(float(match[1]) * 1024 ** _UNITS[match[2] or unit]) if match else None


def read_time(text: str) -> datetime | None:
    """Read a time of Slurm's (local, without a zone); None for ``N/A``, ``Unknown`` and years that are no answer."""
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None
