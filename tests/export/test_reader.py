from pathlib import Path

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from export.reader import read_events
from tests.export.events import accumulated, record, rows, same, scalar, series, start, version


def write(path: Path, *parts: bytes) -> Path:
    file = path / "events.out.tfevents.1.host"
    file.write_bytes(b"".join(parts))
    return file


def only(path: Path) -> Path:
    (file,) = (file for file in path.iterdir() if "tfevents" in file.name)
    return file


def tensor(tag: str, step: int, proto: TensorProto, plugin: str = "") -> bytes:
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin)) if plugin else None
    value = Summary.Value(tag=tag, tensor=proto, metadata=metadata)
    return record(Event(wall_time=1.0, step=step, summary=Summary(value=[value])))


@pytest.mark.parametrize("new_style", [False, True])
def test_files_of_torch(tmp_path: Path, new_style: bool) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        for step in range(50):
            writer.add_scalar("metric/valid", 1 / (step + 1), step, new_style=new_style)
            writer.add_scalar('größe, "x"/δ', step * 1e-30, step, new_style=new_style)
        writer.add_histogram("weights", np.arange(10.0), 3)
        writer.add_text("note", "hello", 3)
        writer.add_image("picture", np.zeros((3, 4, 4)), 3)
    file = read_events(only(tmp_path))
    assert len(file.columns) == 100
    assert same(rows(file), accumulated(tmp_path))
    assert file.columns.single
    assert not file.report.damage
    assert file.report.tail == 0


def test_files_of_tensorboards_own_writer(tmp_path: Path) -> None:
    writer = EventFileWriter(str(tmp_path))
    for step in range(30):
        value = Summary.Value(tag="loss", simple_value=float(np.float32(0.1)) * step)
        writer.add_event(Event(wall_time=5.0 + step, step=step, summary=Summary(value=[value])))
    writer.close()
    file = read_events(only(tmp_path))
    assert len(file.columns) == 30
    assert same(rows(file), accumulated(tmp_path))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_tensor_scalars(tmp_path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    proto = make_tensor_proto(np.full(shape, 3, dtype))
    packed = TensorProto(
        dtype=proto.dtype, tensor_shape=proto.tensor_shape, tensor_content=np.full(shape, 7, dtype).tobytes()
    )
    path = write(tmp_path, version(), tensor("a", 1, proto, "scalars"), tensor("a", 2, packed), tensor("b", 1, proto))
    assert [(tag, step, value) for tag, step, _, value in rows(read_events(path))] == [
        ("a", 1, 3.0),
        ("a", 2, 7.0),
        ("b", 1, 3.0),
    ]


def test_tensors_that_are_no_scalars(tmp_path: Path) -> None:
    one = make_tensor_proto(np.float32(1))
    path = write(
        tmp_path,
        version(),
        tensor("vector", 1, make_tensor_proto(np.arange(3.0))),
        tensor("text", 1, make_tensor_proto("words")),
        tensor("text/one", 1, make_tensor_proto("words"), "text"),
        tensor("curve", 1, one, "pr_curves"),
        tensor("curve", 2, one),  # the plugin stands with the tag's first value only
        scalar("loss", 1, 2.0),
    )
    file = read_events(path)
    assert [row[0] for row in rows(file)] == ["loss"]
    assert not file.report.damage


def test_a_scalar_of_an_unreadable_type_is_reported(tmp_path: Path) -> None:
    odd = TensorProto(dtype=20)  # a resource
    file = read_events(write(tmp_path, version(), tensor("odd", 1, odd, "scalars"), scalar("loss", 1, 2.0)))
    assert [row[0] for row in rows(file)] == ["loss"]
    (damage,) = file.report.damage
    assert "'odd'" in damage.why


def test_float64_is_kept_and_told(tmp_path: Path) -> None:
    precise = tensor("a", 1, make_tensor_proto(np.float64(0.1)), "scalars")
    file = read_events(write(tmp_path, version(), precise))
    assert file.columns.value[0] == 0.1
    assert not file.columns.single


def test_special_values(tmp_path: Path) -> None:
    values = [float("nan"), float("inf"), float("-inf"), -0.0, 1e-45, 3.4e38]
    file = read_events(write(tmp_path, version(), *(scalar("x", i, value) for i, value in enumerate(values))))
    np.testing.assert_array_equal(file.columns.value, np.array(values, np.float32).astype(np.float64))
    assert np.signbit(file.columns.value[3])


def test_steps_out_of_order_and_twice_are_all_kept(tmp_path: Path) -> None:
    file = read_events(write(tmp_path, version(), series("x", [5, 3, 3, 9, 1])))
    assert file.columns.step.tolist() == [5, 3, 3, 9, 1]


def test_marks_of_a_restart(tmp_path: Path) -> None:
    file = read_events(write(tmp_path, version(), series("x", range(5)), start(3), series("x", range(3, 6))))
    assert (file.mark_row.tolist(), file.mark_step.tolist()) == ([5], [3])


@pytest.mark.parametrize("part", ["length", "payload", "footer"])
def test_a_flipped_byte_costs_one_event(tmp_path: Path, part: str) -> None:
    size = len(scalar("x", 1, 1.0))
    data = bytearray(version() + series("x", range(1, 101)))
    at = len(version()) + 49 * size
    data[at + {"length": 9, "payload": 30, "footer": size - 1}[part]] ^= 4
    path = write(tmp_path, bytes(data))
    file = read_events(path)
    assert file.columns.step.tolist() == [step for step in range(1, 101) if step != 50]
    (damage,) = file.report.damage
    assert damage[:2] == (at, size)
    assert (file.report.path, file.report.records, file.report.scalars) == (str(path), 100, 99)


def test_a_record_that_is_no_event(tmp_path: Path) -> None:
    from export.tfrecord import frame

    file = read_events(write(tmp_path, version(), frame(b"\xff\xff\xff"), scalar("x", 1, 1.0)))
    assert file.columns.step.tolist() == [1]
    assert "not an event" in file.report.damage[0].why


def test_a_file_that_is_being_written(tmp_path: Path) -> None:
    whole = version() + series("x", range(10))
    file = read_events(write(tmp_path, whole[:-5]))
    assert file.columns.step.tolist() == list(range(9))
    assert not file.report.damage
    assert file.report.tail == len(scalar("x", 9, 9.0)) - 5


@pytest.mark.parametrize("data", [b"", version()])
def test_files_without_scalars(tmp_path: Path, data: bytes) -> None:
    file = read_events(write(tmp_path, data))
    assert len(file.columns) == 0
    assert not file.report.damage


def test_a_file_that_is_gone_is_damage(tmp_path: Path) -> None:
    (damage,) = read_events(tmp_path / "events.out.tfevents.1").report.damage
    assert "cannot be read" in damage.why
