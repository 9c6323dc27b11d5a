"""Planning: every run in one place, tasks whose lanes share a program, and a cost that adds up."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import policy
from orchestrator.errors import UserError
from orchestrator.experiment import program_of
from orchestrator.filters import select
from orchestrator.plan import PlanOptions, more_memory, plan
from orchestrator.points import Points
from orchestrator.study.history import History, RunRecord
from tests.study.studies import LANES, ids, make_points


def options(**changes):
    return PlanOptions(
        **{"lanes": LANES, "steps": "steps", "source": "s1", "resources": {"retries": 2}, "spread": 1, **changes}
    )


def history_of(points, **records):
    """``history_of(points, r3={...})``: what is known of run 3."""
    history = History(last=1, generation=1, asked=bytes(points.ids))
    for name, fields in records.items():
        base = {"n": 1, "task": "1-0", "k": 1, "code": "s1", "width": len(points)}
        history.runs[points.id(int(name[1:]))] = RunRecord(**{**base, **fields})
    return history


def named(made):
    """Positions of a plan's tasks, by task."""
    return [task.indices() for task in made.tasks]


def flat(made):
    """Positions of a plan's tasks, all together, sorted."""
    return sorted(position for task in named(made) for position in task)


# --- what is done about a run -----------------------------------------------------------------------------------------


def test_a_new_study():
    points = make_points(5, ["nmru", "nru"])
    made = plan(points, History(), (), options())
    assert list(made.new) == list(range(10))
    assert named(made) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [task.name for task in made.tasks] == ["1-0", "1-1"]
    assert (made.cost.runs, made.cost.tasks, made.cost.iterations) == (10, 2, 1000)
    assert made.total == 10


@pytest.mark.parametrize(
    ("record", "alive", "changes", "part"),
    [
        ({"outcome": "done"}, (), {}, "keep"),
        ({"outcome": "diverged"}, (), {}, "keep"),
        ({"outcome": "done", "code": "s0"}, (), {}, "stale"),
        ({"outcome": "done", "code": "s0"}, (), {"rerun_stale": True}, "rerun"),
        ({"outcome": "done", "code": "s0"}, (), {"source": "", "rerun_stale": True}, "keep"),
        ({"outcome": "done"}, (), {"rerun": "self"}, "rerun"),
        ({}, ("1-0",), {}, "live"),
        ({}, ("1-0",), {"rerun": "self"}, "live"),
        ({}, ("1-1",), {}, "retry"),
        ({"used": {"lost": 2}}, (), {}, "failed"),
        ({"used": {"lost": 2}}, (), {"retry": "all"}, "retry"),
        ({"failure": "user error", "used": {"user error": 1}}, ("1-0",), {}, "failed"),
        ({"failure": "user error", "used": {"user error": 1}}, (), {"retry": "self"}, "retry"),
        ({"failure": "timeout", "used": {"timeout": 2}}, (), {}, "retry"),
        ({"failure": "timeout", "used": {"timeout": 3}}, (), {}, "failed"),
        ({"cancelled": True}, (), {}, "cancelled"),
        ({"cancelled": True}, ("1-0",), {}, "cancelled"),
        ({"cancelled": True}, (), {"uncancel": True}, "retry"),
        ({"cancelled": True, "n": 0}, (), {"uncancel": True}, "new"),
    ],
)
def test_what_is_done_about_a_run(record, alive, changes, part):
    points = make_points(1)
    changes = {name: {points.id(0)} if value == "self" else value for name, value in changes.items()}
    made = plan(points, history_of(points, r0=record), alive, options(**changes))
    parts = ("keep", "stale", "live", "failed", "cancelled", "new", "retry", "rerun")
    assert [name for name in parts if len(getattr(made, name))] == [part]
    assert bool(made.tasks) == (part in ("new", "retry", "rerun"))
    assert made.total == 1


def test_runs_of_an_entry_without_a_job_are_left_to_it():
    points = make_points(1)
    history = history_of(points, r0={})
    history.unhanded.add("1-0")
    assert list(plan(points, history, (), options()).live) == [0]


def test_a_retried_run_has_its_budget_reset_and_a_rerun_starts_from_nothing():
    points = make_points(4)
    history = history_of(
        points,
        r0={"outcome": "done", "saved": 90, "code": "s0"},
        r1={"failure": "user error", "used": {"user error": 1}, "saved": 40},
        r2={"outcome": "done"},
    )
    made = plan(points, history, (), options(rerun_stale=True, retry="all"))
    (batch,) = made.batches
    assert batch.rerun == [[0, 1, 1]]
    assert batch.reset == [[1, 2, 1]]
    assert flat(made) == [0, 1, 3]
    assert made.cost.iterations == 300 - 40


