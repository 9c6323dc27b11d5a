"""Where runs can be taken up: which checkpoints count, and which runs are finished. Reads the logs of few tasks."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.study.journal import IncarnationLog, columns
from orchestrator.study.records import RestorePoint, Submission
from orchestrator.study.spans import from_spans


class Candidate(NamedTuple):
    """A checkpoint of one run: its step, file and column there, who wrote it, and with which sources."""

    step: int
    path: Path
    column: int
    log: IncarnationLog
    source: str


class Standing:
    """How some runs stand, by the rules of :mod:`orchestrator.study.history`.

    Parameters
    ----------
    chain
        Entries in order.
    ids_of, logs_of
        See :func:`orchestrator.study.history.fold`; logs are read only of tasks that name one of the runs.
    runs
        Raw ids.

    Attributes
    ----------
    finished
        The runs with a verdict that counts.
    candidates
        For each run the checkpoints that count, the oldest attempt's first.

    Raises
    ------
    OSError
        If a journal that matters cannot be read: to take it for empty would be to begin its runs from nothing.
    """

    def __init__(
        self,
        chain: Iterable[Submission],
        ids_of: Callable[[int], Sequence[bytes]],
        logs_of: Callable[[str, int], Iterable[IncarnationLog]],
        runs: Iterable[bytes],
    ) -> None:
        self.finished: set[bytes] = set()
        self.candidates: dict[bytes, list[Candidate]] = {}
        wanted = frozenset(runs)
        for entry in chain:
            if entry.kind != "submit":
                continue
            points, rerun = ids_of(entry.generation), frozenset(from_spans(entry.rerun))
            for spec in entry.tasks:
                places = [(lane, point) for lane, point in enumerate(spec.indices()) if points[point] in wanted]
                for _, point in places:
                    if point in rerun:
                        self._cut(points[point], before=None)
                lanes = {lane: points[point] for lane, point in places}
                for log in logs_of(spec.name, spec.count) if lanes else ():
                    self._attempt(log, lanes, entry.source)

    def restore_points(self, code: str | None, without: Container[Path] = ()) -> dict[bytes, RestorePoint]:
        """Return the newest checkpoint that is there, of each run that is not finished.

        ``code``: of these sources; ``without``: none of these files.
        """
        points: dict[bytes, RestorePoint] = {}
        there: dict[Path, bool] = {}
        for run, candidates in self.candidates.items():
            if run in self.finished:
                continue
            # Of equal steps the last: ordinary code may write checkpoints without telling of a step in between.
            in_order = sorted(candidates, key=lambda c: c.step)
            for step, path, column, log, source in reversed(in_order):
                if (code is not None and source != code) or path in without:
                    continue
                if path not in there:
                    there[path] = _exists(path)
                if there[path]:
                    points[run] = RestorePoint(path, column, step, source, log.engine)
                    break
        return points

    def _attempt(self, log: IncarnationLog, lanes: Mapping[int, bytes], source: str) -> None:
        if log.unread is not None:
            raise log.unread
        for record in log.course:
            path = log.path / record["file"] if "file" in record else None
            for column, (lane, step) in enumerate(columns(record)):
                if lane not in lanes:
                    continue
                if path is None:
                    self._cut(lanes[lane], before=step)
                else:
                    self.candidates.setdefault(lanes[lane], []).append(Candidate(step, path, column, log, source))
        self.finished.update(run for lane, run in lanes.items() if log.verdicts[lane] is not None)

    def _cut(self, run: bytes, before: int | None) -> None:
        """Drop what lies beyond the step that a successor began from; everything, if it began from nothing."""
        kept = [c for c in self.candidates.get(run, ()) if before is not None and c.step <= before]
        self.candidates[run] = kept
        self.finished.discard(run)


def _exists(path: Path) -> bool:
    """Say whether a file is there; whoever cannot find out is told so, and not that it is not."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
