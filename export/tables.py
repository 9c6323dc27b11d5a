"""Tables of a study, or of a folder of event files: long, wide, one row per point, and the summary of groups.

========================  ==============================================================================================
``long.csv.gz/.parquet``  run, labels, ``param.*``, code, attempt, tag, step, wall_time, value: a row per scalar
``wide.csv.gz/.parquet``  run, labels, ``param.*``, code, attempt, step, wall_time, and a column per tag: a row per step
``runs.csv``              run, labels, ``param.*``, code, outcome, failure, attempts, step, rows, and the verdict
``summary.csv``           labels but the seed's, and the statistics of :mod:`export.summary`: a row per group
``manifest.json``         what was expected, read, dropped and written
========================  ==============================================================================================

docs/export.md describes every column and policy. Rows are in grid order, then by tag, then by step. A run that stands
at several points has its rows once per point. ``export-cache/`` beside the tables is what makes the next export read
only what is new; it may be deleted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from export import arrow, corpus, layouts, store, summary
from export.attempts import Bool, Int64
from export.corpus import Corpus
from export.formats import FORMATS, Table, streaming, write, writing
from export.layouts import LAYOUTS, SCHEMA, Layout
from export.manifest import MANIFEST, Manifest
from export.scalars import DUPLICATES, Chunk, Gathered, Watch, gather
from export.summary import Criterion, Verdicts
from orchestrator.errors import UserError, nearest
from orchestrator.study import atomic

if TYPE_CHECKING:
    from orchestrator.points import Points
    from orchestrator.study.study import Study

RUNS = "runs.csv"
SUMMARY = "summary.csv"

CACHE = "export-cache"
"""Folder beside the tables that holds what was read; see :mod:`export.store`."""


@dataclass(frozen=True)
class Selection:
    """What goes into the long and the wide table.

    Parameters
    ----------
    tags
        Patterns of tags (``metric/*``; a star also matches slashes).
    every
        Keep every so many rows of a series, beginning with the first.
    last
        Keep the last row of each series alone.
    duplicates
        Of :data:`export.scalars.DUPLICATES`. The wide table has the last one always.
    where
        How the runs were chosen, for the manifest.
    """

    tags: tuple[str, ...] = ("*",)
    every: int = 1
    last: bool = False
    duplicates: str = "last"
    where: tuple[str, ...] = ()

    def __call__(self, chunk: Chunk, wanted: Bool) -> Chunk:
        """Return the rows of a chunk that are selected."""
        chunk = chunk.of_tags(wanted).thinned(self.every)
        return chunk.last() if self.last else chunk


def export_study(
    study: Study,
    *,
    layouts: Sequence[str] = LAYOUTS,
    formats: Sequence[str] = ("csv.gz", "parquet"),
    tags: Sequence[str] | None = None,
    where: Sequence[str] = (),
    every: int | None = None,
    last: bool = False,
    duplicates: str | None = None,
    out: Path | BinaryIO | None = None,
    alive: Container[str] | None = None,
    progress: Watch | None = None,
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
    where
        Only runs that pass these filters; see :func:`orchestrator.filters.select`.
    every
        Keep every so many rows of a series, beginning with the first; the grid's, if not given.
    last
        Keep the last row of each series alone.
    duplicates
        ``"last"`` (if not given): one row per run, tag and step, the one that was written last. ``"all"``.
    out
        The folder; the study's ``tables/``, if not given. Or an open file, for one table of one format.
    alive
        See :func:`export.corpus.of_study`.
    progress
        Told of progress.

    Raises
    ------
    UserError
        For unknown layouts and formats, and where nothing was submitted, no run passes, the folder cannot be written,
        or the summary's tags do not exist.
    """
    _check(layouts, formats, duplicates, out)
    described = corpus.of_study(study, alive=alive)
    generation = study.generation(described.generation)
    assert generation is not None
    described = choose(described, generation.points, where)
    section = generation.info.get("export") or {}
    selection = Selection(
        tuple(section.get("tags") or ["*"]) if tags is None else tuple(tags),
        every or section.get("every") or 1,
        last,
        duplicates or "last",
        tuple(where),
    )
    criterion = Criterion.of(section.get("summary"))
    return _export(described, layouts, formats, selection, criterion, study.tables if out is None else out, progress)


def export_logdir(
    path: str | Path,
    *,
    layouts: Sequence[str] = LAYOUTS,
    formats: Sequence[str] = ("csv.gz", "parquet"),
    tags: Sequence[str] | None = None,
    where: Sequence[str] = (),
    every: int | None = None,
    last: bool = False,
    duplicates: str | None = None,
    out: Path | BinaryIO | None = None,
    criterion: Criterion | None = None,
    progress: Watch | None = None,
) -> Manifest:
    """Write the tables of any folder of TensorBoard event files; each folder in it that has some is a run.

    Parameters are those of :func:`export_study`; ``out`` is ``tables`` in the current folder if not given, and
    duplicates all stay. A filter of ``where`` is ``run=PATTERN``. With a criterion, ``runs.csv`` has a verdict for each
    run.

    Raises
    ------
    UserError
        As :func:`export_study`, and where there are no event files.
    """
    _check(layouts, formats, duplicates, out)
    described = choose(corpus.of_folder(Path(path)), None, where)
    selection = Selection(("*",) if tags is None else tuple(tags), every or 1, last, duplicates or "all", tuple(where))
    return _export(described, layouts, formats, selection, criterion, Path("tables") if out is None else out, progress)


def choose(described: Corpus, points: Points | None, where: Sequence[str]) -> Corpus:
    """Return the points of a corpus that some filters let pass.

    Parameters
    ----------
    described
        The corpus.
    points
        Its points, where it is a study's: see :func:`orchestrator.filters.select`. Runs of a folder are chosen by
        ``run=PATTERN``.
    where
        The filters.

    Raises
    ------
    UserError
        If a filter cannot be read, or no run is left.
    """
    if not where:
        return described
    if points is not None:
        from orchestrator.filters import select

        return described.select(select(points, list(where)))
    chosen = list(range(len(described.runs)))
    for text in where:
        key, equals, patterns = text.partition("=")
        if key != "run" or not equals:
            raise UserError(f"{text}: runs of a folder are chosen by their names, run=PATTERN")
        wanted = patterns.split(",")
        chosen = [run for run in chosen if any(fnmatchcase(described.runs[run], one) for one in wanted)]
    if not chosen:
        raise UserError(f"{' '.join(where)}: no run is left of {len(described.runs)}, {described.runs[0]!r} being one")
    return described.select(chosen)


def _check(chosen: Sequence[str], formats: Sequence[str], duplicates: str | None, out: Path | BinaryIO | None) -> None:
    for given, known, what in ((chosen, LAYOUTS, "layout"), (formats, FORMATS, "format")):
        for name in given:
            if name not in known:
                raise UserError(f"{name!r} is no {what} of tables: {', '.join(known)} are.{nearest(name, known)}")
    if duplicates not in (None, *DUPLICATES):
        raise UserError(f"{duplicates!r} says not what becomes of duplicates: {' or '.join(DUPLICATES)} does")
    if not (out is None or isinstance(out, Path)) and (len(chosen), len(formats)) != (1, 1):
        raise UserError("a pipe takes one table of one format: name a layout and a format")


def _export(
    described: Corpus,
    chosen: Sequence[str],
    formats: Sequence[str],
    selection: Selection,
    criterion: Criterion | None,
    out: Path | BinaryIO,
    watch: Watch | None,
) -> Manifest:
    try:
        if not isinstance(out, Path):
            return _stream(described, chosen[0], formats[0], selection, out, watch)
        cache = out / CACHE
        atomic.make_folder(out.absolute())
        for last_try in (False, True):
            gathered = gather(described, cache, watch=watch)
            try:
                return _files(gathered, chosen, formats, selection, criterion, out)
            except store.GoneError:
                if last_try:
                    raise
                (cache / store.INDEX).unlink(missing_ok=True)
        raise AssertionError
    except OSError as error:
        raise UserError(f"the tables cannot be written to {out}: {error.strerror or error}") from error


def _stream(
    described: Corpus, name: str, form: str, selection: Selection, out: BinaryIO, watch: Watch | None
) -> Manifest:
    """Write one table to an open file; what was read is kept nowhere."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="orch-export-") as folder:
        gathered = gather(described, Path(folder), watch=watch, keep=False)
        wanted = _matching(gathered.tags, selection.tags)
        manifest = _begin(gathered, selection)
        layout = _layout(name, gathered, wanted)
        with streaming(out, layout.schema, form) as table:
            _pass(gathered, selection, wanted, manifest, [(layout, [table])])
    assert table.result is not None
    manifest.files.append(table.result)
    return manifest


def _files(
    gathered: Gathered,
    chosen: Sequence[str],
    formats: Sequence[str],
    selection: Selection,
    criterion: Criterion | None,
    out: Path,
) -> Manifest:
    """Write all tables into a folder, unless those that are there are of the very same."""
    described = gathered.corpus
    options = {
        "layouts": list(chosen), "formats": list(formats), "selection": asdict(selection),
        "criterion": asdict(criterion) if criterion else None,
    }  # fmt: skip
    seen = _digest(gathered, options)
    old = _unchanged(gathered, seen, out)
    if old is not None:
        return old
    gathered.index.exports = {}
    wanted = _matching(gathered.tags, selection.tags)
    manifest = _begin(gathered, selection)
    manifest.folder = out
    if criterion is not None and described.finished[described.of_run[gathered.filled]].any():
        summary.check(criterion, gathered.tags)
    with ExitStack() as stack:
        sinks = []
        for name in chosen:
            layout = _layout(name, gathered, wanted)
            tables = [stack.enter_context(writing(out / f"{name}.{form}", layout.schema, form)) for form in formats]
            sinks.append((layout, tables))
        points = _pass(gathered, selection, wanted, manifest, sinks, criterion)
    manifest.files += [table.result for _, tables in sinks for table in tables if table.result is not None]
    table = _runs(described, points)
    manifest.files.append(write(out / RUNS, table.schema, [table], "csv"))
    if points.verdicts is not None:
        table = summary.summarise(
            summary.group_columns(described.labels),
            described.points,
            described.finished & (points.count > 0),
            points.verdicts,
        )
        manifest.files.append(write(out / SUMMARY, table.schema, [table], "csv"))
    manifest.close()
    names = [*(file.name for file in manifest.files), MANIFEST]
    gathered.index.exports = {"seen": seen, "files": {name: store.file_state(str(out / name)) for name in names}}
    store.save(gathered.folder, gathered.index)
    return manifest


def _digest(gathered: Gathered, options: dict[str, Any]) -> str:
    """Return a digest of all that decides what the tables say."""
    described = gathered.corpus
    facts = hashlib.blake2b(digest_size=16)
    facts.update(json.dumps([SCHEMA, store.VERSION, described.name, described.generation, options]).encode())
    states = [[entry.report.path, entry.report.size, entry.mtime, entry.inode] for entry in gathered.entries]
    covers = [[cover.step, cover.live] for cover in described.covers]
    facts.update(json.dumps([states, covers, described.runs], ensure_ascii=True).encode())
    for column in (*described.labels, *described.parameters, *described.facts):
        facts.update(json.dumps([column.name, list(column.values)], default=str).encode())
        facts.update(column.codes.tobytes())
    facts.update(described.finished.tobytes())
    return facts.hexdigest()


def _unchanged(gathered: Gathered, seen: str, out: Path) -> Manifest | None:
    """Return the manifest of the tables that are there, if nothing has changed since they were written."""
    last = gathered.index.exports
    if last.get("seen") != seen:
        return None
    if any(list(store.file_state(str(out / name)) or ()) != state for name, state in last["files"].items()):
        return None
    manifest = Manifest.load(out)
    if manifest is not None:
        manifest.unchanged = True
    return manifest


def _matching(tags: Sequence[str], patterns: Sequence[str]) -> Bool:
    return np.array([any(fnmatchcase(tag, pattern) for pattern in patterns) for tag in tags], bool)


def _layout(name: str, gathered: Gathered, wanted: Bool) -> Layout:
    if name == "long":
        return layouts.long(gathered.corpus, gathered.tags, single=gathered.single)
    return layouts.wide(gathered.corpus, gathered.tags, single=gathered.single, shown=wanted)


def _begin(gathered: Gathered, selection: Selection) -> Manifest:
    described = gathered.corpus
    manifest = Manifest(
        name=described.name,
        generation=described.generation,
        points=len(described.points),
        expected=len(described.runs),
        finished=int(np.count_nonzero(described.finished)),
        where=list(selection.where),
        duplicates=selection.duplicates,
        bytes_new=gathered.bytes_read,
        files_new=gathered.files_changed,
    )
    manifest.met(gathered.reports)
    return manifest


@dataclass
class _Points:
    """What is known of each run when all rows went by: arrays of (runs,)."""

    count: Int64
    last: Int64
    verdicts: Verdicts | None


def _pass(
    gathered: Gathered,
    selection: Selection,
    wanted: Bool,
    manifest: Manifest,
    sinks: Sequence[tuple[Layout, Sequence[Table]]],
    criterion: Criterion | None = None,
) -> _Points:
    """Let all rows go by once: into the tables, and past the judge."""
    described = gathered.corpus
    runs = len(described.runs)
    result = _Points(np.zeros(runs, np.int64), np.full(runs, -1), Verdicts.none(runs) if criterion else None)
    shown = np.zeros(len(gathered.tags), bool)
    left_out = np.zeros((runs, 3), np.int64)
    for chunk in gathered.chunks():
        of = described.points[chunk.low : chunk.high]
        everything = len(chunk.step)
        before = np.bincount(chunk.point - chunk.low, minlength=len(of))
        if selection.duplicates == "last":
            chunk = chunk.latest()  # noqa: PLW2901
        count = np.bincount(chunk.point - chunk.low, minlength=len(of)) if len(chunk.step) < everything else before
        last = np.full(len(of), -1)
        np.maximum.at(last, chunk.point - chunk.low, chunk.step)
        result.count[of], result.last[of] = count, last
        left_out[of] = np.stack([chunk.superseded, chunk.uncovered, before - count], axis=1)
        if criterion is not None and result.verdicts is not None:
            result.verdicts.put(of, summary.judge(chunk, gathered.tags, criterion))
        kept = selection(chunk, wanted)
        shown[kept.tag] = True
        for layout, tables in sinks:
            table = layout.table(kept)
            for sink in tables:
                sink.add(table)
    manifest.scalars = int(result.count.sum())
    manifest.superseded, manifest.uncovered, manifest.repeated = left_out.sum(axis=0).tolist()
    manifest.read = int(np.count_nonzero(result.count))
    manifest.missing = manifest.expected - manifest.read
    manifest.tags = [tag for tag, there in zip(gathered.tags, shown.tolist(), strict=True) if there]
    return result


def _runs(described: Corpus, found: _Points) -> Any:
    import pyarrow as pa

    points = np.arange(len(described.points))
    runs = described.points
    columns: dict[str, Any] = {"run": arrow.texts([described.runs[run] for run in runs.tolist()])}
    columns |= {column.name: column.at(points) for column in (*described.labels, *described.parameters)}
    columns |= {fact.name: fact.at(runs) for fact in described.facts}
    columns["step"] = arrow.numbers(found.last[runs], found.last[runs] >= 0)
    columns["rows"] = arrow.numbers(found.count[runs])
    verdicts = found.verdicts
    if verdicts is not None:
        for name, steps in (("best_step", verdicts.step), ("solved_at", verdicts.solved_at)):
            columns[name] = arrow.numbers(steps[runs], steps[runs] >= 0)
        for name, values in (
            ("best_select", verdicts.select), ("best_error", verdicts.error), ("sparsity", verdicts.sparsity)
        ):  # fmt: skip
            columns[name] = arrow.numbers(values[runs])
        columns["solved"] = arrow.flags(verdicts.solved[runs])
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))
