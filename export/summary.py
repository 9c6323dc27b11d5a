"""Which runs succeeded, when, and how sparse they became: first per run, then per group of runs.

The rules are those of docs/papers/arithmetic.md, "Evaluation". A run's rows are the steps at which it was evaluated.
Its best row has the least selecting error (validation); the run is solved if the judged error (test) of that very row
is under the threshold; it was solved *at* the first step, before or after the best row, whose judged error is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from export import arrow, intervals
from export.attempts import Int64
from export.describe import Dictionary
from export.intervals import Sample
from export.scalars import Chunk
from orchestrator.errors import UserError, nearest

Float64 = npt.NDArray[np.float64]
Threshold = float | Mapping[str, Mapping[str, Any]]
Bool = npt.NDArray[np.bool_]

REPLICATE = "seed"
"""The label over which a summary goes unless it is told what to keep."""


@dataclass(frozen=True)
class Criterion:
    """How runs are judged; the grid's ``export: summary:`` section.

    Parameters
    ----------
    select
        Tag whose minimum picks the best row.
    error
        Tag that is compared with the threshold.
    threshold
        In the unit of ``error``: a number, or ``{axis: {label: threshold}}`` for one of each label of an axis.
    inclusive
        Whether an error that equals the threshold is a success.
    sparsity
        Patterns of tags; their maximum at each step is the row's sparsity error.
    window
        Only the last so many rows may be the best; all if not given.
    """

    select: str
    error: str
    threshold: Threshold
    inclusive: bool = False
    sparsity: tuple[str, ...] = ()
    window: int | None = None

    @staticmethod
    def of(section: Mapping[str, Any] | None) -> Criterion | None:
        """Read the grid's section; fields of a later version are ignored."""
        if not section:
            return None
        known = {name: value for name, value in section.items() if name in Criterion.__dataclass_fields__}
        return Criterion(**(known | {"sparsity": tuple(known.get("sparsity", ()))}))

    def wants(self, tag: str) -> bool:
        """Say whether a tag is needed."""
        return tag in (self.select, self.error) or any(fnmatchcase(tag, pattern) for pattern in self.sparsity)


@dataclass
class Verdicts:
    """What became of each run: arrays of (runs,); NaN, or step -1, where there is nothing.

    Parameters
    ----------
    step, select, error, sparsity
        Of the best row.
    solved
        Whether its error is under the threshold.
    solved_at
        The first step whose error is.
    """

    @staticmethod
    def none(runs: int) -> Verdicts:
        """Return the verdicts of runs without rows."""
        nothing = np.zeros(0, np.int64)
        return best(nothing, nothing, np.zeros(0), np.zeros(0), np.zeros(0), runs, Criterion("", "", 0.0))

    def put(self, runs: Int64, other: Verdicts) -> None:
        """Replace the verdicts of some runs."""
        for name, values in vars(other).items():
            getattr(self, name)[runs] = values

    step: Int64
    select: Float64
    error: Float64
    sparsity: Float64
    solved: Bool
    solved_at: Int64


def check(criterion: Criterion, tags: Sequence[str]) -> None:
    """Check that a criterion's tags are there.

    Raises
    ------
    UserError
        If one is not.
    """
    for tag in (criterion.select, criterion.error):
        if tag not in tags:
            raise UserError(f"the summary needs the tag {tag!r}, and no run has logged it.{nearest(tag, tags)}")


