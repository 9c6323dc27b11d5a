"""Which tasks a probe takes, and what it says about the rest."""

from __future__ import annotations

from array import array
from dataclasses import replace

import pytest

from orchestrator import identity
from orchestrator.plan import PlanOptions, plan
from orchestrator.points import MISSING, Column, Points
from orchestrator.probe import GRAIN, Failed, Open, Passed, corners, memory, request, verdict
from orchestrator.study.history import History
from orchestrator.study.study import Study
from orchestrator.submit import Request, advance, submit
from tests.study.studies import FakeCluster, enter, finish, ids, make_info, make_points, make_wanted, save, start

GIB = 1024**3


def grid(**axes):
    """The product of some axes, the last the fastest; a value of every axis is a static parameter but the seed's."""
    import itertools

    rows = list(itertools.product(*axes.values()))
    points = Points()
    for at, (name, values) in enumerate(axes.items()):
        points.codes[name] = array("H", [values.index(row[at]) for row in rows])
        points.leaves[name] = Column(name, list(values))
    for i in range(len(rows)):
        points.ids += identity.from_text(identity.run_id("t", 1, points.params(i)))
    return points


def chosen(points, ignored=(), **changes):
    fields = {"lanes": frozenset({"seed"}), "resources": {"retries": 2}, **changes}
    made = plan(points, History(), (), PlanOptions(**fields))
    picked = corners(points, made, ignored)
    assert all(task in made.tasks for task in picked)
    return [points.params(task.indices()[0]) for task in picked]


def test_the_largest_sizes_and_what_is_farthest_from_them():
    points = grid(layer=["nau", "nmu"], hidden=[64, 4096, 512], batch=[16, 32], seed=[0, 1])
    first, second = chosen(points)
    assert first == {"layer": "nau", "hidden": 4096, "batch": 32, "seed": 0}
    assert second == {"layer": "nmu", "hidden": 64, "batch": 16, "seed": 0}


def test_sizes_multiply():
    points = grid(shape=[[64, 64], [4096], [8, 8, 8]], seed=[0])
    assert chosen(points)[0]["shape"] == [64, 64]  # as large as the first, and before it
    points = grid(hidden=[10, 1000], batch=[3, 2], seed=[0])
    assert chosen(points)[0] == {"hidden": 1000, "batch": 3, "seed": 0}


def test_what_is_no_size_does_not_count():
    points = grid(epsilon=[1e9, 1.0], flag=[True, False], name=["a", "b"], steps=[10, 10**6], hidden=[1, 2], seed=[0])
    first, second = chosen(points, {"steps"})
    assert (first["hidden"], first["epsilon"], first["flag"], first["steps"]) == (2, 1e9, True, 10)
    assert (second["hidden"], second["epsilon"], second["flag"], second["name"]) == (1, 1.0, False, "b")


def test_a_group_that_is_not_there_makes_a_difference():
    points = grid(hidden=[8], group=[MISSING, 3], seed=[0])
    assert [row.get("group") for row in chosen(points)] == [3, None]


def test_of_one_program_the_widest_task_and_the_narrowest():
    points = make_points(16, ["nmru", "nru"])
    skipped = plan(points, History(), (), PlanOptions(lanes=frozenset({"seed"}), only=["seed=0..3", "layer=nmru"]))
    assert len(corners(points, skipped)) == 1
    made = plan(points, History(), (), PlanOptions(lanes=frozenset({"seed"}), resources={"lanes": 3}))
    picked = corners(points, made)
    assert picked[0].count == max(task.count for task in made.tasks)
    assert points.params(picked[1].indices()[0])["layer"] == "nru"


def test_seeds_are_no_sizes_where_runs_train_one_by_one():
    points = grid(hidden=[2, 1], seed=[5, 900])
    first, second = chosen(points, form="run")
    assert (first["hidden"], second["hidden"]) == (2, 1)


