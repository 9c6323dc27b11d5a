"""This machine as a cluster, besides what every cluster must do (``tests/cluster/test_conformance.py``)."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.clusters import get_cluster
from orchestrator.clusters.base import Job, Part
from orchestrator.errors import UserError
from orchestrator.study.records import Submission, TaskSpec
from tests.worker.helpers import PLAIN, eventually, plain_study

SLOW = {"steps": 10**9, "pause": 0.001}


def test_an_unknown_cluster_is_a_sentence():
    with pytest.raises(UserError, match=r"no cluster 'slurmm'; there is: local, slurm, lsf.*Did you mean 'slurm'"):
        get_cluster("slurmm")
    with pytest.raises(UserError, match="Did you mean 'local'"):
        get_cluster("locla")


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
