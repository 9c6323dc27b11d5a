"""Decoded scalars on the disk, so that an export holds a batch in memory and the next one reads only what is new.

A *segment* is a file of blocks, each the columns of some rows, end to end; it is written once and never changed. An
index says which rows of which segments hold which event file, and how far that was read. The index is replaced as a
whole; segments that it does not name are garbage. All of it is derived: what is damaged, missing or of another version
is read again from the event files, and the folder may be deleted at any time.
"""
# This module is about system calls and is written in their names.
# ruff: noqa: PTH123

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from export.checksums import crc
from export.decoded import Decoded, Float64, Int32, Int64
from export.reader import Report
from export.tfrecord import Damage
from orchestrator.study import atomic

VERSION = 3
"""Of the index and the segments; others are not read."""

INDEX = "index.json"
ROWS = ".rows"

STALE = 3600.0
"""Seconds after which a segment that no index names is removed: until then an export may be about to name it."""

BLOCK = 100_000
"""Rows of a block when segments are joined."""

STEPS = {2: "<i2", 4: "<i4", 8: "<i8"}
TAGS = {1: "|u1", 2: "<u2", 4: "<i4"}
"""NumPy's names of the types that hold a block's steps and tags, by their bytes; ascending."""

MOST = 12
"""So many segments at most: then all that counts is copied into a new one."""


class GoneError(Exception):
    """A segment is missing or damaged: read the event files again."""


class Extent(NamedTuple):
    """Rows of a segment: ``low <= row < high``."""

    segment: str
    low: int
    high: int


@dataclass
class Entry:
    """What is kept of an event file.

    Parameters
    ----------
    report
        How far it was read, and what was met.
    mtime, inode
        Of the file, when it was last looked at: nanoseconds, number.
    extents
        Its rows.
    tags
        Which tags they have: a position in :attr:`Index.tag_sets`.
    single
        Whether float32 holds all their values.
    plugins
        Tags that belong to other plugins than the scalars'.
    """

    report: Report
    mtime: int = 0
    inode: int = 0
    extents: list[Extent] = field(default_factory=list)
    tags: int = -1
    single: bool = True
    plugins: dict[str, str] = field(default_factory=dict)


@dataclass
class Index:
    """Everything that is kept, by the path of the event file.

    Parameters
    ----------
    entries
        The files.
    tags
        All tags, in the order of their codes.
    tag_sets
        Sets of codes.
    segments
        For each segment its blocks: (first row, rows, offset, bytes of a step, of a tag, of a value, checksum).
    exports
        What the last export of each kind saw and wrote; see :mod:`export.tables`.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    tag_sets: list[list[int]] = field(default_factory=list)
    segments: dict[str, list[list[int]]] = field(default_factory=dict)
    exports: dict[str, Any] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Return the index as JSON; a file's entry is a list, for there are many."""
        data = vars(self) | {"version": VERSION, "entries": {path: _pack(one) for path, one in self.entries.items()}}
        return json.dumps(data, separators=(",", ":")).encode("utf-8", "surrogatepass")

    @staticmethod
    def load(folder: Path) -> Index:
        """Read the index of a folder; an empty one, if there is none that can be used."""
        try:
            data = json.loads((folder / INDEX).read_bytes().decode("utf-8", "surrogatepass"))
            if data.pop("version") != VERSION:
                return Index()
            entries = data.pop("entries")
            return Index({path: _unpack(path, one) for path, one in entries.items()}, **data)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return Index()


def _pack(entry: Entry) -> list[Any]:
    report = entry.report
    return [
        [report.size, report.records, report.scalars, report.end, report.tail, report.check, report.checked],
        [entry.mtime, entry.inode],
        entry.extents,
        entry.tags,
        entry.single,
        report.marks,
        report.damage,
        entry.plugins,
    ]


