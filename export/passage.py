"""All rows go by once: into the tables, past the judge, and past the counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export import arrow, summary
from export.attempts import Bool, Int64
from export.corpus import Corpus
from export.formats import Table
from export.layouts import Layout
from export.manifest import Manifest
from export.scalars import Gathered
from export.selection import Selection
from export.summary import Criterion, Verdicts


@dataclass
class Found:
    """What is known of each run when all rows went by: arrays of (runs,). The last step says nothing without rows."""

    count: Int64
    last: Int64
    verdicts: Verdicts | None


def go_by(
    gathered: Gathered,
    selection: Selection,
    wanted: Bool,
    manifest: Manifest,
    sinks: Sequence[tuple[Layout, Sequence[Table]]],
    criterion: Criterion | None = None,
) -> Found:
    """Let all rows go by once.

    Parameters
    ----------
    gathered
        The rows.
    selection, wanted
        Which of them, and which tags (see :func:`export.selection.matching`), go into the tables.
    manifest
        Takes the counts.
    sinks
        Layouts, each with the tables that are written so.
    criterion
        How runs are judged, if they are; all rows count there.
    """
    described = gathered.corpus
    runs = len(described.runs)
    result = Found(np.zeros(runs, np.int64), np.zeros(runs, np.int64), Verdicts.none(runs) if criterion else None)
    shown = np.zeros(len(gathered.tags), bool)
    left_out = np.zeros((runs, 3), np.int64)
    limit = summary.limits(criterion, described.labels, described.points, runs) if criterion else np.zeros(runs)
    for chunk in gathered.chunks():
        of = described.points[chunk.low : chunk.high]
        everything = len(chunk.step)
        before = np.bincount(chunk.point - chunk.low, minlength=len(of))
        if selection.duplicates == "last":
            chunk = chunk.latest()  # noqa: PLW2901
        count = np.bincount(chunk.point - chunk.low, minlength=len(of)) if len(chunk.step) < everything else before
        last = np.full(len(of), np.iinfo(np.int64).min)
        np.maximum.at(last, chunk.point - chunk.low, chunk.step)
        result.count[of], result.last[of] = count, last
        left_out[of] = np.stack([chunk.superseded, chunk.uncovered, before - count], axis=1)
        if criterion is not None and result.verdicts is not None:
            result.verdicts.put(of, summary.judge(chunk, gathered.tags, criterion, limit[of]))
        kept = selection(chunk, wanted)
        shown[kept.tag] = True
        for layout, tables in sinks:
            for part in kept.parts() if layout.divisible else (kept,):
                table = layout.table(part)
                for sink in tables:
                    sink.add(table)
    manifest.scalars = int(result.count.sum())
    manifest.superseded, manifest.uncovered, manifest.repeated = left_out.sum(axis=0).tolist()
    manifest.read = int(np.count_nonzero(result.count))
    manifest.missing = manifest.expected - manifest.read
    manifest.tags = [tag for tag, there in zip(gathered.tags, shown.tolist(), strict=True) if there]
    return result


def runs_table(described: Corpus, found: Found) -> Any:
    """Return the table that has a row per point."""
    import pyarrow as pa

    points = np.arange(len(described.points))
    runs = described.points
    columns: dict[str, Any] = {"run": arrow.texts([described.runs[run] for run in runs.tolist()])}
    columns |= {column.name: column.at(points) for column in (*described.labels, *described.parameters)}
    columns |= {fact.name: fact.at(runs) for fact in described.facts}
    columns["step"] = arrow.numbers(found.last[runs], found.count[runs] > 0)
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
