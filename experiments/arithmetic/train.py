"""Arithmetic tasks: a network of one module or two learns one operation on sums of its inputs.

*Learning Division with Neural Arithmetic Logic Modules* (arXiv 2110.05177); *Neural Arithmetic Units* (arXiv
2001.05016). Read it from top to bottom: data, objective, update, evaluation. Everything is written for many lanes at
once, which share a program and differ in values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.arithmetic import losses, networks, reinit, streams
from experiments.arithmetic.data import evaluation
from experiments.arithmetic.distributions import Set
from experiments.arithmetic.parts import Weights, pack, unpack
from experiments.arithmetic.penalty_terms import PenaltyTerms
from experiments.arithmetic.streams import Batch
from orchestrator.lanes.lanes import Lanes
from orchestrator.lanes.optim import Moments, adam, clip_norm, clip_value, momentum

VALIDATION, TEST = "metric/valid/interpolation", "metric/test/extrapolation"

LARGEST = torch.finfo(torch.float32).max
"""What stands for infinity in a lane's state, which has to be finite: see :func:`adam_step`."""


class State(NamedTuple):
    """A lane between two updates."""

    w: Tensor
    optimiser: Any
    stream: Any
    progress: Any


def train(lanes: Lanes) -> None:
    """Train the network that the parameters describe on ``operation``."""
    s, p = lanes.static, lanes.values
    network = networks.build(s)
    stream = streams.build(lanes, network)
    validation, test = _evaluation_set(lanes, "interpolation"), _evaluation_set(lanes, "extrapolation")
    penalties = PenaltyTerms(lanes, network)
    fresh = stream.weights(reinit.rounds(s))
    watch = reinit.Watch(lanes, fresh) if reinit.needed(s) else None

    def init() -> State:
        w = fresh[0]
        optimiser: Any = Moments.zeros(w) if s.optimiser == "adam" else torch.zeros_like(w)
        return State(w, optimiser, stream.start(), watch.start() if watch else ())

    def objective(w: Tensor, step: Tensor, batch: Batch, progress: Any) -> tuple[Tensor, dict[str, Tensor]]:
        weights = unpack(network.parts, w)
        y = network.forward(weights, batch.x, training=True, noise=batch.noise)[0]
        criterion = losses.criterion(s.criterion, y, batch.t, step, p.mse_from)
        regulariser = penalties(weights, step, batch, watch.error(progress, step) if watch else None)
        total = criterion + regulariser
        return total, {
            "loss/train/critation": criterion,
            "loss/train/regualizer": regulariser,
            "loss/train/total": total,
        }

    def update(state: State, step: Tensor) -> tuple[State, dict[str, Tensor]]:
        batch, following = stream.draw(state.stream, step)
        grad, logged = lanes.grad(objective)(state.w, step, batch, state.progress)
        grad = clip_value(clip_norm(grad, p.clip_grad_norm), p.clip_grad_value)
        optimiser: Any
        if s.optimiser == "adam":
            w, optimiser = adam_step(state.w, grad, state.optimiser, step, p.learning_rate)
        else:
            w, optimiser = momentum(state.w, grad, state.optimiser, p.learning_rate, p.momentum)
        w = pack(network.parts, network.clamp(unpack(network.parts, w)))
        w, progress = watch.check(w, state.progress, step) if watch else (w, state.progress)
        return State(w, optimiser, following, progress), logged

    def evaluate(state: State, step: Tensor) -> dict[str, Tensor]:
        weights = unpack(network.parts, state.w)

        def error(x: Tensor, t: Tensor) -> Tensor:
            y = network.forward(weights, x, training=False)[0]
            return (y - t).square().mean(0, dtype=torch.float64)

        metrics = {VALIDATION: error(*validation), TEST: error(*test)}
        resets = {"reinit/count": watch.resets(state.progress)} if watch and s.reinit else {}
        found = {**metrics, **network.errors(weights), **network.gates(weights, validation[0])}
        found |= {**penalties.schedules(step), **resets}
        return found | by_place(weights) if s.log_weights else found

    def note(state: State, step: Tensor, logged: dict[str, Tensor]) -> State:
        assert watch is not None
        return state._replace(progress=watch.note(state.progress, step, logged[VALIDATION]))

    lanes.run(
        init=init,
        step=update,
        log=evaluate,
        every=s.log_interval,
        steps=s.max_iterations + 1,
        note=note if watch else None,
    )


def adam_step(w: Tensor, grad: Tensor, moments: Moments, step: Tensor, lr: Tensor) -> tuple[Tensor, Moments]:
    """Return parameters and moments after one update of Adam, whose second moment may overflow.

    A gradient above 2·10¹⁹, which inputs near 0 give a Real NPU or an NRU, has a square beyond single precision. Adam
    divides by its root, so that this parameter rests from then on, and the others learn on: many runs of Figures 11 to
    13 of arXiv 2110.05177 are solved that way. It is no sign of a run gone bad, as other infinities are.
    """
    second = torch.where(moments.second >= LARGEST, torch.inf, moments.second)
    w, following = adam(w, grad, moments._replace(second=second), step, lr)
    return w, following._replace(second=following.second.clamp(max=LARGEST))


def by_place(weights: Weights) -> dict[str, Tensor]:
    """Return every parameter by itself, (L,), by its tensor's name and its place in it: ``weights/layer_1/W/0/1``."""
    return {
        "/".join(["weights", *name.split("."), *map(str, place)]): tensor[place]
        for name, tensor in weights.items()
        for place in np.ndindex(tensor.shape[:-1])
    }


def _evaluation_set(lanes: Lanes, ranges: Set) -> tuple[Tensor, Tensor]:
    """Return inputs (I, N, L) and targets (N, L); lanes of one range share their inputs, whatever their seeds."""
    sets = evaluation(lanes.params, ranges)  # type: ignore[arg-type]
    return lanes.tensor(sets.x.transpose(0, 2, 1)[..., sets.which]), lanes.tensor(sets.t.T[:, sets.which])
