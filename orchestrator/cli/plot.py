"""``orch plot``."""

from __future__ import annotations

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode


@click.command()
@common.study_argument
@click.argument("figures", nargs=-1, metavar="[FIGURE]...")
@click.option("--no-export", is_flag=True, help="Draw from the tables as they are.")
@click.option("--check", is_flag=True, help="Draw nothing; exit with 1 if a figure is stale.")
@common.json_option
@common.root_option
def command(study: str, figures: tuple[str, ...], no_export: bool, check: bool, as_json: bool, root: str | None) -> int:
    """Draw the figures that the grid of STUDY declares, or those that are named, from fresh tables.

    Each PDF says in its caption and its document information which data it shows; see `pdfinfo`.
    """
    from export.figures import draw
    from export.stale import stale
    from orchestrator.cli.export import fresh, tell_stale

    opened = common.open_study(study, root)
    common.newest(opened)
    if not no_export:
        fresh(opened)
    if check:
        old = [name for name in stale(opened) if name in figures or not figures]
        if as_json:
            common.print_json({"schema": 1, "study": opened.name, "stale": old})
        for name in () if as_json else old:
            click.echo(f"{name} is stale: draw it with orch plot {opened.name} {name}")
        return int(ExitCode.RUNS_FAILED) if old else 0
    paths = draw(opened, list(figures) or None)
    if as_json:
        common.print_json({"schema": 1, "study": opened.name, "figures": list(map(str, paths))})
        return 0
    if not paths:
        common.note("the grid declares no figures")
    for path in paths:
        click.echo(path)
    tell_stale(opened)  # of several, some may have been drawn
    return 0
