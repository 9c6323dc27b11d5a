"""LSF and its relatives, as far as ``bsub``, ``bjobs``, ``bkill`` and ``brequeue`` are alike.

LSF counts the elements of an array from 1, we from 0: only here and in the modules called ``lsf_…`` is the difference
known. LSF's own report of a job goes to ``/dev/null``, as it would come by mail or hold the output back until the end;
the script itself appends what it prints to a log.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator import units
from orchestrator.clusters import lsf_options, lsf_site
from orchestrator.clusters.base import (
    ELEMENT,
    WAVE,
    Evidence,
    Here,
    Job,
    JobState,
    LimitReached,
    Limits,
    Part,
    python_command,
)  # fmt: skip
from orchestrator.clusters.batch import (
    STEWARD_LOG,
    STEWARD_SCRIPT,
    Transient,
    exec_line,
    patience,
    prologue,
    steward_resources,
    tag,
)  # fmt: skip
from orchestrator.clusters.lsf_options import Ask, element, elements_of
from orchestrator.clusters.lsf_site import facts
from orchestrator.clusters.lsf_words import FORGOTTEN, UNWRITABLE, explain
from orchestrator.errors import UserError
from orchestrator.states import read_word
from orchestrator.study import atomic

if TYPE_CHECKING:
    from orchestrator.study.records import Submission
    from orchestrator.study.study import Study

__all__ = ["LsfCluster", "facts", "script"]

SETTLES: Final = 60.0
"""Seconds for which a new job may not be listed yet: a site may answer from an older picture of its queue."""

EXPLAINED: Final = 200
"""Elements whose history is looked up at one time: it is read from files that may be large."""

_OURS = re.compile(r"-(J|o|oo|e|eo|i|is|K|I\w*|pack|Zs?)")


class LsfCluster:
    """The LSF whose commands are on PATH.

    Parameters
    ----------
    name
        The name in ``resources.cluster``.
    """

    kind = "lsf"

    def __init__(self, name: str) -> None:
        self.name = name

    # --- handing over -----------------------------------------------------------------------------------------------

    def submit(self, study: Study, submission: Submission, array: int) -> Job:
        """Hand an array over; one that an earlier process handed over without living to tell is found and adopted."""
        n, resources, count = submission.n, submission.resources, submission.elements(array)
        name, path, most = tag(study, f"{n}.{array}"), study.script_path(n, array), lsf_site.dialect().max_array
        if count > most:
            raise LimitReached(f"an array of {count} elements is larger than LSF's MAX_JOB_ARRAY_SIZE here, {most}")
        command = python_command(
            study.code_dir(submission.code), ELEMENT, study.path, n, array, python=resources.get("python")
        )
        text = script(resources, command, name=name, folder=study.path, log=study.log_path(n, array), elements=count)
        again = path.exists()
        atomic.replace(path, text.encode())
        job_id = lsf_site.hand_over(text, resources, name=name, again=again)
        return Job(n, array, self.name, job_id, socket.gethostname(), _extra(study, name))

    def steward(self, study: Study, k: int, resources: Mapping[str, Any], after: Sequence[Job]) -> Job | None:
        """Leave a one-core job that begins when ``after`` have ended, however they ended."""
        folder, own = study.steward_path(k), steward_resources(resources)
        name, path = tag(study, f"steward{k}"), folder / STEWARD_SCRIPT
        digest = next((entry.code for entry in reversed(study.chain()) if entry.code), None)
        code = study.code_dir(digest) if digest else None
        command = python_command(code, WAVE, study.path, k, python=own.get("python"))
        atomic.make_folder(folder)

        def leave(jobs: Iterable[Job]) -> str:
            text = script(own, command, name=name, folder=study.path, log=folder / STEWARD_LOG, after=jobs)
            atomic.replace(path, text.encode())
            return lsf_site.hand_over(text, own, "resources.steward", name=name)

        try:
            job_id = leave(after)
        except UserError as error:
            if not FORGOTTEN.search(str(error)):
                raise
            # A job that ended long ago is not known any more, and so cannot be waited for.
            job_id = leave(self._alive(after))
        return Job(0, 0, self.name, job_id, socket.gethostname(), _extra(study, name))

    def _alive(self, jobs: Sequence[Job]) -> list[Job]:
        alive = {key.partition("_")[0] for key, state in self.poll(jobs).items() if state != "gone"}
        return [job for job in jobs if job.job_id in alive]

    def limits(self, resources: Mapping[str, Any]) -> Limits:
        """Return what LSF and ``resources["limits"]`` allow now."""
        own, most = resources.get("limits") or {}, lsf_site.dialect().max_array
        return Limits(min(most, own.get("array") or most), lsf_site.room(own.get("jobs")))

    def estimate(self, resources: Mapping[str, Any], elements: int) -> str | None:  # noqa: ARG002
        """Return None: LSF tells of jobs that wait, not of those that might."""
        return None

    # --- watching ---------------------------------------------------------------------------------------------------

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Ask one ``bjobs`` for all jobs. What it does not know is gone, unless it is too new to be known."""
        states: dict[str, JobState] = {job.job_id: "unknown" for job in jobs}
        ids = _ids(jobs)
        if not ids:
            return states
        found = lsf_site.ask_listing(ids)
        listed = {row.job_id for row in found.rows}
        for job in jobs:
            if (job.job_id, 0) in found.unknown:
                states[job.job_id] = "unknown" if _unsettled(job) else "gone"
            elif job.job_id in listed and found.whole:
                states[job.job_id] = "gone"  # each element is forgotten some time after its end
        for row in found.rows:
            if row.job_id in states:
                states[_key(row.job_id, row.number)] = read_word(self.kind, row.word).state
        return states

    def evidence(self, parts: Sequence[Part]) -> dict[str, Evidence]:
        """Ask ``bjobs`` for states and reasons, ``bhist`` and ``bacct`` for what has ended; each once."""
        try:
            return _evidence([part for part in parts if part.job.job_id in _ids([part.job])])
        except (UserError, Transient):
            return {}

    # --- ending and beginning again ---------------------------------------------------------------------------------

    def cancel(self, parts: Sequence[Part]) -> None:
        """End jobs or elements. LSF sends INT, TERM and KILL, with the site's time between them."""
        lsf_site.kill(dict.fromkeys(_word(part) for part in parts if part.job.job_id in _ids([part.job])))

    def here(self) -> Here | None:
        """Return which job this process is, from its environment."""
        job = os.environ.get("LSB_JOBID", "")
        return Here(job, max(_number() - 1, 0)) if job.isdecimal() else None

    def requeue(self, here: Here) -> bool:
        """Ask LSF to start this element again; that it is about to do so anyway is a yes."""
        number = here.element + 1 if here.element or _number() else 0
        try:
            return lsf_site.requeue(element(here.job_id, number))[0]
        except UserError:
            return False


