"""Summarise sequential MNIST by the length of the test sequences: a table that r_plots/parameter.R draws.

    python benchmarks/mnist_success.py runs/mnist-prod-long runs/mnist-prod-reference > prod_long.csv
    Rscript r_plots/parameter.R prod_long.csv prod_long.pdf x=length colour=model unit=seeds estimate=published

A run's result is its row with the smallest validation error. It is solved at a length if its test error there is less
than the reference's: mean + t · sd / √n of the errors of runs whose cell is the operation itself, t the 0.99 quantile
with 8 degrees of freedom, whatever n is (docs/papers/arithmetic.md, "Evaluation").
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd

from experiments.arithmetic.thresholds import reference_threshold
from export import summary
from export.describe import Dictionary

VALID = "metric/valid/mse"
TEST = re.compile(r"metric/test/extrapolation/(\d+)/mse")


def read(study: Path) -> pd.DataFrame:
    """Return the evaluated rows of a study, in the order of runs and steps."""
    path = study / "tables" / "wide.parquet"
    if not path.exists():
        raise click.ClickException(f"there is no {path}; write it with: orch export {study}")
    table = pd.read_parquet(path)
    return table[table[VALID].notna()].sort_values(["run", "step"], kind="stable")


def lengths(table: pd.DataFrame) -> list[int]:
    """Return the lengths of test sequences that a table has, in order."""
    return sorted(int(found[1]) for column in table.columns if (found := TEST.fullmatch(column)))


def verdicts(table: pd.DataFrame, length: int, threshold: float) -> summary.Verdicts:
    """Judge the runs of a table, in the order of their ids."""
    runs, run = np.unique(table["run"].astype(str), return_inverse=True)
    tag = f"metric/test/extrapolation/{length}/mse"
    sparse = [column for column in table.columns if column.endswith("W/sparsity_error")]
    sparsity = table[sparse].max(axis=1) if sparse else pd.Series(np.nan, table.index)
    values = [np.asarray(column, float) for column in (table[VALID], table[tag], sparsity)]
    criterion = summary.Criterion(VALID, tag, threshold)
    return summary.best(run, np.asarray(table["step"], np.int64), *values, len(runs), criterion)


def summarise(study: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each length and model."""
    frames = []
    models = study.groupby("run", observed=True)["model"].first().astype(str)
    names = list(dict.fromkeys(study["model"].astype(str)))
    for length in lengths(study):
        errors = verdicts(reference, length, np.inf).error
        found = verdicts(study, length, reference_threshold(errors))
        by = Dictionary("model", np.array([names.index(model) for model in models]), names)
        count = np.arange(len(models))
        frame = summary.summarise([by], count, np.ones(len(models), bool), found).to_pandas()
        frame.insert(0, "length", length)
        frames.append(frame)
    return pd.concat(frames)


@click.command(help=__doc__)
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path))
@click.option("--seeds", help="Seeds of the reference that count, such as 0,2,4; all if not given.")
def main(study: Path, reference: Path, seeds: str | None) -> None:
    solved = read(reference)
    if seeds is not None:
        solved = solved[solved["seed"].isin([int(seed) for seed in seeds.split(",")])]
    summarise(read(study), solved).to_csv(sys.stdout, index=False)


if __name__ == "__main__":
    main()
