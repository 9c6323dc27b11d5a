"""The steward as a job: it goes on with a study whatever the scheduler does, and leaves no study without anybody."""

from __future__ import annotations

import pytest

from orchestrator.clusters.base import LimitReached
from orchestrator.errors import ExitCode, UserError
from orchestrator.steward import wave
from orchestrator.study.study import Study
from orchestrator.submit import submit
from tests.study.studies import FakeCluster, make_points, make_wanted


@pytest.fixture
def study(tmp_path):
    return Study.create(tmp_path, "s")


@pytest.fixture
def pauses(monkeypatch):
    """Pauses take no time: what happens meanwhile is what a test puts into the list, a function for each pause."""
    happens = []
    monkeypatch.setattr(wave.time, "sleep", lambda _: happens.pop(0)())
    return happens


@pytest.fixture
def come(study, monkeypatch):
    """Let the newest steward come, and say whether it exported."""

    def begin(cluster):
        finished = []
        monkeypatch.setattr(wave, "clusters_of", lambda _: cluster)
        monkeypatch.setattr(wave, "finish", finished.append)
        monkeypatch.chdir(study.path)
        k = max(study.stewards())
        cluster.stewards[f"steward{k}"] = "running"
        assert wave.main([str(study.path), str(k)]) == 0
        cluster.stewards[f"steward{k}"] = "gone"
        return bool(finished)

    return begin


def waves(cluster, study):
    submit(study, make_wanted(make_points(4), resources={"lanes": 1, "retries": 2}), cluster, clusters=cluster)


def test_a_scheduler_that_is_away_does_not_end_it(study, pauses, come):
    class Away(FakeCluster):
        away = False

        def poll(self, jobs):
            if self.away:
                raise UserError("it does not answer", exit_code=ExitCode.SCHEDULER_UNREACHABLE)
            return super().poll(jobs)

    cluster = Away(max_jobs=3)
    waves(cluster, study)
    cluster.work(study, "job1")
    cluster.away = True
    pauses += [lambda: None, lambda: setattr(cluster, "away", False)]
    assert not come(cluster)
    assert not pauses
    assert max(study.stewards()) == 2
    assert "job3" in cluster.jobs


def test_it_stays_until_it_could_leave_a_successor(study, pauses, come):
    class Strict(FakeCluster):
        closed = False

        def steward(self, study, k, resources, after):
            if self.closed:
                raise LimitReached("the queue is full")
            return super().steward(study, k, resources, after)

    cluster = Strict(max_jobs=3)
    waves(cluster, study)
    cluster.work(study, "job1")
    cluster.closed = True
    pauses += [lambda: None, lambda: setattr(cluster, "closed", False)]
    assert not come(cluster)
    assert not pauses
    [successor] = [job_id for job_id, state in cluster.stewards.items() if state == "pending"]
    assert successor == f"steward{max(study.stewards())}"


def test_it_gives_up_in_the_end_and_exports(study, pauses, come, monkeypatch):
    cluster = FakeCluster(max_jobs=3)
    waves(cluster, study)
    for job_id in list(cluster.jobs):
        cluster.work(study, job_id)
    cluster.max_jobs = 1  # what others have there leaves no room
    monkeypatch.setattr(wave, "PATIENCE", -1.0)
    assert come(cluster)
