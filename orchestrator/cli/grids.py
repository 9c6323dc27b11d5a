"""From a grid file and the words around it to what a study should hold."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import settings
from orchestrator.cli.common import agreed, note
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.cli.common import GridOptions
    from orchestrator.clusters.base import Cluster
    from orchestrator.grid import FigureSpec, Grid
    from orchestrator.plan import Plan
    from orchestrator.study.study import Study
    from orchestrator.submit import Desired, Request
    from orchestrator.view.cost import Bill

MARKS = ("pyproject.toml", "setup.py", "setup.cfg", ".git")
"""What tells the top folder of a project."""

MANY_RUNS = 1000
"""More runs than this are not submitted without a yes."""

MANY_POINTS = 200_000
"""More points than this take long enough to say so."""


@dataclass(frozen=True)
class Work:
    """A grid, expanded and ready to be planned for.

    Parameters
    ----------
    name
        The study's name.
    desired
        What it should hold.
    cluster
        Where its tasks are to go.
    root
        The folder of all studies.
    grid, project
        The grid itself, and the folder of a user's own code if it uses any.
    """

    name: str
    desired: Desired
    cluster: Cluster
    root: Path
    grid: Grid
    project: Path | None

    def existing(self) -> Study | None:
        """Return the study if it was ever submitted."""
        from orchestrator.study.study import Study

        return Study.open(self.name, self.root) if self.name in Study.names(self.root) else None


def read(options: GridOptions) -> Work:
    """Read, check and expand a grid; nothing is written."""
    from orchestrator.clusters import get_cluster
    from orchestrator.grid import expand, load
    from orchestrator.submit import desired

    path = Path(options.grid)
    flags = {"cluster": options.cluster, "workers": options.workers}
    words = [*options.overrides, *(f"resources.{name}={value}" for name, value in flags.items() if value is not None)]
    project = project_of(path)
    loaded = load(path, file=options.grid, overrides=words, project=project)
    if loaded.figures:
        loaded = dataclasses.replace(loaded, figures=_drawable(loaded.figures, (path.absolute().parent, project)))
    given = {word.partition("=")[0].removeprefix("resources.") for word in words if word.startswith("resources.")}
    resources = settings.resources(loaded.resources, given)
    flags_given = {"env-change": options.allow_env_change, "mixed-engines": options.allow_mixed_engines}
    allowed = {*resources.allow, *(name for name, flag in flags_given.items() if flag)}
    loaded = dataclasses.replace(loaded, resources=resources.model_copy(update={"allow": sorted(allowed)}))
    if (count := loaded.count()) > MANY_POINTS:
        note(f"expanding {count:,} points")
    own = loaded.experiment.form == "command" or loaded.experiment.train.partition(".")[0] not in OURS
    theirs = project if own else None
    here = not loaded.resources.python  # another one has modules of its own
    if own and here and loaded.experiment.form != "command":
        _check_train(loaded.experiment.reference, loaded.experiment.train)
    return Work(
        name=loaded.study,
        desired=desired(loaded, expand(loaded), theirs),
        cluster=get_cluster(loaded.resources.cluster),
        root=settings.root(options.root),
        grid=loaded,
        project=theirs,
    )


def _drawable(figures: Sequence[FigureSpec], folders: Sequence[Path]) -> list[FigureSpec]:
    """Return the figures with whole paths of scripts of one's own: whoever draws them may be in another folder.

    A relative path begins at the current folder, or at the first of some others where there is such a file.

    Raises
    ------
    UserError
        If there is no such script: what cannot be drawn is known now, not when all is trained.
    """
    from export.stale import script

    found = []
    for figure in figures:
        name = Path(figure.script).expanduser()
        places = (folder / name for folder in (Path.cwd(), *folders)) if name.suffix else ()  # ours are named without
        own = next((place for place in places if place.is_file()), None)
        found.append(figure.model_copy(update={"script": str(own)}) if own is not None else figure)
        script(found[-1].model_dump())
    return found


def _check_train(experiment: str, train: str) -> None:
    """Look for the module of a user's train function, which only workers import.

    Raises
    ------
    UserError
        If there is none: every run would fail.
    """
    from importlib.util import find_spec

    module = train.partition(":")[0]
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError as error:
        found = not f"{module}.".startswith(f"{error.name}.")
    except (Exception, SystemExit):  # noqa: BLE001  (what its package imports, workers may have, and this machine not)
        found = True
    if not found:
        raise UserError(f"experiment {experiment!r} has train={train!r}, and there is no module {module!r}")


OURS = ("experiments",)
"""Packages whose sources are frozen anyway."""


def project_of(grid: Path) -> Path:
    """Return the top folder of the project that a grid belongs to: the nearest that looks like one, or the grid's."""
    folder = grid.absolute().parent
    return next((f for f in (folder, *folder.parents) if any((f / mark).exists() for mark in MARKS)), folder)


@dataclass(frozen=True)
class Forecast:
    """What would be done, what it costs, and what else a person should know.

    Parameters
    ----------
    name, cluster
        Of the study, and of where its tasks go.
    plan, bill, notes
        The plan, its cost, and sentences.
    prune
        Whether runs that left the grid are let go.
    """

    name: str
    cluster: str
    plan: Plan
    bill: Bill
    notes: tuple[str, ...]
    prune: bool

    def show(self, *, stderr: bool = False) -> None:
        """Print it for people."""
        from orchestrator.view import plan, table

        out = table.console(stderr=stderr)
        plan.print_plan(out, self.name, self.plan, self.cluster, self.bill, prune=self.prune)
        for line in self.notes:
            out.print(line, style="yellow")

    def to_json(self) -> dict[str, Any]:
        """Return it as data."""
        from orchestrator.view import plan

        return {**plan.to_json(self.name, self.plan, self.bill), "notes": list(self.notes)}


def forecast(
    name: str, study: Study | None, wanted: Desired, cluster: Cluster, request: Request, plan: Plan | None = None
) -> Forecast:
    """Say what a request would do.

    Parameters
    ----------
    name
        The study's name.
    study, wanted, cluster, request
        See :func:`orchestrator.submit.prepare`.
    plan
        What it comes to, where somebody has planned already.
    """
    from orchestrator import probe
    from orchestrator.study.history import History
    from orchestrator.submit import prepare
    from orchestrator.view.cost import foresee
    from orchestrator.view.plan import probe_notes

    plan = plan or prepare(study, wanted, cluster, request)
    history = study.history() if study is not None else History()
    said = probe.verdict(study, history) if study is not None else None
    measured = probe.measured(study, history, wanted.resources) if study is not None else None
    probing = bool(request.probe) and not isinstance(said, probe.Passed)
    bill = foresee(study, wanted, cluster, plan, history, probe=probing)
    notes = tuple(probe_notes(wanted, plan, said, measured, probing=probing))
    return Forecast(name, cluster.name, plan, bill, notes, prune=request.shrink == "prune")


def confirm(plan: Plan, *, yes: bool) -> bool:
    """Ask before many runs are submitted."""
    runs = plan.cost.runs
    return runs <= MANY_RUNS or agreed(f"Submit {runs:,} runs?", yes=yes)


def request(options: GridOptions) -> Request:
    """Put what a command asks for into the words of the submission."""
    from orchestrator.probe import STEPS
    from orchestrator.submit import Request

    return Request(
        only=options.only,
        shrink="prune" if options.prune else "refuse",
        rerun_stale=options.rerun_stale,
        probe=STEPS if options.probe else 0,
    )
