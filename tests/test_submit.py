"""Submitting may die at any instruction, be started twice, and be repeated: no run is lost, none is trained twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator import identity
from orchestrator.cancel import cancel
from orchestrator.cli.submit import exit_code
from orchestrator.clusters.base import Evidence
from orchestrator.errors import ExitCode, UserError
from orchestrator.plan import more_memory
from orchestrator.policy import AWAY
from orchestrator.study import atomic
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.submit import Request, advance, again, complete, prepare, submit
from tests.study.studies import FakeCluster, finish, ids, make_points, make_wanted, save, start


@pytest.fixture
def study(tmp_path):
    return Study.create(tmp_path, "s")


@pytest.fixture
def cluster():
    return FakeCluster()


def go(study, wanted, cluster, request=None, **options):
    return submit(study, wanted, cluster, request, clusters=cluster, argv=("orch", "submit"), **options)


def work_off(study, cluster):
    """Let every job run, the last first, and return how often each run was trained."""
    for job_id in reversed(list(cluster.jobs)):
        if cluster.states[job_id] != "gone":
            cluster.work(study, job_id)
    return {run: record.attempts for run, record in study.history().runs.items()}


def live_owners(study, cluster):
    """How many live tasks name each run and would train it."""
    history = study.history()
    states = cluster.poll(study.jobs())
    alive = study.alive(history, states) | history.unhanded
    return Counter(run for run, record in history.runs.items() if record.task in alive and not record.cancelled)


# --- the usual road ---------------------------------------------------------------------------------------------------


def test_submit_and_submit_again(study, cluster):
    wanted = make_wanted(make_points(20, ["nmru", "nru"]))
    result = go(study, wanted, cluster)
    assert result.plan is not None
    assert result.plan.cost.runs == 40
    (entry,) = result.published
    assert (entry.n, entry.kind, entry.generation, entry.code, entry.source) == (1, "submit", 1, "c0de", "s1")
    assert entry.argv == ("orch", "submit")
    assert entry.tag.startswith("orch-s-1-")
    assert study.packages(entry.packages) == {"python": "3"}
    assert study.jobs() == result.jobs == [Job(1, 0, "fake", "job1")]
    second = go(study, wanted, cluster)
    assert not second.published
    assert len(second.plan.live) == 40
    assert set(work_off(study, cluster).values()) == {1}
    third = go(study, wanted, cluster)
    assert len(third.plan.keep) == 40
    assert not third.published


def test_a_grown_grid_submits_the_difference(study, cluster):
    go(study, make_wanted(make_points(5)), cluster)
    result = go(study, make_wanted(make_points(8), text="study: s # more"), cluster)
    assert result.plan.cost.runs == 3
    assert result.published[0].generation == 2
    assert set(work_off(study, cluster).values()) == {1}
    assert set(study.history().runs) == set(ids(make_points(8)))


def test_a_shrunk_grid_is_refused_and_pruned(study, cluster):
    before, after = make_points(5), make_points(3)
    go(study, make_wanted(before), cluster)
    shrunk = make_wanted(after, text="fewer")
    with pytest.raises(UserError, match=r"no longer names 2 runs that study 's' asked for .*`--prune`"):
        go(study, shrunk, cluster)
    assert len(study.chain()) == 1
    result = go(study, shrunk, cluster, Request(shrink="prune"))
    assert [entry.kind for entry in result.published] == ["cancel"]
    assert set(result.published[0].cancel) == {identity.to_text(before.id(i)) for i in (3, 4)}
    assert study.generation().text == "fewer"
    go(study, shrunk, cluster)  # nothing to refuse any more
    work_off(study, cluster)
    assert study.history().counts(ids(before), ()) == {
        "done": 3, "live": 0, "waiting": 0, "failed": 0, "cancelled": 2, "lost": 0
    }  # fmt: skip
    assert go(study, make_wanted(before), cluster).plan.cost.runs == 2  # asked for again: trained after all


def test_only_narrows_and_is_no_shrinking(study, cluster):
    wanted = make_wanted(make_points(5))
    result = go(study, wanted, cluster, Request(only=["seed=1..2"]))
    assert result.plan.cost.runs == 2
    assert len(study.generation().points) == 5
    work_off(study, cluster)
    assert advance(study, cluster, cluster).plan.cost.runs == 0  # a steward keeps to the filter
    assert go(study, wanted, cluster).plan.cost.runs == 3


def test_edited_figures_are_a_new_generation_without_runs(study, cluster):
    points = make_points(2)
    go(study, make_wanted(points), cluster)
    result = go(study, make_wanted(points, figures=[{"name": "fig"}]), cluster)
    assert not result.published
    assert study.generation().info["figures"] == [{"name": "fig"}]
    assert study.generation().g == 2


def test_nothing_is_written_before_the_user_agrees(study, cluster):
    shown = []
    before = sorted(study.path.rglob("*"))
    result = go(study, make_wanted(make_points(5)), cluster, confirm=lambda plan: bool(shown.append(plan)))
    assert result.declined
    assert shown == [result.plan]
    assert sorted(study.path.rglob("*")) == before
    assert prepare(None, make_wanted(make_points(5)), cluster, Request()).cost.runs == 5


def test_stale_results_are_kept_and_retrained_when_asked(study, cluster):
    points = make_points(4)
    go(study, make_wanted(points), cluster)
    work_off(study, cluster)
    edited = make_wanted(points, source="s2")
    result = go(study, edited, cluster)
    assert len(result.plan.stale) == 4
    assert not result.published
    result = go(study, edited, cluster, Request(rerun_stale=True))
    assert result.published[0].rerun == [[0, 4, 1]]
    assert not go(study, edited, cluster, Request(rerun_stale=True)).published  # already on its way
    work_off(study, cluster)
    assert {record.code for record in study.history().runs.values()} == {"s2"}
    assert len(go(study, edited, cluster).plan.keep) == 4


def test_arrays_are_cut_by_the_index_and_waves_by_the_number_of_jobs(study):
    cluster = FakeCluster(max_array=3, max_jobs=7)
    wanted = make_wanted(make_points(10), resources={"lanes": 1, "retries": 2, "workers": 1})
    result = go(study, wanted, cluster)
    assert result.published[0].arrays == ((0, 3), (3, 6))  # one place is the steward's
    assert len(result.plan.waiting) == 4
    assert len(result.jobs) == 2
    assert not advance(study, cluster, cluster).published  # no room
    work_off(study, cluster)
    assert advance(study, cluster, cluster).plan.cost.runs == 4
    assert set(work_off(study, cluster).values()) == {1}


def single(count):
    return make_wanted(make_points(count), resources={"lanes": 1, "retries": 2, "workers": 1, "memory": "2G"})


def test_where_more_waits_half_of_the_room_works_while_the_other_half_is_filled(study):
    cluster = FakeCluster(max_jobs=9)
    result = go(study, single(30), cluster)
    assert result.published[0].arrays == ((0, 4), (4, 8))
    assert result.steward.extra == {"after": ["job1"]}  # it comes when the first half is done
    cluster.work(study, "job1")
    second = advance(study, cluster, cluster, steward=1)
    assert [entry.arrays for entry in second.published] == [((0, 2), (2, 4))]
    assert second.steward.extra == {"after": ["job2"]}


def test_a_limit_that_nobody_told_of_is_found_by_halving(study):
    cluster = FakeCluster(max_jobs=9, hidden=True)
    result = go(study, single(30), cluster)
    assert [entry.arrays for entry in result.published] == [((0, 30),), ((0, 8), (8, 15))]
    assert len(result.jobs) == 1  # the other half waits for the steward, as does what is not planned yet
    assert not result.errors
    assert len(result.plan.waiting) == 15
    while any(state != "gone" for state in cluster.states.values()):
        work_off(study, cluster)
        advance(study, cluster, cluster)
    records = study.history().runs.values()
    assert {record.attempts for record in records} == {1}
    assert {record.outcome for record in records} == {"done"}


def test_a_retry_goes_by_the_newest_grid(study, cluster):
    points = make_points(1)
    go(study, make_wanted(points), cluster)
    work = start(study, "1-0")
    work.write("failed", lanes=[0], message="no", signature="x", **{"class": "oom"})
    work.write("end", reason="finished")
    larger = make_wanted(points, text="more memory", resources={"memory": "9G", "retries": 0})
    assert not go(study, larger, cluster).published
    (entry,) = go(study, again(study, frozen=False), cluster, Request(retry="all")).published
    assert (entry.generation, entry.resources["memory"]) == (2, "9G")


def fail(study, cluster, job_id):
    """Let every task of a job fail by its user's mistake."""
    job = next(job for job in study.jobs() if job.job_id == job_id)
    for task in study.submission(job.n).tasks_of(job.array):
        work = start(study, task.name)
        work.write("failed", lanes=list(range(task.count)), message="no", signature="x", **{"class": "user error"})
        work.write("end", reason="user error")
    cluster.states[job_id] = "gone"


