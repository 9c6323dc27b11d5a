"""Folders of oddities, as some program leaves them: no row fewer than TensorBoard finds, and none that is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.io_wrapper import GetLogdirSubdirectories
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

from export import corpus
from export.scalars import gather
from tests.export.events import accumulated, record, scalar, series, start, version

Row = tuple[str, str, int, float, str]


def ours(folder: Path, place: Path) -> Counter[Row]:
    """All rows of a folder: run, tag, step, wall time, value."""
    gathered = gather(corpus.of_folder(folder), place)
    rows: Counter[Row] = Counter()
    for chunk in gathered.chunks():
        for point, tag, step, wall, value in zip(
            chunk.point.tolist(), chunk.tag.tolist(), chunk.step.tolist(), chunk.wall.tolist(), chunk.value.tolist(),
            strict=True,
        ):  # fmt: skip
            rows[gathered.corpus.runs[point], gathered.tags[tag], step, wall, repr(value)] += 1
    return rows


def tensorboards(folder: Path, *, purge: bool = False) -> Counter[Row]:
    rows: Counter[Row] = Counter()
    for place in map(Path, sorted(GetLogdirSubdirectories(str(folder)))):  # it follows links, too
        run = place.relative_to(folder).as_posix()
        rows.update((run, tag, step, wall, repr(value)) for tag, step, wall, value in accumulated(place, purge=purge))
    return rows


def write(folder: Path, data: bytes, name: str = "events.out.tfevents.1.host") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


def torch_files(folder: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(folder)) as writer:
        for step in range(40):
            writer.add_scalar("loss/train", 1 / (step + 1), step)
            writer.add_scalar("loss/new", step * 1e-3, step, new_style=True)
            writer.add_scalar("loss/double", step / 7, step, new_style=True, double_precision=True)
            writer.add_scalars("both", {"a": step, "b": -step}, step)
            if step % 10 == 0:
                writer.add_histogram("weights", np.arange(30.0), step)
                writer.add_image("picture", np.zeros((3, 4, 4)), step)
                writer.add_text("note", "words", step)
        writer.add_hparams({"lr": 0.1, "layer": "nmru"}, {"metric": 0.5})


def tensorboardx_files(folder: Path) -> None:
    tensorboard = pytest.importorskip("tensorboardX")
    with tensorboard.SummaryWriter(str(folder), write_to_disk=True) as writer:
        for step in range(40):
            writer.add_scalar("loss/train", 1 / (step + 1), step)
            writer.add_scalars("both", {"a": step, "b": -step}, step)
            writer.add_histogram("weights", np.arange(30.0), step)
        writer.add_text("note", "words", 1)


def tensorflow_files(folder: Path) -> None:
    """TensorFlow 2 gives a tag's metadata once, and the number as bytes."""
    parts = [version()]
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    for step in range(60):
        for tag in ("epoch_loss", "epoch_accuracy"):
            tensor = TensorProto(
                dtype=1, tensor_shape=TensorShapeProto(), tensor_content=np.float32(step / 3).tobytes()
            )
            value = Summary.Value(tag=tag, tensor=tensor, metadata=metadata if step == 0 else None)
            parts.append(record(Event(wall_time=1e9 + step, step=step, summary=Summary(value=[value]))))
    write(folder, b"".join(parts), "events.out.tfevents.1.host.profile-empty.v2")


def one(data: bytes) -> Callable[[Path], None]:
    return lambda folder: write(folder, data) and None


