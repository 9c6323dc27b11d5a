"""Probing: which two tasks are tried before all others, and what their trial says about the rest.

A probe is an entry of the chain like any other whose workers stop after a few steps, at a checkpoint, and end as
``probed``. What it cost is in their journals. The rest is submitted when the probe has passed, and goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator import policy, units
from orchestrator.points import Points, Value
from orchestrator.study.history import History, RunRecord
from orchestrator.study.records import Submission, TaskSpec

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.study.study import Study

STEPS: Final = 50
"""Steps after which the worker of a probe stops, at its next log point."""

MARGIN: Final = 1.3
"""How many times the measured memory is asked for."""

GRAIN: Final = 256 * 1024**2
"""Bytes; requests are multiples of it."""


class Passed(NamedTuple):
    """Nothing speaks against the rest.

    Parameters
    ----------
    memory_bytes
        What one task should ask for, margin included; 0 if nothing was measured.
    peak
        The most that one of the tasks used, in bytes.
    """

    memory_bytes: int
    peak: int


class Failed(NamedTuple):
    """A run of the probe failed by a mistake that others may share: raw id, and what was said."""

    run: bytes
    message: str


class Open(NamedTuple):
    """These tasks of the probe have not said how they ended. Where no scheduler has them any more, they never will."""

    tasks: tuple[str, ...]


Verdict = Passed | Failed | Open


# --- before ---------------------------------------------------------------------------------------------------------


def ignored(info: Mapping[str, Any]) -> frozenset[str]:
    """Return the parameters of a generation that say nothing about size: those of lanes, and the number of steps."""
    return frozenset({*info["lanes"], info["steps"], info["cadence"]} - {None})


def corners(points: Points, plan: Plan, ignored: Container[str] = ()) -> list[TaskSpec]:
    """Choose the tasks of a plan to be probed: the largest one, and the one that has least in common with it.

    Parameters
    ----------
    points
        The points that the tasks name.
    plan
        The plan.
    ignored
        Parameters that say nothing about size: those that may differ between lanes, and the number of steps.

    Returns
    -------
    list[TaskSpec]
        Two tasks; fewer if the plan has fewer.
    """
    tasks = plan.tasks
    if len(tasks) < 2:
        return tasks
    paths = [path for path in points.leaves if path != "seed" and path not in ignored]
    # Runs of a task share a program, or come one after the other and a probe sees the first of them.
    sizes, corner = [], []
    for task in tasks:
        values = [points.at(points.leaves[path], task.points[0][0]) for path in paths]
        sizes.append(math.log(task.count) + sum(map(_size, values)))
        corner.append(values)
    largest = max(range(len(tasks)), key=lambda at: sizes[at])
    others = (at for at in range(len(tasks)) if at != largest)
    farthest = max(others, key=lambda at: (_differing(corner[at], corner[largest]), -sizes[at], at))
    return [tasks[largest], tasks[farthest]]


def _size(value: Value) -> float:
    """Return the logarithm of a size: that of a number of things, or of all in a list; nothing else has one."""
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    return math.log(value) if type(value) is int and value > 0 else 0.0


def _differing(here: Sequence[Value], there: Sequence[Value]) -> int:
    return sum(a != b for a, b in zip(here, there, strict=True))


# --- after ----------------------------------------------------------------------------------------------------------


def verdict(study: Study, history: History) -> Verdict | None:
    """Say what the last submission, if it was a probe, means for the rest.

    Parameters
    ----------
    study, history
        The study and what is known of it.

    Returns
    -------
    Verdict | None
        None if the last submission is no probe.
    """
    entry = next((entry for entry in reversed(study.chain()) if entry.kind == "submit"), None)
    if entry is None or not entry.probe:
        return None
    retries = int(entry.resources.get("retries", 2))
    asked = units.size(str(entry.resources["memory"])) if entry.resources.get("memory") else 0
    peaks, needs = [0], [0]
    for spec in entry.tasks:
        for run, record in _records(study, entry, spec, history):
            if record.failure == "oom" and not asked:
                return Failed(run, f"{record.message}; say how much it needs: `resources: {{memory: …}}`")
            if record.failure == "oom":
                needs.append(2 * asked)
            elif record.failure is not None and policy.decide(record.failure, record.used, retries).action == "stop":
                return Failed(run, record.message)
        peaks += [log.peak for log in study.incarnations(spec.name) if log.peak]
    waiting = tuple(spec.name for spec in entry.tasks if spec.name not in history.ended)
    if waiting:
        return Open(waiting)
    return Passed(_rounded(max(MARGIN * max(peaks), *needs)), max(peaks))


def _records(study: Study, entry: Submission, spec: TaskSpec, history: History) -> list[tuple[bytes, RunRecord]]:
    runs = study.task(spec.name).runs
    found = ((run, history.runs[run]) for run in runs)
    return [(run, record) for run, record in found if record.n == entry.n]


def _rounded(amount: float) -> int:
    return math.ceil(amount / GRAIN) * GRAIN


def memory(passed: Passed, side_by_side: int = 1) -> str:
    """Write the memory that one job should ask for as a grid would, when it trains so many tasks side by side."""
    return f"{passed.memory_bytes * side_by_side // 1024**2}M"


def request(resources: Mapping[str, Any], passed: Passed, side_by_side: int = 1) -> Mapping[str, Any]:
    """Return resources that ask for no less memory than a probe says is needed."""
    asked = units.size(str(resources["memory"])) if resources.get("memory") else 0
    enough = asked >= passed.memory_bytes * side_by_side
    return resources if enough else {**resources, "memory": memory(passed, side_by_side)}
