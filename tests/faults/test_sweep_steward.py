"""The steward of this machine, and an element of a scheduler's array, killed at any call: the next submit goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from orchestrator import submit
from orchestrator.clusters import local
from orchestrator.clusters.local import LocalCluster
from orchestrator.steward import local as steward
from orchestrator.study import code
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.worker import pool, recorder
from orchestrator.worker.fork import fork
from tests.faults.forked import NOISY, ForkCluster, copy, noisy, repair, sample, train
from tests.faults.inject import Mortal, in_child
from tests.faults.proof import proven, rows
from tests.worker import stub
from tests.worker.helpers import eventually, make_study

HOWS = ["before", "after", "lost"]

DIES_ONCE = NOISY["toy/train.py"].replace(
    "    while state",
    """    import os, signal
    if run.seed == 1 and not os.path.exists(os.environ["TOY_MARK"]):
        open(os.environ["TOY_MARK"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    while state""",
)
"""One of the runs dies when it is first begun, so that the steward has something to plan."""


class Forked:
    """Stands for ``subprocess.Popen``: runs one of our functions in a forked process, as its interpreter would."""

    def __init__(self, command, **options) -> None:
        target, arguments = command[4], command[5:]
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                os.setsid()
                for stream, number in (("stdout", 1), ("stderr", 2)):
                    os.dup2(options[stream].fileno(), number)
                sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
                os.chdir(options["cwd"])
                assert target == "orchestrator.steward.local:main"
                status = _serve(arguments)
            finally:
                os._exit(status)
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


def _serve(arguments) -> int:
    study = Study(steward.Path(arguments[0]))
    entry = study.submission(int(arguments[1]))
    sys.path.insert(0, str(study.code_dir(entry.code)))
    return steward.main(arguments)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Have stewards and workers forked from this process."""
    monkeypatch.setattr(pool, "execute", fork)
    monkeypatch.setattr(local, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": Forked}))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(recorder, "CHECKPOINT_SHARE", 1e9)
    monkeypatch.setattr(code, "installed_packages", lambda: {"python": "3"})
    monkeypatch.setenv("TOY_MARK", str(tmp_path / "mark"))


def local_study(folder, **fields):
    rows = [{"seed": seed, "steps": 6} for seed in range(4)]
    files = {**NOISY, "toy/train.py": DIES_ONCE}
    resources = {"checkpoint": "0s", "workers": 2, "retries": 2}
    return make_study(folder, rows, files=files, lanes=["seed", "steps"], resources=resources, **fields)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    study = noisy(tmp_path_factory.mktemp("calm"), 4, tasks=[[0, 1, 2, 3]])
    ForkCluster("fake").adopt(study)
    assert train(study, "1-0").status == 0
    return rows(study)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return local_study(tmp_path_factory.mktemp("published"))


def settled(study):
    """Wait until no steward of a study lives, and no worker."""
    jobs = [job for job in study.jobs() if job.cluster == "local"]
    eventually(lambda: all(state == "gone" for state in LocalCluster().poll(jobs).values()))

    def living():
        for entry in study.chain():
            for spec in entry.tasks:
                for log in study.incarnations(spec.name):
                    start = log.begin.get("start")
                    if start is not None and local.start_time(log.begin["pid"]) == start:
                        return True
        return False

    eventually(lambda: not living())


def repaired(study):
    """Submit again, until nothing is left to do."""
    for _ in range(3):
        settled(study)
        fresh = Study(study.path)
        result = submit.submit(fresh, submit.again(fresh, frozen=True), LocalCluster(), submit.Request(shrink="ignore"))
        if not result.jobs:
            return
        settled(fresh)


@pytest.mark.parametrize("how", HOWS)
def test_a_steward_killed_at_any_call_is_replaced(published, expected, tmp_path, how):
    trial = copy(published, tmp_path / "trial")
    ended = in_child(lambda: _serve([str(trial.path), "1", "0"]), Mortal(trial.path, 0, how))
    assert ended.status == 0
    proven(trial, expected)
    assert len(trial.chain()) == 2  # one run died, and was taken up by the steward itself
    for k in sample(ended.calls, 8):
        (tmp_path / "mark").unlink(missing_ok=True)
        hurt = copy(published, tmp_path / str(k))
        in_child(lambda hurt=hurt, k=k: _serve([str(hurt.path), "1", "0"]), Mortal(hurt.path, k, how))
        repaired(hurt)
        proven(hurt, expected)
        shutil.rmtree(hurt.path)


@pytest.mark.parametrize("how", HOWS)
def test_an_element_killed_at_any_call_is_replaced(expected, tmp_path_factory, tmp_path, monkeypatch, how):
    """Two workers side by side; one of them dies without a word, and the element writes down that it did."""
    monkeypatch.setenv("STUB_JOB", "job1")
    monkeypatch.setenv("STUB_ELEMENT", "0")
    fields = {"cluster": "slurm", "scheduler": "slurm", "per_job": 4}
    published = local_study(tmp_path_factory.mktemp("element"), **fields)
    trial = copy(published, tmp_path / "trial")
    ended = in_child(lambda: _element(trial), Mortal(trial.path, 0, how))
    assert ended.status == 0
    assert [log.end for log in trial.incarnations("1-1")] == [None, "lost"]
    assert ended.calls > 8
    for k in sample(ended.calls, 6):
        (tmp_path / "mark").unlink(missing_ok=True)
        hurt, cluster = copy(published, tmp_path / str(k)), ForkCluster("slurm")
        died = in_child(lambda hurt=hurt: _element(hurt), Mortal(hurt.path, k, how))
        assert died.status == -signal.SIGKILL
        settled(hurt)
        cluster.jobs["job1"], cluster.states["job1"] = (1, 0), "gone"
        hurt.record_job(1, 0, Job(1, 0, "slurm", "job1"))
        repair(hurt, cluster)
        proven(hurt, expected)
        shutil.rmtree(hurt.path)


def _element(study) -> int:
    sys.path.insert(0, str(study.code_dir(study.submission(1).code)))
    return stub.main([str(study.path), "1", "0"])
