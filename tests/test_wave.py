"""The steward as a job: it goes on with a study whatever the scheduler does, and leaves no study without anybody."""

from __future__ import annotations

import os
import signal

import pytest

from orchestrator.clusters.base import Here, LimitReached
from orchestrator.errors import ExitCode, UserError
from orchestrator.steward import wave
from orchestrator.study.study import Study
from orchestrator.submit import Request, submit
from tests.study.studies import FakeCluster, make_points, make_wanted, start


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
    """Let the newest steward come, and say whether it exported; ``during`` its export, do something."""
    before = signal.getsignal(signal.SIGUSR2)

    def begin(cluster, during=lambda: None):
        finished = []
        monkeypatch.setattr(wave, "clusters_of", lambda _: cluster)
        monkeypatch.setattr(wave, "finish", lambda study: (finished.append(study), during()))
        monkeypatch.chdir(study.path)
        k = max(study.stewards())
        cluster.stewards[f"steward{k}"] = "running"
        assert wave.main([str(study.path), str(k)]) == 0
        cluster.stewards[f"steward{k}"] = "gone"
        return bool(finished)

    yield begin
    signal.signal(signal.SIGUSR2, before)


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


def test_where_its_time_ends_before_it_is_done_it_is_started_again_a_few_times(study, come, capsys):
    class Timed(FakeCluster):
        here_again = 0

        def here(self):
            return Here(f"steward{max(study.stewards())}", 0)

        def requeue(self, here):
            assert here == self.here()
            self.here_again += 1
            return True

    def warn():
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)

    cluster = Timed()
    waves(cluster, study)
    cluster.work(study, "job1")
    for times in range(1, wave.AGAIN + 1):
        assert come(cluster, warn)
        assert cluster.here_again == times
    assert come(cluster, warn)
    assert cluster.here_again == wave.AGAIN
    assert "give it more" in capsys.readouterr().err


def test_where_it_is_not_started_again_it_says_what_to_do(study, come, capsys):
    cluster = FakeCluster()
    waves(cluster, study)
    cluster.work(study, "job1")
    assert come(cluster, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    assert "orch export s" in capsys.readouterr().err


def test_after_a_probe_that_failed_it_says_so(study, come, capsys):
    cluster = FakeCluster()
    wanted = make_wanted(make_points(4), resources={"lanes": 1, "retries": 2})
    submit(study, wanted, cluster, Request(probe=50), clusters=cluster)
    begun = start(study, "1-0")
    begun.write("failed", lanes=[0], message="ValueError: no", signature="x", **{"class": "user error"})
    begun.write("end", reason="finished")
    cluster.states["job1"] = "gone"
    assert come(cluster)
    assert "the probe failed" in capsys.readouterr().err
