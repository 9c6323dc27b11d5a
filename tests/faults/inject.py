"""Faults by order: a process that dies at its k-th call on a folder's files, or whose disk is full, away or read-only.

Installed in a forked child (:func:`in_child`), or by ``site/sitecustomize.py`` in every Python process of a test, which
reads the order from ``ORCH_TEST_FAULT``. This module imports nothing of ours and can be loaded by its path.
"""

# This module is about system calls and is written in their names.
# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH115, PTH118, PTH202, PYI034

from __future__ import annotations

import builtins
import gc
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

VARIABLE = "ORCH_TEST_FAULT"

PATHS = {"mkdir": 0, "unlink": 0, "link": 1, "rename": 1, "replace": 1}
"""Calls that take paths, and which of their arguments is the file that they change."""

DESCRIPTORS = ("write", "pwrite", "fsync", "ftruncate")

How = Literal["before", "after", "torn", "lost"]
"""When the process dies: before the call, after it, half way through a write; or before it, together with the machine,
so that what no fsync has covered is lost."""


class Calls:
    """Stands between a process and its calls on the files below a folder.

    Parameters
    ----------
    under
        The folder.
    """

    def __init__(self, under: str | Path) -> None:
        self._under = os.path.join(os.path.realpath(under), "")
        self._real = {name: getattr(os, name) for name in ("open", *PATHS, *DESCRIPTORS)}
        self._open = builtins.open

    def install(self) -> Calls:
        """Have every later call of this process pass here."""
        for name, at in PATHS.items():
            self._put(name, lambda arguments, at=at: self._path(arguments[at]))
        for name in DESCRIPTORS:
            self._put(name, lambda arguments: self._held(arguments[0]))
        real = self._real["open"]

        def os_open(path: Any, flags: int, *rest: Any, **options: Any) -> Any:
            found = self._path(path)
            if found is None:
                return real(path, flags, *rest, **options)
            name = "open" if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else "read"
            return self.call(name, found, real, (path, flags, *rest), options)

        os.open = os_open  # type: ignore[assignment]
        builtins.open = io.open = self._opened  # type: ignore[assignment]
        return self

    def call(self, name: str, path: str, real: Callable[..., Any], arguments: Any, options: Any) -> Any:
        """Do a call, or something worse."""
        raise NotImplementedError

    def _put(self, name: str, path_of: Callable[[Any], str | None]) -> None:
        real = self._real[name]

        def wrapper(*arguments: Any, **options: Any) -> Any:
            path = path_of(arguments)
            return real(*arguments, **options) if path is None else self.call(name, path, real, arguments, options)

        setattr(os, name, wrapper)

    def _opened(self, file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        path = None if isinstance(file, int) else self._path(file)
        if path is None:
            return self._open(file, mode, *rest, **options)
        if not set(mode) & set("wax+"):
            return self.call("read", path, self._open, (file, mode, *rest), options)
        opened = self.call("open", path, self._open, (file, mode, *rest), options)
        return Written(self, path, opened) if mode in ("wb", "xb", "ab") else opened

    def _path(self, target: Any) -> str | None:
        path = os.path.abspath(os.fsdecode(target))
        return path if path.startswith(self._under) else None

    def _held(self, descriptor: int) -> str | None:
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return None
        return path if path.startswith(self._under) else None


class Written:
    """A binary file whose writes are calls, and leave no buffer behind."""

    def __init__(self, calls: Calls, path: str, file: Any) -> None:
        self._calls, self._path, self._file = calls, path, file

    def write(self, data: Any) -> int:
        def real(_: int, some: Any) -> int:
            count: int = self._file.write(some)
            self._file.flush()
            return count

        written: int = self._calls.call("write", self._path, real, (self._file.fileno(), bytes(data)), {})
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class Mortal(Calls):
    """Dies at its ``at``-th call that changes a file; at 0 it only counts."""

    def __init__(self, under: str | Path, at: int, how: How) -> None:
        super().__init__(under)
        self.at, self.how, self.count = at, how, 0
        self._durable: dict[str, int] = {}

    def install(self) -> Calls:
        """Have every later call of this process, and of none that it forks, pass here."""
        os.register_at_fork(after_in_child=self._live)
        return super().install()

    def _live(self) -> None:
        self.at = 0

    def call(self, name: str, path: str, real: Callable[..., Any], arguments: Any, options: Any) -> Any:
        if name == "read" or (name == "fsync" and os.path.isdir(path)):
            return real(*arguments, **options)
        self.count += 1
        if self.count == self.at:
            if self.how == "after":
                real(*arguments, **options)
            elif self.how == "torn" and name in ("write", "pwrite"):
                descriptor, data, *rest = arguments
                real(descriptor, data[: len(data) // 2], *rest)
            self._die()
        result = real(*arguments, **options)
        if self.how == "lost":
            self._note(name, path, arguments)
        return result

    def _note(self, name: str, path: str, arguments: Any) -> None:
        """Keep account of what would be on the disk if the machine died now."""
        if name == "open":
            self._durable.setdefault(path, os.path.getsize(path))
        elif name == "fsync":
            self._durable[path] = os.path.getsize(path) if os.path.isfile(path) else 0
        elif name in ("rename", "replace", "link"):
            source = os.path.abspath(os.fsdecode(arguments[0]))
            if source in self._durable:
                self._durable[path] = self._durable[source]

    def _die(self) -> None:
        for path, size in self._durable.items() if self.how == "lost" else ():
            if os.path.isfile(path) and os.path.getsize(path) > size:
                os.truncate(path, size)
        os.kill(os.getpid(), signal.SIGKILL)


class Refused(Calls):
    """A disk that refuses calls with an error as long as a file stands.

    Parameters
    ----------
    under
        The folder.
    number
        ``errno`` of the error.
    calls
        Names of the calls that are refused; ``read`` for opening a file to read it.
    flag
        As long as this file is there.
    times
        Only so often; then the disk is well.
    match
        Only files whose path holds this text.
    """

    def __init__(
        self, under: str, number: int, calls: Iterable[str], flag: str = "", times: int = 1 << 30, match: str = ""
    ) -> None:
        super().__init__(under)
        self._number, self._calls, self._flag, self._times, self._match = number, set(calls), flag, times, match

    def call(self, name: str, path: str, real: Callable[..., Any], arguments: Any, options: Any) -> Any:
        due = name in self._calls and self._match in path and self._times > 0
        if due and (not self._flag or os.path.exists(self._flag)):
            self._times -= 1
            raise OSError(self._number, os.strerror(self._number), path)
        return real(*arguments, **options)


WRITING = ("open", "write", "pwrite", "mkdir", "link", "rename", "replace")
"""What a full disk refuses."""


def order(**fault: Any) -> dict[str, str]:
    """Return the environment variables under which every Python process has this fault; see :class:`Refused`."""
    site = str(Path(__file__).parent / "site")
    before = os.environ.get("PYTHONPATH")
    return {VARIABLE: json.dumps(fault), "PYTHONPATH": os.pathsep.join([site, before] if before else [site])}


def obey() -> None:
    """Install what the environment orders."""
    Refused(**json.loads(os.environ[VARIABLE])).install()


class Ended(NamedTuple):
    """How a child ended: its exit status, negative for a signal; and the calls it made, if it lived to count them."""

    status: int
    calls: int


def in_child(work: Callable[[], object], calls: Calls | None = None) -> Ended:
    """Do something in a forked child with a fault installed, and wait for its end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.close(reader)
            gc.freeze()  # what was inherited is nobody's garbage here, and looking through it takes long
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # type: ignore[assignment]
            if calls is not None:
                calls.install()
            result = work()
            status = result if isinstance(result, int) else 0
            os.write(writer, str(getattr(calls, "count", 0)).encode())
        except BaseException:  # noqa: BLE001  (nothing may come back from here)
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        counted = pipe.read()
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), int(counted or 0))
