"""``orch cancel``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster, Part
    from orchestrator.liveness import Clusters


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
    done; a cancelled run goes on from its checkpoint when its grid is submitted again. Of a job that trains other runs
    too, only those elements are ended that have no other.
    """
    from orchestrator import identity
    from orchestrator.cancel import cancel
    from orchestrator.clusters import clusters_of

    opened = common.open_study(study, root)
    chosen = common.choose(opened, runs)
    history = opened.history()
    records = history.runs
    unfinished = [run for run in chosen if run not in records or records[run].unfinished]
    count = f"{len(unfinished)} run{'s' * (len(unfinished) != 1)}"
    ending = Ending(clusters_of(opened))
    if not dry_run and unfinished:
        if not runs and not common.agreed(f"Cancel {count} of study {opened.name!r}?", yes=yes):
            raise click.Abort
        cancel(opened, unfinished if runs else "all", ending)
    if as_json:
        common.print_json(
            {
                "schema": 1,
                "study": opened.name,
                "cancelled": list(map(identity.to_text, unfinished)),
                "ended": [to_json(part) for part in ending.parts],
                "errors": list(map(str, ending.errors)),
            }
        )
    else:
        common.note(f"{'would cancel' if dry_run else 'cancelled'} {count}" if unfinished else "nothing to cancel")
        for part in ending.parts:
            common.note(f"ended {name(part)}")
    for error in ending.errors:
        common.note(f"orch: the order stands, and workers read it; but jobs could not be ended: {error}")
    return ending.errors[0].exit_code if ending.errors else ExitCode.OK


@dataclass
class Ending:
    """Finds clusters whose jobs are to be ended, and keeps what became of that.

    Parameters
    ----------
    clusters
        Finds a cluster by name.

    Attributes
    ----------
    parts
        What was ended.
    errors
        Why something was not: the order to cancel was published before.
    """

    clusters: Clusters
    parts: list[Part] = field(default_factory=list)
    errors: list[UserError] = field(default_factory=list)

    def __call__(self, name: str) -> Any:
        """Find a cluster, of which nothing is wanted but to end jobs."""
        return _Ender(self, self.clusters(name))


@dataclass
class _Ender:
    ending: Ending
    cluster: Cluster

    def cancel(self, parts: Sequence[Part]) -> None:
        try:
            self.cluster.cancel(parts)
        except UserError as error:
            self.ending.errors.append(error)
        else:
            self.ending.parts += parts


def to_json(part: Part) -> dict[str, Any]:
    """Return what was ended as data; ``elements`` is null for a whole job."""
    elements = None if part.elements is None else list(part.elements)
    return {"n": part.job.n, "array": part.job.array, "job": part.job.job_id, "elements": elements}


def name(part: Part) -> str:
    """Name what was ended: ``job 17``, or ``elements 3-5, 9 of job 17``."""
    from orchestrator.study.spans import to_spans

    if part.elements is None:
        return f"job {part.job.job_id}"
    spans = [
        f"{start}" if stop == start + 1 else f"{start}-{stop - 1}" + (f":{step}" if step > 1 else "")
        for start, stop, step in to_spans(part.elements)
    ]
    return f"element{'s' * (len(part.elements) > 1)} {', '.join(spans)} of job {part.job.job_id}"
