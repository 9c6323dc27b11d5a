"""What tasks that are over said, together in one file: nobody reads ten thousand journals at every look.

A task is over when its last incarnation ended a while ago and every run has a verdict; whatever another incarnation
of it does, it finds nothing to train. The file is made of the journals, and can go at any time. Whoever finds it far
behind writes it anew, whole; of several writers any may win, for all write what the journals say.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator.study import atomic
from orchestrator.study.incarnation import JOURNAL
from orchestrator.study.journal import IncarnationLog

FILE: Final = "sealed.json"

VERSION: Final = 1

FEWEST: Final = 500
"""So many tasks must be over that the file does not name, or a tenth of those it does, before it is written."""

SETTLED: Final = 300.0
"""Seconds for which nothing was written to a task's last journal, by the file system's clock, before it counts as over:
a machine that was cut off may have ended it while its successor, which a network file system does not show yet, went on
from an earlier step."""

_FIELDS: Final = (
    "k", "begin", "engine", "begun", "restored", "progress", "saved", "verdicts", "failures", "end", "why", "peak",
    "cpu", "seconds",
)  # fmt: skip
"""All that a look at the study needs; not the course of a run, which only restoring and auditing follow."""

Logs = list[IncarnationLog]


def over(logs: Sequence[IncarnationLog]) -> bool:
    """Return whether nothing that a task may still say can change what is known of its runs."""
    if not logs or logs[-1].end is None or any(log.damage or log.unread for log in logs):
        return False
    try:
        if time.time() - (logs[-1].path / JOURNAL).stat().st_mtime < SETTLED:
            return False
    except OSError:
        return False
    last: dict[int, bool] = {}
    for log in logs:
        for lane, begun in enumerate(log.begun):
            if begun is not None:
                last[lane] = log.verdicts[lane] is not None
    return len(last) == len(logs[-1].begun) and all(last.values())


def read(path: Path) -> dict[str, Logs]:
    """Return the logs of the tasks in a study's file, without their courses; nothing if it is absent or damaged.

    Parameters
    ----------
    path
        The study's folder.
    """
    try:
        digest, _, data = (path / FILE).read_bytes().partition(b"\n")
        if digest != _digest(data):
            return {}
        tasks: dict[str, list[list[Any]]] = json.loads(data)
    except (OSError, ValueError):
        return {}
    return {name: [_log(path, name, values) for values in rows] for name, rows in tasks.items()}


def write(path: Path, known: Mapping[str, Logs], fresh: Mapping[str, Logs]) -> None:
    """Write a study's file anew if it is far behind; where it cannot be written, it is left alone.

    Parameters
    ----------
    path
        The study's folder.
    known, fresh
        The tasks that the file names, and others that are over.
    """
    if len(fresh) < max(FEWEST, len(known) // 10):
        return
    tasks = {
        name: [[getattr(log, field) for field in _FIELDS] for log in logs] for name, logs in {**known, **fresh}.items()
    }
    data = json.dumps(tasks, separators=(",", ":")).encode()
    with contextlib.suppress(OSError), atomic.writing(path / FILE) as file:
        file.write(_digest(data) + b"\n" + data)


def _digest(data: bytes) -> bytes:
    return f"{VERSION} {hashlib.blake2b(data, digest_size=16).hexdigest()}".encode()


def _log(path: Path, task: str, values: list[Any]) -> IncarnationLog:
    given = dict(zip(_FIELDS, values, strict=True))
    given["verdicts"] = [verdict and tuple(verdict) for verdict in given["verdicts"]]
    return IncarnationLog(task=task, n=int(task.partition("-")[0]), folder=f"{path}/tasks/{task}/{given['k']}", **given)
