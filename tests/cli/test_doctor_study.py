"""``orch doctor STUDY``: a sentence where all is well, findings and exit code 1 where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator.study.study import Study
from tests.study.studies import save, start
from tests.worker.helpers import PLAIN, plain_study, start_worker

Orch = Callable[..., Result]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = plain_study(tmp_path, PLAIN, [{"steps": 6}, {"steps": 8}], tasks=[[0, 1]])
    made.take(1, 0, "job")
    assert start_worker(made, "1-0").wait(timeout=180) == 0
    return made


def test_a_study_in_order(orch: Orch, study: Study) -> None:
    done = orch("doctor", str(study.path))
    assert done.return_value == 0, done.output
    said = "nothing was lost, nothing trained twice: 2 runs, 2 attempts and 28 rows of finished runs checked"
    assert said in done.stdout
    data = json.loads(orch("doctor", str(study.path), "--json").stdout)
    assert data == {
        "schema": 1, "study": "toy", "holds": True, "runs": 2, "attempts": 2, "rows": 28, "findings": [],
    }  # fmt: skip


def test_a_study_that_contradicts_itself(orch: Orch, study: Study) -> None:
    stranger = study.begin("1-0")
    stranger.write("begin", host="here", pid=1, job="7_0")
    stranger.write("restored", lanes=[0], steps=4)
    done = orch("doctor", str(study.path))
    assert done.return_value == 1
    assert "gap" in done.stdout
    assert "went on from step 4, which no checkpoint that counts holds" in done.stdout
    assert "job 7_0 worked on it, and its array was taken by job job" in done.stdout
    assert "contradictions in the history of study 'toy'" in done.stdout
    data = json.loads(orch("doctor", str(study.path), "--json").stdout)
    assert {"gap", "owner", "twice"} == {finding["fault"] for finding in data["findings"]}
    assert [f["certain"] for f in data["findings"] if f["fault"] == "twice"] == [False]


def test_series_are_part_of_it(orch: Orch, study: Study) -> None:
    (path,) = study.events_dir(study.generation().runs[1]).iterdir()
    path.write_bytes(path.read_bytes()[:-90])
    done = orch("doctor", str(study.path))
    assert done.return_value == 1
    assert "its series end at step" in done.stdout


def test_late_verdicts_are_told_and_are_no_contradiction(orch: Orch, tmp_path: Path) -> None:
    study = plain_study(tmp_path, {}, [{}], code="")
    study.take(1, 0, "job")
    first = start(study, "1-0")
    save(first, 5)
    second = start(study, "1-0")
    first.write("verdict", lanes=[0], outcome="done", steps=19)
    second.write("end", reason="interrupted")
    done = orch("doctor", str(study.path))
    assert done.return_value == 0, done.output
    assert "(1 late verdict cut off)" in done.stdout


def test_a_study_is_checked_by_itself(orch: Orch, study: Study) -> None:
    done = orch("doctor", str(study.path), "--cluster", "local")
    assert "checked by itself" in str(done.exception)
