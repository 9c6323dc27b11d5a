"""The steward as a job of a scheduler: it comes when jobs have ended, submits what is next, and exports in the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from orchestrator import submit
from orchestrator.clusters import clusters_of
from orchestrator.errors import UserError
from orchestrator.liveness import look
from orchestrator.steward.finish import finish
from orchestrator.study import atomic
from orchestrator.study.history import History
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.view.steward import find_probe, probe_line
from orchestrator.worker.log import LOG, to_stderr

PAUSE: Final = 60.0
"""Seconds between two tries, where the scheduler takes nothing, or does not answer."""

LONGEST: Final = 600.0
"""Seconds that a disk that takes no more is left alone for, at most."""

PATIENCE: Final = 1800.0
"""Seconds after which it leaves that to the next ``orch submit``."""

AGAIN: Final = 3
"""So often it is started again where its time ends before it is done."""


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
    # Submitted by hand, the study's place may come from a relative path; nothing here depends on the current folder.
    os.chdir(study.path)
    signal.signal(signal.SIGUSR2, _Warned(study, int(k)))
    if (pause := rest(study.history())) > 0:
        LOG.info("a disk took no more: planning again in %.0f s", pause)
        time.sleep(pause)
    deadline = time.monotonic() + PATIENCE
    while (turn := _turn(study, int(k))) == "again":
        if time.monotonic() > deadline:
            LOG.warning("this goes on for too long: what waits, waits for the next `orch submit`")
            break
        time.sleep(PAUSE)
    if turn != "successor":
        finish(study)
    return 0


class _Warned:
    """What is done at the warning that this job's time ends: the scheduler is asked to start it again, once.

    Whatever it is at goes on meanwhile. To be killed there does no harm, and if it gets ready, its successor finds
    nothing left to do.
    """

    def __init__(self, study: Study, k: int) -> None:
        self._study, self._k, self._asked = study, k, False

    def __call__(self, *_: object) -> None:
        if self._asked:
            return
        self._asked = True
        try:
            times = atomic.make_next(self._study.steward_path(self._k) / "again")[0]
            cluster = clusters_of(self._study)(submit.last_submission(self._study).cluster)
            here = cluster.here()
            if times > AGAIN:
                why = f"it was started again {AGAIN} times"
            elif here is None or not cluster.requeue(here):
                why = "the scheduler does not start it again"
            else:
                LOG.warning("the steward's time ends: it is started again, and goes on then")
                return
        except (UserError, OSError) as error:
            why = str(error)
        LOG.error(
            "the steward's time ends, and %s: give it more (`resources: {steward: {time: …}}`), or use `orch submit` "
            "and `orch export %s`",
            why,
            self._study.name,
        )


def _turn(study: Study, k: int) -> Literal["successor", "again", "over"]:
    """Submit what is next.

    Returns
    -------
    str
        ``successor``: another steward comes. ``again``: nobody does, and something waits, or the scheduler or the
        study's files are away for a moment. ``over``: nothing is left to submit, or others do it.
    """
    try:
        clusters = clusters_of(study)
        cluster = clusters(submit.last_submission(study).cluster)
        later = {number: job for number, job in study.stewards().items() if number > k}
        states = cluster.poll(list(later.values())) if later else {}
        if any(states.get(job.job_id) != "gone" for job in later.values()):
            LOG.info("superseded: steward %d goes on", max(later))
            return "successor"
        result = submit.advance(study, cluster, clusters, steward=k)
        _tell(result)
        if result.plan is None and (standing := find_probe(study, study.history())) is not None:
            LOG.warning("%s", probe_line(study.name, standing))
        if isinstance(result.steward, Job):
            return "successor"  # it comes when these jobs have ended
        if isinstance(result.steward, UserError):
            return "again"  # jobs may be at work, and nobody would come after them
        waits = bool(result.errors) or (result.plan is not None and bool(result.plan.waiting))
        return "again" if waits and not look(study, clusters).living else "over"
    except (UserError, OSError) as error:
        LOG.error("cannot go on just now: %s", error)
        return "again"


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
