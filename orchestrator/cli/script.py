"""``orch script``."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.cli.grids import Work
    from orchestrator.clusters.base import Cluster
    from orchestrator.launch import Told

PLACE: Final = "orch-launch"
"""Stands in a batch script where the script's own last lines go."""

TAKE: Final = {"slurm": "sbatch {}", "lsf": "bsub < {}"}
"""How a script is handed over."""

OF_CHECKOUT: Final = ".venv/bin/python"
"""The interpreter of a checkout: the one that `make setup` installs."""


@click.command()
@click.argument("grid", type=click.Path(exists=True, dir_okay=False))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--cluster", metavar="NAME", help="For which cluster: slurm, lsf, or a profile.")
@click.option("--workers", metavar="N", help="Tasks side by side in each element of the array.")
@click.option("--runs-per-task", metavar="N", help="Runs that one process trains: `lanes` in a grid.")
@click.option("--only", multiple=True, metavar="KEY=VALUE", help="Only these runs, e.g. seed=0..3.")
@click.option("--rerun-stale", is_flag=True, help="Train results of older sources again.")
@click.option("--steward/--no-steward", default=True, help="Leave a job that retries and exports.  [default: yes]")
@click.option(
    "--checkout", is_flag=True, help="For any checkout of the sources: paths count from where it is submitted."
)
@click.option(
    "-o",
    "--out",
    "--output",
    "output",
    metavar="PATH",
    help="File, or a folder for several scripts.  [default: print it]",
)
@common.root_option
def command(
    grid: str,
    overrides: tuple[str, ...],
    cluster: str | None,
    workers: str | None,
    runs_per_task: str | None,
    only: tuple[str, ...],
    rerun_stale: bool,
    steward: bool,
    checkout: bool,
    output: str | None,
    root: str | None,
) -> int:
    """Print a batch script that does by hand what `orch submit` does: `sbatch launch.sh`, `bsub < launch.sh`.

    It holds the grid and all options. Its first element publishes the submission, so that `orch status` shows its
    tasks; to launch it twice is harmless, and trains what is left.
    """
    from orchestrator.cli import grids
    from orchestrator.submit import Request

    words = (*overrides, *([f"resources.lanes={runs_per_task}"] if runs_per_task is not None else ()))
    work = grids.read(common.GridOptions(grid, words, cluster, workers, only, rerun_stale=rerun_stale, root=root))
    if work.cluster.kind not in TAKE:
        raise UserError("a launch script is for a scheduler: name one with --cluster, slurm, lsf or a profile")
    parts = list(_parts(work, Request(only=only, rerun_stale=rerun_stale)))
    if not parts:
        common.note(f"nothing is left to do in study {work.name}")
        return ExitCode.OK
    paths = _paths(parts, output)
    for part, path in zip(parts, paths, strict=True):
        told = _told(work, part, words, only, rerun_stale=rerun_stale, steward=steward, checkout=checkout)
        text = write(told, part.resources, work.grid.text, checkout=checkout)
        if path is None:
            click.echo(text, nl=False)
        else:
            _save(path, text)
        counts = ((part.runs, "run"), (part.tasks, "task"), (part.elements, "element"))
        runs, tasks, elements = (f"{count:,} {what}{'s' * (count != 1)}" for count, what in counts)
        common.note(f"{runs} in {tasks}, {elements}: {TAKE[told.kind].format(shlex.quote(str(path or 'launch.sh')))}")
    return ExitCode.OK


# --- which scripts ----------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """What one script does: what its job asks for, and how many elements, tasks and runs it has."""

    resources: Mapping[str, Any]
    elements: int
    tasks: int
    runs: int


