"""``orch clean``: what nobody reads any more, and that nothing reads otherwise without it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from orchestrator.study import waste
from orchestrator.study.records import Submission, TaskSpec
from orchestrator.study.study import Study
from tests.faults.proof import contradictions, rows
from tests.worker.helpers import PLAIN, command_study, eventually, interrupt, plain_study, series, start_worker, work

DIES = {"steps": 40, "pause": 0.01, "fail_at": 30, "how": "kill once"}

# Goes on by itself where it was broken off, in event files that begin there.
RESUMES = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, os.environ["ORCH_TEST_HOME"])
import numpy as np
from orchestrator.worker import events
name, own = (Path(word) for word in sys.argv[1:])
first = int(own.read_text()) if own.exists() else 0
files = events.EventFiles(lambda lane: name / "events.out.tfevents.123.host.1.0")
files.begin(0, first)
for step in range(first, first + 3): files.add([0], [step], ["total"], np.full((1, 1), 0.5))
files.flush()
own.write_text(str(first + 3))
if not first: time.sleep(600)
"""


def checkpoints(study, task, k):
    return sorted(study.task_path(task, k).glob("checkpoint-*.npz"))


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A run whose worker was killed after a checkpoint, and one that is finished."""
    monkeypatch.setenv("TOY_FOLDER", str(tmp_path))
    study = plain_study(tmp_path, PLAIN, [DIES, {"steps": 5}], tasks=[[0], [1]])
    study.take(1, 0, "job")
    assert work(study, "1-0") == -signal.SIGKILL
    assert work(study, "1-1") == 0
    assert study.restore_points(study.generation().runs[:1])
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


def test_of_a_program_that_goes_on_by_itself_all_events_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_TEST_HOME", str(Path(__file__).parents[2]))
    template = f"python train.py ${{run.dir}} {tmp_path}/own-${{run.id}}"
    study = command_study(tmp_path, template, [{}], files={"train.py": RESUMES})
    worker = start_worker(study, "1-0")
    eventually(lambda: any(path.read_text() for path in tmp_path.glob("own-*")))
    interrupt(study, worker)
    assert work(study) == 0
    [run] = study.generation().runs
    assert [log.begun for log in study.incarnations("1-0")] == [[-1], [-1]]
    assert study.finished([run]) == {run}
    before = series(study, run)
    waste.remove(waste.find(study))
    assert series(study, run) == before == [(step, 0.5) for step in range(6)]


def test_what_is_written_while_it_looks_stays(killed, monkeypatch):
    def standing(study, runs, known=Study.standing):
        found = known(study, runs)
        successor = study.begin("1-0")
        successor.write("restored", lanes=[0], steps=[1])
        successor.checkpoint(lambda file: file.write(b"whole"), [0], [2])
        successor.close()
        return found

    monkeypatch.setattr(Study, "standing", standing)
    found = {one.path for one in waste.find(killed)}
    assert not found & set(checkpoints(killed, "1-0", 2))


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
