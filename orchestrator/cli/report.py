"""``orch report``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from orchestrator.cli import common


@click.command()
@common.study_argument
@click.option("-o", "--out", metavar="FILE", help="Where to write; - is stdout.  [default: STUDY.html]")
@common.root_option
def command(study: str, out: str | None, root: str | None) -> None:
    """Write one HTML file: counts, failures by cause, and the figures that were drawn. It needs nothing beside it."""
    from orchestrator.cli.export import stale_figures
    from orchestrator.view.overview import observe
    from orchestrator.view.report import html

    opened = common.open_study(study, root)
    text = html(replace(observe(opened), stale_figures=stale_figures(opened)), opened.figures, opened.tables)
    if out == "-":
        click.echo(text)
        return
    path = Path(out or f"{opened.name}.html")
    path.write_text(text, encoding="utf-8")
    click.echo(path)