def _parts(work: Work, request: Any) -> Iterator[Part]:
    """Cut what is to be done as the cluster's limit on the size of arrays demands."""
    from orchestrator.clusters import clusters_of
    from orchestrator.launch import ByHand
    from orchestrator.sharing import shares
    from orchestrator.submit import prepare, shrinks

    study, by_hand = work.existing(), ByHand.of(work.cluster)
    find = clusters_of(study) if study is not None else None
    plan = prepare(
        study, work.desired, by_hand, request, (lambda name: ByHand.of(find(name))) if find is not None else None
    )
    if study is not None and plan.left:
        raise shrinks(study, plan)
    for batch, per_job, _ in shares(work.desired, plan, by_hand):
        most = _max_array(work.cluster, batch.resources) * per_job
        for start in range(0, len(batch.tasks), most):
            tasks = batch.tasks[start : start + most]
            yield Part(batch.resources, -(-len(tasks) // per_job), len(tasks), sum(task.count for task in tasks))


def _max_array(cluster: Cluster, resources: Mapping[str, Any]) -> int:
    """Return how many elements one array may have, as far as that can be told here."""
    from orchestrator.clusters import batch

    if cluster.kind in batch.installed():
        with contextlib.suppress(UserError):  # here, but without the cluster behind it
            return cluster.limits(resources).max_array or UNBOUNDED
    return (resources.get("limits") or {}).get("array") or UNBOUNDED


UNBOUNDED: Final = 2**31


def _paths(parts: Sequence[Part], output: str | None) -> list[Path | None]:
    if output is None and len(parts) == 1:
        return [None]
    path = Path(output) if output is not None else None
    if path is None or (len(parts) > 1 and path.is_file()):
        raise UserError(
            f"one script is not enough for {sum(part.elements for part in parts):,} elements: an array may not have so "
            f"many, or they differ in resources. Give `-o FOLDER` to have {len(parts)} scripts written there"
        )
    if len(parts) == 1:
        return [path / "launch.sh" if path.is_dir() else path]
    return [path / f"launch-{number}.sh" for number in range(1, len(parts) + 1)]


def _save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


# --- one script -------------------------------------------------------------------------------------------------------


def _told(
    work: Work,
    part: Part,
    words: Sequence[str],
    only: Sequence[str],
    *,
    rerun_stale: bool,
    steward: bool,
    checkout: bool,
) -> Told:
    from orchestrator.launch import Told

    base = work.desired.resources
    project = None if work.project is None else _path(work.project, checkout=checkout)
    return Told(
        study=work.name,
        root=_path(work.root, checkout=checkout),
        cluster=work.cluster.name,
        kind=work.cluster.kind,
        elements=part.elements,
        resources=work.grid.resources.model_dump(exclude_defaults=True),
        job={name: value for name, value in part.resources.items() if value != base.get(name)},
        overrides=tuple(words),
        only=tuple(only),
        rerun_stale=rerun_stale,
        project=project,
        steward=steward,
    )


def _path(path: Path, *, checkout: bool) -> str:
    """Return a path as a script should name it."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if checkout and path.is_relative_to(Path.cwd()) else path)


def write(told: Told, resources: Mapping[str, Any], grid: str, *, checkout: bool = False) -> str:
    """Return the text of a launch script.

    Parameters
    ----------
    told
        What its elements are told.
    resources
        What its job asks for.
    grid
        The text of the grid.
    checkout
        Whether sources and interpreter are those of the folder that it is submitted from.
    """
    from orchestrator.clusters.base import python_command
    from orchestrator.clusters.batch import exec_line
    from orchestrator.launch import TARGET

    scheduler = import_module(f"orchestrator.clusters.{told.kind}")
    name = f"orch-{told.study}"[:64]
    text: str = scheduler.script(resources, [PLACE], name=name, log=Path(f"{name}.log"), elements=told.elements)
    first, _, options = text.partition("\n")
    options, _, _ = options.rpartition(exec_line([PLACE]))
    python, dash_c, boot, home, *rest = python_command(None, TARGET, told.to_json(), python=resources.get("python"))
    words = [
        f'"${{ORCH_PYTHON:-{OF_CHECKOUT if checkout else python}}}"',
        dash_c,
        shlex.quote(boot),
        '"$PWD"' if checkout else shlex.quote(home),
        *map(shlex.quote, rest),
    ]
    end = _delimiter(grid)
    take = TAKE[told.kind].format("launch.sh")
    return "\n".join(
        [
            first,
            f"# Trains study {told.study} as `orch submit` would: {take}. To launch it twice is harmless.",
            "# Printed by `orch script`; what its elements are told, and the grid, stand at the end.",
            options.rstrip("\n"),
            *(['cd "${SLURM_SUBMIT_DIR:-${LS_SUBCWD:-.}}"'] if checkout else []),
            f"exec {' '.join(words)} <<'{end}'",
            grid.rstrip("\n"),
            end,
            "",
        ]
    )


def _delimiter(grid: str) -> str:
    """Return a line that the grid does not have."""
    lines, end = set(grid.splitlines()), "END_OF_GRID"
    while end in lines:
        end += "_"
    return end