def wave_by_wave(study, cluster):
    """Work off everything that stewards submit."""
    for _ in range(30):
        work_off(study, cluster)
        if not advance(study, cluster, cluster).published:
            return
    raise AssertionError("there is no end to it")


@pytest.mark.parametrize("named", [False, True])
def test_a_retry_of_more_than_the_queue_takes_comes_in_waves(study, named):
    cluster = FakeCluster()
    wanted = single(30)
    go(study, wanted, cluster)
    fail(study, cluster, "job1")
    assert not advance(study, cluster, cluster).published
    cluster.max_jobs = 9
    request = Request(retry=frozenset(ids(wanted.points)[:25]) if named else "all")
    result = go(study, wanted, cluster, request)
    assert len(result.plan.waiting) == (17 if named else 22)
    states = study.history().counts(ids(wanted.points), study.alive(study.history(), cluster.poll(study.jobs())))
    assert (states["live"], states["failed"]) == (8, 5 if named else 0)
    assert states["waiting"] == len(result.plan.waiting)
    wave_by_wave(study, cluster)
    outcomes = Counter(record.outcome for record in study.history().runs.values())
    assert outcomes == ({"done": 25, None: 5} if named else {"done": 30})
    assert all(record.attempts <= 2 for record in study.history().runs.values())


