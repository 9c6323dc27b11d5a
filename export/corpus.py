"""Everything that is exported, in memory: the runs, their series end to end, and what is known of each.

A study's runs are those of its newest generation; a point is one labelled occurrence of a run. A folder of foreign
event files is read the same way, each of its sub-folders with event files being a run and a point.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from export import describe
from export.attempts import Cover, Series, event_files, read_run, read_tree
from export.describe import ABSENT, Dictionary
from export.reader import Columns, Int64, Report
from orchestrator import identity
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.study.history import RunRecord
    from orchestrator.study.study import Study

Progress = Callable[[int, int], None]
"""Called with (runs read, runs in all)."""


@dataclass
class Corpus:
    """Runs with their series.

    Parameters
    ----------
    name
        Of the study or the folder.
    runs
        Names of the distinct runs, in grid order.
    columns
        The rows of all runs, run after run, sorted by tag and step within each; ``columns.tags`` is sorted.
    attempt
        int64 (rows,): which attempt wrote each row.
    start
        int64 (runs + 1,): run r has the rows ``start[r]:start[r + 1]``.
    points
        int64 (points,): the run of each point.
    labels, parameters
        Columns over the points.
    facts
        Columns over the runs: code, outcome, failure, attempts.
    finished
        bool (runs,): whether a run has a verdict; true for foreign ones.
    reports
        One per file read.
    superseded, uncovered
        Rows left out; see :class:`export.attempts.Series`.
    generation
        Of the study's grid; 0 for a folder.
    """

    name: str
    runs: list[str]
    columns: Columns
    attempt: Int64
    start: Int64
    points: Int64
    labels: list[Dictionary] = field(default_factory=list)
    parameters: list[Dictionary] = field(default_factory=list)
    facts: list[Dictionary] = field(default_factory=list)
    finished: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    reports: list[Report] = field(default_factory=list)
    superseded: int = 0
    uncovered: int = 0
    generation: int = 0

    @property
    def count(self) -> Int64:
        """Rows of each run, int64 (runs,)."""
        return np.diff(self.start)

    def run_of_rows(self) -> Int64:
        """Return the run of each row, int64 (rows,)."""
        return np.repeat(np.arange(len(self.runs)), self.count)

    def select(self, keep: npt.NDArray[np.bool_]) -> Corpus:
        """Return the corpus with some of its rows."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        rows = np.flatnonzero(keep)
        changed = Corpus(**vars(self))
        changed.columns, changed.attempt, changed.start = self.columns.take(rows), self.attempt[rows], kept[self.start]
        return changed


def read_study(study: Study, *, alive: Container[str] | None = None, progress: Progress | None = None) -> Corpus:
    """Read the runs of a study's newest generation.

    Parameters
    ----------
    study
        The study.
    alive
        Names of the tasks that a scheduler still lists. Without it, a task that began and did not say that it ended
        counts as alive, and what it wrote beyond its last checkpoint is taken.
    progress
        Told of every run.

    Raises
    ------
    UserError
        If nothing was submitted yet.
    """
    generation = study.generation()
    if generation is None:
        raise UserError(f"study {study.name!r} has no grid yet, so there is nothing to export: `orch submit` it first")
    points = generation.points
    positions: dict[bytes, int] = {}
    of_points = np.array([positions.setdefault(run, len(positions)) for run in generation.runs], np.int64)
    records = study.history().runs
    corpus = _assemble(
        study.name,
        [identity.to_text(run) for run in positions],
        (read_tree(study.events_dir(run), cover(records.get(run), alive)) for run in positions),
        progress,
    )
    corpus.points, corpus.generation = of_points, generation.g
    corpus.labels, corpus.parameters = describe.labels(points), describe.parameters(points)
    found = [records.get(run) for run in positions]
    corpus.finished = np.array([record is not None and record.outcome is not None for record in found], bool)
    corpus.facts = [
        _fact("code", [record and record.code for record in found]),
        _fact("outcome", [record and record.outcome for record in found]),
        _fact("failure", [record and record.failure for record in found]),
        _fact("attempts", [record.attempts if record else 0 for record in found]),
    ]
    return corpus


def read_folder(path: Path, *, progress: Progress | None = None) -> Corpus:
    """Read a folder of event files; every folder in it that has some is a run, named by its path.

    Raises
    ------
    UserError
        If there is no such folder, or no event file in it.
    """
    if not path.is_dir():
        raise UserError(f"there is no folder {path}")
    folders = [Path(folder) for folder, _, names in os.walk(path) if any("tfevents" in name for name in names)]
    if not folders:
        raise UserError(f"there are no TensorBoard event files (named …tfevents…) in {path} or the folders in it")
    folders.sort(key=lambda folder: folder.relative_to(path).parts)
    names = [folder.relative_to(path).as_posix() for folder in folders]
    corpus = _assemble(path.resolve().name, names, (read_run(event_files(folder)) for folder in folders), progress)
    corpus.points = np.arange(len(names))
    corpus.finished = np.ones(len(names), bool)
    return corpus


def cover(record: RunRecord | None, alive: Container[str] | None = None) -> Cover:
    """Say how far the events of a run count, given what its study knows of it.

    A verdict covers everything. Otherwise a checkpoint covers the steps up to its own, and of a live owner everything
    counts.
    """
    if record is None:
        return Cover(-1)
    if record.outcome is not None:
        return Cover()
    live = record.open and record.k > 0 and (alive is None or record.task in alive)
    return Cover(record.saved, record.n * 100_000 + record.k if live else -1)


def _assemble(name: str, runs: list[str], series: Iterable[Series], progress: Progress | None) -> Corpus:
    parts: list[Series] = []
    for part in series:
        parts.append(part)
        if progress is not None:
            progress(len(parts), len(runs))
    columns = Columns.join([part.columns for part in parts]) if parts else Columns.empty()
    order = sorted(range(len(columns.tags)), key=columns.tags.__getitem__)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    columns = Columns(
        [columns.tags[i] for i in order],
        rank[columns.tag],
        columns.step,
        columns.wall,
        columns.value,
        columns.single,
    )
    return Corpus(
        name=name,
        runs=runs,
        columns=columns,
        attempt=np.concatenate([np.zeros(0, np.int64), *(part.attempt for part in parts)]),
        start=np.concatenate([[0], np.cumsum([len(part.columns) for part in parts], dtype=np.int64)]).astype(np.int64),
        points=np.zeros(0, np.int64),
        reports=[report for part in parts for report in part.reports],
        superseded=sum(part.superseded for part in parts),
        uncovered=sum(part.uncovered for part in parts),
    )


def _fact(name: str, values: Sequence[object]) -> Dictionary:
    kept = {value: None for value in values if value not in (None, "")}
    codes = {value: code for code, value in enumerate(kept)}
    return Dictionary(name, np.array([codes.get(value, ABSENT) for value in values], np.int64), list(kept))
