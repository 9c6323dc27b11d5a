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
from orchestrator.study.history import History
from orchestrator.study.journal import IncarnationLog
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
    return _judge(study, history, entry) if entry is not None and entry.probe else None


def measured(study: Study, history: History, resources: Mapping[str, Any]) -> Passed | None:
    """Return what the last probe measured, whatever was submitted since; None if there was none, or it did not pass.

    Parameters
    ----------
    study, history
        The study and what is known of it.
    resources
        Those of the grid. Whoever changes the memory that it asks for knows better than an older probe.
    """
    entry = next((entry for entry in reversed(study.chain()) if entry.probe), None)
    generation = study.generation(entry.generation) if entry is not None else None
    if entry is None or generation is None or generation.info["resources"].get("memory") != resources.get("memory"):
        return None
    found = _judge(study, history, entry)
    return found if isinstance(found, Passed) else None


def _judge(study: Study, history: History, entry: Submission) -> Verdict:
    retries = int(entry.resources.get("retries", 2))
    asked = units.size(str(entry.resources["memory"])) if entry.resources.get("memory") else 0
    peak = need = 0
    for spec in entry.tasks:
        runs, logs = study.task(spec.name).runs, study.incarnations(spec.name)
        for run in runs:
            record = history.runs[run]
            if record.n != entry.n or record.failure in (None, "oom"):
                continue
            if policy.decide(record.failure, record.used, retries).action == "stop":
                return Failed(run, record.message)
        peak = max(peak, *(log.peak for log in logs), 0)
        if any(map(_starved, logs)):
            need = 2 * asked
            if not asked:
                return Failed(runs[0], "memory ran out; say how much it needs: `resources: {memory: …}`")
    waiting = tuple(spec.name for spec in entry.tasks if spec.name not in history.ended)
    return Open(waiting) if waiting else Passed(_rounded(max(MARGIN * peak, need)), peak)


def _starved(log: IncarnationLog) -> bool:
    """Say whether an incarnation, or one of its lanes, ended for want of memory."""
    return log.end == "oom" or any(failure is not None and failure["class"] == "oom" for failure in log.failures)


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
