"""Who plans for a job that was launched by hand, and which part of the plan it carries out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import launch
from orchestrator.clusters.base import Here
from orchestrator.launch import Told, serves, share
from orchestrator.plan import Batch
from orchestrator.study.records import Submission
from orchestrator.study.study import Study
from orchestrator.submit import Request, prepare
from tests.study.studies import FakeCluster, ids, make_points, make_wanted

# --- who plans --------------------------------------------------------------------------------------------------------


class Hand(FakeCluster):
    """A cluster whose job this process is."""

    kind = "slurm"

    def __init__(self, element: int, job: str = "77") -> None:
        super().__init__("slurm")
        self.me = Here(job, element)

    def here(self) -> Here:
        return self.me


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    wanted = make_wanted(make_points(seeds=4, layers=("nmru",)), resources={"lanes": 1, "workers": 1, "retries": 0})
    monkeypatch.setattr(launch, "_desired", lambda told, text: wanted)
    monkeypatch.setattr(sys, "stdin", type("In", (), {"buffer": open(os.devnull, "rb")})())  # noqa: PTH123, SIM115
    monkeypatch.setattr(launch, "PLANNING", 0.5)
    yield Study.create(tmp_path, "s")
    sys.stdin.buffer.close()


def told(elements: int = 4, **fields: object) -> Told:
    return Told("s", "runs", "slurm", "slurm", elements, steward=False, **fields)


def entry_of(study: Study, told: Told, cluster: Hand) -> Submission | None:
    return launch._entry(Study(study.path), told, cluster, cluster.me)


def test_whoever_waits_for_a_planner_that_died_plans(planned: Study) -> None:
    assert planned.take(0, 77, "77_3")  # and was never heard of again
    entry = entry_of(planned, told(), Hand(0))
    assert entry is not None
    assert (entry.tag, entry.elements(0)) == ("hand-77", 4)
    assert entry_of(planned, told(), Hand(3)) == entry


def test_somebody_else_may_publish_meanwhile(planned: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> object:
        found = prepare(*args, **options)
        if not Study(planned.path).chain():
            Study(planned.path).publish(Submission(1, "cancel", cancel=()))
        return found

    monkeypatch.setattr(launch, "prepare", interrupted)
    entry = entry_of(planned, told(), Hand(0))
    assert entry is not None
    assert (entry.n, entry.tag) == (2, "hand-77")


def test_one_plan_holds_for_the_whole_job(planned: Study) -> None:
    assert entry_of(planned, told(), Hand(0)) is not None
    nothing = entry_of(planned, told(), Hand(1, job="88"))
    assert nothing is not None
    assert (nothing.tag, nothing.tasks, nothing.arrays) == ("hand-88", (), ())
    before = len(planned.chain())
    assert entry_of(planned, told(), Hand(0, job="88")) == nothing
    assert len(planned.chain()) == before
    assert planned.history().unhanded == set()


def test_a_job_trains_no_more_than_its_elements_can(planned: Study) -> None:
    first = entry_of(planned, told(3), Hand(0))
    second = entry_of(planned, told(3), Hand(0, job="88"))
    assert first is not None
    assert second is not None
    assert [len(first.tasks), len(second.tasks)] == [3, 1]
    runs = [
        run for entry in (first, second) for task in entry.tasks for run in Study(planned.path).task(task.name).runs
    ]
    assert sorted(runs) == sorted(ids(make_points(seeds=4, layers=("nmru",))))


# --- which part of a plan ---------------------------------------------------------------------------------------------


def test_a_script_carries_out_what_its_job_can(tmp_path: Path) -> None:
    wanted = make_wanted(make_points(seeds=6, layers=("nmru",)), resources={"lanes": 2, "workers": 1, "memory": "2G"})
    cluster = FakeCluster("slurm")
    plan = prepare(None, wanted, cluster, Request())
    [batch] = plan.batches
    own = dict(batch.resources)
    one, two, three = batch.tasks
    larger = Batch({**own, "memory": "4G"}, (three,), [[4, 6, 1]], [])
    plan = launch.replace(plan, batches=[Batch(own, (one, two), [[0, 4, 1]], [[2, 4, 1]]), larger])
    small = share(plan, wanted, cluster, told(1))
    assert [(b.tasks, b.rerun, b.reset) for b in small.batches] == [((one,), [[0, 2, 1]], [])]
    assert [b.tasks for b in share(plan, wanted, cluster, told(9)).batches] == [(one, two)]
    whole = share(plan, wanted, cluster, told(9, job={"memory": "4G"}))
    assert [(b.tasks, b.resources["memory"], b.rerun) for b in whole.batches] == [
        ((one, two, three), "4G", [[0, 6, 1]])
    ]
    assert share(plan, wanted, cluster, told(9, job={"gpus": 1})).batches == []


@pytest.mark.parametrize(
    ("own", "asked", "yes"),
    [
        ({"cpus": 1}, {"cpus": 1}, True),
        ({"cpus": 2}, {"cpus": 1}, False),
        ({"cpus": 1}, {"cpus": 1, "exclude": ["n3"]}, True),
        ({"memory": "2G"}, {"memory": "1024M"}, True),
        ({"memory": "2G"}, {"memory": "3G"}, False),
        ({"memory": "2G"}, {"memory": None}, False),
        ({"memory": None}, {"memory": "3G"}, True),
    ],
)
def test_which_tasks_a_job_can_serve(own: dict[str, object], asked: dict[str, object], yes: bool) -> None:
    assert serves(own, asked) is yes


def test_what_is_told_survives_the_script() -> None:
    one = Told(
        "s", "/runs", "alpine", "slurm", 3, {"cpus": 2}, {"memory": "4G"}, ("a=1",), ("seed=0..3",), True, "/p", False
    )
    assert Told.from_json(one.to_json()) == one
    least = Told("s", "/runs", "alpine", "lsf", 3)
    assert Told.from_json(least.to_json()) == least
