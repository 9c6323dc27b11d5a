"""Whatever is in an event file, the rows are those that TensorBoard's messages hold: in order, and to the bit."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from export import decode, kernel, reader, shapes
from export.decode import Decoder
from export.reader import EventFile, Reader, Report, read_events
from tests.export import reference
from tests.export.test_tfrecord import DAMAGE, hurt
from tests.export.wild import PLANS, SEEDS, TAGS, Row, bits, framed, rows_of, wild_events

FOLDERS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def found(file: EventFile) -> list[Row]:
    columns = file.columns
    return [
        (columns.tags[tag], step, struct.pack("<d", wall), bits(value))
        for tag, step, wall, value in zip(
            columns.tag.tolist(), columns.step.tolist(), columns.wall.tolist(), columns.value.tolist(), strict=True
        )
    ]


def write(folder: Path, data: bytes) -> Path:
    path = folder / "events.out.tfevents.1.host"
    path.write_bytes(data)
    return path


@pytest.fixture(params=["thousands", "alone", "kernel", "plain kernel"], autouse=True)
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All ways of decoding must agree: together by shapes, one by one, and by what was compiled."""
    monkeypatch.setattr(decode, "FEW", 10**9 if request.param == "alone" else 2)
    compiled = {"kernel": "", "plain kernel": "plain"}.get(request.param, "0")
    monkeypatch.setenv(kernel.VARIABLE, compiled)
    if compiled != "0" and kernel.kernel() is None:
        pytest.skip("no kernel was built")


@settings(max_examples=60, deadline=None, suppress_health_check=FOLDERS)
@given(PLANS, SEEDS, st.integers(0, 200), st.booleans())
@example([("scalar", tag) for tag in range(len(TAGS))], 0, 200, False)
@example([("several", 0), ("bare", 1), ("curve", 1)], 1, 60, True)
@example([("bare", 0), ("content", 1), ("tensor", 2)], 2, 200, False)
def test_wild_files(tmp_path: Path, plan: list[tuple[str, int]], seed: int, count: int, regular: bool) -> None:
    payloads = wild_events(plan, seed, count, regular=regular)
    file = read_events(write(tmp_path, framed(payloads)))
    rows, marks = rows_of(payloads)
    kept = set(rows) if _ambiguous(plan) else None
    if kept is None:
        assert found(file) == rows
        assert list(zip(file.mark_row.tolist(), file.mark_step.tolist(), strict=True)) == marks
        assert file.columns.single == all(_is_single(row[3]) for row in rows)
    else:
        assert kept.issuperset(found(file))
    assert not file.report.damage
    assert file.report.records == len(payloads)


def _ambiguous(plan: list[tuple[str, int]]) -> bool:
    """Whether tensors of a tag stand before the metadata that give them to another plugin."""
    foreign = {tag for kind, tag in plan if kind in ("curve", "text")}
    return any(kind == "bare" and tag in foreign for kind, tag in plan)


def _is_single(value: bytes) -> bool:
    number = struct.unpack("<d", value)[0]
    with np.errstate(over="ignore"):
        return number != number or float(np.float32(number)) == number


@settings(max_examples=60, deadline=None, suppress_health_check=FOLDERS)
@given(PLANS.filter(lambda plan: not _ambiguous(plan)), SEEDS, st.integers(1, 150), st.lists(DAMAGE, max_size=4))
def test_damaged_wild_files(
    tmp_path: Path, plan: list[tuple[str, int]], seed: int, count: int, damages: list[tuple[str, int]]
) -> None:
    data = hurt(framed(wild_events(plan, seed, count, regular=True)), damages)
    file = read_events(write(tmp_path, data))
    payloads, lost, end = reference.read(data)
    assert found(file) == rows_of(payloads)[0]
    assert reference.merged(file.report.damage) == reference.merged(lost)
    assert (file.report.end, file.report.tail) == (end, len(data) - end)


def assert_same(one: Report, other: Report) -> None:
    """How many last bytes are compared depends on the pieces that were read; that they are the file's does not."""
    assert replace(one, check=0, checked=0) == replace(other, check=0, checked=0)
    assert reader.goes_on(one)
    assert reader.goes_on(other)


