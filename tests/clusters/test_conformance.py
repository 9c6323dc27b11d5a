"""What every cluster must do. A new one joins by its line in the registry."""

import os
import secrets
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.clusters import KINDS, get_cluster
from orchestrator.clusters.base import Job, Part
from orchestrator.errors import UserError
from orchestrator.states import SCHEDULER_WORDS
from orchestrator.study.records import Submission, TaskSpec
from tests.worker.helpers import PLAIN, eventually, plain_study

SLOW = {"steps": 10**9, "pause": 0.001}


@pytest.fixture(params=["local"])
def cluster(request):
    return get_cluster(request.param)


def test_it_has_a_kind_and_its_name(cluster):
    assert cluster.kind in SCHEDULER_WORDS
    assert cluster.name in KINDS


def test_limits_are_positive_or_none(cluster):
    assert all(limit is None or limit > 0 for limit in cluster.limits({}))


def test_a_job_runs_and_is_gone_when_its_runs_are_done(cluster, tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 5}, {"steps": 6}], resources={"cluster": cluster.name})
    [entry] = study.chain()
    job = cluster.submit(study, entry, 0)
    assert (job.n, job.array, job.cluster) == (entry.n, 0, cluster.name)
    eventually(lambda: cluster.poll([job])[job.job_id] == "gone")
    assert {record.outcome for record in study.history().runs.values()} == {"done"}
    assert study.owner(entry.n, 0) == job.job_id


def test_an_array_handed_over_twice_is_served_once(cluster, tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW], resources={"cluster": cluster.name})
    [entry] = study.chain()
    first = cluster.submit(study, entry, 0)
    study.record_job(entry.n, 0, first)
    eventually(lambda: study.owner(entry.n, 0))
    second = cluster.submit(study, entry, 0)
    if second.job_id != first.job_id:
        eventually(lambda: cluster.poll([first, second])[second.job_id] == "gone")
    assert cluster.poll([first])[first.job_id] in ("running", "pending")
    assert study.owner(entry.n, 0) == first.job_id
    cluster.cancel([Part(first)])
    eventually(lambda: cluster.poll([first])[first.job_id] == "gone")
    assert len(study.incarnations("1-0")) == 1


def test_cancel_ends_a_job_and_its_workers_write_a_checkpoint(cluster, tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW], resources={"cluster": cluster.name})
    [entry] = study.chain()
    job = cluster.submit(study, entry, 0)
    [run] = study.task("1-0").runs
    eventually(lambda: study.history().runs[run].step > 0)
    cluster.cancel([Part(job)])
    eventually(lambda: cluster.poll([job])[job.job_id] == "gone")
    assert study.incarnations("1-0")[-1].end == "interrupted"
    assert study.restore_points([run])[run].step > 0
    cluster.cancel([Part(job)])  # what is gone does no harm


def test_poll_answers_for_jobs_it_does_not_know(cluster):
    stranger = Job(1, 0, cluster.name, f"elsewhere-{secrets.token_hex(4)}:1:1", "elsewhere")
    assert cluster.poll([stranger]).get(stranger.job_id, "unknown") in ("unknown", "gone")
    assert cluster.poll([]) == {}


def test_an_unknown_cluster_is_a_sentence():
    with pytest.raises(UserError, match=r"no cluster 'slurmm'; there is: local, slurm, lsf.*Did you mean 'slurm'"):
        get_cluster("slurmm")
    with pytest.raises(UserError, match="Did you mean 'local'"):
        get_cluster("locla")


# --- this machine -----------------------------------------------------------------------------------------------------


def test_a_recycled_process_id_is_not_mistaken():
    from orchestrator.clusters.local import job_id

    local = get_cluster("local")
    own = Job(1, 0, "local", job_id(os.getpid()))
    host, pid, start = own.job_id.rsplit(":", 2)
    recycled = replace(own, job_id=f"{host}:{pid}:{int(start) - 1}")
    assert local.poll([own, recycled]) == {own.job_id: "running", recycled.job_id: "gone"}
    local.cancel([Part(recycled)])  # would end this very process


def test_a_process_that_ended_and_was_not_waited_for_is_gone():
    from orchestrator.clusters.local import job_id

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    job = Job(1, 0, "local", job_id(child.pid))
    assert get_cluster("local").poll([job])[job.job_id] == "running"
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: get_cluster("local").poll([job])[job.job_id] == "gone")
    child.communicate()


def test_another_machine_is_unknown():
    job = Job(1, 0, "local", "some-other-host:1:1")
    assert get_cluster("local").poll([job]) == {job.job_id: "unknown"}


def test_the_share_of_a_cgroup_limits_the_cores(tmp_path):
    from orchestrator.clusters.local import usable_cores

    everything = usable_cores(tmp_path)
    assert everything == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) == everything
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1


def test_workers_take_turns_on_accelerators(monkeypatch):
    from orchestrator.clusters.local import worker_environments

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7")
    auto = worker_environments({"device": "cuda", "workers": "auto"})
    assert auto == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "GPU-7"}]
    assert len(worker_environments({"device": "cpu", "workers": 5})) == 5
    assert worker_environments({"gpus": 1, "workers": 3})[2] == {"CUDA_VISIBLE_DEVICES": "3"}


def test_a_submission_of_a_vanished_interpreter_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    study = plain_study(tmp_path, PLAIN, [{}])
    with pytest.raises(UserError, match="cannot be started"):
        get_cluster("local").submit(study, Submission(1, tasks=(TaskSpec("1-0", [[0, 1, 1]], 1),)), 0)


def test_a_steward_needs_no_terminal(tmp_path):
    study = plain_study(tmp_path, PLAIN, [SLOW])
    job = get_cluster("local").submit(study, study.submission(1), 0)
    eventually(lambda: study.owner(1, 0))
    pid = int(job.job_id.rsplit(":", 2)[1])
    assert os.getsid(pid) == pid
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    [run] = study.task("1-0").runs
    eventually(lambda: study.history().runs[run].step > 0)
    assert get_cluster("local").poll([job])[job.job_id] == "running"
    get_cluster("local").cancel([Part(job)])
    eventually(lambda: get_cluster("local").poll([job])[job.job_id] == "gone")