def limits(criterion: Criterion, labels: Sequence[Dictionary], run: Int64, runs: int) -> Float64:
    """Return the threshold of each run, float64 (runs,).

    Parameters
    ----------
    criterion
        Whose threshold is a number, or numbers by label.
    labels
        Columns over the points.
    run
        int64 (points,): the run of each point.
    runs
        How many runs there are.

    Raises
    ------
    UserError
        If an axis or a label does not exist or has no threshold, or two points of one run have unlike thresholds.
    """
    if not isinstance(criterion.threshold, Mapping):
        return np.full(runs, float(criterion.threshold))
    columns = {label.name: label for label in labels}
    found = np.full(len(run), np.nan)

    def fill(tree: Threshold, points: Bool) -> None:
        if not isinstance(tree, Mapping):
            found[points] = float(tree)
            return
        (axis, branches), *others = tree.items()
        column = columns.get(axis)
        if others or column is None:
            raise UserError(
                f"the summary's threshold goes by {', '.join(tree)}: write one axis of the grid and its labels, "
                f"{{axis: {{label: number}}}}; there are {', '.join(columns) or 'none'}.{nearest(axis, columns)}"
            )
        texts = [str(value) for value in column.values]
        for label, branch in branches.items():
            if label not in texts:
                raise UserError(
                    f"the summary's threshold names {axis} {label!r}, which the grid does not have."
                    f"{nearest(label, texts)}"
                )
            fill(branch, points & (column.codes == texts.index(label)))

    fill(criterion.threshold, np.ones(len(run), bool))
    if np.isnan(found).any():
        point = int(np.flatnonzero(np.isnan(found))[0])
        where = ", ".join(f"{c.name}={c.values[c.codes[point]]}" for c in labels if c.codes[point] >= 0)
        raise UserError(f"the summary has no threshold for {where}: add one for each label of the axis it goes by")
    limit = np.full(runs, np.nan)
    limit[run] = found
    if not np.array_equal(limit[run], found):
        raise UserError("the summary's threshold gives one run two thresholds, because it stands at two points")
    return limit


def judge(chunk: Chunk, tags: Sequence[str], criterion: Criterion, limit: Float64) -> Verdicts:
    """Judge the points of a chunk.

    Parameters
    ----------
    chunk
        All rows of some points.
    tags
        All tags; a chunk numbers them in this order.
    criterion
        How to judge.
    limit
        float64 (points of the chunk,): their thresholds.
    """
    point, step, values = _rows(chunk, tags, criterion)
    return best(point, step, *values, chunk.high - chunk.low, criterion, limit)


def best(
    run: Int64,
    step: Int64,
    select: Float64,
    error: Float64,
    sparsity: Float64,
    runs: int,
    criterion: Criterion,
    limit: Float64 | None = None,
) -> Verdicts:
    """Judge runs from their rows.

    Parameters
    ----------
    run
        int64 (rows,): the run of each row, ascending; a run's rows stand in the order of their steps.
    step
        int64 (rows,).
    select, error, sparsity
        float64 (rows,); NaN for no value.
    runs
        How many runs there are; one without rows is not solved.
    criterion
        How to judge.
    limit
        float64 (runs,): the threshold of each run; the criterion's, if not given.
    """
    if limit is None:
        limit = limits(criterion, (), np.arange(runs), runs)
    rows = np.arange(len(run))
    starts = np.searchsorted(run, np.arange(runs + 1))
    count = np.diff(starts)
    under = error <= limit[run] if criterion.inclusive else error < limit[run]
    from_end = starts[1:][run] - rows  # 1 for a run's last row
    valid = ~np.isnan(select) & (from_end <= (criterion.window or len(run) + 1))
    least = np.full(runs, np.inf)
    np.minimum.at(least, run[valid], select[valid])
    # The first row that has the least error; the last row where there is none.
    at = _first(run, valid & (select == least[run]), starts[1:] - 1, runs)
    there = count > 0
    at = np.where(there, at, 0)

    def pick(values: Float64) -> Float64:
        return np.where(there, values[at], np.nan) if len(values) else np.full(runs, np.nan)

    first = _first(run, under, np.full(runs, -1), runs)
    solved = (under[at] & there) if len(under) else np.zeros(runs, bool)
    steps = np.append(step, -1)  # so that row -1, for none, has step -1
    return Verdicts(
        step=steps[np.where(there, at, -1)],
        select=pick(select),
        error=pick(error),
        sparsity=pick(sparsity),
        solved=solved,
        solved_at=steps[first],
    )


def group_columns(points: Sequence[Dictionary]) -> list[Dictionary]:
    """Return the labels that a summary keeps: all but the replicate's."""
    return [label for label in points if label.name != REPLICATE]


