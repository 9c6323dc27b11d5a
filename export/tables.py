"""Tables of a study, or of a folder of event files: long, wide, one row per point, and the summary of groups.

========================  ==============================================================================================
``long.csv.gz/.parquet``  run, labels, ``param.*``, code, attempt, tag, step, wall_time, value: a row per scalar
``wide.csv.gz/.parquet``  run, labels, ``param.*``, code, attempt, step, wall_time, and a column per tag: a row per step
``runs.csv``              run, labels, ``param.*``, code, outcome, failure, attempts, step, rows, and the verdict
``summary.csv``           labels but the seed's, and the statistics of :mod:`export.summary`: a row per group
``manifest.json``         what was expected, read, dropped and written
========================  ==============================================================================================

Rows are in grid order, then by tag, then by step. A run that stands at several points has its rows once per point.
Where several scalars of a run share tag and step, the wide table has the one that was written last. ``wall_time`` is
in seconds since 1970; of a wide row's scalars it is the latest. :mod:`export.describe` names the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import describe, summary
from export.corpus import Corpus, Progress, read_folder, read_study
from export.describe import Dictionary
from export.formats import FORMATS, write
from export.manifest import Manifest, begin
from export.reader import Bool, Int64
from export.summary import Criterion, Verdicts
from orchestrator.errors import UserError, nearest
from orchestrator.study import atomic

if TYPE_CHECKING:
    from orchestrator.study.study import Study

RUNS = "runs.csv"
SUMMARY = "summary.csv"

CHUNK = 200_000
"""Rows that are turned into Arrow arrays at a time."""


def export_study(
    study: Study,
    *,
    layouts: Sequence[str] = ("long", "wide"),
    formats: Sequence[str] = ("csv.gz", "parquet"),
    tags: Sequence[str] | None = None,
    every: int | None = None,
    out: Path | None = None,
    alive: Container[str] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the tables of a study's newest generation.

    Parameters
    ----------
    study
        The study.
    layouts
        ``"long"``, ``"wide"``, or both.
    formats
        Of :data:`export.formats.FORMATS`.
    tags
        Patterns of tags (``metric/*``; a star also matches slashes); the grid's, if not given.
    every
        Keep every so many rows of a series, beginning with the first; the grid's, if not given.
    out
        The folder; the study's ``tables/``, if not given.
    alive, progress
        See :func:`export.corpus.read_study`.

    Raises
    ------
    UserError
        For unknown layouts and formats, and where nothing was submitted, the folder cannot be written, or the
        summary's tags do not exist.
    """
    _check(layouts, formats)
    corpus = read_study(study, alive=alive, progress=progress)
    generation = study.generation(corpus.generation)
    section = (generation.info.get("export") if generation else None) or {}
    return _export(
        corpus,
        layouts,
        formats,
        tags if tags is not None else section.get("tags") or ["*"],
        every or section.get("every") or 1,
        Criterion.of(section.get("summary")),
        Path(out) if out else study.tables,
    )