def test_a_checkpoint_of_other_sources_saves_nothing():
    points = make_points(1)
    assert plan(points, history_of(points, r0={"saved": 60}), (), options()).cost.iterations == 40
    assert plan(points, history_of(points, r0={"saved": 60, "code": "s0"}), (), options()).cost.iterations == 100


def test_a_run_at_two_points_is_trained_once():
    points = make_points(3)
    twice = Points(
        points.ids + points.ids[:20],
        {name: codes + codes[:2] for name, codes in points.codes.items()},
        points.leaves,
        points.labels,
    )
    made = plan(twice, History(), (), options())
    assert named(made) == [[0, 1, 2]]
    assert made.total == 3


# --- shrinking, filters, waves ----------------------------------------------------------------------------------------


def test_what_left_the_grid():
    before, after = make_points(4), make_points(2)
    history = history_of(before, r0={}, r2={}, r3={"outcome": "done"})
    made = plan(after, history, ("1-0",), options())
    assert list(made.left) == ids(before)[2:]
    assert list(made.cancel) == [before.id(2)]
    grown = plan(make_points(6), history, ("1-0",), options())
    assert not grown.left
    assert not grown.cancel


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["seed=1"], [1, 5, 9, 13]),
        (["seed=1..2", "layer=nru"], [9, 10, 13, 14]),
        (["seed=0,3", "rate=0.1", "layer=nmru"], [0, 3]),
        (["rate=1e-1", "layer=nmru"], [0, 1, 2, 3]),
        (["steps=100", "seed=2"], [2, 6, 10, 14]),
    ],
)
def test_filters(filters, expected):
    points = make_points(4, ["nmru", "nru"], [0.1, 0.2])
    assert select(points, filters) == expected
    made = plan(points, History(), (), options(only=filters))
    assert flat(made) == expected
    assert len(made.aside) == 16 - len(expected)
    assert made.total == 16


def test_filters_that_name_nothing():
    points = make_points(4, ["nmru"])
    with pytest.raises(UserError, match="no axis or parameter 'sead'. Did you mean 'seed'"):
        select(points, ["sead=1"])
    with pytest.raises(UserError, match="no run is left; layer has nmru"):
        select(points, ["layer=nac"])
    with pytest.raises(UserError, match="'seed' should be key=value, such as seed=0"):
        select(points, ["seed"])
    with pytest.raises(UserError, match="no axis or parameter 'seed1'"):
        select(points, ["seed1"])


def test_what_does_not_fit_waits():
    points = make_points(10)
    made = plan(points, History(), (), options(capacity=2, resources={"lanes": 3}))
    assert len(made.tasks) == 2
    assert sorted([*flat(made), *made.waiting]) == list(range(10))
    assert made.cost.runs == 10 - len(made.waiting)
    assert not plan(points, History(), (), options(capacity=-1)).tasks


# --- packing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seeds", "changes", "sizes"),
    [
        (225, {"spread": 2}, [112, 113]),
        (20, {"spread": 4}, [10, 10]),  # no task below the padding of 16 but for balance
        (600, {"spread": 1}, [200, 200, 200]),
        (10, {"resources": {"lanes": 4}}, [3, 3, 4]),
        (600, {"resources": {"lanes": 600}}, [600]),
        (3, {"form": "run"}, [1, 1, 1]),
        (5, {"form": "run", "resources": {"lanes": 2}}, [1, 2, 2]),
        (3, {"form": "command"}, [1, 1, 1]),
    ],
)
def test_sizes_of_tasks(seeds, changes, sizes):
    made = plan(make_points(seeds), History(), (), options(**changes))
    assert [task.count for task in made.tasks] == sizes


def test_single_runs_of_several_programs_share_a_task():
    made = plan(make_points(2, ["nmru", "nru"]), History(), (), options(form="run", resources={"lanes": 4}))
    assert named(made) == [[0, 1, 2, 3]]