def several(*files: bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for number, data in enumerate(files):
            write(folder, data, f"events.out.tfevents.{number}.host")

    return make


def stray(folder: Path) -> None:
    write(folder / "run", version() + series("x", range(20)))
    write(folder / "run", b"no event file", "checkpoint.pt")
    write(folder, b"", "events.out.tfevents.0.empty")
    (folder / "nothing").mkdir()
    (folder / "link").symlink_to(folder / "run")


SPECIAL = [float("nan"), float("inf"), float("-inf"), -0.0, 1e-45, 3.4e38]

WHOLE: dict[str, Callable[[Path], None]] = {
    "torch": torch_files,
    "tensorboardX": tensorboardx_files,
    "TensorFlow": tensorflow_files,
    "empty": one(b""),
    "version only": one(version()),
    "no version": one(series("x", range(30))),
    "duplicates": one(version() + series("x", [1, 1, 2, 2] * 10)),
    "out of order": one(version() + series("x", [5, 3, 9, 1, 7, 0] * 5)),
    "negative and huge steps": one(version() + series("x", [-5, 2**40, 0, 2**62, -(2**62)])),
    "special values": one(version() + b"".join(scalar("x", i, value) for i, value in enumerate(SPECIAL * 5))),
    "tags": one(version() + b"".join(scalar(tag, i, 1.0) for i in range(20) for tag in ("", "a,b", "ü/ö", '"', "\n"))),
    "two writers": several(version() + series("x", range(30)), version() + series("x", range(30), 0.5)),
    "stray": stray,
}


@pytest.mark.parametrize("name", WHOLE)
def test_the_same_rows_as_tensorboard(name: str, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    WHOLE[name](tmp_path / "logs")
    found = ours(tmp_path / "logs", tmp_path / "cache")
    assert found == tensorboards(tmp_path / "logs")
    assert (len(found) > 0) == (name not in ("empty", "version only"))


RESTARTED = {
    "restart": several(version() + series("x", range(60)), version() + start(40) + series("x", range(40, 80), 0.5)),
    "three files": several(
        version() + series("x", range(50)) + series("y", range(50)),
        version() + start(30) + series("x", range(30, 45)),
        version() + start(10) + series("y", range(10, 20)),
    ),
    "within a file": one(version() + series("x", range(50)) + start(20) + series("x", range(20, 30))),
}


@pytest.mark.parametrize("name", RESTARTED)
def test_restarts_are_purged_as_tensorboard_does(name: str, tmp_path: Path) -> None:
    RESTARTED[name](tmp_path / "logs")
    assert ours(tmp_path / "logs", tmp_path / "cache") == tensorboards(tmp_path / "logs", purge=True)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


STEPS = version() + series("metric/x", range(1, 1001))
SIZE = len(scalar("metric/x", 500, 1.0))
MIDDLE = len(version()) + sum(len(scalar("metric/x", step, 1.0)) for step in range(1, 500))

DAMAGED = {
    "cut in a payload": (STEPS[:-9], 999),
    "cut in a header": (STEPS[: -SIZE + 5], 999),
    "zeros at the end": (STEPS + bytes(4096), 1000),
    "a bit in a value": (flipped(STEPS, MIDDLE + 12 + SIZE - 18), 999),
    "a bit in the structure": (flipped(STEPS, MIDDLE + 12 + 14), 999),
    "a bit in a length": (flipped(STEPS, MIDDLE), 999),
    "a bit in a length's checksum": (flipped(STEPS, MIDDLE + 9), 999),
    "a bit in a checksum": (flipped(STEPS, MIDDLE + SIZE - 2), 999),
    "a page of zeros": (STEPS[:8192] + bytes(4096) + STEPS[12288:], 1000 - 4096 // SIZE - 2),
    "appended after a torn record": (STEPS[: MIDDLE + 20] + STEPS[MIDDLE + SIZE :], 999),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_of_damaged_files_no_row_fewer(name: str, tmp_path: Path) -> None:
    data, least = DAMAGED[name]
    write(tmp_path / "logs", data)
    write(tmp_path / "whole", STEPS)
    found = ours(tmp_path / "logs", tmp_path / "cache")
    assert found.total() >= least
    assert found >= tensorboards(tmp_path / "logs"), "none that TensorBoard finds is missing"
    assert found <= ours(tmp_path / "whole", tmp_path / "other"), "none is made up"
