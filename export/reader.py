"""Event files to columns: bytes → records → (tag, step, wall time, value), with everything that was lost named.

Files are read into one buffer, as many as it holds or as much of one as it holds, and closed at once. Each may be read
from where the last reading ended.
"""
# This module is about system calls and is written in their names.
# ruff: noqa: PTH123

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from export.checksums import crc, extended
from export.decode import Decoder
from export.decoded import Decoded, Float64, Int32, Int64
from export.tfrecord import PADDING, Damage, Piece

BATCH = 3 << 20
"""Bytes that are read before they are decoded; more would not stay in the caches, and fewer cost more calls."""

KEPT = 64 << 20
"""Bytes: allocations below come from the heap, and the heap is not trimmed by less."""

PACKED = b"\x1f\x8b"
"""What a file begins with that gzip made."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

CHECK, MOST_CHECK = 1 << 10, 1 << 16
"""At least so many bytes, and about as many at most, before the place where a reading ended tell whether the file is
still the same; fewer, where it has no more."""


@dataclass
class Columns:
    """Scalars of event files in file order.

    Parameters
    ----------
    tags
        Distinct tags.
    tag
        int32 (n,): index into ``tags``.
    step
        int64 (n,).
    wall
        float64 (n,), seconds since 1970.
    value
        float64 (n,). A float32 is held exactly; an integer beyond 2⁵³ is rounded.
    single
        Whether four bytes hold every value.
    """

    tags: list[str]
    tag: Int32
    step: Int64
    wall: Float64
    value: Float64
    single: bool = True

    def __len__(self) -> int:
        return len(self.step)

    @staticmethod
    def join(tags: list[str], parts: Sequence[Decoded]) -> Columns:
        """Put what was decoded end to end."""
        return Columns(
            tags,
            np.concatenate([np.zeros(0, np.int32), *(part.tag for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.step for part in parts)]),
            np.concatenate([np.zeros(0), *(part.wall for part in parts)]),
            np.concatenate([np.zeros(0), *(part.value for part in parts)]),
            all(part.single for part in parts),
        )


@dataclass
class Report:
    """What reading a file met.

    Parameters
    ----------
    path
        The file.
    size
        Its bytes.
    records
        Whole records.
    scalars
        Scalars among what they hold.
    damage
        Stretches that could not be read.
    end
        Bytes after which a later reading goes on.
    tail
        Bytes of an unfinished record at the end: the writer lives, or was killed.
    check, checked
        Checksum of the last bytes before ``end``, and how many these are.
    marks
        (row, step): before that scalar stands a ``SessionLog START`` of that step.
    unread
        Whether the file could not be opened or read.
    """

    path: str
    size: int = 0
    records: int = 0
    scalars: int = 0
    damage: list[Damage] = field(default_factory=list)
    end: int = 0
    tail: int = 0
    check: int = 0
    checked: int = 0
    marks: list[tuple[int, int]] = field(default_factory=list)
    unread: bool = False


@dataclass
class Batch:
    """What a buffer held: rows, and which file they are of.

    Parameters
    ----------
    rows
        The scalars.
    files
        For each piece, the position of its file in what was asked for.
    """

    rows: Decoded
    files: list[int]


class Reader:
    """Reads files in the order they are asked for.

    Parameters
    ----------
    decoder
        Turns records into columns.
    size
        Bytes read at a time; a single record may be longer.
    """

    def __init__(self, decoder: Decoder, size: int = BATCH) -> None:
        keep_freed_memory()
        self.decoder, self.size = decoder, size
        self._room = np.zeros(size + PADDING, np.uint8)

    def read(self, reports: Sequence[Report]) -> Iterator[Batch]:
        """Read files from the ``end`` of their reports on, and bring the reports up to date.

        Damage, an unfinished end and a file that cannot be opened are told in the report.
        """
        pieces: list[Piece] = []
        files: list[int] = []
        used = 0
        for number, report in enumerate(reports):
            try:
                descriptor = os.open(report.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                _unread(report, error)
                continue
            try:
                report.size = os.fstat(descriptor).st_size
                wanted = report.size - report.end
                if used + wanted > self.size and pieces:
                    yield self._decode(pieces, files, reports)
                    pieces, files, used = [], [], 0
                if wanted > self.size:
                    yield from self._windows(descriptor, number, reports)
                    continue
                got = self._fill(descriptor, used, wanted, report.end)
            except OSError as error:
                _unread(report, error)
                continue
            finally:
                os.close(descriptor)
            pieces.append(Piece(used, used + got))
            files.append(number)
            used += got
        if pieces:
            yield self._decode(pieces, files, reports)

    def _windows(self, descriptor: int, number: int, reports: Sequence[Report]) -> Iterator[Batch]:
        """Read a file that is larger than the buffer, a window after the other."""
        report = reports[number]
        kept, size = 0, report.size
        at = report.end
        while at < size:
            if kept >= self.size // 2:  # one record, or one stretch of damage, fills the buffer
                self._grow(kept)
            got = self._fill(descriptor, kept, min(size - at, len(self._room) - PADDING - kept), at)
            at = at + got if got else size
            batch = self._decode([Piece(0, kept + got, at >= size)], [number], reports)
            kept += got
            done = kept - (at - report.end)
            self._room[: kept - done] = self._room[done:kept].copy()
            kept -= done
            yield batch

    def _grow(self, kept: int) -> None:
        room = np.zeros(2 * len(self._room) + PADDING, np.uint8)
        room[:kept] = self._room[:kept]
        self._room = room

    def _fill(self, descriptor: int, place: int, wanted: int, offset: int) -> int:
        """Read into the buffer, and return how many bytes there were."""
        view = memoryview(self._room)[place : place + wanted]  # type: ignore[arg-type]
        got = 0
        while got < wanted and (count := os.preadv(descriptor, [view[got:]], offset + got)):
            got += count
        return got

    def _decode(self, pieces: list[Piece], files: list[int], reports: Sequence[Report]) -> Batch:
        """Decode the buffer, and bring the reports of its files up to date."""
        room = self._room
        rows, ends = self.decoder.read(room, pieces, [reports[number].path for number in files])
        shifts = [reports[number].end - piece.begin for number, piece in zip(files, pieces, strict=True)]
        first = rows.first.tolist()
        for place, row, step, _ in rows.marks:
            report = reports[files[place]]
            report.marks.append((report.scalars + row - first[place], step))
        for place, (offset, length, why) in sorted(rows.damage):
            at = offset + shifts[place]
            if at == 0 and room[offset : offset + len(PACKED)].tobytes() == PACKED:
                why = "the file is packed by gzip; unpack it, and export again"  # noqa: PLW2901
            _add(reports[files[place]].damage, Damage(at, length, why))
        records = rows.records.tolist()
        for index, (number, piece) in enumerate(zip(files, pieces, strict=True)):
            report, end = reports[number], ends[index]
            report.records += records[index]
            report.scalars += first[index + 1] - first[index]
            report.end = end + shifts[index]
            if end - piece.begin >= CHECK:
                report.check = report.checked = 0
            last = room[max(piece.begin, end - CHECK) : end].tobytes()
            report.check, report.checked = extended(report.check, last), report.checked + len(last)
            report.tail = piece.end - end if piece.final else 0
        return Batch(rows, files)


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next batch; handing it back costs a sixth of the reading.

    It keeps as much as one batch took. Where the C library is not GNU's, nothing happens.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(parameter, KEPT)


def _add(damage: list[Damage], stretch: Damage) -> None:
    """Append a stretch; one that touches the last is made part of it, wherever the buffer's edges were."""
    if damage and damage[-1].offset + damage[-1].length == stretch.offset:
        stretch = Damage(damage[-1].offset, damage[-1].length + stretch.length, damage.pop().why)
    damage.append(stretch)


