"""``Lanes``: what an experiment's train function is given, and the driver that packs lanes into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from orchestrator.experiment import Experiment, ExperimentParams, flatten, lane_paths, nest
from orchestrator.lanes import loop
from orchestrator.lanes.early import condition
from orchestrator.lanes.engine import keep_freed_memory
from orchestrator.recorder import IntArray, Recorder, Snapshot


class Lanes:
    """Some runs of one program, stacked.

    Attributes
    ----------
    params
        The parameters of every lane, in slot order; the last ones are padding, copies of the first.
    static
        Parameters of the first lane, for those that all lanes share.
    values
        The lanes' own numbers by name, ``values.l1.start``: float32 (L,), or int64 where the parameter is an integer.
        ``None`` is NaN; an absent group is ``None``. What is not a number stays in ``params``.
    width
        L, the number of slots.
    device
        Where the tensors are.
    """

    def __init__(
        self,
        params: Sequence[ExperimentParams],
        width: int,
        task: loop.Task,
        recorder: Recorder,
        engine: Mapping[str, Any],
    ) -> None:
        self.params = [*params, *[params[0]] * (width - len(params))]
        self.static: Any = params[0]
        self.width = width
        self.device = torch.device(engine["device"])
        self.values = self._stack()
        self.left: dict[int, Snapshot] | None = None
        self._task, self._recorder, self._engine = task, recorder, engine

    @property
    def seeds(self) -> Tensor:
        """The lanes' seeds, int64 (L,)."""
        seeds: Tensor = self.values.seed
        return seeds

    def tensor(self, array: Any) -> Tensor:
        """Put an array, lanes last, on the lanes' device."""
        return torch.as_tensor(np.ascontiguousarray(array), device=self.device)

    def grad(self, objective: Callable[..., tuple[Tensor, Any]]) -> Callable[..., tuple[Any, Any]]:
        """Differentiate an objective by its first argument, a tensor or a tree of them.

        ``objective`` returns each lane's loss (L,) and anything else; the result returns the gradients and that.
        A lane's loss depends on its own parameters only, so the gradient of the sum holds every lane's own.
        """

        # Not torch.func.grad: it imports torch's compiler, a second of every start, and is slower when not compiled.
        def differentiated(w: Any, *arguments: Any) -> tuple[Any, Any]:
            leaves, spec = pytree.tree_flatten(w)
            with torch.enable_grad():
                leaves = [leaf.detach().requires_grad_() for leaf in leaves]
                losses, others = objective(pytree.tree_unflatten(leaves, spec), *arguments)
                grads = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
            others = pytree.tree_map_only(Tensor, Tensor.detach, others)
            return pytree.tree_unflatten(list(grads), spec), others

        return differentiated

    def run(
        self,
        *,
        init: Callable[[], Any],
        step: Callable[[Any, Tensor], tuple[Any, dict[str, Tensor]]],
        log: Callable[[Any, Tensor], dict[str, Tensor]],
        every: int,
        steps: int,
        note: Callable[[Any, Tensor, dict[str, Tensor]], Any] | None = None,
    ) -> None:
        """Train: log, then update, and so on until every lane has made its steps, or met its ``stop_when``.

        The three functions are pure and treat lanes elementwise. A state is a tensor, or tuples and mappings of
        tensors, with lanes on the last axis of each.

        Parameters
        ----------
        init
            Returns the state before step 0.
        step
            Takes the state and each lane's step, int64 (L,); returns the next state, and values (L,) by tag that are
            logged at log points.
        log
            Takes the state before the update of that step; returns values (L,) by tag.
        every
            Log points are the steps divisible by this.
        steps
            How many updates a lane makes.
        note
            Takes a state at a log point, its steps and what ``log`` returned; returns the state that goes on, for
            training that looks back at its own evaluation. A lane that resumes at a log point notes it once more, so
            that noting twice must be the same as noting once.
        """
        program = loop.Program(init, step, log, every, steps, note, condition(self.params))
        self.left = loop.run(program, self._task, self.width, self.device, self._recorder, self._engine)

    def _stack(self) -> SimpleNamespace:
        rows = [flatten(p) for p in self.params]
        paths = lane_paths(type(self.static))
        stacked: dict[str, Any] = {}
        for path in rows[0]:
            values = [row[path] for row in rows]
            if path not in paths and values[0] is None:
                stacked[path] = None  # an absent group is a None leaf of its own name
            elif path in paths and all(value is None or isinstance(value, (int, float)) for value in values):
                stacked[path] = self._column(values)
        return _namespace(nest(stacked))

    def _column(self, values: Sequence[Any]) -> Tensor:
        if all(isinstance(value, int) for value in values):
            return torch.tensor(values, dtype=torch.int64, device=self.device)
        return torch.tensor([np.nan if v is None else v for v in values], dtype=torch.float32, device=self.device)


def _namespace(tree: Mapping[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**{name: _namespace(v) if isinstance(v, Mapping) else v for name, v in tree.items()})


def train_lanes(
    experiment: Experiment,
    params: Sequence[ExperimentParams],
    recorder: Recorder,
    engine: Mapping[str, Any],
    restored: tuple[IntArray, Snapshot] | None,
) -> None:
    """See :func:`orchestrator.lanes.train`.

    Lanes wait in line; as many as fit a stack train until they are done, then the next. A stack that has lost enough
    of its lanes to verdicts is packed anew: its survivors go to the head of the line, with their snapshot.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    function = experiment.load()
    waiting: list[int] = list(range(len(params)))
    snapshots: dict[int, Snapshot] = {}
    if restored is not None:
        snapshots = _by_lane(*restored)
    cancelled: set[int] = set()
    while waiting:
        chosen, width = loop.pack(len(waiting), engine["kind"])
        packed, waiting = waiting[:chosen], waiting[chosen:]
        going_on = {lane: snapshots.pop(lane) for lane in packed if lane in snapshots}
        task = loop.Task(packed, going_on, len(waiting), cancelled)
        lanes = Lanes([params[lane] for lane in packed], width, task, recorder, engine)
        function(lanes)
        if lanes.left is None:
            return
        waiting = [*lanes.left, *(lane for lane in waiting if lane not in cancelled)]
        snapshots.update(lanes.left)


def _by_lane(lanes: IntArray, snapshot: Snapshot) -> dict[int, Snapshot]:
    return {int(lane): snapshot.select([column]) for column, lane in enumerate(lanes)}