def test_equal_steps_are_kept_together():
    points = make_points(64)
    steps = [0, 100] * 32
    history = history_of(points, **{f"r{i}": {"saved": step, "used": {}} for i, step in enumerate(steps)})
    made = plan(points, history, (), options())
    assert [{steps[i] for i in task} for task in named(made)] == [{100}, {0}]
    few = history_of(points, **{f"r{i}": {"saved": i} for i in range(64)})
    sizes = [task.count for task in plan(points, few, (), options()).tasks]
    assert sizes == [16, 16, 16, 16]  # a task each would be worse


def test_out_of_memory_halves_and_then_asks_for_more():
    points = make_points(8)
    resources = {"memory": "2G", "retries": 3, "lanes": "auto"}

    def batches(times, width):
        record = {"failure": "oom", "used": {"oom": times}, "width": width}
        history = history_of(points, **{f"r{i}": record for i in range(8)})
        made = plan(points, history, (), options(resources=resources))
        return [(batch.resources["memory"], [task.count for task in batch.tasks]) for batch in made.batches]

    assert batches(1, 8) == [("2G", [4, 4])]
    assert batches(2, 4) == [("4G", [2, 2, 2, 2])]
    assert batches(1, 1) == [("4G", [1] * 8)]
    assert batches(2, 1) == [("8G", [1] * 8)]
    assert batches(4, 1) == []


def test_unlike_resources_are_entries_of_their_own():
    points = make_points(3, ["nmru", "nru"])
    points.resources_by, points.resources = "layer", [{}, {"memory": "8G"}]
    made = plan(points, History(), (), options(form="run", resources={"lanes": 8, "memory": "2G"}))
    assert [(batch.resources["memory"], batch.tasks[0].name) for batch in made.batches] == [
        ("2G", "1-0"),
        ("8G", "2-0"),
    ]
    assert named(made) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("memory", "more"), [("2G", "4G"), ("512M", "1024M"), ("1.5GiB", "3GiB")])
def test_more_memory(memory, more):
    assert more_memory(memory, 2) == more


RECORDS = st.builds(
    dict,
    outcome=st.sampled_from([None, None, "done", "diverged"]),
    failure=st.sampled_from([None, "timeout", "oom", "user error"]),
    saved=st.sampled_from([-1, 0, 10, 20]),
    cancelled=st.booleans(),
    code=st.sampled_from(["s1", "s0", ""]),
    task=st.sampled_from(["1-0", "1-1"]),
    width=st.integers(1, 64),
    used=st.dictionaries(st.sampled_from(sorted(policy.RULES)), st.integers(1, 4), max_size=2),
)


@settings(deadline=None)
@given(
    seeds=st.integers(1, 30),
    layers=st.lists(st.sampled_from(["nmru", "nru", "sparse", "nac"]), min_size=1, unique=True),
    rates=st.lists(st.floats(0.1, 0.9), min_size=1, max_size=3, unique=True),
    records=st.dictionaries(st.integers(0, 60), RECORDS),
    lanes=st.one_of(st.just("auto"), st.integers(1, 40)),
    spread=st.integers(1, 8),
    flags=st.fixed_dictionaries({"rerun_stale": st.booleans(), "uncancel": st.booleans()}),
    retry=st.sampled_from([(), "all"]),
)
def test_every_run_is_in_one_place_and_lanes_share_a_program(
    seeds, layers, rates, records, lanes, spread, flags, retry
):
    points = make_points(seeds, layers, rates)
    known = {f"r{i}": fields for i, fields in records.items() if i < len(points)}
    history = history_of(points, **known) if known else History()
    made = plan(
        points,
        history,
        {"1-1"},
        options(resources={"lanes": lanes, "retries": 2, "memory": "1G"}, spread=spread, retry=retry, **flags),
    )
    parts = [made.keep, made.stale, made.live, made.failed, made.cancelled, made.new, made.retry, made.rerun]
    assert Counter(i for part in parts for i in part) == Counter(range(len(points)))
    todo = sorted([*made.new, *made.retry, *made.rerun])
    assert flat(made) == todo  # each in exactly one task
    for batch in made.batches:
        for task in batch.tasks:
            assert task.count == len(task.indices()) > 0
            assert task.count <= (lanes if lanes != "auto" else 256)
            assert len({program_of(points.params(i), LANES) for i in task.indices()}) == 1
    names = [task.name for task in made.tasks]
    assert len(set(names)) == len(names)
    assert made.cost.runs == len(todo)
    again = plan(
        points,
        history,
        {"1-1"},
        options(resources={"lanes": lanes, "retries": 2, "memory": "1G"}, spread=spread, retry=retry, **flags),
    )
    assert again == made
