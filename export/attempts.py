"""From the event files of a run to one series per tag: what a restarted writer took back, and what nobody vouches for.

A ``SessionLog START`` of step s says: whatever was written before, of step s or later, counts no more. Our own event
files begin with one, at the step after the one that was restored; other programs write one where they purge. The files
of a run come in the order of its attempts (or by name, where they are not ours), and within a file rows stand in the
order they were written. No clock is consulted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from export.reader import Columns, EventFile, Int64, Report, read_events

OURS = re.compile(r"events\.out\.tfevents\.(\d{10})\.(\d+-\d+)\.(\d+)(?:\.(\d+))?")
"""An attempt's event file: its ordinal, task and incarnation, and a number where a program wrote several."""

EVERYTHING = np.iinfo(np.int64).max
"""The limit of what is covered to the end."""


def ordinal(path: Path) -> int:
    """Return the attempt's ordinal from an event file's name; 0 for a file that is not ours."""
    match = OURS.fullmatch(path.name)
    return int(match.group(1)) if match else 0


def event_files(folder: Path) -> list[Path]:
    """Return a folder's event files in order: what is not ours by name, then ours by attempt."""
    try:
        found = [path for path in folder.iterdir() if "tfevents" in path.name and path.is_file()]
    except OSError:
        return []
    return sorted(found, key=_order)


def _order(path: Path) -> tuple[int, int, str]:
    match = OURS.fullmatch(path.name)
    return (int(match.group(1)), int(match.group(4) or 0), path.name) if match else (0, 0, path.name)


@dataclass(frozen=True)
class Cover:
    """How far a run's events may be believed.

    Parameters
    ----------
    step
        Up to this step for every attempt.
    live
        Ordinal of the attempt whose writer lives: all that it wrote counts. -1 for none.
    """

    step: int = EVERYTHING
    live: int = -1


@dataclass
class Series:
    """What counts of one run.

    Parameters
    ----------
    columns
        Its scalars, sorted by tag and step; rows of equal step stay in the order they were written.
    attempt
        int64 (n,): ordinal of the attempt that wrote each row.
    reports
        One per file.
    superseded
        Rows that a restart took back.
    uncovered
        Rows that no checkpoint, verdict or live writer vouches for.
    """

    columns: Columns
    attempt: Int64
    reports: list[Report]
    superseded: int = 0
    uncovered: int = 0


def read_run(paths: Sequence[Path], cover: Cover | None = None) -> Series:
    """Read the event files of one run, in the order of :func:`event_files`.

    Parameters
    ----------
    paths
        The files.
    cover
        How far to believe them; to the end, if not given.
    """
    cover = cover or Cover()
    files = [read_events(path) for path in paths]
    ordinals = [ordinal(path) for path in paths]
    columns = Columns.join([file.columns for file in files])
    attempt = np.repeat(np.array(ordinals, np.int64), [len(file.columns) for file in files])
    current = columns.step < _limits(files, ordinals)
    covered = (columns.step <= cover.step) | (attempt == cover.live)
    return Series(
        *_sort(columns, attempt, np.flatnonzero(current & covered)),
        reports=[file.report for file in files],
        superseded=int(np.count_nonzero(~current)),
        uncovered=int(np.count_nonzero(current & ~covered)),
    )


def read_tree(folder: Path, cover: Cover | None = None) -> Series:
    """Read the event files of one run that may lie in folders below its own.

    TensorBoard takes each folder for a run of its own, and so do programs that write the same tags into several: the
    tags of a folder below are prefixed with its path.
    """
    own = read_run(event_files(folder), cover)
    try:
        below = sorted(Path(at) for at, _, names in os.walk(folder) if names and Path(at) != folder)
    except OSError:
        below = []
    if not below:
        return own
    parts = [own]
    for place in below:
        part = read_run(event_files(place), cover)
        part.columns.tags = [f"{place.relative_to(folder).as_posix()}/{tag}" for tag in part.columns.tags]
        parts.append(part)
    columns = Columns.join([part.columns for part in parts])
    return Series(
        *_sort(columns, np.concatenate([part.attempt for part in parts]), np.arange(len(columns))),
        reports=[report for part in parts for report in part.reports],
        superseded=sum(part.superseded for part in parts),
        uncovered=sum(part.uncovered for part in parts),
    )


def _limits(files: Sequence[EventFile], ordinals: Sequence[int]) -> Int64:
    """Return for each row the lowest step that a later mark took back: int64 (n,); rows below it count."""
    mark_row: list[int] = []
    mark_step: list[int] = []
    first = 0
    for attempt, members in groupby(zip(ordinals, files, strict=True), key=lambda pair: pair[0]):
        mine = [file for _, file in members]
        rows = [file.columns.step for file in mine if len(file.columns)]
        if attempt and rows and 0 not in mine[0].mark_row:
            # Ours without a mark at its beginning: the record is lost, or another program wrote the file. What the
            # attempt holds replaces what came before all the same.
            mark_row.append(first)
            mark_step.append(min(int(steps.min()) for steps in rows))
        for file in mine:
            mark_row += (first + file.mark_row).tolist()
            mark_step += file.mark_step.tolist()
            first += len(file.columns)
    if not mark_row:
        return np.full(first, EVERYTHING, np.int64)
    lowest = np.minimum.accumulate(np.array(mark_step, np.int64)[::-1])[::-1]
    lowest = np.append(lowest, EVERYTHING)
    # A mark before row r concerns the rows below r: the first mark that concerns a row is the one after it.
    following = np.searchsorted(np.array(mark_row), np.arange(first), side="right")
    return np.asarray(lowest[following], np.int64)


def _sort(columns: Columns, attempt: Int64, rows: Int64) -> tuple[Columns, Int64]:
    order = np.array(sorted(range(len(columns.tags)), key=columns.tags.__getitem__), np.int32)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order), dtype=np.int32)
    kept = rank[columns.tag[rows]]
    rows = rows[np.lexsort((columns.step[rows], kept))]
    ordered = columns.take(rows)
    ordered.tags, ordered.tag = [columns.tags[i] for i in order], rank[ordered.tag]
    return ordered, attempt[rows]
