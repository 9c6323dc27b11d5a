from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.attempts import Cover, event_files, ordinal
from tests.export.events import (
    accumulated,
    attempt,
    read_run,
    read_tree,
    same,
    scalar,
    series,
    start,
    version,
)


def kept(folder: Path, cover: Cover | None = None) -> list[tuple[int, float, int]]:
    found = read_run(event_files(folder), cover)
    columns = found.columns
    return list(zip(columns.step.tolist(), columns.value.tolist(), found.attempt.tolist(), strict=True))


def test_a_restarted_run_has_one_row_per_step(tmp_path: Path) -> None:
    attempt(tmp_path, 1, 1, 0, series("x", range(0, 100, 10)))
    attempt(tmp_path, 1, 2, 51, series("x", range(60, 130, 10), 0.5))
    rows = kept(tmp_path)
    assert [step for step, _, _ in rows] == list(range(0, 130, 10))
    assert {a for step, _, a in rows if step <= 50} == {100_001}
    assert {a for step, _, a in rows if step > 50} == {100_002}
    assert read_run(event_files(tmp_path)).superseded == 4


def test_what_a_superseded_copy_writes_on_is_not_counted(tmp_path: Path) -> None:
    """Attempts count by their ordinals: neither the time of writing nor the order of names in a listing matters."""
    attempt(tmp_path, 2, 1, 21, series("x", range(30, 60, 10), 0.2))
    attempt(tmp_path, 10, 1, 41, series("x", range(50, 80, 10), 0.3))
    attempt(tmp_path, 1, 1, 0, series("x", range(0, 200, 10), 0.1))  # a copy that was cut off and wrote on
    assert [(step, a) for step, _, a in kept(tmp_path)] == [
        *((step, 100_001) for step in (0, 10, 20)),
        *((step, 200_001) for step in (30, 40)),
        *((step, 1_000_001) for step in (50, 60, 70)),
    ]


def test_a_restart_from_nothing_replaces_all(tmp_path: Path) -> None:
    attempt(tmp_path, 1, 1, 0, series("x", range(5)))
    attempt(tmp_path, 2, 1, 0, series("x", range(2), 0.5))
    assert [step for step, _, _ in kept(tmp_path)] == [0, 1]


def test_a_mark_counts_without_any_row(tmp_path: Path) -> None:
    attempt(tmp_path, 1, 1, 0, series("x", range(10)))
    attempt(tmp_path, 1, 2, 4)
    assert [step for step, _, _ in kept(tmp_path)] == [0, 1, 2, 3]


def test_a_lost_mark_does_not_double_rows(tmp_path: Path) -> None:
    attempt(tmp_path, 1, 1, 0, series("x", range(10)))
    attempt(tmp_path, 1, 2, None, series("x", range(6, 12), 0.5))
    rows = kept(tmp_path)
    assert [step for step, _, _ in rows] == list(range(12))
    assert [a for _, _, a in rows] == [100_001] * 6 + [100_002] * 6


def test_a_mark_inside_an_attempt_takes_back_what_it_wrote(tmp_path: Path) -> None:
    attempt(tmp_path, 1, 1, 0, series("x", range(10)), start(5), series("x", range(5, 8), 0.5))
    assert [value for _, value, _ in kept(tmp_path)] == [0, 1, 2, 3, 4, 5.5, 6.5, 7.5]


def test_only_what_is_covered_counts(tmp_path: Path) -> None:
    attempt(tmp_path, 1, 1, 0, series("x", range(0, 100, 10)))
    attempt(tmp_path, 1, 2, 31, series("x", range(40, 100, 10), 0.5))
    assert [step for step, _, _ in kept(tmp_path, Cover(60))] == list(range(0, 70, 10))
    assert [step for step, _, _ in kept(tmp_path, Cover(60, live=100_002))] == list(range(0, 100, 10))
    # The live owner has not written anything yet: its predecessor is believed up to its checkpoint.
    assert [step for step, _, _ in kept(tmp_path, Cover(60, live=200_001))] == list(range(0, 70, 10))
    assert kept(tmp_path, Cover(-1)) == []
    assert read_run(event_files(tmp_path), Cover(60)).uncovered == 3


