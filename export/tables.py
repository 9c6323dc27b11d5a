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

import contextlib
import hashlib
import json
from collections.abc import Container, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from export import corpus, layouts, store, summary
from export.attempts import Bool
from export.corpus import Corpus
from export.formats import streaming, write, writing
from export.layouts import LAYOUTS, SCHEMA, Layout
from export.manifest import MANIFEST, Manifest
from export.passage import go_by, runs_table
from export.scalars import Gathered, Watch, gather
from export.selection import Selection, check, choose, matching
from export.summary import Criterion
from orchestrator.errors import UserError
from orchestrator.study import atomic

if TYPE_CHECKING:
    from orchestrator.study.study import Study

RUNS = "runs.csv"
SUMMARY = "summary.csv"

CACHE = "export-cache"
"""Folder beside the tables that holds what was read; see :mod:`export.store`."""


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
    anew: bool = False,
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
    anew
        Whether to read every file again, from its beginning.
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
    check(layouts, formats, duplicates, out)
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
    place = _place(study.tables if out is None else out, anew=anew)
    return _export(described, layouts, formats, selection, criterion, place, progress)


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
    anew: bool = False,
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
    check(layouts, formats, duplicates, out)
    described = choose(corpus.of_folder(Path(path)), None, where)
    selection = Selection(("*",) if tags is None else tuple(tags), every or 1, last, duplicates or "all", tuple(where))
    place = _place(Path("tables") if out is None else out, anew=anew)
    return _export(described, layouts, formats, selection, criterion, place, progress)


def _place(out: Path | BinaryIO, *, anew: bool) -> Path | BinaryIO:
    """Return where to write, having forgotten what was read for it before, if so wished."""
    if anew and isinstance(out, Path):
        with contextlib.suppress(OSError):
            (out / CACHE / store.INDEX).unlink()
    return out


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
    except BrokenPipeError:
        raise  # who reads has enough
    except OSError as error:
        where = out if isinstance(out, Path) else "stdout"
        raise UserError(f"the tables cannot be written to {where}: {error.strerror or error}") from error


def _stream(
    described: Corpus, name: str, form: str, selection: Selection, out: BinaryIO, watch: Watch | None
) -> Manifest:
    """Write one table to an open file; what was read is kept nowhere."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="orch-export-") as folder:
        gathered = gather(described, Path(folder), watch=watch)
        wanted = matching(gathered.tags, selection.tags)
        manifest = _begin(gathered, selection)
        layout = _layout(name, gathered, wanted)
        with streaming(out, layout.schema, form) as table:
            go_by(gathered, selection, wanted, manifest, [(layout, [table])])
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
    wanted = matching(gathered.tags, selection.tags)
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
        found = go_by(gathered, selection, wanted, manifest, sinks, criterion)
    manifest.files += [table.result for _, tables in sinks for table in tables if table.result is not None]
    table = runs_table(described, found)
    manifest.files.append(write(out / RUNS, table.schema, [table], "csv"))
    if found.verdicts is not None:
        table = summary.summarise(
            summary.group_columns(described.labels),
            described.points,
            described.finished & (found.count > 0),
            found.verdicts,
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
    facts.update(json.dumps([states, covers, described.runs, described.lost], ensure_ascii=True).encode())
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
        unmatched=[pattern for pattern in selection.tags if not matching(gathered.tags, [pattern]).any()],
        where=list(selection.where),
        duplicates=selection.duplicates,
        bytes_new=gathered.bytes_read,
        files_new=gathered.files_changed,
    )
    manifest.met(gathered.reports, described.lost)
    return manifest
