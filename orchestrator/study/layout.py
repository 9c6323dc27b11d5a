"""Where everything in a study is: the names of its files and folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from orchestrator import identity
from orchestrator.study import atomic

_EVENT_FILE = re.compile(r"events\.out\.tfevents\.(\d{5})(\d{5})\.\d+-\d+\.\d+(?:\.\d+)?")


class Layout:
    """The places in a study's folder.

    Parameters
    ----------
    path
        The study's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def task_path(self, name: str, k: int | None = None) -> Path:
        """Return the folder of a task, or of one of its incarnations."""
        path = self.path / "tasks" / name
        return path if k is None else path / str(k)

    def events_dir(self, run_id: bytes) -> Path:
        """Return the folder of a run's event files."""
        text = identity.to_text(run_id)
        return self.path / "events" / text[:2] / text

    def event_file(self, run_id: bytes, n: int, task: str, k: int) -> Path:
        """Return the event file of one attempt; the names of a run's files sort in the order of its attempts."""
        return self.events_dir(run_id) / f"events.out.tfevents.{n:05d}{k:05d}.{task}.{k}"

    @staticmethod
    def attempt_of(name: str) -> tuple[int, int] | None:
        """Return submission and incarnation from an event file's name; None if it is not one of ours."""
        match = _EVENT_FILE.fullmatch(name)
        return (int(match[1]), int(match[2])) if match else None

    @property
    def tables(self) -> Path:
        """Where exported tables go."""
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        """Where figures go."""
        return self.path / "figures"

    def steward_dir(self, n: int) -> Path:
        """Return (and make) the folder of the standard output and error of submission ``n``'s steward."""
        path = self.path / "steward" / str(n)
        atomic.make_folder(path)
        return path

    def script_path(self, n: int, array: int) -> Path:
        """Return the batch script that hands an array over; its jobs append what they print before a worker begins."""
        return self.path / "submissions" / f"{n}.{array}.sh"

    def log_path(self, n: int, array: int) -> Path:
        """Return where the elements of an array print what does not belong to any task."""
        return self.path / "submissions" / f"{n}.{array}.log"

    def steward_path(self, k: int) -> Path:
        """Return the folder of a steward that is a job of its own: its script, standard output and error."""
        return self.path / "steward" / str(k)

    def code_dir(self, digest: str) -> Path:
        """Return the folder of frozen sources."""
        return self.path / "code" / digest


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if there is no file, or something else in it."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return data if isinstance(data, dict) else None