def _unpack(path: str, data: list[Any]) -> Entry:
    (size, records, scalars, end, tail, check, checked), (mtime, inode), *rest = data
    extents, tags, single, marks, damage, plugins = rest
    stretches = [Damage(*one) for one in damage]
    report = Report(path, size, records, scalars, stretches, end, tail, check, checked, [(r, s) for r, s in marks])
    return Entry(report, mtime, inode, [Extent(*one) for one in extents], tags, single, plugins)


class Writer:
    """Writes a segment; see :func:`new_segment`."""

    def __init__(self, folder: Path) -> None:
        self.name = f"{secrets.token_hex(8)}{ROWS}"
        self.blocks: list[list[int]] = []
        self.rows = 0
        self._path = folder / self.name
        self._file: BinaryIO | None = None
        self._offset = 0

    def close(self, *, keep: bool) -> None:
        """Close the segment, and remove it unless it is to be kept."""
        if self._file is not None:
            self._file.close()
            if not keep:
                self._path.unlink(missing_ok=True)

    def append(self, rows: Decoded) -> int:
        """Append rows, and return the number of the first."""
        first = self.rows
        if len(rows.step):
            step, tag = _narrow(rows.step, STEPS), _narrow(rows.tag, TAGS)
            value = rows.value.astype(np.float32) if rows.single else rows.value
            data = b"".join(column.data for column in (rows.wall, step, value, tag))
            if self._file is None:
                atomic.make_folder(self._path.parent.absolute())
                self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115
            self._file.write(data)
            sizes = [step.itemsize, tag.itemsize, value.itemsize]
            self.blocks.append([first, len(step), self._offset, *sizes, crc(data)])
            self._offset += len(data)
            self.rows += len(rows.step)
        return first


@contextmanager
def new_segment(folder: Path) -> Iterator[Writer]:
    """Write a segment; what an exception leaves behind is removed."""
    writer = Writer(folder)
    done = False
    try:
        yield writer
        done = True
    finally:
        writer.close(keep=done)


def _narrow(values: Int64 | Int32, sizes: dict[int, str]) -> npt.NDArray[Any]:
    """Return numbers in the least bytes of some that hold them all: what is written is what an export waits for."""
    low, high = int(values.min()), int(values.max())
    for kind in map(np.dtype, sizes.values()):
        held = np.iinfo(kind)
        if held.min <= low and high <= held.max:
            return values.astype(kind, copy=False)
    raise AssertionError


@dataclass
class Rows:
    """Rows as they were stored."""

    tag: Int32
    step: Int64
    wall: Float64
    value: Float64


class Store:
    """Reads rows of segments, a block at a time.

    Parameters
    ----------
    folder
        Where the segments are.
    segments
        :attr:`Index.segments`, and that of a writer.
    """

    def __init__(self, folder: Path, segments: dict[str, list[list[int]]]) -> None:
        self._folder = folder
        self._segments = segments
        self._firsts: dict[str, list[int]] = {}
        # One block of each segment: a file that grew has rows in several, and the next file has rows beside each.
        self._held: dict[str, tuple[int, tuple[npt.NDArray[Any], ...]]] = {}

    def rows(self, extents: Iterable[Extent]) -> Rows:
        """Return the rows of some extents, in their order.

        Raises
        ------
        GoneError
            If a segment cannot be read.
        """
        wanted = _merged(extents)
        count = sum(extent.high - extent.low for extent in wanted)
        rows = Rows(np.empty(count, np.int32), np.empty(count, np.int64), np.empty(count), np.empty(count))
        targets: tuple[npt.NDArray[Any], ...] = (rows.wall, rows.step, rows.value, rows.tag)
        done = 0
        for segment, low, high in wanted:
            at = low
            while at < high:
                columns, first = self._block(segment, at)
                stop = min(high - first, len(columns[0]))
                if stop <= at - first:
                    raise GoneError(segment)
                here = slice(done, done + stop - (at - first))
                for target, column in zip(targets, columns, strict=True):
                    target[here] = column[at - first : stop]
                at, done = first + stop, here.stop
        return rows

    def _block(self, segment: str, row: int) -> tuple[tuple[npt.NDArray[Any], ...], int]:
        """Return wall time, step, value and tag of the block that holds a row, and the number of its first row."""
        if segment not in self._firsts:
            self._firsts[segment] = [block[0] for block in self._segments[segment]]
        number = int(np.searchsorted(self._firsts[segment], row, side="right")) - 1
        first, count, offset, *sizes, check = self._segments[segment][number]
        held = self._held.get(segment)
        if held is not None and held[0] == number:
            return held[1], first
        kinds = ["<f8", STEPS[sizes[0]], f"<f{sizes[2]}", TAGS[sizes[1]]]
        size = count * (8 + sum(sizes))
        try:
            with open(self._folder / segment, "rb", buffering=0) as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise GoneError(segment) from error
        if len(data) != size or crc(data) != check:
            raise GoneError(segment)
        columns: list[npt.NDArray[Any]] = []
        at = 0
        for kind in kinds:
            columns.append(np.frombuffer(data, kind, count, at))
            at += columns[-1].nbytes
        self._held[segment] = number, tuple(columns)
        return self._held[segment][1], first


