"""Failure triage: the runs that failed, by their few causes, and what the runs of one cause have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator import identity
from orchestrator.points import Points
from orchestrator.states import RunState
from orchestrator.study.history import RunRecord
from orchestrator.study.study import Study
from orchestrator.view.breakdown import column_values, reason
from orchestrator.worker.failures import normalise

MOST_EXEMPLARS: Final = 20
"""Of so many causes, the most frequent ones, the traceback is looked up."""

Cause = tuple[str, str]
"""The class of a failure, and its signature: what was said, without what differs from run to run."""


@dataclass(frozen=True)
class Failure:
    """Runs that failed alike.

    Parameters
    ----------
    kind, signature
        The cause.
    message
        What the first of them said.
    runs
        How many.
    example
        Id of the first of them, in grid order.
    shared
        Labels that all of them have and not every run of the study does: where to look for the cause.
    only
        Those among ``shared`` that no other run has.
    exclusive
        Whether no other run has all of ``shared``.
    advice
        What to do about it.
    retry
        The command that gives these runs a new budget, and no others.
    traceback
        What the first of them said at length, if anything.
    """

    kind: str
    signature: str
    message: str
    runs: int
    example: str
    shared: Mapping[str, str]
    only: Mapping[str, str]
    exclusive: bool
    advice: str
    retry: str
    traceback: str


def cause(run: bytes, record: RunRecord) -> Cause:
    """Say what befell a failed run; runs of one cause have the same."""
    name = identity.to_text(run)  # an id without a digit looks like a word to whoever does not know it
    said = record.signature.replace(name, "#") or normalise(record.message.replace(name, "#"))
    return record.failure or "lost", said


def alike(
    runs: Sequence[bytes], states: Mapping[bytes, RunState], records: Mapping[bytes, RunRecord]
) -> dict[Cause, list[int]]:
    """Group the runs that failed by their causes: the positions of their first points, in grid order."""
    groups: dict[Cause, list[int]] = defaultdict(list)
    seen: set[bytes] = set()
    for position, run in enumerate(runs):
        if states[run] == "failed" and run not in seen:
            seen.add(run)
            groups[cause(run, records[run])].append(position)
    return groups


def failures(
    study: Study,
    points: Points,
    runs: Sequence[bytes],
    states: Mapping[bytes, RunState],
    records: Mapping[bytes, RunRecord],
    retries: int,
) -> tuple[Failure, ...]:
    """Return the causes for which runs failed, the most frequent first."""
    labels = {name: list(map(str, column_values(points, column))) for name, column in points.labels.items()}
    groups = sorted(alike(runs, states, records).items(), key=lambda group: -len(group[1]))
    return tuple(
        _failure(study, group, runs, labels, records, retries, quote=at < MOST_EXEMPLARS)
        for at, group in enumerate(groups)
    )


def _failure(
    study: Study,
    group: tuple[Cause, list[int]],
    runs: Sequence[bytes],
    labels: Mapping[str, Sequence[str]],
    records: Mapping[bytes, RunRecord],
    retries: int,
    *,
    quote: bool,
) -> Failure:
    (kind, signature), positions = group
    first = runs[positions[0]]
    record, example = records[first], identity.to_text(first)
    shared = _shared(positions, labels) if len(positions) > 1 else {}
    mine = {runs[position] for position in positions}
    only = {name: text for name, text in shared.items() if _having(runs, labels, {name: text}) <= mine}
    return Failure(
        kind=kind,
        signature=signature,
        message=record.message,
        runs=len(positions),
        example=example,
        shared=shared,
        only=only,
        exclusive=bool(shared) and (bool(only) or _having(runs, labels, shared) <= mine),
        advice=reason(record, retries).removeprefix(f"{kind}: "),
        retry=f"orch retry {study.name} {'--like ' * (len(positions) > 1)}{example}",
        traceback=traceback(study, record) if quote else "",
    )


def _shared(positions: Sequence[int], labels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the labels that all points have, of those that not all points of the study have."""
    found = {}
    for name, texts in labels.items():
        text = texts[positions[0]]
        if all(texts[position] == text for position in positions) and any(other != text for other in texts):
            found[name] = text
    return found


def _having(runs: Sequence[bytes], labels: Mapping[str, Sequence[str]], wanted: Mapping[str, str]) -> set[bytes]:
    """Return the runs that have some labels at one of their points."""
    columns = [(labels[name], text) for name, text in wanted.items()]
    return {run for at, run in enumerate(runs) if all(texts[at] == text for texts, text in columns)}


def traceback(study: Study, record: RunRecord) -> str:
    """Return what a failed run said at length: its traceback, as the owner's last record of a failure quotes it."""
    if not record.task:
        return ""
    for log in reversed(study.incarnations(record.task)):
        failed = log.failures[record.lane]
        if failed is not None:
            return str(failed.get("traceback") or "")
    return ""


def where(failure: Failure) -> str:
    """Say what the runs of a cause have in common; empty, if that is nothing."""
    if failure.only:
        return f"all with {_named(failure.only)}, and no other run"
    if failure.exclusive:
        return f"all with {_named(failure.shared)}, and no other run with all of these"
    return f"all with {_named(failure.shared)}" if failure.shared else ""


def _named(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in labels.items())
