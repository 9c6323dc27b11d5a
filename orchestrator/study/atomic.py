"""How files come to be: whole or not at all, and never over somebody else's.

Everything that changes a study passes through here. Three ways are enough:

* :func:`publish` for a name that several processes may want: write aside, fsync, ``link(2)``. The first one wins.
* :func:`replace` for a name that has one writer: write aside, fsync, ``rename(2)``.
* :func:`append` for a journal: one ``write(2)`` per record on a descriptor opened with ``O_APPEND``.

What is written aside begins with a dot and ends in ``.part``: readers never look at it; a crash may leave it behind.
"""
# This module is about system calls and is written in their names.
# ruff: noqa: PTH102, PTH103, PTH104, PTH105, PTH108, PTH112, PTH116, PTH123, PTH208

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import UserError

PART = ".part"


def publish(path: Path, data: bytes) -> None:
    """Make ``path`` appear with ``data`` in it, unless it exists.

    Raises
    ------
    FileExistsError
        If the name is taken; what is there stays untouched.
    """
    aside = _write_aside(path, data)
    try:
        _link(aside, path)
    finally:
        # A process that dies here leaves a second name behind, which no reader looks at.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
    sync_folder(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Make ``path`` hold ``data``, whatever it held before. Only for names that one process alone writes."""
    os.replace(_write_aside(path, data), path)
    sync_folder(path.parent)


def write_new(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let ``write`` fill a new file that appears as ``path`` when it is complete. For names of one writer."""
    with writing(path) as file:
        write(file)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that appears as ``path`` when the context ends well, and never otherwise."""
    aside = _aside(path)
    try:
        with _placed(path), open(aside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise
    sync_folder(path.parent)


def publish_folder(path: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Make the folder ``path`` appear with ``files`` in it: ``{relative name: (content, mode)}``.

    Nothing happens if it exists. Meant for names that are digests of the content, so that all writers agree.
    """
    if os.path.isdir(path):
        return
    aside = _aside(path)
    folders = {aside}
    for name, (data, mode) in files.items():
        target = aside / name
        folders.update(parent for parent in target.parents if parent.is_relative_to(aside))
        with _placed(path):
            os.makedirs(target.parent, exist_ok=True)
            _write(target, data, mode)
    os.makedirs(aside, exist_ok=True)
    for folder in folders:
        sync_folder(folder)
    try:
        os.rename(aside, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        remove_folder(aside)  # somebody else published the same content first
    sync_folder(path.parent)


def make_next(folder: Path) -> tuple[int, Path]:
    """Make the next numbered folder in ``folder``, counting from 1, and return its number and path."""
    make_folder(folder)
    k = max((int(name) for name in names(folder) if name.isdecimal()), default=0)
    while True:
        k += 1
        path = folder / str(k)
        try:
            os.mkdir(path)
        except FileExistsError:
            continue  # another process was faster, or a lost reply made the server repeat our own request
        sync_folder(folder)
        return k, path


def make_new(path: Path) -> bool:
    """Make a folder, unless there is something of that name. Returns whether it was made."""
    make_folder(path.parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    sync_folder(path.parent)
    return True


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably; nothing happens if it exists."""
    if os.path.isdir(path):
        return
    make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    sync_folder(path.parent)


def open_journal(path: Path) -> int:
    """Open a journal for appending and return its descriptor."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    sync_folder(path.parent)
    return descriptor


def append(descriptor: int, data: bytes, *, durable: bool) -> None:
    """Append ``data`` with a single write, and wait for the disk if ``durable``.

    Raises
    ------
    OSError
        If the disk took only a part of it: the record does not count.
    """
    written = os.write(descriptor, data)
    if written != len(data):
        raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes of a journal record were written")
    if durable:
        os.fsync(descriptor)


def overwrite(descriptor: int, data: bytes) -> None:
    """Rewrite the first bytes of an open file in place, without waiting for the disk: a sign of life, not a record."""
    os.pwrite(descriptor, data, 0)


def names(folder: Path | str) -> list[str]:
    """Return the names in a folder, none if it does not exist."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk. File systems that cannot be asked are left alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_folder(path: Path) -> None:
    """Remove a folder and all that is in it; what cannot be removed stays."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")


def _write_aside(path: Path, data: bytes) -> Path:
    aside = _aside(path)
    try:
        with _placed(path):
            _write(aside, data, 0o666)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise
    return aside


@contextlib.contextmanager
def _placed(path: Path) -> Iterator[None]:
    """Have errors say where they came about: those of calls on descriptors do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        # A network file system may repeat our own request after a lost reply; then the second name is ours.
        if os.stat(aside).st_nlink != 2:
            raise
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise UserError(
                f"the file system of {path.parent} has no hard links, which keep two commands from publishing the same "
                "thing; choose another place with --root or ORCH_ROOT"
            ) from error
        raise
