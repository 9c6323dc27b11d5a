"""TensorBoard event files, written synchronously: no thread, and never more than one file open.

A file is a sequence of TFRecord frames (TensorFlow, ``core/lib/io/record_writer.h``): the length of the data as uint64,
the masked CRC32C of these eight bytes, the data, and its masked CRC32C, all little-endian. The data is a serialised
``tensorboard.Event``; the few messages that are needed are encoded here, field by field, exactly as the protobuf
library would. Frames are kept per lane until :meth:`EventFiles.flush` appends them with one write per file.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

VERSION = "brain.Event:2"

_START = 1  # SessionLog.SessionStatus.START
_MASK = 0xA282EAD8
_HEAD, _WORD, _DOUBLE = struct.Struct("<Q"), struct.Struct("<I"), struct.Struct("<d")
_LARGEST = 1 << 23  # bytes kept in memory for all lanes together before `full` says so


def varint(number: int) -> bytes:
    """Encode an integer as a protobuf varint; a negative one as its 64-bit two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    """Encode a length-delimited field."""
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def _stamp(wall_time: float, step: int) -> bytes:
    """Encode ``Event.wall_time`` and ``Event.step``; proto3 leaves a zero out."""
    stamp = b"\x09" + _DOUBLE.pack(wall_time) if wall_time else b""
    return stamp + b"\x10" + varint(step) if step else stamp


def masked_crc(data: bytes) -> int:
    """Return the CRC32C of ``data``, rotated and shifted as the TFRecord format wants it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """Wrap one record."""
    head = _HEAD.pack(len(data))
    return b"".join((head, _WORD.pack(masked_crc(head)), data, _WORD.pack(masked_crc(data))))


def file_version(wall_time: float) -> bytes:
    """Return the event that every file begins with."""
    return _stamp(wall_time, 0) + _field(3, VERSION.encode())


def session_start(wall_time: float, step: int) -> bytes:
    """Return the event that purges everything from ``step`` on: a reader forgets what earlier files said of it."""
    return _stamp(wall_time, step) + _field(7, b"\x08" + varint(_START))


class Scalars:
    """The encoding of a ``Summary`` with one ``simple_value`` per tag; everything but the values is known beforehand.

    Parameters
    ----------
    tags
        The tags, in the order of the values.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        pieces = []
        for tag in tags:
            name = _field(1, tag.encode("utf-8", "replace")) if tag else b""
            pieces.append(b"\x0a" + varint(len(name) + 5) + name + b"\x15")
        self._pieces = pieces
        self._packer = struct.Struct("<" + "".join(f"{len(piece)}sf" for piece in pieces))
        self._head = b"\x2a" + varint(self._packer.size)

    def encode(self, wall_time: float, step: int, values: Iterable[float]) -> bytes:
        """Return the event that holds ``values`` (tags,), which must be representable as float32."""
        fields: list[Any] = [item for pair in zip(self._pieces, values, strict=True) for item in pair]
        return _stamp(wall_time, step) + self._head + self._packer.pack(*fields)


class _Lane:
    """What is kept of one lane: frames not yet in its file, and what its file holds."""

    __slots__ = ("frames", "header", "size", "synced")

    def __init__(self) -> None:
        self.header = b""
        self.frames: list[bytes] = []
        self.size = 0
        self.synced = True


class EventFiles:
    """The event files of one attempt on each of some lanes.

    Parameters
    ----------
    path_of
        From a lane to the path of its file. A file appears with its first event; its folder is made.
    clock
        Returns seconds since the epoch, for ``wall_time``.
    """

    def __init__(self, path_of: Callable[[int], Path], clock: Callable[[], float] = time.time) -> None:
        self._path_of, self._clock = path_of, clock
        self._lanes: dict[int, _Lane] = {}
        self._scalars: dict[tuple[str, ...], Scalars] = {}
        self._kept = 0

    @property
    def full(self) -> bool:
        """Whether so much is kept in memory that it is time to flush."""
        return self._kept > _LARGEST

    def begin(self, lane: int, step: int) -> None:
        """Begin an attempt at ``step``, or begin it again: what was recorded of this and later steps counts no more.

        Frames not yet written are dropped. The mark goes into the file before the next event.
        """
        state = self._lanes.setdefault(lane, _Lane())
        self._kept -= sum(map(len, state.frames))
        state.frames.clear()
        now = self._clock()
        state.header = frame(session_start(now, step))
        if not state.size:
            state.header = frame(file_version(now)) + state.header

    def add(self, lanes: Sequence[int], steps: Sequence[int], tags: Sequence[str], values: npt.NDArray[Any]) -> None:
        """Keep one event for each lane.

        Parameters
        ----------
        lanes, steps
            (n,), lanes that have begun.
        tags
            The tags.
        values
            (tags, n), float32 or float64; what is beyond float32 becomes infinite.
        """
        key = tuple(tags)
        scalars = self._scalars.get(key)
        if scalars is None:
            scalars = self._scalars[key] = Scalars(key)
        now = self._clock()
        with np.errstate(over="ignore", invalid="ignore"):
            rows = np.asarray(values).astype(np.float32).T.tolist()
        for lane, step, row in zip(lanes, steps, rows, strict=True):
            record = frame(scalars.encode(now, step, row))
            self._lanes[lane].frames.append(record)
            self._kept += len(record)

    def flush(self, lanes: Iterable[int] | None = None, *, durable: bool = False) -> None:
        """Append what is kept: one open, write and close per file.

        Parameters
        ----------
        lanes
            Only these.
        durable
            Wait for the disk, also for what earlier flushes wrote.

        Raises
        ------
        OSError
            If the disk does not take it. What was written of it is cut off again and stays in memory.
        """
        for lane in self._lanes if lanes is None else lanes:
            state = self._lanes.get(lane)
            if state is None:
                continue
            if state.frames or (state.header and state.size):
                data = b"".join((state.header, *state.frames))
                self._append(lane, state, data, durable=durable)
                self._kept -= sum(map(len, state.frames))
                state.frames.clear()
                state.header = b""
            elif durable and not state.synced:
                self._append(lane, state, b"", durable=True)

    def close(self, lanes: Iterable[int]) -> None:
        """Forget lanes that are finished; call :meth:`flush` before."""
        for lane in lanes:
            state = self._lanes.pop(lane, None)
            if state is not None:
                self._kept -= sum(map(len, state.frames))

    def _append(self, lane: int, state: _Lane, data: bytes, *, durable: bool) -> None:
        path = self._path_of(lane)
        if not state.size:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(descriptor, view) :]
            except OSError:
                os.ftruncate(descriptor, state.size)
                raise
            state.size += len(data)
            state.synced = False
            if durable:
                os.fsync(descriptor)
                state.synced = True
        finally:
            os.close(descriptor)
