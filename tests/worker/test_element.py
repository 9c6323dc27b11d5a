"""One element of an array: real processes, and a scheduler that does what the test says."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from orchestrator.clusters.base import python_command
from tests.worker.helpers import PLAIN, eventually, plain_study, series

SLOW = {"steps": 10**9, "pause": 0.001}
HOME = Path(__file__).parents[2]


@pytest.fixture
def begin():
    """Start an element of a study's only array; all have ended when the test has."""
    started = []

    def start(study, element=0, job="7", **variables):
        command = python_command(HOME, "tests.worker.stub:main", study.path, 1, 0)
        process = subprocess.Popen(
            command,
            env={**os.environ, "STUB_JOB": job, "STUB_ELEMENT": str(element), **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def cluster_study(folder, rows, **entry):
    fields = {"cluster": "slurm", "scheduler": "slurm", **entry}
    return plain_study(folder, PLAIN, rows, **fields)


def end(process, status=0):
    _, told = process.communicate(timeout=120)
    assert process.returncode == status, told
    assert "Traceback" not in told
    return told


def ends(study):
    return {spec.name: [log.end for log in study.incarnations(spec.name)] for spec in study.submission(1).tasks}


def test_an_element_trains_its_own_tasks_side_by_side(tmp_path, begin):
    study = cluster_study(tmp_path, [{"steps": 5}] * 5, per_job=2)
    end(begin(study, 1))
    assert ends(study) == {"1-0": [], "1-1": [], "1-2": ["finished"], "1-3": ["finished"], "1-4": []}
    assert study.owner(1, 0) == "7"
    assert {log.begin["job"] for log in study.incarnations("1-2")} == {"7_1"}
    end(begin(study, 2))
    assert ends(study)["1-4"] == ["finished"]


def test_another_job_for_the_same_array_is_superseded(tmp_path, begin):
    study = cluster_study(tmp_path, [{"steps": 5}])
    assert study.take(1, 0, "6")
    assert "superseded: array 0 of submission 1 is served by job 6" in end(begin(study))
    assert ends(study) == {"1-0": []}


def test_at_the_end_of_its_slice_it_is_started_again_and_the_series_does_not_show_it(tmp_path, begin):
    whole = cluster_study(tmp_path / "whole", [{"steps": 400}])
    end(begin(whole))
    study = cluster_study(tmp_path / "cut", [{"steps": 400, "pause": 0.002}])
    mark = tmp_path / "requeued"
    process = begin(study, STUB_REQUEUED=str(mark))
    [run] = study.task("1-0").runs
    eventually(lambda: study.history().runs[run].saved > 3)
    process.send_signal(signal.SIGUSR2)
    end(process)
    assert mark.read_text() == "7_0"
    assert ends(study) == {"1-0": ["requeued"]}
    assert "1-0" not in study.history().ended
    end(begin(study))
    assert ends(study) == {"1-0": ["requeued", "finished"]}
    assert series(study, run) == series(whole, whole.task("1-0").runs[0])


def test_where_the_scheduler_refuses_to_start_it_again_the_next_plan_does(tmp_path, begin):
    study = cluster_study(tmp_path, [SLOW])
    process = begin(study)
    [run] = study.task("1-0").runs
    eventually(lambda: study.history().runs[run].saved > 0)
    process.send_signal(signal.SIGUSR2)
    end(process)
    assert ends(study) == {"1-0": ["requeued", "timeout"]}
    record = study.history().runs[run]
    assert (record.failure, record.message[:21]) == ("timeout", "its time slice ended,")
    assert "1-0" in study.history().ended


def test_its_own_clock_ends_the_slice(tmp_path, begin):
    # The warning comes 30 seconds before the limit, or earlier: of 31 seconds, one is left.
    study = cluster_study(tmp_path, [SLOW], resources={"time": "31s"})
    end(begin(study, STUB_REQUEUED=str(tmp_path / "requeued")))
    assert ends(study) == {"1-0": ["requeued"]}


def test_term_ends_the_workers_and_asks_for_nothing(tmp_path, begin):
    study = cluster_study(tmp_path, [SLOW, SLOW], per_job=2)
    mark = tmp_path / "requeued"
    process = begin(study, STUB_REQUEUED=str(mark))
    runs = [run for spec in study.submission(1).tasks for run in study.task(spec.name).runs]
    eventually(lambda: all(study.history().runs[run].step > 0 for run in runs))
    process.terminate()
    end(process)
    assert ends(study) == {"1-0": ["interrupted"], "1-1": ["interrupted"]}
    assert set(study.restore_points(runs)) == set(runs)
    assert not mark.exists()


def test_a_worker_that_dies_without_a_word_is_spoken_for_at_once(tmp_path, begin):
    study = cluster_study(tmp_path, [{"steps": 9, "fail_at": 4, "how": "kill"}, SLOW], per_job=2)
    process = begin(study)
    eventually(lambda: ends(study)["1-0"] == [None, "lost"])
    assert process.poll() is None  # its neighbour goes on
    assert study.incarnations("1-0")[1].why == "its process died without a word: signal 9"
    process.terminate()
    end(process)
    record = study.history().runs[study.task("1-0").runs[0]]
    assert record.used == {"lost": 1}


def test_a_copy_that_was_cut_off_does_not_speak_for_the_one_that_goes_on(tmp_path, begin):
    study = cluster_study(tmp_path, [SLOW])
    cut_off = begin(study)
    [run] = study.task("1-0").runs
    eventually(lambda: study.history().runs[run].saved > 3)
    other = begin(study)  # the scheduler started the element again
    end(cut_off)
    assert ends(study) == {"1-0": ["superseded", None]}
    assert other.poll() is None
    other.terminate()
    end(other)
    assert ends(study) == {"1-0": ["superseded", "interrupted"]}
    assert study.history().runs[run].used == {"preempted": 1}


def test_started_again_it_leaves_alone_what_has_ended(tmp_path, begin):
    study = cluster_study(tmp_path, [{"steps": 5}, {"steps": 9, "fail_at": 4}, {"steps": 5}], per_job=3)
    end(begin(study))
    end(begin(study))
    assert ends(study) == {"1-0": ["finished"], "1-1": ["finished"], "1-2": ["finished"]}


def test_a_job_that_did_not_ask_for_accelerators_sees_none(tmp_path, monkeypatch):
    from orchestrator.worker.element import slots

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    without = cluster_study(tmp_path / "a", [{}] * 3, per_job=3, resources={"gpus": 0})
    assert slots(without.submission(1)) == [{"CUDA_VISIBLE_DEVICES": ""}] * 3
    packed = cluster_study(tmp_path / "b", [{}] * 3, per_job=3, resources={"gpus": 2})
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(packed.submission(1))] == ["2", "5", "2"]


def test_a_process_that_is_no_job_is_told_so(tmp_path):
    study = cluster_study(tmp_path, [{}])
    command = python_command(HOME, "tests.worker.stub:main", study.path, 1, 0)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "this process is no job of slurm" in done.stderr
