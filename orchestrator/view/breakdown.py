"""A study's runs by the values of an axis, and why one of them stands where it stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import policy
from orchestrator.errors import UserError, nearest
from orchestrator.points import Column, Missing, Points, Value
from orchestrator.states import RUN_STATES, RunState
from orchestrator.study.history import RunRecord, lost

RELATIVE = re.compile(r"No such file or directory: '(?!/)")
"""What Python says of a relative path that leads nowhere."""

NAME_IT = "runs see frozen sources, not the folder they came from: name data by absolute paths"
"""What most often helps then."""

MOST_VALUES = 24
"""An axis of more values is left out of the breakdown unless it is asked for; so is the seed, which says nothing."""


@dataclass(frozen=True)
class Axis:
    """Counts by the values of one axis: ``{text of the value: {state: runs}}``, in grid order."""

    name: str
    values: Mapping[str, Mapping[RunState, int]]


def column_values(points: Points, column: Column) -> Iterable[Value]:
    """Return the value of a column at every point."""
    if column.by:
        return map(column.values.__getitem__, points.codes[column.by])
    return [column.values[0]] * len(points)


def axes(
    points: Points, runs: Sequence[bytes], states: Mapping[bytes, RunState], by: Sequence[str]
) -> tuple[Axis, ...]:
    """Count runs by the values of axes.

    Parameters
    ----------
    points, runs, states
        The study at one moment.
    by
        Axes or parameters; by default every axis but the seed of at most :data:`MOST_VALUES` values.

    Raises
    ------
    UserError
        If ``by`` names no axis and no parameter.
    """
    known = {**points.leaves, **points.labels}
    for name in by:
        if name not in known:
            raise UserError(f"there is no axis or parameter {name!r}.{nearest(name, known)}")
    few = [
        name
        for name, column in points.labels.items()
        if name != "seed" and 1 < len(set(map(str, column.values))) <= MOST_VALUES
    ]
    found = []
    for name in by or few:
        column = known[name]
        # One entry per (value, run): a run that stands at several points under one value counts once there.
        pairs = set(zip(map(_text, column_values(points, column)), runs, strict=True))
        counts: dict[str, Counter[RunState]] = {_text(value): Counter() for value in column.values}
        for text, run in pairs:
            counts[text][states[run]] += 1
        found.append(Axis(name, {text: {s: n[s] for s in RUN_STATES} for text, n in counts.items() if n.total()}))
    return tuple(found)


def _text(value: object) -> str:
    return "-" if isinstance(value, Missing) else str(value)


def reason(record: RunRecord, retries: int) -> str:
    """Say why a run that has no verdict stands where it stands, and what to do about it."""
    failure = record.failure
    why = (policy.decide(failure, record.used, retries) if failure is not None else lost(record, retries)).why
    return "; ".join(filter(None, (why, hint(record))))


def hint(record: RunRecord) -> str:
    """Say what most often helps against what a failed run said; nothing, if nothing in it is known."""
    return NAME_IT if RELATIVE.search(record.message) else ""
