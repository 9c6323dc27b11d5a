"""CRC32C as TFRecord masks it, and as tables: it is linear, so what single bytes add to a checksum can be looked up.

The checksum of a message is the checksum of as many zeros, xor what each byte adds to it; and what a byte adds depends
on its value and on how many bytes follow it, on nothing else. Records of one shape differ in a dozen bytes, so a dozen
look-ups for thousands of records at once take the place of a checksum of each.
"""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

UInt32 = npt.NDArray[np.uint32]

_MASK = 0xA282EAD8


def crc(data: bytes) -> int:
    """Return the CRC32C of ``data``."""
    value: int = google_crc32c.value(data)
    return value


def extended(value: int, data: bytes) -> int:
    """Return the CRC32C of what has the CRC32C ``value``, with ``data`` after it."""
    longer: int = google_crc32c.extend(value, data)
    return longer


def masked_crc(data: bytes) -> int:
    """Return the masked CRC32C that TFRecord stores for ``data``."""
    value = crc(data)
    return ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF


def mask(values: UInt32) -> UInt32:
    """Return CRC32Cs as TFRecord stores them."""
    return (values >> np.uint32(15) | values << np.uint32(17)) + np.uint32(_MASK)


def unmask(stored: UInt32) -> UInt32:
    """Undo :func:`mask`."""
    values = stored - np.uint32(_MASK)
    return values >> np.uint32(17) | values << np.uint32(15)


class Contributions:
    """What a byte adds to a checksum: ``table[b]`` for the byte b that so many others follow."""

    def __init__(self) -> None:
        zero = crc(b"\0")
        self._tables = [np.array([crc(bytes([byte])) ^ zero for byte in range(256)], np.uint32)]

    def after(self, count: int) -> UInt32:
        """Return the table, uint32 (256,), of a byte that ``count`` bytes follow."""
        first = self._tables[0]
        while len(self._tables) <= count:
            last = self._tables[-1]
            self._tables.append(last >> np.uint32(8) ^ first[last & np.uint32(255)])
        return self._tables[count]


contributions = Contributions()
"""Tables that all readers share."""


def _header_tables() -> tuple[Any, ...]:
    zero = np.uint32(crc(bytes(8)))
    return contributions.after(7) ^ zero, contributions.after(6), contributions.after(5)


_LENGTH_TABLES = _header_tables()

SHORT_HEADERS: UInt32 = mask(_LENGTH_TABLES[0])
"""The stored checksum of each length below 256, uint32 (256,)."""


def header_crc(lengths: npt.NDArray[np.int64]) -> UInt32:
    """Return the stored checksums of lengths below 2²⁴, written as 8 bytes: int64 (n,) to uint32 (n,)."""
    low, middle, high = _LENGTH_TABLES
    return mask(low[lengths & 255] ^ middle[lengths >> 8 & 255] ^ high[lengths >> 16])
