"""The file of tasks that are over: it changes how fast a study is known, and never what is known."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.study import sealed
from orchestrator.study.audit import inspect
from orchestrator.study.incarnation import JOURNAL
from orchestrator.study.study import Study
from tests.study.studies import enter, finish, ids, make_info, make_points, save, start

COUNT = 6


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "FEWEST", 1)
    monkeypatch.setattr(sealed, "SETTLED", -1e9)
    study = Study.create(tmp_path, "s")
    study.publish_generation("x: 0", make_info(), make_points(COUNT))
    enter(study, *[[at] for at in range(COUNT)])
    return study


def known(study):
    """What a new process knows, by the journals alone and with the file, which is written in between."""
    (study.path / sealed.FILE).unlink(missing_ok=True)
    alone = Study(study.path).history()
    assert Study(study.path).history() == alone
    return alone


def counts(history):
    """What counts of a history: a task that is over may begin once more, and has nothing to do."""
    runs = {
        run: (record.outcome, record.failure, record.step, record.saved, record.attempts, record.used)
        for run, record in history.runs.items()
    }
    return runs, history.bad_nodes, history.damaged


def test_what_is_over_is_read_from_one_file(study, monkeypatch):
    for at in range(COUNT - 1):
        finish(start(study, f"1-{at}"))
    save(start(study, f"1-{COUNT - 1}"), 30)
    before = known(study)
    asked = []
    real = Study._logs
    monkeypatch.setattr(Study, "_logs", lambda self, task, *rest: asked.append(task) or real(self, task, *rest))
    assert Study(study.path).history() == before
    assert asked == [f"1-{COUNT - 1}"]


def test_a_later_entry_has_its_say(study):
    for at in range(COUNT):
        finish(start(study, f"1-{at}"))
    known(study)
    enter(study, [0], [1], rerun=[[0, 1, 1]])
    save(start(study, "2-0"), 10)
    history = Study(study.path).history()
    assert history == known(study)
    runs = ids(make_points(COUNT))
    assert (history.runs[runs[0]].outcome, history.runs[runs[0]].saved) == (None, 10)
    assert history.runs[runs[1]].outcome == "done"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"finished"', b'"FINISHED"'),
        lambda data: data.replace(b"1 ", b"2 ", 1),
        lambda data: b"\xff" * 100,
    ],
)
def test_a_damaged_file_is_as_good_as_none(study, spoil):
    for at in range(COUNT):
        finish(start(study, f"1-{at}"))
    before = known(study)
    file = study.path / sealed.FILE
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    assert Study(study.path).history() == before
    assert file.read_bytes() == whole


def test_a_place_that_takes_no_file_is_left_alone(study):
    (study.path / sealed.FILE).mkdir()
    for at in range(COUNT):
        finish(start(study, f"1-{at}"))
    assert len(Study(study.path).history().ended) == COUNT
    assert not list(study.path.glob(".sealed*"))


def test_what_ended_a_moment_ago_is_not_over(study, monkeypatch):
    """Its successor may have begun on a machine whose files are not seen yet."""
    monkeypatch.setattr(sealed, "SETTLED", 300.0)
    for at in range(COUNT):
        finish(start(study, f"1-{at}"))
    long_ago = study.path / "tasks/1-0/1" / JOURNAL
    os.utime(long_ago, (long_ago.stat().st_mtime - 600,) * 2)
    study.history()
    assert list(sealed.read(study.path)) == ["1-0"]


def test_damage_is_found_by_whoever_reads_the_journals_themselves(study):
    for at in range(COUNT):
        finish(start(study, f"1-{at}"))
    known(study)
    with (study.path / "tasks/1-2/1" / JOURNAL).open("ab") as journal:
        journal.write(b"nonsense\n")
    assert [finding.fault for finding in inspect(Study(study.path)).findings] == ["damage"]


def test_small_studies_have_none(study, monkeypatch):
    monkeypatch.setattr(sealed, "FEWEST", COUNT + 1)
    for at in range(COUNT):
        finish(start(study, f"1-{at}"))
    study.history()
    assert not (study.path / sealed.FILE).exists()


STEPS = st.sampled_from(["begin", "save", "finish some", "finish", "fail", "requeue", "die"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), STEPS), max_size=14))
def test_whatever_happens_both_ways_of_looking_agree(tmp_path_factory, happened):
    study = Study.create(tmp_path_factory.mktemp("any"), "s")
    study.publish_generation("x: 0", make_info(), make_points(COUNT))
    enter(study, [0, 1], [2, 3], [4, 5])
    working = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "FEWEST", 1)
        patch.setattr(sealed, "SETTLED", -1e9)
        for task, step in happened:
            work = working.get(task)
            if step == "begin" or work is None:
                working[task] = start(study, f"1-{task}")
            elif step == "save":
                save(work, 30)
            elif step == "finish some":
                work.write("verdict", lanes=[1], outcome="done", steps=100)
            elif step == "finish":
                finish(work)
                del working[task]
            elif step == "fail":
                work.write("failed", lanes=[0], message="no", signature="x", **{"class": "oom"})
                work.write("end", reason="finished")
                del working[task]
            elif step == "requeue":
                work.write("end", reason="requeued")
                del working[task]
            else:
                del working[task]
            kept = Study(study.path).history()
            with_file = Study(study.path).history()
            file = study.path / sealed.FILE
            aside = file.read_bytes() if file.exists() else None
            file.unlink(missing_ok=True)
            patch.setattr(sealed, "FEWEST", 10**9)
            assert counts(kept) == counts(with_file) == counts(Study(study.path).history())
            patch.setattr(sealed, "FEWEST", 1)
            if aside is not None:
                file.write_bytes(aside)
