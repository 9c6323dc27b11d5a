"""A study's runs by the values of an axis, and those that failed by what befell them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator import identity, policy
from orchestrator.errors import UserError, nearest
from orchestrator.points import Column, Missing, Points, Value
from orchestrator.states import RUN_STATES, RunState
from orchestrator.study.history import RunRecord, lost

MOST_VALUES = 24
"""An axis of more values is left out of the breakdown unless it is asked for; so is the seed, which says nothing."""


@dataclass(frozen=True)
class Axis:
    """Counts by the values of one axis: ``{text of the value: {state: runs}}``, in grid order."""

    name: str
    values: Mapping[str, Mapping[RunState, int]]


@dataclass(frozen=True)
class Failure:
    """Runs that failed alike.

    Parameters
    ----------
    kind
        The class of the failure.
    message
        What the first of them said.
    runs
        How many.
    example
        Id of the first of them, in grid order.
    shared
        Labels that all of them have and not every run of the study does: where to look for the cause.
    advice
        What to do about it.
    """

    kind: str
    message: str
    runs: int
    example: str
    shared: Mapping[str, str]
    advice: str


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


def failures(
    points: Points,
    runs: Sequence[bytes],
    states: Mapping[bytes, RunState],
    records: Mapping[bytes, RunRecord],
    retries: int,
) -> tuple[Failure, ...]:
    """Group the runs that failed by what befell them, the most frequent first."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    seen: set[bytes] = set()
    for position, run in enumerate(runs):
        if states[run] == "failed" and run not in seen:
            seen.add(run)
            record = records[run]
            groups[record.failure or "lost", record.signature or record.message].append(position)
    whole = {name: set(map(str, column.values)) for name, column in points.labels.items()}
    found = []
    for (kind, _), positions in groups.items():
        record = records[runs[positions[0]]]
        labels = [points.label(position) for position in positions]
        shared = {
            name: text
            for name, text in labels[0].items()
            if len(whole[name]) > 1 and len(positions) > 1 and all(label.get(name) == text for label in labels)
        }
        example = identity.to_text(runs[positions[0]])
        found.append(
            Failure(
                kind, record.message, len(positions), example, shared, reason(record, retries).removeprefix(f"{kind}: ")
            )
        )
    return tuple(sorted(found, key=lambda failure: -failure.runs))


def reason(record: RunRecord, retries: int) -> str:
    """Say why a run that has no verdict stands where it stands, and what to do about it."""
    failure = record.failure
    return (policy.decide(failure, record.used, retries) if failure is not None else lost(record, retries)).why
