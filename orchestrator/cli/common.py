"""Arguments that several commands share, and how they turn into studies and runs."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from orchestrator.cli import settings
from orchestrator.errors import Place, UserError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from orchestrator.study.study import Generation, Study

F = TypeVar("F", bound=Callable[..., Any])

INTERVALS = {"local": 1.0}
"""Seconds between two looks at a study, by kind of cluster. A scheduler has others to answer as well."""

SCHEDULER_INTERVAL = 10.0
"""The same for kinds that are not named there."""

FEWEST_ID_CHARACTERS = 4
"""So much of a run's id must be given at least."""


def complete_study(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a study."""
    from click.shell_completion import CompletionItem

    from orchestrator.study.study import Study

    names = Study.names(settings.root(ctx.params.get("root")))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


study_argument = click.argument("study", shell_complete=complete_study)
root_option = click.option("--root", metavar="DIR", is_eager=True, help="Folder of all studies.  [default: runs]")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
interval_option = click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Between two looks.  [default: 1; 10 on Slurm and LSF]",
)
dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Change nothing; say what would be done.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Ask no questions.")


@dataclass(frozen=True)
class GridOptions:
    """What every command that reads a grid is told.

    Parameters
    ----------
    grid, overrides
        Path of the grid file, and the trailing ``key=value`` words.
    cluster, workers, root
        Where to train, how many processes side by side, and the folder of all studies, if anything was said.
    only, prune, rerun_stale, probe
        Which runs, and what else is to be done about them; see :class:`orchestrator.submit.Request`.
    allow_env_change, allow_mixed_engines
        What workers may do; ``resources.allow`` of a grid.
    """

    grid: str
    overrides: tuple[str, ...] = ()
    cluster: str | None = None
    workers: str | None = None
    only: tuple[str, ...] = ()
    prune: bool = False
    rerun_stale: bool = False
    probe: bool = False
    allow_env_change: bool = False
    allow_mixed_engines: bool = False
    root: str | None = None


_GRID_OPTIONS = (
    click.argument("grid", type=click.Path(exists=True, dir_okay=False)),
    click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
    click.option("--cluster", metavar="NAME", help="Where to train: local, slurm, lsf, or a profile."),
    click.option("--workers", metavar="N", help="Processes side by side."),
    click.option("--only", multiple=True, metavar="KEY=VALUE", help="Only these runs, e.g. seed=0..3."),
    click.option("--prune", is_flag=True, help="Let go of runs that left the grid."),
    click.option("--rerun-stale", is_flag=True, help="Train results of older sources again."),
    click.option("--probe", is_flag=True, help="First train the two extreme tasks for a few steps, and measure them."),
    click.option("--allow-env-change", is_flag=True, help="Let workers run with other packages than are here now."),
    click.option("--allow-mixed-engines", is_flag=True, help="Let workers compute with another engine than the first."),
    root_option,
)


def grid_options(function: F) -> F:
    """Add what every command that reads a grid takes, and hand it over as one :class:`GridOptions`."""
    names = [field.name for field in fields(GridOptions)]

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        return function(GridOptions(**{name: given.pop(name) for name in names}), **given)

    for option in reversed(_GRID_OPTIONS):
        option(command)
    return cast("F", command)


def open_study(name: str, root: str | None) -> Study:
    """Open a study by its name or path, and say so when a grid was named instead."""
    from orchestrator.study.study import Study

    try:
        return Study.open(name, settings.root(root))
    except UserError as error:
        if name.endswith((".yaml", ".yml")):
            raise UserError(
                "this is a grid; name its study instead, the grid's `study:`", places=(Place(name),)
            ) from error
        raise


def patience(study: Study) -> float:
    """Return how many seconds to leave between two looks at a study: as many as its slowest scheduler likes."""
    kinds = {entry.scheduler for entry in study.chain() if entry.kind == "submit"} or {"local"}
    return max(INTERVALS.get(kind, SCHEDULER_INTERVAL) for kind in kinds)


def newest(study: Study) -> Generation:
    """Return the newest generation of a study's grid."""
    generation = study.generation()
    if generation is None:
        raise UserError(f"nothing was submitted in study {study.name!r} yet: use `orch submit` with its grid")
    return generation


def choose(study: Study, words: Sequence[str]) -> list[bytes]:
    """Return the runs that some words name, in grid order.

    Parameters
    ----------
    study
        The study.
    words
        Beginnings of ids, names of tasks (``3-17``), and ``key=value`` filters over axes and parameters. Runs must
        pass all filters, and be named by one of the other words if there are any.

    Raises
    ------
    UserError
        If a word names no run.
    """
    from orchestrator.filters import select

    generation = newest(study)
    points, runs = generation.points, generation.runs
    filters = [word for word in words if "=" in word]
    named = [word for word in words if "=" not in word]
    passing: Iterable[int] = select(points, filters) if filters else range(len(runs))
    wanted = {run for word in named for run in _named(study, runs, word)} if named else None
    return list(dict.fromkeys(runs[position] for position in passing if wanted is None or runs[position] in wanted))


def _named(study: Study, runs: Sequence[bytes], word: str) -> Iterable[bytes]:
    from orchestrator import identity

    number, dash, index = word.partition("-")
    if dash and number.isdecimal() and index.isdecimal():
        return study.task(word).runs
    if len(word) < FEWEST_ID_CHARACTERS:
        raise UserError(f"{word!r} is too short: give at least {FEWEST_ID_CHARACTERS} characters of a run's id")
    found = {run for run in set(runs) if identity.to_text(run).startswith(word.lower())}
    if not found:
        raise UserError(f"study {study.name!r} has no run {word!r}: give the beginning of its id, or key=value filters")
    return found


def print_json(data: Mapping[str, Any]) -> None:
    """Print data for programs."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """Tell a person something beside the data."""
    click.echo(text, err=True)


def interactive() -> bool:
    """Say whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str, *, yes: bool) -> bool:
    """Ask a person, if there is one; ``--yes`` and programs agree."""
    return yes or not interactive() or click.confirm(question, err=True)