def export_logdir(
    path: str | Path,
    *,
    layouts: Sequence[str] = ("long", "wide"),
    formats: Sequence[str] = ("csv.gz", "parquet"),
    tags: Sequence[str] | None = None,
    every: int | None = None,
    out: Path | None = None,
    criterion: Criterion | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the tables of any folder of TensorBoard event files; each folder in it that has some is a run.

    Parameters are those of :func:`export_study`; ``out`` is ``tables`` in the current folder if not given. With a
    criterion, ``runs.csv`` has a verdict for each run.

    Raises
    ------
    UserError
        As :func:`export_study`, and where there are no event files.
    """
    _check(layouts, formats)
    corpus = read_folder(Path(path), progress=progress)
    return _export(
        corpus, layouts, formats, ["*"] if tags is None else tags, every or 1, criterion, Path(out or "tables")
    )


def _check(layouts: Sequence[str], formats: Sequence[str]) -> None:
    for given, known, what in ((layouts, LAYOUTS, "layout"), (formats, FORMATS, "format")):
        for name in given:
            if name not in known:
                raise UserError(f"{name!r} is no {what} of tables: {', '.join(known)} are.{nearest(name, known)}")


def _export(
    corpus: Corpus,
    layouts: Sequence[str],
    formats: Sequence[str],
    tags: Sequence[str],
    every: int,
    criterion: Criterion | None,
    out: Path,
) -> Manifest:
    verdicts = summary.judge(corpus, criterion) if criterion else None
    kept = corpus.select(_matching(corpus, tags) & _thinned(corpus, every))
    manifest = begin(corpus, [corpus.columns.tags[code] for code in np.unique(kept.columns.tag)], out)
    try:
        atomic.make_folder(out.absolute())
        for layout in layouts:
            for form in formats:
                schema, batches = LAYOUTS[layout](kept)
                manifest.files.append(write(out / f"{layout}.{form}", schema, batches, form))
        table = _runs(corpus, verdicts)
        manifest.files.append(write(out / RUNS, table.schema, [table], "csv"))
        if verdicts is not None:
            table = summary.summarise(
                summary.group_columns(corpus.labels), corpus.points, corpus.finished & (corpus.count > 0), verdicts
            )
            manifest.files.append(write(out / SUMMARY, table.schema, [table], "csv"))
        manifest.close()
    except OSError as error:
        raise UserError(f"the tables cannot be written to {out}: {error.strerror or error}") from error
    return manifest


def _matching(corpus: Corpus, patterns: Sequence[str]) -> Bool:
    wanted = [any(fnmatchcase(tag, pattern) for pattern in patterns) for tag in corpus.columns.tags]
    return np.asarray(np.array(wanted, bool)[corpus.columns.tag], bool)


def _thinned(corpus: Corpus, every: int) -> Bool:
    rows = np.arange(len(corpus.columns))
    series = corpus.run_of_rows() * max(len(corpus.columns.tags), 1) + corpus.columns.tag
    begins = np.append(True, np.diff(series) != 0)[: len(rows)]
    first = np.maximum.accumulate(np.where(begins, rows, 0))
    return np.asarray((rows - first) % every == 0, bool)


def _chunks(corpus: Corpus) -> Iterator[tuple[Int64, Int64, Int64]]:
    """Cut the points into chunks: (points, the point of each row, the corpus' row of each row)."""
    count = corpus.count[corpus.points]
    if not len(count):
        return
    edges = np.flatnonzero(np.diff(np.maximum(np.cumsum(count) - 1, 0) // CHUNK, prepend=-1))
    for low, high in zip(edges, [*edges[1:], len(count)], strict=True):
        points = np.arange(low, high)
        of_rows = np.repeat(points, count[low:high])
        first = np.cumsum(count[low:high]) - count[low:high]
        within = np.arange(len(of_rows)) - np.repeat(first, count[low:high])
        yield points, of_rows, corpus.start[corpus.points[of_rows]] + within


def _head(corpus: Corpus, points: Int64, of_rows: Int64) -> dict[str, Any]:
    """Return the columns that say which run a row belongs to."""
    names = [corpus.runs[run] for run in corpus.points[points]]
    local = np.searchsorted(points, of_rows)
    columns = {"run": Dictionary("run", local, names).at(np.arange(len(local)))}
    columns |= {column.name: column.at(of_rows) for column in (*corpus.labels, *corpus.parameters)}
    columns |= {fact.name: fact.at(corpus.points[of_rows]) for fact in corpus.facts if fact.name == "code"}
    return columns


def _long(corpus: Corpus) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    value = np.float32 if corpus.columns.single else np.float64
    tags = Dictionary("tag", corpus.columns.tag.astype(np.int64), corpus.columns.tags)

    def table(points: Int64, of_rows: Int64, rows: Int64) -> Any:
        return pa.table(
            {
                **_head(corpus, points, of_rows),
                "attempt": pa.array(corpus.attempt[rows]),
                "tag": tags.at(rows),
                "step": pa.array(corpus.columns.step[rows]),
                "wall_time": pa.array(corpus.columns.wall[rows]),
                "value": pa.array(corpus.columns.value[rows].astype(value)),
            }
        )

    nothing = np.zeros(0, np.int64)
    return table(nothing, nothing, nothing).schema, (table(*chunk) for chunk in _chunks(corpus))


def _wide(corpus: Corpus) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa

    value = np.float32 if corpus.columns.single else np.float64
    codes = np.unique(corpus.columns.tag)
    tags = [corpus.columns.tags[code] for code in codes]

    def table(points: Int64, of_rows: Int64, rows: Int64) -> Any:
        steps, rank = np.unique(corpus.columns.step[rows], return_inverse=True)
        keys, at = np.unique(of_rows * max(len(steps), 1) + rank, return_inverse=True)
        lines = len(keys)
        attempt = np.zeros(lines, np.int64)
        wall = np.full(lines, -np.inf)
        np.maximum.at(attempt, at, corpus.attempt[rows])
        np.maximum.at(wall, at, corpus.columns.wall[rows])
        head = _head(corpus, points, keys // max(len(steps), 1))
        columns = {
            **head,
            "attempt": pa.array(attempt),
            "step": pa.array(steps[keys % max(len(steps), 1)]),
            "wall_time": pa.array(wall),
        }
        for code, name in zip(codes, describe.tag_names(tags, head), strict=True):
            mine = np.flatnonzero(corpus.columns.tag[rows] == code)
            cells, there = np.zeros(lines, value), np.zeros(lines, bool)
            cells[at[mine]], there[at[mine]] = corpus.columns.value[rows[mine]], True
            columns[name] = pa.array(cells, mask=~there)
        return pa.table(columns)

    nothing = np.zeros(0, np.int64)
    return table(nothing, nothing, nothing).schema, (table(*chunk) for chunk in _chunks(corpus))


LAYOUTS: dict[str, Callable[[Corpus], tuple[Any, Iterator[Any]]]] = {"long": _long, "wide": _wide}
"""Name of a layout to the function that gives its schema and its Arrow tables."""


def _runs(corpus: Corpus, verdicts: Verdicts | None) -> Any:
    import pyarrow as pa

    points = np.arange(len(corpus.points))
    runs = corpus.points
    last = np.full(len(corpus.runs), -1)
    np.maximum.at(last, corpus.run_of_rows(), corpus.columns.step)
    columns: dict[str, Any] = {"run": pa.array([corpus.runs[run] for run in runs], pa.string())}
    columns |= {column.name: column.at(points) for column in (*corpus.labels, *corpus.parameters)}
    columns |= {fact.name: fact.at(runs) for fact in corpus.facts}
    columns["step"] = pa.array(last[runs], mask=last[runs] < 0)
    columns["rows"] = pa.array(corpus.count[runs])
    if verdicts is not None:
        for name, steps in (("best_step", verdicts.step), ("solved_at", verdicts.solved_at)):
            columns[name] = pa.array(steps[runs], mask=steps[runs] < 0)
        for name, values in (
            ("best_select", verdicts.select), ("best_error", verdicts.error), ("sparsity", verdicts.sparsity)
        ):  # fmt: skip
            columns[name] = pa.array(values[runs])
        columns["solved"] = pa.array(verdicts.solved[runs])
    return pa.table(columns)
