"""``orch retry``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from orchestrator.study.study import Study


@click.command()
@common.study_argument
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--like", metavar="RUN", help="The runs that failed for the same cause as this one.")
@click.option("--from-nothing", is_flag=True, help="Forget checkpoints and results of the runs that are named.")
@common.dry_run_option
@common.yes_option
@common.json_option
@common.root_option
def command(
    study: str,
    runs: tuple[str, ...],
    like: str | None,
    from_nothing: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    root: str | None,
) -> int:
    """Give the failed runs of a study, or those that are named, a new budget of retries.

    RUN is the beginning of an id, a task such as 3-17, or a KEY=VALUE filter. They go on from their last checkpoint,
    with today's sources. To take cancelled runs up again, submit their grid.
    """
    from orchestrator.cli import grids, submit
    from orchestrator.clusters import get_cluster
    from orchestrator.submit import Request, again, last_submission

    if from_nothing and not (runs or like):
        raise click.UsageError("--from-nothing needs the runs to be named")
    opened = common.open_study(study, root)
    chosen = frozenset(common.choose(opened, runs)) if runs else frozenset()
    if like is not None:
        same = _alike(opened, like)
        chosen = chosen & same if runs else same
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


def _alike(study: Study, word: str) -> frozenset[bytes]:
    """Return the runs that failed for the same cause as the run that a word names."""
    from orchestrator.view.overview import living
    from orchestrator.view.triage import alike

    generation, history = common.newest(study), study.history()
    alive, _, _ = living(study, history)
    retries = int(generation.info["resources"].get("retries", 2))
    runs = generation.runs
    states = {run: history.state(run, alive, retries) for run in runs}
    named = set(common.choose(study, [word]))
    for positions in alike(runs, states, history.runs).values():
        if not named.isdisjoint(same := {runs[position] for position in positions}):
            return frozenset(same)
    raise UserError(f"run {word} of study {study.name!r} did not fail: `orch status {study.name}` lists what did")
