"""submitit's plugin for LSF: ``submitit.AutoExecutor(folder, cluster="lsf")``, for any function.

It is found by the entry points of the group ``submitit``; nothing else of this project is needed to use it. What
users of submitit run into elsewhere is mended here: a death is noticed within half a minute, and the reason for it
stands in the exception; a warning is told from a preemption by the time that is left; a job that is preempted while it
asks for a requeue has not failed; a result that cannot be pickled is an error that says so.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from submitit.core import core, utils

from orchestrator.clusters import lsf_options, lsf_site
from orchestrator.clusters.lsf_job import STARTED, WARNING, LsfJobEnvironment
from orchestrator.clusters.lsf_options import Ask
from orchestrator.clusters.lsf_text import read_submitted
from orchestrator.clusters.lsf_watcher import LsfInfoWatcher, lsf_id
from orchestrator.clusters.lsf_words import UNWRITABLE
from orchestrator.errors import UserError

__all__ = ["LsfExecutor", "LsfInfoWatcher", "LsfJob", "LsfJobEnvironment"]


class LsfJob(core.Job[core.R]):
    """A job of LSF, or an element of an array: ``7_0`` is LSF's ``7[1]``."""

    _cancel_command = "bkill"
    _results_timeout_s = 5
    watcher = LsfInfoWatcher()

    def cancel(self, check: bool = True) -> None:
        """End the job; one that has ended already does no harm.

        Parameters
        ----------
        check
            Whether it is an error if LSF cannot be reached or refuses.
        """
        with contextlib.nullcontext() if check else contextlib.suppress(UserError):
            lsf_site.kill([lsf_id(self.job_id)])

    def _interrupt(self, timeout: bool = False) -> None:
        """Send the signals of a preemption, or of a time limit: for tests."""
        for name in ("USR2",) if timeout else ("TERM", "USR2"):
            lsf_site.kill([lsf_id(self.job_id)], signal=name)

    def _get_outcome_and_result(self) -> tuple[str, Any]:
        try:
            return super()._get_outcome_and_result()
        except utils.UncompletedJobError as error:
            why = self.watcher.why(self.job_id)
            raise utils.UncompletedJobError(f"{why}\n{error}" if why else str(error)) from error


DEFAULTS: Final[Mapping[str, Any]] = {
    "job_name": "submitit",
    "queue": None,
    "project": None,
    "time": 5,
    "mem": None,
    "nodes": 1,
    "tasks_per_node": 1,
    "cpus_per_task": 1,
    "gpus_per_node": 0,
    "gpu_type": None,
    "select": None,
    "dependency": None,
    "array_parallelism": 256,
    "signal_delay_s": 90,
    "setup": None,
    "stderr_to_stdout": False,
    "additional_parameters": None,
}
"""The parameters, and what they are where nothing is said: see :class:`LsfExecutor`."""


