"""How far a study is, and how fast it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.points import Points
from orchestrator.states import RunState
from orchestrator.study.history import History
from orchestrator.view.breakdown import column_values


def iterations(
    points: Points, runs: Sequence[bytes], states: Mapping[bytes, RunState], history: History, name: str | None
) -> tuple[int | None, int | None]:
    """Return the steps made and to be made by all runs that are not cancelled; None where nobody counts steps.

    Parameters
    ----------
    points, runs, states, history
        The study at one moment.
    name
        The parameter that holds the number of steps, if there is one.
    """
    column = points.leaves.get(name or "")
    if column is None:
        return None, None
    made = total = 0
    seen: set[bytes] = set()
    for run, steps in zip(runs, column_values(points, column), strict=True):
        if run in seen or states[run] == "cancelled" or not isinstance(steps, (int, float)):
            continue
        seen.add(run)
        total += int(steps)
        record = history.runs.get(run)
        if record is not None:
            known = 0 if record.ordered == "rerun" else max(record.step, 0)
            made += int(steps) if states[run] == "done" else min(known, int(steps))
    return made, total


class Meter:
    """Measures a rate from what an observer saw, by the observer's own monotonic clock.

    Parameters
    ----------
    window
        Seconds that the rate is averaged over.
    """

    def __init__(self, window: float = 60.0) -> None:
        self.window = window
        self._seen: list[tuple[float, int]] = []

    def add(self, now: float, amount: int) -> float | None:
        """Note an amount and return the rate per second over the window; None while there is nothing to go by."""
        if self._seen and amount < self._seen[-1][1]:
            self._seen.clear()  # runs went back to a checkpoint, or the grid changed
        self._seen.append((now, amount))
        while len(self._seen) > 2 and now - self._seen[1][0] >= self.window:
            self._seen.pop(0)
        (begin, least), (end, most) = self._seen[0], self._seen[-1]
        return (most - least) / (end - begin) if end > begin and most > least else None
