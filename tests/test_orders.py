"""What is to be trained again and does not go with one entry is an order: it is kept, followed, or taken back."""

from __future__ import annotations

import pytest

from orchestrator.cancel import cancel
from orchestrator.study.study import Study
from orchestrator.submit import Request, advance
from orchestrator.view.explain import explain
from orchestrator.view.overview import observe
from orchestrator.view.table import advice
from tests.study.studies import FakeCluster, finish, ids, make_points, make_wanted, save, start
from tests.test_submit import go, wave_by_wave, work_off

COUNT = 6
POINTS = make_points(COUNT)


@pytest.fixture
def study(tmp_path):
    return Study.create(tmp_path, "s")


def single(points=POINTS, **fields):
    return make_wanted(points, resources={"lanes": 1, "workers": 1, "retries": 2, "memory": "2G"}, **fields)


def fail(study, task):
    work = start(study, task)
    save(work, 50)
    work.write("failed", lanes=[0], message="m", signature="s", **{"class": "user error"})
    work.write("end", reason="finished")


def failed(study, cluster, wanted, tasks=range(COUNT)):
    """Submit, and let tasks fail."""
    go(study, wanted, cluster)
    for task in tasks:
        fail(study, f"1-{task}")
    if len(tasks) == COUNT:
        cluster.states["job1"] = "gone"


def counts(study):
    return study.history().counts(ids(POINTS), set())


def ordered(study):
    return {run for run, record in study.history().runs.items() if record.ordered}


def test_an_order_is_kept_where_there_is_no_room_at_all(study):
    cluster = FakeCluster()
    failed(study, cluster, single(), range(3))
    cluster.max_jobs = COUNT
    result = go(study, single(), cluster, Request(retry="all", uncancel=False))
    assert [entry.kind for entry in result.published] == ["order"]
    assert not go(study, single(), cluster, Request(retry="all", uncancel=False)).published  # said once
    cluster.max_jobs = None
    for task in range(3, COUNT):
        finish(start(study, f"1-{task}"))
    cluster.states["job1"] = "gone"
    wave_by_wave(study, cluster)
    assert counts(study)["done"] == COUNT


def test_cancelled_runs_are_taken_up_where_there_was_no_room(study):
    cluster = FakeCluster()
    go(study, single(), cluster)
    cancel(study, ids(POINTS)[:3], cluster, ())
    cluster.max_jobs = COUNT
    assert go(study, single(), cluster).plan.waiting
    cluster.max_jobs = None
    for task in range(3, COUNT):
        finish(start(study, f"1-{task}"))
    cluster.states["job1"] = "gone"
    wave_by_wave(study, cluster)
    assert counts(study)["done"] == COUNT


@pytest.mark.parametrize("named", [False, True])
def test_an_order_is_taken_back(study, named):
    cluster = FakeCluster()
    go(study, single(), cluster)
    work_off(study, cluster)
    cluster.max_jobs = 3
    go(study, single(source="s2"), cluster, Request(rerun_stale=True))
    assert len(ordered(study)) == COUNT - 2
    work_off(study, cluster)
    assert cancel(study, ordered(study) if named else "all", cluster, ()) is not None
    cluster.max_jobs = None
    assert not advance(study, cluster, cluster).published
    assert counts(study)["done"] == COUNT  # the earlier results


def test_runs_that_leave_the_grid_are_ordered_no_more(study):
    cluster = FakeCluster()
    go(study, single(), cluster)
    work_off(study, cluster)
    cluster.max_jobs = 3
    go(study, single(source="s2"), cluster, Request(rerun_stale=True))
    fewer = single(make_points(2), text="fewer", source="s2")
    go(study, fewer, cluster, Request(shrink="prune"))
    assert ordered(study) <= set(ids(make_points(2)))


