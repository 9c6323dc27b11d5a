"""Shapes of events: everything of a record but its wall time, its step and its values, learnt once and then compared.

An event of one or more plain scalars is the same bytes each time it is logged, but for three kinds of fields at known
offsets. So a record is decoded by comparing it with a shape that was taken apart before: where all other bytes agree,
the fields are where the shape says. Its checksum is what the shape's checksum and the variable bytes add up to.
Records are compared thousands at a time, all those of one length and one size of step.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.checksums import UInt32, contributions, crc, unmask
from export.messages import DTYPES, SCALARS
from export.windows import column

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

WALL = 1
"""Offset of the wall time; a 0x09 stands before it."""

STEP = 10
"""Offset of the step; a 0x10 stands before it."""

NO_STEP, ODD = 0, 15
"""Size of the step of an event without one, and of an event that does not begin as all others do."""

_HASH = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


class Slot(NamedTuple):
    """A value in an event: offset in the payload, and NumPy's name of its type."""

    offset: int
    dtype: str


@dataclass(frozen=True)
class Shape:
    """What is constant in an event of plain scalars.

    Parameters
    ----------
    slots
        Its values, in order.
    tags
        Their tags.
    bare
        Whether each is a tensor whose metadata, given with the tag's first value, is not repeated.
    """

    slots: tuple[Slot, ...]
    tags: tuple[str, ...]
    bare: tuple[bool, ...]


# --- taking an event apart


def learn(payload: bytes) -> Shape | None:
    """Take an event apart; None where it holds anything but plain scalars, each field at most once."""
    try:
        slots, tags, bare = [], [], []
        for number, kind, start, end in fields(payload, 0, len(payload)):
            if (number, kind, start) in ((1, 1, WALL), (2, 0, STEP)):
                continue
            if (number, kind, end) != (5, 2, len(payload)):
                return None
            for inner, wire, begin, stop in fields(payload, start, end):
                if (inner, wire) != (1, 2):
                    return None
                slot, tag, is_bare = _value(payload, begin, stop)
                slots.append(slot)
                tags.append(tag)
                bare.append(is_bare)
    except (ValueError, KeyError, IndexError):
        return None
    return Shape(tuple(slots), tuple(tags), tuple(bare)) if slots else None


def _value(data: bytes, start: int, end: int) -> tuple[Slot, str, bool]:
    """Return slot, tag and bareness of a summary's value; ValueError if it is not plain."""
    slot, tag, plugin, tensor = None, "", "", False
    seen = set()
    for number, kind, begin, stop in fields(data, start, end):
        if number in seen or (slot and number in (2, 8)):
            raise ValueError
        seen.add(number)
        if (number, kind) == (1, 2):
            tag = data[begin:stop].decode()
        elif (number, kind) == (2, 5):
            slot = Slot(begin, "<f4")
        elif (number, kind) == (8, 2):
            slot, tensor = _tensor(data, begin, stop), True
        elif (number, kind) == (9, 2):
            plugin = _plugin(data, begin, stop)
        else:
            raise ValueError
    if slot is None or plugin not in ("", SCALARS) or (slot.dtype == "?" and not plugin):
        raise ValueError
    return slot, tag, tensor and not plugin


def _tensor(data: bytes, start: int, end: int) -> Slot:
    """Return the slot of a tensor of one number; ValueError if it has none of constant size."""
    dtype, slot = "", None
    for number, kind, begin, stop in fields(data, start, end):
        if (number, kind) == (1, 0) and not dtype:
            dtype = DTYPES[data[begin]] if stop == begin + 1 else ""
        elif (number, kind) == (2, 2):
            for inner, wire, low, high in fields(data, begin, stop):
                if (inner, wire) != (2, 2) or data[low:high] != b"\x08\x01":
                    raise ValueError
        elif (number, kind) == (3, 0):
            continue
        elif slot is None and ((number, kind) == (4, 2) or (number, dtype) in ((5, "<f4"), (6, "<f8"))):
            if not dtype or stop - begin != np.dtype(dtype).itemsize:
                raise ValueError
            slot = Slot(begin, dtype)
        else:
            raise ValueError
    if slot is None or not dtype:
        raise ValueError
    return slot


