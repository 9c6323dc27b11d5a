"""What a machine offers to this tool, looked at piece by piece: on a login node, and from inside a job."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal, NamedTuple

from orchestrator.errors import UserError

Verdict = Literal["ok", "note", "missing"]
"""``note``: something works less well, or is not there and may never be needed. ``missing``: nothing can be trained."""

LITTLE_SPACE: Final = 2**30
"""Bytes: less is worth a note."""

FEW_FILES: Final = 100_000
"""So few more files on a file system are worth a note: a run has about three."""

SKEWED: Final = 5.0
"""Seconds between two clocks that are worth a note."""

PATIENCE: Final = 300.0
"""Seconds that an import may take: a cold network file system is slow."""


class Check(NamedTuple):
    """What was looked at, how it stands, and what was found or what to do."""

    name: str
    verdict: Verdict
    found: str


def machine() -> Iterator[Check]:
    """Look at Python, torch, the compiler, cores and accelerators of this machine."""
    for check in (python, torch, compiler, cores, gpus):
        yield check()


# --- programs ---------------------------------------------------------------------------------------------------------


def python() -> Check:
    """Say which Python this is."""
    return Check("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def torch() -> Check:
    """Say whether torch can be imported, in a process of its own: a broken one may end the process that imports it."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return Check("torch", "missing", "not installed: pip install torch")
    said, error = _python("import torch; print(torch.__version__)")
    return (
        Check("torch", "missing", f"{installed} cannot be imported: {error}") if error else Check("torch", "ok", said)
    )


def compiler() -> Check:
    """Look for a C++ compiler and Python's headers."""
    found = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++")), None)
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if found is None:
        return Check("compiler", "note", "no g++ or clang++: lanes train with the slower eager engine")
    if not header.exists():
        return Check("compiler", "note", f"{header} is not there (python3-dev): lanes train with the eager engine")
    done = _run([found, "--version"])
    return Check("compiler", "ok", done.stdout.splitlines()[0] if done and done.stdout else found)


def cores() -> Check:
    """Count the cores that this process may use."""
    from orchestrator.clusters.local import usable_cores

    usable, present = usable_cores(), os.cpu_count() or 1
    return Check("cores", "ok", f"{usable}" if usable == present else f"{usable} of {present} may be used")


