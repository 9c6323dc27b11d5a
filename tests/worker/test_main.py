"""The worker as a process: what it leaves in the study, whatever befalls it."""

import math
import os
import signal
import time

import numpy as np
import pytest

from orchestrator.study.records import Submission, TaskSpec
from tests.worker.helpers import (
    PARAMS,
    PLAIN,
    TRAIN,
    eventually,
    interrupt,
    plain_study,
    series,
    start_worker,
    stderr,
    work,
)

SLOW = {"steps": 10**9, "pause": 0.002}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The series of seed 0, 300 steps, never interrupted."""
    study = plain_study(tmp_path_factory.mktemp("undisturbed"), PLAIN, [{"steps": 300}])
    assert work(study) == 0
    [run] = study.task("1-0").runs
    return series(study, run)


def record(study, task="1-0", lane=0):
    return study.history().runs[study.task(task).runs[lane]]


def begun(study, task="1-0", k=1):
    """Whether incarnation k has published a checkpoint beyond its beginning."""
    logs = study.incarnations(task)
    if len(logs) < k:
        return False
    log = logs[k - 1]
    return log.saved[0] is not None and log.saved[0] > log.begun[0] + 5


def checkpoints(log):
    return [record for record in log.course if record["t"] == "checkpoint"]


def test_a_run_is_trained_and_told_of(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 7}])
    assert work(study) == 0
    [log] = study.incarnations("1-0", keep_records=True)
    assert [r["t"] for r in log.records] == ["begin", "restored", "verdict", "end"]
    assert log.begin["pid"] > 0
    assert {"host", "start", "job", "python", "code", "packages"} <= log.begin.keys()
    assert (log.verdicts, log.end) == ([("done", 6)], "finished")
    [run] = study.task("1-0").runs
    assert [step for step, _ in series(study, run)] == list(range(7))
    odd = [value for _, value in series(study, run, "odd")]
    assert odd[0] == 1.0
    assert math.isnan(odd[1])
    assert (study.task_path("1-0", 1) / "stdout").read_text() == "from 0\n"
    assert [path.name for path in study.events_dir(run).iterdir()] == ["events.out.tfevents.0000100001.1-0.1"]


def test_several_runs_of_a_task_come_one_after_the_other(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 5}, {"steps": 6, "fail_at": 3}, {"steps": 7}], tasks=[[0, 1, 2]])
    assert work(study) == 0
    outcomes = [record(study, lane=lane).outcome for lane in range(3)]
    assert outcomes == ["done", None, "done"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGKILL, signal.SIGINT])
def test_a_run_broken_off_goes_on_to_the_identical_series(tmp_path, undisturbed, number):
    study = plain_study(tmp_path, PLAIN, [{"steps": 300, "pause": 0.005}])
    worker = start_worker(study, "1-0")
    eventually(lambda: begun(study))
    interrupt(study, worker, number)
    [log] = study.incarnations("1-0")
    assert log.end == {signal.SIGUSR2: "requeued", signal.SIGKILL: None}.get(number, "interrupted")
    if number != signal.SIGKILL:  # the checkpoint was written on leaving
        assert log.saved[0] > 5
    assert work(study) == 0
    after = study.incarnations("1-0")[1]
    assert after.restored[0] == log.saved[0]
    [run] = study.task("1-0").runs
    assert series(study, run) == undisturbed
    assert record(study).outcome == "done"
    assert len(list(study.events_dir(run).iterdir())) == 2


def test_two_signals_at_once_break_nothing(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW])
    worker = start_worker(study, "1-0")
    eventually(lambda: begun(study))
    for number in (signal.SIGUSR2, signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
        os.kill(worker.pid, number)
    worker.communicate(timeout=60)
    [log] = study.incarnations("1-0")
    assert log.end == "interrupted"  # never requeued once somebody wants the machine back
    assert log.damage == []
    [run] = study.task("1-0").runs
    assert study.restore_points([run])[run].step == log.saved[0]


def test_a_slice_too_short_to_get_anywhere_is_a_timeout(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 50, "pause": 0.01}])
    worker = start_worker(study, "1-0")
    os.kill(worker.pid, signal.SIGUSR2) if eventually(lambda: study.incarnations("1-0")) else None
    worker.communicate(timeout=60)
    ends = [log.end for log in study.incarnations("1-0")]
    assert ends[0] in ("requeued", "timeout")
    log = study.incarnations("1-0")[0]
    assert (ends[0] == "requeued") == (log.saved[0] is not None and log.saved[0] > -1)


def test_a_failure_of_an_earlier_incarnation_is_no_progress(tmp_path):
    """Otherwise a slice too short for its neighbours would be repeated for ever."""
    rows = [{"steps": 9, "fail_at": 2}, {"steps": 50, "pause": 0.01}]
    study = plain_study(tmp_path, PLAIN, rows, tasks=[[0, 1]], resources={"checkpoint": "1h"})
    first = study.begin("1-0")
    first.write("restored", lanes=[0], steps=-1)
    first.write("failed", lanes=[0], message="no", signature="x", **{"class": "user error"})
    first.write("end", reason="requeued")
    worker = start_worker(study, "1-0")
    eventually(lambda: study.heartbeat("1-0")[0] == 2)
    interrupt(study, worker, signal.SIGUSR2)
    log = study.incarnations("1-0")[1]
    progressed = log.saved[1] is not None and log.saved[1] > -1
    assert log.end == ("requeued" if progressed else "timeout")


def test_a_run_that_its_former_owner_finished_is_left_as_it_is(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 30}, {"steps": 5}], tasks=[[0, 1]])
    study.publish(study.submission(1).numbered(2))
    former = study.begin("1-0")  # finds out too late, or finishes while it is told to stop
    former.write("restored", lanes=[0], steps=-1)
    former.write("verdict", lanes=[0], steps=29, outcome="done")
    assert work(study, "2-0") == 0
    assert study.incarnations("2-0")[0].restored == [None, -1]
    assert [study.history().runs[run].outcome for run in study.generation().runs] == ["done", "done"]


def test_old_checkpoints_are_removed(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW, {"steps": 200, "pause": 0.002}])
    worker = start_worker(study, "1-0")
    eventually(lambda: study.incarnations("1-0") and len(checkpoints(study.incarnations("1-0")[0])) > 2)
    interrupt(study, worker)
    assert len(list(study.task_path("1-0", 1).glob("checkpoint-*"))) == 1
    assert work(study, "1-1") == 0
    assert checkpoints(study.incarnations("1-1")[0])
    assert not list(study.task_path("1-1", 1).glob("checkpoint-*"))


def test_a_damaged_checkpoint_means_beginning_again(tmp_path, undisturbed):
    study = plain_study(tmp_path, PLAIN, [{"steps": 300, "pause": 0.005}])
    worker = start_worker(study, "1-0")
    eventually(lambda: begun(study))
    interrupt(study, worker)
    [path] = study.task_path("1-0", 1).glob("checkpoint-*")
    path.write_bytes(path.read_bytes()[:-40])
    assert work(study) == 0
    assert "damaged" in stderr(study, k=2)
    assert study.incarnations("1-0")[1].restored == [-1]
    [run] = study.task("1-0").runs
    assert series(study, run) == undisturbed


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("error", "user error", "ValueError: step 3 of seed 0 is bad"),
        ("memory", "oom", "MemoryError"),
        ("exit", "user error", "RuntimeError: the train function exited with status 3"),
    ],
)
def test_an_exception_is_classified(tmp_path, how, kind, said):
    study = plain_study(tmp_path, PLAIN, [{"steps": 9, "fail_at": 3, "how": how}])
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    failure = log.failures[0]
    assert (failure["class"], failure["message"], log.end) == (kind, said, "finished")
    assert "in fail" in failure["traceback"]
    assert said in stderr(study)
    [run] = study.task("1-0").runs
    assert [step for step, _ in series(study, run)] == [0, 1, 2]


def test_numbers_that_went_bad_are_a_result(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 9, "fail_at": 3, "how": "diverge"}])
    assert work(study) == 0
    assert (record(study).outcome, record(study).step) == ("diverged", 2)


def test_failures_of_an_earlier_incarnation_stand(tmp_path):
    rows = [{"steps": 9, "fail_at": 3}, SLOW]
    study = plain_study(tmp_path, PLAIN, rows, tasks=[[0, 1]])
    for k in (1, 2):
        worker = start_worker(study, "1-0")
        eventually(lambda k=k: (logs := study.incarnations("1-0"))[k - 1 :] and logs[k - 1].saved[1])
        interrupt(study, worker)
    assert record(study, lane=0).failure == "user error"
    assert record(study, lane=0).attempts == 1
    assert record(study, lane=1).failure == "preempted"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "experiment 'toy.params:EXP' cannot be loaded"),
        ({**PLAIN, "toy/params.py": "EXP = 1"}, "toy.params:EXP is a int, not an orchestrator.experiment.Experiment"),
        ({**PLAIN, "toy/params.py": "1 +"}, "SyntaxError"),
        ({**PLAIN, "toy/train.py": "import nowhere"}, "No module named 'nowhere'"),
        ({**PLAIN, "toy/train.py": ""}, "has no attribute 'train'"),
        ({**PLAIN, "toy/params.py": PARAMS.replace('"run"', '"run", version=2')}, "has version 2 here and version 1"),
    ],
)
def test_an_experiment_that_cannot_be_loaded_is_a_user_error(tmp_path, files, said):
    study = plain_study(tmp_path, files, [{}, {}], tasks=[[0, 1]])
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    for failure in log.failures:
        assert failure["class"] == "user error"
        assert said in failure["message"]
    assert said in stderr(study)
    assert log.end in ("user error", "finished")


def test_parameters_that_are_refused_are_a_user_error_of_that_run(tmp_path):
    strict = PARAMS.replace("steps: Lane[int] = 20", "steps: Lane[Annotated[int, Field(lt=50)]] = 20")
    files = {**PLAIN, "toy/params.py": "from typing import Annotated\nfrom pydantic import Field\n" + strict}
    study = plain_study(tmp_path, files, [{"steps": 99}, {"steps": 5}], tasks=[[0, 1]])
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert log.failures[0]["class"] == "user error"
    assert "steps: Input should be less than 50" in log.failures[0]["message"]
    assert log.failures[0]["traceback"] == ""
    assert "Traceback" not in stderr(study)
    assert log.verdicts[1] == ("done", 4)


def test_other_packages_than_the_submission_had_are_refused(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{}])
    digest = study.record_packages({"python": "2.7", "torch": "0.1"})
    study = plain_study(tmp_path / "other", PLAIN, [{}], packages=digest)
    study.record_packages({"python": "2.7", "torch": "0.1"})
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert (log.end, log.failures[0]["class"]) == ("environment", "engine")
    assert "instead of" in stderr(study)
    allowing = {"resources": {"allow": ["env-change"]}}
    study = plain_study(tmp_path / "allowed", PLAIN, [{}], packages=digest, **allowing)
    study.record_packages({"python": "2.7", "torch": "0.1"})
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert (log.end, log.verdicts[0][0]) == ("finished", "done")


# --- ownership --------------------------------------------------------------------------------------------------------


def test_a_cancelled_run_is_left_at_once(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW])
    worker = start_worker(study, "1-0")
    eventually(lambda: begun(study))
    study.publish(Submission(2, "cancel", generation=1, cancel="all"))
    os.kill(worker.pid, signal.SIGUSR1)  # look now, not at the next beat
    worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert study.incarnations("1-0")[0].end == "cancelled"
    assert record(study).cancelled


def test_a_superseded_worker_leaves_and_writes_no_checkpoint(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW])
    worker = start_worker(study, "1-0")
    eventually(lambda: begun(study))
    entry = Submission(2, generation=1, tasks=(TaskSpec("2-0", [[0, 1, 1]], 1),), arrays=((0, 1),))
    study.publish(entry)
    study.begin("2-0")
    os.kill(worker.pid, signal.SIGUSR1)
    worker.communicate(timeout=60)
    assert study.incarnations("1-0")[0].end == "superseded"


def test_an_incarnation_that_comes_second_wins(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW])
    first = start_worker(study, "1-0")
    eventually(lambda: begun(study))
    second = start_worker(study, "1-0")
    eventually(lambda: begun(study, k=2))
    os.kill(first.pid, signal.SIGUSR1)
    first.communicate(timeout=60)
    interrupt(study, second)
    assert [log.end for log in study.incarnations("1-0")] == ["superseded", "interrupted"]


def test_a_task_all_of_whose_runs_are_cancelled_ends_before_it_begins(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW])
    study.publish(Submission(2, "cancel", generation=1, cancel="all"))
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert (log.end, log.restored) == ("cancelled", [None])


def test_a_task_that_does_not_exist_is_a_sentence(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{}])
    worker = start_worker(study, "1-7")
    _, said = worker.communicate(timeout=60)
    assert worker.returncode == 1
    assert b"has 1 tasks, none called 1-7" in said
    assert b"Traceback" not in said


def test_a_worker_does_not_outlive_the_one_that_started_it(tmp_path):
    import subprocess
    import sys

    from orchestrator.clusters.base import WORKER, python_command

    study = plain_study(tmp_path, PLAIN, [SLOW])
    code = study.code_dir(study.chain()[0].code)
    command = python_command(code, WORKER, study.path, "1-0", "job")
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import os, subprocess; subprocess.run({command!r} + [str(os.getpid())])"]
    )
    eventually(lambda: begun(study))
    parent.kill()
    parent.wait()
    eventually(lambda: study.incarnations("1-0")[0].end == "interrupted")


def test_children_forked_by_user_code_can_be_terminated(tmp_path):
    train = TRAIN + (
        "\n_train = train\n"
        "def train(run):\n"
        "    import multiprocessing\n"
        "    for _ in range(20):\n"
        "        child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(20,))\n"
        "        child.start(); child.terminate(); child.join()\n"
        "        if child.exitcode != -signal.SIGTERM: raise ValueError(f'exit code {child.exitcode}')\n"
        "    _train(run)\n"
    )
    study = plain_study(tmp_path, {**PLAIN, "toy/train.py": train}, [{"steps": 3}])
    assert work(study) == 0
    assert record(study).outcome == "done", stderr(study)


def test_a_full_disk_is_the_machines_fault(tmp_path):
    train = TRAIN.replace(
        "def train(run):",
        "def train(run):\n"
        "    import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))",
    )
    study = plain_study(tmp_path, {**PLAIN, "toy/train.py": train}, [{"steps": 5000, "pause": 0.0}])
    assert work(study) == 0
    [log] = study.incarnations("1-0")
    assert log.end == "disk"
    assert record(study).failure == "disk"


def test_heartbeats_are_counted(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW])
    worker = start_worker(study, "1-0")
    eventually(lambda: begun(study))
    _, before = study.heartbeat("1-0")
    os.kill(worker.pid, signal.SIGUSR1)
    eventually(lambda: study.heartbeat("1-0")[1] > before)
    interrupt(study, worker)


def test_progress_is_told_of(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{**SLOW, "pause": 0.001}], resources={"checkpoint": "1h"})
    worker = start_worker(study, "1-0")
    eventually(lambda: study.incarnations("1-0") and study.incarnations("1-0")[0].progress[0])
    interrupt(study, worker)
    told = [r for r in study.incarnations("1-0", keep_records=True)[0].records if r["t"] == "progress"]
    assert all(r["elapsed"] > 0 for r in told)
    assert np.all(np.diff([r["steps"] for r in told]) > 0)
    assert time.monotonic() > 0
