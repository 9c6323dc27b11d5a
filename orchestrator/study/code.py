"""Freezing sources: what a queued run will execute, whatever happens to the working tree afterwards."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator.errors import UserError

LIMIT = 64 * 2**20
"""Bytes that a snapshot may have. Sources are small; data belongs elsewhere."""

PACKAGES = ("orchestrator", "experiments", "export")
"""Our own packages, which go into every snapshot together with the folder of R scripts beside them."""

PROJECT = "project"
"""The name of a user's own folder in a snapshot."""

SKIPPED = frozenset({"__pycache__", "runs", "node_modules", "venv"})
"""Folders that are never sources; hidden ones are not either."""

Files = dict[str, tuple[bytes, int]]
"""Name in the snapshot to content and mode."""


def roots(project: Path | None = None) -> dict[str, Path]:
    """Return what to freeze: our own packages, the R scripts beside them, and a user's project if there is one."""
    home = Path(__file__).resolve().parents[2]
    found = {name: home / name for name in (*PACKAGES, "r_plots") if (home / name).is_dir()}
    if project is not None:
        found[PROJECT] = project.resolve()
    return found


def collect(folders: Mapping[str, Path], limit: int = LIMIT) -> Files:
    """Read all sources of some folders: tracked by git or neither tracked nor ignored; all files where git is absent.

    Raises
    ------
    UserError
        If they are larger than ``limit`` together.
    """
    files: Files = {}
    sizes: list[tuple[int, str]] = []
    total = 0
    for name, folder in sorted(folders.items()):
        for relative in _sources(folder):
            path = folder / relative
            try:
                mode = path.stat().st_mode
                if not stat.S_ISREG(mode):
                    continue
                size = path.stat().st_size
                total += size
                sizes.append((size, f"{folder / relative} ({size / 2**20:.1f} MiB)"))
                if total > limit:
                    continue  # go on counting, so that the error can name the largest of all
                files[f"{name}/{relative}"] = (path.read_bytes(), 0o755 if mode & stat.S_IXUSR else 0o644)
            except FileNotFoundError:
                continue  # deleted and not committed, or a broken link
    if total > limit:
        largest = ", ".join(text for _, text in sorted(sizes, reverse=True)[:3])
        raise UserError(
            f"the sources to freeze have {total / 2**20:.0f} MiB, more than {limit / 2**20:.0f}; the largest are "
            f"{largest}. Keep data out of the project's folder, or name it in .gitignore"
        )
    return files


def digest(files: Files) -> str:
    """Return the digest (20 hex digits) of names, contents and whether they may be executed."""
    total = hashlib.blake2b(digest_size=10)
    for name in sorted(files):
        content, mode = files[name]
        head = f"{len(name)}:{name}{len(content)}:{mode & 0o100}:"
        total.update(head.encode("utf-8", "surrogateescape"))
        total.update(content)
    return total.hexdigest()


def source_digest(modules: Iterable[str], project: Path | None = None) -> str:
    """Return the digest of an experiment's own sources: the packages that its modules live in.

    Parameters
    ----------
    modules
        Names of the modules of the parameter class and the train function. Nothing is run but their parent packages.
        A module outside any package stands for itself alone; one that cannot be found is left out.
    project
        The folder that goes first on the import path.
    """
    files: Files = {}
    for name in sorted(set(modules)):
        path = _module_file(name, project)
        if path is None:
            continue
        package = name.rpartition(".")[0]
        if package:
            files.update((f"{package}{key}", value) for key, value in collect({"": path.parent}).items())
        else:
            files[name] = (path.read_bytes(), 0o644)
    return digest(files) if files else ""


def _module_file(name: str, project: Path | None) -> Path | None:
    if project is not None:
        stem = project.joinpath(*name.split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded:
        return Path(loaded)
    import importlib.util

    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None


def installed_packages() -> dict[str, str]:
    """Return ``{name: version}`` of every installed package, and of Python itself."""
    import platform

    packages = {"python": platform.python_version()}
    for folder in map(Path, filter(None, sys.path)):
        if folder.name == "_vendor":
            continue  # setuptools puts copies of others there on the path of whoever imports it
        for entry in sorted(os.listdir(folder)) if folder.is_dir() else ():  # noqa: PTH208  (names are enough)
            stem, dot, kind = entry.rpartition(".")
            if dot and kind in ("dist-info", "egg-info"):
                # Name and version stand in the folder's name. Reading every METADATA would take a worker longer than
                # everything else it does before it trains.
                name, dash, version = stem.partition("-")
                name, version = (name, version.partition("-py")[0]) if dash else _described(folder / entry)
                packages.setdefault(name.lower().replace("_", "-").replace(".", "-"), version)
    return packages


def _described(path: Path) -> tuple[str, str]:
    from importlib.metadata import Distribution

    metadata = Distribution.at(path).metadata
    return str(metadata["Name"] or path.stem), str(metadata["Version"] or "")


def _sources(folder: Path) -> list[str]:
    listed = _listed_by_git(folder)
    names = listed if listed is not None else _walk(folder)
    studies = {path.parent.relative_to(folder).as_posix() + "/" for path in folder.glob("*/submissions")}
    studies |= {path.parent.relative_to(folder).as_posix() + "/" for path in folder.glob("*/*/submissions")}
    return sorted(name for name in names if not _skipped(name) and not name.startswith(tuple(studies)))


def _skipped(name: str) -> bool:
    return any(part in SKIPPED or part.startswith(".") for part in name.split("/")) or name.endswith((".pyc", ".pyo"))


def _listed_by_git(folder: Path) -> list[str] | None:
    """Return what git does not ignore, or None where git or the repository is absent or ignores the folder itself."""
    import subprocess

    command = ["git", "-C", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    listing = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        # 1: not ignored; 0: the folder itself is ignored (an environment inside a repository); 128: no repository.
        ignored = subprocess.run(
            [*command, "check-ignore", "-q", "."], capture_output=True, check=False, env=environment
        )
        if ignored.returncode != 1:
            return None
        listed = subprocess.run([*command, *listing], capture_output=True, check=True, env=environment).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found: list[str] = []
    for raw in listed.split(b"\0"):
        name = os.fsdecode(raw)
        if name and (folder / name).is_dir() and not (folder / name).is_symlink():  # a submodule
            found.extend(f"{name.rstrip('/')}/{inner}" for inner in _sources(folder / name))
        elif name:
            found.append(name)
    return found


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        prefix = Path(parent).relative_to(folder)
        yield from ((prefix / name).as_posix() for name in names)
