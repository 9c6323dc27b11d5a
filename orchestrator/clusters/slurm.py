"""Slurm: one job array for each array of a submission, one ``squeue`` for each refresh, accounting only to explain."""

from __future__ import annotations

import math
import os
import re
import shlex
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator import units
from orchestrator.clusters import batch, slurm_site, slurm_text
from orchestrator.clusters.base import ELEMENT, WAVE, Evidence, Here, Job, JobState, LimitReached, Limits, Part
from orchestrator.clusters.base import python_command as our_command
from orchestrator.clusters.batch import Answer, Transient
from orchestrator.clusters.slurm_evidence import evidence_of
from orchestrator.clusters.slurm_site import COMMANDS, ask, facts
from orchestrator.clusters.slurm_words import FULL, refusal
from orchestrator.errors import ExitCode, UserError
from orchestrator.study import atomic

if TYPE_CHECKING:
    from orchestrator.study.records import Submission
    from orchestrator.study.study import Study

__all__ = ["SlurmCluster", "facts"]

LEAD: Final = 120
"""Seconds of warning where the length of the time slice is the partition's and not known here."""

SUBMIT_TIMEOUT: Final = 45.0
"""Seconds for ``sbatch``, which by itself waits up to two minutes for room when the controller holds its most jobs."""

CANCELLED_AT_ONCE: Final = 300
"""Elements in one ``scancel``."""

REQUEUE_TIMEOUT: Final = 30.0
"""Seconds for ``scontrol requeue``: it has been seen to hang, and the job that asks must end in time."""

_UNKNOWN_JOB = re.compile(r"(?i)invalid job id|already completing or completed|job .*not found|already finished")
_NO_NODE = re.compile(r"(?i)invalid node name|node configuration (is )?not available")
_STARTS_ANYWAY = re.compile(r"(?i)pending|requeue|already|completing")
_NOT_AGAIN = re.compile(r"(?i)disabled|invalid|not (allowed|permitted)|denied")
_OURS = re.compile(
    r"-(a|J|M|W|o|e)|--(array|job-name|clusters?|wait|wrap|output|error|test-only|open-mode|signal)(=.*)?|-[aJMoe]\S+"
)

_DEFAULTS = ("account", "partition", "qos", "constraint", "reservation", "export")
"""Options for which a user's own ``SBATCH_`` variables hold where the grid leaves them open.

Any other such variable would overrule what the script says: Slurm puts the environment above the script.
"""


