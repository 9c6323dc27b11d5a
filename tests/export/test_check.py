"""The check of series finds holes, doubles and early ends in what should be whole, and nothing else."""

from __future__ import annotations

import pytest

from export.check import series
from orchestrator.study.study import Study
from tests.export.events import scalar
from tests.export.studies import STEPS, begin, end, finish, finished_study, log, make_study, submit
from tests.worker.helpers import PLAIN, plain_study, work


@pytest.fixture
def study(tmp_path):
    return finished_study(tmp_path)


def texts(study):
    return [finding.text for finding in series(Study(study.path)).findings]


def event_file(study, lane):
    (path,) = study.events_dir(study.generation().runs[lane]).iterdir()
    return path


def test_whole_series_are_whole(study):
    found = series(study)
    assert (found.findings, found.rows) == ([], 12 * len(STEPS) * 4)
    assert not (study.path / "tables").exists()  # nothing is written


def test_a_restarted_run_has_one_row_per_step(tmp_path):
    study = make_study(tmp_path)
    first = submit(study)
    lanes = range(len(first.task.runs))
    for lane in lanes:
        log(study, first, lane, range(0, 40, 10))
    end(first, "interrupted")
    second = begin(study, "1-0", 10)
    for lane in lanes:
        log(study, second, lane, range(20, 50, 10), mark=11)
    finish(second)
    end(second)
    assert texts(study) == []


def test_an_early_end_is_found(study):
    path = event_file(study, 3)
    path.write_bytes(path.read_bytes()[: -4 * len(scalar("loss/train", 40, 1.0))])
    text = f"its verdict is of step {STEPS[-1]}, and its series end at step 30"
    assert text in texts(study)


def test_a_verdict_between_two_log_points_is_no_early_end(tmp_path):
    study = make_study(tmp_path)
    incarnation = submit(study)
    for lane in range(len(incarnation.task.runs)):
        log(study, incarnation, lane, STEPS)
    finish(incarnation, range(6), step=49)
    finish(incarnation, range(6, 12), step=50, outcome="diverged")
    end(incarnation)
    assert texts(study) == []
    assert series(study).rows


def test_a_hole_and_a_double_are_found(study):
    path = event_file(study, 3)
    data = path.read_bytes()
    row = scalar("loss/train", 20, 1.0)
    assert data.count(row) == 1
    path.write_bytes(data.replace(row, b""))
    assert texts(study) == ["its series 'loss/train' has a hole between steps 10 and 30"]
    path.write_bytes(data.replace(row, row + row))
    assert texts(study) == ["its series 'loss/train' has two rows of step 20"]


def test_a_lost_beginning_and_a_lost_file_are_found(study):
    path = event_file(study, 3)
    row = scalar("loss/train", 0, 1.0)
    path.write_bytes(path.read_bytes().replace(row, b""))
    assert texts(study) == ["its series 'loss/train' begins at step 10"]
    path.unlink()
    assert texts(study) == ["it has a verdict at step 40 and no events"]


def test_ordinary_code_logs_what_it_likes(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 7}, {"steps": 9, "fail_at": 3, "how": "diverge"}], tasks=[[0, 1]])
    assert work(study) == 0
    assert texts(study) == []
    path = event_file(study, 0)
    path.write_bytes(path.read_bytes()[:-40])
    assert "its verdict is of step 6, and its series end at step 5" in texts(study)


def test_a_study_without_results_has_nothing_to_check(tmp_path):
    study = make_study(tmp_path)
    assert series(study) == ([], 0)
    submit(study)
    assert series(study) == ([], 0)
