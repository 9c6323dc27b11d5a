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
    described.pop("seed", None)
    # One line stands uncommented at least: a section cannot be empty.
    stand = {next((path for path in described if "." not in path), "")}
    # What a group requires matters only where the group itself cannot be left out.
    needed = {name for name, known in experiment.params.model_fields.items() if known.is_required()}
    stand |= {path for path, known in described.items() if known["required"] and path.partition(".")[0] in needed}
    lines = [
        f"  {'' if path in stand else '# '}{path}: {json.dumps(known['default'])}".ljust(40)
        + f"  # {known['description'] or known['type']}{' (required)' if known['required'] else ''}"
        for path, known in described.items()
    ]
    floats = [path for path, known in described.items() if known["type"] == "float" and "." not in path]
    # An axis to begin with: a step size where there is one.
    number = next(iter([*(name for name in floats if name in RATES), *floats, *RATES]))
    section = "\n".join([SET, *lines, ""]) if lines else ""
    return EXPERIMENT.format(study=study, experiment=spelled, set=section, number=number)


RATES = ("learning_rate", "lr", "rate")

HEAD = """\
# A grid: every combination of the axes is a run. `orch plan FILE` counts them, `orch run FILE` trains them.
study: {study}
"""

SET = "set:".ljust(42) + "# the same for every run; uncomment what should differ"

EXPERIMENT = f"""\
{HEAD}\
experiment: {{experiment}}

{{set}}
axes:                                     # lists, spans, generators, or named bundles that set several parameters
  seed: 0..4
  # {{number}}: {{{{log: {{{{start: 1e-4, stop: 1e-2, count: 3}}}}}}}}

resources: {{{{time: 1h}}}}                     # cpus, memory, workers, cluster, retries ...

# export:
#   tags: ["*"]                           # what goes into the tables
#   summary: {{{{select: TAG, error: TAG, threshold: 1e-5}}}}   # how a run is judged
# figures:
#   - {{{{name: success, script: range_success, x: {{number}}}}}}
"""

COMMAND = f"""\
{HEAD}
# Any program. ${{{{name}}}} is a value of the grid, ${{{{run.dir}}}} a folder of the attempt's own for what it writes;
# TensorBoard event files that it writes there are picked up.
command: python train.py --rate ${{{{rate}}}} --seed ${{{{seed}}}} --logdir ${{{{run.dir}}}}

axes:
  seed: 0..4
  rate: [0.001, 0.01]

resources: {{{{time: 1h}}}}                     # cpus, memory, workers, cluster, retries ...
"""
