"""``orch explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import common, settings
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.study.study import Study


SOME = 5
"""So many runs are named where one is wanted."""


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[STUDY] RUN", shell_complete=common.complete_study)
@common.json_option
@common.root_option
def command(words: tuple[str, ...], as_json: bool, root: str | None) -> None:
    """Say where a run is, what it trains, what was tried, and why it failed.

    RUN is the beginning of its id, or KEY=VALUE words that single it out. Without STUDY, all are looked through.
    """
    from orchestrator.view import explain as view
    from orchestrator.view import table

    study, run = find(words, root)
    known = view.explain(study, run)
    if as_json:
        common.print_json(known.to_json())
    else:
        view.print_explanation(table.console(), known)


def find(words: tuple[str, ...], root: str | None) -> tuple[Study, bytes]:
    """Find the one run that some words name.

    Raises
    ------
    UserError
        If there is none, or more than one.
    """
    from orchestrator import identity
    from orchestrator.study.study import Study

    if len(words) > 1 or "=" in words[0]:
        study = common.open_study(words[0], root)
        runs = common.choose(study, words[1:])
        if len(runs) == 1:
            return study, runs[0]
        some = ", ".join(map(identity.to_text, runs[:SOME])) + " …" * (len(runs) > SOME)
        raise UserError(f"{' '.join(words[1:])} names {len(runs)} runs of study {study.name!r} ({some}): name one")
    folder = settings.root(root)
    found = []
    for name in Study.names(folder):
        study = Study.open(name, folder)
        if study.generation() is not None:
            try:
                found += [(study, run) for run in common.choose(study, words)]
            except UserError:
                continue
    if len(found) != 1:
        what = f"{len(found)} runs are called" if found else "no run is called"
        raise UserError(f"{what} {words[0]!r} in {folder}: give the study and the beginning of a run's id")
    return found[0]
