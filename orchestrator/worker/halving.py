"""Finding the culprits in a stack: what fails together is tried again in halves, until those who fail stand alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from orchestrator.states import FailureClass
from orchestrator.worker.failures import Failure

Lanes = list[int]

INDIVISIBLE: Final[frozenset[FailureClass]] = frozenset({"engine", "node", "disk"})
"""What befalls the machine, not a lane."""


def train_in_halves(
    lanes: Lanes,
    attempt: Callable[[Lanes], Failure | None],
    left: Callable[[Lanes], Lanes],
    blame: Callable[[Lanes, Failure], object],
) -> None:
    """Train lanes together; where that fails, apart.

    If a group and both its halves fail alike by the user's own mistake, it is one mistake, and all of them have it:
    trying each lane would only take long. Where memory ran out, halves are smaller, and each is worth its try.

    Parameters
    ----------
    lanes
        The lanes.
    attempt
        Trains lanes from their newest checkpoints, and returns why that failed; None if it did not, or was to stop.
    left
        From lanes to those that still want training.
    blame
        Records a failure for good.
    """
    failure = attempt(lanes)
    if failure is not None:
        _narrow(left(lanes), failure, attempt, left, blame)


def _narrow(
    lanes: Sequence[int],
    failure: Failure,
    attempt: Callable[[Lanes], Failure | None],
    left: Callable[[Lanes], Lanes],
    blame: Callable[[Lanes, Failure], object],
) -> None:
    lanes = list(lanes)
    if not lanes:
        return
    if len(lanes) == 1 or failure.kind in INDIVISIBLE:
        blame(lanes, failure)
        return
    middle = len(lanes) // 2
    found = [(half, attempt(half)) for half in (lanes[:middle], lanes[middle:])]
    if all(again is not None and again.kind == "user error" and again.alike(failure) for _, again in found):
        blame(left(lanes), failure)
        return
    for half, again in found:
        if again is not None:
            _narrow(left(half), again, attempt, left, blame)
