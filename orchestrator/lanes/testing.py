"""A recorder that keeps everything in memory and gives the orders it was told to: for tests and measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.recorder import IntArray, Orders, Outcome, Snapshot

Values = npt.NDArray[Any]


@dataclass
class MemoryRecorder:
    """Keeps rows, checkpoints and verdicts.

    Parameters
    ----------
    orders_at
        Called with the number of the log point, counted from 0; returns the orders given there.
    """

    orders_at: Callable[[int], Orders] = lambda _: Orders()
    rows: dict[int, list[tuple[int, Values]]] = field(default_factory=dict)
    """By lane: (step, values (tags,)) in order."""
    tags: list[str] = field(default_factory=list)
    checkpoints: list[tuple[IntArray, Snapshot]] = field(default_factory=list)
    verdicts: dict[int, tuple[Outcome, int]] = field(default_factory=dict)
    log_points: int = 0

    def log(self, lanes: IntArray, steps: IntArray, tags: Sequence[str], values: Values) -> None:
        """Keep the rows."""
        self.tags = list(tags)
        for column, (lane, step) in enumerate(zip(lanes.tolist(), steps.tolist(), strict=True)):
            self.rows.setdefault(lane, []).append((step, values[:, column].copy()))

    def orders(self) -> Orders:
        """Give the orders of this log point."""
        self.log_points += 1
        return self.orders_at(self.log_points - 1)

    def checkpoint(self, lanes: IntArray, snapshot: Snapshot) -> None:
        """Keep the snapshot."""
        self.checkpoints.append((lanes, snapshot))

    def verdict(self, lanes: IntArray, outcome: Outcome, steps: IntArray) -> None:
        """Keep the verdicts; a lane has one only."""
        for lane, step in zip(lanes.tolist(), steps.tolist(), strict=True):
            assert lane not in self.verdicts, f"lane {lane} has a verdict already"
            self.verdicts[lane] = (outcome, step)

    def series(self, lane: int) -> tuple[IntArray, Values]:
        """Return a lane's steps (n,) and values (n, tags)."""
        rows = self.rows[lane]
        return np.array([step for step, _ in rows]), np.stack([values for _, values in rows])
