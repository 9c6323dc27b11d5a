"""Corpora of TensorBoard event files, as the usual writers write them: the same bytes for the same arguments.

Usage: ``python benchmarks/event_corpora.py FOLDER [NAME ...]``; ``--scale`` makes them smaller.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import numpy as np
from event_measures import place
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto

BEGIN = 1.7e9
"""Wall time of the first event, seconds since 1970."""

Values = Iterator[tuple[str, int, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(CORPORA), metavar="NAME", help=f"of {', '.join(CORPORA)}")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size")
    options = parser.parse_args()
    for name in options.names:
        path = make(options.folder, name, options.scale)
        files = list(path.rglob("*tfevents*"))
        print(f"{name}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB in {path}")


def make(folder: Path, name: str, scale: float = 1.0) -> Path:
    """Make a corpus, unless it is there, and return its folder."""
    path = place(folder, name, scale)
    if not (path / "complete").exists():
        CORPORA[name](path, scale)
        (path / "complete").touch()
    return path


# --- the corpora


def grid(folder: Path, scale: float) -> None:
    """225 runs × 12 tags × 500 steps: the study of one figure, as torch's SummaryWriter logs it."""
    tags = [f"metric/{split}/{part}" for split in ("train", "valid", "test") for part in ("mse", "mae")]
    tags += [f"sparsity/layer_{i}/W" for i in range(3)] + ["loss/total", "lr", "grad_norm"]
    steps = max(2, int(500 * scale))
    for run in range(225):
        rng = np.random.default_rng(run)
        events(folder / f"run_{run:03d}", ((tag, step, rng.random()) for step in range(steps) for tag in tags), rng)


def small(folder: Path, scale: float) -> None:
    """2,000 runs × 6 tags × 51 steps."""
    tags = ["metric/valid", "metric/test", "loss/train", "loss/valid", "sparsity/W", "time"]
    for run in range(max(2, int(2000 * scale))):
        rng = np.random.default_rng(run)
        series = ((tag, step, rng.random()) for step in range(0, 51_000, 1000) for tag in tags)
        events(folder / f"s{run % 10}" / f"run_{run:04d}", series, rng)


def huge(folder: Path, scale: float) -> None:
    """One run, 20 tags × 100,000 steps."""
    tags = [f"train/metric_{i}" for i in range(20)]
    rng = np.random.default_rng(0)
    steps = int(100_000 * scale)
    events(folder / "run", ((tag, step, rng.random()) for step in range(steps) for tag in tags), rng)


def irregular(folder: Path, scale: float) -> None:
    """200 runs as Lightning logs them: train every 5 steps, validation every epoch, learning rates, a text."""
    for run in range(max(2, int(200 * scale))):
        rng = np.random.default_rng(run)

        def series(rng: np.random.Generator = rng) -> Values:
            step = 0
            for epoch in range(40):
                for _ in range(int(rng.integers(8, 12))):
                    step += 5
                    yield "train_loss_step", step, rng.random()
                    if rng.random() < 0.5:
                        yield "lr-AdamW", step, 1e-3
                    yield "epoch", step, epoch
                for tag in ("val_loss", "val_acc", "epoch"):
                    yield tag, step, rng.random()
                yield "train_loss_epoch", step, rng.random()
                yield "epoch", step, epoch

        text = Summary.Value(tag="hparams/text_summary", metadata=metadata("text"))
        text.tensor.CopyFrom(TensorProto(dtype=7, string_val=[b"| a | b |" * 40]))
        events(folder / f"version_{run}", series(), rng, first=[summary_event(text)])


def tensors(folder: Path, scale: float) -> None:
    """100 runs of tensor-valued scalars: half as torch writes them (``new_style``), half as TensorFlow 2 does."""
    for run in range(max(2, int(100 * scale))):
        rng = np.random.default_rng(run)
        clock, parts = BEGIN, [file_version()]
        for step in range(1000):
            for tag in ("loss", "accuracy", "epoch/loss", "epoch/accuracy"):
                clock += rng.random() * 0.01
                value = Summary.Value(tag=tag)
                if run % 2:
                    value.tensor.CopyFrom(TensorProto(dtype=1, float_val=[rng.random()]))
                    value.metadata.CopyFrom(metadata("scalars"))
                else:
                    content = struct.pack("<f", rng.random())
                    value.tensor.CopyFrom(TensorProto(dtype=1, tensor_shape=TensorShapeProto(), tensor_content=content))
                    if step == 0:
                        value.metadata.CopyFrom(metadata("scalars"))
                parts.append(record(summary_event(value, clock, step).SerializeToString()))
        write(folder / f"run_{run:03d}", parts)


