"""``orch logs``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import common
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.study.study import Study

INTERVAL = 0.5
"""Seconds between two looks of ``--follow``."""


@click.command()
@common.study_argument
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("-f", "--follow", is_flag=True, help="Go on until the process ends.")
@common.root_option
def command(study: str, runs: tuple[str, ...], follow: bool, root: str | None) -> None:
    """Print what the process of a run wrote to its standard output and error.

    RUN is the beginning of an id, a task such as 3-17, or KEY=VALUE words; the runs of a task share a process. Without
    any, the output of the study's steward is printed. With several files, a line on stderr says which one follows.
    """
    opened = common.open_study(study, root)
    tasks = _tasks(opened, runs) if runs else []
    shown: dict[Path, int] = {}
    last = _show(_files(opened, tasks), shown, None)
    if not shown and not follow:
        raise UserError(
            f"nothing of study {opened.name!r} was written yet: {'the run has' if runs else 'it has'} not begun"
        )
    while follow:
        over = _over(opened, tasks)
        last = _show(_files(opened, tasks), shown, last)
        if over:
            return
        time.sleep(INTERVAL)


def _tasks(study: Study, words: tuple[str, ...]) -> list[str]:
    """Return the tasks that own the runs that are named."""
    from orchestrator.study.history import RunRecord

    records = study.history().runs
    tasks = dict.fromkeys(records.get(run, RunRecord()).task for run in common.choose(study, words))
    found = [task for task in tasks if task]
    if not found:
        raise UserError(f"{' '.join(words)}: no process has had this run yet")
    return found


def _files(study: Study, tasks: list[str]) -> Iterator[Path]:
    """Yield the files there are: of the last incarnation of each task, or of the last steward."""
    if tasks:
        folders = [study.task_path(task, beat[0]) for task in tasks if (beat := study.heartbeat(task)) is not None]
    else:
        folders = sorted((study.path / "steward").glob("*"), key=lambda path: int(path.name))[-1:]
    return (path for folder in folders for name in ("stdout", "stderr") if (path := folder / name).exists())


def _show(files: Iterator[Path], shown: dict[Path, int], last: Path | None) -> Path | None:
    """Print what is new in some files, and return the one that was printed last."""
    for path in files:
        begin = shown.setdefault(path, 0)
        with path.open("rb") as file:
            file.seek(begin)
            text = file.read()
        if not text:
            continue
        if path != last:
            common.note(f"{os.linesep if last else ''}==> {path} <==")
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        shown[path], last = begin + len(text), path
    return last


def _over(study: Study, tasks: list[str]) -> bool:
    """Say whether no process that could write is left."""
    from orchestrator.view.overview import observe, poll

    history = study.history()
    if tasks and all(task in history.ended for task in tasks):
        return True
    if not tasks:
        return observe(study, details=False).idle
    return not study.alive(history, poll(study, history)) & set(tasks)