def test_stale_results_beyond_the_room_are_made_again_once(study):
    cluster = FakeCluster()
    points = make_points(30)
    resources = {"lanes": 1, "retries": 2, "workers": 1}
    go(study, make_wanted(points, resources=resources), cluster)
    work_off(study, cluster)
    cluster.max_jobs = 9
    go(study, make_wanted(points, source="s2", resources=resources), cluster, Request(rerun_stale=True))
    wave_by_wave(study, cluster)
    records = study.history().runs.values()
    assert {(record.outcome, record.code, record.attempts) for record in records} == {("done", "s2", 2)}


def test_cancelled_runs_that_are_submitted_again_come_in_waves_until_they_are_cancelled_again(study):
    cluster = FakeCluster()
    wanted = single(30)
    go(study, wanted, cluster)
    cancel(study, "all", cluster, ())
    cluster.states["job1"] = "gone"
    cluster.max_jobs = 9
    go(study, wanted, cluster)
    work_off(study, cluster)
    advance(study, cluster, cluster)
    work_off(study, cluster)
    assert Counter(record.outcome for record in study.history().runs.values()) == {"done": 16, None: 14}
    cancel(study, "all", cluster, ())
    assert not advance(study, cluster, cluster).published
    go(study, wanted, cluster)
    wave_by_wave(study, cluster)
    assert {(record.outcome, record.attempts) for record in study.history().runs.values()} == {("done", 1)}


def test_a_refused_array_costs_no_retry(study):
    cluster = FakeCluster(max_jobs=2, hidden=True)
    go(study, single(40), cluster)
    assert all(not record.used for record in study.history().runs.values())