class LsfExecutor(core.PicklingExecutor):
    """Runs functions as jobs of LSF, several at once as an array.

    Parameters of ``update_parameters``, with the prefix ``lsf_`` where they are given to ``AutoExecutor``:

    ``time``, ``mem``, ``cpus_per_task``, ``gpus_per_node``
        Minutes, gigabytes, cores and accelerators; submitit's ``timeout_min``, ``mem_gb`` … mean the same.
    ``job_name``, ``queue``, ``project``, ``gpu_type``
        What ``-J``, ``-q``, ``-P`` and the model of ``-gpu`` are.
    ``select``
        What a machine must have: the inside of ``select[]``, or any resource requirement.
    ``dependency``
        What ``-w`` is, such as ``done(123)``.
    ``array_parallelism``
        How many elements of an array run at one time.
    ``signal_delay_s``
        How long ahead of the time limit a job is told so, in seconds; LSF rounds up to minutes.
    ``setup``
        Shell commands that come before the job's own.
    ``stderr_to_stdout``
        Whether there is one log instead of two.
    ``additional_parameters``
        Further options, such as ``["-app gpu", "-x"]``.

    Parameters
    ----------
    folder
        Where logs, functions and results go: on a file system that the cluster's machines share.
    max_num_timeout
        How often a job that checkpoints is started again when its time is over.
    max_pickle_size_gb
        How large functions and arguments may be, all together.
    python
        A shell command that starts Python; by default the running interpreter.
    """

    job_class = LsfJob

    def __init__(
        self,
        folder: str | Path,
        max_num_timeout: int = 3,
        max_pickle_size_gb: float = 1.0,
        python: str | None = None,
    ) -> None:
        super().__init__(folder, max_num_timeout=max_num_timeout, max_pickle_size_gb=max_pickle_size_gb)
        self.python = shlex.quote(sys.executable) if python is None else python
        if self.affinity() < 0:
            raise RuntimeError("There is no `bsub` on PATH: is this a machine from which jobs are handed to LSF?")

    @classmethod
    def affinity(cls) -> int:
        """Return 2, a cluster, where there is a ``bsub``."""
        return 2 if shutil.which("bsub") else -1

    @classmethod
    def _equivalence_dict(cls) -> core.EquivalenceDict:
        return {
            "name": "job_name",
            "timeout_min": "time",
            "mem_gb": "mem",
            "nodes": "nodes",
            "cpus_per_task": "cpus_per_task",
            "gpus_per_node": "gpus_per_node",
            "tasks_per_node": "tasks_per_node",
        }

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(DEFAULTS)

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - set(DEFAULTS))
        if unknown:
            known = "\n  - ".join(f"{name} (default: {value!r})" for name, value in sorted(DEFAULTS.items()))
            raise ValueError(f"Unavailable parameter(s): {unknown}\nValid parameters are:\n  - {known}")
        if any(int(kwargs.get(name, 1)) > 1 for name in ("nodes", "tasks_per_node")):
            raise ValueError("A job of this executor is one task on one machine: leave nodes and tasks_per_node at 1")
        super()._internal_update_parameters(**kwargs)

    # --- handing over -----------------------------------------------------------------------------------------------

    def _internal_process_submissions(
        self, delayed_submissions: Sequence[utils.DelayedSubmission]
    ) -> list[core.Job[Any]]:
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(list(delayed_submissions))
        most = lsf_site.dialect().max_array
        starts = range(0, len(delayed_submissions), most)
        return [job for start in starts for job in self._submit_array(delayed_submissions[start : start + most])]

    def _submit_array(self, delayed_submissions: Sequence[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        with self._pickled(delayed_submissions) as pickles:
            job_id, file = self._hand_over(self._submitit_command_str, elements=len(pickles))
            jobs: list[core.Job[Any]] = [self.job_class(self.folder, f"{job_id}_{at}") for at in range(len(pickles))]
            for job, path in zip(jobs, pickles, strict=True):
                job.paths.move_temporary_file(path, "submitted_pickle")
            jobs[0].paths.move_temporary_file(file, "submission_file")
        return jobs

    @contextlib.contextmanager
    def _pickled(self, delayed_submissions: Sequence[utils.DelayedSubmission]) -> Iterator[list[Path]]:
        """Write functions where jobs look for them as soon as their ids are known; nothing is left if that fails."""
        folder = self._shared_folder()
        pickles = [folder / f"{uuid.uuid4().hex}.pkl" for _ in delayed_submissions]
        try:
            for path, delayed in zip(pickles, delayed_submissions, strict=True):
                delayed.set_timeout(self._parameter("time"), self.max_num_timeout)
                delayed.dump(path)
            yield pickles
        finally:
            for path in pickles:
                path.unlink(missing_ok=True)

    def _submit_command(self, command: str) -> core.Job[Any]:
        job_id, file = self._hand_over(command)
        job: core.Job[Any] = self.job_class(self.folder, job_id)
        job.paths.move_temporary_file(file, "submission_file")
        return job

    def _hand_over(self, command: str, elements: int = 0) -> tuple[str, Path]:
        text = self._script(command, elements)
        file = self._shared_folder() / f".submission_file_{uuid.uuid4().hex}.sh"
        file.write_text(text)
        try:
            return lsf_site.hand_over(text, {}), file
        except UserError as error:
            file.unlink()
            raise utils.FailedSubmissionError(str(error)) from error

    def _shared_folder(self) -> Path:
        folder: Path = utils.JobPaths.get_first_id_independent_folder(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _parameter(self, name: str) -> Any:
        return self.parameters.get(name, DEFAULTS[name])

    # --- the script -------------------------------------------------------------------------------------------------

    @property
    def _submitit_command_str(self) -> str:
        return f"{self.python} -u -m orchestrator.clusters.lsf_job {shlex.quote(str(self.folder))}"

    def _script(self, command: str, elements: int) -> str:
        value, dialect = self._parameter, lsf_site.dialect()
        ask = Ask(
            name=re.sub(r"[^\w.-]", "_", value("job_name"), flags=re.ASCII),
            elements=elements,
            parallel=value("array_parallelism") if value("array_parallelism") < elements else None,
            cpus=value("cpus_per_task"),
            gpus=value("gpus_per_node"),
            gpu_type=value("gpu_type"),
            memory=value("mem") and value("mem") * 2**30,
            seconds=60 * value("time"),
            warning=value("signal_delay_s"),
            queue=value("queue"),
            project=value("project"),
            select=value("select"),
            after=value("dependency"),
            extra=tuple(value("additional_parameters") or ()),
        )
        paths = utils.JobPaths(self.folder)
        out, err = _in_shell(paths.stdout), _in_shell(paths.stderr)
        lines = [
            "index=$((${LSB_JOBINDEX:-0} - 1)); id=$LSB_JOBID; [ $index -lt 0 ] || id=${LSB_JOBID}_$index",
            f'mkdir -p "$(dirname {out})"',
            f"exec >>{out} 2>{'&1' if value('stderr_to_stdout') else f'>{err}'} || exit {UNWRITABLE}",
            f"export SUBMITIT_EXECUTOR=lsf {STARTED}=$(date +%s)",
            f"export {WARNING}={60 * (lsf_options.warned(ask, dialect) or 0)}",
            # A signal that comes before there is a handler would end the job: python sets one on top of this.
            "trap '' USR2",
            *(value("setup") or ()),
            f"exec {command}",
        ]
        return lsf_options.script(ask, dialect, lines)

    def _num_tasks(self) -> int:
        return 1

    def _make_submission_file_text(self, command: str, uid: str) -> str:  # noqa: ARG002
        return self._script(command, 0)

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        """Return the command that hands a script over: on standard input, as its options count only there."""
        return ["sh", "-c", 'exec bsub <"$0"', str(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        text = string.decode() if isinstance(string, bytes) else string
        job_id = read_submitted(text)
        if job_id is None:
            raise utils.FailedSubmissionError(f"`bsub` told no id of a job: {text}")
        return job_id


def _in_shell(path: Path) -> str:
    """Quote a path of submitit's for the shell, where the job's own variables stand for what is only known there."""
    quoted = re.sub(r'([\\"$`])', r"\\\1", str(path))
    for mark, variable in {"%j": "${id}", "%A": "${LSB_JOBID}", "%a": "${index}", "%t": "0"}.items():
        quoted = quoted.replace(mark, variable)
    return f'"{quoted}"'