def gpus() -> Check:
    """Count accelerators, and say whether torch can use them."""
    if shutil.which("nvidia-smi") is None:
        return Check("GPUs", "ok", "none")
    done = _run(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    names = done.stdout.strip().splitlines() if done and not done.returncode else []
    if not names:
        return Check("GPUs", "note", "nvidia-smi is there, but finds none")
    found = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    count, error = _python("import torch; print(torch.cuda.device_count())")
    if error or count == "0":
        return Check("GPUs", "note", f"{found}, which this torch cannot use")
    return Check("GPUs", "ok", found)


def asked_gpus(count: int) -> Check:
    """Say whether torch sees the accelerators that a job asked for."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    seen, error = _python("import torch; print(torch.cuda.device_count())")
    if error or int(seen) < count:
        reason = error or f"torch sees {seen}"
        return Check("GPUs", "missing", f"{count} asked for, but {reason}; CUDA_VISIBLE_DEVICES is {visible}")
    return Check("GPUs", "ok", f"{seen}, CUDA_VISIBLE_DEVICES is {visible}")


def r() -> Check:
    """Look for R and the packages that figures need."""
    from export.figures import PACKAGES, check

    try:
        rscript = check()
    except UserError as error:
        return Check("R", "note", f"tables are written, but {error}")
    return Check("R", "ok", f"{rscript} with {', '.join(PACKAGES)}")


def experiments(*, whole: bool = False) -> Check:
    """List the installed experiments; ``whole``: import what trains them, too."""
    from orchestrator.experiment import installed

    known = installed()
    if not known:
        return Check("experiments", "ok", "none installed; grids name their own, or run a command")
    if whole:
        code = "import sys; from orchestrator.experiment import find\nfor name in sys.argv[1:]: find(name).load()"
        _, error = _python(code, *known)
        if error:
            return Check("experiments", "missing", f"{', '.join(known)}: {error}")
    return Check("experiments", "ok", ", ".join(known))


# --- folders and clocks -----------------------------------------------------------------------------------------------


def studies(root: Path) -> Iterator[Check]:
    """Look at the folder of all studies: can it be written, is there room, has it hard links, what time is it there."""
    folder = next(path for path in (root, *root.parents) if path.is_dir())
    try:
        with _folder_in(folder) as own:
            links, skew = _hard_links(own), clock_skew(own)
    except OSError as error:
        yield Check("studies", "missing", f"{root} cannot be written ({error.strerror}): set --root or ORCH_ROOT")
        return
    yield _room("studies", folder, f"{root}{file_system(folder)}")
    yield links
    yield clock("file clock", "the file system", skew)


def clock(name: str, whose: str, skew: float) -> Check:
    """Say how a clock stands beside this machine's; ``skew``: seconds that it is ahead."""
    if abs(skew) < SKEWED:
        return Check(name, "ok", f"{whose} agrees with this machine")
    found = f"{whose} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine"
    return Check(name, "note", f"{found}: times that people read are off, and nothing depends on them")


def scratch() -> Iterator[Check]:
    """Look at the folders for temporary files and for compiled steps."""
    yield _writable("scratch", Path(tempfile.gettempdir()), "set TMPDIR in the prologue")
    own = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    import platformdirs

    cache = Path(own or platformdirs.user_cache_dir("orch"))
    yield _writable("cache", cache, "set TORCHINDUCTOR_CACHE_DIR in the prologue, or lanes train with the eager engine")


def clock_skew(folder: Path) -> float:
    """Return by how many seconds the clock of a folder's file system is ahead of this machine's."""
    file = folder / "clock"
    before = time.time()
    file.write_bytes(b"now")
    after = time.time()
    return file.stat().st_mtime - (before + after) / 2


def file_system(folder: Path) -> str:
    """Return `` (nfs4)`` or what else a folder is on; nothing where the system does not say."""
    best, kind = "", ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
            _, point, name, *_ = line.split(" ")
            if len(point) >= len(best) and folder.resolve().is_relative_to(point):
                best, kind = point, name
    return f" ({kind})" if kind else ""


def _room(name: str, folder: Path, what: str) -> Check:
    free, files = shutil.disk_usage(folder).free, os.statvfs(folder)
    found, tight = f"{what}, {free / 2**30:.1f} GiB free", free < LITTLE_SPACE
    if files.f_files:  # some file systems do not count
        found += f", room for {files.f_favail:,} files"
        tight = tight or files.f_favail < FEW_FILES
    return Check(name, "note" if tight else "ok", found)


def _hard_links(folder: Path) -> Check:
    file = folder / "file"
    file.write_bytes(b"")
    try:
        (folder / "link").hardlink_to(file)
    except OSError as error:
        return Check("hard links", "missing", f"{error.strerror}: choose another place with --root or ORCH_ROOT")
    return Check("hard links", "ok", "work")


def _writable(name: str, folder: Path, mend: str) -> Check:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _folder_in(folder) as own:
            program = own / "program"
            program.write_text("#!/bin/sh\n", encoding="ascii")
            program.chmod(0o700)
            executes = os.access(program, os.X_OK)  # false where programs may not be started from (noexec)
    except OSError as error:
        return Check(name, "note", f"{folder} cannot be written ({error.strerror}): {mend}")
    if not executes:
        return Check(name, "note", f"{folder} does not let programs be started: {mend}")
    return _room(name, folder, f"{folder}{file_system(folder)}")


@contextlib.contextmanager
def _folder_in(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".orch-doctor-", dir=folder) as name:
        yield Path(name)


# --- processes --------------------------------------------------------------------------------------------------------


def _python(code: str, *arguments: str) -> tuple[str, str]:
    """Run a line of Python and return what it printed, and why it failed (empty if it did not)."""
    home = str(Path(__file__).resolve().parents[1])
    done = _run([sys.executable, "-c", f"import sys; sys.path[0] = {home!r}\n{code}", *arguments])
    if done is None:
        return "", f"it did not answer within {PATIENCE:.0f} s"
    if done.returncode == -signal.SIGKILL:
        return "", "it was killed, most likely for want of memory: ask for more of it, `memory` in grid or profile"
    if done.returncode:
        return "", (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return done.stdout.strip(), ""


def _run(words: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
