"""Figures: the runs summarised by the figure's own axes, and an R script that draws what the summary says."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import describe, lineage, stale, summary
from export.describe import Dictionary
from export.formats import write
from export.lineage import Lineage
from export.manifest import Manifest
from export.summary import REPLICATE, Verdicts
from export.tables import RUNS, export_study
from orchestrator.errors import ExitCode, UserError, nearest
from orchestrator.study import atomic

if TYPE_CHECKING:
    from orchestrator.study.study import Generation, Study

CAPTION = "ORCH_LINEAGE"
"""Environment variable with what a script writes below its figure: where the data come from."""

PACKAGES = ("ggplot2", "readr", "dplyr", "tidyr", "scales")
"""What the scripts need; all are packages of Debian's own."""


def check() -> str:
    """Return the path of Rscript.

    Raises
    ------
    UserError
        If R, or a package that the scripts need, is missing: it says what to install.
    """
    rscript = shutil.which("Rscript")
    if rscript is None:
        wanted = " ".join(["r-base-core", *(f"r-cran-{package}" for package in PACKAGES)])
        raise UserError(
            f"figures need R, and there is no Rscript on the path: apt-get install {wanted}",
            exit_code=ExitCode.RUNS_FAILED,
        )
    words = ", ".join(f'"{package}"' for package in PACKAGES)
    asked = _run(
        [rscript, "-e", f"p <- c({words}); cat(p[!nzchar(vapply(p, function(x) system.file(package = x), ''))])"]
    )
    if asked.returncode != 0:
        raise UserError(f"R does not start: {_last(asked.stderr)}", exit_code=ExitCode.RUNS_FAILED)
    missing = asked.stdout.split()
    if missing:
        raise UserError(
            f"figures need the R package{'s' * (len(missing) > 1)} {', '.join(missing)}: "
            f"apt-get install {' '.join(f'r-cran-{package}' for package in missing)}",
            exit_code=ExitCode.RUNS_FAILED,
        )
    return rscript


def draw(study: Study, names: Sequence[str] | None = None) -> list[Path]:
    """Draw figures of a study from its tables, which are made if they are not there or of another grid.

    Next to each figure stands a table ``<name>.csv`` with what is drawn: one row per mark.

    Parameters
    ----------
    study
        The study.
    names
        Names of figures that its grid declares; all of them, if not given.

    Returns
    -------
    list of Path
        A PDF and a PNG of each figure.

    Raises
    ------
    UserError
        If there is no such figure, R or a package is missing, the script fails, or the grid does not say how runs are
        judged.
    """
    generation = study.generation()
    if generation is None:
        raise UserError(f"study {study.name!r} has no grid yet, so there is nothing to draw: `orch submit` it first")
    declared = {figure["name"]: figure for figure in generation.info.get("figures") or ()}
    for name in names or ():
        if name not in declared:
            known = f"it declares: {', '.join(declared)}." if declared else "it declares none."
            raise UserError(f"the grid of {study.name!r} declares no figure {name!r}; {known}{nearest(name, declared)}")
    wanted = [declared[name] for name in (declared if names is None else names)]
    if not wanted:
        return []
    rscript = check()
    manifest = Manifest.load(study.tables)
    if not _usable(manifest, generation, study) or manifest is None:
        manifest = export_study(study)
    atomic.make_folder(study.figures)
    return [path for figure in wanted for path in _draw(study, generation, figure, rscript, manifest)]


def _usable(manifest: Manifest | None, generation: Generation, study: Study) -> bool:
    """Say whether the tables that are there are of all runs of this grid."""
    return (
        manifest is not None
        and manifest.generation == generation.g
        and not manifest.where
        and (study.tables / RUNS).exists()
    )


def _digest_of_runs(manifest: Manifest) -> str:
    return next((file.blake2b for file in manifest.files if file.name == RUNS), "")


