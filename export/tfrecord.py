"""TFRecord framing: finding the records in bytes, for many files at once, and going on after damage.

A record is its length (8 bytes, little-endian), the masked CRC32C of those 8 bytes, the payload, and the masked CRC32C
of the payload. A file that ends in the middle of a record, or in zeros that were allocated and not written yet, is
what a live or killed writer leaves behind: a *tail*, not damage. Anything else that does not check is damage; the
search for the next whole record then goes byte by byte, so that one bad page costs the records it touches.

Records are not walked one by one. A length below 2²⁴ is followed by five zero bytes or more, so the beginnings of
runs of zeros, found by comparing whole arrays, are the only places where a record can begin; of these the length's
checksum leaves the true ones. Where each ends exactly where the next begins, nothing else is to do: the payloads'
checksums are left to whoever decodes them. Everything else, damage and tails, is walked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from export.checksums import SHORT_HEADERS, header_crc, masked_crc
from export.windows import column, gather

HEADER = 12
"""Bytes before a payload."""

FOOTER = 4
"""Bytes after a payload."""

AROUND = HEADER + FOOTER

PADDING = 64
"""Bytes that must follow a buffer's contents, so that windows may reach beyond the last record."""

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_EMPTY = bytes(8) + _FOOTER.pack(masked_crc(bytes(8)))  # the header of a record without payload

Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


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


BAD_PAYLOAD = "a record does not match its checksum"
BAD_LENGTH = "the length of a record does not match its checksum"
CUT = "a record is cut short"


class Piece(NamedTuple):
    """A stretch of a buffer that holds bytes of one file.

    Parameters
    ----------
    begin, end
        Where it is in the buffer. It begins with a record.
    final
        Whether the file ends here; otherwise what is cut short goes on in a later buffer.
    """

    begin: int
    end: int
    final: bool = True


@dataclass
class Frames:
    """The records of a buffer's pieces, their payloads' checksums unchecked but where damage is near.

    Parameters
    ----------
    starts, lengths
        int64 (n,): offset in the buffer and size of each payload, piece after piece, in order.
    first
        int64 (pieces + 1,): piece p has the records ``first[p]:first[p + 1]``.
    ends
        For each piece, the offset in the buffer after its last record, or after the damage that follows it: reading
        may go on there. What comes after is the tail.
    damage
        (piece, stretch in the buffer) of what was skipped.
    """

    starts: Int64
    lengths: Int64
    first: Int64
    ends: list[int]
    damage: list[tuple[int, Damage]] = field(default_factory=list)


