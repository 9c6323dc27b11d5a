"""What a submission costs, what is expected of its tasks, and how many files it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from orchestrator.plan import Batch, PlanOptions, plan
from orchestrator.probe import Failed, Open, Passed
from orchestrator.sharing import Share
from orchestrator.study.history import History
from orchestrator.study.records import TaskSpec
from orchestrator.study.study import Study
from orchestrator.submit import Request, prepare, submit
from orchestrator.view.cost import Kinds, Sample, bill, expect, foresee, padded
from orchestrator.view.plan import price, probe_notes
from tests.study.studies import LANES, FakeCluster, make_points, make_wanted, start
from tests.worker.helpers import PLAIN, plain_study, work


def share(tasks: int, per_job: int = 1, most: int | None = None, **resources: Any) -> Share:
    """A batch of tasks with one run each, in arrays of at most so many tasks."""
    specs = tuple(TaskSpec(f"1-{i}", [[i, i + 1, 1]], 1) for i in range(tasks))
    size = most or tasks
    arrays = tuple((at, min(at + size, tasks)) for at in range(0, tasks, size))
    return Share(Batch(resources, specs, [], []), per_job, arrays)


def test_at_most_is_what_one_time_slice_of_every_element_may_be_charged() -> None:
    whole = bill([share(10, 4, cpus=4, gpus=1, time="30m")], None, local=False)
    assert (whole.elements, whole.arrays) == (3, 1)
    assert (whole.cpu_hours.most, whole.gpu_hours.most) == (3 * 4 * 0.5, 3 * 0.5)
    assert whole.cpu_hours.expected is None
    two = bill([share(5, 1, 2, cpus=1, time="1h"), share(2, 1, cpus=8, time="15m")], None, local=False)
    assert (two.elements, two.arrays, two.cpu_hours.most) == (7, 4, 5 + 4)


def test_without_a_time_slice_nobody_knows_the_most() -> None:
    parts = [share(5, cpus=1, time="1h"), share(2, cpus=1)]
    assert bill(parts, None, local=False).cpu_hours.most is None
    assert bill([share(5, cpus=1, time="1h")], None, local=True).cpu_hours.most is None


def test_what_is_expected_is_shared_by_the_tasks_of_an_element() -> None:
    seconds = {f"1-{i}": 3600.0 for i in range(4)}
    assert bill([share(4, 1, cpus=2)], seconds, local=False).cpu_hours.expected == 8
    assert bill([share(4, 4, cpus=4, gpus=1)], seconds, local=False).cpu_hours.expected == 4
    assert bill([share(4, 4, cpus=4, gpus=1)], seconds, local=False).gpu_hours.expected == 1


def test_nothing_costs_nothing() -> None:
    none = bill([], None, local=False)
    assert (none.elements, none.arrays, none.files) == (0, 0, 0)


def test_a_task_is_judged_by_its_own_kind_or_by_all() -> None:
    tasks = [TaskSpec(f"2-{i}", [[i, i + 1, 1]], 1) for i in range(3)]
    samples = [Sample(("a",), 100, 10), Sample(("a",), 100, 30), Sample(("b",), 100, 110)]
    found = expect(tasks, [100, 50, 100], [("a",), ("b",), ("c",)], samples)
    assert found == pytest.approx({"2-0": 20, "2-1": 55, "2-2": 50})
    assert expect(tasks, [1, 1, 1], [("a",)] * 3, []) is None


def test_stacked_lanes_are_padded() -> None:
    assert [padded(count, lanes=True) for count in (1, 16, 17)] == [16, 16, 32]
    assert padded(17, lanes=False) == 17


def test_kinds_are_programs() -> None:
    points = make_points(3, ["nmru", "nru"], rates=[0.1, 0.2])
    kinds = Kinds(points, [*LANES, "steps"])
    assert len({kinds.of(i) for i in range(len(points))}) == 2
    assert kinds.of(0) == Kinds(make_points(9, ["nmru"]), [*LANES, "steps"]).of(5)  # another generation's


def test_finished_neighbours_say_what_the_rest_takes(tmp_path: Path) -> None:
    study, cluster = Study.create(tmp_path, "s"), FakeCluster()
    few = make_wanted(make_points(16), resources={"lanes": 16, "cpus": 1, "retries": 2})
    submit(study, few, cluster, clusters=cluster, argv=())
    begun = start(study, "1-0")
    begun.write("verdict", lanes=range(16), outcome="done", steps=100)
    begun.write("end", reason="finished", seconds=36.0, peak=1, cpu=1.0)
    cluster.states["job1"] = "gone"
    more = make_wanted(make_points(48), text="more", resources={"lanes": 16, "cpus": 1, "retries": 2})
    planned = prepare(study, more, cluster, Request(), cluster)
    told = foresee(study, more, cluster, planned, study.history())
    assert told.samples == 1
    assert told.cpu_hours.expected == pytest.approx(2 * 36 / 3600)
    alone = replace(planned, cost=replace(planned.cost, iterations=planned.cost.iterations // 2))
    assert foresee(study, more, cluster, alone, study.history()).cpu_hours.expected == pytest.approx(36 / 3600)


def test_the_scheduler_is_asked_when_it_would_begin() -> None:
    class Telling(FakeCluster):
        def estimate(self, resources: Any, elements: int) -> str | None:
            return f"when {elements} are free"

    wanted, cluster = (
        make_wanted(make_points(40), resources={"lanes": 4, "time": "1h", "cpus": 1}),
        Telling(max_array=4),
    )
    planned = prepare(None, wanted, cluster, Request())
    told = foresee(None, wanted, cluster, planned, History())
    assert (told.elements, told.arrays, told.start) == (10, 3, "when 10 are free")
    assert foresee(None, wanted, cluster, planned, History(), probe=True).start == "when 2 are free"
    line = price(told)
    assert "10 elements in 3 arrays · at most 10 CPU-hours in a time slice" in line
    assert line.endswith("could begin when 10 are free")


def test_files_are_counted_as_a_worker_leaves_them(tmp_path: Path) -> None:
    study = plain_study(tmp_path, PLAIN, [{"steps": 3}, {"steps": 3}, {"steps": 3}], tasks=[[0, 1], [2]])
    assert (work(study, "1-0"), work(study, "1-1")) == (0, 0)
    entry = study.submission(1)
    parts = [Share(Batch({}, entry.tasks, [], []), 1, entry.arrays)]
    found = [path for name in ("tasks", "events") for path in (study.path / name).rglob("*") if path.is_file()]
    left = [path for path in found if path.name not in ("stdout", "stderr")]
    others = 1 + 4 + 3  # the entry; of the array; of the steward
    assert bill(parts, None, local=False).files == len(left) + others


# --- what is said of a probe ------------------------------------------------------------------------------------------


def notes(said: Any, *, probing: bool = False, memory: str | None = None, needed: str | None = None) -> str:
    wanted = make_wanted(make_points(4, ["nmru", "nru"]), resources={"memory": memory, "retries": 2})
    options = PlanOptions(lanes=LANES, resources={"memory": needed or memory})
    measured = said if isinstance(said, Passed) else None
    planned = plan(wanted.points, History(), (), options)
    return "\n".join(probe_notes(wanted, planned, said, measured, probing=probing))


def test_what_a_probe_means_is_said_in_a_sentence() -> None:
    assert notes(None) == ""
    assert (
        notes(None, probing=True) == "first a probe of 50 steps: a task of 4 (layer=nmru) and a task of 4 (layer=nru)"
    )
    passed = Passed(3 * 1024**3, 2 * 1024**3)
    assert notes(passed, memory="1G", needed="3072M") == (
        "asks for 3072M of memory: the probe measured 2.0G, and 1G was asked for"
    )
    assert "none was asked for" in notes(passed, needed="3072M")
    assert notes(passed, memory="4G") == ""
    assert "ValueError: no" in notes(Failed(b"0123456789", "Traceback\nValueError: no"))
    assert notes(Open(("1-0",)), probing=True) == "a probe is under way, and the rest comes after it"
    assert "--probe` would" in notes(Open(("1-0",)))


# --- the commands -----------------------------------------------------------------------------------------------------

GRID = """\
study: walk
command: "true ${seed}"
axes: {seed: 0..5}
resources: {cpus: 2, time: 30m}
"""

Orch = Callable[..., Result]


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A grid in the current folder, and a scheduler in memory."""
    fake = FakeCluster(name="slurm")
    monkeypatch.setattr("orchestrator.clusters.get_cluster", lambda name, kind=None: fake)
    monkeypatch.setattr("orchestrator.clusters.clusters_of", lambda study: fake)
    (tmp_path / "grid.yaml").write_text(GRID)
    return fake


