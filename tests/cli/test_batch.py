"""The commands that read and steer, on a batch scheduler: elements, stewards, evidence, one query."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator import identity
from orchestrator.cli import common, logs, run
from orchestrator.clusters.base import Evidence, Part
from orchestrator.errors import ExitCode, UserError
from orchestrator.states import JobState
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.submit import Request, submit
from orchestrator.view.overview import observe
from tests.study.studies import FakeCluster, ids, make_points, make_wanted, save, start

Orch = Callable[..., Result]


@dataclass
class Elements(FakeCluster):
    """A scheduler that tells elements apart."""

    elements: dict[str, JobState] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)
    explained: list[Part] = field(default_factory=list)

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        self.asked.append([job.job_id for job in jobs])
        return {**super().poll(jobs), **self.elements}

    def evidence(self, parts: Sequence[Part]) -> dict[str, Evidence]:
        self.explained += parts
        return self.said


@dataclass
class Batch:
    """Twelve runs in six tasks, two to an element: element 0 trains, 1 is in the queue, 2 has ended."""

    study: Study
    cluster: Elements
    runs: list[bytes]

    def name(self, run: int) -> str:
        return identity.to_text(self.runs[run])


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    study, cluster, points = Study.create(tmp_path / "runs", "s"), Elements(name="slurm"), make_points(12)
    resources = {"lanes": 2, "cpus": 2, "retries": 1, "memory": "2G", "cluster": "slurm"}
    wanted = make_wanted(points, resources=resources)
    submit(study, wanted, cluster, Request(), clusters=cluster, argv=())
    cluster.states["job1"] = "pending"
    cluster.elements = {"job1_0": "running", "job1_2": "gone"}
    first = start(study, "1-0")
    save(first, 40)
    ended = start(study, "1-4")
    ended.write("failed", lanes=[0, 1], message="ValueError: no", signature="no", **{"class": "user error"})
    ended.write("end", reason="finished", peak=600 * 1024**2, cpu=2.0, seconds=3.0)
    monkeypatch.setattr("orchestrator.clusters.clusters_of", lambda _: cluster)
    monkeypatch.setattr("orchestrator.clusters.get_cluster", lambda name, kind=None: cluster)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCH_ROOT", raising=False)
    return Batch(study, cluster, ids(points))


# --- status -----------------------------------------------------------------------------------------------------------


def test_one_query_a_look_whatever_the_jobs_and_stewards(batch: Batch) -> None:
    for k in range(30):
        batch.study.record_steward(batch.study.new_steward()[0], Job(0, 0, "slurm", f"old{k}"))
    batch.cluster.asked.clear()
    observe(batch.study)
    assert len(batch.cluster.asked) == 1
    assert batch.cluster.asked[0][0] == "job1"
    assert len(batch.cluster.asked[0]) < 30  # the oldest stewards are not asked for for ever


def test_status_counts_elements_and_names_the_steward(batch: Batch, orch: Orch) -> None:
    status = json.loads(orch("status", "s", "--json").stdout)
    assert {name: count for name, count in status["runs"].items() if count} == {
        "total": 12, "live": 8, "failed": 2, "lost": 2
    }  # fmt: skip
    assert status["live"] == {"running": 2, "queued": 6}
    assert status["steward"] == {
        "number": 1, "cluster": "slurm", "job": "steward1", "state": "pending",
        "says": "waits for the end of job job1",
    }  # fmt: skip
    assert not status["idle"]
    text = orch("status", "s").stdout
    assert "steward steward1 on slurm is pending: waits for the end of job job1" in text
    assert "orch submit" not in text


@pytest.mark.parametrize(
    ("state", "idle"), [("pending", False), ("running", False), ("unknown", False), ("gone", True)]
)
def test_a_study_is_idle_when_its_steward_is_gone(batch: Batch, orch: Orch, state: JobState, idle: bool) -> None:
    batch.cluster.states["job1"] = "gone"
    batch.cluster.elements.clear()
    batch.cluster.stewards["steward1"] = state
    assert observe(batch.study).idle == idle
    assert ("10 runs wait for your next `orch submit`" in orch("status", "s").stdout) == idle


def test_status_says_what_a_failed_probe_means(batch: Batch, orch: Orch) -> None:
    entry = batch.study.submission(1)
    probe = entry.from_json({**entry.to_json(), "n": 2, "tasks": [["2-0", [[4, 5, 1]], 1]], "arrays": [[0, 1]],
                             "probe": 50, "tag": ""})  # fmt: skip
    batch.study.publish(probe)
    begun = start(batch.study, "2-0")
    begun.write("failed", lanes=[0], message="ValueError: no", signature="no", **{"class": "user error"})
    begun.write("end", reason="finished")
    text = orch("status", "s").stdout
    assert "the probe failed, and nothing else was submitted: ValueError: no" in text
    assert "`orch retry s`" in text
    assert json.loads(orch("status", "s", "--json").stdout)["probe"]["run"] == batch.name(4)


# --- watching ---------------------------------------------------------------------------------------------------------


def test_a_scheduler_is_asked_more_rarely_than_this_machine(batch: Batch) -> None:
    assert common.patience(batch.study) == 10
    assert common.patience(Study.create(batch.study.path.parent, "empty")) == 1


def test_run_waits_for_a_steward_that_exports(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    batch.cluster.states["job1"] = "gone"
    batch.cluster.elements.clear()
    left: list[JobState] = ["running", "pending"]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        batch.cluster.stewards["steward1"] = left.pop() if left else "gone"

    monkeypatch.setattr(run.time, "sleep", sleep)
    run.settle(batch.study, 0.5)
    assert slept == [0.5, 0.5, 0.5]
    run.settle(batch.study)
    assert len(slept) == 3


def test_watch_ends_when_nobody_is_left(batch: Batch, orch: Orch) -> None:
    batch.cluster.states["job1"] = "gone"
    batch.cluster.elements.clear()
    batch.cluster.stewards["steward1"] = "gone"
    done = orch("watch", "s", "--json")
    assert done.return_value == ExitCode.RUNS_FAILED
    assert json.loads(done.stdout)["idle"]


# --- explain ----------------------------------------------------------------------------------------------------------


def test_explain_asks_for_the_runs_own_element(batch: Batch, orch: Orch) -> None:
    why = "it waits for its turn: 3 jobs come first"
    batch.cluster.said = {"job1_1": Evidence("PENDING", "pending", None, why, ("state: PENDING", "start: soon"))}
    text = orch("explain", "s", batch.name(6)).stdout
    assert batch.cluster.explained == [Part(batch.study.jobs()[0], (1,))]
    assert "live: its job is in the queue" in text
    assert "element 1 of job job1 on slurm" in text
    assert f"PENDING: {why}" in text
    assert "start: soon" in text
    assert "state: PENDING" not in text  # said before
    assert "steward1 on slurm is pending" in text
    assert len(text.splitlines()) < 24
    known = json.loads(orch("explain", "s", batch.name(6), "--json").stdout)
    assert known["schema"] == 1
    assert known["said"] == {"word": "PENDING", "why": why, "details": ["state: PENDING", "start: soon"]}
    assert (known["place"]["key"], known["place"]["memory"], known["place"]["per_job"]) == ("job1_1", "2G", 2)


def test_explain_says_what_befell_a_run_and_the_mend(batch: Batch, orch: Orch) -> None:
    text = orch("explain", "s", batch.name(8)).stdout
    assert text.startswith(f"{batch.name(8)}  failed: user error: ValueError: no")
    assert f"mend the code or the grid; then `orch retry s {batch.name(8)}`" in text
    assert "at most 600M of 2G asked by 2 tasks" in text
    row = next(line for line in text.splitlines() if line.startswith("1-4/1"))
    assert row.split()[-2:] == ["600M", "3s"]


def test_explain_reads_what_a_job_printed_when_no_worker_began(batch: Batch, orch: Orch) -> None:
    log = batch.study.log_path(1, 0)
    log.write_text("module: command not found\n")
    text = orch("explain", "s", batch.name(10)).stdout
    assert "lost" in text
    assert str(log) in text
    assert "module: command not found" in text
    assert "nothing: steward steward1" in text
    assert "module: command not found" not in orch("explain", "s", batch.name(8)).stdout


def test_explain_asks_nobody_about_what_is_done_or_was_never_handed_over(batch: Batch, orch: Orch) -> None:
    begun = start(batch.study, "1-5")
    begun.write("verdict", lanes=[0, 1], outcome="done", steps=100)
    begun.write("end", reason="finished")
    assert "done: all its steps were made" in orch("explain", "s", batch.name(10)).stdout
    assert batch.cluster.explained == []


def test_explain_without_an_answer_still_says_what_is_known(batch: Batch, orch: Orch) -> None:
    def refuse(jobs: Sequence[Job]) -> dict[str, JobState]:
        raise UserError("the scheduler does not answer")

    batch.cluster.poll = refuse  # type: ignore[method-assign]
    text = orch("explain", "s", batch.name(6)).stdout
    assert "(the scheduler does not answer)" in text
    assert batch.cluster.explained == []  # it would not answer that either


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_cancel_ends_only_elements_without_other_runs_and_says_so(batch: Batch, orch: Orch) -> None:
    done = orch("cancel", "s", "1-2", "1-0")
    assert "cancelled 4 runs" in done.stderr
    assert "ended" not in done.stderr  # each shares its element with a task that goes on
    done = orch("cancel", "s", "1-3", "--json")
    told = json.loads(done.stdout)
    assert told["ended"] == [{"n": 1, "array": 0, "job": "job1", "elements": [1]}]
    assert told["cancelled"] == [batch.name(6), batch.name(7)]
    assert "ended job job1" in orch("cancel", "s", "-y").stderr


def test_elements_are_named_in_spans() -> None:
    from orchestrator.cli.cancel import name

    job = Job(1, 0, "slurm", "17")
    assert name(Part(job)) == "job 17"
    assert name(Part(job, (4,))) == "element 4 of job 17"
    assert name(Part(job, (3, 4, 5, 9))) == "elements 3-5, 9 of job 17"
    assert name(Part(job, (0, 2, 4))) == "elements 0-4:2 of job 17"


def test_an_order_stands_when_the_scheduler_does_not_answer(batch: Batch, orch: Orch) -> None:
    def refuse(parts: Sequence[Part]) -> None:
        raise UserError("no answer", exit_code=ExitCode.SCHEDULER_UNREACHABLE)

    batch.cluster.cancel = refuse  # type: ignore[method-assign]
    done = orch("cancel", "s", "-y")
    assert done.return_value == ExitCode.SCHEDULER_UNREACHABLE
    assert "the order stands" in done.stderr
    assert observe(batch.study).runs["cancelled"] == 12


# --- logs -------------------------------------------------------------------------------------------------------------


def test_logs_of_the_steward_that_wrote_last(batch: Batch, orch: Orch) -> None:
    assert "its steward has not" in str(orch("logs", "s").exception)
    (batch.study.steward_path(1) / "stdout").write_text("submission 2: 4 tasks\n")
    k, folder = batch.study.new_steward()
    (folder / "stdout").touch()
    assert k == 2
    done = orch("logs", "s")
    assert done.stdout == "submission 2: 4 tasks\n"
    told = json.loads(orch("logs", "s", "--json").stdout)
    assert told["files"] == [{"path": str(batch.study.steward_path(1) / "stdout"), "text": "submission 2: 4 tasks\n"}]


def test_logs_of_a_run_whose_worker_never_began_are_its_jobs(batch: Batch, orch: Orch) -> None:
    batch.study.log_path(1, 0).write_text("module: command not found\n")
    assert orch("logs", "s", batch.name(10)).stdout == "module: command not found\n"
    assert "nothing was printed" in orch("logs", "s", batch.name(0)).stderr
    (batch.study.task_path("1-0", 1) / "stdout").write_text("trains\n")
    assert orch("logs", "s", batch.name(0)).stdout == "trains\n"


def test_followed_logs_go_on_to_the_next_steward(batch: Batch, orch: Orch, monkeypatch: pytest.MonkeyPatch) -> None:
    (batch.study.steward_path(1) / "stdout").write_text("one\n")
    looks = iter(["two", "gone"])

    def sleep(seconds: float) -> None:
        assert seconds == logs.INTERVAL
        if next(looks) == "two":
            (batch.study.new_steward()[1] / "stdout").write_text("two\n")
            return
        batch.cluster.states["job1"] = "gone"
        batch.cluster.elements.clear()
        batch.cluster.stewards["steward1"] = "gone"
        monkeypatch.setattr(common, "INTERVALS", {"slurm": 0.0})

    monkeypatch.setattr(logs.time, "sleep", sleep)
    monkeypatch.setattr(common, "SCHEDULER_INTERVAL", 0.0)
    batch.cluster.asked.clear()
    assert orch("logs", "s", "-f").stdout == "one\ntwo\n"


def test_json_and_follow_do_not_go_together(batch: Batch, orch: Orch) -> None:
    assert "does not go with --follow" in str(orch("logs", "s", "-f", "--json").exception)