def frame(payload: bytes) -> bytes:
    """Return ``payload`` as one record."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (length, _FOOTER.pack(masked_crc(length)), payload, _FOOTER.pack(masked_crc(payload))),
    )


def frames(buffer: Bytes, pieces: Sequence[Piece]) -> Frames:
    """Find the records of a buffer.

    Parameters
    ----------
    buffer
        uint8 (m,), with :data:`PADDING` bytes of anything after the last piece.
    pieces
        Ascending, and disjoint.
    """
    begins = np.array([piece.begin for piece in pieces], np.int64)
    stops = np.array([piece.end for piece in pieces], np.int64)
    low, high = (int(begins[0]), int(stops[-1])) if pieces else (0, 0)
    starts, lengths = headers(buffer[low:], high - low)
    starts += low
    nexts = starts + (lengths + AROUND)
    first = np.append(np.searchsorted(starts, begins), len(starts))
    following = np.append(starts[1:], 0)
    filled = np.flatnonzero(np.diff(first))
    following[first[filled + 1] - 1] = stops[filled]
    broken = np.flatnonzero(nexts != following)
    opening = np.full(len(pieces), -1, np.int64)
    opening[filled] = starts[first[filled]]
    bad = (opening != begins) & (stops > begins)
    bad[np.searchsorted(first, broken, side="right") - 1] = True
    if not bad.any():
        return Frames(starts + HEADER, lengths, first, stops.tolist())
    return _mend(buffer, pieces, (starts, lengths, first), broken, bad)


def headers(buffer: Bytes, size: int) -> tuple[Int64, Int64]:
    """Return where in a buffer the 12 bytes are a length below 2²⁴ and its checksum, and the length.

    Lengths of zero are not found.
    """
    if size < AROUND:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    zero = buffer[: size + size % 2 + 2].view("<u2") == 0
    pair = zero[1:] & zero[:-1]  # any five zero bytes in a row have such a pair among them
    at = 2 * (np.flatnonzero(pair[1:] > pair[:-1]) + 1)
    at -= buffer[at - 1] == 0  # where the zeros begin
    place, length, short = _there(buffer, np.maximum(at - 1, 0))
    if not short.all():
        others = at[~short]
        place, length = place[short], length[short]
        for count in (2, 3):
            tried, size_of, there = _there(buffer, others[others >= count] - count)
            if there.any():
                place, length = np.append(place, tried[there]), np.append(length, size_of[there])
                order = np.argsort(place, kind="stable")
                place, length = place[order], length[order]
    kept = place + HEADER <= size
    return (place, length) if kept.all() else (place[kept], length[kept])


def _there(buffer: Bytes, place: Int64) -> tuple[Int64, Int64, npt.NDArray[np.bool_]]:
    """Return some places, the numbers that stand there, and whether each is a length with its checksum."""
    words = gather(buffer, AROUND, place)
    length, stored = column(words, 0, "<u8"), column(words, 8, "<u4")
    low = words[:, 0]
    short = (length == low) & (SHORT_HEADERS.take(low) == stored)
    number = low.astype(np.int64)
    others = np.flatnonzero(~short)
    if len(others):
        long = length[others]
        there = (long > 0) & (long < 1 << 24)
        number[others] = np.where(there, long, 0)
        short[others] = there & (header_crc(number[others]) == stored[others])
    return place, number, short


def _mend(
    buffer: Bytes,
    pieces: Sequence[Piece],
    candidates: tuple[Int64, Int64, Int64],
    broken: Int64,
    bad: npt.NDArray[np.bool_],
) -> Frames:
    """Walk the pieces that are not one unbroken chain of records."""
    starts, lengths, first = candidates
    ends: list[int] = []
    damage: list[tuple[int, Damage]] = []
    parts: list[tuple[Int64, Int64]] = []
    counts: list[int] = []
    for number, piece in enumerate(pieces):
        low, high = int(first[number]), int(first[number + 1])
        mine = starts[low:high], lengths[low:high]
        if not bad[number]:
            ends.append(piece.end)
        else:
            stops = broken[np.searchsorted(broken, low) : np.searchsorted(broken, high)] - low
            walk = _Walk(buffer, piece, *mine, stops)
            mine = walk.run()
            ends.append(walk.at)
            damage += [(number, stretch) for stretch in walk.damage]
        parts.append(mine)
        counts.append(len(mine[0]))
    return Frames(
        np.concatenate([part[0] for part in parts]) + HEADER,
        np.concatenate([part[1] for part in parts]),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        ends,
        damage,
    )


class _Walk:
    """The way through one piece, from unbroken chain to unbroken chain.

    Parameters
    ----------
    buffer, piece
        The bytes.
    starts, lengths
        The piece's candidates: where a header is.
    broken
        Indices of the candidates that do not end where the next one begins.
    """

    def __init__(self, buffer: Bytes, piece: Piece, starts: Int64, lengths: Int64, broken: Int64) -> None:
        self.buffer, self.piece, self.starts, self.lengths, self.broken = buffer, piece, starts, lengths, broken
        self.at = piece.begin
        self.damage: list[Damage] = []

    def run(self) -> tuple[Int64, Int64]:
        """Return the beginnings and payload lengths of the piece's records."""
        found: list[tuple[Int64, Int64]] = [(self.starts[:0], self.lengths[:0])]
        while self.at < self.piece.end:
            index = int(np.searchsorted(self.starts, self.at))
            if index < len(self.starts) and self.starts[index] == self.at:
                stop = int(np.searchsorted(self.broken, index))
                last = int(self.broken[stop]) if stop < len(self.broken) else len(self.starts)
                if last > index:  # each of these ends where a header begins, or the piece ends
                    found.append((self.starts[index:last], self.lengths[index:last]))
                    self.at = int(self.starts[last - 1] + self.lengths[last - 1]) + AROUND
                    continue
            length, why = self._record(self.at)
            if length >= 0:
                found.append((np.array([self.at]), np.array([length])))
                self.at += length + AROUND
            elif not self._skip(why):
                break
        return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])

    def _skip(self, why: str) -> bool:
        """Go beyond damage, and return whether there was any: what is cut short at the end is none."""
        at, end = self.at, self.piece.end
        following = -1 if why == CUT and not self.piece.final else self._resume()
        if following < 0:
            if why == CUT or not self.piece.final:
                return False  # nothing whole comes after it, or not in this buffer
            if not self.buffer[at:end].any():
                return False  # allocated and not written
            following = end
        self.damage.append(Damage(at, following - at, why))
        self.at = following
        return True

    def _record(self, at: int) -> tuple[int, str]:
        """Return the payload's length of the record at ``at``, or -1 and what is wrong."""
        body = at + HEADER
        if body > self.piece.end:
            return -1, CUT
        head = self.buffer[at:body].tobytes()
        length, stored = _HEADER.unpack(head)
        if masked_crc(head[:8]) != stored:
            return -1, BAD_LENGTH
        end = body + length
        if end + FOOTER > self.piece.end:
            return -1, CUT
        if masked_crc(self.buffer[body:end].tobytes()) != _FOOTER.unpack(self.buffer[end : end + FOOTER].tobytes())[0]:
            return -1, BAD_PAYLOAD
        return length, ""

    def _resume(self) -> int:
        """Return the offset of the next whole record after the bad one here, or -1 for none (in this buffer)."""
        at, size, final = self.at, self.piece.end, self.piece.final
        after = size + 1
        if at + HEADER <= size:
            head = self.buffer[at : at + HEADER].tobytes()
            length, stored = _HEADER.unpack(head)
            if masked_crc(head[:8]) == stored:
                after = at + AROUND + length
        # Where the length's checksum holds and something whole follows, it may be trusted at once; also where nothing
        # whole is found at all. Otherwise the record was cut short, and others were appended to it.
        if after <= size:
            length, why = self._record(after)
            if length >= 0:
                return after
            if why == CUT and not final:
                return -1
        for start in self._candidates():
            length, why = self._record(start)
            if length >= 0:
                return start
            if why == CUT and not final:
                return -1
        return after if after <= size and final else -1

    def _candidates(self) -> Iterator[int]:
        """Yield the places after this one where a record may begin, but for records of 16 MiB and more."""
        low = self.at + 1
        for start in [*self.starts[np.searchsorted(self.starts, low) :].tolist(), self.piece.end]:
            between = self.buffer[low : min(start + HEADER - 1, self.piece.end)].tobytes()
            empty = between.find(_EMPTY)
            while empty >= 0:
                yield low + empty
                empty = between.find(_EMPTY, empty + 1)
            if start < self.piece.end:
                yield start
            low = start + 1


def whole(buffer: Bytes, starts: Int64, lengths: Int64) -> npt.NDArray[np.bool_]:
    """Say of each payload whether it matches its checksum; one by one, for few or long ones."""
    good = np.zeros(len(starts), bool)
    for i, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        end = start + length
        stored = _FOOTER.unpack(buffer[end : end + FOOTER].tobytes())[0]
        good[i] = masked_crc(buffer[start:end].tobytes()) == stored
    return good