def test_one_steward_waits_for_everything_that_lives(study, cluster):
    assert go(study, single(2), cluster).steward.extra == {"after": ["job1"]}
    assert go(study, single(2), cluster).steward is None  # it is there
    third = go(study, single(3), cluster)
    assert third.steward.extra == {"after": ["job1", "job2"]}
    assert cluster.stewards == {"steward1": "gone", "steward2": "pending"}
    cluster.stewards["steward2"] = "gone"
    assert go(study, single(3), cluster).steward.extra == {"after": ["job1", "job2"]}  # somebody ended it
    work_off(study, cluster)
    cluster.stewards["steward3"] = "gone"
    assert go(study, single(3), cluster).steward is None  # nothing to wait for


def test_what_the_scheduler_knows_of_a_death_is_written_down(study, cluster):
    go(study, single(3), cluster)
    begun = start(study, "1-1")
    save(begun, 30)
    cluster.said = {
        "job1_0": Evidence("FAILED", "gone", "lost", "the folder of its output cannot be written"),
        "job1_1": Evidence("OUT_OF_MEMORY", "gone", "oom", "it used more than 2G"),
        "job1_2": Evidence("COMPLETED", "gone"),
    }
    cluster.states["job1"] = "gone"
    result = go(study, single(3), cluster)
    records = [study.history().runs[run] for run in study.generation().runs]
    assert [(record.used, record.n) for record in records] == [({"lost": 1}, 2), ({"oom": 1}, 3), ({}, 2)]
    assert result.published[1].resources["memory"] == "4G"
    assert [log.end for log in study.incarnations("1-1")] == [None, "oom"]
    assert study.incarnations("1-1")[1].why == "it used more than 2G"


def test_what_counts_as_gone_is_ended_when_its_runs_have_another_owner(study, cluster):
    """Slurm keeps what a machine could not start, until somebody ends it."""
    go(study, single(3), cluster)
    finish(start(study, "1-1"))
    cluster.states["job1"] = cluster.stewards["steward1"] = "gone"
    assert go(study, single(3), cluster, Request(only=("seed=0",))).jobs
    assert [(part.job.job_id, part.elements) for part in cluster.cancelled] == [("steward1", None), ("job1", (0,))]
    assert go(study, single(3), cluster).jobs
    assert [(part.job.job_id, part.elements) for part in cluster.cancelled[2:]] == [
        ("steward2", None), ("job1", (2,))
    ]  # fmt: skip


def test_a_scheduler_that_does_not_end_jobs_holds_nobody_up(study):
    class Deaf(FakeCluster):
        def cancel(self, parts):
            raise UserError("it does not answer")

    cluster = Deaf()
    go(study, single(3), cluster)
    cluster.states["job1"] = cluster.stewards["steward1"] = "gone"
    assert isinstance(go(study, single(3), cluster).steward, Job)


def test_later_attempts_keep_away_from_a_machine_that_failed(study, cluster):
    go(study, single(2), cluster)
    cluster.said = {"job1_1": Evidence("NODE_FAIL", "gone", "node", "n7 failed", node="n7")}
    cluster.states["job1"] = "gone"
    assert [entry.resources["exclude"] for entry in go(study, single(2), cluster).published] == [["n7"]]
    assert study.history().bad_nodes == ["n7"]
    work_off(study, cluster)
    go(study, single(AWAY + 2), cluster)
    for task in range(AWAY - 3):
        finish(start(study, f"3-{task}"))
    assert study.history().bad_nodes == ["n7"]  # two tasks finished before, one is missing
    finish(start(study, f"3-{AWAY - 3}"))
    assert study.history().bad_nodes == []
    cluster.said = {f"job3_{AWAY - 2}": Evidence("NODE_FAIL", "gone", "node", "n7 failed", node="n7")}
    cluster.states["job3"] = "gone"
    assert [entry.resources["exclude"] for entry in go(study, single(AWAY + 2), cluster).published] == [["n7"]]


