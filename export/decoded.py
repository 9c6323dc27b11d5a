"""What was decoded, by whichever way, and how two ways are put together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from export.tfrecord import Damage

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


@dataclass
class Decoded:
    """What the records of a buffer's pieces hold.

    Parameters
    ----------
    tag
        int32 (n,): code of each scalar's tag, see :attr:`Decoder.tags`.
    step, wall, value
        int64, float64, float64 (n,).
    single
        Whether every value came as a type that float32 holds.
    first
        int64 (pieces + 1,): piece p has the scalars ``first[p]:first[p + 1]``.
    records
        int64 (pieces,): whole records.
    marks
        (piece, row, step, start): before that scalar a writer took back what it had written from this step on; where
        the payload is that says so.
    origin
        int64 (n,): offset in the buffer of the record's payload that each scalar is of, where it was asked for.
    damage
        (piece, stretch in the buffer): payloads that do not check or cannot be read.
    """

    tag: Int32
    step: Int64
    wall: Float64
    value: Float64
    single: bool
    first: Int64
    records: Int64
    marks: list[tuple[int, int, int, int]]
    damage: list[tuple[int, Damage]]
    origin: Int64 | None = None


def merged(one: Decoded, other: Decoded) -> Decoded:
    """Put what was decoded in two ways into the order in which it stands in the buffer."""
    assert one.origin is not None
    assert other.origin is not None
    if not len(other.step):
        marks = [(piece, int(np.searchsorted(one.origin, start)), step, start) for piece, _, step, start in other.marks]
        return replace(one, records=one.records + other.records, marks=marks, damage=other.damage)
    origin = np.concatenate([one.origin, other.origin])
    order = np.argsort(origin, kind="stable")
    origin = origin[order]
    marks = [(piece, int(np.searchsorted(origin, start)), step, start) for piece, _, step, start in other.marks]
    return Decoded(
        np.concatenate([one.tag, other.tag])[order],
        np.concatenate([one.step, other.step])[order],
        np.concatenate([one.wall, other.wall])[order],
        np.concatenate([one.value, other.value])[order],
        one.single and other.single,
        one.first + other.first,
        one.records + other.records,
        marks,
        other.damage,
        origin,
    )
