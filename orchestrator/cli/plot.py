"""``orch plot``."""

from __future__ import annotations

import click

from orchestrator.cli import common


@click.command()
@common.study_argument
@click.argument("figures", nargs=-1, metavar="[FIGURE]...")
@click.option("--no-export", is_flag=True, help="Draw from the tables as they are.")
@common.json_option
@common.root_option
def command(study: str, figures: tuple[str, ...], no_export: bool, as_json: bool, root: str | None) -> None:
    """Draw the figures that the grid of STUDY declares, or those that are named, from fresh tables."""
    from export.figures import draw
    from orchestrator.cli.export import fresh

    opened = common.open_study(study, root)
    common.newest(opened)
    if not no_export:
        fresh(opened)
    paths = draw(opened, list(figures) or None)
    if as_json:
        common.print_json({"schema": 1, "study": opened.name, "figures": list(map(str, paths))})
        return
    if not paths:
        common.note("the grid declares no figures")
    for path in paths:
        click.echo(path)
