"""The checker finds nothing in histories that real processes could have written, and finds what was planted."""

import json

import pytest

from orchestrator.study.audit import audit
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.submit import Request, submit
from tests.study.studies import FakeCluster, finish, make_points, make_wanted, save, start


@pytest.fixture
def study(tmp_path):
    return Study.create(tmp_path, "s")


def go(study, count=2, request=None, cluster=None):
    wanted = make_wanted(make_points(count), resources={"lanes": 1, "retries": 2, "workers": 1})
    cluster = cluster or FakeCluster()
    return submit(study, wanted, cluster, request, clusters=cluster, argv=())


def faults(study):
    return [finding.fault for finding in audit(study)]


def work(study, task, job="job1"):
    study.take(int(task.partition("-")[0]), 0, job)
    return start(study, task)


def test_nothing_is_found_where_nothing_happened(study):
    go(study)
    assert audit(study) == []
    for task in ("1-0", "1-1"):
        finish(work(study, task))
    assert audit(study) == []


def test_interruptions_testimonies_and_reruns_are_in_order(study):
    cluster = FakeCluster()
    go(study, cluster=cluster)
    first = work(study, "1-0")
    save(first, 30)
    save(first, 60)
    study.testify("1-0", "oom", after=1)
    study.testify("1-1", "node", after=0, job="elsewhere")
    cluster.states["job1"] = "gone"
    go(study, cluster=cluster)
    for entry in study.chain()[1:]:
        for spec in entry.tasks:
            finish(work(study, spec.name, f"job{entry.n}"))
    assert audit(study) == []
    run = study.generation().runs[0]
    again = go(study, request=Request(rerun={run}), cluster=cluster).published[0]
    finish(work(study, again.tasks[0].name, "job9"))
    assert audit(study) == []


def test_a_verdict_that_came_too_late_is_no_second_training(study):
    """The predecessor finished after its successor had begun: what it wrote is cut, and nobody did anything wrong."""
    cluster = FakeCluster()
    go(study, count=1, cluster=cluster)
    late = work(study, "1-0")
    save(late, 30)
    cluster.states["job1"] = "gone"
    go(study, count=1, cluster=cluster)
    successor = work(study, "2-0", "job2")
    finish(late)
    finish(successor)
    assert [(finding.fault, finding.certain) for finding in audit(study)] == [("twice", False)]
    assert study.history().runs[study.generation().runs[0]].n == 2


def test_work_of_a_job_that_does_not_own_the_array_is_found(study):
    go(study)
    study.take(1, 0, "job1")
    stranger = study.begin("1-0")
    stranger.write("begin", host="here", pid=1, job="job7_0")
    assert faults(study) == ["owner"]
    owner = study.begin("1-1")
    owner.write("begin", host="here", pid=1, job="job1_1")
    assert faults(study) == ["owner"]


def test_going_on_from_a_step_that_nobody_saved_is_found(study):
    go(study)
    incarnation = work(study, "1-0")
    save(incarnation, 30)
    second = study.begin("1-0")
    second.write("begin", host="here", pid=1)
    second.write("restored", lanes=[0], steps=50)
    assert faults(study) == ["gap"]


def test_training_a_finished_run_again_unasked_is_found(study):
    go(study)
    finish(work(study, "1-0"))
    second = study.begin("1-0")
    second.write("begin", host="here", pid=1)
    second.write("restored", lanes=[0], steps=-1)
    assert faults(study) == ["twice"]


def test_a_missing_entry_and_a_missing_incarnation_are_found(study):
    cluster = FakeCluster()
    go(study, cluster=cluster)
    cluster.states["job1"] = "gone"
    go(study, cluster=cluster)
    (study.path / "submissions" / "1.json").unlink()
    assert "chain" in faults(Study(study.path))
    incarnation = work(study, "2-0", "job2")
    incarnation.path.rename(incarnation.path.with_name("2"))
    assert faults(Study(study.path)).count("chain") == 2


def test_damage_is_listed(study):
    go(study)
    incarnation = work(study, "1-0")
    with (incarnation.path / "journal.jsonl").open("ab") as journal:
        journal.write(b"{]\n" + json.dumps({"t": "end", "reason": "interrupted"}).encode() + b"\n")
    (finding,) = audit(study)
    assert finding.fault == "damage"
    assert "journal.jsonl:3" in finding.text


def test_a_job_is_told_by_its_arrays_id():
    from orchestrator.study.audit import _same_job

    assert _same_job("12_3", "12")
    assert _same_job("host:5:77", "host:5:77/2.0")
    assert not _same_job("12_3", "1")
    assert not _same_job("13", Job(1, 0, "slurm", "12").job_id)
