"""What every cluster must do: this machine, a real Slurm, LSF's commands over it in two dialects, and your own site.

``ORCH_TESTS_SITE`` names the cluster of a site (``slurm``, ``lsf`` or a cluster profile), and ``ORCH_TESTS_FOLDER`` a
folder that its machines share: then the suite runs there, and there only. See docs/clusters.md.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters import get_cluster, profiles
from orchestrator.clusters.base import Cluster, Part
from orchestrator.errors import UserError
from orchestrator.states import SCHEDULER_WORDS, JobState
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from tests.worker.helpers import PLAIN, eventually, plain_study, series

SITE, FOLDER = os.environ.get("ORCH_TESTS_SITE"), os.environ.get("ORCH_TESTS_FOLDER")
LABS = ["local", "slurm", "slurm with accounting", "lsf", "lsf of old"]
PATIENCE = 600.0 if SITE else 180.0
"""Seconds: on a site of one's own there may be a queue."""

pytestmark = pytest.mark.timeout(6 * PATIENCE)

SLOW = {"steps": 10**9, "pause": 0.01}
SLICE = "33s"
"""A time slice of three seconds: workers are told half a minute ahead."""


@pytest.fixture(params=["site"] if SITE else LABS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cluster(kind: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if kind == "site":
        if os.geteuid() == 0:
            pytest.skip("the schedulers of a site are for its users, not for root")
        yield get_cluster(SITE or "")
        return
    if kind.startswith("slurm"):
        request.getfixturevalue("slurm_accounting" if "accounting" in kind else "slurm")
    if kind.startswith("lsf"):
        make = request.getfixturevalue("make_lsf")
        make(dialect="old" if "old" in kind else "ibm", terminate_interval=1.0)
    yield get_cluster(kind.partition(" ")[0])


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder that the jobs see."""
    if not SITE:
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="orch-test-", dir=FOLDER or Path.cwd()))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def make(folder: Path, cluster: Cluster, rows: list[dict[str, Any]], *, per_job: int = 1, **resources: Any) -> Study:
    profile = profiles.read(cluster.name)
    asked = {"cluster": cluster.name, "memory": "300M", **(profile.resources if profile else {}), **resources}
    return plain_study(
        folder, PLAIN, rows, cluster=cluster.name, scheduler=cluster.kind, per_job=per_job, resources=asked
    )


def submit(study: Study, cluster: Cluster, array: int = 0) -> Job:
    job = cluster.submit(study, study.submission(1), array)
    study.record_job(1, array, job)
    return job


def states(cluster: Cluster, job: Job, elements: int = 1) -> list[JobState]:
    answer = cluster.poll([job])
    return [answer.get(job.element(index), answer[job.job_id]) for index in range(elements)]


def wait_gone(cluster: Cluster, job: Job, elements: int = 1) -> None:
    eventually(lambda: set(states(cluster, job, elements)) == {"gone"}, PATIENCE)


def steps(study: Study) -> list[int]:
    runs = study.history().runs
    return [runs[study.task(spec.name).runs[0]].step for spec in study.submission(1).tasks]


def test_it_has_a_kind_and_its_name(cluster):
    assert cluster.kind in SCHEDULER_WORDS
    assert cluster.name == get_cluster(cluster.name).name


def test_limits_are_positive_or_none(cluster):
    assert all(limit is None or limit > 0 for limit in cluster.limits({}))
    bounded = cluster.limits({"limits": {"array": 3, "jobs": 7}})
    if cluster.kind != "local":
        assert bounded.max_array == 3
        assert bounded.room is not None
        assert bounded.room <= 7


def test_a_job_runs_and_is_gone_when_its_runs_are_done(cluster, tmp_path):
    study = make(tmp_path, cluster, [{"steps": 5}, {"steps": 6}])
    job = submit(study, cluster)
    assert (job.n, job.array, job.cluster) == (1, 0, cluster.name)
    wait_gone(cluster, job, 2)
    assert {record.outcome for record in study.history().runs.values()} == {"done"}
    assert study.owner(1, 0) == job.job_id
    assert [len(study.incarnations(name)) for name in ("1-0", "1-1")] == [1, 1]


def test_tasks_side_by_side_in_one_element(cluster, tmp_path):
    study = make(tmp_path, cluster, [{"steps": 5 + at} for at in range(5)], per_job=2, cpus=2)
    job = submit(study, cluster)
    wait_gone(cluster, job, 3)
    assert {record.outcome for record in study.history().runs.values()} == {"done"}


def test_an_array_handed_over_twice_is_served_once(cluster, tmp_path):
    study = make(tmp_path, cluster, [SLOW])
    first = submit(study, cluster)
    eventually(lambda: study.owner(1, 0), PATIENCE)
    study.script_path(1, 0).unlink(missing_ok=True)  # or it would be looked for, and found
    second = cluster.submit(study, study.submission(1), 0)
    if second.job_id != first.job_id:
        wait_gone(cluster, second)
    assert states(cluster, first) == ["running"]
    assert study.owner(1, 0) == first.job_id
    cluster.cancel([Part(first)])
    wait_gone(cluster, first)
    assert len(study.incarnations("1-0")) == 1


def test_cancel_ends_a_job_and_its_workers_write_a_checkpoint(cluster, tmp_path):
    study = make(tmp_path, cluster, [SLOW])
    job = submit(study, cluster)
    [run] = study.task("1-0").runs
    eventually(lambda: study.history().runs[run].step > 0, PATIENCE)
    cluster.cancel([Part(job)])
    wait_gone(cluster, job)
    assert study.incarnations("1-0")[-1].end == "interrupted"
    assert study.restore_points([run])[run].step > 0
    cluster.cancel([Part(job)])  # what is gone does no harm


def test_cancel_ends_one_element_and_leaves_the_others(cluster, tmp_path):
    if cluster.kind == "local":
        pytest.skip("the elements of this machine's jobs are tasks of one steward")
    study = make(tmp_path, cluster, [SLOW, SLOW, SLOW])
    job = submit(study, cluster)
    eventually(lambda: min(steps(study)) > 0, PATIENCE)
    cluster.cancel([Part(job, (1,))])
    eventually(lambda: states(cluster, job, 3) == ["running", "gone", "running"], PATIENCE)
    cluster.cancel([Part(job)])
    wait_gone(cluster, job, 3)


def test_what_waits_is_pending_and_can_be_cancelled(cluster, tmp_path):
    if cluster.kind == "local":
        pytest.skip("this machine starts every job at once")
    study = make(tmp_path, cluster, [SLOW, SLOW], parallel=1)
    job = submit(study, cluster)
    eventually(lambda: sorted(states(cluster, job, 2)) == ["pending", "running"], PATIENCE)
    found = cluster.evidence([Part(job)])
    assert {told.state for told in found.values()} == {"pending", "running"}
    assert all(told.why for told in found.values() if told.state == "pending")
    cluster.cancel([Part(job)])
    wait_gone(cluster, job, 2)


def test_a_slice_that_ends_is_continued_to_the_identical_series(cluster, tmp_path):
    whole = make(tmp_path / "whole", cluster, [{"steps": 200}])
    wait_gone(cluster, submit(whole, cluster))
    rows, time = [{"steps": 200, "pause": 0.02}], "3s" if cluster.kind == "local" else SLICE
    sliced = make(tmp_path / "sliced", cluster, rows, time=time, checkpoint="60s")
    job = submit(sliced, cluster)
    [run] = sliced.task("1-0").runs
    eventually(lambda: sliced.history().runs[run].outcome == "done", PATIENCE)
    wait_gone(cluster, job)
    assert len(sliced.incarnations("1-0")) > 1
    assert {log.end for log in sliced.incarnations("1-0")} == {"requeued", "finished"}
    assert sorted(set(series(sliced, run))) == series(whole, whole.task("1-0").runs[0])


def test_a_steward_comes_when_jobs_have_ended(cluster, tmp_path):
    study = make(tmp_path, cluster, [SLOW])
    job = submit(study, cluster)
    k, folder = study.new_steward()
    steward = cluster.steward(study, k, study.submission(1).resources, [job])
    if steward is None:
        assert cluster.kind == "local"
        cluster.cancel([Part(job)])
        wait_gone(cluster, job)
        return
    study.record_steward(k, steward)
    eventually(lambda: study.owner(1, 0), PATIENCE)
    assert states(cluster, steward) == ["pending"]
    study.publish(cancel_all())
    cluster.cancel([Part(job)])
    wait_gone(cluster, job)
    wait_gone(cluster, steward)
    assert folder.is_dir()
    assert list(folder.iterdir())


def cancel_all():
    from orchestrator.study.records import Submission

    return Submission(2, kind="cancel", cancel="all", generation=1)


def test_poll_answers_for_jobs_it_does_not_know(cluster, tmp_path):
    study = make(tmp_path, cluster, [{}])
    strangers = [Job(1, 0, cluster.name, name, "elsewhere") for name in ("elsewhere-1:1:1", "4000000")]
    for job in strangers:
        assert cluster.poll([job]).get(job.job_id, "unknown") in ("unknown", "gone")
    assert cluster.poll([]) == {}
    job = submit(study, cluster)
    answer = cluster.poll([*strangers, job])
    assert answer.get(job.element(0), answer[job.job_id]) in ("pending", "running", "gone")
    assert cluster.evidence([Part(stranger) for stranger in strangers]) is not None
    wait_gone(cluster, job)


def test_a_failed_process_is_told(cluster, tmp_path):
    study = make(tmp_path, cluster, [{"how": "kill", "fail_at": 3}])
    job = submit(study, cluster)
    wait_gone(cluster, job)
    [record] = study.history().runs.values()
    assert record.outcome is None


def test_this_process_is_no_job(cluster):
    assert cluster.here() is None


def test_refusals_are_sentences(cluster, tmp_path):
    if cluster.kind == "local":
        pytest.skip("this machine refuses nothing")
    option = {"slurm": "partition", "lsf": "queue"}[cluster.kind]
    study = make(tmp_path, cluster, [{}], **{option: "nosuch"})
    with pytest.raises(UserError, match=option):
        cluster.submit(study, study.submission(1), 0)
