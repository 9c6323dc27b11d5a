"""``orch run``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from orchestrator.study.study import Study

DRAWN, WRITTEN = (".pdf", ".png", ".svg"), (".csv", ".csv.gz", ".parquet")
"""Endings of figures and of tables."""


@click.command()
@common.grid_options
@common.interval_option
@common.dry_run_option
@common.yes_option
@common.json_option
def command(
    options: common.GridOptions,
    interval: float | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Submit GRID, watch it, export its tables and draw its figures.

    Ctrl-C leaves the runs alone: `orch watch` takes the watching up again. Trailing KEY=VALUE words override the grid.
    """
    from orchestrator.cli import grids, submit, watch
    from orchestrator.study.study import Study
    from orchestrator.view.overview import observe

    work = grids.read(options)
    request = grids.request(options)
    if dry_run:
        submit.show_plan(work, request, as_json=as_json)
        return ExitCode.OK
    refused = submit.exit_code(submit.bring(work, request, yes=yes, quiet=as_json).result)
    study = Study.open(work.name, work.root)
    try:
        watch.follow(study, interval)
        settle(study, interval)
    except KeyboardInterrupt:
        common.note(f"\nThe runs go on. Take the watching up again with: orch watch {work.name}")
        raise
    overview = observe(study)
    made = products(study) if overview.runs["done"] else []
    if as_json:
        common.print_json({**overview.to_json(), "products": list(map(str, made))})
    else:
        watch.conclude(overview)
        for path in made:
            click.echo(_short(path))
    return refused or int(overview.exit_code)


def settle(study: Study, interval: float | None = None, deadline: float = 600.0) -> None:
    """Wait until no steward of the study is at work or about to be: it exports and draws when the last run is done.

    Parameters
    ----------
    study
        The study.
    interval
        Seconds between two looks; by default as many as its scheduler likes.
    deadline
        Seconds after which it is left alone.
    """
    from orchestrator.view.overview import living

    patience = common.patience(study)
    # Whether a process of this machine lives is known at once; a scheduler is asked.
    pause = 0.1 if patience == common.INTERVALS["local"] else interval or patience
    end = time.monotonic() + deadline
    while not {"pending", "running"}.isdisjoint(living(study, study.history())[1].values()):
        if time.monotonic() >= end:
            common.note("orch: the steward, which exports and draws, is not done yet; `orch status` says where it is")
            return
        time.sleep(pause)


def products(study: Study) -> list[Path]:
    """Return the tables and figures of a study; what its steward did not get to, or made of older data, is made now."""
    from orchestrator.cli.export import fresh, stale_figures

    fresh(study)
    declared = [figure["name"] for figure in common.newest(study).info["figures"]]
    missing = [name for name in declared if not (study.figures / f"{name}.pdf").exists()]
    wanted = [*missing, *stale_figures(study)]
    if wanted:
        from export.figures import draw

        try:
            draw(study, wanted)
        except UserError as error:  # no R here: the tables are there all the same
            common.note(f"orch: {error}")
    return [*_files(study.figures, DRAWN), *_files(study.tables, WRITTEN)]


def _files(folder: Path, endings: tuple[str, ...] = ("",)) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if path.is_file() and path.name.endswith(endings) and path.name[0] != ".")


def _short(path: Path) -> str:
    """Write a path as briefly as it can be pasted."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