def test_from_nothing_goes_beyond_a_new_budget(study):
    cluster = FakeCluster()
    failed(study, cluster, single())
    cluster.max_jobs = 3
    go(study, single(), cluster, Request(retry="all", uncancel=False))
    work_off(study, cluster)
    cluster.max_jobs = None
    chosen = frozenset(ordered(study))
    assert len(chosen) == COUNT - 2
    result = go(study, single(), cluster, Request(retry=chosen, rerun=chosen, uncancel=False))
    assert len(result.plan.rerun) == COUNT - 2


def test_an_array_that_was_refused_and_cancelled_is_not_handed_over_for_an_order(study):
    cluster = FakeCluster(refuse=True)
    go(study, single(), cluster)
    cancel(study, "all", cluster, ())
    cluster.refuse, cluster.max_jobs = False, 3
    go(study, single(), cluster)
    cluster.max_jobs = 20
    assert (1, 0) not in [(job.n, job.array) for job in advance(study, cluster, cluster).jobs]


class Killed(BaseException):
    """The end of a process."""


def test_killed_between_two_batches_all_of_a_retry_comes(study, monkeypatch):
    cluster = FakeCluster()
    points = make_points(3, ["nmru", "nru"])
    points.resources, points.resources_by = [{}, {"cpus": 2}], "layer"
    go(study, single(points), cluster)
    for entry in study.chain():
        for task in entry.tasks:
            fail(study, task.name)
    cluster.states = dict.fromkeys(cluster.states, "gone")
    real = Study.publish

    def publish(self, entry):
        if entry.kind == "submit":
            raise Killed
        return real(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(Study, "publish", publish)
        with pytest.raises(Killed):
            go(study, single(points), cluster, Request(retry="all", uncancel=False))
    go(study, single(points), cluster)
    wave_by_wave(study, cluster)
    assert {record.outcome for record in study.history().runs.values()} == {"done"}


@pytest.mark.parametrize("how", ["stale", "cancelled"])
def test_after_a_probe_that_passed_all_of_it_comes(study, how):
    cluster = FakeCluster()
    go(study, single(), cluster)
    if how == "stale":
        work_off(study, cluster)
    else:
        cancel(study, "all", cluster, ())
        cluster.states["job1"] = "gone"
    wanted = single(source="s2")
    result = go(study, wanted, cluster, Request(rerun_stale=True, probe=50))
    assert [entry.kind for entry in result.published] == ["order", "submit"]
    for task in result.published[1].tasks:
        work = start(study, task.name)
        save(work, 60)
        work.write("end", reason="probed")
    cluster.states["job2"] = "gone"
    wave_by_wave(study, cluster)
    records = study.history().runs.values()
    assert {(record.outcome, record.code) for record in records} == {("done", "s2")}


def test_the_usual_retry_needs_no_order(study):
    cluster = FakeCluster()
    failed(study, cluster, single())
    result = go(study, single(), cluster, Request(retry="all", uncancel=False))
    assert [entry.kind for entry in result.published] == ["submit"]


def test_after_a_probe_that_failed_it_waits_with_a_reason_until_somebody_mends_it(study):
    cluster = FakeCluster()
    go(study, single(), cluster)
    work_off(study, cluster)
    go(study, single(source="s2"), cluster, Request(rerun_stale=True, probe=50))
    for task in study.chain()[-1].tasks:
        fail(study, task.name)
    cluster.states["job2"] = "gone"
    assert not advance(study, cluster, cluster).published
    waiting = COUNT - 2
    assert counts(study)["waiting"] == waiting
    seen = observe(study, cluster)
    assert seen.probe.again == waiting
    assert any(f"{waiting} runs to be trained again wait for that" in line for line in advice(seen))
    told = explain(study, next(iter(ordered(study))), cluster)
    assert "the probe before it failed" in told.why
    assert "orch retry s" in told.mend
    go(study, single(source="s2"), cluster, Request(retry="all", uncancel=False))
    wave_by_wave(study, cluster)
    assert counts(study)["done"] == COUNT
