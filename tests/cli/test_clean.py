"""``orch clean``: what nobody reads any more, and that nothing reads otherwise without it."""

from __future__ import annotations

import json
import signal

import pytest

from orchestrator.study import waste
from orchestrator.study.records import Submission, TaskSpec
from orchestrator.study.study import Study
from tests.faults.proof import contradictions, rows
from tests.worker.helpers import PLAIN, eventually, interrupt, plain_study, start_worker, work

LONG = {"steps": 60, "pause": 0.01}


def checkpoints(study, task, k):
    return sorted(study.task_path(task, k).glob("checkpoint-*.npz"))


@pytest.fixture
def killed(tmp_path):
    """A run whose worker was killed after a checkpoint, and one that is finished."""
    study = plain_study(tmp_path, PLAIN, [LONG, {"steps": 5}], tasks=[[0], [1]])
    study.take(1, 0, "job")
    worker = start_worker(study, "1-0")
    eventually(lambda: checkpoints(study, "1-0", 1))
    interrupt(study, worker, signal.SIGKILL)
    assert work(study, "1-1") == 0
    return study


def begin_anew(study, point):
    """Submit a point again, from nothing, and train it."""
    (first,) = study.chain()
    spans = [[point, point + 1, 1]]
    task = TaskSpec("2-0", spans, 1)
    study.publish(Submission(2, generation=1, cluster="local", code=first.code, source=first.source,
                             resources=first.resources, rerun=spans, tasks=(task,), arrays=((0, 1),)))  # fmt: skip
    study.take(2, 0, "job")
    assert work(study, "2-0") == 0


def test_what_an_unfinished_run_needs_is_no_waste(killed):
    assert checkpoints(killed, "1-0", 1)
    assert waste.find(killed) == []


def test_what_the_dead_left_behind_goes_and_everything_reads_the_same(killed):
    assert work(killed, "1-0") == 0
    begin_anew(killed, 1)
    first, second = killed.generation().runs
    old = killed.event_file(second, 1, "1-1", 1)
    before, left = rows(Study(killed.path)), checkpoints(killed, "1-0", 1)
    assert left
    assert old.exists()
    assert len(list(killed.events_dir(first).iterdir())) == 2

    assert not [one for one in waste.find(killed, {"1-0", "1-1"}) if one.kind == "checkpoint"]
    found = waste.find(killed)
    assert {one.path for one in found if one.kind == "events"} == {old}
    assert {one.path for one in found if one.kind == "checkpoint"} >= set(left)
    assert all(one.size == one.path.stat().st_size for one in found)
    waste.remove(found)
    waste.remove(found)  # somebody else may do the same

    again = Study(killed.path)
    assert rows(again) == before
    assert len(before) == 2
    assert contradictions(again) == []
    assert waste.find(again) == []
    assert len(list(again.events_dir(first).iterdir())) == 2  # both attempts have rows that count
    assert not old.exists()


def test_without_its_successor_s_file_an_attempt_stays(killed):
    begin_anew(killed, 1)
    (run,) = killed.generation().runs[1:]
    killed.event_file(run, 2, "2-0", 1).unlink()
    assert [one for one in waste.find(killed) if one.kind == "events"] == []


def test_the_command_says_what_goes(killed, orch):
    assert work(killed, "1-0") == 0
    begin_anew(killed, 1)
    shown = orch("clean", str(killed.path), "-n")
    assert shown.return_value == 0, shown.output
    assert "would remove" in shown.stderr
    assert "1 event file of attempts that were begun anew (0.0 MB)" in shown.stderr
    files = json.loads(orch("clean", str(killed.path), "--yes", "--json").stdout)["files"]
    assert {file["kind"] for file in files} == {"checkpoint", "events"}
    assert orch("clean", str(killed.path)).stderr == "nothing to remove\n"