def _draw(
    study: Study, generation: Generation, figure: Mapping[str, Any], rscript: str, manifest: Manifest
) -> list[Path]:
    options = dict(figure.get("options") or {})
    by = [_column(generation, figure, part) for part in ("x", "colour") if figure.get(part)]
    table = study.figures / f"{figure['name']}.csv"
    data = _own_table(study, figure) if figure.get("table") else _summary(study, generation, by, figure)
    drawn_table = write(table, data.schema, [data], "csv")
    origin = Lineage(
        study.name,
        manifest.read,
        manifest.expected,
        drawn_table.blake2b,
        _digest_of_runs(manifest),
        stale.digest(figure) or "",
    )
    words = {"x": by[0].name, "colour": by[1].name if len(by) > 1 else "", **options} if by else options
    kept = {label.name for label in describe.labels(generation.points) if len(label.values) > 1}
    if by and "unit" not in options and kept - {column.name for column in by} == {REPLICATE}:
        words["unit"] = "seeds"
    stem = study.figures / figure["name"]
    with tempfile.TemporaryDirectory(dir=study.figures, prefix=".drawing-") as folder:
        # R leaves things like Rplots.pdf where it runs; what it draws is moved to its place when all of it is there.
        aside = Path(folder) / "figure.pdf"
        done = _run(
            [
                rscript,
                str(stale.script(figure)),
                str(table),
                str(aside),
                *(f"{name}={_word(words[name])}" for name in words),
            ],
            folder,
            {CAPTION: origin.caption},
        )
        drawn = {ending: aside.with_suffix(ending) for ending in (".pdf", ".png")}
        if done.returncode != 0 or not all(path.exists() for path in drawn.values()):
            said = _last(done.stderr) or "it said nothing and wrote no figure"
            raise UserError(
                f"figure {figure['name']!r} could not be drawn by {stale.script(figure).name}: {said}",
                exit_code=ExitCode.RUNS_FAILED,
            )
        lineage.stamp(drawn[".pdf"], origin, figure["name"])
        paths = []
        for ending, path in drawn.items():
            target = stem.with_name(stem.name + ending)
            path.replace(target)
            paths.append(target)
    return paths


def _column(generation: Generation, figure: Mapping[str, Any], part: str) -> Dictionary:
    name = figure[part]
    column = describe.column(generation.points, name)
    if column is None:
        known = [*generation.points.labels, *generation.points.leaves]
        raise UserError(
            f"figure {figure['name']!r} has {part}: {name}, which is neither an axis of the grid nor a parameter: "
            f"{', '.join(known)} are.{nearest(name, known)}"
        )
    return column


def _chosen(generation: Generation, figure: Mapping[str, Any]) -> Any:
    """Return which points the figure's ``where`` lets in, bool (points,)."""
    chosen = np.ones(len(generation.points), bool)
    for name, wanted in (figure.get("where") or {}).items():
        column = _column(generation, {**figure, "where": name}, "where")
        texts = [_word(value) for value in column.values]
        codes = []
        for value in wanted if isinstance(wanted, list) else [wanted]:
            if _word(value) not in texts:
                raise UserError(
                    f"figure {figure['name']!r} has where: {name}: {value}, and no point has that; there are "
                    f"{', '.join(texts)}.{nearest(_word(value), texts)}"
                )
            codes.append(texts.index(_word(value)))
        chosen &= np.isin(column.codes, codes)
    return chosen