def test_memory_grows_to_a_bound():
    assert [more_memory("2G", factor) for factor in (1, 2, 8, 16)] == ["2G", "4G", "16G", "16G"]
    assert [more_memory("2G", factor, "6144M") for factor in (2, 4)] == ["4G", "6144M"]
    assert more_memory("512M", 16, "1T") == "8192M"


def test_a_testimony_counts_once(study, cluster):
    go(study, single(1), cluster)
    assert study.testify("1-0", "oom", after=0)
    assert not study.testify("1-0", "oom", after=0)
    assert study.history().runs[study.generation().runs[0]].used == {"oom": 1}


def test_several_tasks_share_an_element(study, cluster):
    wanted = make_wanted(make_points(10), resources={"lanes": 1, "retries": 2, "cpus": 4, "workers": "auto"})
    (entry,) = go(study, wanted, cluster).published
    assert (entry.per_job, entry.elements(0), len(entry.tasks)) == (4, 3, 10)
    assert [len(entry.tasks_of(0, element)) for element in range(3)] == [4, 4, 2]
    runs = study.generation().runs
    cancel(study, runs[:6], cluster, ())
    (part,) = cluster.cancelled
    assert part.elements == (0,)  # two runs of the second element go on
    cancel(study, "all", cluster, ())
    assert cluster.cancelled[-1].elements is None


def test_a_steward_uses_the_frozen_sources_and_does_not_uncancel(study, cluster):
    points = make_points(3)
    go(study, make_wanted(points), cluster)
    work = start(study, "1-0")
    save(work, 30)
    work.write("end", reason="timeout")
    cancel(study, [points.id(0)], cluster, ())
    result = advance(study, cluster, cluster)
    (entry,) = result.published
    assert (entry.code, entry.source, entry.tasks[0].indices()) == ("c0de", "s1", [1, 2])
    assert result.plan.cost.iterations == 2 * 70
    assert list(result.plan.cancelled) == [0]
    with pytest.raises(UserError, match="nothing was submitted"):
        again(Study.create(study.path.parent, "empty"), frozen=True)


def test_a_steward_leaves_a_newer_generation_alone(study, cluster, monkeypatch):
    go(study, make_wanted(make_points(3)), cluster)
    taken_up = again(study, frozen=True)
    go(study, make_wanted(make_points(5), text="more"), cluster)  # between the steward's two looks
    result = go(study, taken_up, cluster, Request(shrink="ignore", uncancel=False))
    assert not result.published
    assert study.generation().text == "more"
    assert live_owners(study, cluster) == dict.fromkeys(ids(make_points(5)), 1)


def test_lost_jobs_are_retried_and_failures_reported(study, cluster):
    points = make_points(2)
    wanted = make_wanted(points)
    go(study, wanted, cluster)
    cluster.states["job1"] = "gone"
    assert go(study, wanted, cluster).plan.cost.runs == 2
    cluster.states["job2"] = "unknown"
    assert len(go(study, wanted, cluster).plan.live) == 2  # unknown is not death
    start(study, "2-0").write("failed", lanes=[1], message="no", signature="x", **{"class": "user error"})
    cluster.states["job2"] = "gone"
    result = go(study, wanted, cluster)
    assert list(result.plan.failed) == [1]
    assert list(result.plan.retry) == [0]
    assert go(study, wanted, cluster, Request(retry={points.id(1)})).published[0].reset == [[1, 2, 1]]


def test_a_steward_knows_which_of_its_workers_died(study, cluster):
    wanted = make_wanted(make_points(20, ["nmru", "nru"]))
    go(study, wanted, cluster)
    start(study, "1-0")  # killed; the job goes on with the other task
    cluster.states["job1"] = "running"
    assert not advance(study, cluster, cluster).published
    (entry,) = advance(study, cluster, cluster, gone={"1-0"}).published
    assert [task.count for task in entry.tasks] == [20]
    assert study.history().runs[wanted.points.id(0)].used == {"lost": 1}


