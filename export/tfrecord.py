"""TFRecord framing: finding the records in a file's bytes, checking them, and going on after damage.

A record is its length (8 bytes, little-endian), the masked CRC32C of those 8 bytes, the payload, and the masked CRC32C
of the payload. A file that ends in the middle of a record, or in zeros that were allocated and not written yet, is
what a live or killed writer leaves behind: a *tail*, not damage. Anything else that does not check is damage; the
search for the next whole record then goes byte by byte, so that one bad page costs the records it touches.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

HEADER = 12
"""Bytes before a payload."""

FOOTER = 4
"""Bytes after a payload."""

_MASK = 0xA282EAD8
_BLOCK = 1 << 20  # the most offsets that the search for a header looks at together
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")

Int64 = npt.NDArray[np.int64]


class Damage(NamedTuple):
    """A stretch of a file that holds no readable record.

    Parameters
    ----------
    offset, length
        Bytes from the file's beginning, and how many are lost.
    why
        What does not check.
    """

    offset: int
    length: int
    why: str


@dataclass
class Frames:
    """Where the payloads of a file's whole records are.

    Parameters
    ----------
    starts, lengths
        int64 (n,): offset and size of each payload, in file order.
    damage
        What was skipped between them.
    end
        Offset after the last whole record, or after the damage that follows it; a later reading may go on here.
    tail
        Bytes from ``end`` to the end of the file: an unfinished record, or zeros.
    """

    starts: Int64
    lengths: Int64
    damage: list[Damage] = field(default_factory=list)
    end: int = 0
    tail: int = 0


def masked_crc(data: bytes) -> int:
    """Return the masked CRC32C that TFRecord stores for ``data``."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """Return ``payload`` as one record."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (length, _FOOTER.pack(masked_crc(length)), payload, _FOOTER.pack(masked_crc(payload))),
    )


def frames(data: bytes) -> Frames:
    """Find the whole records of a file; every checksum is checked."""
    starts: list[int] = []
    lengths: list[int] = []
    damage: list[Damage] = []
    at, size = 0, len(data)
    while True:
        length, why = _record(data, at)
        if length >= 0:
            starts.append(at + HEADER)
            lengths.append(length)
            at += HEADER + length + FOOTER
            continue
        if at == size:
            break
        following = _resume(data, at)
        if following < 0 and why == "":
            break  # cut short, and nothing whole comes after it
        if following < 0 and not data[at:].strip(b"\0"):
            break  # allocated and not written
        end = following if following >= 0 else size
        damage.append(Damage(at, end - at, why or "a record is cut short"))
        at = end
    return Frames(np.array(starts, np.int64), np.array(lengths, np.int64), damage, at, size - at)


def _record(data: bytes, at: int) -> tuple[int, str]:
    """Return the payload's length of the record at ``at``, or -1 and what is wrong (``""``: it is cut short)."""
    body = at + HEADER
    if body > len(data):
        return -1, ""
    length, crc = _HEADER.unpack_from(data, at)
    if masked_crc(data[at : at + 8]) != crc:
        return -1, "the length of a record does not match its checksum"
    end = body + length
    if end + FOOTER > len(data):
        return -1, ""
    if masked_crc(data[body:end]) != _FOOTER.unpack_from(data, end)[0]:
        return -1, "a record does not match its checksum"
    return length, ""


def _resume(data: bytes, at: int) -> int:
    """Return the offset of the next whole record after the bad one at ``at``, or -1."""
    after = len(data) + 1
    if at + HEADER <= len(data):
        length, crc = _HEADER.unpack_from(data, at)
        if masked_crc(data[at : at + 8]) == crc:
            after = at + HEADER + length + FOOTER
    # Where the length's checksum holds and something whole follows, it may be trusted at once; also where nothing
    # whole is found at all. Otherwise the record was cut short, and others were appended to it.
    if after < len(data) and _record(data, after)[0] >= 0:
        return after
    found = _search(data, at + 1)
    return after if found < 0 and after <= len(data) else found


def _search(data: bytes, start: int) -> int:
    """Return the first offset from ``start`` at which a whole record begins, or -1."""
    # Offsets are judged by the header's checksum first, a block of them at once; blocks grow, for the next record is
    # usually near.
    view = np.frombuffer(data, np.uint8)
    low, size, stop = start, 1 << 10, len(data) - HEADER - FOOTER + 1
    while low < stop:
        high = min(low + size, stop)
        for offset in np.flatnonzero(_headers(view[low : high + HEADER - 1])):
            if _record(data, low + int(offset))[0] >= 0:
                return low + int(offset)
        low, size = high, min(2 * size, _BLOCK)
    return -1


def _headers(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Say for each offset whether the 12 bytes there are a length with its checksum; (m,) to (m - 11,)."""
    tables, constant = _tables()
    count = len(block) - HEADER + 1
    crc = np.full(count, constant, np.uint32)
    for place in range(8):
        crc ^= tables[place][block[place : place + count]]
    crc = (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(_MASK)
    stored = np.zeros(count, np.uint32)
    for place in range(4):
        stored |= block[8 + place : 8 + place + count].astype(np.uint32) << np.uint32(8 * place)
    return np.asarray(crc == stored, bool)


@cache
def _tables() -> tuple[npt.NDArray[np.uint32], np.uint32]:
    """Return CRC32C of 8 bytes as tables: it is linear, the xor of what each byte adds to the value for zeros."""
    constant = google_crc32c.value(bytes(8))
    tables = np.zeros((8, 256), np.uint32)
    for place in range(8):
        for value in range(256):
            eight = bytearray(8)
            eight[place] = value
            tables[place, value] = google_crc32c.value(bytes(eight)) ^ constant
    return tables, np.uint32(constant)