def _own_table(study: Study, figure: Mapping[str, Any]) -> Any:
    """Have the figure's function make its table of the study's folder, and keep the rows that ``where`` lets in.

    Parameters
    ----------
    study
        Its tables are there.
    figure
        ``table`` names a function ``module:function`` that takes the study's folder, and returns a pandas data frame.
    """
    import pandas as pd
    import pyarrow as pa

    from orchestrator.experiment import imported

    name, target = figure["name"], figure["table"]
    make = imported(target, f"figure {name!r} has table: {target}, which cannot be loaded")
    try:
        rows = make(study.path)
    except UserError as error:
        raise UserError(f"figure {name!r}: {error.message}", exit_code=error.exit_code) from error
    except (Exception, SystemExit) as error:
        raise UserError(f"figure {name!r}: {target} failed: {error!r}", exit_code=ExitCode.RUNS_FAILED) from error
    if not isinstance(rows, pd.DataFrame):
        raise UserError(f"figure {name!r}: {target} returned a {type(rows).__name__}, not a pandas data frame")
    if rows.columns.has_duplicates:
        raise UserError(f"figure {name!r}: the table of {target} has several columns of one name")
    rows = rows.set_axis(rows.columns.map(str), axis="columns")
    for column, wanted in (figure.get("where") or {}).items():
        if column not in rows.columns:
            raise UserError(
                f"figure {name!r} has where: {column}, and the table of {target} has the columns "
                f"{', '.join(rows.columns)}.{nearest(column, rows.columns)}"
            )
        known = dict.fromkeys(_word(value) for value in rows[column])
        keys = {_key(value) for value in (wanted if isinstance(wanted, list) else [wanted])}
        rows = rows[np.array([_key(value) in keys for value in rows[column]], bool)]
        if known and rows.empty:
            raise UserError(
                f"figure {name!r} has where: {column}: {wanted}, and no row of the table of {target} has that; there "
                f"are {', '.join(known)}.",
                exit_code=ExitCode.RUNS_FAILED,
            )
    try:
        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UserError(f"figure {name!r}: the table of {target} has columns of no one kind: {error}") from error
    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise UserError(f"figure {name!r}: column {field.name} of the table of {target} holds no single values")
    return table


def _summary(study: Study, generation: Generation, by: Sequence[Dictionary], figure: Mapping[str, Any]) -> Any:
    """Summarise ``runs.csv``, which has one row per point, by the figure's columns."""
    from pyarrow import csv

    name = figure["name"]
    runs = csv.read_csv(study.tables / RUNS, parse_options=csv.ParseOptions(newlines_in_values=True))
    if "solved" not in runs.column_names:
        raise UserError(
            f"figure {name!r} shows which runs succeeded, and the grid does not say how to tell: "
            "write `summary: {select: …, error: …, threshold: …}` under `export`"
        )
    if runs.num_rows != len(generation.points):
        raise UserError(f"{study.tables / RUNS} does not belong to the grid of {study.name!r}: `orch export` it again")
    _, first, run = np.unique(np.array(runs["run"].to_pylist()), return_index=True, return_inverse=True)

    def numbers(column: str, otherwise: float) -> Any:
        return np.array([otherwise if item is None else item for item in runs[column].to_pylist()], float)[first]

    verdicts = Verdicts(
        step=numbers("best_step", -1).astype(np.int64),
        select=numbers("best_select", np.nan),
        error=numbers("best_error", np.nan),
        sparsity=numbers("sparsity", np.nan),
        solved=numbers("solved", 0).astype(bool),
        solved_at=numbers("solved_at", -1).astype(np.int64),
    )
    finished = np.array([bool(item) for item in runs["outcome"].to_pylist()])[first] & (numbers("rows", 0) > 0)
    # A point without x has no place in the figure.
    places = np.flatnonzero((by[0].codes != describe.ABSENT) & _chosen(generation, figure))
    kept = [Dictionary(column.name, column.codes[places], column.values) for column in by]
    return summary.summarise(kept, run[places], finished, verdicts)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _key(value: object) -> object:
    """Return what a value is chosen by: numbers by what they are, so that 1 is 1.0; others by their words."""
    word = _word(value)
    try:
        return float(word)
    except ValueError:
        return word


def _run(
    command: Sequence[str], folder: str | None = None, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    locale = {} if "UTF-8" in os.environ.get("LC_ALL", "").upper() else {"LC_ALL": "C.UTF-8"}
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **locale, **(more or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _last(text: str, lines: int = 4) -> str:
    return " / ".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])
