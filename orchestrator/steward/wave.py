"""The steward as a job of a scheduler: it comes when jobs have ended, submits what is next, and exports in the end."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator import submit
from orchestrator.clusters import clusters_of
from orchestrator.liveness import look
from orchestrator.steward.finish import finish
from orchestrator.study.history import History
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.worker.log import LOG, to_stderr

PAUSE: Final = 60.0
"""Seconds between two tries, where the scheduler takes nothing although no job of the study is left to wait for."""

LONGEST: Final = 600.0
"""Seconds that a disk that takes no more is left alone for, at most."""

PATIENCE: Final = 1800.0
"""Seconds after which it leaves that to the next ``orch submit``."""


def main(argv: Sequence[str]) -> int:
    """Go on with a study.

    Parameters
    ----------
    argv
        The study's folder, and the steward's number.

    Returns
    -------
    int
        0, also if a later steward is there that will do it.
    """
    to_stderr()
    folder, k = argv
    study = Study(Path(folder))
    clusters = clusters_of(study)
    cluster = clusters(submit.last_submission(study).cluster)
    # Submitted by hand, the study's place may come from a relative path; nothing here depends on the current folder.
    os.chdir(study.path)
    if (pause := rest(study.history())) > 0:
        LOG.info("a disk took no more: planning again in %.0f s", pause)
        time.sleep(pause)
    deadline = time.monotonic() + PATIENCE
    while True:
        later = {number: job for number, job in study.stewards().items() if number > int(k)}
        states = cluster.poll(list(later.values())) if later else {}
        if any(states.get(job.job_id) != "gone" for job in later.values()):
            LOG.info("superseded: steward %d goes on", max(later))
            return 0
        result = submit.advance(study, cluster, clusters, steward=int(k))
        _tell(result)
        if isinstance(result.steward, Job):
            return 0  # it comes when these jobs have ended
        waits = bool(result.errors) or (result.plan is not None and bool(result.plan.waiting))
        if not waits or look(study, clusters).living or time.monotonic() > deadline:
            break
        time.sleep(PAUSE)
    if waits:
        LOG.warning("the scheduler takes no more: what waits, waits for the next `orch submit`")
    finish(study)
    return 0


def rest(history: History) -> float:
    """Return how many seconds to leave a disk alone that took no more: twice as long every time."""
    times = [
        record.used.get("disk", 0)
        for record in history.runs.values()
        if record.failure == "disk" and not (record.outcome or record.cancelled)
    ]
    return min(2.0 ** max(times), LONGEST) if times else 0.0


def _tell(result: submit.Result) -> None:
    for entry in result.published:
        LOG.info("submission %d: %d tasks", entry.n, len(entry.tasks))
    for job in result.jobs:
        LOG.info("submission %d, array %d is job %s", job.n, job.array, job.job_id)
    for entry, array, error in result.errors:
        LOG.error("submission %d, array %d was not handed over: %s", entry.n, array, error)
    if isinstance(result.steward, Exception):
        LOG.error("no steward could be left: %s", result.steward)
    elif result.steward is not None:
        LOG.info("steward: job %s", result.steward.job_id)
