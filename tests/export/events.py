"""Event files for tests, made with TensorBoard's own messages and framed by hand."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from export.attempts import Cover, walk
from export.corpus import of_runs
from export.reader import Columns, EventFile, Report
from export.scalars import gather


def record(event: Event) -> bytes:
    data = event.SerializeToString()
    size = struct.pack("<Q", len(data))
    return size + struct.pack("<I", masked_crc32c(size)) + data + struct.pack("<I", masked_crc32c(data))


def version() -> bytes:
    return record(Event(wall_time=1.0, file_version="brain.Event:2"))


def scalar(tag: str, step: int, value: float, wall: float = 100.0) -> bytes:
    return record(
        Event(wall_time=wall + step, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
    )


def start(step: int) -> bytes:
    return record(Event(wall_time=2.0, step=step, session_log=SessionLog(status=SessionLog.START)))


def series(tag: str, steps: Iterable[int], shift: float = 0.0) -> bytes:
    return b"".join(scalar(tag, step, step + shift) for step in steps)


def attempt(folder: Path, n: int, k: int, mark: int | None, *parts: bytes) -> Path:
    """Write what one of our own attempts writes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{n:05d}{k:05d}.{n}-0.{k}"
    path.write_bytes(version() + (b"" if mark is None else start(mark)) + b"".join(parts))
    return path


def rows(file: EventFile) -> list[tuple[str, int, float, float]]:
    columns = file.columns
    return [
        (columns.tags[tag], step, wall, value)
        for tag, step, wall, value in zip(
            columns.tag.tolist(), columns.step.tolist(), columns.wall.tolist(), columns.value.tolist(), strict=True
        )
    ]


def accumulated(path: Path, *, purge: bool = False) -> list[tuple[str, int, float, float]]:
    """What TensorBoard itself makes of a file or folder: scalars, and tensors of one number."""
    from tensorboard.util.tensor_util import make_ndarray

    accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=purge)
    accumulator.Reload()
    tags = accumulator.Tags()
    found = [(tag, e.step, e.wall_time, e.value) for tag in tags["scalars"] for e in accumulator.Scalars(tag)]
    for tag in tags["tensors"]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name not in ("", "scalars"):
            continue
        for e in accumulator.Tensors(tag):
            value = np.asarray(make_ndarray(e.tensor_proto))
            found.append((tag, e.step, e.wall_time, float(value.reshape(-1)[0])))
    return found


def same(one: list[tuple[str, int, float, float]], other: list[tuple[str, int, float, float]]) -> bool:
    return sorted(map(repr, one)) == sorted(map(repr, other))


@dataclass
class Series:
    """What counts of one run, sorted by tag and step."""

    columns: Columns
    attempt: np.ndarray
    reports: list[Report]
    superseded: int
    uncovered: int


def read_run(paths: list[Path], cover: Cover | None = None) -> Series:
    """Read the event files of one run, which lie in one folder."""
    return _series([("", "", [str(path) for path in paths])], cover)


def read_tree(folder: Path, cover: Cover | None = None) -> Series:
    """Read the event files of one run, which may lie in folders below its own."""
    return _series(
        [
            (at, "" if at == str(folder) else f"{Path(at).relative_to(folder).as_posix()}/", paths)
            for at, paths in walk(str(folder))
        ],
        cover,
    )


def _series(parts: list[tuple[str, str, list[str]]], cover: Cover | None) -> Series:
    with tempfile.TemporaryDirectory() as folder:
        gathered = gather(of_runs("test", {"run": parts}, [cover or Cover()]), Path(folder))
        (chunk,) = gathered.chunks()
    columns = Columns(gathered.tags, chunk.tag, chunk.step, chunk.wall, chunk.value, gathered.single)
    return Series(columns, chunk.attempt, gathered.reports, int(chunk.superseded[0]), int(chunk.uncovered[0]))