class SlurmCluster:
    """The Slurm whose commands are on PATH.

    Parameters
    ----------
    name
        The name in ``resources.cluster``.
    """

    kind = "slurm"

    def __init__(self, name: str) -> None:
        self.name = name

    # --- handing over -----------------------------------------------------------------------------------------------

    def submit(self, study: Study, submission: Submission, array: int) -> Job:
        """Hand an array over; one that an earlier process handed over without living to tell is found and adopted."""
        n, resources = submission.n, submission.resources
        name, path = batch.tag(study, f"{n}.{array}"), study.script_path(n, array)
        command = our_command(
            study.code_dir(submission.code), ELEMENT, study.path, n, array, python=resources.get("python")
        )
        count, log = submission.elements(array), study.log_path(n, array)

        def hand_over(resources: Mapping[str, Any]) -> str:
            text = script(resources, command, name=name, folder=study.path, log=log, elements=count)
            again = path.exists()
            atomic.replace(path, text.encode())
            return _hand_over(path, name, resources, again=again)

        try:
            job_id = hand_over(resources)
        except UserError as error:
            wanted = _wanted_exclude(study, submission) if _NO_NODE.search(str(error)) else resources.get("exclude")
            if wanted == resources.get("exclude"):
                raise
            # Machines that failed once were taken out of the cluster, or no others are left.
            job_id = hand_over({**resources, "exclude": wanted})
        return Job(n, array, self.name, job_id, socket.gethostname(), {"tag": name})

    def steward(self, study: Study, k: int, resources: Mapping[str, Any], after: Sequence[Job]) -> Job | None:
        """Leave a one-core job that begins when ``after`` have ended, however they ended."""
        folder, own = study.steward_path(k), batch.steward_resources(resources)
        name, path = batch.tag(study, f"steward{k}"), folder / batch.STEWARD_SCRIPT
        digest = next((entry.code for entry in reversed(study.chain()) if entry.code), None)
        code = study.code_dir(digest) if digest else None
        command = our_command(code, WAVE, study.path, k, python=own.get("python"))
        text = script(own, command, name=name, folder=study.path, log=folder / batch.STEWARD_LOG, after=after)
        atomic.make_folder(folder)
        atomic.replace(path, text.encode())
        return Job(
            0, 0, self.name, _hand_over(path, name, own, "resources.steward"), socket.gethostname(), {"tag": name}
        )

    def limits(self, resources: Mapping[str, Any]) -> Limits:
        """Return what Slurm, accounting and ``resources["limits"]`` allow now."""
        return slurm_site.limits(resources)

    def estimate(self, resources: Mapping[str, Any], elements: int) -> str | None:
        """Ask ``sbatch --test-only`` when such an array would start."""
        text = script(resources, ["true"], name="orch-estimate", elements=elements)
        try:
            answer = COMMANDS.once(["sbatch", "--test-only"], text=text, keep=_kept(resources), timeout=batch.BRIEFLY)
        except (Transient, UserError):
            return None
        start = None if answer.code else slurm_text.read_start(answer.err + answer.out)
        return slurm_text.phrase(start, datetime.now()) if start else None  # noqa: DTZ005  (Slurm's times are local)

    # --- watching ---------------------------------------------------------------------------------------------------

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Ask one ``squeue`` for all jobs; what it does not list is gone, and ids that are not Slurm's are unknown."""
        ids = _ids(jobs)
        strangers: dict[str, JobState] = {job.job_id: "unknown" for job in jobs if job.job_id not in ids}
        if not ids:
            return strangers
        listing = ("squeue", "-h", "-a", "-o", slurm_text.LISTING)
        answer = ask(*listing, "-j", ",".join(ids))
        if answer.code and _UNKNOWN_JOB.search(answer.err) and len(ids) > 1:
            answer = ask(*listing)  # which of them is unknown is not said
        if answer.code and not (_UNKNOWN_JOB.search(answer.err) and len(ids) == 1):
            raise _unanswered("squeue", answer)
        return {**slurm_text.read_states(answer.out, ids), **strangers}

    def evidence(self, parts: Sequence[Part]) -> dict[str, Evidence]:
        """Say what is known of elements; of whole jobs, of every element that anybody still knows."""
        wanted: dict[str, set[int] | None] = {}
        for part in parts:
            if part.job.job_id in _ids([part.job]):
                some = wanted.setdefault(part.job.job_id, set())
                wanted[part.job.job_id] = None if part.elements is None or some is None else some.union(part.elements)
        return evidence_of(wanted)

    # --- ending and beginning again ---------------------------------------------------------------------------------

    def cancel(self, parts: Sequence[Part]) -> None:
        """End jobs or elements. Slurm sends TERM to the process that the script became, and KILL after ``KillWait``."""
        for names in cancellations(parts):
            answer = COMMANDS.ask(["scancel", *names])
            said = [line for line in answer.err.splitlines() if line.strip() and not _UNKNOWN_JOB.search(line)]
            if answer.code and said:
                raise UserError(f"Slurm does not cancel {', '.join(names)}: {' '.join(said)}")

    def here(self) -> Here | None:
        """Return which job this process is, from its environment."""
        variable = os.environ.get
        job, array = variable("SLURM_JOB_ID"), variable("SLURM_ARRAY_JOB_ID")
        if not job:
            return None
        element = int(variable("SLURM_ARRAY_TASK_ID", "0")) if array else 0
        return Here(array or job, element, variable("SLURMD_NODENAME", ""))

    def requeue(self, here: Here) -> bool:
        """Ask Slurm to start this element again; that it is about to do so anyway is a yes."""
        in_array = os.environ.get("SLURM_ARRAY_JOB_ID") == here.job_id
        command = ["scontrol", "requeue", here.key if in_array else here.job_id]
        try:
            answer = COMMANDS.insist(lambda: COMMANDS.once(command, timeout=REQUEUE_TIMEOUT), REQUEUE_TIMEOUT)
        except UserError:
            return False
        # Slurm ends this job to start it again, and that may well end the command before it could say so.
        return answer.code is not None and (
            answer.code <= 0 or bool(_STARTS_ANYWAY.search(answer.said) and not _NOT_AGAIN.search(answer.said))
        )


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
        If ``resources["extra"]`` has an option that would break what others rely on.
    """
    from orchestrator.clusters.slurm_executor import ScriptExecutor

    extra = [" ".join(option.split()) for option in resources.get("extra") or ()]
    for option in extra:
        if (first := option.split(" ")[0]) and _OURS.fullmatch(first):
            raise UserError(f"resources.extra: orch itself says what stands in the option {first}; leave it out")
    seconds = units.seconds(resources["time"]) if resources.get("time") else None
    further: dict[str, Any] = {
        "signal": f"B:USR2@{batch.warning_lead(seconds) if seconds else LEAD}",
        "requeue": True,
        "kill-on-invalid-dep": "no",
    }
    if log is not None:
        further["output"] = str(log).replace("%", "%%")
    if folder is not None:
        further["chdir"] = str(folder)
    if resources.get("exclude"):
        further["exclude"] = ",".join(resources["exclude"])
    if elements is not None:
        parallel = resources.get("parallel")
        further["array"] = f"0-{elements - 1}{f'%{parallel}' if parallel else ''}"
    gpus = ":".join(filter(None, ("gpu", resources.get("gpu_type"), str(resources.get("gpus") or 0))))
    return ScriptExecutor(folder or Path.cwd()).script(
        batch.exec_line(command),
        job_name=name,
        nodes=1,
        ntasks_per_node=1,
        cpus_per_task=resources.get("cpus") or 1,
        # Whole minutes are all that Slurm knows.
        time=math.ceil(seconds / 60) if seconds else None,
        mem=f"{math.ceil(units.size(resources['memory']) / 2**20)}M" if resources.get("memory") else None,
        gres=gpus if resources.get("gpus") else None,
        dependency=":".join(["afterany", *ids]) if (ids := _ids(after)) else None,
        **{option: resources.get(option) for option in ("partition", "account", "qos", "constraint")},
        # Slurm reads its options up to the first line that is no comment: the user's own come last, and overrule ours.
        setup=[*(f"#SBATCH {option}" for option in extra), *batch.prologue(resources)],
        additional_parameters=further,
    )


def _hand_over(
    path: Path, name: str, resources: Mapping[str, Any], section: str = "resources", *, again: bool = False
) -> str:
    """Hand a script over and return the job's id; ``section`` is where ``resources`` stand in a grid."""
    keep = _kept(resources)

    def attempt() -> str | None:
        try:
            answer = COMMANDS.once(["sbatch", str(path)], keep=keep, timeout=SUBMIT_TIMEOUT)
        except Transient as error:
            if FULL.search(str(error)):
                raise LimitReached(f"Slurm takes no more jobs for now: {error}") from error
            raise
        if answer.code:
            raise refusal(f"{answer.err}\n{answer.out}", resources, section)
        return slurm_text.read_job_id(answer.out)

    def find() -> str | None:
        found = COMMANDS.once(["squeue", "-h", "-a", "-u", str(os.getuid()), f"--name={name}", "-o", "%F"])
        ids = sorted((line.strip() for line in found.out.splitlines() if line.strip().isdecimal()), key=int)
        return ids[0] if ids else None

    job_id = COMMANDS.hand_over(attempt, find, again=again)
    if job_id is None:
        raise UserError(
            f"`sbatch {shlex.quote(str(path))}` succeeded and printed no job id, and the queue has no job {name}. "
            "Give the same command again; if that does not help, see what a plain `sbatch` prints here."
        )
    return job_id


