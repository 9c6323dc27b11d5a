"""``orch init``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import Place, UserError

if TYPE_CHECKING:
    from orchestrator.experiment import Experiment


@click.command()
@click.argument("experiment", required=False)
@click.option("-o", "--out", metavar="FILE", help="Where to write; - is stdout.  [default: EXPERIMENT.yaml]")
def command(experiment: str | None, out: str | None) -> None:
    """Write a commented grid to start from, for EXPERIMENT; for any command line where none is named."""
    from orchestrator.experiment import find

    found = find(experiment, Path.cwd()) if experiment else None
    name = found.name.replace(":", ".").rpartition(".")[2].lower() if found else "study"
    text = starter(name, found, experiment or "")
    if out == "-":
        click.echo(text, nl=False)
        return
    path = Path(out or f"{name}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError("this file is there already: name another one with -o", places=(Place(str(path)),)) from error
    click.echo(path)
    click.echo(f"Edit it, look at it with `orch plan {path}`, and train it with `orch run {path}`.", err=True)


def starter(name: str, experiment: Experiment | None, spelled: str) -> str:
    """Return the text of a grid of a few short runs.

    Parameters
    ----------
    name
        The study's name.
    experiment, spelled
        The experiment and how the grid names it; without one, the grid runs a command.
    """
    study = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.") or "study"
    if experiment is None:
        return COMMAND.format(study=study)
    from orchestrator.cli.experiments import describe

    described: dict[str, dict[str, Any]] = describe(experiment)["parameters"]
    # A group is shown by its first leaf's comment only; its leaves are set under its name or with dots.
    lines = [
        f"  # {path}: {_yaml(known['default'])}".ljust(44) + f"# {known['description'] or known['type']}"
        for path, known in described.items()
        if path != "seed"
    ]
    return EXPERIMENT.format(study=study, experiment=spelled, parameters="\n".join(line.rstrip() for line in lines))


def _yaml(value: Any) -> str:
    return json.dumps(value, default=str)


HEAD = """\
# A grid: every combination of the axes is a run. `orch plan FILE` counts them, `orch run FILE` trains them.
study: {study}
"""

EXPERIMENT = (
    HEAD
    + """\
experiment: {experiment}

set:                       # the same for every run; uncomment what differs from the default
{parameters}

axes:                      # a list, a span, a generator, or named bundles that set several parameters together
  seed: 0..4
  # learning_rate: {{log: {{start: 1e-4, stop: 1e-2, count: 3}}}}

resources: {{time: 1h}}      # cpus, memory, workers, cluster, retries ...

# export: {{tags: ["*"]}}    # what goes into the tables
# figures:
#   - {{name: figure, script: curves, x: step}}
"""
)

COMMAND = (
    HEAD
    + """\

# Any program. ${{name}} is a value of the grid, ${{run.dir}} a folder of the attempt's own for whatever it writes;
# TensorBoard event files that it writes there are picked up.
command: python train.py --rate ${{rate}} --seed ${{seed}} --logdir ${{run.dir}}

axes:
  seed: 0..4
  rate: [0.001, 0.01]

resources: {{time: 1h}}      # cpus, memory, workers, cluster, retries ...
"""
)
