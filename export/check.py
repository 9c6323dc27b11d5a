"""Checking the series of finished runs: no hole, no second row of a step, and none that ends before its verdict.

The journals say what should be there (:mod:`orchestrator.study.audit`); this looks whether the event files hold it,
by the very rules that the tables are made by.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export import corpus
from export.attempts import Bool, Int64
from export.scalars import Chunk, gather
from orchestrator.study.audit import Finding

if TYPE_CHECKING:
    from orchestrator.study.history import History
    from orchestrator.study.study import Study


class Series(NamedTuple):
    """What was found, and the number of rows of finished runs that were looked at."""

    findings: list[Finding]
    rows: int


class _Wanted(NamedTuple):
    """What a run's series should be: the step of its verdict, and its verdict."""

    step: int
    outcome: str


def series(study: Study, history: History | None = None) -> Series:
    """Look whether every run with a verdict has the series that the verdict stands for.

    Where runs train as lanes, each tag has a row at every log point and no other, from the first step on. Ordinary code
    and programs log whatever they like; of them it is only known which step was their last.

    Parameters
    ----------
    study
        The study; nothing is written to it.
    history
        What is known of it; read anew by default.
    """
    generation = study.generation()
    if generation is None:
        return Series([], 0)
    records = (history or study.history()).runs
    described = corpus.of_study(study)
    first = {run: position for position, run in reversed(list(enumerate(generation.runs)))}
    wanted: list[_Wanted] = []
    positions: list[int] = []
    for run, position in sorted(first.items(), key=lambda item: item[1]):
        record = records.get(run)
        if record is not None and record.outcome is not None:
            positions.append(position)
            wanted.append(_Wanted(record.step, record.outcome))
    if not positions:
        return Series([], 0)
    chosen = described.select(positions)
    lanes = generation.info.get("form", "lanes") == "lanes"
    findings: list[Finding] = []
    rows = 0
    with tempfile.TemporaryDirectory(prefix="orch-check-") as folder:
        gathered = gather(chosen, Path(folder))
        seen: set[int] = set()
        for chunk in gathered.chunks():
            rows += len(chunk.step)
            seen.update(np.unique(chunk.point).tolist())
            for point, text in _faults(chunk, wanted, gathered.tags, lanes=lanes):
                findings.append(Finding("series", f"run {chosen.runs[chosen.points[point]]}", text))
    for point, (step, _) in enumerate(wanted):
        if point not in seen and step >= 0:
            name = chosen.runs[chosen.points[point]]
            findings.append(Finding("series", f"run {name}", f"it has a verdict at step {step} and no events"))
    return Series(findings, rows)


def _faults(chunk: Chunk, wanted: list[_Wanted], tags: list[str], *, lanes: bool) -> Iterator[tuple[int, str]]:
    """Yield what is wrong with the points of a chunk, whose rows are in the order of point, tag and step."""
    point, step = chunk.point, chunk.step
    if not len(step):
        return
    starts = np.flatnonzero(np.append(True, point[1:] != point[:-1]))
    points = point[starts].tolist()
    last = np.maximum.reduceat(step, starts).tolist()
    strides = _strides(chunk, starts) if lanes else [0] * len(points)
    for at, reached, stride in zip(points, last, strides, strict=True):
        ends, outcome = wanted[at]
        # A lane's verdict may come at any step after its last log point and before the next one; a lane that went bad
        # does not reach that.
        latest = reached + (stride if outcome == "diverged" else max(0, stride - 1))
        if reached > ends or (latest < ends and not (lanes and stride == 0)):
            yield at, f"its verdict is of step {ends}, and its series end at step {reached}"
    if lanes:
        yield from _uneven(chunk, dict(zip(points, strides, strict=True)), tags)


def _strides(chunk: Chunk, starts: Int64) -> list[int]:
    """Return for each point the least distance between two rows of a series; 0 where no series has two."""
    most = np.iinfo(np.int64).max
    gap = np.append(chunk.step[1:] - chunk.step[:-1], most)
    gap[np.append(_breaks(chunk), True)] = most
    gap[gap <= 0] = most
    least = np.minimum.reduceat(gap, starts)
    found: list[int] = np.where(least == most, 0, least).tolist()
    return found


def _breaks(chunk: Chunk) -> Bool:
    """Say of each row but the last whether its series ends with it."""
    return np.asarray((chunk.point[1:] != chunk.point[:-1]) | (chunk.tag[1:] != chunk.tag[:-1]))


def _uneven(chunk: Chunk, strides: dict[int, int], tags: list[str]) -> Iterator[tuple[int, str]]:
    """Yield holes and doubles in the series of lanes, whose rows stand at equal distances from step 0 on."""
    step, point, tag = chunk.step, chunk.point, chunk.tag
    stride = np.array([strides[at] for at in point.tolist()], np.int64)
    gap = step[1:] - step[:-1]
    inside = ~_breaks(chunk)
    begins = np.append(True, ~inside)
    for row in np.flatnonzero(begins & (step != 0)).tolist():
        yield int(point[row]), f"its series {tags[tag[row]]!r} begins at step {step[row]}"
    for row in np.flatnonzero(inside & (gap == 0)).tolist():
        yield int(point[row]), f"its series {tags[tag[row]]!r} has two rows of step {step[row]}"
    for row in np.flatnonzero(inside & (gap > stride[:-1])).tolist():
        text = f"its series {tags[tag[row]]!r} has a hole between steps {step[row]} and {step[row + 1]}"
        yield int(point[row]), text
