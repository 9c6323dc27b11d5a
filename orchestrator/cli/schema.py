"""``orch schema``."""

from __future__ import annotations

import click

from orchestrator.cli import common


@click.command()
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
def command(experiments: tuple[str, ...]) -> None:
    """Print the JSON Schema of grids with every installed experiment, or those that are named.

    Editors complete and check while you type: save it as grid.schema.json, and begin your grids with the line
    `# yaml-language-server: $schema=grid.schema.json`.
    """
    from pathlib import Path

    from orchestrator.experiment import find, installed
    from orchestrator.grid import json_schema

    names = experiments or tuple(installed())
    common.print_json(json_schema([find(name, Path.cwd()) for name in names]))
