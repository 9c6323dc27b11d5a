"""``orch doctor``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

import click

from orchestrator.cli import common, settings
from orchestrator.errors import ExitCode

Verdict = Literal["ok", "note", "missing"]
"""``note``: something works less well, or is not there and may never be needed. ``missing``: nothing can be trained."""

SCHEDULERS = {"slurm": "sbatch", "lsf": "bsub"}
LITTLE_SPACE = 2**30


class Check(NamedTuple):
    """What was looked at, how it stands, and what was found or what to do."""

    name: str
    verdict: Verdict
    found: str


@click.command()
@common.json_option
@common.root_option
def command(as_json: bool, root: str | None) -> int:
    """Check what this machine offers: Python, torch, compiler, cores, GPUs, R, space, schedulers.

    Returns 2 if something is missing without which nothing can be trained.
    """
    from orchestrator.view import table

    checks = list(examine(settings.root(root)))
    if as_json:
        common.print_json({"schema": 1, "checks": [check._asdict() for check in checks]})
    else:
        from rich.text import Text

        style = {"ok": "green", "note": "yellow", "missing": "red"}
        rows: list[list[str | Text]] = [
            [Text(check.verdict, style=style[check.verdict]), check.name, check.found] for check in checks
        ]
        table.console().print(table.table(["", "", ""], rows, heading=False))
    return ExitCode.USAGE if any(check.verdict == "missing" for check in checks) else ExitCode.OK


def examine(root: Path) -> Iterator[Check]:
    """Yield the checks one after the other."""
    for check in (_python, _torch, _compiler, _cores, _gpus, _r):
        yield check()
    yield _space(root)
    yield _clusters()
    yield _experiments()


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def _torch() -> Check:
    # In a process of its own: a broken installation may end the process that imports it.
    done = _run([sys.executable, "-c", "import torch; print(torch.__version__, torch.get_num_threads())"])
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return Check("torch", "missing", "not installed: pip install torch")
    if done is None or done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1] if done else "it did not answer"
        return Check("torch", "missing", f"{installed} cannot be imported: {last}")
    return Check("torch", "ok", done.stdout.split()[0])


def _compiler() -> Check:
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++")), None)
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if compiler is None:
        return Check("compiler", "note", "no g++ or clang++: lanes train with the slower eager engine")
    if not header.exists():
        return Check(
            "compiler", "note", f"{header} is not there (python3-dev): lanes train with the slower eager engine"
        )
    done = _run([compiler, "--version"])
    return Check("compiler", "ok", done.stdout.splitlines()[0] if done and done.stdout else compiler)


def _cores() -> Check:
    from orchestrator.clusters.local import usable_cores

    usable, present = usable_cores(), os.cpu_count() or 1
    return Check("cores", "ok", f"{usable}" if usable == present else f"{usable} of {present} may be used")


def _gpus() -> Check:
    if shutil.which("nvidia-smi") is None:
        return Check("GPUs", "ok", "none")
    done = _run(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    names = done.stdout.strip().splitlines() if done and not done.returncode else []
    if not names:
        return Check("GPUs", "note", "nvidia-smi is there, but finds none")
    seen = _run([sys.executable, "-c", "import torch; print(torch.cuda.device_count())"])
    if seen is None or seen.returncode or seen.stdout.strip() == "0":
        return Check("GPUs", "note", f"{len(names)} × {names[0]}, which this torch cannot use")
    return Check("GPUs", "ok", f"{len(names)} × {names[0]}")


def _r() -> Check:
    from export.figures import PACKAGES, check
    from orchestrator.errors import UserError

    try:
        rscript = check()
    except UserError as error:
        return Check("R", "note", f"tables are written, but {error}")
    return Check("R", "ok", f"{rscript} with {', '.join(PACKAGES)}")


def _space(root: Path) -> Check:
    folder = next(path for path in (root, *root.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Check("studies", "missing", f"{root} cannot be written: set --root or ORCH_ROOT")
    return Check("studies", "ok" if free > LITTLE_SPACE else "note", f"{root}, {free / 2**30:.1f} GiB free")


def _clusters() -> Check:
    from orchestrator.clusters import CLUSTERS

    there = [f"{name} ({path})" for name, program in SCHEDULERS.items() if (path := shutil.which(program))]
    usable = ", ".join(CLUSTERS)
    if unusable := [text for text in there if text.split()[0] not in CLUSTERS]:
        return Check("clusters", "note", f"{usable}; {', '.join(unusable)} is here, but not in this version")
    return Check("clusters", "ok", ", ".join([usable.split(", ")[0], *there]))


def _experiments() -> Check:
    from orchestrator.experiment import installed

    names = ", ".join(installed())
    return Check("experiments", "ok" if names else "note", names or "none installed; grids can still run a command")


def _run(words: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
