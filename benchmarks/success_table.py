"""Print how many runs of each model and range are solved, beside what is published.

    python benchmarks/success_table.py runs/fig3 runs/fig8
    python benchmarks/success_table.py --markdown prod_long.csv

It reads a study's ``tables/summary.csv``, or any table of that form, such as benchmarks/mnist_success.py writes. The
last axis (the models, as a rule) makes the rows, the others the columns. What to compare with is looked up by the name
of the study in benchmarks/success_reference.yaml. A study with ``stream: legacy`` and all seeds differs from a count of
the original's by rounding only, others by chance too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
import pandas as pd
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML
from scipy.stats import fisher_exact

REFERENCE = Path(__file__).with_suffix("").with_name("success_reference.yaml")
CHANCE = 0.01
"""Differences are called more than chance where Fisher's exact test gives less than this."""


class Rate(NamedTuple):
    """A published success rate, and of how many runs it is."""

    rate: float
    runs: int


class Cell(NamedTuple):
    """``solved`` of ``runs`` runs of ours, and the reference, if there is one."""

    solved: int
    runs: int
    reference: Rate | None

    @property
    def mark(self) -> str:
        """Nothing where the counts are equal, ``*`` where they are not, ``!`` where chance would not do that."""
        if self.reference is None or not self.runs or round(self.reference.rate * self.runs) == self.solved:
            return ""
        theirs = round(self.reference.rate * self.reference.runs)
        table = [[self.solved, self.runs - self.solved], [theirs, self.reference.runs - theirs]]
        return "!" if fisher_exact(table).pvalue < CHANCE else "*"

    def text(self, *, markdown: bool) -> str:
        """Return ``ours/runs (reference, scaled to as many runs)`` and the mark."""
        if not self.runs:
            return "-"
        ours = f"{self.solved}/{self.runs}"
        if self.reference is None:
            return ours
        scaled = f"{self.reference.rate * self.runs:.4g}"
        if markdown:
            return f"**{ours}** ({scaled}){self.mark.strip('*')}" if self.mark else ours
        return f"{ours} ({scaled}) {self.mark}".rstrip()


class Counts(NamedTuple):
    """A table of cells: by model, those of the columns and the total at the end."""

    study: str
    columns: list[str]
    rows: dict[str, list[Cell]]
    source: str | None


def reference(study: str) -> tuple[dict[tuple[str, str], Rate], dict[str, Rate], str | None]:
    """Return what is published of a study, by (model, column) and by model, and where it is from."""
    known = YAML(typ="safe").load(REFERENCE)
    found: dict[str, Any] = known["studies"].get(study, {})
    cells, runs = {}, found.get("runs", 0)
    for model, rates in found.get("rates", {}).items():
        cells |= {(model, column): Rate(rate, runs) for column, rate in zip(found["columns"], rates, strict=True)}
    for model, counts in found.get("solved", {}).items():
        cells |= {(model, column): Rate(k / runs, runs) for column, k in zip(found["columns"], counts, strict=True)}
    totals = {model: Rate(k / runs, runs) for model, k in found.get("total", {}).items()}
    return cells, totals, known["sources"][found["source"]] if found else None


def count(study: str, summary: pd.DataFrame) -> Counts:
    """Count a study's solved runs, from the rows of its summary, whose columns are text."""
    keys = list(summary.columns[: list(summary.columns).index("runs")])
    models = summary[keys[-1]]
    columns = summary[keys[:-1]].agg(" · ".join, axis=1) if keys[:-1] else pd.Series("", summary.index)
    ours = dict(zip(zip(models, columns, strict=True), summary[["solved", "n"]].astype(int).to_numpy(), strict=True))
    cells, totals, source = reference(study)
    rows = {}
    for model in dict.fromkeys(models):
        row = [
            Cell(*map(int, ours.get((model, column), (0, 0))), cells.get((model, column)))
            for column in dict.fromkeys(columns)
        ]
        sums = [sum(cell.solved for cell in row), sum(cell.runs for cell in row)]
        total = totals.get(model)
        if row and all(cell.reference for cell in row):
            theirs = [cell.reference for cell in row if cell.reference]
            runs = sum(r.runs for r in theirs)
            total = Rate(sum(r.rate * r.runs for r in theirs) / runs, runs)
        rows[model] = [*row, Cell(*sums, total)]
    return Counts(study, list(dict.fromkeys(columns)), rows, source)


def verdict(counts: Counts) -> str:
    """Say how many cells are the reference's, in a sentence."""
    if counts.source is None:
        return "nothing is published to compare with: counts alone"
    marks = [cell.mark for row in counts.rows.values() for cell in row[:-1] if cell.reference and cell.runs]
    marks = marks or [row[-1].mark for row in counts.rows.values() if row[-1].reference and row[-1].runs]
    if not marks:
        return "no run yet of those that something is published of"
    return f"{marks.count('')} of {len(marks)} as the reference, in brackets: {counts.source}"


def show(counts: Counts, *, markdown: bool, console: Console) -> None:
    """Print a table, for a terminal or for a page."""
    head = ["model", *counts.columns, "all"]
    lines = [[model, *(cell.text(markdown=markdown) for cell in row)] for model, row in counts.rows.items()]
    if markdown:
        for line in (head, ["---"] * len(head), *lines):
            click.echo("| " + " | ".join(line) + " |")
        return
    table = Table(*head, title=f"{counts.study}: solved runs")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    console.print(verdict(counts), highlight=False)


def read(place: Path) -> tuple[str, pd.DataFrame]:
    """Return the name of a study and its summary, all of it text."""
    path = place / "tables" / "summary.csv" if place.is_dir() else place
    if not path.exists():
        raise click.ClickException(f"{path} does not exist; write it with: orch export {place}")
    summary = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = {"runs", "n", "solved"} - set(summary.columns)
    if missing or summary.columns[0] == "runs":
        what = f"column {', '.join(sorted(missing))}" if missing else "axis besides the seeds"
        raise click.ClickException(f"{path} has no {what}; is it the summary of a study with a threshold?")
    return place.resolve().name if place.is_dir() else place.stem, summary


@click.command(help=__doc__)
@click.argument("studies", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="Print tables for a page.")
def main(studies: tuple[Path, ...], markdown: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200)
    compared = False
    for place in studies:
        counts = count(*read(place))
        show(counts, markdown=markdown, console=console)
        compared = compared or counts.source is not None
    if compared and not markdown:
        console.print(
            "* another count than the reference, ! a difference beyond chance (Fisher's exact test, p < 0.01)"
        )


if __name__ == "__main__":
    main()
