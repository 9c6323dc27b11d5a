"""What a study should hold, resolved: made of a grid, or of what was submitted before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError
from orchestrator.points import Points
from orchestrator.study import code as sources
from orchestrator.study.records import Submission
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.grid import Grid


@dataclass(frozen=True)
class Desired:
    """What a study should hold, resolved: made of a grid (:func:`desired`) or of what was submitted (:func:`again`).

    Parameters
    ----------
    info
        What a generation records of the grid.
    points
        All points.
    generation
        Publishes the generation, unless it is there, and returns its number.
    code
        Freezes the sources and returns their digest.
    source
        Digest of the experiment's own sources.
    packages
        Records the installed packages and returns their digest.
    """

    info: Mapping[str, Any]
    points: Points
    generation: Callable[[Study], int]
    code: Callable[[Study], str]
    source: str
    packages: Callable[[Study], str]

    @property
    def resources(self) -> Mapping[str, Any]:
        """The grid's resources."""
        resources: Mapping[str, Any] = self.info["resources"]
        return resources


def desired(grid: Grid, points: Points, project: Path | None = None) -> Desired:
    """Resolve a grid.

    Parameters
    ----------
    grid, points
        The grid and its points.
    project
        The folder of a user's own code, for experiments that are not installed and for commands.
    """
    from orchestrator.experiment import lane_paths

    experiment = grid.experiment
    info = {
        "experiment": experiment.reference,
        "version": experiment.version,
        "form": experiment.form,
        "train": experiment.train,
        "params": f"{experiment.params.__module__}:{experiment.params.__qualname__}",
        "steps": experiment.steps,
        "cadence": experiment.cadence,
        "lanes": sorted(lane_paths(experiment.params)),
        "project": str(project.absolute()) if project is not None else None,
        "overrides": list(grid.overrides),
        "resources": grid.resources.model_dump(),
        "export": grid.export.model_dump(),
        "figures": [figure.model_dump() for figure in grid.figures],
        "created": now(),
    }
    return _today(info, points, lambda study: study.publish_generation(grid.text, info, points))


def again(study: Study, *, frozen: bool) -> Desired:
    """Take up what was asked for before.

    Parameters
    ----------
    study
        The study.
    frozen
        Whether it is the last submission that goes on, with its sources (a steward's next wave), or the newest grid
        with today's sources (a user's retry).

    Raises
    ------
    UserError
        If nothing was submitted yet.
    """
    last = last_submission(study)
    generation = study.generation(last.generation if frozen else None)
    if generation is None:
        raise UserError(f"generation {last.generation} of study {study.name!r} is not there")
    info, points = generation.info, generation.points
    if not frozen:
        return _today(info, points, lambda _: generation.g)
    return Desired(info, points, lambda _: last.generation, lambda _: last.code, last.source, lambda _: last.packages)


def _today(info: Mapping[str, Any], points: Points, generation: Callable[[Study], int]) -> Desired:
    project = Path(info["project"]) if info["project"] else None
    modules = [str(info[name]).partition(":")[0] for name in ("params", "train")]
    return Desired(
        info,
        points,
        generation,
        code=lambda study: study.freeze_code(sources.roots(project)),
        # What a command runs is its own affair: no result of it is ever called stale.
        source="" if info["form"] == "command" else sources.source_digest(modules, project),
        packages=lambda study: study.record_packages(sources.installed_packages()),
    )


def last_submission(study: Study) -> Submission:
    """Return the newest entry of the chain that wants runs trained."""
    for entry in reversed(study.chain()):
        if entry.kind != "cancel":
            return entry
    raise UserError(f"nothing was submitted in study {study.name!r} yet: use `orch submit` with its grid")


def now() -> str:
    """Return the time in UTC, for people to read."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
