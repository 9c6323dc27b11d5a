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

from orchestrator.lanes.early import Met
from orchestrator.lanes.engine import WIDTHS, Flat, prepare
from orchestrator.recorder import IntArray, Recorder, Snapshot

BoolArray = npt.NDArray[np.bool_]

WIDEST = {"compiled": 80, "eager": 256}
"""Lanes of one stack. A compiled step is fastest while its tensors stay in a core's own cache; an eager one while the
time that torch takes per operation is spread over many lanes."""

REPACKING_COST = {"compiled": 12_000_000, "eager": 100_000}
"""Lane-steps that starting again costs: about ten seconds where a width has to be compiled, else about one."""


@dataclass(frozen=True)
class Program:
    """What an experiment hands to :meth:`orchestrator.lanes.lanes.Lanes.run`."""

    init: Callable[[], Any]
    step: Callable[[Any, Tensor], tuple[Any, dict[str, Tensor]]]
    log: Callable[[Any, Tensor], dict[str, Tensor]]
    every: int
    steps: int
    note: Callable[[Any, Tensor, dict[str, Tensor]], Any] | None = None
    stop: Met | None = None


@dataclass(frozen=True)
class Task:
    """Lanes to train in one stack.

    ``lanes`` are their names in the recorder's sense, in slot order; ``restored`` holds the snapshots, of one column
    each, of those that go on; ``waiting`` is how many lanes stand in line behind them; ``cancelled`` collects the
    lanes, these and others, that the recorder wants to hear no more of.
    """

    lanes: list[int]
    restored: dict[int, Snapshot]
    waiting: int
    cancelled: set[int]


def pack(count: int, kind: str) -> tuple[int, int]:
    """Return how many of ``count`` lanes the next stack takes, and its slots: equal stacks, as few as possible."""
    unit, stacks = WIDTHS[kind], -(-count // WIDEST[kind])
    lanes = -(-count // stacks)
    return lanes, -(-lanes // unit) * unit


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


def run(
    program: Program, task: Task, width: int, device: torch.device, recorder: Recorder, engine: Mapping[str, Any]
) -> dict[int, Snapshot] | None:
    """Train the lanes of a stack until they are done, or too few to be worth it.

    Returns
    -------
    dict or None
        The lanes that are left, with a snapshot of one column each; None if the recorder ordered to stop.
    """
    stack = Stack(program.init(), width, device)
    names = np.array(task.lanes, np.int64)
    steps = np.zeros(len(names), np.int64)
    logged = np.isin(names, list(task.restored))  # rows of the present step are already recorded
    if task.restored:
        snapshot = Snapshot.join([task.restored[lane] for lane in names[logged].tolist()])
        stack.restore(np.flatnonzero(logged), snapshot)
        steps[logged] = snapshot.steps
    if (steps % program.every).any():
        raise ValueError(f"lanes go on from log points, every {program.every} steps; not from {sorted(set(steps))}")

    tags: dict[str, list[str]] = {}
    update = prepare(_updating(program, stack.spec, tags, device), stack.leaves, engine)
    report = prepare(_reporting(program, stack.spec, tags), stack.leaves[:-1], engine)
    alive = np.ones(len(names), np.bool_)
    while True:
        if program.note is not None:
            stack.leaves = _noted(program, stack, report(stack.leaves[:-1])[0], tags["log"])
        # The update of this step comes before it is needed, for the values that it logs; what is kept and
        # checkpointed is still the state before it.
        *following, losses = update(stack.leaves)
        _close(recorder, names, alive, stack.bad[: len(names)], "diverged")
        fresh = np.flatnonzero(alive & ~logged & (steps < program.steps))
        if len(fresh):
            rows = torch.cat([report(stack.leaves[:-1])[0], losses]).cpu().numpy()
            said = tags["log"] + tags["step"]
            recorder.log(names[fresh], steps[fresh], said, rows[:, fresh])
            if program.stop is not None:
                ended = fresh[program.stop(fresh, steps[fresh], said, rows[:, fresh])]
                _close(recorder, names, alive, np.where(np.isin(np.arange(len(names)), ended), steps, -1), "stopped")
        logged[:] = False
        _close(recorder, names, alive, np.where(steps >= program.steps, steps - 1, -1), "done")

        orders = recorder.orders()
        task.cancelled.update(orders.cancelled)
        alive &= ~np.isin(names, list(task.cancelled))
        left = np.flatnonzero(alive)
        if len(left) and (orders.checkpoint or orders.stop):
            recorder.checkpoint(names[left], stack.snapshot(left, steps[left]))
        if orders.stop:
            return None
        if not len(left):
            return {}
        remaining = int((program.steps - steps[left]).max())
        if _worth_repacking(len(left), task.waiting, width, remaining, engine["kind"]):
            snapshot = stack.snapshot(left, steps[left])
            return {lane: snapshot.select([column]) for column, lane in enumerate(names[left].tolist())}

        ahead = min(program.every, remaining)
        stack.leaves = list(following)
        for _ in range(ahead - 1):
            stack.leaves = list(update(stack.leaves)[:-1])
        steps = np.where(alive, np.minimum(steps + ahead, program.steps), steps)


def _dotted(path: Sequence[Any]) -> str:
    """Name a leaf of the state by its attributes, keys and places: ``optimiser.first``."""
    parts = [next(getattr(key, kind) for kind in ("name", "key", "idx") if hasattr(key, kind)) for key in path]
    return ".".join(map(str, parts)) or "state"


def _close(recorder: Recorder, lanes: IntArray, alive: BoolArray, where: IntArray, outcome: Any) -> None:
    """Give a verdict on the live lanes that came to an end at step ``where`` (-1: they did not)."""
    ended = np.flatnonzero(alive & (where >= 0))
    if len(ended):
        recorder.verdict(lanes[ended], outcome, where[ended])
        alive[ended] = False


def _worth_repacking(left: int, waiting: int, width: int, remaining: int, kind: str) -> bool:
    """Whether at least half of the slots are idle, and the idle ones would cost more than to start again without."""
    lanes, slots = pack(left + waiting, kind)
    idle = width - left if waiting else width - slots
    cost = REPACKING_COST["eager" if slots == width else kind]
    return left <= width // 2 and (lanes > left or slots <= width // 2) and idle * remaining > cost


def _noted(program: Program, stack: Stack, rows: Tensor, tags: Sequence[str]) -> list[Tensor]:
    """Return the leaves of a stack whose state has taken note of what is logged at this step."""
    assert program.note is not None
    state = pytree.tree_unflatten(stack.leaves[:-2], stack.spec)
    noted = program.note(state, stack.steps, dict(zip(tags, rows, strict=True)))
    return [*(leaf.contiguous() for leaf in pytree.tree_leaves(noted)), *stack.leaves[-2:]]


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
