"""The inside of a job of submitit's on LSF: who it is, its signals, its requeue.

``python -m orchestrator.clusters.lsf_job FOLDER`` is what such a job runs.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Sequence
from typing import Final

from submitit.core import job_environment, logger, utils
from submitit.core.submission import process_job

from orchestrator.clusters import lsf_site
from orchestrator.clusters.lsf_options import element

WARNING: Final = "SUBMITIT_LSF_WARNING"
STARTED: Final = "SUBMITIT_LSF_STARTED"
"""Variables of a job: how many seconds ahead of its limit it is warned, and when it started."""


class LsfJobEnvironment(job_environment.JobEnvironment):
    """Who a job is, from the variables that LSF sets."""

    _env = {  # noqa: RUF012  (submitit's own form)
        "job_id": "LSB_JOBID",
        "num_tasks": "SUBMITIT_LSF_NTASKS",
        "num_nodes": "SUBMITIT_LSF_NNODES",
        "node": "SUBMITIT_LSF_NODE",
        "global_rank": "SUBMITIT_LSF_RANK",
        "local_rank": "SUBMITIT_LSF_LOCAL_RANK",
    }

    @property
    def array_job_id(self) -> str | None:
        """The array's id; None for a job that is no array, whose index is 0."""
        return os.environ["LSB_JOBID"] if os.environ.get("LSB_JOBINDEX", "0") != "0" else None

    @property
    def array_task_id(self) -> str | None:
        """The element, counted from 0."""
        return str(int(os.environ["LSB_JOBINDEX"]) - 1) if self.array_job_id else None

    @property
    def hostnames(self) -> Sequence[str]:
        """The machines of the job, each once."""
        hosts = os.environ.get("LSB_MCPU_HOSTS", "").split()[::2] or os.environ.get("LSB_HOSTS", "").split()
        return list(dict.fromkeys(hosts)) or [self.hostname]

    def _handle_signals(self, paths: utils.JobPaths, submission: utils.DelayedSubmission) -> None:
        sweep(paths)
        super()._handle_signals(paths, submission)
        handler = Handler(self, paths, submission)
        for number in {self._usr_sig(), signal.SIGUSR2}:  # LSF itself sends the second at the time limit
            signal.signal(number, handler.checkpoint_and_try_requeue)

    def _requeue(self, countdown: int) -> None:
        number = int(self.array_task_id) + 1 if self.array_task_id else 0
        done, said = lsf_site.requeue(element(self.raw_job_id, number))
        if not done:
            raise utils.UncompletedJobError(f"LSF did not take the job back: {said}")
        logger.get_logger().info(f"Requeued job {self.job_id} ({countdown} remaining timeouts)")


class Handler(job_environment.SignalHandler):
    """Checkpoints and asks for a requeue."""

    def has_timed_out(self) -> bool:
        """Return whether the time that is left is what a warning leaves; a preemption comes at any time."""
        limit = 60.0 * self._delayed._timeout_min
        left = limit - (time.time() - float(os.environ.get(STARTED) or self._start_time))
        timed_out = left <= float(os.environ.get(WARNING) or 0) + min(60.0, 0.1 * limit)
        logger.get_logger().info(f"Of {limit / 60:.0f} minutes {max(left, 0) / 60:.1f} are left.")
        return timed_out

    def checkpoint_and_try_requeue(self, signum: int, frame: types.FrameType | None = None) -> None:
        """Do so once: another signal meanwhile must not break the checkpoint off."""
        for number in {signum, signal.SIGUSR2}:
            signal.signal(number, self.bypass)
        sweep(self._job_paths)
        super().checkpoint_and_try_requeue(signum, frame)


def sweep(paths: utils.JobPaths) -> None:
    """Remove what an earlier start of this job was killed over: submitit refuses to write where such a file is."""
    for path in (paths.submitted_pickle, paths.result_pickle):
        path.with_suffix(f"{path.suffix}.save_tmp").unlink(missing_ok=True)


def main(folder: str) -> None:
    """Run a function that was handed over, and leave its result or error behind, whatever it is."""
    try:
        process_job(folder)
    except Exception:
        paths = LsfJobEnvironment().paths
        if not paths.result_pickle.exists():  # the result could not be pickled
            sweep(paths)
            with utils.temporary_save_path(paths.result_pickle) as aside:
                utils.cloudpickle_dump(("error", traceback.format_exc()), aside)
        raise


if __name__ == "__main__":
    main(sys.argv[1])