def cost(told: Mapping[str, Any]) -> tuple[Any, ...]:
    found = told["cost"]
    return found["tasks"], found["elements"], found["arrays"], found["cpu_hours"]["most"]


def test_plan_dry_run_and_submit_say_the_same(grid: FakeCluster, orch: Orch) -> None:
    words = ("grid.yaml", "--cluster", "slurm", "--json")
    planned = json.loads(orch("plan", *words).stdout)
    assert cost(planned) == (6, 3, 1, 3.0)  # two workers to an element of two cores
    assert json.loads(orch("submit", *words, "-n").stdout) == planned
    assert not grid.jobs
    done = json.loads(orch("submit", *words).stdout)
    assert done["plan"] == planned
    assert (done["jobs"][0]["job_id"], done["steward"]["job_id"], done["submissions"]) == ("job1", "steward1", [1])


def test_submit_tells_a_person_what_was_handed_over(grid: FakeCluster, orch: Orch) -> None:
    done = orch("submit", "grid.yaml", "--cluster", "slurm")
    assert done.stdout == ""
    assert "3 elements in 1 array · at most 3 CPU-hours in a time slice" in done.stderr
    assert "job job1 on slurm: 3 elements" in done.stderr
    assert "steward: job steward1" in done.stderr


def test_a_probe_is_told_of_and_not_repeated(grid: FakeCluster, orch: Orch) -> None:
    words = ("grid.yaml", "--cluster", "slurm", "--probe")
    assert "first a probe of 50 steps" in orch("plan", *words).stdout
    assert "job job1 on slurm: 2 elements" in orch("submit", *words).stderr
    again = orch("submit", *words)
    assert "the probe is not over" in again.stderr
    assert list(grid.jobs) == ["job1"]
    assert "does not wait for it" in orch("plan", *words[:-1]).stdout


def test_who_says_no_is_shown_the_cost_before(
    grid: FakeCluster, orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import click

    monkeypatch.setattr("orchestrator.cli.grids.confirm", lambda plan, yes: False)
    done = orch("submit", "grid.yaml", "--cluster", "slurm")
    assert isinstance(done.exception, click.Abort)
    assert "CPU-hours" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_steward_that_is_refused_is_told_of(grid: FakeCluster, orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.errors import UserError

    def refuse(*_: Any) -> None:
        raise UserError("compute nodes may not submit")

    monkeypatch.setattr(grid, "steward", refuse)
    done = orch("submit", "grid.yaml", "--cluster", "slurm")
    assert "no steward could be left: compute nodes may not submit" in done.stderr
    assert "the next `orch submit` goes on" in done.stderr
