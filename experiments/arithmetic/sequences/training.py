"""The loop of the small tasks over sequences, for one run: evaluate, update, clamp; resumable at any evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.arithmetic.sequences import cells


def scale(p: Any, step: int) -> float:
    """Return s(i) of the sparsity regulariser."""
    r = p.regulariser
    if r is None:
        return 0.0
    if r.scale == "exponential":
        return float(1 - np.exp(-1e-5 * step))
    return float(np.clip((step - r.start) / (r.end - r.start), 0, 1))


def sparsity(network: nn.Module) -> dict[str, float]:
    """Return the sparsity errors of a network's arithmetic modules, by tag."""
    return {
        f"network/{number}/{tag}/sparsity_error": error
        for number, unit in enumerate(cells.units(network), start=1)
        for tag, error in unit.sparsity_errors().items()
    }


def train(
    run: Any,
    network: nn.Module,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    evaluate: Callable[[], Mapping[str, float]],
    *,
    steps: int,
    every: int,
) -> None:
    """Train a network with Adam and the squared error.

    Parameters
    ----------
    run
        The run; its parameters are :class:`~experiments.arithmetic.sequences.sequence_params.Sequences`.
    network
        From the inputs of a batch to its predictions.
    batch
        The inputs and targets of a step: a function of the step alone, so that a run can resume.
    evaluate
        Metrics by tag.
    steps, every
        How many updates to make; evaluation comes before those that ``every`` divides.
    """
    p, step = run.params, 0
    optimiser = torch.optim.Adam(network.parameters(), lr=p.learning_rate)
    if (state := run.restore()) is not None:
        step = state["step"]
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
    while step < steps:
        logged: dict[str, float] = {}
        if step % every == 0:
            run.checkpoint({"step": step, "network": network.state_dict(), "optimiser": optimiser.state_dict()})
            if run.should_stop:
                return
            network.eval()
            with torch.no_grad():
                logged = {**evaluate(), **sparsity(network)}
        network.train()
        x, t = batch(step)
        criterion = functional.mse_loss(network(x), t)
        regulariser = cells.regulariser(network, p, scale(p, step))
        loss = criterion + regulariser
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {float(loss)} at step {step}")
        if logged:
            losses = {"loss/train/critation": float(criterion.detach()), "loss/train/total": float(loss.detach())}
            run.log({**logged, **losses}, step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        cells.clamp(network)
        step += 1
