"""What nobody reads any more: checkpoints that no run can go on from, events of attempts that were begun anew.

Nothing else of a study is ever waste: chain, journals and frozen sources are its history, and small. What is named here
can go in any order, all or part of it, while anything else happens to the study.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.study import atomic
from orchestrator.study.history import NEVER
from orchestrator.study.records import Submission
from orchestrator.study.study import Study

Kind = Literal["checkpoint", "events"]


@dataclass(frozen=True)
class Waste:
    """A file that nobody reads any more, and its size in bytes."""

    kind: Kind
    path: Path
    size: int


def find(study: Study, living: Container[str] = ()) -> list[Waste]:
    """Return what nobody reads any more.

    A checkpoint is needed while one of its runs may go on from it: it counts, and the run has no verdict. Events are
    needed if a later attempt did not take all of them back; those of unfinished runs are left alone.

    Parameters
    ----------
    study
        The study.
    living
        Tasks that a scheduler still has: they tidy up themselves.

    Raises
    ------
    OSError
        If a journal is there and cannot be read.
    """
    # Files first, and what is needed afterwards: a checkpoint that comes in between is not among the files.
    files: set[Path] = set()
    runs: set[bytes] = set()
    tried: set[bytes] = set()
    again: dict[bytes, tuple[int, int]] = {}  # the last attempt from nothing, where it was not the first
    for entry in _submissions(study):
        points = study.runs_of(entry.generation)
        runs.update(points)
        for spec in entry.tasks:
            positions = spec.indices()
            for log in study.incarnations(spec.name):
                if spec.name not in living:
                    files.update(log.path / record["file"] for record in log.course if "file" in record)
                for position, step in zip(positions, log.begun, strict=True):
                    run = points[position]
                    if step == NEVER and run in tried:
                        again[run] = entry.n, log.k
                    if step is not None:
                        tried.add(run)
    standing = study.standing(runs)
    needed = {
        candidate.path
        for run, candidates in standing.candidates.items()
        if run not in standing.finished
        for candidate in candidates
    }
    found = list(_there("checkpoint", sorted(files - needed)))
    for run, last in again.items():
        if run in standing.finished:
            found += _there("events", _before(study, run, last))
    return found


def remove(waste: list[Waste]) -> None:
    """Remove files; what somebody else removed first is none the worse."""
    for one in waste:
        atomic.remove(one.path)


def _submissions(study: Study) -> Iterator[Submission]:
    """Yield the submissions, but for those of commands: these go on as they themselves can, which nobody else knows."""
    for entry in study.chain():
        if entry.kind == "submit":
            generation = study.generation(entry.generation)
            if generation is not None and generation.info["form"] != "command":
                yield entry


def _before(study: Study, run: bytes, last: tuple[int, int]) -> list[Path]:
    """Return the event files of attempts before ``last``, if its own is there: the first record takes theirs back."""
    folder = study.events_dir(run)
    attempts = {folder / name: study.attempt_of(name) for name in atomic.names(folder)}
    return sorted(path for path, n in attempts.items() if n is not None and n < last and last in attempts.values())


def _there(kind: Kind, paths: list[Path]) -> Iterator[Waste]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield Waste(kind, path, path.stat().st_size)
