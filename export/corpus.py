"""What is exported: which runs, which event files are theirs, how far they count, and what is known of each.

A study's runs are those of its newest generation; a point is one labelled occurrence of a run. A folder of foreign
event files is described the same way, each of its sub-folders with event files being a run and a point. Nothing is
read here but names; :mod:`export.scalars` reads.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from export import describe
from export.attempts import Cover, ordinal, walk
from export.describe import ABSENT, Dictionary
from orchestrator import identity
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.study.history import RunRecord
    from orchestrator.study.study import Study

Int64 = npt.NDArray[np.int64]


@dataclass
class Corpus:
    """Runs and their event files.

    Parameters
    ----------
    name
        Of the study or the folder.
    runs
        Names of the distinct runs, in grid order.
    points
        int64 (points,): the run of each point.
    files
        Paths of the event files, run after run, in the order of attempts.
    prefixes
        For each file what its tags begin with; see :func:`add_run`.
    of_run, of_folder
        int64 (files,): the run, and the folder, that each file is of; ascending.
    ordinals
        int64 (files,): of the attempts.
    covers
        How far each run may be believed.
    labels, parameters
        Columns over the points.
    facts
        Columns over the runs: code, outcome, failure, attempts.
    finished
        bool (runs,): whether a run has a verdict; true for foreign ones.
    generation
        Of the study's grid; 0 for a folder.
    narrowed
        Whether some of the runs were left out by choice.
    lost
        Folders that cannot be listed, and why.
    """

    name: str
    runs: list[str]
    points: Int64
    files: list[str]
    prefixes: list[str]
    of_run: Int64
    of_folder: Int64
    ordinals: Int64
    covers: list[Cover]
    labels: list[Dictionary] = field(default_factory=list)
    parameters: list[Dictionary] = field(default_factory=list)
    facts: list[Dictionary] = field(default_factory=list)
    finished: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    generation: int = 0
    narrowed: bool = False
    lost: list[tuple[str, str]] = field(default_factory=list)

    def select(self, points: Sequence[int]) -> Corpus:
        """Return the corpus with some of its points, and the runs and files that these need."""
        chosen = np.array(points, np.int64)
        needed, renumbered = np.unique(self.points[chosen], return_inverse=True)
        kept = np.isin(self.of_run, needed)
        files = np.flatnonzero(kept).tolist()
        return Corpus(
            name=self.name,
            runs=[self.runs[run] for run in needed.tolist()],
            points=renumbered.astype(np.int64),
            files=[self.files[file] for file in files],
            prefixes=[self.prefixes[file] for file in files],
            of_run=np.searchsorted(needed, self.of_run[kept]),
            of_folder=self.of_folder[kept],
            ordinals=self.ordinals[kept],
            covers=[self.covers[run] for run in needed.tolist()],
            labels=[column.take(chosen) for column in self.labels],
            parameters=[column.take(chosen) for column in self.parameters],
            facts=[column.take(needed) for column in self.facts],
            finished=self.finished[needed],
            generation=self.generation,
            narrowed=True,
            lost=self.lost,
        )


def of_runs(name: str, runs: Mapping[str, Iterable[tuple[str, str, list[str]]]], covers: Sequence[Cover]) -> Corpus:
    """Return the corpus of some runs, each being a point.

    Parameters
    ----------
    name
        Of all of them.
    runs
        For each run its folders: (path, what its tags begin with, event files in order).
    covers
        How far each may be believed.
    """
    files: list[str] = []
    prefixes: list[str] = []
    of_run: list[int] = []
    of_folder: list[int] = []
    folders = 0
    for run, parts in enumerate(runs.values()):
        for _, prefix, paths in parts:
            files += paths
            prefixes += [prefix] * len(paths)
            of_run += [run] * len(paths)
            of_folder += [folders] * len(paths)
            folders += 1
    return Corpus(
        name=name,
        runs=list(runs),
        points=np.arange(len(runs)),
        files=files,
        prefixes=prefixes,
        of_run=np.array(of_run, np.int64),
        of_folder=np.array(of_folder, np.int64),
        ordinals=np.array([ordinal(path) for path in files], np.int64),
        covers=list(covers),
        finished=np.ones(len(runs), bool),
    )


def of_study(study: Study, *, alive: Container[str] | None = None) -> Corpus:
    """Return the runs of a study's newest generation.

    Parameters
    ----------
    study
        The study.
    alive
        Names of the tasks that a scheduler still lists. Without it, a task that began and did not say that it ended
        counts as alive, and what it wrote beyond its last checkpoint is taken.

    Raises
    ------
    UserError
        If nothing was submitted yet.
    """
    generation = study.generation()
    if generation is None:
        raise UserError(f"study {study.name!r} has no grid yet, so there is nothing to export: `orch submit` it first")
    positions: dict[bytes, int] = {}
    of_points = np.array([positions.setdefault(run, len(positions)) for run in generation.runs], np.int64)
    records = study.history().runs
    found = [records.get(run) for run in positions]
    lost: list[tuple[str, str]] = []
    corpus = of_runs(
        study.name,
        {identity.to_text(run): _tree(str(study.events_dir(run)), lost) for run in positions},
        [cover(record, alive) for record in found],
    )
    corpus.points, corpus.generation, corpus.lost = of_points, generation.g, lost
    corpus.labels, corpus.parameters = describe.labels(generation.points), describe.parameters(generation.points)
    corpus.finished = np.array([record is not None and record.outcome is not None for record in found], bool)
    corpus.facts = [
        _fact("code", [record and record.code for record in found]),
        _fact("outcome", [record and record.outcome for record in found]),
        _fact("failure", [record and record.failure for record in found]),
        _fact("attempts", [record.attempts if record else 0 for record in found]),
    ]
    return corpus


def of_folder(path: Path) -> Corpus:
    """Return a folder of event files; every folder in it that has some is a run, named by its path.

    Raises
    ------
    UserError
        If there is no such folder, or no event file in it.
    """
    if not path.is_dir():
        raise UserError(f"there is no folder {path}")
    top = str(path)
    lost: list[tuple[str, str]] = []
    found = {at[len(top) :].replace(os.sep, "/").strip("/") or ".": (at, paths) for at, paths in walk(top, lost)}
    if not found and lost:
        raise UserError(f"{lost[0][0]}: {lost[0][1]}")
    if not found:
        raise UserError(f"there are no TensorBoard event files (named …tfevents…) in {path} or the folders in it")
    names = sorted(found, key=lambda name: [] if name == "." else name.split("/"))
    runs = {name: [(found[name][0], "", found[name][1])] for name in names}
    corpus = of_runs(path.resolve().name, runs, [Cover()] * len(runs))
    corpus.lost = lost
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


def _tree(folder: str, lost: list[tuple[str, str]]) -> list[tuple[str, str, list[str]]]:
    """Return the folders of one run.

    TensorBoard takes each folder for a run of its own, and so do programs that write the same tags into several: the
    tags of a folder below are prefixed with its path.
    """
    return [
        (at, "" if at == folder else f"{os.path.relpath(at, folder).replace(os.sep, '/')}/", paths)
        for at, paths in walk(folder, lost)
    ]


def _fact(name: str, values: Sequence[object]) -> Dictionary:
    kept = {value: None for value in values if value not in (None, "")}
    codes = {value: code for code, value in enumerate(kept)}
    return Dictionary(name, np.array([codes.get(value, ABSENT) for value in values], np.int64), list(kept))
