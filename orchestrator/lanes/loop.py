"""The loop: log points, orders, checkpoints, frozen lanes, fewer lanes.

At step i a lane is logged if i is a log point, and then updated. Between two log points nothing is read from the
tensors: a lane whose numbers go bad is frozen inside the step and found at the next log point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from orchestrator.lanes.engine import WIDTHS, Flat, prepare
from orchestrator.recorder import IntArray, Recorder, Snapshot

BoolArray = npt.NDArray[np.bool_]

REPACKING_COST = {"compiled": 12_000_000, "eager": 50_000}
"""Lane-steps that starting again with fewer lanes costs: about ten seconds for a compiler, about one for the rest."""


@dataclass(frozen=True)
class Program:
    """What an experiment hands to :meth:`orchestrator.lanes.lanes.Lanes.run`."""

    init: Callable[[], Any]
    step: Callable[[Any, Tensor], tuple[Any, dict[str, Tensor]]]
    log: Callable[[Any, Tensor], dict[str, Tensor]]
    every: int
    steps: int


@dataclass(frozen=True)
class Task:
    """Lanes to train: their names in the recorder's sense, and where some of them go on from.

    ``lanes`` is int64 (n,), in slot order; ``restored`` names lanes among them and holds their snapshot.
    """

    lanes: IntArray
    recorder: Recorder
    restored: tuple[IntArray, Snapshot] | None


class Stack:
    """The tensors of all slots: the experiment's state, and each lane's step and where it went bad (-1: nowhere)."""

    def __init__(self, state: Any, width: int, device: torch.device) -> None:
        paths, self.spec = pytree.tree_flatten_with_path(state)
        self.names = [_dotted(path) for path, _ in paths]
        for name, (_, leaf) in zip(self.names, paths, strict=True):
            if leaf.shape[-1] != width:
                raise ValueError(f"state {name} has shape {tuple(leaf.shape)}; its last axis must hold {width} lanes")
        steps = torch.zeros(width, dtype=torch.int64, device=device)
        self.leaves: list[Tensor] = [*(leaf.contiguous() for _, leaf in paths), steps, steps - 1]

    @property
    def steps(self) -> Tensor:
        """Each slot's step, int64 (L,)."""
        return self.leaves[-2]

    @property
    def bad(self) -> IntArray:
        """The step at which each slot's update went bad, int64 (L,); the one place where the host waits."""
        return self.leaves[-1].cpu().numpy()

    def restore(self, slots: IntArray, snapshot: Snapshot) -> None:
        """Overwrite some slots with the columns of a snapshot."""
        if set(snapshot.arrays) != set(self.names):
            raise ValueError(f"the snapshot holds {sorted(snapshot.arrays)}, the state {sorted(self.names)}")
        where = torch.as_tensor(slots, device=self.steps.device)
        arrays = [*(snapshot.arrays[name] for name in self.names), snapshot.steps]
        for leaf, array in zip(self.leaves[:-1], arrays, strict=True):
            leaf[..., where] = torch.as_tensor(np.ascontiguousarray(array), device=leaf.device)

    def snapshot(self, slots: IntArray, steps: IntArray) -> Snapshot:
        """Copy some slots to the host."""
        where = torch.as_tensor(slots, device=self.steps.device)
        state = zip(self.names, self.leaves[:-2], strict=True)
        return Snapshot(steps.copy(), {name: leaf[..., where].cpu().numpy() for name, leaf in state})


