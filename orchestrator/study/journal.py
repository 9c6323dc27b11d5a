"""Reading journals: what each incarnation said, damaged lines skipped and named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.study.incarnation import HEARTBEAT, JOURNAL
from orchestrator.study.records import Damage
from orchestrator.study.spans import from_spans, per_lane

Record = dict[str, Any]

_EMPTY = object()


@dataclass
class IncarnationLog:
    """What one incarnation wrote, by lane (index among the task's runs).

    Parameters
    ----------
    task, n, k, folder
        The task, its submission, the number of the incarnation, and its folder.
    begin, engine
        The records of these kinds, without their kind; empty if absent.
    begun, restored
        For each lane the step it began from, first and last; None where it did not begin. An incarnation begins a lane
        again when a failure of its neighbours made it go back to a checkpoint.
    progress, saved
        For each lane the last step it told of, and that of its last checkpoint, since it was last restored.
    course
        The ``restored`` and ``checkpoint`` records in order; :func:`columns` spells one out.
    verdicts
        For each lane: outcome and step, or None.
    failures
        For each lane: the ``failed`` record, or None.
    end
        The reason it gave when it ended; None if it still runs or died.
    why
        What a witness saw of its predecessor's end.
    peak, cpu, seconds
        What it used, as it said when it ended: the most memory in bytes, processor time and time in seconds; 0 if it
        did not say.
    records
        The records as they stand, in order; only where asked for.
    damage
        Lines that could not be read.
    unread
        Why the journal could not be read at all, although it is there; None if it could. What it says is not known
        then, and nobody may take it for nothing.
    """

    task: str
    n: int
    k: int
    folder: str
    begin: Record = field(default_factory=dict)
    engine: Record = field(default_factory=dict)
    begun: list[int | None] = field(default_factory=list)
    restored: list[int | None] = field(default_factory=list)
    progress: list[int | None] = field(default_factory=list)
    saved: list[int | None] = field(default_factory=list)
    course: list[Record] = field(default_factory=list)
    verdicts: list[tuple[str, int] | None] = field(default_factory=list)
    failures: list[Record | None] = field(default_factory=list)
    end: str | None = None
    why: str = ""
    peak: int = 0
    cpu: float = 0.0
    seconds: float = 0.0
    records: list[Record] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    unread: OSError | None = None

    @property
    def path(self) -> Path:
        """The incarnation's folder."""
        return Path(self.folder)


def read_log(task: str, k: int, folder: str, count: int, *, keep_records: bool = False) -> IncarnationLog:
    """Read the journal of incarnation ``k`` of a task of ``count`` runs; a missing file reads as nothing said."""
    log = IncarnationLog(task, int(task.partition("-")[0]), k, folder)
    log.begun, log.restored, log.progress, log.saved = [None] * count, [None] * count, [None] * count, [None] * count
    log.verdicts, log.failures = [None] * count, [None] * count
    file = f"{folder}/{JOURNAL}"
    try:
        with open(file, "rb") as journal:  # noqa: PTH123  (there may be ten thousand of them: each microsecond counts)
            data = journal.read()
    except FileNotFoundError:
        return log
    except OSError as error:
        log.damage.append(Damage(file, 0, error.strerror or str(error)))
        log.unread = error
        return log
    # What follows the last line break is a record that is being written, or never was.
    lines = data.split(b"\n")[:-1]
    for number, record in enumerate(_parse(lines), 1):
        if record is _EMPTY:
            continue
        try:
            if isinstance(record, Exception):
                raise record
            _apply(log, record)
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            log.damage.append(Damage(file, number, f"not a record ({type(error).__name__})"))
            continue
        if keep_records:
            log.records.append(record)
    return log


def _parse(lines: list[bytes]) -> Iterable[Any]:
    """Parse lines: a value for each, an exception for what is no JSON."""
    try:
        values: list[Any] = json.loads(b"[" + b",".join(lines) + b"]")
        # All at once is twice as fast, and right unless something is damaged.
        if len(values) == len(lines) and all(type(value) is dict for value in values):
            return values
    except (ValueError, RecursionError):
        pass
    return map(_parse_line, lines)


def _parse_line(line: bytes) -> Any:
    if not line:
        return _EMPTY
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return error


def columns(record: Record) -> list[tuple[int, int]]:
    """Spell out a ``checkpoint`` or ``restored`` record: lane and step of each column."""
    lanes = from_spans(record["lanes"])
    return list(zip(lanes, per_lane(record["steps"], len(lanes)), strict=True))


def read_heartbeat(path: Path) -> int | None:
    """Return the counter of an incarnation's heartbeat, or None if there is none to be read."""
    try:
        return int((path / HEARTBEAT).read_bytes())
    except (OSError, ValueError):
        return None


def _apply(log: IncarnationLog, record: Record) -> None:
    kind = record["t"]
    if kind == "progress":
        for place, steps in _lanes(record, len(log.progress)):
            log.progress[place] = steps
    elif kind == "restored":
        for place, steps in _lanes(record, len(log.restored)):
            log.restored[place] = steps
            before = log.begun[place]
            log.begun[place] = [step if first is None else first for step, first in zip(steps, before, strict=True)]
            # What it said of these lanes before is undone.
            for said in (log.progress, log.saved, log.verdicts, log.failures):
                said[place] = [None] * len(steps)
        log.course.append(record)
    elif kind == "checkpoint":
        str(record["file"])
        for place, steps in _lanes(record, len(log.saved)):
            log.saved[place] = steps
        log.course.append(record)
    elif kind == "verdict":
        outcome = str(record["outcome"])
        for place, steps in _lanes(record, len(log.verdicts)):
            log.verdicts[place] = [(outcome, step) for step in steps]
    elif kind == "failed":
        kept = {name: value for name, value in record.items() if name not in ("t", "lanes")}
        str(kept["class"])
        for place, steps in _lanes(record | {"steps": 0}, len(log.failures)):
            log.failures[place] = [kept] * len(steps)
    elif kind == "end":
        used = int(record.get("peak", 0)), float(record.get("cpu", 0)), float(record.get("seconds", 0))
        log.end, log.why = str(record["reason"]), str(record.get("why", ""))
        log.peak, log.cpu, log.seconds = used
    elif kind in ("begin", "engine"):
        setattr(log, kind, {name: value for name, value in record.items() if name != "t"})
    elif not isinstance(kind, str):
        raise TypeError("a record's kind is a word")


def _lanes(record: Mapping[str, Any], count: int) -> list[tuple[slice, list[int]]]:
    """Return a record's lanes as slices with their steps: assigning a slice costs next to nothing per lane.

    The whole record is checked before any of it is used.
    """
    spans, steps = record["lanes"], record["steps"]
    places: list[tuple[slice, int]] = []
    for start, stop, step in spans:
        size = len(range(start, stop, step))
        if start < 0 or step <= 0 or (size and start + (size - 1) * step >= count):
            raise ValueError("no such lane")
        places.append((slice(start, stop, step), size))
    if type(steps) is int:  # nearly always: lanes of a task go in step
        return [(place, [steps] * size) for place, size in places]
    each = per_lane(steps, sum(size for _, size in places))
    parts: list[tuple[slice, list[int]]] = []
    at = 0
    for place, size in places:
        parts.append((place, each[at : at + size]))
        at += size
    return parts
