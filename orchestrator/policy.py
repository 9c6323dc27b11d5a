"""From a failure's class to what is done about it: data, and one function that reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from orchestrator.states import FailureClass

Action = Literal["retry", "escalate", "stop"]


class Rule(NamedTuple):
    """What to do about one class of failure.

    Parameters
    ----------
    action
        ``retry``: go on from the last checkpoint. ``escalate``: the same with fewer lanes, then more memory.
        ``stop``: nothing, until somebody asks for it.
    budget
        How often in a row: a number, or ``"retries"`` for what the grid's resources say.
    progress
        Whether an attempt that wrote a checkpoint beyond the one it began from starts the count anew.
    advice
        The sentence that stands where the run stopped for good.
    """

    action: Action
    budget: int | Literal["retries"]
    progress: bool
    advice: str


RULES: Mapping[FailureClass, Rule] = {
    "user error": Rule("stop", 0, False, "mend the code or the grid, then `orch retry`"),
    "diverged": Rule("stop", 0, False, "a result: nothing to be done"),
    "oom": Rule("escalate", "retries", False, "ask for more memory in the grid and submit it, then `orch retry`"),
    "timeout": Rule("retry", "retries", True, "it ends before its first checkpoint: ask for more time"),
    "preempted": Rule("retry", 20, True, "it is preempted before its first checkpoint: checkpoint more often"),
    "node": Rule("retry", 5, True, "several machines failed under it: see `orch explain`"),
    "disk": Rule("retry", 20, True, "a disk takes no more: make room, or mend the quota, then `orch retry`"),
    "lost": Rule("retry", "retries", True, "it dies without a word before its first checkpoint: see its stderr"),
    "engine": Rule("retry", "retries", False, "no machine matches the study's engine or packages: see `orch doctor`"),
}
"""One row per class of failure."""

TRANSIENT = frozenset(name for name, rule in RULES.items() if rule.progress)
"""Classes whose count starts anew when an attempt got further."""


AWAY: Final = 20
"""A machine that failed under a task is used again when so many tasks of later submissions have finished elsewhere."""


class Decision(NamedTuple):
    """What to do, and why."""

    action: Action
    why: str


def decide(failure: FailureClass, used: Mapping[str, int], retries: int) -> Decision:
    """Decide about a run whose last attempt ended in ``failure``.

    Parameters
    ----------
    failure
        The class of the last failure.
    used
        How often each class befell the run since its budget last started anew, this failure included.
    retries
        The budget that the grid's resources set.
    """
    rule = RULES[failure]
    if rule.action == "stop":
        return Decision("stop", f"{failure}: {rule.advice}")
    budget = retries if rule.budget == "retries" else rule.budget
    times = used.get(failure, 0)
    if times > budget:
        return Decision("stop", f"{failure}, {times} times in a row: {rule.advice}")
    return Decision(rule.action, f"{failure}, {times} of {budget} retries used")


def avoided(failed: Mapping[str, int], finished: Mapping[int, int]) -> list[str]:
    """Return the machines that later attempts keep away from, in the order given.

    Time is told by what the study itself has finished since: clocks of different machines disagree, and where nothing
    is done nothing is known.

    Parameters
    ----------
    failed
        For each machine that failed under a task, the last submission in which it did.
    finished
        How many tasks of each submission finished.
    """
    return [node for node, n in failed.items() if sum(count for later, count in finished.items() if later > n) < AWAY]