def _wanted_exclude(study: Study, submission: Submission) -> list[str]:
    """Return the machines that the grid itself wants to keep away from, without those that failed under a task."""
    generation = study.generation(submission.generation)
    own = (generation.info["resources"].get("exclude") or ()) if generation is not None else ()
    bad = study.history().bad_nodes
    return [name for name in submission.resources.get("exclude") or () if name in own or name not in bad]


def _kept(resources: Mapping[str, Any]) -> list[str]:
    """Return the variables with a user's own defaults that hold because the grid leaves their options open."""
    extra = " ".join(resources.get("extra") or ())
    return [f"SBATCH_{name.upper()}" for name in _DEFAULTS if not resources.get(name) and f"--{name}" not in extra]


# --- ids --------------------------------------------------------------------------------------------------------------


def _ids(jobs: Iterable[Job]) -> list[str]:
    """Return the ids that are Slurm's, each once."""
    return list(dict.fromkeys(job.job_id for job in jobs if job.job_id.isdecimal()))


def cancellations(parts: Iterable[Part]) -> list[list[str]]:
    """Return the arguments of ``scancel`` (``102``, ``103_[4-6,9]``), for few hundred elements a time."""
    wanted = [
        (part.job.job_id, element)
        for part in parts
        if part.job.job_id in _ids([part.job])
        for element in ((None,) if part.elements is None else part.elements)
    ]
    commands = []
    for start in range(0, len(wanted), CANCELLED_AT_ONCE):
        elements: dict[str, list[int]] = {}
        whole: dict[str, None] = {}
        for job_id, element in wanted[start : start + CANCELLED_AT_ONCE]:
            if element is None:
                whole[job_id] = None
            else:
                elements.setdefault(job_id, []).append(element)
        commands.append(
            [*whole, *(f"{job_id}_[{slurm_text.write_indices(some)}]" for job_id, some in elements.items())]
        )
    return commands


def _unanswered(command: str, answer: Answer) -> UserError:
    return UserError(
        f"Slurm's `{command}` does not answer as it should: {answer.said}", exit_code=ExitCode.SCHEDULER_UNREACHABLE
    )