def test_nothing_to_submit_has_no_corners():
    points = make_points(1)
    made = plan(points, History(), (), PlanOptions(capacity=0))
    assert corners(points, made) == []


# --- what it says -----------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path):
    study = Study.create(tmp_path, "s")
    study.publish_generation("study: s\n", make_info(), make_points(4))
    return study


def said(study):
    return verdict(study, study.history())


def end(study, task, reason="probed", **used):
    begun = start(study, task)
    save(begun, 50)
    begun.write("end", reason=reason, **used)


def test_without_a_probe_there_is_no_verdict(study):
    assert said(study) is None
    enter(study, [0])
    assert said(study) is None


def test_the_most_memory_decides(study):
    enter(study, [0], [1], probe=50)
    assert said(study) == Open(("1-0", "1-1"))
    end(study, "1-0", peak=GIB)
    assert said(study) == Open(("1-1",))
    end(study, "1-1", peak=GIB // 2)
    passed = said(study)
    assert isinstance(passed, Passed)
    assert passed.peak == GIB
    assert passed.memory_bytes == 6 * GRAIN  # 1.3 GiB, rounded up to quarters
    assert memory(passed) == "1536M"
    assert memory(passed, 4) == "6144M"
    enter(study, [2])
    assert said(study) is None


def test_a_finished_probe_and_a_cancel_order_change_nothing(study):
    enter(study, [0], probe=50)
    begun = start(study, "1-0")
    finish(begun)
    begun.write("end", reason="finished", peak=1)
    study.publish(study.submission(1).from_json({"n": 2, "kind": "cancel", "cancel": [], "generation": 1}))
    assert said(study) == Passed(GRAIN, 1)


def test_a_mistake_stops_everything_at_once(study):
    enter(study, [0, 1], [2], probe=50)
    begun = start(study, "1-0")
    begun.write("failed", lanes=[1], message="ValueError: no", signature="x", **{"class": "user error"})
    run = ids(make_points(4))[1]
    assert said(study) == Failed(run, "ValueError: no")


def test_want_of_memory_doubles_the_request_or_asks_for_one(study):
    enter(study, [0], probe=50, resources={"memory": "2G"})
    end(study, "1-0", "oom", peak=GIB)
    assert said(study) == Passed(4 * GIB, GIB)
    enter(study, [1], probe=50)
    end(study, "2-0", "oom")
    found = said(study)
    assert isinstance(found, Failed)
    assert "memory: " in found.message


def test_what_was_preempted_may_be_measured_all_the_same(study):
    enter(study, [0], probe=50)
    end(study, "1-0", "interrupted", peak=10)
    assert said(study) == Passed(GRAIN, 10)


def test_a_probe_costs_no_retry_and_its_runs_wait(study):
    enter(study, [0], probe=50)
    run = ids(make_points(4))[0]
    assert study.history().state(run, {"1-0"}) == "live"
    end(study, "1-0", peak=1)
    history = study.history()
    assert history.state(run, ()) == "waiting"
    assert history.state(run, (), retries=0) == "waiting"
    enter(study, [0])
    assert study.history().runs[run].used == {}
    start(study, "2-0").close()  # dies without a word
    assert study.history().state(run, (), retries=0) == "failed"


def test_the_request_grows_and_never_shrinks():
    passed = Passed(3 * GRAIN, 1)
    assert request({"cpus": 1}, passed) == {"cpus": 1, "memory": "768M"}
    assert request({"memory": "1G"}, passed) == {"memory": "1G"}
    assert request({"memory": "1G"}, passed, 2) == {"memory": "1536M"}
    assert request({}, Passed(0, 0)) == {}


# --- the procedure ----------------------------------------------------------------------------------------------------


@pytest.fixture
def probing(tmp_path):
    """A study whose probe of two tasks is in the queue; its steward, and what it wants."""
    study, cluster = Study.create(tmp_path, "p"), FakeCluster()
    wanted = make_wanted(make_points(12, ["nmru", "nru"]), resources={"lanes": 3, "cpus": 1, "retries": 2})
    submit(study, wanted, cluster, Request(probe=50), clusters=cluster, argv=())
    return study, cluster, wanted


def ended(study, cluster, **used):
    cluster.states["job1"] = "gone"
    for task in ("1-0", "1-1"):
        end(study, task, peak=GIB, **used)


def test_a_probe_is_one_array_of_two_elements_and_its_steward(probing):
    study, cluster, _ = probing
    (entry,) = study.chain()
    assert (entry.probe, entry.per_job, entry.arrays, len(entry.tasks)) == (50, 1, ((0, 2),), 2)
    assert list(cluster.stewards) == ["steward1"]
    layers = [study.generation().points.label(task.indices()[0])["layer"] for task in entry.tasks]
    assert sorted(layers) == ["nmru", "nru"]


def test_the_rest_waits_for_the_probe_and_asks_for_what_it_measured(probing):
    study, cluster, _ = probing
    assert not advance(study, cluster, cluster).published
    end(study, "1-0", peak=GIB)
    assert not advance(study, cluster, cluster).published  # the other one is still at work
    end(study, "1-1", peak=2 * GIB)
    cluster.states["job1"] = "gone"
    rest = advance(study, cluster, cluster)
    assert {entry.resources["memory"] for entry in rest.published} == {"2816M"}  # 2 GiB and 30 %, in quarters
    assert rest.plan.cost.runs == 24
    assert {entry.probe for entry in rest.published} == {0}


def test_later_waves_and_retries_ask_for_it_too_until_the_grid_asks_for_something_else(probing):
    study, cluster, wanted = probing
    ended(study, cluster)
    advance(study, cluster, cluster)

    def grown(seeds, **asked):
        resources = {**wanted.resources, **asked}
        more = make_wanted(make_points(seeds, ["nmru", "nru"]), text=f"{seeds}", resources=resources)
        return {
            entry.resources["memory"] for entry in submit(study, more, cluster, clusters=cluster, argv=()).published
        }

    assert grown(20) == {"1536M"}
    assert grown(30, memory="1G") == {"1G"}


def test_tasks_side_by_side_share_the_memory(probing):
    study, cluster, wanted = probing
    ended(study, cluster)
    wide = replace(wanted, info={**wanted.info, "resources": {**wanted.resources, "cpus": 4}})
    (entry,) = submit(study, wide, cluster, clusters=cluster, argv=()).published
    assert (entry.per_job, entry.resources["memory"]) == (4, "6144M")


def test_after_a_probe_that_failed_only_a_person_goes_on(probing):
    study, cluster, wanted = probing
    begun = start(study, "1-0")
    begun.write("failed", lanes=[0, 1, 2], message="ValueError: no", signature="x", **{"class": "user error"})
    begun.write("end", reason="finished")
    end(study, "1-1", peak=1)
    cluster.states["job1"] = "gone"
    assert not advance(study, cluster, cluster).published
    assert submit(study, wanted, cluster, clusters=cluster, argv=()).plan.cost.runs == 21


def test_nobody_probes_twice_what_is_under_way_or_has_passed(probing):
    study, cluster, wanted = probing
    again = Request(probe=50)
    assert not submit(study, wanted, cluster, again, clusters=cluster, argv=()).published
    ended(study, cluster)
    published = submit(study, wanted, cluster, again, clusters=cluster, argv=()).published
    assert [entry.probe for entry in published] == [0]


def test_a_probe_that_vanished_holds_nobody_up(probing):
    study, cluster, _ = probing
    cluster.states["job1"] = "gone"
    assert advance(study, cluster, cluster).plan.cost.runs == 24


def test_without_asking_for_it_a_person_waits_for_no_probe(probing):
    study, cluster, wanted = probing
    assert submit(study, wanted, cluster, clusters=cluster, argv=()).plan.cost.runs == 18
