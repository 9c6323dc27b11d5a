"""What a train loop says, and to whom: the seam between the lanes (or a plain run) and the worker.

The loop knows tensors and steps; the recorder knows files, journals and orders. Neither knows the other's business.
A lane is named here by its *index* in the task's list of runs, fixed for the life of the process, whatever slot of the
stacked tensors the lane sits in at the moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Outcome = Literal["done", "diverged", "stopped"]
"""``done``: all steps were made; ``diverged``: the lane's own numbers went bad; ``stopped``: ``stop_when`` was met."""


@dataclass(frozen=True)
class Snapshot:
    """The whole state of some lanes between two steps: enough to go on elsewhere, beside others, bit for bit.

    Parameters
    ----------
    steps
        int64 (n,): for each lane, the step whose update comes next; events of this step have been logged.
    arrays
        ``{name: array (..., n)}``: every tensor of the state and of the host state, lanes on the last axis.
    """

    steps: IntArray
    arrays: Mapping[str, npt.NDArray[Any]]

    def select(self, columns: Sequence[int] | IntArray) -> Snapshot:
        """Return the snapshot of some of the lanes, in the order of ``columns``."""
        take = np.asarray(columns, dtype=np.int64)
        return Snapshot(self.steps[take], {name: array[..., take] for name, array in self.arrays.items()})

    @staticmethod
    def join(parts: Sequence[Snapshot]) -> Snapshot:
        """Put snapshots of different lanes side by side; all must hold the same names."""
        names = parts[0].arrays
        return Snapshot(
            np.concatenate([part.steps for part in parts]),
            {name: np.concatenate([part.arrays[name] for part in parts], axis=-1) for name in names},
        )


class Orders(NamedTuple):
    """What the worker wants of the loop at this log point."""

    checkpoint: bool = False
    """Write a checkpoint now."""
    stop: bool = False
    """Leave the loop after that checkpoint: a signal, a lost ownership, the end of the time slice."""
    cancelled: frozenset[int] = frozenset()
    """Lanes to freeze: their runs were cancelled or belong to a successor."""


class Recorder(Protocol):
    """Receives what a train loop produces. All calls happen at log points, in the order of the lanes' steps."""

    def log(self, lanes: IntArray, steps: IntArray, tags: Sequence[str], values: npt.NDArray[Any]) -> None:
        """Record ``values`` (tags, n) of lanes (n,) at steps (n,); float32 or float64, NaN and infinities included."""

    def orders(self) -> Orders:
        """Return what to do now. Cheap; called once at every log point, after :meth:`log`."""

    def checkpoint(self, lanes: IntArray, snapshot: Snapshot) -> None:
        """Keep ``snapshot``, whose columns belong to lanes (n,). Events logged before are made durable first."""

    def verdict(self, lanes: IntArray, outcome: Outcome, steps: IntArray) -> None:
        """Close lanes (n,): nothing more comes from them. ``steps`` (n,): the last step made, or where it went bad."""
