"""Stacked lanes in real workers: restored, halved, cancelled one by one."""

import os
import signal

import pytest

from orchestrator.study.records import Submission
from tests.worker.helpers import eventually, interrupt, make_study, series, start_worker, stderr, work

PARAMS = """
from orchestrator.experiment import Experiment, ExperimentParams, Lane

class Params(ExperimentParams):
    rate: Lane[float] = 1.0
    fails: Lane[int] = 0
    steps: int = 100
    pause: float = 0.0

EXP = Experiment("stacked", params=Params, train="stacked.train:train", steps="steps")
"""

TRAIN = """
import time
import torch

def train(lanes):
    s, p = lanes.static, lanes.values
    bad = [q.seed for q in lanes.params if q.fails]

    def init():
        return {"w": torch.zeros(lanes.width), "v": torch.ones(3, lanes.width)}

    def update(state, step):
        v = torch.sin(state["v"] * 1.7 + step)
        w = state["w"] * 0.99 + p.rate * v.sum(0)
        return {"w": torch.where(p.rate < 0, torch.inf, w), "v": v}, {}

    def log(state, step):
        time.sleep(s.pause)
        if bad and int(step.max()) >= 50:
            raise ArithmeticError(f"{len(lanes.params)} lanes, of which {len(bad)} are bad")
        return {"total": state["w"]}

    lanes.run(init=init, step=update, log=log, every=10, steps=s.steps + 1)
"""

FILES = {"stacked/__init__.py": "", "stacked/params.py": PARAMS, "stacked/train.py": TRAIN}
ALL = list(range(6))
ALONE = (0, 3, 5)


def stacked(folder, rows, **options):
    defaults = {"fails": 0, "steps": 100, "pause": 0.0}
    full = [{"seed": at, "rate": 0.1 * (at + 1), **defaults, **row} for at, row in enumerate(rows)]
    options.setdefault("tasks", [list(range(len(rows)))])
    lanes = ["seed", "rate", "fails"]
    return make_study(folder, full, files=FILES, form="lanes", experiment="stacked.params:EXP", lanes=lanes, **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The series of some of six runs, each trained by itself."""
    study = stacked(tmp_path_factory.mktemp("alone"), [{}] * 6, tasks=[[at] for at in ALL])
    assert all(work(study, f"1-{at}") == 0 for at in ALONE)
    return {at: series(study, study.generation().runs[at]) for at in ALONE}


def together(study):
    return {at: series(study, study.generation().runs[at]) for at in ALONE}


def test_lanes_have_the_series_of_runs_alone(tmp_path, alone):
    study = stacked(tmp_path, [{}] * 6)
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert log.verdicts == [("done", 100)] * 6, stderr(study)
    assert log.engine["kind"] == "eager"
    assert study.engine() == log.engine
    assert together(study) == alone


def test_a_task_broken_off_goes_on_to_the_identical_series(tmp_path, alone):
    study = stacked(tmp_path, [{"pause": 0.1}] * 6)
    worker = start_worker(study, "1-0")
    eventually(lambda: study.incarnations("1-0") and (study.incarnations("1-0")[0].saved[0] or 0) > 10)
    interrupt(study, worker, signal.SIGKILL)
    assert work(study) == 0
    assert study.incarnations("1-0")[1].begun[0] > 10
    assert together(study) == alone


def test_a_culprit_stands_alone_and_the_others_finish(tmp_path, alone):
    study = stacked(tmp_path, [{"fails": int(at == 4)} for at in ALL])
    assert work(study) == 0
    records = [study.history().runs[run] for run in study.generation().runs]
    assert [record.outcome for record in records] == ["done"] * 4 + [None, "done"]
    assert records[4].failure == "user error"
    assert "ArithmeticError" in records[4].message
    assert together(study) == alone


def test_a_mistake_that_all_have_is_told_once_for_all(tmp_path):
    study = stacked(tmp_path, [{"fails": 1}] * 6)
    assert work(study) == 0
    [log] = study.incarnations("1-0", keep_records=True)
    failed = [record for record in log.records if record["t"] == "failed"]
    assert len(failed) == 1
    assert failed[0]["lanes"] == [[0, 6, 1]]
    assert log.end == "finished"


def test_a_lane_whose_numbers_go_bad_is_diverged(tmp_path):
    study = stacked(tmp_path, [{"rate": -1.0 if at == 2 else 0.5} for at in range(4)])
    assert work(study) == 0
    outcomes = [verdict[0] for verdict in study.incarnations("1-0")[0].verdicts]
    assert outcomes == ["done", "done", "diverged", "done"]


def test_one_lane_is_cancelled_and_the_others_go_on(tmp_path):
    from orchestrator import identity

    study = stacked(tmp_path, [{"pause": 0.05, "steps": 10**7}] * 3)
    worker = start_worker(study, "1-0")
    eventually(lambda: study.incarnations("1-0") and study.incarnations("1-0")[0].saved[1])
    run = study.generation().runs[1]
    study.publish(Submission(2, "cancel", generation=1, cancel=(identity.to_text(run),)))
    os.kill(worker.pid, signal.SIGUSR1)

    def left():
        records = study.incarnations("1-0", keep_records=True)[0].records
        return any(record.get("lanes") == [[0, 1, 1], [2, 3, 1]] for record in records)

    eventually(left)
    interrupt(study, worker)
    history = study.history()
    assert history.runs[run].cancelled
    assert history.runs[study.generation().runs[0]].failure == "preempted"


def test_another_engine_than_the_pinned_one_is_refused(tmp_path):
    study = stacked(tmp_path, [{}] * 2)
    study.pin_engine({"kind": "eager", "device": "cpu", "torch": "0.4.1", "isa": "SSE", "threads": 1})
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert log.failures[0]["class"] == "engine"
    assert "torch" in log.failures[0]["message"]
    assert "0.4.1" in log.failures[0]["message"]


def test_another_engine_is_taken_where_that_is_allowed(tmp_path):
    study = stacked(tmp_path, [{"steps": 5}] * 2, resources={"allow": ["mixed-engines"]})
    study.pin_engine({"kind": "eager", "device": "cpu", "torch": "0.4.1", "isa": "SSE", "threads": 1})
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert [verdict[0] for verdict in log.verdicts] == ["done", "done"]
    assert log.engine["torch"] != "0.4.1"
    assert study.engine()["torch"] == "0.4.1"