def _merged(extents: Iterable[Extent]) -> list[Extent]:
    """Join extents that follow each other."""
    merged: list[Extent] = []
    for extent in extents:
        if merged and merged[-1].segment == extent.segment and merged[-1].high == extent.low:
            merged[-1] = Extent(extent.segment, merged[-1].low, extent.high)
        elif extent.high > extent.low:
            merged.append(extent)
    return merged


def save(folder: Path, index: Index) -> None:
    """Publish an index, and remove segments that have been garbage for a while."""
    used = {extent.segment for entry in index.entries.values() for extent in entry.extents}
    index.segments = {name: blocks for name, blocks in index.segments.items() if name in used}
    atomic.make_folder(folder.absolute())
    atomic.replace(folder / INDEX, index.dump())
    for name in atomic.names(folder):
        if name.endswith(ROWS) and name not in used:
            path = folder / name
            try:
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()
            except OSError:
                continue


def crowded(index: Index, fresh: int) -> bool:
    """Say whether it is time for :func:`compact`: too many segments, or more rows in them than count twice."""
    counted = sum(extent.high - extent.low for entry in index.entries.values() for extent in entry.extents)
    stored = sum(sum(block[1] for block in blocks) for blocks in index.segments.values())
    return len(index.segments) > MOST or stored + fresh > 2 * (counted + fresh) + 100_000


def compact(folder: Path, index: Index, order: Sequence[str]) -> None:
    """Copy the rows of some files, in this order, into one segment, and let the index name nothing else.

    Raises
    ------
    GoneError
        If a segment cannot be read.
    """
    store = Store(folder, index.segments)
    moved: dict[str, Entry] = {}
    with new_segment(folder) as writer:
        for group in _groups(index, order):
            entries = [index.entries[path] for path in group]
            rows = store.rows(extent for entry in entries for extent in entry.extents)
            single = all(entry.single for entry in entries)
            none = np.zeros(0, np.int64)
            low = writer.append(Decoded(rows.tag, rows.step, rows.wall, rows.value, single, none, none, [], []))
            for path, entry in zip(group, entries, strict=True):
                count = sum(extent.high - extent.low for extent in entry.extents)
                extents = [Extent(writer.name, low, low + count)] if count else []
                moved[path] = replace(entry, extents=extents)
                low += count
        index.entries, index.segments = moved, {writer.name: writer.blocks}


def _groups(index: Index, order: Sequence[str]) -> Iterator[list[str]]:
    """Cut files into groups of about as many rows as a block should have."""
    group: list[str] = []
    rows = 0
    for path in order:
        group.append(path)
        rows += sum(extent.high - extent.low for extent in index.entries[path].extents)
        if rows > BLOCK:
            yield group
            group, rows = [], 0
    if group:
        yield group


def file_state(path: str) -> tuple[int, int, int] | None:
    """Return (size, mtime, inode) of a file, or None if it is gone."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ino
