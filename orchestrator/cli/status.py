"""``orch status``."""

from __future__ import annotations

from dataclasses import replace

import click

from orchestrator.cli import common, settings


@click.command()
@click.argument("study", required=False, shell_complete=common.complete_study)
@click.option("--by", multiple=True, metavar="AXIS", help="Break down by this axis or parameter.")
@common.json_option
@common.root_option
def command(study: str | None, by: tuple[str, ...], as_json: bool, root: str | None) -> int:
    """Count a study's runs by state; of all studies where none is named.

    Reads the study's directory and asks the scheduler once. Returns 3 if the scheduler cannot be asked.
    """
    from orchestrator.cli.export import stale_figures
    from orchestrator.errors import ExitCode
    from orchestrator.view.overview import observe

    if study is None:
        return _all(as_json, root)

    opened = common.open_study(study, root)
    overview = replace(observe(opened, by=by), stale_figures=stale_figures(opened))
    if as_json:
        common.print_json(overview.to_json())
    else:
        from orchestrator.view import table

        table.print_overview(table.console(), overview, axes=bool(by))
    if overview.unreachable:
        common.note(f"orch: {overview.unreachable}")
    return ExitCode.SCHEDULER_UNREACHABLE if overview.unreachable else ExitCode.OK


def _all(as_json: bool, root: str | None) -> int:
    """List all studies with a line each."""
    from orchestrator.errors import ExitCode
    from orchestrator.study.study import Study
    from orchestrator.view.overview import observe

    folder = settings.root(root)
    studies = [Study.open(name, folder) for name in Study.names(folder)]
    overviews = [observe(study, details=False) for study in studies if study.generation() is not None]
    if as_json:
        common.print_json({"schema": 1, "studies": [overview.to_json() for overview in overviews]})
    elif not overviews:
        common.note(f"no study in {folder} yet: `orch init` writes a grid to start from, `orch run GRID` does the rest")
    else:
        from orchestrator.view import table

        table.console().print(table.table(["study", "runs"], [[o.study, table.summary(o)] for o in overviews]))
    unreachable = any(overview.unreachable for overview in overviews)
    return ExitCode.SCHEDULER_UNREACHABLE if unreachable else ExitCode.OK
