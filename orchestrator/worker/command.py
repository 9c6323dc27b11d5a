"""Runs that are somebody else's program: a command template, filled in and started as a child of the worker."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orchestrator import template
from orchestrator.errors import UserError
from orchestrator.identity import Leaf
from orchestrator.worker.failures import Failure, sentence

EVENTS: Final = "events.out.tfevents"
GRACE: Final = 30.0
"""Seconds between asking a program to end and ending it."""

TAIL: Final = 2_000
"""Bytes of a failed program's standard error that are quoted."""

# Started in place of the program: has the kernel end it when the worker dies, and becomes the program.
_BECOME: Final = """\
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def words(text: str, leaves: Mapping[str, Leaf], run_id: str, folder: Path) -> list[str]:
    """Fill a command template, and split it into words as a shell would; a value never becomes two words.

    Parameters
    ----------
    text
        The template; ``${name}`` stands for a parameter, ``${run.dir}`` and ``${run.id}`` for the run's own.
    leaves
        The parameters by dotted name.
    run_id, folder
        What ``run.id`` and ``run.dir`` stand for.

    Raises
    ------
    UserError
        If it names what does not exist, or a quote is not closed.
    """
    known = {name: template.text_of(value) for name, value in leaves.items() if name != "command"}
    known |= {"run.id": run_id, "run.dir": str(folder)}
    values: list[str] = []

    def mark(name: str) -> str:
        if name not in known:
            raise UserError(
                f"the command names ${{{name}}}, which is no parameter of the run; it has: {', '.join(known)}"
            )
        values.append(known[name])
        return f"\0{len(values) - 1}\0"

    try:
        parts = shlex.split(template.fill(text, mark))
    except ValueError as error:
        raise UserError(f"the command cannot be read: {error}: {text}") from error
    if not parts:
        raise UserError("the command is empty")
    return [
        "".join(values[int(piece)] if at % 2 else piece for at, piece in enumerate(part.split("\0"))) for part in parts
    ]


class Program:
    """A running command.

    Parameters
    ----------
    command
        The words.
    folder
        The run's own folder; its event files are searched here.
    project
        The folder that it runs in; None: ``folder``.
    link
        From an event file's folder, below the one that holds them all, and its number there, to its place among the
        study's events.
    variables
        Further environment variables.
    """

    def __init__(
        self,
        command: list[str],
        folder: Path,
        project: Path | None,
        link: Callable[[Path, int], Path],
        variables: Mapping[str, str],
    ) -> None:
        self._folder, self._link = folder, link
        self._lock = threading.Lock()
        self._over = False
        self._asked: float | None = None
        self._linked: dict[Path, Path] = {}
        self._numbers: dict[Path, int] = {}
        # An interpreter called `python` should be the one that we run under.
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        where = project or folder
        program = str(where / command[0]) if os.sep in command[0] else command[0]
        if shutil.which(program, path=path) is None:
            raise UserError(f"the command's program {command[0]!r} is not found in {where} or on the path")
        self._child = subprocess.Popen(
            [sys.executable, "-c", _BECOME, *command],
            cwd=where,
            env={**os.environ, **variables, "PATH": path},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> int:
        """Wait for the end, and return the exit status; negative: the signal that ended it."""
        if hasattr(os, "waitid"):  # macOS has none: there, what is left of the session is left alone
            os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._child.wait()
        with self._lock:
            self._over = True
            # What it left behind in its session ends with it. It is not waited for yet, so the number is still its own.
            self._signal(signal.SIGKILL)
        status = self._child.wait()
        self.collect()
        return status

    def ask_to_end(self) -> bool:
        """Send TERM to the program and all it started; after a while, KILL. Called again and again, from any thread.

        Returns
        -------
        bool
            Whether it was asked; False if it had come to its end before.
        """
        with self._lock:
            if self._over:
                return self._asked is not None
            if self._asked is None:
                self._asked = time.monotonic()
                self._signal(signal.SIGTERM)
            elif time.monotonic() - self._asked > GRACE:
                self._signal(signal.SIGKILL)
            return True

    def collect(self) -> list[Path]:
        """Link event files that have appeared into the study's events; returns all, where the program writes them."""
        with self._lock:
            found = sorted(path for path in self._folder.rglob(f"{EVENTS}*") if path.is_file())
            if found:
                # Files of one folder are one run of TensorBoard's; those of different folders may share tags.
                common = Path(os.path.commonpath([path.parent for path in found]))
                for path in found:
                    number = sum(path.parent == other.parent for other in self._numbers)
                    number = self._numbers.setdefault(path, number)
                    self._place(path, self._link(path.parent.relative_to(common), number))
            return found

    def _place(self, source: Path, target: Path) -> None:
        before = self._linked.get(source)
        if before == target:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(source)
        except OSError:
            if not self._over:
                return  # on another file system: a copy is made at the end
            shutil.copyfile(source, target)
        if before is not None:
            before.unlink(missing_ok=True)
        self._linked[source] = target

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)


def last_step(files: list[Path]) -> int:
    """Return the highest step in some event files, -1 if there is none; damage ends a file."""
    if not files:
        return -1
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    last = -1
    for path in files:
        with contextlib.suppress(Exception):  # whatever a foreign file holds
            last = max(last, *(event.step for event in EventFileLoader(str(path)).Load() if event.HasField("summary")))
    return last


def failure(status: int, stderr: Path, start: int, *, starved: bool = False) -> Failure:
    """Describe a program that did not exit with 0.

    Parameters
    ----------
    status
        Its exit status; negative: the signal that ended it.
    stderr, start
        Its standard error begins at this byte of that file.
    starved
        Whether the kernel ended processes for want of memory meanwhile.
    """
    with stderr.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - TAIL))
        said = file.read().decode("utf-8", "replace").strip()
    # A shell says 128 + n of a program that signal n ended.
    number = -status if status < 0 else status - 128
    if number == signal.SIGKILL and starved:
        return sentence("oom", f"the command was killed for want of memory\n{said}".strip())
    if number == signal.SIGKILL:
        what = "the command was killed (by the system, if memory ran out)"
        return sentence("lost", f"{what}\n{said}".strip())
    if status < 0:
        what = f"the command was ended by signal {signal.Signals(number).name}"
    else:
        what = f"the command exited with status {status}"
    last = said.splitlines()[-1] if said else ""
    found = sentence("user error", f"{what}: {last}" if last else what)
    return Failure(found.kind, found.message, found.signature, said)
