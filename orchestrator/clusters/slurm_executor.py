"""submitit's Slurm executor, for one command per array element: no pickles, no files per task, no srun."""

from __future__ import annotations

from typing import Any

from submitit.slurm.slurm import SlurmExecutor


class ScriptExecutor(SlurmExecutor):
    """Checks parameters and writes batch scripts as submitit does; handing them over, and watching them, is ours.

    submitit would run ``sbatch`` before it has put its own files in place, without a second try, and would ask
    accounting what became of the job.
    """

    def script(self, command: str, **parameters: Any) -> str:
        """Return the text of a batch script.

        Parameters
        ----------
        command
            The shell command at its end.
        parameters
            Those of submitit's ``SlurmExecutor.update_parameters``.
        """
        # Three of submitit's habits are not ours: srun, which would take the place of our process as the one that gets
        # signals; a second file for errors; and a wckey, which a site that checks them refuses.
        self.update_parameters(use_srun=False, stderr_to_stdout=True, wckey=None, **parameters)
        return str(self._make_submission_file_text(command, uid=""))

    @classmethod
    def affinity(cls) -> int:
        """Return that it is available: whether ``sbatch`` is there shows when it is run."""
        return 2
