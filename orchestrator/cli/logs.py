"""``orch logs``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import common
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.study.study import Study

INTERVAL = 0.5
"""Seconds between two looks of ``--follow`` at the files."""


@click.command()
@common.study_argument
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("-f", "--follow", is_flag=True, help="Go on until the process ends.")
@common.json_option
@common.root_option
def command(study: str, runs: tuple[str, ...], follow: bool, as_json: bool, root: str | None) -> None:
    """Print what the process of a run wrote to its standard output and error.

    RUN is the beginning of an id, a task such as 3-17, or KEY=VALUE words; the runs of a task share a process. Where no
    process began, what its job said is printed. Without any RUN, the output of the study's steward is. With several
    files, a line on stderr says which one follows.
    """
    if follow and as_json:
        raise click.UsageError("--json prints what there is now; it does not go with --follow")
    opened = common.open_study(study, root)
    tasks = _tasks(opened, runs) if runs else []
    if as_json:
        files = [{"path": str(path), "text": _read(path).decode("utf-8", "replace")} for path in _files(opened, tasks)]
        common.print_json({"schema": 1, "study": opened.name, "tasks": tasks, "files": files})
        return
    shown: dict[Path, int] = {}
    last = _show(_files(opened, tasks), shown, None)
    if not any(shown.values()) and not follow:
        if shown or any(opened.heartbeat(task) is not None for task in tasks):
            common.note("nothing was printed yet" if not _over(opened, tasks) else "nothing was printed")
            return
        begun = "the run has not begun" if runs else "its steward has not; name a run to see what its process says"
        raise UserError(f"nothing of study {opened.name!r} was written yet: {begun}")
    if follow:
        _follow(opened, tasks, shown, last)


def _follow(study: Study, tasks: Sequence[str], shown: dict[Path, int], last: Path | None) -> None:
    """Print what is new again and again, until no process is left that could write."""
    patience, asked = common.patience(study), float("-inf")
    while True:
        over = False
        if time.monotonic() - asked >= patience:  # a scheduler is asked less often than a file is read
            over, asked = _over(study, tasks), time.monotonic()
        last = _show(_files(study, tasks), shown, last)
        if over:
            return
        time.sleep(INTERVAL)


def _tasks(study: Study, words: Sequence[str]) -> list[str]:
    """Return the tasks that own the runs that are named."""
    from orchestrator.study.history import RunRecord

    records = study.history().runs
    tasks = dict.fromkeys(records.get(run, RunRecord()).task for run in common.choose(study, words))
    found = [task for task in tasks if task]
    if not found:
        raise UserError(f"{' '.join(words)}: no process has had this run yet")
    return found


def _files(study: Study, tasks: Sequence[str]) -> Iterator[Path]:
    """Yield the files there are: of the last incarnation of each task, or of the last steward that wrote any."""
    if not tasks:
        numbered = [path for path in (study.path / "steward").glob("*") if path.name.isdecimal()]
        folders = sorted(numbered, key=lambda path: int(path.name))
        # The newest steward may still wait for its turn.
        written = [folder for folder in folders if any(path.stat().st_size for path in _streams(folder))]
        for folder in written[-1:]:
            yield from _streams(folder)
    for task in tasks:
        beat = study.heartbeat(task)
        if beat is not None:
            yield from _streams(study.task_path(task, beat[0]))
        elif (log := _log(study, task)).exists():
            yield log


def _streams(folder: Path) -> list[Path]:
    return [path for name in ("stdout", "stderr") if (path := folder / name).exists()]


def _log(study: Study, task: str) -> Path:
    """Return what a task's job prints before a worker begins; it shares the file with the others of its array."""
    n, _, index = task.partition("-")
    return study.log_path(int(n), study.submission(int(n)).array_of(int(index)))


def _read(path: Path, begin: int = 0) -> bytes:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read()


def _show(files: Iterator[Path], shown: dict[Path, int], last: Path | None) -> Path | None:
    """Print what is new in some files, and return the one that was printed last."""
    for path in files:
        begin = shown.setdefault(path, 0)
        text = _read(path, begin)
        if not text:
            continue
        if path != last:
            common.note(f"{os.linesep if last else ''}==> {path} <==")
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        shown[path], last = begin + len(text), path
    return last


def _over(study: Study, tasks: Sequence[str]) -> bool:
    """Say whether no process that could write is left."""
    from orchestrator.view.overview import observe, poll

    history = study.history()
    if not tasks:
        return observe(study, details=False).idle
    if all(task in history.ended for task in tasks):
        return True
    return not study.alive(history, poll(study, history)) & set(tasks)
