"""The compiled way through plain event files (``kernel.c``): used where it was built, and never needed.

It does in one pass what :mod:`export.tfrecord` and :mod:`export.decode` do for undamaged records of plain float32
scalars, and leaves everything else to them. ``ORCH_KERNEL=0`` leaves everything to them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from export.decoded import Bytes, Decoded, Int64
from export.tfrecord import Frames, Piece, frames

MODULE = "export._kernel"
"""Name under which ``setup.py`` builds it."""

VARIABLE = "ORCH_KERNEL"
"""Environment variable: 0 for none, ``plain`` for the checksum that every processor has."""

VERSION = 3
"""Of the interface; what was built from another one is not used."""

TAGS = 1 << 16
POOL = 1 << 22
"""So many tags, and so many bytes of tags, at most; others are left to Python."""

_POINTERS = {"tag": "i4", "step": "i8", "wall": "f8", "value": "f8", "origin": "i8"}


class _State(ctypes.Structure):
    """``struct state`` of ``kernel.c``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("rows", ctypes.c_int64), ("row_room", ctypes.c_int64),
        ("left", ctypes.c_void_p), ("left_size", ctypes.c_void_p),
        ("lefts", ctypes.c_int64), ("left_room", ctypes.c_int64),
        ("pool", ctypes.c_void_p), ("pool_size", ctypes.c_int64), ("pool_room", ctypes.c_int64),
        ("tag_start", ctypes.c_void_p), ("next", ctypes.c_void_p),
        ("tags", ctypes.c_int32), ("tag_room", ctypes.c_int32),
        ("slots", ctypes.c_void_p), ("slot_mask", ctypes.c_uint32),
    )  # fmt: skip


class Passed(NamedTuple):
    """What a pass over some pieces found.

    Parameters
    ----------
    columns
        tag, step, wall, value and origin (offset of the payload) of each row.
    rows, records, lefts
        int64 (pieces,): how many rows, whole records, and payloads that are left to Python.
    left, left_size
        int64: those payloads, piece after piece.
    stops
        For each piece, where the first record is that is not whole, or its end.
    """

    columns: dict[str, npt.NDArray[Any]]
    rows: Int64
    records: Int64
    lefts: Int64
    left: Int64
    left_size: Int64
    stops: list[int]

    def decoded(self) -> Decoded:
        """Return the rows."""
        columns = self.columns
        tag, step, wall, value = (columns[name] for name in ("tag", "step", "wall", "value"))
        first = np.append(0, np.cumsum(self.rows))
        return Decoded(tag, step, wall, value, True, first, self.records, [], [], columns["origin"])


class Kernel:
    """The compiled pass, with the tags that it knows.

    Parameters
    ----------
    library
        The compiled file.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._state = _State(tag_room=TAGS, pool_room=POOL, slot_mask=2 * TAGS - 1)
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._hold(
            pool=np.empty(POOL, np.uint8),
            tag_start=np.zeros(TAGS + 1, np.int64),
            next=np.zeros(TAGS, np.int32),
            slots=np.full(2 * TAGS, -1, np.int32),
        )

    def _hold(self, **arrays: npt.NDArray[Any]) -> None:
        for name, array in arrays.items():
            self._arrays[name] = array
            setattr(self._state, name, array.ctypes.data)

    def _make_room(self, size: int) -> None:
        room = size // 16 + 64
        if self._state.left_room < room:
            self._hold(**{name: np.empty(room, kind) for name, kind in _POINTERS.items()})
            self._hold(left=np.empty(room, np.int64), left_size=np.empty(room, np.int64))
            self._state.row_room = self._state.left_room = room

    def know(self, tags: list[str]) -> None:
        """Take over tags that Python has met; each tag has the same code on both sides."""
        for tag in tags[self._state.tags :]:
            data = tag.encode()
            if self._library.orch_tag(ctypes.byref(self._state), data, ctypes.c_int64(len(data))) < 0:
                self._state.tag_room = self._state.tags  # no room: the codes of later ones would differ
                return

    def new_tags(self, known: int) -> list[str]:
        """Return the tags met beyond the first ``known`` ones."""
        edges = self._arrays["tag_start"][known : self._state.tags + 1].tolist()
        pool = self._arrays["pool"]
        return [pool[low:high].tobytes().decode() for low, high in pairwise(edges)]

    def decode(self, buffer: Bytes, pieces: Sequence[Piece]) -> Passed:
        """Decode the pieces of a buffer."""
        state = self._state
        self._make_room(len(buffer))
        state.rows = state.lefts = 0
        edges = np.array([(piece.begin, piece.end) for piece in pieces], np.int64)
        found = np.zeros((len(pieces), 4), np.int64)  # struct found
        data, places, answers = (ctypes.c_void_p(array.ctypes.data) for array in (buffer, edges, found))
        self._library.orch_decode(ctypes.byref(state), data, places, ctypes.c_int64(len(pieces)), answers)
        stop, rows, records, lefts = found.T
        left, left_size = (self._arrays[name][: state.lefts].copy() for name in ("left", "left_size"))
        columns = {name: self._arrays[name][: state.rows].copy() for name in _POINTERS}
        return Passed(columns, rows, records, lefts, left, left_size, stop.tolist())


@cache
def _library(how: str) -> ctypes.CDLL | None:
    found = find_spec(MODULE)
    if how == "0" or found is None or found.origin is None:
        return None
    try:
        library = ctypes.CDLL(found.origin)
        library.orch_decode.restype = None
        library.orch_crc.restype = ctypes.c_uint32
        return library if library.orch_begin(int(how == "plain")) == VERSION else None
    except (OSError, AttributeError):
        return None


def kernel() -> Kernel | None:
    """Return a kernel, or None where none was built or wanted."""
    library = _library(os.environ.get(VARIABLE, ""))
    return Kernel(library) if library is not None else None


def remaining(buffer: Bytes, pieces: Sequence[Piece], passed: Passed) -> Frames:
    """Return the records that the kernel left, and those after the place where it stopped."""
    rests = [Piece(stop, piece.end, piece.final) for stop, piece in zip(passed.stops, pieces, strict=True)]
    first = np.append(0, np.cumsum(passed.lefts))
    if all(rest.begin == rest.end for rest in rests):
        return Frames(passed.left, passed.left_size, first, passed.stops)
    starts: list[Int64] = []
    lengths: list[Int64] = []
    ends, damage = list(passed.stops), []
    for number, rest in enumerate(rests):
        low, high = first[number : number + 2].tolist()
        starts.append(passed.left[low:high])
        lengths.append(passed.left_size[low:high])
        if rest.begin < rest.end:
            found = frames(buffer, [rest])
            starts[-1] = np.append(starts[-1], found.starts)
            lengths[-1] = np.append(lengths[-1], found.lengths)
            ends[number] = found.ends[0]
            damage += [(number, stretch) for _, stretch in found.damage]
    first = np.append(0, np.cumsum([len(part) for part in starts])).astype(np.int64)
    return Frames(np.concatenate(starts), np.concatenate(lengths), first, ends, damage)
