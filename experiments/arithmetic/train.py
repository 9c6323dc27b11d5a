"""Single-layer arithmetic task: one module learns one operation on two of its inputs.

*Learning Division with Neural Arithmetic Logic Modules* (arXiv 2110.05177). Read it from top to bottom: data,
objective, update, evaluation. Everything is written for many lanes at once, which share a program and differ in values.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.arithmetic import modules, streams
from experiments.arithmetic.data import evaluation
from experiments.arithmetic.params import beta_levels
from orchestrator.lanes.lanes import Lanes
from orchestrator.lanes.optim import Moments, adam, clip_norm, sgd


class State(NamedTuple):
    """A lane between two updates."""

    w: Tensor
    optimiser: Any
    stream: Any


def train(lanes: Lanes) -> None:
    """Train the module ``layer`` on ``operation``."""
    s, p = lanes.static, lanes.values
    module = modules.build(s)
    stream = streams.build(lanes)
    validation, test = _evaluation_set(lanes, "interpolation"), _evaluation_set(lanes, "extrapolation")
    beta = _beta_schedule(lanes) if s.l1 is not None else None

    def init() -> State:
        weights = stream.weights()
        w = torch.cat([weights, torch.full_like(weights[:1], 0.5).repeat(module.gates, 1)])
        return State(w, Moments.zeros(w) if s.optimiser == "adam" else (), stream.start())

    def objective(w: Tensor, step: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        criterion = (module.forward(w, x, training=True) - t).square().mean(0)
        regulariser = torch.zeros_like(criterion)
        if s.regulariser is not None:
            regulariser = p.regulariser.weight * _ramp(step, p.regulariser) * module.sparsity(w)
        total = criterion + regulariser
        if beta is not None:
            total = total + beta(step) * w.abs().sum(0)
        if isinstance(module, modules.RealNPU) and s.npu.regulariser is not None:
            r = p.npu.regulariser
            total = total + _ramp(step, r) * (
                r.weights * module.weight_regulariser(w) + r.gate * module.gate_regulariser(w)
            )
        return total, {
            "loss/train/critation": criterion,
            "loss/train/regualizer": regulariser,
            "loss/train/total": total,
        }

    def update(state: State, step: Tensor) -> tuple[State, dict[str, Tensor]]:
        x, t, following = stream.draw(state.stream, step)
        grad, losses = lanes.grad(objective)(state.w, step, x, t)
        grad = clip_norm(grad, p.clip_grad_norm)
        if s.optimiser == "adam":
            w, optimiser = adam(state.w, grad, state.optimiser, step, p.learning_rate)
        else:
            w, optimiser = sgd(state.w, grad, p.learning_rate), ()
        return State(module.clamp(w), optimiser, following), losses

    def evaluate(state: State, step: Tensor) -> dict[str, Tensor]:
        def error(x: Tensor, t: Tensor) -> Tensor:
            return (module.forward(state.w, x, training=False) - t).square().mean(0, dtype=torch.float64)

        metrics = {"metric/valid/interpolation": error(*validation), "metric/test/extrapolation": error(*test)}
        schedule = {"L1/train/beta": beta(step)} if beta is not None else {}
        return {**metrics, **module.errors(state.w), **schedule}

    lanes.run(init=init, step=update, log=evaluate, every=s.log_interval, steps=s.max_iterations + 1)


def _evaluation_set(lanes: Lanes, ranges: Literal["interpolation", "extrapolation"]) -> tuple[Tensor, Tensor]:
    """Return inputs (I, N, L) and targets (N, L); lanes of one range share their inputs, whatever their seeds."""
    sets = evaluation(lanes.params, ranges)
    return lanes.tensor(sets.x.transpose(0, 2, 1)[..., sets.which]), lanes.tensor(sets.t.T[:, sets.which])


def _ramp(step: Tensor, ramp: Any) -> Tensor:
    """Return s(i), (L,): it rises from 0 at ``start`` to 1 at ``end``."""
    rise: Tensor = ((step - ramp.start) / (ramp.end - ramp.start)).clamp(0, 1)
    return rise


def _beta_schedule(lanes: Lanes) -> Any:
    """Return β(i), (L,): every ``step`` iterations the next of its levels, which are exact decimal numbers."""
    levels = [beta_levels(p.l1.start, p.l1.end, p.l1.growth) for p in lanes.params]
    longest = max(map(len, levels))
    padded = np.array([row + row[-1:] * (longest - len(row)) for row in levels], np.float32)
    table, every = lanes.tensor(padded.T), lanes.values.l1.step

    def beta(step: Tensor) -> Tensor:
        place = (step // every).clamp(max=longest - 1)
        return table.gather(0, place[None])[0]

    return beta
