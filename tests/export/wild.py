"""Event files of every kind, drawn by hypothesis, and what TensorBoard's own messages say is in them."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto

from export.tfrecord import frame

Row = tuple[str, int, bytes, bytes]
"""Tag, step, and the bits of wall time and value."""

TAGS = ["loss", "lòss", "metric/valid", "metric/tests", "", 'a, "b"\nc', "x" * 130, "🙂/W", "loss_"]
NUMBERS = {"f2": 19, "f4": 1, "f8": 2, "i1": 6, "i2": 5, "i4": 3, "i8": 9, "u1": 4, "u2": 17, "u4": 22, "u8": 23}
KINDS = ["scalar", "scalar", "scalar", "several", "tensor", "content", "bare", "vector", "histogram", "image", "text",
         "graph", "mark", "odd", "curve"]  # fmt: skip

PLANS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, len(TAGS) - 1)), min_size=1, max_size=8)
SEEDS = st.integers(0, 2**32 - 1)


def wild_events(plan: list[tuple[str, int]], seed: int, count: int, *, regular: bool) -> list[bytes]:
    """Return the payloads of events of some kinds, in turn or at random, with random steps, times and values."""
    draw = np.random.default_rng(seed)
    payloads = [Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString()]
    step = int(draw.choice([0, 1, 120, 16_370, -3, 2**34]))
    wall = float(draw.choice([0.0, 1.7e9, -1.0, 1e300]))
    for i in range(count):
        kind, tag = plan[i % len(plan) if regular else int(draw.integers(len(plan)))]
        step += int(draw.choice([0, 1, 1, 1, 100, -50]))
        wall += float(draw.random() * 10)
        payloads.append(_event(kind, TAGS[tag], step, wall, draw))
    return payloads


def _number(draw: np.random.Generator) -> float:
    return float(draw.choice([draw.normal(), 0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 3e38, 7.0]))


def _event(kind: str, tag: str, step: int, wall: float, draw: np.random.Generator) -> bytes:
    event = Event(wall_time=wall, step=step)
    value = Summary.Value(tag=tag)
    number = _number(draw)
    dtype = np.dtype(list(NUMBERS)[int(draw.integers(len(NUMBERS)))])
    with np.errstate(all="ignore"):
        array = np.asarray(number if dtype.kind == "f" else int(draw.integers(0, 100))).astype(dtype)
    if kind == "scalar":
        value.simple_value = number
    elif kind == "several":
        event.summary.value.extend([Summary.Value(tag=name, simple_value=_number(draw)) for name in ("p/q", tag, "r")])
        return event.SerializeToString()
    elif kind in ("tensor", "bare"):
        # TensorBoard's own code neither makes nor reads numbers of these types other than by their bytes.
        array = array.astype("<i4") if dtype.str[1:] in ("u4", "u8", "u2") else array
        value.tensor.CopyFrom(make_tensor_proto(array.reshape([(), (1,)][int(draw.integers(2))])))
    elif kind == "content":
        value.tensor.CopyFrom(
            TensorProto(dtype=NUMBERS[dtype.str[1:]], tensor_shape=TensorShapeProto(), tensor_content=array.tobytes())
        )
    elif kind in ("vector", "curve"):
        value.tensor.CopyFrom(make_tensor_proto(np.arange(3.0) if kind == "vector" else np.float32(1)))
    elif kind == "histogram":
        value.histo.CopyFrom(HistogramProto(min=1, max=2, bucket=[1.0, 0.0, 0.0], bucket_limit=[0.0, 1.0, 2.0]))
    elif kind == "image":
        value.image.encoded_image_string = draw.bytes(300)
    elif kind == "text":
        value.tensor.CopyFrom(TensorProto(dtype=7, string_val=[b"words"]))
    elif kind == "graph":
        return Event(wall_time=wall, step=step, graph_def=draw.bytes(50)).SerializeToString()
    elif kind == "mark":
        return Event(wall_time=wall, step=step, session_log=SessionLog(status=SessionLog.START)).SerializeToString()
    elif kind == "odd":  # fields in another order, as a writer of its own might
        inner = b"\x15" + struct.pack("<f", number) + b"\x0a\x03odd"
        return b"\x2a" + bytes([len(inner) + 2]) + b"\x0a" + bytes([len(inner)]) + inner + b"\x10\x07"
    plugin = {"tensor": "scalars", "content": "scalars", "text": "text", "curve": "pr_curves"}.get(kind)
    if plugin:
        value.metadata.CopyFrom(SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin)))
    event.summary.value.append(value)
    return event.SerializeToString()


def rows_of(payloads: list[bytes]) -> tuple[list[Row], list[tuple[int, int]]]:
    """Return the scalars that events hold, and the marks, one event after another."""
    rows: list[Row] = []
    marks: list[tuple[int, int]] = []
    plugins: dict[str, str] = {}
    for payload in payloads:
        event = Event.FromString(payload)
        if event.HasField("session_log"):
            marks.append((len(rows), event.step))
        for value in event.summary.value:
            number = _scalar(value, plugins)
            if number is not None:
                rows.append((value.tag, event.step, struct.pack("<d", event.wall_time), bits(number)))
    return rows, marks


def _scalar(value: Summary.Value, plugins: dict[str, str]) -> float | None:
    plugin = value.metadata.plugin_data.plugin_name
    if plugin and plugin != "scalars":
        plugins.setdefault(value.tag, plugin)
    if value.HasField("simple_value"):
        return value.simple_value
    if not value.HasField("tensor") or (plugin or plugins.get(value.tag, "scalars")) != "scalars":
        return None
    if value.tensor.dtype in (22, 23):
        return float(np.frombuffer(value.tensor.tensor_content, "<u4" if value.tensor.dtype == 22 else "<u8")[0])
    array = make_ndarray(value.tensor)
    return float(array.reshape(())) if array.size == 1 and array.dtype.kind in "fiu" else None


def bits(number: float) -> bytes:
    """Return the bits of a number, with one kind of NaN."""
    return struct.pack("<d", float("nan") if number != number else number)


def framed(payloads: list[bytes]) -> bytes:
    return b"".join(map(frame, payloads))
