"""Print the solved runs of a division study beside the reference of Figure 3.

    python benchmarks/success_table.py runs/fig3

The reference is Figure 3 of arXiv 2110.05177 (x1 / x2, two inputs, 50,000 iterations): solved runs of 25 seeds, counted
with an independent implementation of the paper's code on the same random numbers (docs/papers/arithmetic.md, "Figure
3"). A study with ``stream: legacy`` and seeds 0..24 differs from it by rounding only, others by chance too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy.stats import fisher_exact

SEEDS = 25
RANGES = [
    "U[-20,-10)", "U[-2,-1)", "U[-1.2,-1.1)", "U[-0.2,-0.1)", "U[-2,2)",
    "U[0.1,0.2)", "U[1,2)", "U[1.1,1.2)", "U[10,20)",
]  # fmt: skip
REFERENCE = {
    "Real NPU (baseline)": [4, 21, 4, 8, 0, 24, 25, 6, 7],
    "Real NPU (modified)": [25, 25, 25, 25, 16, 25, 25, 25, 25],
    "NRU": [25, 25, 23, 25, 25, 25, 25, 25, 25],
    "NMRU": [25, 25, 25, 25, 25, 25, 25, 25, 25],
}
CHANCE = 0.01
"""Differences are called more than chance where Fisher's exact test gives less than this."""


def compare(solved: int, runs: int, reference: int) -> str:
    """Return one cell, ``ours/runs (reference, scaled to as many runs)``, marked where the two differ.

    ``*``: another count. ``!``: more than two samples of the same rate would differ by chance.
    """
    scaled = reference * runs / SEEDS
    text = f"{solved}/{runs} ({scaled:.3g})"
    if round(scaled) == solved:
        return text
    p = fisher_exact([[solved, runs - solved], [reference, SEEDS - reference]]).pvalue
    return f"{text} {'!' if p < CHANCE else '*'}"


def table(summary: pd.DataFrame) -> Table:
    """Build the table from the rows of ``tables/summary.csv``."""
    shown = Table("model", *(range_.removeprefix("U") for range_ in RANGES), "total", title="solved runs (reference)")
    for model, counts in REFERENCE.items():
        rows = summary[summary["model"] == model].set_index("range")
        cells, totals = [], [0, 0, 0.0]
        for range_, reference in zip(RANGES, counts, strict=True):
            if range_ not in rows.index or rows.loc[range_, "n"] == 0:
                cells.append("-")
                continue
            solved, runs = int(rows.loc[range_, "solved"]), int(rows.loc[range_, "n"])
            cells.append(compare(solved, runs, reference))
            totals = [totals[0] + solved, totals[1] + runs, totals[2] + reference * runs / SEEDS]
        shown.add_row(model, *cells, f"{totals[0]}/{totals[1]} ({totals[2]:.3g})")
    return shown


@click.command()
@click.argument("study", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(study: Path) -> None:
    """Compare STUDY, a study's directory, with the reference."""
    path = study / "tables" / "summary.csv"
    if not path.exists():
        sys.exit(f"{path} does not exist; write it with: orch export {study}")
    summary = pd.read_csv(path)
    missing = {"model", "range", "n", "solved"} - set(summary.columns)
    if missing:
        sys.exit(f"{path} has no column {', '.join(sorted(missing))}; is it a study of jobs/demo.yaml?")
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table(summary))
    console.print("* another count than the reference, ! a difference beyond chance (Fisher's exact test, p < 0.01)")


if __name__ == "__main__":
    main()
