"""``orch cancel``."""

from __future__ import annotations

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode


@click.command()
@common.study_argument
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@common.dry_run_option
@common.yes_option
@common.json_option
@common.root_option
def command(study: str, runs: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool, root: str | None) -> int:
    """Stop the unfinished runs of a study, or those that are named.

    RUN is the beginning of an id, a task such as 3-17, or a KEY=VALUE filter such as seed=0..3. What is done stays
    done; a cancelled run goes on from its checkpoint when its grid is submitted again.
    """
    from orchestrator import identity
    from orchestrator.submit import cancel

    opened = common.open_study(study, root)
    chosen = common.choose(opened, runs)
    history = opened.history()
    records = history.runs
    unfinished = [run for run in chosen if run not in records or not (records[run].outcome or records[run].cancelled)]
    count = f"{len(unfinished)} run{'s' * (len(unfinished) != 1)}"
    if not dry_run and unfinished:
        if not runs and not common.agreed(f"Cancel {count} of study {opened.name!r}?", yes=yes):
            raise click.Abort
        cancel(opened, unfinished if runs else "all")
    if as_json:
        common.print_json({"schema": 1, "study": opened.name, "cancelled": list(map(identity.to_text, unfinished))})
    else:
        common.note(f"{'would cancel' if dry_run else 'cancelled'} {count}" if unfinished else "nothing to cancel")
    return ExitCode.OK
