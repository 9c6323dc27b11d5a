"""A study whose steward is on another machine: what lives there is left alone, what is dead is taken over."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator import submit
from orchestrator.cli.submit import silent_elsewhere
from orchestrator.liveness import elsewhere
from orchestrator.study import watch
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.view.overview import observe
from tests.study.studies import FakeCluster
from tests.worker.helpers import plain_study

Orch = Callable[..., Result]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Two tasks that a machine called far has in hand; one has begun."""
    monkeypatch.setattr(watch, "PATIENCE", 0.01)
    made = plain_study(tmp_path, {}, [{}, {}], code="")
    job = Job(1, 0, "local", "far:7:1", "far")
    assert made.take(1, 0, job.job_id)
    made.record_job(1, 0, job)
    return made


@contextmanager
def beating(study: Study):
    incarnation, ended = study.begin("1-0"), threading.Event()

    def beat() -> None:
        while not ended.wait(0.02):
            incarnation.beat()

    thread = threading.Thread(target=beat)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_what_lives_elsewhere_is_left_alone(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    with beating(study):
        assert silent_elsewhere(study) == frozenset()
    assert "far is at work on 2 tasks" in capsys.readouterr().err


def test_what_is_dead_elsewhere_is_taken_over(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    study.begin("1-0")
    silent = silent_elsewhere(study)
    assert silent == {"1-0", "1-1"}
    said = capsys.readouterr().err
    assert "far has tasks of study 'toy' in hand and cannot be asked from here: watching their heartbeats" in said
    assert "far gave no sign of life" in said
    here = FakeCluster("local", kind="local")
    left = submit.submit(study, submit.again(study, frozen=True), here, clusters=here_or_there(here), argv=())
    assert not left.published  # nobody said that it is dead
    taken = submit.submit(
        study, submit.again(study, frozen=True), here, clusters=here_or_there(here), argv=(), gone=silent
    )
    assert [entry.n for entry in taken.published] == [2]
    assert {record.n for record in study.history().runs.values()} == {2}
    runs = study.task("1-0").runs
    assert study.superseded(study.begin("1-0"), runs) == {0}  # should it wake


def here_or_there(here: FakeCluster):
    """The machine at hand does not know of other machines' processes."""

    class Machine(FakeCluster):
        def poll(self, jobs):
            return {job.job_id: "unknown" if job.host == "far" else "pending" for job in jobs}

        def submit(self, study, submission, array):
            return here.submit(study, submission, array)

    machine = Machine("local", kind="local")
    return lambda name: machine


def test_nobody_waits_where_all_is_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plain_study(tmp_path, {}, [{}], code="")
    monkeypatch.setattr(watch.HeartbeatWatch, "look", lambda *_: pytest.fail("it was watched"))
    assert silent_elsewhere(made) == frozenset()


def test_status_says_in_whose_hands_they_are(study: Study, orch: Orch) -> None:
    done = orch("status", str(study.path))
    assert "2 tasks are in the hands of far, which cannot be asked from here" in done.stdout
    assert "`orch submit` here watches their heartbeats and takes them over" in done.stdout
    assert observe(study).elsewhere == {"far": 2}
    assert json.loads(orch("status", str(study.path), "--json").stdout)["elsewhere"] == {"far": 2}


def test_a_job_that_was_recorded_while_we_looked_is_not_elsewhere(study: Study) -> None:
    """Nobody was asked about it."""
    assert elsewhere(study, study.history(), {}) == {}
    assert elsewhere(study, study.history(), {"far:7:1": "unknown"}).keys() == {"far:7:1"}


def test_watching_ends_when_nobody_is_left(study: Study, orch: Orch) -> None:
    """The other machine is silent for too long: what waits, waits for the next submit."""
    done = orch("watch", str(study.path), "--interval", "0.1")
    assert "2 runs wait for your next `orch submit`" in done.stdout
    assert "far" not in done.stdout.splitlines()[-1]
