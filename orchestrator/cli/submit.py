"""``orch submit``, and what ``run`` and ``retry`` share with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.cli.grids import Work
    from orchestrator.submit import Request, Result


@click.command()
@common.grid_options
@common.dry_run_option
@common.yes_option
@common.json_option
def command(
    options: common.GridOptions,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Hand the runs of GRID that are missing to the cluster, and return at once.

    Repeat it at will: what is done or under way is left alone, what was lost is submitted again, and a grid that grew
    trains its new runs only. Trailing KEY=VALUE words override the grid: `seed=0..9 max_iterations=1000`.
    """
    from orchestrator.cli import grids

    work = grids.read(options)
    request = grids.request(options)
    if dry_run:
        show_plan(work, request, as_json=as_json)
        return ExitCode.OK
    result = bring(work, request, yes=yes, quiet=as_json)
    if as_json:
        common.print_json(to_json(work.name, result))
    return exit_code(result)


def show_plan(work: Work, request: Request, *, as_json: bool) -> None:
    """Print what would be done."""
    from orchestrator.submit import prepare
    from orchestrator.view import plan, table

    planned = prepare(work.existing(), work.desired, work.cluster, request)
    if as_json:
        common.print_json(plan.to_json(work.name, planned))
    else:
        plan.print_plan(table.console(), work.name, planned, work.cluster.name)


def bring(work: Work, request: Request, *, yes: bool, quiet: bool = False) -> Result:
    """Submit a grid, and tell on stderr what was done."""
    from orchestrator.cli import grids
    from orchestrator.study.study import Study
    from orchestrator.submit import prepare, submit
    from orchestrator.view import plan, table

    if (study := work.existing()) is None:
        # Nothing of a new study is written before it is known that it will be submitted.
        planned = prepare(None, work.desired, work.cluster, request)
        if not grids.confirm(planned, yes=yes):
            raise click.Abort
        study, yes = Study.create(work.root, work.name), True
    result = submit(study, work.desired, work.cluster, request, confirm=lambda p: grids.confirm(p, yes=yes))
    if result.declined:
        raise click.Abort
    if result.plan is not None and not quiet:
        plan.print_plan(table.console(stderr=True), work.name, result.plan, work.cluster.name)
    tell(result)
    return result


def tell(result: Result) -> None:
    """Say on stderr what a scheduler refused."""
    for entry, array, error in result.errors:
        common.note(f"orch: submission {entry.n}, array {array} was not handed over: {error}")
    if result.errors:
        common.note("orch: the next `orch submit` hands it over")


def to_json(name: str, result: Result) -> dict[str, object]:
    """Return what a submission did as data."""
    from orchestrator.view import plan

    return {
        "schema": 1,
        "study": name,
        "plan": plan.to_json(name, result.plan) if result.plan is not None else None,
        "submissions": [entry.n for entry in result.published],
        "jobs": [job.to_json() for job in result.jobs],
        "errors": [{"n": entry.n, "array": array, "error": str(error)} for entry, array, error in result.errors],
    }


def exit_code(result: Result) -> int:
    """Return 0 if everything was handed over, 4 if something was, else what the scheduler's refusal says."""
    if not result.errors:
        return ExitCode.OK
    return ExitCode.PARTLY_SUBMITTED if result.jobs else result.errors[0][2].exit_code