def run(program: Program, task: Task, width: int, device: torch.device, engine: Mapping[str, Any]) -> Task | None:
    """Train a task's lanes. Returns the lanes that are to go on in a smaller stack, if that is why it ended."""
    stack = Stack(program.init(), width, device)
    count, recorder = len(task.lanes), task.recorder
    steps = np.zeros(count, np.int64)
    logged = np.zeros(count, np.bool_)  # rows of the present step are already recorded
    if task.restored is not None:
        names, snapshot = task.restored
        slots = _slots_of(names, task.lanes)
        stack.restore(slots, snapshot)
        steps[slots], logged[slots] = snapshot.steps, True
    if (steps % program.every).any():
        raise ValueError(f"lanes go on from log points, every {program.every} steps; not from {sorted(set(steps))}")

    tags: dict[str, list[str]] = {}
    update = prepare(_updating(program, stack.spec, tags, device), stack.leaves, engine)
    report = prepare(_reporting(program, stack.spec, tags), stack.leaves[:-1], engine)
    alive = np.ones(count, np.bool_)
    while True:
        # The update of this step comes before it is needed, for the values that it logs; what is kept and
        # checkpointed is still the state before it.
        *following, losses = update(stack.leaves)
        _close(recorder, task.lanes, alive, stack.bad[:count], "diverged")
        fresh = np.flatnonzero(alive & ~logged & (steps < program.steps))
        if len(fresh):
            rows = torch.cat([report(stack.leaves[:-1])[0], losses])[:, :count].cpu().numpy()
            recorder.log(task.lanes[fresh], steps[fresh], tags["log"] + tags["step"], rows[:, fresh])
        logged[:] = False
        _close(recorder, task.lanes, alive, np.where(steps >= program.steps, steps - 1, -1), "done")

        orders = recorder.orders()
        alive &= ~np.isin(task.lanes, list(orders.cancelled))
        left = np.flatnonzero(alive)
        if len(left) and (orders.checkpoint or orders.stop):
            recorder.checkpoint(task.lanes[left], stack.snapshot(left, steps[left]))
        if orders.stop or not len(left):
            return None
        remaining = int((program.steps - steps[left]).max())
        if _worth_repacking(len(left), width, remaining, engine["kind"]):
            names = task.lanes[left]
            return Task(names, recorder, (names, stack.snapshot(left, steps[left])))

        ahead = min(program.every, remaining)
        stack.leaves = list(following)
        for _ in range(ahead - 1):
            stack.leaves = list(update(stack.leaves)[:-1])
        steps = np.where(alive, np.minimum(steps + ahead, program.steps), steps)


def _dotted(path: Sequence[Any]) -> str:
    """Name a leaf of the state by its attributes, keys and places: ``optimiser.first``."""
    parts = [next(getattr(key, kind) for kind in ("name", "key", "idx") if hasattr(key, kind)) for key in path]
    return ".".join(map(str, parts)) or "state"


def _slots_of(names: IntArray, lanes: IntArray) -> IntArray:
    slot = {int(lane): number for number, lane in enumerate(lanes)}
    return np.array([slot[int(name)] for name in names], np.int64)


def _close(recorder: Recorder, lanes: IntArray, alive: BoolArray, where: IntArray, outcome: Any) -> None:
    """Give a verdict on the live lanes that came to an end at step ``where`` (-1: they did not)."""
    ended = np.flatnonzero(alive & (where >= 0))
    if len(ended):
        recorder.verdict(lanes[ended], outcome, where[ended])
        alive[ended] = False


def _worth_repacking(left: int, width: int, remaining: int, kind: str) -> bool:
    """Whether the lanes that are left should go on in a stack of 2ᵏ times the engine's least width."""
    smaller = WIDTHS[kind]
    while smaller < left:
        smaller *= 2
    return smaller <= width // 2 and (width - smaller) * remaining > REPACKING_COST[kind]


def _updating(program: Program, spec: pytree.TreeSpec, tags: dict[str, list[str]], device: torch.device) -> Flat:
    """Return the update of a whole stack: the experiment's step, made only by lanes that are neither bad nor done.

    Numbers of other lanes stay what they were. Integer state, which is state of random numbers, goes on: nobody reads
    it again.
    """
    limit = torch.tensor(program.steps, device=device)  # a tensor: the compiled update serves any number of steps

    def update(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        *old, steps, bad = leaves
        state, values = program.step(pytree.tree_unflatten(old, spec), steps)
        new = pytree.tree_leaves(state)
        numbers = [leaf for leaf in new if leaf.is_floating_point()]
        finite = torch.stack([leaf.isfinite().reshape(-1, leaf.shape[-1]).all(0) for leaf in numbers]).all(0)
        active = (steps < limit) & (bad < 0)
        moves = active & finite
        kept = [
            torch.where(moves, after, before) if after.is_floating_point() else after
            for before, after in zip(old, new, strict=True)
        ]
        tags["step"] = list(values)
        rows = torch.stack([value.float() for value in values.values()]) if values else steps.new_empty((0, len(steps)))
        return [*kept, torch.where(moves, steps + 1, steps), torch.where(active & ~finite, steps, bad), rows]

    return update


def _reporting(program: Program, spec: pytree.TreeSpec, tags: dict[str, list[str]]) -> Flat:
    """Return the experiment's ``log`` as a function of the stack: its values, float32 (tags, L)."""

    def report(leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        *state, steps = leaves
        values = program.log(pytree.tree_unflatten(state, spec), steps)
        tags["log"] = list(values)
        return [torch.stack([value.float() for value in values.values()])]

    return report
