"""``orch plan``."""

from __future__ import annotations

import json

import click

from orchestrator.cli import common


@click.command()
@common.grid_options
@click.option("--list", "as_list", is_flag=True, help="List every run and what is done about it.")
@common.json_option
def command(
    options: common.GridOptions,
    as_list: bool,
    as_json: bool,
) -> None:
    """Show what submit would do with GRID; nothing is written.

    With --list, each run has a line: its id, its part of the plan, its labels; with --json as well, JSON lines.
    """
    from orchestrator.cli import grids
    from orchestrator.cli.submit import show_plan
    from orchestrator.submit import prepare
    from orchestrator.view import plan as view

    work = grids.read(options)
    request = grids.request(options)
    if not as_list:
        show_plan(work, request, as_json=as_json)
        return
    points, planned = work.desired.points, prepare(work.existing(), work.desired, work.cluster, request)
    if as_json:
        for run, part, labels in view.list_runs(points, planned):
            click.echo(json.dumps({"run": run, "plan": part, "labels": labels}, ensure_ascii=False))
    else:
        for line in view.lines(points, planned):
            click.echo(line)
