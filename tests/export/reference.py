"""TFRecord framing as one would say it: byte by byte and record by record, and far too slow."""

from __future__ import annotations

import struct

from export.checksums import masked_crc


def record_at(data: bytes, at: int) -> tuple[int, str]:
    """Return the payload's length of the record at ``at``, or -1 and what is wrong (``""``: it is cut short)."""
    body = at + 12
    if body > len(data):
        return -1, ""
    length, crc = struct.unpack_from("<QI", data, at)
    if masked_crc(data[at : at + 8]) != crc:
        return -1, "length"
    end = body + length
    if end + 4 > len(data):
        return -1, ""
    if masked_crc(data[body:end]) != struct.unpack_from("<I", data, end)[0]:
        return -1, "payload"
    return length, ""


def resume(data: bytes, at: int) -> int:
    """Return the offset of the next whole record after the bad one at ``at``, or -1."""
    after = len(data) + 1
    if at + 12 <= len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        if masked_crc(data[at : at + 8]) == crc:
            after = at + 16 + length
    if after < len(data) and record_at(data, after)[0] >= 0:
        return after
    for offset in range(at + 1, len(data) - 15):
        if record_at(data, offset)[0] >= 0:
            return offset
    return after if after <= len(data) else -1


def read(data: bytes) -> tuple[list[bytes], list[tuple[int, int]], int]:
    """Return the payloads of whole records, the damaged stretches, and where a later reading goes on."""
    payloads: list[bytes] = []
    damage: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        length, why = record_at(data, at)
        if length >= 0:
            payloads.append(data[at + 12 : at + 12 + length])
            at += length + 16
            continue
        following = resume(data, at)
        if following < 0 and (why == "" or not data[at:].strip(b"\0")):
            break
        following = len(data) if following < 0 else following
        damage.append((at, following - at))
        at = following
    return payloads, damage, at


def merged(stretches: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Join stretches (offset, length, …) that touch: two bad records in a row may be told as one or as two."""
    joined: list[tuple[int, int]] = []
    for offset, length, *_ in sorted(stretches):
        if joined and sum(joined[-1]) == offset:
            joined[-1] = joined[-1][0], joined[-1][1] + length
        else:
            joined.append((offset, length))
    return joined
