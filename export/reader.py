"""One event file to columns: bytes → frames → (tag, step, wall time, value), with everything that was lost named.

The three stages are separate so that a faster decoder can take the place of :func:`decode` and of nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from export.tfrecord import Damage, Frames, frames

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

SCALARS = "scalars"
"""Name of TensorBoard's plugin for scalars, which tensor-valued summaries carry in their metadata."""

_NUMBERS = frozenset("fiu")  # kinds of dtypes that are numbers


@dataclass
class Columns:
    """Scalars of event files in file order.

    Parameters
    ----------
    tags
        Distinct tags.
    tag
        int32 (n,): index into ``tags``.
    step
        int64 (n,).
    wall
        float64 (n,), seconds since 1970.
    value
        float64 (n,). A float32 is held exactly; an integer beyond 2⁵³ is rounded.
    single
        Whether every value came as float32, so that four bytes hold it.
    """

    tags: list[str]
    tag: Int32
    step: Int64
    wall: Float64
    value: Float64
    single: bool = True

    def __len__(self) -> int:
        return len(self.step)

    def take(self, rows: Int64 | Bool) -> Columns:
        """Return some of the rows."""
        return Columns(self.tags, self.tag[rows], self.step[rows], self.wall[rows], self.value[rows], self.single)

    @staticmethod
    def empty() -> Columns:
        """Return columns of no rows."""
        return Columns([], np.zeros(0, np.int32), _int64([]), _float64([]), _float64([]))

    @staticmethod
    def join(parts: Sequence[Columns]) -> Columns:
        """Put columns end to end."""
        if len(parts) == 1:
            return parts[0]
        codes: dict[str, int] = {}
        tags = [
            np.array([codes.setdefault(tag, len(codes)) for tag in part.tags], np.int32)[part.tag] for part in parts
        ]
        if not parts:
            return Columns.empty()
        return Columns(
            list(codes),
            np.concatenate(tags),
            np.concatenate([part.step for part in parts]),
            np.concatenate([part.wall for part in parts]),
            np.concatenate([part.value for part in parts]),
            all(part.single for part in parts),
        )


@dataclass
class Report:
    """What reading a file met.

    Parameters
    ----------
    path
        The file.
    size
        Its bytes.
    records
        Whole records.
    scalars
        Scalars among what they hold.
    damage
        Stretches that could not be read.
    tail
        Bytes of an unfinished record at the end: the writer lives, or was killed.
    """

    path: str
    size: int = 0
    records: int = 0
    scalars: int = 0
    damage: list[Damage] = field(default_factory=list)
    tail: int = 0


@dataclass
class EventFile:
    """An event file's scalars, the marks at which a restarted writer took back what it had written, and the report.

    Parameters
    ----------
    columns
        The scalars.
    mark_row, mark_step
        int64 (m,): before row ``mark_row`` stands a ``SessionLog START`` of step ``mark_step``.
    report
        What was met.
    """

    columns: Columns
    mark_row: Int64
    mark_step: Int64
    report: Report


def read_events(path: Path) -> EventFile:
    """Read an event file. Damage, an unfinished end and a file that cannot be opened are told in the report."""
    try:
        data = path.read_bytes()
    except OSError as error:
        why = f"the file cannot be read: {error.strerror}"
        return EventFile(Columns.empty(), _int64([]), _int64([]), Report(str(path), damage=[Damage(0, 0, why)]))
    found = frames(data)
    file = decode(data, found)
    file.report.path, file.report.tail = str(path), found.tail
    file.report.damage = sorted([*file.report.damage, *found.damage])
    return file


def decode(data: bytes, found: Frames) -> EventFile:
    """Decode the events in the frames of a file."""
    event_type, start = _messages()
    codes: dict[str, int] = {}
    plugins: dict[str, str] = {}
    tag: list[int] = []
    step: list[int] = []
    wall: list[float] = []
    value: list[float] = []
    marks: list[tuple[int, int]] = []
    damage: list[Damage] = []
    single = True
    for begin, length in zip(found.starts.tolist(), found.lengths.tolist(), strict=True):
        try:
            event = event_type.FromString(data[begin : begin + length])
        except Exception as error:  # noqa: BLE001  (protobuf raises its implementation's own classes)
            damage.append(Damage(begin, length, f"a record is not an event ({type(error).__name__})"))
            continue
        if event.HasField("session_log") and event.session_log.status == start:
            marks.append((len(tag), event.step))
        elif event.HasField("summary"):
            for item in event.summary.value:
                try:
                    number = _number(item, plugins)
                except ValueError as error:
                    damage.append(Damage(begin, length, str(error)))
                    continue
                if number is None:
                    continue
                tag.append(codes.setdefault(item.tag, len(codes)))
                step.append(event.step)
                wall.append(event.wall_time)
                value.append(number)
                single = single and not item.HasField("tensor")
    columns = Columns(list(codes), np.array(tag, np.int32), _int64(step), _float64(wall), _float64(value), single)
    if not single:
        with np.errstate(over="ignore"):
            single = bool(np.array_equal(columns.value, columns.value.astype(np.float32), equal_nan=True))
        columns.single = single
    report = Report("", len(data), len(found.starts), len(columns), damage)
    return EventFile(columns, _int64([row for row, _ in marks]), _int64([at for _, at in marks]), report)


def _number(item: Any, plugins: dict[str, str]) -> float | None:
    """Return the scalar that a summary's value holds, or None where it holds something else.

    A tensor counts where the metadata of its tag names the scalars plugin, or names none and it has one number.
    Writers may give a tag's metadata with its first value only.

    Raises
    ------
    ValueError
        If it says that it is a scalar, and cannot be read as one.
    """
    kind = item.WhichOneof("value")
    if kind == "simple_value":
        return float(item.simple_value)
    if kind != "tensor":
        return None
    plugin = plugins[item.tag] = item.metadata.plugin_data.plugin_name or plugins.get(item.tag, "")
    if plugin not in ("", SCALARS):
        return None
    from tensorboard.util.tensor_util import make_ndarray

    try:
        array = np.asarray(make_ndarray(item.tensor))
    except (TypeError, ValueError) as error:
        if plugin == SCALARS:
            raise ValueError(f"a scalar of {item.tag!r} has a type that cannot be read ({error})") from error
        return None
    if array.size != 1 or array.dtype.kind not in (_NUMBERS | {"b"} if plugin else _NUMBERS):
        return None
    return float(array.reshape(()))


@cache
def _messages() -> tuple[type[Event], int]:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    return Event, int(SessionLog.START)


def _int64(items: Sequence[int]) -> Int64:
    return np.array(items, np.int64)


def _float64(items: Sequence[float]) -> Float64:
    return np.array(items, np.float64)
