"""Where frozen sources come from: for each repository among them its commit, and what was changed since."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

MOST: Final = 2**20
"""Bytes of a diff that are kept; the frozen sources are whole in any case."""


def origins(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return the repositories that some folders belong to.

    Returns
    -------
    dict
        The repository's top folder to ``commit`` (empty before the first), ``changed`` (names of files that differ from
        it, untracked ones included) and ``diff`` (text, cut at :data:`MOST` bytes). Folders without git are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        if _top(folder) in found:
            continue
        top = _git(folder, "rev-parse", "--show-toplevel")
        if top is None or top in found:
            continue
        changed = _git(Path(top), "status", "--porcelain", "-z", "--untracked-files=normal") or ""
        found[top] = {
            "commit": _git(Path(top), "rev-parse", "--verify", "HEAD") or "",
            "changed": sorted(part[3:] for part in changed.split("\0") if part[2:3] == " "),
            "diff": (_git(Path(top), "diff", "HEAD", "--no-color", "--no-ext-diff") or "")[:MOST],
        }
    return found


def _top(folder: Path) -> str:
    """Return the folder that a repository begins at, as far as that can be seen without asking git."""
    real = folder.resolve()
    return next((str(parent) for parent in (real, *real.parents) if (parent / ".git").exists()), "")


def _git(folder: Path, *words: str) -> str | None:
    """Ask git about the repository of a folder; None if it cannot be asked."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, check=False, env=environment, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.decode("utf-8", "replace").strip("\n")
