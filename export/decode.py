"""Records to columns: plain scalars by their shapes, thousands at a time; whatever else there is, one by one.

Every payload's checksum is checked: by its shape, or by itself. Events are not read further than needed: histograms,
images, audio and graphs are passed over.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export import shapes
from export.decoded import Bytes, Decoded, Float64, Int32, Int64, merged
from export.events import LONGEST, Events, Listener, Singles, Tags, are_single
from export.kernel import kernel, remaining
from export.shapes import NO_STEP, ODD, STEP, Layout
from export.tfrecord import AROUND, BAD_PAYLOAD, HEADER, Damage, Frames, Piece, frames, whole
from export.windows import gather

FEW = 12
"""So many records of one length are decoded one by one: comparing them all at once costs more."""


@dataclass
class _Rows:
    """Some records' scalars: the records, int64 (n,), and (n,) or (n, slots) of what they hold."""

    record: Int64
    wall: Float64
    step: Int64
    tag: Int32
    value: Float64
    bare: npt.NDArray[np.bool_]


class Decoder:
    """Decodes buffers, and remembers tags and shapes from one to the next.

    Parameters
    ----------
    tags
        Tags known already, in the order of their codes.
    listener
        Told of values that are no scalars and have a plugin; not called for images and the like.
    """

    def __init__(self, tags: Sequence[str] = (), listener: Listener | None = None) -> None:
        self.known = Tags(tags)
        self._events = Events(self.known, listener)
        self.plugins = self._events.plugins
        self._layouts: dict[int, list[Layout]] = {}
        self._kernel = kernel()

    @property
    def tags(self) -> list[str]:
        """The tags, in the order of their codes."""
        return list(self.known.codes)

    def read(self, buffer: Bytes, pieces: Sequence[Piece], files: Sequence[Hashable]) -> tuple[Decoded, list[int]]:
        """Find and decode the records of a buffer.

        Parameters
        ----------
        buffer, pieces
            The bytes; see :func:`export.tfrecord.frames`.
        files
            For each piece, the file it is of: a writer names a tag's plugin once in a file.

        Returns
        -------
        tuple
            What the records hold, and where in the buffer each piece may be read on.
        """
        if self._kernel is None:
            found = frames(buffer, pieces)
            return self.decode(buffer, found, files), found.ends
        self._kernel.know(self.tags)
        known = len(self.known.codes)
        passed = self._kernel.decode(buffer, pieces)
        for tag in self._kernel.new_tags(known):
            self.known.code(tag)
        found = remaining(buffer, pieces, passed)
        done = passed.decoded()
        if not len(found.starts) and not found.damage:
            return done, found.ends
        return merged(done, self.decode(buffer, found, files)), found.ends

    def decode(self, buffer: Bytes, found: Frames, files: Sequence[Hashable]) -> Decoded:
        """Decode the records of a buffer.

        Parameters
        ----------
        buffer
            The bytes; see :func:`export.tfrecord.frames`.
        found
            The records in it.
        files
            For each piece, the file it is of: a writer names a tag's plugin once in a file.
        """
        starts, lengths = found.starts, found.lengths
        groups, rest = self._classes(buffer, starts, lengths)
        parts: list[_Rows] = []
        lost: list[Int64] = []
        single = True
        for (size, step), members in groups:
            for layout, rows, bad in self._group(buffer, starts, members, size, step, rest):
                single &= layout.single or are_single(rows.value)
                parts.append(rows)
                lost.append(bad)
        others = np.sort(np.concatenate([*rest, np.zeros(0, np.int64)]))
        one = self._events.read(buffer, starts, lengths, others, found.first, files)
        parts.append(
            _Rows(
                np.array(one.record, np.int64),
                np.array(one.wall, np.float64),
                np.array(one.step, np.int64),
                np.array(one.tag, np.int32),
                np.array(one.value, np.float64),
                np.zeros(len(one.record), bool),
            )
        )
        damaged = [(record, BAD_PAYLOAD) for record in np.concatenate([*lost, np.zeros(0, np.int64)]).tolist()]
        damaged += one.lost
        return self._assemble(found, parts, one, damaged, files, single=single and one.single)

    # --- thousands at a time ----------------------------------------------------------------------------------------

    def _classes(
        self, buffer: Bytes, starts: Int64, lengths: Int64
    ) -> tuple[list[tuple[tuple[int, int], Int64]], list[Int64]]:
        """Group records by the size of their payload and of their step, and return those that are decoded alone."""
        if len(starts) < FEW:
            return [], [np.arange(len(starts))]
        head = gather(buffer, 24, starts)
        words = head.view("<u8")
        rest = words[:, 1] >> np.uint64(16) | words[:, 2] << np.uint64(48)
        size = np.ones(len(starts), np.uint16)
        more = rest & np.uint64(128) != 0
        while more.any():
            size += more
            rest = rest >> np.uint64(8)
            more &= rest & np.uint64(128) != 0
        mark = head[:, STEP - 1]
        size[mark != 0x10] = ODD
        size[mark == 0x2A] = NO_STEP
        size[(head[:, 0] != 9) | (size > 8)] = ODD
        keys = np.minimum(lengths, LONGEST).astype(np.uint16) << np.uint16(4) | size
        order = np.argsort(keys, kind="stable")
        kept = keys[order]
        edges = np.flatnonzero(np.append(True, kept[1:] != kept[:-1])).tolist()
        groups, alone = [], []
        for low, high in zip(edges, [*edges[1:], len(order)], strict=True):
            key = int(kept[low])
            members = order[low:high]
            if high - low < FEW or key & 15 == ODD or key >> 4 == LONGEST:
                alone.append(members)
            else:
                groups.append(((key >> 4, key & 15), members))
        return groups, alone

    def _group(
        self, buffer: Bytes, starts: Int64, members: Int64, size: int, step: int, rest: list[Int64]
    ) -> list[tuple[Layout, _Rows, Int64]]:
        """Decode records of one class; those without a plain shape are appended to ``rest``."""
        layouts = self._layouts.setdefault(size << 4 | step, [])
        records = gather(buffer, -(-(size + 4) // 8) * 8, starts[members])
        found: list[tuple[Layout, _Rows, Int64]] = []
        for layout in layouts:
            members, records = self._matching(layout, members, records, found)
        failures = 0
        while len(members) >= FEW and failures < 2:
            payload = records[0, :size].tobytes()
            shape = shapes.learn(payload)
            if shape is None or not whole(buffer, starts[members[:1]], np.array([size]))[0]:
                rest.append(members[:1])
                members, records = members[1:], records[1:]
                failures += 1
                continue
            layout = next((one for one in layouts if one.slots == shape.slots), None) or Layout(size, step, shape.slots)
            if layout not in layouts:
                layouts.append(layout)
            layout.add(payload, [self.known.code(tag) for tag in shape.tags], shape.bare)
            before = len(members)
            members, records = self._matching(layout, members, records, found)
            failures += 2 * (len(members) == before)  # two shapes whose keys collide: one of them is decoded alone
        rest.append(members)
        return found

    def _matching(
        self, layout: Layout, members: Int64, records: Bytes, found: list[tuple[Layout, _Rows, Int64]]
    ) -> tuple[Int64, Bytes]:
        """Decode the records that have a shape of this layout, and return the others."""
        if not len(members):
            return members, records
        shape, there = layout.match(records.view("<u8"))
        others = members[:0], records[:0]
        if not isinstance(there, bool):
            if not there.any():
                return members, records
            others = members[~there], records[~there]
            members, records = members[there], records[there]
            shape = shape if isinstance(shape, int) else shape[there]
        good = layout.sound(records, shape)
        bad = members[:0]
        if not good.all():
            bad = members[~good]
            members, records = members[good], records[good]
            shape = shape if isinstance(shape, int) else shape[good]
        count = len(members), len(layout.slots)
        if isinstance(shape, int):
            tags, bare = np.broadcast_to(layout.tags[shape], count), np.broadcast_to(layout.bare[shape], count)
        else:
            tags, bare = layout.tags.take(shape, axis=0), layout.bare.take(shape, axis=0)
        rows = _Rows(members, layout.wall(records), layout.steps(records), tags, layout.values(records), bare)
        found.append((layout, rows, bad))
        return others

    # --- in the order of the files ----------------------------------------------------------------------------------

    def _assemble(
        self,
        found: Frames,
        parts: list[_Rows],
        one: Singles,
        damaged: list[tuple[int, str]],
        files: Sequence[Hashable],
        *,
        single: bool,
    ) -> Decoded:
        """Put the scalars of all records in the order in which they stand in the buffer."""
        parts = [self._owned(part, found.first, files) for part in parts]
        count = np.zeros(len(found.starts) + 1, np.int64)
        for part in parts[:-1]:
            count[part.record + 1] = part.tag.shape[1] if part.tag.ndim == 2 else 0
        for part in parts:
            if part.tag.ndim == 1:
                count += np.bincount(part.record + 1, minlength=len(count))
        begin = np.cumsum(count)
        total = int(begin[-1])
        result: tuple[npt.NDArray[Any], ...] = (
            np.empty(total, np.int32),
            np.empty(total, np.int64),
            np.empty(total),
            np.empty(total),
        )
        for part in parts:
            if part.tag.ndim == 2 and part.tag.shape[1] == 1:
                at = begin[part.record]
                columns = (part.tag[:, 0], part.step, part.wall, part.value[:, 0])
            elif part.tag.ndim == 2:
                width = part.tag.shape[1]
                at = (begin[part.record][:, None] + np.arange(width)).ravel()
                columns = (part.tag.ravel(), part.step.repeat(width), part.wall.repeat(width), part.value.ravel())
            else:
                at = begin[part.record] + _rank(part.record)
                columns = (part.tag, part.step, part.wall, part.value)
            for target, column in zip(result, columns, strict=True):
                target[at] = column
        origin = None if self._kernel is None else found.starts.repeat(np.diff(begin))
        pieces = np.searchsorted(found.first, np.array([record for record, _ in damaged], np.int64), side="right") - 1
        records = np.diff(found.first) - np.bincount(pieces, minlength=len(files))[: len(files)]
        damage = [
            (piece, _stretch(found, record, why)) for piece, (record, why) in zip(pieces.tolist(), damaged, strict=True)
        ]
        for record, why in one.unread:
            damage.append((int(np.searchsorted(found.first, record, side="right")) - 1, _stretch(found, record, why)))
        marks = [
            (
                int(np.searchsorted(found.first, record, side="right")) - 1,
                int(begin[record]),
                step,
                int(found.starts[record]),
            )
            for record, step in one.marks
        ]
        tag, step, wall, value = result
        every = [*found.damage, *damage]
        return Decoded(tag, step, wall, value, single, begin[found.first], records, marks, every, origin)

    def _owned(self, part: _Rows, first: Int64, files: Sequence[Hashable]) -> _Rows:
        """Drop bare tensors whose tag belongs to another plugin in their file."""
        if not part.bare.any() or not any(file in self.plugins for file in files):
            return part
        foreign = np.zeros(part.tag.shape, bool)
        pieces = np.searchsorted(first, part.record, side="right") - 1
        for piece, file in enumerate(files):
            taken = [self.known.codes[tag] for tag in self.plugins.get(file, ()) if tag in self.known.codes]
            if taken:
                foreign[pieces == piece] |= np.isin(part.tag[pieces == piece], taken)
        foreign &= part.bare
        if not foreign.any():
            return part
        rows, slots = np.nonzero(~foreign)
        return _Rows(
            part.record[rows],
            part.wall[rows],
            part.step[rows],
            part.tag[rows, slots],
            part.value[rows, slots],
            np.zeros(len(rows), bool),
        )


def _rank(records: Int64) -> Int64:
    """Return how many equal numbers stand before each, of ascending ones."""
    places = np.arange(len(records))
    fresh = np.append(True, records[1:] != records[:-1])[: len(records)]
    return np.asarray(places - np.maximum.accumulate(np.where(fresh, places, 0)), np.int64)


def _stretch(found: Frames, record: int, why: str) -> Damage:
    return Damage(int(found.starts[record]) - HEADER, int(found.lengths[record]) + AROUND, why)