# --- the batch script -------------------------------------------------------------------------------------------------


def script(
    resources: Mapping[str, Any],
    command: Sequence[str],
    *,
    name: str,
    folder: Path | None = None,
    log: Path | None = None,
    elements: int | None = None,
    after: Iterable[Job] = (),
) -> str:
    """Return the text of a batch script that becomes a command.

    Parameters
    ----------
    resources
        What the job asks for.
    command
        What it runs after the user's own prologue.
    name
        The job's name.
    folder, log
        Where it runs, and the file that all that is printed is appended to.
    elements
        The size of the array; None: a job that is no array.
    after
        Jobs that it waits for, however they end.

    Raises
    ------
    UserError
        If ``resources["extra"]`` has an option that would break what others rely on, or LSF cannot be reached.
    """
    extra = tuple(" ".join(option.split()) for option in resources.get("extra") or () if option.strip())
    for option in extra:
        if _OURS.fullmatch(first := option.split(" ")[0]):
            raise UserError(f"resources.extra: orch itself says what stands in the option {first}; leave it out")
    memory, limit = resources.get("memory"), resources.get("time")
    ask = Ask(
        name=name,
        elements=elements or 0,
        parallel=resources.get("parallel"),
        cpus=resources.get("cpus") or 1,
        gpus=resources.get("gpus") or 0,
        gpu_type=resources.get("gpu_type"),
        memory=units.size(memory) if memory else None,
        seconds=units.seconds(limit) if limit else None,
        queue=resources.get("queue"),
        project=resources.get("account"),
        select=resources.get("constraint"),
        exclude=tuple(resources.get("exclude") or ()),
        after=" && ".join(f"ended({job})" for job in _ids(after)) or None,
        extra=extra,
    )
    lines = [
        f"exec >>{shlex.quote(str(log))} 2>&1 || exit {UNWRITABLE}" if log else "",
        f"cd {shlex.quote(str(folder))}" if folder else "",
        *prologue(resources),
        exec_line(command),
    ]
    return lsf_options.script(ask, lsf_site.dialect(), list(filter(None, lines)))


# --- ids --------------------------------------------------------------------------------------------------------------


def _ids(jobs: Iterable[Job]) -> list[str]:
    """Return the ids that are LSF's, each once."""
    return list(dict.fromkeys(job.job_id for job in jobs if job.job_id.isdecimal()))


def _number() -> int:
    """Return which element of an array this process is, as LSF counts; 0: it is of no array."""
    number = os.environ.get("LSB_JOBINDEX", "")
    return int(number) if number.isdecimal() else 0


def _key(job_id: str, number: int) -> str:
    return f"{job_id}_{number - 1}" if number else job_id


def _word(part: Part) -> str:
    if part.elements is None:
        return part.job.job_id
    return elements_of(part.job.job_id, (index + 1 for index in part.elements))


def _extra(study: Study, name: str) -> dict[str, Any]:
    return {"tag": name, "study": str(study.path), "at": time.time()}


def _unsettled(job: Job) -> bool:
    """Return whether a job that LSF does not know may be too new to be known: nothing of it was seen yet."""
    if abs(time.time() - float(job.extra.get("at", 0))) > patience(SETTLES):
        return False
    from orchestrator.study.study import Study

    return not job.n or Study(Path(job.extra["study"])).owner(job.n, job.array) != job.job_id


def _evidence(parts: Sequence[Part]) -> dict[str, Evidence]:
    if not parts:
        return {}
    found = lsf_site.ask_listing(list(dict.fromkeys(map(_word, parts))))
    rows = {(row.job_id, row.number): row for row in found.rows}
    whole = {part.job.job_id for part in parts if part.elements is None}
    asked = {(part.job.job_id, index + 1) for part in parts for index in part.elements or ()}
    asked |= {job for job in rows if job[0] in whole}
    waiting = [job for job, row in rows.items() if read_word("lsf", row.word).state == "pending"]
    reasons = lsf_site.pending([element(*job) for job in waiting]) if waiting else {}
    ended = [*((job_id, 0) for job_id, number in found.unknown if job_id in whole and not number)]
    ended += sorted(job for job in asked if job not in rows or rows[job].word == "EXIT")
    stories = lsf_site.stories([element(*job) for job in ended[:EXPLAINED]]) if ended else {}
    told = {job: explain(rows.get(job), reasons.get(job), stories.get(job)) for job in asked | set(stories)}
    said = {job: evidence for job, evidence in told.items() if evidence is not None}
    return {
        key: evidence
        for (job_id, number), evidence in said.items()
        for key in {_key(job_id, number), f"{job_id}_{max(number - 1, 0)}"}
    }