def test_one_query_whatever_the_number_of_jobs(study):
    cluster = FakeCluster(max_array=1)
    wanted = make_wanted(make_points(10), resources={"lanes": 1, "retries": 2})
    go(study, wanted, cluster)
    cluster.queries = 0
    go(study, wanted, cluster)
    assert cluster.queries == 1
    work_off(study, cluster)
    cluster.queries = 0
    go(study, wanted, cluster)
    assert cluster.queries == 0  # every job said that it ended: nobody is asked


def test_an_unreachable_scheduler_leaves_an_entry_for_later(study, cluster):
    cluster.max_array = 10
    wanted = make_wanted(make_points(30), resources={"lanes": 2, "retries": 2})
    cluster.refuse = True
    result = go(study, wanted, cluster)
    assert [(entry.n, array, str(error)) for entry, array, error in result.errors] == [
        (1, 0, "the scheduler does not answer"),
        (1, 1, "the scheduler does not answer"),
    ]
    history = study.history()
    assert history.counts(ids(wanted.points), ())["waiting"] == 30
    cluster.refuse = False
    assert [job.array for job in complete(study, cluster).jobs] == [0, 1]
    assert not complete(study, cluster).jobs
    assert set(work_off(study, cluster).values()) == {1}


class Picky(FakeCluster):
    """Knows one partition."""

    def submit(self, study, submission, array):
        if submission.resources.get("partition") not in (None, "good"):
            raise UserError("there is no such partition")
        return super().submit(study, submission, array)


def test_what_was_refused_for_good_is_planned_again_with_the_mended_grid(study):
    cluster, points = Picky(), make_points(5)
    bad, good = (make_wanted(points, resources={"partition": name}, text=name) for name in ("bad", "good"))
    assert [str(error) for _, _, error in go(study, bad, cluster).errors] == ["there is no such partition"]
    advance(study, cluster, cluster)  # a steward has no other grid, and publishes nothing
    assert study.history().last == 1
    result = go(study, good, cluster)
    assert not result.errors
    assert [(job.n, job.array) for job in result.jobs] == [(2, 0)]
    assert live_owners(study, cluster) == dict.fromkeys(ids(points), 1)
    assert not complete(study, cluster).jobs


def test_a_probe_that_was_refused_is_sent_again_with_the_mended_grid(study):
    cluster, points = Picky(), make_points(40)
    bad, good = (make_wanted(points, resources={"partition": name, "lanes": 4}, text=name) for name in ("bad", "good"))
    assert go(study, bad, cluster, Request(probe=5)).errors
    result = go(study, good, cluster, Request(probe=5))
    assert not result.errors
    assert [(entry.probe, len(entry.tasks)) for entry in result.published] == [(5, 2)]


def test_another_cluster_takes_what_one_did_not(study):
    away, other = FakeCluster("away", refuse=True), FakeCluster()
    find = {"away": away, "fake": other}.__getitem__
    wanted = make_wanted(make_points(5))
    submit(study, wanted, away, clusters=find)
    result = submit(study, wanted, other, clusters=find)
    assert not result.errors
    assert [job.cluster for job in result.jobs] == ["fake"]


def test_without_room_and_anything_to_wait_for_nobody_is_told_that_all_is_well(study):
    cluster = FakeCluster(max_jobs=1)  # what the user has there besides fills the queue
    result = go(study, single(3), cluster)
    assert not result.jobs
    assert "3 runs wait for the next `orch submit`" in str(result.steward)
    assert exit_code(result) == ExitCode.PARTLY_SUBMITTED


def test_old_numbers_of_stewards_are_left_alone(study, cluster):
    go(study, single(2), cluster)
    work_off(study, cluster)
    cluster.stewards["steward1"] = "gone"
    assert isinstance(go(study, single(3), cluster).steward, Job)
    assert not cluster.cancelled


