"""One process start of a task: the one writer of ``tasks/<task>/<k>/``."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, SupportsInt

from orchestrator.errors import UserError
from orchestrator.study import atomic
from orchestrator.study.records import Task
from orchestrator.study.spans import pack_steps, to_spans

JOURNAL = "journal.jsonl"
HEARTBEAT = "heartbeat"
STDOUT = "stdout"
STDERR = "stderr"

CASUAL = frozenset({"progress"})
"""Kinds of records that may be lost with the machine; every other one is on the disk before the call returns."""


class Incarnation:
    """Incarnation ``k`` of a task. Nobody else ever writes to its folder.

    Parameters
    ----------
    task
        The task with its runs.
    k
        Counted from 1.
    path
        The folder.
    superseded
        Says which lanes are somebody else's by now (``Study.superseded``).
    """

    def __init__(
        self, task: Task, k: int, path: Path, superseded: Callable[[Incarnation, Sequence[bytes]], Container[int]]
    ) -> None:
        self.task, self.n, self.k, self.path = task, task.n, k, path
        self.seen = task.n  # the last entry of the chain that `Study.superseded` has looked at
        self.gone: set[int] = set()  # lanes found to belong to somebody else, or cancelled
        self._journal = atomic.open_journal(path / JOURNAL)
        self._heartbeat = os.open(path / HEARTBEAT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._beats = 0
        self._torn = False
        self._sequence = 0
        self._superseded = superseded
        self._kept: dict[Path, tuple[frozenset[int], set[int]]] = {}  # own checkpoints: their lanes, and who needs them
        self.beat()

    @property
    def attempt(self) -> int:
        """Ordinal of this incarnation's work on its runs; grows along ownership."""
        return self.n * 100_000 + self.k

    @property
    def stdout(self) -> Path:
        """Where the process's standard output goes."""
        return self.path / STDOUT

    @property
    def stderr(self) -> Path:
        """Where the process's standard error goes."""
        return self.path / STDERR

    def write(
        self,
        kind: str,
        /,
        *,
        lanes: Iterable[SupportsInt] | None = None,
        steps: SupportsInt | Iterable[SupportsInt] | None = None,
        **fields: Any,
    ) -> None:
        """Append one record to the journal.

        Parameters
        ----------
        kind
            ``begin engine restored progress checkpoint verdict failed end``.
        lanes
            Indices among the task's runs, any iterable of integers.
        steps
            One step for all these lanes, or one for each.
        fields
            What else the kind holds; JSON-able.

        Raises
        ------
        OSError
            If the disk does not take it. The record does not count then; later ones do.
        """
        named = list(map(int, lanes)) if lanes is not None else []
        record: dict[str, Any] = {"t": kind}
        if lanes is not None:
            record["lanes"] = to_spans(named)
        if steps is not None:
            record["steps"] = pack_steps(steps)
        if kind == "begin":
            record["code"] = self.task.submission.source
        line = json.dumps(record | fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
        # After a record that was cut off by a full disk, a line break keeps the next one readable.
        data = (b"\n" if self._torn else b"") + line + b"\n"
        self._torn = True
        atomic.append(self._journal, data, durable=kind not in CASUAL)
        self._torn = False
        if kind == "verdict":
            self._release(named)

    def beat(self) -> None:
        """Count the heartbeat on: observers look at the counter, never at a clock."""
        self._beats += 1
        atomic.overwrite(self._heartbeat, b"%020d\n" % self._beats)

    def checkpoint(
        self,
        write: Callable[[BinaryIO], None],
        lanes: Iterable[SupportsInt],
        steps: SupportsInt | Iterable[SupportsInt],
    ) -> Path:
        """Publish a checkpoint under a new number, and journal it.

        Parameters
        ----------
        write
            Fills the file; columns in the order of ``lanes``. Events that it covers must be on the disk already.
        lanes
            Which lanes it holds, by column.
        steps
            The step of each lane (or one for all) that comes next.

        Returns
        -------
        Path
            The file. Own older checkpoints that no lane needs any more, here or elsewhere, are removed.
        """
        named = list(map(int, lanes))
        self._sequence += 1
        path = self.path / f"checkpoint-{self._sequence}.npz"
        atomic.write_new(path, write)
        self.write("checkpoint", lanes=named, steps=steps, file=path.name)
        self._release(named)
        self._kept[path] = frozenset(named), set(named)
        return path

    def close(self) -> None:
        """Close the files. Nothing can be written afterwards."""
        os.close(self._journal)
        os.close(self._heartbeat)

    def _release(self, lanes: Iterable[int]) -> None:
        done = set(lanes)
        for _, needed in self._kept.values():
            needed.difference_update(done)
        unneeded = {path: held for path, (held, needed) in self._kept.items() if not needed}
        if not unneeded:
            return
        # A successor may have begun from one of them. It took what the journal names as the newest: either it comes
        # after the record that was just written, and takes that one, or it is seen here, and its file stays.
        with contextlib.suppress(OSError, UserError):
            gone = self._superseded(self, self.task.runs)
            for path, held in unneeded.items():
                del self._kept[path]
                if not any(lane in gone for lane in held):
                    atomic.remove(path)
