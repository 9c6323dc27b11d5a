"""What has become of submitit's jobs on LSF: one question for all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from submitit.core import core, logger

from orchestrator.clusters import lsf_site
from orchestrator.clusters.base import Evidence
from orchestrator.clusters.batch import Transient
from orchestrator.clusters.lsf_options import element
from orchestrator.clusters.lsf_text import Listing, Row
from orchestrator.clusters.lsf_words import explain, termination
from orchestrator.errors import UserError
from orchestrator.states import FailureClass, JobState

_STATES: Final[Mapping[JobState, str]] = {
    "pending": "PENDING", "running": "RUNNING", "unknown": "UNKNOWN", "gone": "COMPLETED",
}  # fmt: skip
_ENDS: Final[Mapping[FailureClass, str]] = {
    "oom": "OUT_OF_MEMORY", "timeout": "TIMEOUT", "preempted": "CANCELLED", "node": "NODE_FAIL",
}  # fmt: skip
"""Slurm's words, as submitit takes every word for an end that is not one of Slurm's for jobs that are alive."""


def lsf_id(job_id: str) -> str:
    """Return what LSF calls a job of submitit's: ``7_0`` is its ``7[1]``."""
    array, _, index = job_id.partition("_")
    return element(array, int(index) + 1) if index else array


class LsfInfoWatcher(core.InfoWatcher):
    """Asks one ``bjobs`` for all jobs: soon after news, and less and less often while there are none.

    Parameters
    ----------
    delay_s
        The longest time between two questions, in seconds.
    """

    FIRST: ClassVar[float] = 2.0
    """The time to the next question after news, in seconds."""

    SETTLES: ClassVar[float] = 60.0
    """Seconds for which a new job may not be listed yet: a site may answer from an older picture of its queue."""

    def __init__(self, delay_s: int = 30) -> None:
        super().__init__(delay_s=delay_s)
        self._pause = self.FIRST
        self._rows: dict[str, Row] = {}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Return a job's state, in Slurm's words as submitit wants them.

        Parameters
        ----------
        job_id
            Of submitit's.
        mode
            ``force``, ``standard`` or ``cache``: whether LSF is asked now, when it is time to, or not.
        """
        return self.get_info(job_id, mode=mode).get("State") or "UNKNOWN"

    def why(self, job_id: str) -> str:
        """Return a sentence on how a job that has ended did so; what ``bjobs`` does not tell the history does."""
        told = self._told([job_id])
        return told[job_id].why if job_id in told else self._info_dict.get(job_id, {}).get("Reason", "")

    def register_job(self, job_id: str) -> None:
        """Register a job: LSF is asked at the next opportunity."""
        super().register_job(job_id)
        self._pause = self.FIRST

    def update_if_long_enough(self, mode: str) -> None:
        """Ask LSF if it is time to, or if ``mode`` is ``force``."""
        since = time.time() - self._last_status_check
        if mode == "cache" or (mode == "standard" and since <= self._pause):
            return
        before = self._states()
        self.update()
        self._pause = self.FIRST if self._states() != before else min(float(self._delay_s), 1.5 * self._pause)

    def _states(self) -> dict[str, str]:
        return {job_id: info["State"] for job_id, info in self._info_dict.items()}

    def update(self) -> None:
        """Ask for all jobs that are not known to have ended; what is answered counts whatever the exit status."""
        waiting = sorted(self._registered - self._finished)
        if not waiting:
            return
        self._num_calls += 1
        try:
            found = lsf_site.listing(sorted({job_id.partition("_")[0] for job_id in waiting}))
            self._note(found, waiting)
        except (Transient, UserError) as error:
            logger.get_logger().warning(f"Call #{self.num_calls} - LSF tells no states just now: {error}")
        self._last_status_check = time.time()
        self._finished.update(job_id for job_id in waiting if self.is_done(job_id, mode="cache"))

    def _note(self, found: Listing, waiting: Sequence[str]) -> None:
        rows = {element(row.job_id, row.number): row for row in found.rows}
        self._rows.update({job_id: rows[lsf_id(job_id)] for job_id in waiting if lsf_id(job_id) in rows})
        missing = [job_id for job_id in waiting if lsf_id(job_id) not in rows and self._forgotten(job_id, found)]
        told = self._told(missing)
        for job_id in waiting:
            row = rows.get(lsf_id(job_id))
            if row is not None:
                self._info_dict[job_id] = _info(row, explain(row, None, None))
            elif job_id in missing:
                self._info_dict[job_id] = _info(None, told.get(job_id))

    def _forgotten(self, job_id: str, found: Listing) -> bool:
        """Return whether a job that is not listed has ended, and is not only too new."""
        array = job_id.partition("_")[0]
        certain = (array, 0) in found.unknown or (found.whole and any(row.job_id == array for row in found.rows))
        known = job_id in self._rows or any(row.job_id == array for row in found.rows)
        return certain and (known or time.time() - self._start_time > self.SETTLES)

    def _told(self, job_ids: Sequence[str]) -> dict[str, Evidence]:
        """Return what the history tells, which may be nothing."""
        if not job_ids:
            return {}
        stories = {element(*job): story for job, story in lsf_site.stories([*map(lsf_id, job_ids)]).items()}
        told = {job_id: explain(self._ended(job_id), None, stories.get(lsf_id(job_id))) for job_id in job_ids}
        return {job_id: evidence for job_id, evidence in told.items() if evidence is not None}

    def _ended(self, job_id: str) -> Row | None:
        row = self._rows.get(job_id)
        return row if row and row.word in ("DONE", "EXIT") else None


def _info(row: Row | None, evidence: Evidence | None) -> dict[str, str]:
    """Return what submitit keeps of a job. Without any evidence it is forgotten: it has ended, nobody knows how."""
    if evidence is None:
        return {"State": "FAILED", "NodeList": "", "Reason": "LSF does not know it any more, nor how it ended."}
    state = _STATES[evidence.state]
    if row and termination(row.reason).startswith("TERM_REQUEUE"):
        state = "REQUEUED"
    elif evidence.state == "gone" and evidence.failure:
        state = _ENDS.get(evidence.failure, "FAILED")
    return {"State": state, "NodeList": row.host if row else "", "Reason": evidence.why}