def shuffled(folder: Path, scale: float) -> None:
    """100 runs with a random subset of 20 tags in random order at each step: no sequence repeats."""
    for run in range(max(2, int(100 * scale))):
        rng = np.random.default_rng(run)

        def series(rng: np.random.Generator = rng) -> Values:
            for step in range(600):
                for tag in rng.permutation(20)[: rng.integers(1, 20)].tolist():
                    yield f"group/metric_{tag}", step, rng.random()

        events(folder / f"run_{run:03d}", series(), rng)


def noisy(folder: Path, scale: float) -> None:
    """40 runs of 4 scalars with images and histograms in between."""
    for run in range(max(2, int(40 * scale))):
        rng = np.random.default_rng(run)
        clock, parts = BEGIN, [file_version()]
        for step in range(500):
            for tag in ("loss", "accuracy", "lr", "grad_norm"):
                clock += rng.random() * 0.01
                parts.append(record(scalar(clock, step, tag, rng.random())))
            if step % 10 == 0:
                for layer in range(6):
                    sample = rng.normal(size=300)
                    counts, edges = np.histogram(sample, 60)
                    histogram = HistogramProto(
                        min=sample.min(), max=sample.max(), num=300, sum=sample.sum(), sum_squares=(sample**2).sum()
                    )
                    histogram.bucket_limit.extend(edges[1:].tolist())
                    histogram.bucket.extend(counts.astype(float).tolist())
                    value = Summary.Value(tag=f"weights/{layer}", histo=histogram)
                    parts.append(record(summary_event(value, clock, step).SerializeToString()))
            if step % 50 == 0:
                picture = Summary.Image(height=64, width=64, colorspace=3, encoded_image_string=rng.bytes(60_000))
                value = Summary.Value(tag="samples", image=picture)
                parts.append(record(summary_event(value, clock, step).SerializeToString()))
        write(folder / f"run_{run:03d}", parts)


CORPORA: dict[str, Callable[[Path, float], None]] = {
    "grid": grid,
    "small": small,
    "huge": huge,
    "irregular": irregular,
    "shuffled": shuffled,
    "tensors": tensors,
    "noisy": noisy,
}
"""Name of a corpus to the function that writes it."""


# --- events and records


def events(folder: Path, series: Values, rng: np.random.Generator, first: list[Event] | None = None) -> None:
    """Write one event per scalar, as torch's and tensorboardX's writers do."""
    clock = BEGIN
    parts = [file_version(), *(record(event.SerializeToString()) for event in first or ())]
    for tag, step, value in series:
        clock += 1e-4 + rng.random() * 1e-3
        parts.append(record(scalar(clock, step, tag, value)))
    write(folder, parts)


def write(folder: Path, parts: list[bytes]) -> None:
    """Write an event file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.out.tfevents.1700000000.host.1.0").write_bytes(b"".join(parts))


def file_version() -> bytes:
    return record(Event(wall_time=BEGIN, file_version="brain.Event:2").SerializeToString())


def metadata(plugin: str) -> SummaryMetadata:
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))


def summary_event(value: Summary.Value, clock: float = BEGIN, step: int = 0) -> Event:
    return Event(wall_time=clock, step=step, summary=Summary(value=[value]))


def scalar(clock: float, step: int, tag: str, value: float) -> bytes:
    """Return what protobuf makes of an event with one simple value; several times faster than protobuf."""
    name = tag.encode()
    inner = b"\x0a" + varint(len(name)) + name + b"\x15" + struct.pack("<f", value)
    outer = b"\x0a" + varint(len(inner)) + inner
    stamp = b"\x09" + struct.pack("<d", clock) + (b"\x10" + varint(step) if step else b"")
    return stamp + b"\x2a" + varint(len(outer)) + outer


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def record(payload: bytes) -> bytes:
    head = struct.pack("<Q", len(payload))
    return head + struct.pack("<I", masked(head)) + payload + struct.pack("<I", masked(payload))


def masked(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


if __name__ == "__main__":
    main()