def test_named_runs_are_tried_again_without_the_rest_that_only_leaves_out(study, cluster):
    points = make_points(6)
    wanted = make_wanted(points, resources={"lanes": 1, "retries": 2})
    narrow = ("seed=0..2",)
    go(study, wanted, cluster, Request(only=narrow))
    for task in ("1-0", "1-1"):
        failed = start(study, task)
        failed.write("failed", lanes=[0], **{"class": "user error"})
        failed.write("end", reason="user error")
    cancel(study, [points.id(2)], cluster, ())
    cluster.states["job1"] = "gone"
    request = Request(only=narrow, retry=frozenset([points.id(0)]), uncancel=False)
    assert [spec.indices() for spec in go(study, wanted, cluster, request).plan.tasks] == [[0]]
    elsewhere = Request(only=("seed=5",), retry=frozenset([points.id(1)]), uncancel=False)
    assert [spec.indices() for spec in go(study, wanted, cluster, elsewhere).plan.tasks] == [[1], [5]]


def test_cancel_ends_only_jobs_without_other_runs(study):
    cluster = FakeCluster(max_array=1)
    points = make_points(4)
    go(study, make_wanted(points, resources={"lanes": 2, "retries": 2}), cluster)
    cancel(study, [points.id(0)], cluster, ())
    assert set(cluster.states.values()) == {"pending"}
    cancel(study, [points.id(1)], cluster, ())
    assert cluster.states == {"job1": "gone", "job2": "pending"}
    cancel(study, "all", cluster, ())
    assert set(cluster.states.values()) == {"gone"}
    assert study.history().counts(ids(points), ())["cancelled"] == 4
    wanted = make_wanted(points, resources={"lanes": 2, "retries": 2})
    assert not go(study, wanted, cluster, Request(uncancel=False)).published
    assert go(study, wanted, cluster).plan.cost.runs == 4
    assert study.history().runs[points.id(0)].used == {}  # a cancelled run was not lost


# --- crashes ----------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process is gone: nothing of it runs any more, its clean-up included."""


class Mortal:
    """Stands in for ``os``: dies before or after the k-th call that changes something, and stays dead."""

    CALLS = ("open", "write", "pwrite", "link", "replace", "rename", "mkdir", "makedirs", "unlink")

    def __init__(self, at, *, after):
        self.at, self.after, self.count, self.dead = at, after, 0, False

    def __getattr__(self, name):
        real = getattr(os, name)
        if name == "fsync":
            return lambda descriptor: None
        return (lambda *args, **kwargs: self.step(real, *args, **kwargs)) if name in self.CALLS else real

    def step(self, real, *args, **kwargs):
        if self.dead:
            raise Crash
        self.count += 1
        if self.count != self.at:
            return real(*args, **kwargs)
        self.dead = True
        if self.after:
            real(*args, **kwargs)
        raise Crash


class MortalCluster(FakeCluster):
    """A scheduler whose client may die just before or just after it accepted a job."""

    mortal: Mortal

    def submit(self, study, submission, array):
        return self.mortal.step(super().submit, study, submission, array)


def first(study, cluster):
    wanted = make_wanted(make_points(40, ["nmru", "nru"]), resources={"lanes": 16, "retries": 2})
    here = {"project": Path(__file__).parent / "study"}
    return replace(wanted, code=lambda study: study.freeze_code(here)), Request()


def grown_and_pruned(study, cluster):
    go(study, make_wanted(make_points(40, ["nmru", "nac"])), cluster)
    return make_wanted(make_points(40, ["nmru", "nru"]), text="other"), Request(shrink="prune")


def second_wave(study, cluster):
    go(study, make_wanted(make_points(40, ["nmru", "nru"])), cluster)
    work = start(study, "1-0")
    save(work, 10)
    work.write("end", reason="timeout")
    cluster.states["job1"] = "gone"
    return make_wanted(make_points(40, ["nmru", "nru"])), Request()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("scenario", [first, grown_and_pruned, second_wave])
