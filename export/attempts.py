"""Which rows count: what a restarted writer took back, and what nobody vouches for.

A ``SessionLog START`` of step s says: whatever was written before, of step s or later, counts no more. Our own event
files begin with one, at the step after the one that was restored; other programs write one where they purge. The files
of a run come in the order of its attempts (or by name, where they are not ours), and within a file rows stand in the
order they were written. No clock is consulted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

OURS = re.compile(r"events\.out\.tfevents\.(\d{10})\.(\d+-\d+)\.(\d+)(?:\.(\d+))?")
"""An attempt's event file: its ordinal, task and incarnation, and a number where a program wrote several."""

EVERYTHING = np.iinfo(np.int64).max
"""The limit of what is covered to the end."""


def ordinal(path: Path | str) -> int:
    """Return the attempt's ordinal from an event file's name; 0 for a file that is not ours."""
    match = OURS.fullmatch(os.path.basename(path))  # noqa: PTH119
    return int(match.group(1)) if match else 0


def event_files(folder: Path | str) -> list[Path]:
    """Return a folder's event files in order: what is not ours by name, then ours by attempt."""
    return [Path(path) for at, paths in walk(str(folder)) if at == str(folder) for path in paths]


def walk(
    folder: str, lost: list[tuple[str, str]] | None = None, top: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and those below it that hold event files, sorted, each with its files in order.

    Links to folders are followed, but for those that lead back to where they are. What is not a file is passed over.

    Parameters
    ----------
    folder
        The folder.
    lost
        Takes the folders that cannot be listed, and why.
    top
        Where the walk began.
    """
    files: list[str] = []
    folders: list[str] = []
    top = top or folder
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                kind = _kind(entry, top, lost)
                if kind != "other":
                    (folders if kind == "folder" else files).append(entry.path)
    except FileNotFoundError:
        return
    except OSError as error:
        if lost is not None:
            lost.append((folder, f"the folder cannot be listed: {error.strerror}"))
        return
    if files:
        yield folder, sorted(files, key=_order) if len(files) > 1 else files
    for below in sorted(folders):
        yield from walk(below, lost, top)


def _kind(entry: os.DirEntry[str], top: str, lost: list[tuple[str, str]] | None) -> Literal["folder", "file", "other"]:
    """Say what an entry is to a walk; of links that nobody can follow, it is told why."""
    try:
        if entry.is_dir():
            return "other" if entry.is_symlink() and _leads_back(entry.path, top) else "folder"
        return "file" if "tfevents" in entry.name and entry.is_file() else "other"
    except OSError as error:  # it leads round in a circle, or to where one may not look
        if lost is not None:
            lost.append((entry.path, f"the link cannot be followed: {error.strerror}"))
        return "other"


def _leads_back(link: str, top: str) -> bool:
    """Say whether a link is to one of the folders on the way from ``top`` to it."""
    try:
        there, at = os.stat(link), link  # noqa: PTH116
        while len(at) > len(top):
            at = os.path.dirname(at)  # noqa: PTH120
            if os.path.samestat(os.stat(at), there):  # noqa: PTH116
                return True
    except OSError:
        return True  # it is gone by now
    return False


def _order(path: str) -> tuple[int, int, str]:
    name = os.path.basename(path)  # noqa: PTH119
    match = OURS.fullmatch(name)
    return (int(match.group(1)), int(match.group(4) or 0), name) if match else (0, 0, name)


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
class Files:
    """Some event files in order, as arrays of (files,).

    Parameters
    ----------
    folder
        int64: which folder each is of, ascending: marks concern the files of one folder.
    ordinal
        int64: of the attempt.
    rows
        int64: how many scalars it holds.
    cover_step, cover_live
        int64: how far the file's run may be believed.
    marks
        (file, row, step): before that row of the file stands a ``SessionLog START`` of that step.
    """

    folder: Int64
    ordinal: Int64
    rows: Int64
    cover_step: Int64
    cover_live: Int64
    marks: list[tuple[int, int, int]]


def counting(files: Files, step: Int64) -> tuple[Bool, Bool]:
    """Say of each row whether no later attempt took it back, and whether somebody vouches for it.

    Parameters
    ----------
    files
        The files.
    step
        int64 (n,): steps of their rows, file after file.

    Returns
    -------
    tuple
        bool (n,) and bool (n,).
    """
    vouched = np.ones(len(step), bool)
    if (files.cover_step != EVERYTHING).any():
        live = (files.ordinal == files.cover_live).repeat(files.rows)
        vouched = (step <= files.cover_step.repeat(files.rows)) | live
    return _current(files, step), vouched


def _current(files: Files, step: Int64) -> Bool:
    ends = np.cumsum(files.rows)
    starts = ends - files.rows
    opens = np.append(True, files.folder[1:] != files.folder[:-1])[: len(starts)]
    folder_start = starts[np.maximum.accumulate(np.where(opens, np.arange(len(starts)), 0))]
    marks = [(int(starts[file]) + row, at, int(files.folder[file])) for file, row, at in files.marks]
    marks += _lost_marks(files, starts, ends, step)
    # A mark before the first row of its folder takes nothing back; nearly all are such.
    first = dict(zip(files.folder.tolist(), folder_start.tolist(), strict=True))
    marks = sorted(mark for mark in marks if mark[0] > first[mark[2]])
    if not marks:
        return np.ones(len(step), bool)
    row, at, folder = (np.array(column, np.int64) for column in zip(*marks, strict=True))
    distinct, rank = np.unique(at, return_inverse=True)
    # The lowest step of the marks that follow in the same folder: folders ascend, so those after it never are lower.
    lowest = np.minimum.accumulate((folder * len(distinct) + rank)[::-1])[::-1]
    lowest = np.append(lowest, np.iinfo(np.int64).max)
    following = np.searchsorted(row, np.arange(len(step)), side="right")
    found = lowest[following] - files.folder.repeat(files.rows) * len(distinct)
    limited = found < len(distinct)
    limit = np.full(len(step), EVERYTHING, np.int64)
    limit[limited] = distinct[found[limited]]
    return np.asarray(~limited | (step < limit))


def _lost_marks(files: Files, starts: Int64, ends: Int64, step: Int64) -> list[tuple[int, int, int]]:
    """Return marks for attempts of ours without one at their beginning.

    The record is lost, or another program wrote the file: what the attempt holds replaces what came before all the
    same.
    """
    marked = {file for file, row, _ in files.marks if row == 0}
    marks = []
    file = 0
    folder, attempt = files.folder.tolist(), files.ordinal.tolist()
    while file < len(attempt):
        last = file + 1
        while last < len(attempt) and (attempt[last], folder[last]) == (attempt[file], folder[file]):
            last += 1
        low, high = int(starts[file]), int(ends[last - 1])
        if attempt[file] and file not in marked and high > low:
            marks.append((low, int(step[low:high].min()), folder[file]))
        file = last
    return marks
