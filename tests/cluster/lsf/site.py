"""An installation: its settings, the jobs it knows, and its way to Slurm.

``$LSF_ENVDIR`` holds ``lsf.conf``, as LSF's own does, and ``site.json``, the settings of these commands. A job is a
folder ``jobs/<token>`` (``jobs/<id>`` is a link to it) with what was asked, its script, and for each element, counted
from 1 in an array and 0 elsewhere, its events and its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DEFAULTS = {
    "dialect": "ibm",  # or "old": what openlava and its descendants understand
    "minute": 60.0,  # seconds in a minute of -W and -wt
    "clean_period": 3600,  # seconds for which bjobs lists what ended
    "terminate_interval": 10.0,  # seconds between INT, TERM and KILL
    "max_array": 1000,
    "max_pend": None,  # elements that may be pending at one time
    "unit": None,  # LSF_UNIT_FOR_LIMITS: what -M counts in
    "queues": {"normal": "main", "priority": "high"},  # queue to partition, the default first
}

SHIM = """\
#!{python} -SE
import sys
sys.path.insert(0, {root!r})
from tests.cluster.lsf.main import main
sys.exit(main({name!r}, sys.argv[1:]))
"""


class Refused(Exception):
    """What a command says instead of doing what was asked; its exit status is 255."""


class Site:
    """An installation.

    Parameters
    ----------
    folder
        ``$LSF_ENVDIR``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = json.loads((folder / "site.json").read_text())
        self.settings: dict[str, Any] = settings
        self.old: bool = settings["dialect"] == "old"
        self.jobs = folder / "jobs"

    def __getattr__(self, name: str) -> Any:
        try:
            return self.settings[name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def found(cls) -> Site:
        """Return the installation that ``$LSF_ENVDIR`` names."""
        return cls(Path(os.environ["LSF_ENVDIR"]))

    @classmethod
    def install(cls, folder: Path, slurm: dict[str, str], **settings: Any) -> Site:
        """Make an installation over the Slurm that an environment names; ``folder/bin`` belongs on the search path."""
        from tests.cluster.lsf.main import COMMANDS, NEW_COMMANDS

        (folder / "jobs").mkdir(parents=True)
        (folder / "bin").mkdir()
        chosen = {**DEFAULTS, **settings, "slurm": slurm}
        (folder / "site.json").write_text(json.dumps(chosen))
        unit = f"LSF_UNIT_FOR_LIMITS={chosen['unit']}\n" if chosen["unit"] else ""
        (folder / "lsf.conf").write_text(f"LSF_ENVDIR={folder}\n{unit}")
        root = str(Path(__file__).parents[3])
        for name in COMMANDS:
            if chosen["dialect"] == "ibm" or name not in NEW_COMMANDS:
                file = folder / "bin" / name
                file.write_text(SHIM.format(python=sys.executable, root=root, name=name))
                file.chmod(0o755)
        return cls(folder)

    @property
    def environment(self) -> dict[str, str]:
        """What finds this installation."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {"LSF_ENVDIR": str(self.folder), "PATH": path}

    def slurm(self, *words: str, check: bool = True, text: str = "") -> str:
        """Run a command of Slurm."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SQUEUE"))}
        program = shutil.which(words[0], path=self.settings["slurm"]["PATH"]) or words[0]
        done = subprocess.run(
            [program, *words[1:]], input=text, capture_output=True, text=True, env=env | self.settings["slurm"]
        )
        if check and done.returncode:
            raise Refused(done.stderr.strip())
        return done.stdout

    def new(self, script: str) -> Path:
        """Make the folder of a job."""
        folder = self.jobs / os.urandom(6).hex()
        folder.mkdir()
        (folder / "script").write_text(script)
        (folder / "script").chmod(0o755)
        return folder

    def name_job(self, token: str, job: str) -> None:
        """Let a job be found by its id."""
        with contextlib.suppress(FileExistsError):
            (self.jobs / job).symlink_to(token)

    def known(self) -> list[str]:
        """Return the ids of all jobs there ever were."""
        return sorted((entry.name for entry in self.jobs.iterdir() if entry.is_symlink()), key=int)


def spec_of(folder: Path) -> dict[str, Any]:
    """Return what was asked for a job."""
    spec: dict[str, Any] = json.loads((folder / "job.json").read_text())
    return spec


def note(folder: Path, index: int, event: str, **details: Any) -> None:
    """Add to an element's events."""
    with (folder / f"{index}.events").open("a") as file:
        file.write(json.dumps({"at": time.time(), "event": event, **details}) + "\n")


def events(folder: Path, index: int) -> list[dict[str, Any]]:
    """Return an element's events."""
    file = folder / f"{index}.events"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def mark(folder: Path, index: int, what: str, text: str = "") -> None:
    """Leave a mark at an element, for whoever looks next."""
    aside = folder / f"{index}.{what}.{os.getpid()}"
    aside.write_text(text)
    aside.replace(folder / f"{index}.{what}")


def marked(folder: Path, index: int, what: str) -> str | None:
    """Return the text of a mark, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / f"{index}.{what}").read_text()
    return None


def unmark(folder: Path, index: int, *what: str) -> None:
    """Remove marks."""
    for name in what:
        (folder / f"{index}.{name}").unlink(missing_ok=True)


def key(job: str, index: int) -> str:
    """Return an element's name as LSF writes it."""
    return f"{job}[{index}]" if index else job


def slurm_key(job: str, index: int) -> str:
    """Return an element's name as Slurm writes it."""
    return f"{job}_{index}" if index else job
