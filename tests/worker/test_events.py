"""Event files, held against TensorBoard's own reader and the protobuf library."""

import os
import resource
import signal
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2

from orchestrator.worker import events
from orchestrator.worker.events import EventFiles, Scalars

STEPS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.floats(allow_nan=False)
FLOATS = st.floats(width=32)


@given(st.lists(st.tuples(st.text(), FLOATS), max_size=5), STEPS, TIMES)
def test_a_summary_is_encoded_as_the_protobuf_library_does(pairs, step, wall_time):
    event = event_pb2.Event(wall_time=wall_time, step=step)
    event.summary.SetInParent()
    for tag, value in pairs:
        event.summary.value.add(tag=tag, simple_value=value)
    ours = Scalars([tag for tag, _ in pairs]).encode(wall_time, step, [value for _, value in pairs])
    if wall_time == 0:  # the library keeps the sign of a zero time; nobody needs it
        event.wall_time = 0.0
    assert ours == event.SerializeToString(deterministic=True)


@given(STEPS, st.floats(1, 1e10))
def test_marks_are_encoded_as_the_protobuf_library_does(step, wall_time):
    version = event_pb2.Event(wall_time=wall_time, file_version="brain.Event:2")
    assert events.file_version(wall_time) == version.SerializeToString()
    start = event_pb2.Event(wall_time=wall_time, step=step)
    start.session_log.status = event_pb2.SessionLog.START
    assert events.session_start(wall_time, step) == start.SerializeToString()


def test_the_checksum_is_the_published_one():
    assert google_crc32c.value(b"123456789") == 0xE3069283
    assert events.masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def writer(folder: Path) -> EventFiles:
    return EventFiles(lambda lane: folder / str(lane) / "events.out.tfevents.0000100001.1-0.1", clock=lambda: 1000.0)


def read(folder: Path, lane: int) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder / str(lane)), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def series(accumulator: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def test_tensorboard_reads_every_lane(tmp_path):
    files = writer(tmp_path)
    for lane in range(3):
        files.begin(lane, 0)
    for step in range(0, 50, 10):
        values = np.array([[lane + step for lane in range(3)], [np.nan, np.inf, -np.inf]])
        files.add([0, 1, 2], [step] * 3, ["loss/train", "größe"], values)
        if step == 20:
            files.flush()
    files.flush(durable=True)
    for lane in range(3):
        assert series(read(tmp_path, lane), "loss/train") == [(step, lane + step) for step in range(0, 50, 10)]
    assert np.isnan([value for _, value in series(read(tmp_path, 0), "größe")]).all()
    assert series(read(tmp_path, 2), "größe")[0] == (0, -np.inf)


def test_double_precision_is_narrowed_as_numpy_does(tmp_path):
    values = np.array([[0.1], [1e300], [-1e300], [1e-50], [5e-324]])
    files = writer(tmp_path)
    files.begin(0, 0)
    files.add([0], [1], list("abcde"), values)
    files.flush()
    accumulator = read(tmp_path, 0)
    with np.errstate(over="ignore"):
        expected = values[:, 0].astype(np.float32)
    assert [series(accumulator, tag)[0][1] for tag in "abcde"] == [float(value) for value in expected]


def test_a_file_begins_with_version_and_restored_step(tmp_path):
    files = writer(tmp_path)
    files.begin(0, 31)
    files.add([0], [40], ["a"], np.ones((1, 1)))
    files.flush()
    path = next((tmp_path / "0").iterdir())
    first, second, third = (event_pb2.Event.FromString(record) for record in RawEventFileLoader(str(path)).Load())
    assert first.file_version == "brain.Event:2"
    assert (second.step, second.session_log.status) == (31, event_pb2.SessionLog.START)
    assert (third.step, third.summary.value[0].simple_value) == (40, 1.0)


def test_beginning_again_purges_what_came_later(tmp_path):
    files = writer(tmp_path)
    files.begin(0, 0)
    for step in range(5):
        files.add([0], [step], ["a"], np.full((1, 1), step))
    files.flush()
    files.add([0], [5], ["a"], np.full((1, 1), 5.0))  # never written
    files.begin(0, 3)
    files.add([0], [3], ["a"], np.full((1, 1), 30.0))
    files.flush()
    assert series(read(tmp_path, 0), "a") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]


def test_nothing_is_written_before_the_first_event(tmp_path):
    files = writer(tmp_path)
    files.begin(0, 0)
    files.flush(durable=True)
    assert not list(tmp_path.iterdir())


def test_a_thousand_lanes_need_no_open_file(tmp_path):
    files = writer(tmp_path)
    lanes = list(range(1000))
    for lane in lanes:
        files.begin(lane, 0)
    files.add(lanes, [0] * 1000, ["a"], np.zeros((1, 1000)))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    files.flush()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert sum(1 for _ in tmp_path.iterdir()) == 1000


def test_a_full_disk_leaves_whole_frames_and_nothing_is_lost(tmp_path):
    files = writer(tmp_path)
    files.begin(0, 0)
    files.add([0], [1], ["a"], np.ones((1, 1)))
    files.flush()
    path = next((tmp_path / "0").iterdir())
    whole = path.read_bytes()
    files.add([0], [2], ["a"], np.ones((1, 1)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 7, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == whole
    files.flush()
    assert series(read(tmp_path, 0), "a") == [(1, 1.0), (2, 1.0)]


def test_a_frame_is_length_checksum_data_checksum():
    data = b"abc"
    framed = events.frame(data)
    assert struct.unpack("<Q", framed[:8]) == (3,)
    assert framed[12:15] == data
    assert len(framed) == 19