def test_killed_at_any_call_the_next_submit_repairs(tmp_path, monkeypatch, scenario, after):
    at = 0
    while True:
        at += 1
        study, cluster = Study.create(tmp_path / str(at), "s"), MortalCluster(max_array=2)
        monkeypatch.setattr(atomic, "os", Mortal(0, after=after))
        cluster.mortal = atomic.os
        wanted, request = scenario(study, cluster)
        before = {run: record.attempts for run, record in study.history().runs.items()}
        mortal = cluster.mortal = Mortal(at, after=after)
        monkeypatch.setattr(atomic, "os", mortal)
        with contextlib.suppress(Crash):
            go(study, wanted, cluster, request)
        monkeypatch.setattr(atomic, "os", Mortal(0, after=after))
        cluster.mortal = atomic.os
        study = Study.open(study.path)
        assert not study.history().damaged
        go(study, wanted, cluster, request)
        owners = live_owners(study, cluster)
        assert owners == dict.fromkeys(ids(wanted.points), 1)  # nobody lost, nobody else at work
        attempts = work_off(study, cluster)
        for run in ids(wanted.points):
            assert attempts[run] == before.get(run, 0) + 1  # nothing is trained twice
        assert study.history().counts(ids(wanted.points), ())["done"] == len(wanted.points)
        if not mortal.dead:
            break
    assert at > 15  # the sweep has seen the whole procedure


def test_a_killed_process_is_repaired(study, cluster):
    wanted = make_wanted(make_points(5))

    class Killing(FakeCluster):
        def submit(self, study, submission, array):
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=go, args=(study, wanted, Killing()))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert study.history().unhanded == {"1-0"}
    result = go(study, wanted, cluster)
    assert [job.n for job in result.jobs] == [1]
    assert not result.published
    assert set(work_off(study, cluster).values()) == {1}


@dataclass
class SharedCluster(FakeCluster):
    """A scheduler that several processes see: a job is a file."""

    folder: Path = Path()

    def submit(self, study, submission, array):
        descriptor, name = tempfile.mkstemp(dir=self.folder)
        os.write(descriptor, f"{submission.n} {array}".encode())
        os.close(descriptor)
        return Job(submission.n, array, self.name, Path(name).name)

    def poll(self, jobs):
        return {job.job_id: "pending" if (self.folder / job.job_id).exists() else "gone" for job in jobs}


def _submit(index, barrier, path, cluster):
    study = Study(path)
    wanted = make_wanted(make_points(10 + index), text=f"version {index}", resources={"lanes": 4, "retries": 2})
    barrier.wait()
    submit(study, wanted, cluster, Request(shrink="ignore"), clusters=cluster, argv=())


def test_many_submit_at_once(study, tmp_path):
    count = 6
    folder = tmp_path / "scheduler"
    folder.mkdir()
    cluster = SharedCluster(folder=folder)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(count)
    processes = [context.Process(target=_submit, args=(i, barrier, study.path, cluster)) for i in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count
    names = Counter(
        study.generation(entry.generation).runs[point]
        for entry in study.chain()
        for spec in entry.tasks
        for point in spec.indices()
    )
    assert names == dict.fromkeys(ids(make_points(9 + count)), 1)  # each run is submitted once
    for job in sorted(folder.iterdir()):
        n, array = map(int, job.read_text().split())
        cluster.jobs[job.name] = (n, array)
        cluster.work(study, job.name)
    assert {record.attempts for record in study.history().runs.values()} == {1}
    assert study.history().counts(ids(make_points(9 + count)), ())["done"] == 9 + count


def test_finished_runs_do_not_keep_an_entry_alive(study, cluster):
    """An entry that was never handed over and whose runs are all cancelled stays where it is."""
    cluster.refuse = True
    wanted = make_wanted(make_points(3))
    go(study, wanted, cluster)
    cancel(study, "all", cluster, ())
    cluster.refuse = False
    assert not complete(study, cluster).jobs
    assert go(study, wanted, cluster).published[0].n == 3
    finish(start(study, "3-0"))
    assert study.history().counts(ids(wanted.points), ())["done"] == 3
