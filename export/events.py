"""Events one by one: whatever is not a plain scalar, and plain scalars where there are few of a kind.

Events are not read further than needed: histograms, images, audio and graphs are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from export import messages, shapes
from export.messages import SCALARS
from export.shapes import varint
from export.tfrecord import BAD_PAYLOAD, whole

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

LONGEST = 4095
"""Payloads of more bytes have no shape that is remembered."""

NOTHING = frozenset({3, 4, 6, 8, 9, 10})
"""Fields of an event that hold no summary: the file's version, graphs and what belongs to runs of them, log lines."""

PICTURES = frozenset({0x1A, 0x22, 0x2A, 0x32})
"""First bytes of the fields of a summary's value that hold histograms, images and audio."""

Listener = Callable[[Hashable, Any, Any], None]
"""Told of (file, event, value) for every summary's value whose metadata name a plugin that is no scalar's."""


class Tags:
    """Tags and their codes, in the order in which they were met."""

    def __init__(self, tags: Sequence[str] = ()) -> None:
        self.codes = {tag: code for code, tag in enumerate(tags)}

    def code(self, tag: str) -> int:
        """Return the code of a tag."""
        return self.codes.setdefault(tag, len(self.codes))


@dataclass
class Singles:
    """What was decoded one by one.

    Parameters
    ----------
    record, wall, step, tag, value
        The scalars: number of the record, and columns.
    single
        Whether float32 holds every value.
    marks
        (record, step) of a ``SessionLog START``.
    lost
        (record, why): records whose payload is damaged.
    unread
        (record, why): records of which a part cannot be read.
    """

    record: list[int] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    tag: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    single: bool = True
    marks: list[tuple[int, int]] = field(default_factory=list)
    lost: list[tuple[int, str]] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)


class Events:
    """Decodes events of any kind.

    Parameters
    ----------
    tags
        Takes the tags.
    listener
        Told of values that are no scalars and have a plugin; not called for images and the like.
    """

    def __init__(self, tags: Tags, listener: Listener | None = None) -> None:
        self.plugins: dict[Hashable, dict[str, str]] = {}
        """For each file its tags that belong to another plugin than the scalars'."""
        self._tags, self._listener = tags, listener
        self._known: dict[bytes, int] = {}

    def read(
        self, buffer: Bytes, starts: Int64, lengths: Int64, records: Int64, first: Int64, files: Sequence[Hashable]
    ) -> Singles:
        """Decode some records, ascending, one after another.

        Parameters
        ----------
        buffer
            The bytes.
        starts, lengths
            Where all records' payloads are.
        records
            Which of them to decode.
        first
            See :class:`export.tfrecord.Frames`.
        files
            For each piece, the file it is of.
        """
        one = Singles()
        good = whole(buffer, starts[records], lengths[records])
        pieces = (np.searchsorted(first, records, side="right") - 1).tolist()
        for record, sound, piece in zip(records.tolist(), good.tolist(), pieces, strict=True):
            if not sound:
                one.lost.append((record, BAD_PAYLOAD))
                continue
            start = int(starts[record])
            payload = buffer[start : start + int(lengths[record])].tobytes()
            key = shapes.key_of(payload)
            code = self._known.get(key[1]) if key else None
            if key and code is not None:
                one.record.append(record)
                one.wall.append(float(np.frombuffer(payload, "<f8", 1, 1)[0]))
                one.step.append(key[0])
                one.tag.append(code)
                one.value.append(shapes.single_float(payload))
                continue
            if not is_empty(payload):
                self._event(payload, record, files[piece], one)
        return one

    def _event(self, payload: bytes, record: int, file: Hashable, one: Singles) -> None:
        """Decode an event of any kind."""
        try:
            event = messages.message("Event").FromString(payload)
        except Exception as error:  # noqa: BLE001  (protobuf raises its implementation's own classes)
            one.lost.append((record, f"a record is not an event ({type(error).__name__})"))
            return
        if event.HasField("session_log") and event.session_log.status == messages.START:
            one.marks.append((record, event.step))
        if not event.HasField("summary"):
            return
        plugins = self.plugins.get(file)
        for item in event.summary.value:
            kind = item.WhichOneof("kind")
            named = item.metadata.plugin_data.plugin_name
            if named not in ("", SCALARS):
                plugins = self.plugins.setdefault(file, {})
                plugins.setdefault(item.tag, named)
            if kind == "simple_value":
                value = item.simple_value
            else:
                plugin = named or (plugins or {}).get(item.tag, "")
                if plugin not in ("", SCALARS):
                    if self._listener is not None:
                        self._listener(file, event, item)
                    continue
                if kind != "tensor":
                    continue
                try:
                    value = messages.number(item.tensor)
                except ValueError as error:
                    if plugin == SCALARS:
                        one.unread.append((record, f"a scalar of {item.tag!r} cannot be read: {error}"))
                    continue
                if value is None or (item.tensor.dtype == 10 and not plugin):
                    continue
                one.single &= are_single(np.array(value))
            one.record.append(record)
            one.wall.append(event.wall_time)
            one.step.append(event.step)
            one.tag.append(self._tags.code(item.tag))
            one.value.append(value)
        self._remember(payload)

    def _remember(self, payload: bytes) -> None:
        """Remember the shape of an event of one float32, for the next one that is decoded alone."""
        key = shapes.key_of(payload)
        shape = shapes.learn(payload) if key and len(payload) <= LONGEST else None
        if key and shape and shape.slots == ((len(payload) - 4, "<f4"),) and not shape.bare[0]:
            self._known[key[1]] = self._tags.code(shape.tags[0])


def are_single(values: Float64) -> bool:
    """Say whether float32 holds some numbers."""
    with np.errstate(over="ignore"):
        return np.array_equal(values, values.astype(np.float32), equal_nan=True)


def is_empty(payload: bytes) -> bool:
    """Say whether an event holds nothing to read: one value that is a histogram, a picture or a sound; or a graph."""
    end = len(payload)
    try:
        at = 9 if payload[0] == 9 else 0
        if payload[at] == 0x10:
            _, at = varint(payload, at + 1, end)
        if payload[at] != 0x2A:
            return all(number in NOTHING for number, _, _, _ in shapes.fields(payload, at, end))
        for _ in ("summary", "value"):
            size, at = varint(payload, at + 1, end)
            if at + size != end or payload[at] != 0x0A:
                return False
        size, at = varint(payload, at + 1, end)
        at += size
        key = payload[at]
        size, at = varint(payload, at + 1, end)
    except (ValueError, IndexError):
        return False
    return key in PICTURES and at + size == end