@settings(max_examples=40, deadline=None, suppress_health_check=FOLDERS)
@given(
    PLANS.filter(lambda plan: not _ambiguous(plan)), SEEDS, st.integers(1, 150), st.lists(DAMAGE, max_size=3),
    st.integers(40, 3000),
)  # fmt: skip
def test_the_size_of_the_buffer_does_not_matter(
    tmp_path: Path, plan: list[tuple[str, int]], seed: int, count: int, damages: list[tuple[str, int]], size: int
) -> None:
    path = write(tmp_path, hurt(framed(wild_events(plan, seed, count, regular=False)), damages))
    whole, parts = read_events(path), read_events(path, size=size)
    assert found(parts) == found(whole)
    assert_same(parts.report, whole.report)


@settings(max_examples=40, deadline=None, suppress_health_check=FOLDERS)
@given(
    PLANS.filter(lambda plan: not _ambiguous(plan)), SEEDS, st.integers(1, 150),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=5),
)  # fmt: skip
def test_a_file_that_grows_is_read_in_parts(
    tmp_path: Path, plan: list[tuple[str, int]], seed: int, count: int, cuts: list[int]
) -> None:
    data = framed(wild_events(plan, seed, count, regular=False))
    decoder, report, rows = Decoder(), Report(str(tmp_path / "events.out.tfevents.1.host")), []
    for cut in sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)}):
        write(tmp_path, data[:cut])
        rows += [batch.rows for batch in Reader(decoder, 1000).read([report])]
        assert not report.damage
    whole = read_events(tmp_path / "events.out.tfevents.1.host")
    marks = np.array(report.marks, np.int64).reshape(-1, 2)
    grown = EventFile(reader.Columns.join(decoder.tags, rows), marks[:, 0], marks[:, 1], report)
    assert found(grown) == found(whole)
    assert_same(report, whole.report)


@settings(max_examples=30, deadline=None, suppress_health_check=FOLDERS)
@given(
    st.lists(
        st.tuples(
            PLANS.filter(lambda plan: not _ambiguous(plan)), SEEDS, st.integers(0, 40), st.lists(DAMAGE, max_size=1)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_files_read_together_are_as_each_alone(
    tmp_path: Path, files: list[tuple[list[tuple[str, int]], int, int, list[tuple[str, int]]]]
) -> None:
    paths = []
    for number, (plan, seed, count, damages) in enumerate(files):
        (tmp_path / str(number)).mkdir(exist_ok=True)
        paths.append(write(tmp_path / str(number), hurt(framed(wild_events(plan, seed, count, regular=True)), damages)))
    decoder, reports = Decoder(), [Report(str(path)) for path in paths]
    batches = list(Reader(decoder).read(reports))
    for number, path in enumerate(paths):
        alone = read_events(path)
        mine = []
        for batch in batches:
            for place, file in enumerate(batch.files):
                if file == number:
                    part = slice(*batch.rows.first[place : place + 2])
                    columns = (batch.rows.tag, batch.rows.step, batch.rows.wall, batch.rows.value)
                    tag, step, wall, value = (column[part] for column in columns)
                    mine += found(EventFile(reader.Columns(decoder.tags, tag, step, wall, value), *[None] * 3))  # type: ignore[arg-type]
        assert mine == found(alone)
        assert reports[number] == alone.report


@given(st.binary(max_size=60))
def test_rubbish_has_no_shape(data: bytes) -> None:
    shape = shapes.learn(data)
    assert shape is None or all(slot.offset < len(data) for slot in shape.slots)


@given(st.binary(max_size=100), st.integers(0, 8))
def test_the_kernels_checksums(data: bytes, shift: int) -> None:
    library = kernel._library(os.environ.get(kernel.VARIABLE, ""))
    if library is not None:
        assert library.orch_crc(data[shift:], len(data[shift:])) == google_crc32c.value(data[shift:])


def test_more_tags_than_the_kernel_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "TAGS", 16)
    monkeypatch.setattr(kernel, "POOL", 100)
    payloads = [
        payload for i in range(600) for payload in wild_events([("scalar", i % len(TAGS))], i, 1, regular=True)[1:]
    ]
    payloads += [payload.replace(b"loss", b"L%03d" % (i % 40)) for i, payload in enumerate(payloads)]
    file = read_events(write(tmp_path, framed(payloads)), size=4000)
    assert found(file) == rows_of(payloads)[0]