def _plugin(data: bytes, start: int, end: int) -> str:
    """Return the plugin that a value's metadata names."""
    names = [
        data[low:high].decode()
        for number, kind, begin, stop in fields(data, start, end)
        if (number, kind) == (1, 2)
        for inner, wire, low, high in fields(data, begin, stop)
        if (inner, wire) == (1, 2)
    ]
    if len(names) > 1:
        raise ValueError
    return names[0] if names else ""


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, begin, end) of a message's fields: where their contents are.

    Raises
    ------
    ValueError
        If these bytes are no message.
    """
    while at < end:
        key, at = varint(data, at, end)
        number, kind = key >> 3, key & 7
        if kind == 0:
            start = at
            _, at = varint(data, at, end)
        elif kind == 2:
            size, start = varint(data, at, end)
            at = start + size
        elif kind in (1, 5):
            start, at = at, at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"wire type {kind}")
        if at > end or not number:
            raise ValueError("a field reaches beyond its message")
        yield number, kind, start, at


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number and the offset after it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("a number does not end")


# --- comparing with what was learnt


class Layout:
    """The shapes of one payload size, one step size, and values at the same places; they differ in their tags.

    Parameters
    ----------
    size
        Of the payload.
    step
        Of the step's varint; :data:`NO_STEP` for none.
    slots
        The values.
    """

    def __init__(self, size: int, step: int, slots: tuple[Slot, ...]) -> None:
        self.size, self.step, self.slots = size, step, slots
        self.width = -(-(size + 4) // 8)  # words of a record with its footer
        varies = np.zeros(self.width * 8, bool)
        varies[WALL : WALL + 8] = True
        varies[STEP : STEP + step] = True
        for offset, dtype in slots:
            varies[offset : offset + np.dtype(dtype).itemsize] = True
        self.variable = np.flatnonzero(varies[:size]).tolist()
        keeps = np.where(varies, 0, 255).astype(np.uint8)
        keeps[size:] = 0
        self.keeps = keeps.view("<u8")
        self.words = np.flatnonzero(self.keeps).tolist()
        self.rows: UInt64 = np.zeros((0, self.width), np.uint64)
        self.constants: UInt32 = np.zeros(0, np.uint32)
        self.tags = np.zeros((0, len(slots)), np.int32)
        self.bare = np.zeros((0, len(slots)), bool)
        self._distinct: list[int] = []
        self._order = np.zeros(0, np.intp)
        self._keys: UInt64 = np.zeros(0, np.uint64)

    def add(self, payload: bytes, tags: list[int], bare: tuple[bool, ...]) -> None:
        """Add the shape of an event."""
        filled = np.frombuffer(payload.ljust(self.width * 8, b"\0"), "<u8") & self.keeps
        self.rows = np.concatenate([self.rows, filled[None]])
        self.constants = np.append(self.constants, np.uint32(crc(filled.tobytes()[: self.size])))
        self.tags = np.concatenate([self.tags, np.array([tags], np.int32)])
        self.bare = np.concatenate([self.bare, np.array([bare], bool)])
        self._distinct = [word for word in self.words if np.any(self.rows[:, word] != self.rows[0, word])]
        keys = self._key(self.rows)
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def _key(self, records: UInt64) -> UInt64:
        if len(self._distinct) == 1:
            word = self._distinct[0]
            return np.asarray(records[:, word] & self.keeps[word], np.uint64)
        key = np.zeros(len(records), np.uint64)
        for place, word in enumerate(self._distinct):
            key ^= key >> np.uint64(29)
            key += (records[:, word] & self.keeps[word]) * _HASH[place % len(_HASH)]
        return key

    def match(self, records: UInt64) -> tuple[Int64 | int, npt.NDArray[np.bool_] | bool]:
        """Compare records with the shapes.

        Parameters
        ----------
        records
            uint64 (n, width): payloads with what follows them.

        Returns
        -------
        tuple
            The shape of each record, int64 (n,), or one number for all; and whether its bytes are the shape's,
            bool (n,), or True for all.
        """
        differs = np.zeros(len(records), np.uint64)
        shape: Int64 | int = 0
        if self._distinct:
            place = np.searchsorted(self._keys, self._key(records))
            shape = self._order[np.minimum(place, len(self._keys) - 1)]
        for word in self.words:
            expected = self.rows[:, word].take(shape) if word in self._distinct else self.rows[0, word]
            differs |= (records[:, word] & self.keeps[word]) ^ expected
        return (shape, True) if not differs.any() else (shape, differs == 0)

    def sound(self, records: Bytes, shape: Int64 | int) -> npt.NDArray[np.bool_]:
        """Say of each record, uint8 (n, 8 width), whether it matches its checksum, given that it has this shape."""
        rest = unmask(column(records, self.size, "<u4")) ^ self.constants[shape]
        slow = column(records, WALL + 4, "<u4")  # this half of the time changes every few minutes at most
        same = bool((slow == slow[0]).all())
        for place in self.variable:
            table = contributions.after(self.size - 1 - place)
            if same and WALL + 3 < place < WALL + 8:
                rest ^= table[records[0, place]]
            else:
                rest ^= table.take(records[:, place])
        return np.asarray(rest == 0, bool)

    def wall(self, records: Bytes) -> npt.NDArray[np.float64]:
        """Return the wall times, float64 (n,)."""
        return column(records, WALL, "<f8").copy()

    def steps(self, records: Bytes) -> Int64:
        """Return the steps, int64 (n,)."""
        step = np.zeros(len(records), np.int64)
        for place in range(self.step):
            step |= (records[:, STEP + place] & np.uint8(127)).astype(np.int64) << np.int64(7 * place)
        return step

    def values(self, records: Bytes) -> npt.NDArray[np.float64]:
        """Return the values, float64 (n, slots)."""
        found = np.empty((len(records), len(self.slots)))
        for place, (offset, dtype) in enumerate(self.slots):
            found[:, place] = column(records, offset, dtype)
        return found

    @property
    def single(self) -> bool:
        """Whether four bytes hold every value."""
        return all(dtype in ("<f4", "<f2", "<i1", "<u1", "<i2", "<u2", "?") for _, dtype in self.slots)


def key_of(payload: bytes) -> tuple[int, bytes, bytes] | None:
    """Return (step, bytes before the value, the value's four bytes) of an event that ends in a float32, or None."""
    if len(payload) < STEP + 6 or payload[0] != 9:
        return None
    if payload[9] == 0x2A:
        return 0, payload[9:-4], payload[-4:]
    if payload[9] != 0x10:
        return None
    try:
        step, at = varint(payload, STEP, len(payload) - 4)
    except ValueError:
        return None
    return step - (1 << 64) if step >> 63 else step, payload[at:-4], payload[-4:]


def single_float(payload: bytes) -> float:
    """Return the last four bytes of an event as a number."""
    value: float = struct.unpack("<f", payload[-4:])[0]
    return value