def _unread(report: Report, error: OSError) -> None:
    report.unread = True
    report.damage.append(Damage(report.end, 0, f"the file cannot be read: {error.strerror}"))


@dataclass
class EventFile:
    """An event file's scalars, the marks at which a restarted writer took back what it had written, and the report.

    Parameters
    ----------
    columns
        The scalars.
    mark_row, mark_step
        int64 (m,): before row ``mark_row`` stands a ``SessionLog START`` of step ``mark_step``.
    report
        What was met.
    """

    columns: Columns
    mark_row: Int64
    mark_step: Int64
    report: Report


def read_events(path: Path | str, decoder: Decoder | None = None, size: int = BATCH) -> EventFile:
    """Read one event file, whole. Damage, an unfinished end, and that it cannot be opened, are told in the report."""
    decoder = decoder or Decoder()
    report = Report(str(path))
    parts = [batch.rows for batch in Reader(decoder, size).read([report])]
    marks = np.array(report.marks, np.int64).reshape(-1, 2)
    return EventFile(Columns.join(decoder.tags, parts), marks[:, 0], marks[:, 1], report)


def goes_on(report: Report) -> bool:
    """Say whether a file still has the same last bytes before the place where its reading ended.

    Of a file that grew little by little these became many: from then on the last of them will do.
    """
    try:
        with open(report.path, "rb") as file:
            file.seek(report.end - report.checked)
            last = file.read(report.checked)
    except OSError:
        return False
    if crc(last) != report.check:
        return False
    if len(last) > MOST_CHECK:
        report.check, report.checked = crc(last[-CHECK:]), CHECK
    return True
