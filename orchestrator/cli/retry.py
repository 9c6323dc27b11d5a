"""``orch retry``."""

from __future__ import annotations

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode


@click.command()
@common.study_argument
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--from-nothing", is_flag=True, help="Forget checkpoints and results of the runs that are named.")
@common.dry_run_option
@common.yes_option
@common.json_option
@common.root_option
def command(
    study: str, runs: tuple[str, ...], from_nothing: bool, dry_run: bool, yes: bool, as_json: bool, root: str | None
) -> int:
    """Give the failed runs of a study, or those that are named, a new budget of retries.

    RUN is the beginning of an id, a task such as 3-17, or a KEY=VALUE filter. They go on from their last checkpoint,
    with today's sources. To take cancelled runs up again, submit their grid.
    """
    from orchestrator.cli import grids, submit
    from orchestrator.clusters import get_cluster
    from orchestrator.submit import Request, again, last_submission

    if from_nothing and not runs:
        raise click.UsageError("--from-nothing needs the runs to be named")
    opened = common.open_study(study, root)
    chosen = frozenset(common.choose(opened, runs)) if runs else frozenset()
    request = Request(
        only=last_submission(opened).only,
        uncancel=False,
        retry=chosen or "all",
        rerun=chosen if from_nothing else (),
    )
    wanted = again(opened, frozen=False)
    cluster = get_cluster(str(wanted.resources["cluster"]))
    if dry_run:
        seen = grids.forecast(opened.name, opened, wanted, cluster, request)
        if as_json:
            common.print_json(seen.to_json())
        else:
            seen.show()
        return ExitCode.OK
    done = submit.hand_over(opened, wanted, cluster, request, yes=yes, quiet=as_json)
    if as_json:
        common.print_json(submit.to_json(opened.name, done))
    return submit.exit_code(done.result)