def summarise(by: Sequence[Dictionary], run: Int64, finished: Bool, verdicts: Verdicts) -> Any:
    """Return one row per group of points that agree in the columns ``by``, as an Arrow table.

    A run that stands at several points of a group counts once. Only finished runs enter the statistics.

    Parameters
    ----------
    by
        Columns over the points. Groups are in the order of their values, the first column varying slowest.
    run
        int64 (points,): the run of each point.
    finished
        bool (runs,).
    verdicts
        Of the runs.
    """
    import pyarrow as pa

    points = np.arange(len(run))
    codes = [column.codes for column in by]
    order = np.lexsort([run, *reversed(codes)]) if len(points) else points
    keys = np.stack([*codes, run])[:, order] if len(points) else np.zeros((len(by) + 1, 0), np.int64)
    changes = np.any(np.diff(keys, axis=1), axis=0)
    order = order[np.append(True, changes)] if len(points) else order  # each run once per group
    keys = np.stack(codes)[:, order] if codes else np.zeros((1, len(order)), np.int64)
    opens = np.append(True, np.any(np.diff(keys, axis=1), axis=0))[: len(order)]
    heads, members, group = order[opens], run[order], np.cumsum(opens) - 1
    table = {column.name: column.at(heads) for column in by}
    for name, numbers in _statistics(members, group, len(heads), finished, verdicts).items():
        counted = numbers.dtype.kind == "i"
        table[name] = arrow.numbers(numbers.astype(np.int64)) if counted else arrow.numbers(numbers, ~np.isnan(numbers))
    return pa.Table.from_arrays(list(table.values()), names=list(table))


def _names(quantity: str) -> list[str]:
    if quantity == "success":
        return ["success", "success_lower", "success_upper"]
    kinds = [f"{quantity}_{kind}{end}" for kind in ("mean", "published") for end in ("", "_lower", "_upper")]
    return [*kinds, f"{quantity}_median", f"{quantity}_max"]


def _statistics(
    members: Int64, group: Int64, groups: int, finished: Bool, verdicts: Verdicts
) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the summary: arrays of (groups,)."""
    done = finished[members]
    solved = done & verdicts.solved[members].astype(bool)
    runs, n, successes = (np.bincount(group[which], minlength=groups) for which in (slice(None), done, solved))
    errors = verdicts.sparsity[members]
    steps = Sample.of(group[solved], verdicts.solved_at[members[solved]].astype(np.float64), groups)
    known = solved & ~np.isnan(errors)
    sparsity = Sample.of(group[known], errors[known], groups)
    numbers = [
        *intervals.wilson(successes, n),
        *intervals.student(steps),
        *intervals.published_steps(steps),
        steps.median(),
        steps.largest(),
        *intervals.student(sparsity),
        *intervals.published_sparsity(sparsity),
        sparsity.median(),
        sparsity.largest(),
    ]
    names = [name for quantity in ("success", "solved_at", "sparsity") for name in _names(quantity)]
    return {"runs": runs, "n": n, "solved": successes} | dict(zip(names, numbers, strict=True))


def _first(run: Int64, wanted: Bool, otherwise: Int64, runs: int) -> Int64:
    """Return the first wanted row of each run, ``otherwise`` where it has none."""
    rows = np.flatnonzero(wanted)
    found, at = np.unique(run[rows], return_index=True)
    first = otherwise.astype(np.int64)
    first[found] = rows[at]
    return np.asarray(first[:runs])


def _rows(
    chunk: Chunk, tags: Sequence[str], criterion: Criterion
) -> tuple[Int64, Int64, tuple[Float64, Float64, Float64]]:
    """Return the rows of all points: steps that have a selecting or a judged error, with the three values at each."""
    codes = {tag: code for code, tag in enumerate(tags)}
    sparse = [code for tag, code in codes.items() if any(fnmatchcase(tag, pattern) for pattern in criterion.sparsity)]
    main = [codes.get(tag, -1) for tag in (criterion.select, criterion.error)]
    chunk = chunk.take(np.isin(chunk.tag, [*main, *sparse]))
    steps, rank = np.unique(chunk.step, return_inverse=True)
    keys = (chunk.point - chunk.low) * max(len(steps), 1) + rank  # one number per (point, step), in their order
    kept = np.unique(keys[np.isin(chunk.tag, main)])

    def values(wanted: Bool, combine: np.ufunc | None) -> Float64:
        rows = np.flatnonzero(wanted)
        rows = rows[np.isin(keys[rows], kept)]
        at = np.searchsorted(kept, keys[rows])
        result = np.full(len(kept), np.nan)
        if combine is None:
            result[at] = chunk.value[rows]  # of several values at one step the last one stays
        else:
            combine.at(result, at, chunk.value[rows])
        return result

    select, error = (values(chunk.tag == code, None) for code in main)
    sparsity = values(np.isin(chunk.tag, sparse), np.fmax)
    return kept // max(len(steps), 1), steps[kept % max(len(steps), 1)], (select, error, sparsity)