def test_foreign_files_are_purged_by_marks_as_tensorboard_does(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.100.a").write_bytes(version() + series("x", range(60)) + series("y", range(60)))
    (tmp_path / "events.out.tfevents.200.a").write_bytes(version() + start(40) + series("x", range(40, 80), 0.5))
    found = read_run(event_files(tmp_path))
    columns = found.columns
    mine = [
        (columns.tags[tag], step, wall, value)
        for tag, step, wall, value in zip(columns.tag, columns.step.tolist(), columns.wall, columns.value, strict=True)
    ]
    assert same([(t, s, float(w), float(v)) for t, s, w, v in mine], accumulated(tmp_path, purge=True))
    assert len(columns) == 40 + 40 + 40
    assert set(found.attempt.tolist()) == {0}


STEP = st.integers(0, 6)
RECORD = st.tuples(st.sampled_from(["x", "y"]), STEP) | st.tuples(st.just("start"), STEP)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(RECORD, max_size=8), min_size=1, max_size=3))
def test_marks_mean_what_they_mean_to_tensorboard(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[str, int]]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    for number, records in enumerate(files):
        parts = [
            start(step) if tag == "start" else scalar(tag, step, number * 10.0 + i)
            for i, (tag, step) in enumerate(records)
        ]
        (folder / f"events.out.tfevents.{number}.a").write_bytes(version() + b"".join(parts))
    columns = read_run(event_files(folder)).columns
    mine = [
        (columns.tags[tag], step, wall, value)
        for tag, step, wall, value in zip(
            columns.tag.tolist(), columns.step.tolist(), columns.wall.tolist(), columns.value.tolist(), strict=True
        )
    ]
    assert same(mine, accumulated(folder, purge=True))


def test_two_foreign_writers_without_marks_are_both_kept(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"events.out.tfevents.1.{name}").write_bytes(version() + series("x", range(10)))
    assert len(kept(tmp_path)) == 20


def test_rows_are_sorted_by_tag_and_step_and_ties_stay_in_order(tmp_path: Path) -> None:
    data = [scalar("b", 2, 1.0), scalar("a", 3, 2.0), scalar("b", 1, 3.0), scalar("b", 2, 4.0), scalar("a", 1, 5.0)]
    (tmp_path / "events.out.tfevents.1").write_bytes(version() + b"".join(data))
    columns = read_run(event_files(tmp_path)).columns
    assert columns.tags == ["a", "b"]
    assert columns.value.tolist() == [5.0, 2.0, 3.0, 1.0, 4.0]


def test_event_files_come_in_the_order_of_attempts(tmp_path: Path) -> None:
    names = ["events.out.tfevents.1", "events.out.tfevents.0000100002.1-0.2", "events.out.tfevents.0001000001.10-0.1"]
    for name in reversed([*names, "stray.txt", ".events.part"]):
        (tmp_path / name).write_bytes(b"")
    files = event_files(tmp_path)
    assert [path.name for path in files] == names
    assert [ordinal(path) for path in files] == [0, 100_002, 1_000_001]
    assert event_files(tmp_path / "absent") == []


def test_files_that_a_program_wrote(tmp_path: Path) -> None:
    """Several files of one attempt, in folders below, without marks."""
    first = tmp_path / "events.out.tfevents.0000100001.1-0.1"
    first.write_bytes(version() + series("x", range(5)))
    first.with_name(first.name + ".1").write_bytes(version() + series("y", range(3)))
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / first.name).write_bytes(version() + series("x", range(4)))
    found = read_tree(tmp_path)
    assert found.columns.tags == ["valid/x", "x", "y"]
    assert np.bincount(found.columns.tag).tolist() == [4, 5, 3]
    assert len(found.reports) == 3
    second = tmp_path / "events.out.tfevents.0000100002.1-0.2"
    second.write_bytes(version() + series("x", range(1)))
    assert np.bincount(read_tree(tmp_path).columns.tag).tolist() == [4, 1]
