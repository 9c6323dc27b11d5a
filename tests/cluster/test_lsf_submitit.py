"""submitit's plugin for LSF on LSF's commands over a real Slurm, in both dialects."""

import os
import time

import pytest

submitit = pytest.importorskip("submitit")

from submitit.core import utils  # noqa: E402

from orchestrator.clusters.lsf_executor import LsfJob  # noqa: E402
from orchestrator.clusters.lsf_watcher import LsfInfoWatcher  # noqa: E402
from tests.worker.helpers import eventually  # noqa: E402


@pytest.fixture(params=["ibm", "old"])
def executor(request, make_lsf, tmp_path, monkeypatch):
    make_lsf(dialect=request.param, terminate_interval=1.0)
    monkeypatch.setattr(LsfJob, "watcher", LsfInfoWatcher(delay_s=5))
    made = submitit.AutoExecutor(folder=tmp_path / "logs", cluster="lsf", lsf_max_num_timeout=0)
    made.update_parameters(timeout_min=5, mem_gb=0.3, lsf_array_parallelism=2)
    return made


def counter(waits):
    class Count(submitit.helpers.Checkpointable):
        def __init__(self):
            self.step, self.starts = 0, 0

        def __call__(self):
            self.starts += 1
            while self.step < 5:
                if self.step == 2 and self.starts == 1:
                    waits.touch()
                    time.sleep(60)
                self.step += 1
            return self.step, self.starts

    return Count()


def test_an_array_and_its_ends(executor):
    jobs = executor.map_array(lambda x: os._exit(7) if x == 2 else x * x if x < 3 else 1 // 0, range(4))
    assert [job.result() for job in jobs[:2]] == [0, 1]
    with pytest.raises(utils.UncompletedJobError, match="exit status 7"):
        jobs[2].result()
    with pytest.raises(utils.FailedJobError, match="ZeroDivisionError"):
        jobs[3].result()


@pytest.mark.parametrize("array", [True, False])
def test_a_checkpoint_and_a_requeue(executor, tmp_path, array):
    count = counter(tmp_path / "waits")
    job = executor.submit_array([count, lambda: 1])[0] if array else executor.submit(count)
    eventually((tmp_path / "waits").exists, 90)
    job._interrupt(timeout=True)
    assert job.result() == (5, 2)


def test_a_job_is_cancelled(executor, tmp_path):
    [job, other] = executor.map_array(lambda mark: (mark.touch(), time.sleep(60)), [tmp_path / "a", tmp_path / "b"])
    eventually((tmp_path / "a").exists, 90)
    job.cancel()
    assert isinstance(job.exception(), utils.UncompletedJobError)
    assert other.state in ("PENDING", "RUNNING")
    other.cancel()
