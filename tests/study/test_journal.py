"""Journals: what can be read is read, before and after any damage; the rest is named."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.study import atomic
from orchestrator.study.incarnation import JOURNAL
from orchestrator.study.journal import columns, read_log
from orchestrator.study.spans import from_spans, pack_steps, per_lane, to_spans
from orchestrator.study.study import Study
from tests.study.studies import enter, finish, make_info, make_points, save, start

COUNT = 8


@pytest.fixture
def study(tmp_path):
    study = Study.create(tmp_path, "s")
    study.publish_generation("x: 0", make_info(), make_points(COUNT))
    enter(study, range(COUNT))
    return study


@given(st.lists(st.integers(0, 300)))
def test_spans_keep_order_and_items(items):
    assert from_spans(to_spans(items)) == items


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 50))
def test_a_progression_is_one_span(start_at, step, count):
    items = list(range(start_at, start_at + step * count, step))
    assert len(to_spans(items)) == (2 if count == 2 and step > 1 else 1)


@given(st.lists(st.integers(0, 5), min_size=1))
def test_steps_are_packed(steps):
    packed = pack_steps(steps)
    assert per_lane(packed, len(steps)) == steps
    assert isinstance(packed, int) == (len(set(steps)) == 1)


def test_a_journal_reads_back(study):
    work = start(study, "1-0")
    work.write("engine", kind="compiled")
    work.write("progress", lanes=range(COUNT), steps=[1, 2, 3, 4, 5, 6, 7, 8])
    save(work, 10, [0, 2, 4, 6])
    work.write("failed", lanes=[3], message="boom", signature="x", **{"class": "user error"})
    finish(work, [0, 7], 99)
    (log,) = study.incarnations("1-0", keep_records=True)
    assert log.begin["host"] == "here"
    assert log.begin["code"] == "s1"
    assert log.engine == {"kind": "compiled"}
    assert log.restored == [0] * COUNT
    assert log.progress == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [record["t"] for record in log.course] == ["restored", "checkpoint"]
    assert log.course[1]["file"] == "checkpoint-1.npz"
    assert columns(log.course[1]) == [(0, 10), (2, 10), (4, 10), (6, 10)]
    assert log.saved == [10, None] * 4
    assert log.verdicts == [("done", 99), *[None] * 6, ("done", 99)]
    assert [failed and failed["class"] for failed in log.failures] == [*[None] * 3, "user error", *[None] * 4]
    assert log.end == "finished"
    assert [record["t"] for record in log.records] == [
        "begin", "restored", "engine", "progress", "checkpoint", "failed", "verdict", "end"
    ]  # fmt: skip
    assert not log.damage


LINES = [
    json.dumps({"t": "begin", "host": "h"}).encode(),
    json.dumps({"t": "restored", "lanes": [[0, 8, 1]], "steps": 0}).encode(),
    json.dumps({"t": "progress", "lanes": [[0, 8, 2]], "steps": [1, 2, 3, 4]}).encode(),
    json.dumps({"t": "verdict", "lanes": [[1, 2, 1]], "outcome": "done", "steps": 9}).encode(),
    json.dumps({"t": "end", "reason": "finished"}).encode(),
]
GARBAGE = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"\0")),
    st.sampled_from(
        [
            b"\0" * 64,
            b"{}",
            b"[]",
            b"null",
            b'{"t": "progress", "lanes": [[0, 99, 1]], "steps": 1}',
            b'{"t": "progress", "lanes": [[-1, 2, 1]], "steps": 1}',
            b'{"t": "progress", "lanes": [[0, 8, 0]], "steps": 1}',
            b'{"t": "progress", "lanes": [[0, 8, 1]], "steps": [1, 2]}',
            b'{"t": "progress", "lanes": 7, "steps": [1, 2]}',
            b'{"t": "verdict", "lanes": [[0, 8, 1]], "steps": 3}',
            b'{"t": 7}',
            b"[" * 100_000,
            *(line[:-3] for line in LINES),
        ]
    ),
).filter(bool)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("k")


@settings(deadline=None)
@given(damage=st.lists(st.tuples(st.integers(0, len(LINES)), GARBAGE), max_size=6))
def test_damage_costs_only_its_own_line(folder, damage):
    lines = list(LINES)
    for at, garbage in sorted(damage, key=lambda item: item[0], reverse=True):
        lines.insert(at, garbage)
    (folder / JOURNAL).write_bytes(b"".join(line + b"\n" for line in lines))
    log = read_log("1-0", 1, str(folder), COUNT)
    assert log.begin["host"] == "h"
    assert log.end == "finished"
    assert log.verdicts[1] == ("done", 9)
    assert log.progress[::2] == [1, 2, 3, 4]
    assert {entry.line for entry in log.damage} == {i for i, line in enumerate(lines, 1) if line not in LINES}


@settings(deadline=None)
@given(length=st.integers(0, 2000))
def test_a_journal_cut_anywhere_keeps_its_whole_lines(folder, length):
    data = b"".join(line + b"\n" for line in LINES)[:length]
    (folder / JOURNAL).write_bytes(data)
    log = read_log("1-0", 1, str(folder), COUNT, keep_records=True)
    assert len(log.records) == data.count(b"\n")
    assert not log.damage  # what has no line break yet is being written


def test_a_full_disk_costs_one_record(study, monkeypatch):
    work = study.begin("1-0")
    work.write("begin", host="h")
    write = os.write
    monkeypatch.setattr(atomic.os, "write", lambda descriptor, data: write(descriptor, data[:10]))
    with pytest.raises(OSError, match="only 10 of"):
        work.write("progress", lanes=range(COUNT), steps=5)
    monkeypatch.undo()
    work.write("progress", lanes=range(COUNT), steps=6)
    (log,) = study.incarnations("1-0")
    assert log.progress == [6] * COUNT
    assert [entry.line for entry in log.damage] == [2]
    history = study.history()
    assert [str(entry).partition("tasks/")[2] for entry in history.damaged] == [
        "1-0/1/journal.jsonl:2: not a record (JSONDecodeError)"
    ]


def test_a_heartbeat_counts(study):
    assert study.heartbeat("1-0") is None
    work = study.begin("1-0")
    before = study.heartbeat("1-0")
    work.beat()
    assert before == (1, 1)
    assert study.heartbeat("1-0") == (1, 2)
    study.begin("1-0")
    assert study.heartbeat("1-0") == (2, 1)


def test_checkpoints_go_when_no_lane_needs_them(study):
    work = start(study, "1-0")

    def there():
        return sorted(name for name in atomic.names(work.path) if name.startswith("checkpoint"))

    save(work, 10)
    save(work, 20, range(4))
    assert there() == ["checkpoint-1.npz", "checkpoint-2.npz"]
    save(work, 20, range(4, 7))
    assert there() == ["checkpoint-1.npz", "checkpoint-2.npz", "checkpoint-3.npz"]
    work.write("verdict", lanes=[7], outcome="diverged", steps=15)
    assert there() == ["checkpoint-2.npz", "checkpoint-3.npz"]
    finish(work, range(7))
    assert there() == []
