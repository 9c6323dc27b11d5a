"""What Slurm can say of elements after the fact: the queue while it remembers, accounting, the controller."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from orchestrator.clusters.base import Evidence
from orchestrator.clusters.slurm_site import optional
from orchestrator.clusters.slurm_text import Key, read_key, read_records, read_rows, read_size
from orchestrator.clusters.slurm_words import NOTHING, Record, explain
from orchestrator.states import read_word

SHOWN: Final = 20
"""Jobs that the controller is asked about one by one, where accounting does not answer."""

_QUEUE = ("%i|%T|%S|%N|%M|%l|%m|%r", "id,word,start,node,elapsed,limit,asked,reason")
_ACCOUNTING = (
    "JobID,State,ExitCode,NodeList,Start,Elapsed,Timelimit,MaxRSS,ReqMem",
    "id,word,exit,node,start,elapsed,limit,used,asked",
)
_CONTROLLER = {
    "word": "JobState", "reason": "Reason", "exit": "ExitCode", "node": "NodeList", "start": "StartTime",
    "elapsed": "RunTime", "limit": "TimeLimit",
}  # fmt: skip

Wanted = Mapping[str, Collection[int] | None]
"""The elements in question by job; None: all."""


def evidence_of(wanted: Wanted) -> dict[str, Evidence]:
    """Return what is known of elements, by ``<job>_<element>``, and by ``<job>`` for jobs that are no arrays.

    A handful of commands whatever the number of elements. What cannot be found out is left out.
    """
    if not wanted:
        return {}
    ids = ",".join(wanted)
    records = read_queue(optional("squeue", "-h", "-a", "-t", "all", "-j", ids, "-o", _QUEUE[0]), wanted)
    if _unexplained(records, wanted):
        told = read_accounting(optional("sacct", "-n", "-P", "-D", "-j", ids, "-o", _ACCOUNTING[0]), wanted)
        for key, record in told.items():
            records[key] = _together(records.get(key), record)
        missing = {job for job in _unexplained(records, wanted) if not any(_of(key, job) for key in told)}
        for job in sorted(missing)[:SHOWN]:
            for key, record in read_controller(optional("scontrol", "-o", "show", "job", job), wanted).items():
                records[key] = _merged(records[key], record) if key in records else record
    return {key: explain(record) for key, record in records.items()}


# --- three sources ----------------------------------------------------------------------------------------------------


def read_queue(text: str, wanted: Wanted) -> dict[str, Record]:
    """Read what ``squeue -t all`` lists."""
    rows = read_rows(text, _QUEUE[1])
    return {key: _record(row) for row in rows for key in _keys(read_key(row.pop("id")), wanted)}


def read_accounting(text: str, wanted: Wanted) -> dict[str, Record]:
    """Read what ``sacct -D`` prints: each start of an element, and the steps of each start after it."""
    starts: dict[str, list[Record]] = defaultdict(list)
    for row in read_rows(text, _ACCOUNTING[1]):
        name, _, step = row.pop("id").partition(".")
        for key in _keys(read_key(name), wanted):
            if not step:
                starts[key].append(_record(row))
            elif starts[key]:
                last = starts[key][-1]
                starts[key][-1] = last._replace(
                    steps=(*last.steps, row["word"]), used=max(last.used, row["used"], key=_size)
                )
    return {
        key: some[-1]._replace(before=tuple(record.word for record in some[:-1]))
        for key, some in starts.items()
        if some
    }


def read_controller(text: str, wanted: Wanted) -> dict[str, Record]:
    """Read what ``scontrol -o show job`` prints."""
    found: dict[str, Record] = {}
    for row in read_records(text):
        if "ArrayTaskId" in row:
            key = read_key(f"{row.get('ArrayJobId', '')}_[{row['ArrayTaskId']}]")
        else:
            key = read_key(row.get("JobId", ""))
        record = _record({field: row.get(name, "") for field, name in _CONTROLLER.items()})
        found.update(dict.fromkeys(_keys(key, wanted), record))
    return found


# --- which to believe -------------------------------------------------------------------------------------------------


def _keys(key: Key | None, wanted: Wanted) -> Iterator[str]:
    """Return the keys of the elements that a row is about, as far as they are wanted."""
    if key is None or key.job_id not in wanted:
        return
    some = wanted[key.job_id]
    if key.elements is None:
        yield key.job_id
    for element in (0,) if key.elements is None else key.elements.values:
        if some is None or element in some:
            yield f"{key.job_id}_{element}"


def _of(key: str, job: str) -> bool:
    return key.partition("_")[0] == job


def _unexplained(records: Mapping[str, Record], wanted: Wanted) -> set[str]:
    """Return the jobs of which an element has ended, or is not known at all."""
    ended = {
        key.partition("_")[0]
        for key, record in records.items()
        if read_word("slurm", record.word).state in ("gone", "unknown")
    }
    unknown = {
        job
        for job, some in wanted.items()
        if not any(_of(key, job) for key in records) or any(f"{job}_{element}" not in records for element in some or ())
    }
    return ended | unknown


def _together(queue: Record | None, accounting: Record) -> Record:
    """Return what the queue, which is up to date, and accounting, which lags behind and knows more, say together."""
    over = _gone(accounting)
    if queue is None:
        return accounting if over else accounting._replace(forgotten=True)
    if not _gone(queue):
        return queue  # accounting speaks of an earlier start
    return _merged(queue, accounting) if over else _merged(accounting, queue)


def _gone(record: Record) -> bool:
    return read_word("slurm", record.word).state == "gone"


def _merged(less: Record, more: Record) -> Record:
    """Return ``more``, filled up with what only ``less`` knows."""
    told = {name: value for name, value in more._asdict().items() if value and value not in NOTHING}
    return _record({**less._asdict(), **told})


def _record(fields: Mapping[str, Any]) -> Record:
    return Record(**fields)


def _size(text: str) -> int:
    return read_size(text, "K") or 0
