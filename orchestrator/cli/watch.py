"""``orch watch``, and the watching that ``orch run`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import common

if TYPE_CHECKING:
    from orchestrator.study.study import Study
    from orchestrator.view.overview import Overview


@click.command()
@common.study_argument
@common.interval_option
@common.json_option
@common.root_option
def command(study: str, interval: float | None, as_json: bool, root: str | None) -> int:
    """Follow a study until nothing is left to do; Ctrl-C ends the watching, not the study.

    Returns 0 if every run that was asked for is done and 1 if some failed or were cancelled. With --json, prints the
    status at the end.
    """
    opened = common.open_study(study, root)
    common.newest(opened)
    overview = follow(opened, interval)
    if as_json:
        common.print_json(overview.to_json())
    else:
        conclude(overview)
    return int(overview.exit_code)


def follow(study: Study, interval: float | None) -> Overview:
    """Show a study's progress on stderr until nothing more happens by itself.

    Parameters
    ----------
    study
        The study.
    interval
        Seconds between two looks; by default as many as its scheduler likes.
    """
    from orchestrator.study.watch import HeartbeatWatch
    from orchestrator.view import live, table
    from orchestrator.view.overview import observe
    from orchestrator.worker.heartbeat import INTERVAL

    watch = HeartbeatWatch(study, INTERVAL)
    return live.follow(
        lambda: observe(study, watch=watch),
        table.console(stderr=True),
        interval=interval or common.patience(study),
        # Where no job is left, nobody but the next `orch submit` moves what still waits.
        done=lambda overview: overview.finished or overview.idle,
    )


def conclude(overview: Overview) -> None:
    """Print how a study stands when the watching ends."""
    from orchestrator.view import table

    table.print_overview(table.console(), overview)
