"""What is minimised: one function per training mode, from a net's thoughts about a batch to a loss (spec §3.1).

The published code runs all T iterations with their readouts, for the training accuracy, whatever the loss needs. Here
no iteration is made twice: the readout after T iterations goes on from where the loss left off, without a gradient, and
nothing is read from thoughts in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from experiments.thinking.nets.net import Net, Recalled
from experiments.thinking.params import Thinking


class Batch(NamedTuple):
    """What a loss is taken of."""

    x: Tensor
    """Network input, float (b, c, *cells)."""
    targets: Tensor
    """float (b, *cells), 0 or 1."""
    mask: Tensor | None
    """bool (b, *cells): cells that count; None: all."""


class Objective(NamedTuple):
    """A loss, and what was seen on the way."""

    loss: Tensor
    """To be minimised."""
    readout: Tensor
    """After T iterations, without a gradient: training accuracy is taken of it."""
    reported: Tensor
    """The loss that is reported, without a gradient; delta reports the last iteration's cross-entropy."""
    parts: dict[str, Tensor]
    """By TensorBoard tag, of single batches."""


def entropy(readout: Tensor, batch: Batch) -> Tensor:
    """Return the mean cross-entropy over all cells of a batch that count.

    The softmax of two classes is the logistic function of the difference of their scores; as such its gradient is
    deterministic on GPUs too.
    """
    difference = (readout[:, 1] - readout[:, 0]).float()
    losses = functional.binary_cross_entropy_with_logits(difference, batch.targets, reduction="none")
    if batch.mask is None:
        return losses.mean()
    return (losses * batch.mask).sum() / batch.mask.sum()


def window(rng: np.random.Generator, iterations: int) -> tuple[int, int]:
    """Draw how many iterations go without a gradient, n from {0, …, T − 1}, and with one, k from {1, …, T − n}."""
    n = int(rng.integers(iterations))
    return n, int(rng.integers(1, iterations - n + 1))


def progressive(net: Net, batch: Batch, p: Thinking, rng: np.random.Generator) -> Objective:
    """(1 − α) CE(T iterations) + α CE(k iterations with a gradient, after n without one) (DT, progressive loss)."""
    return _progressive(net, batch, p.max_iters, p.alpha, *window(rng, p.max_iters))


def random_2(net: Net, batch: Batch, p: Thinking, rng: np.random.Generator) -> Objective:
    """Return the progressive loss with k iterations from the first module on; of recurrent nets that is the same."""
    n, k = window(rng, p.max_iters)
    return _progressive(net, batch, p.max_iters, p.alpha, n, k, begin=0 if p.feed_forward else n)


def random(net: Net, batch: Batch, p: Thinking, rng: np.random.Generator) -> Objective:
    """Return the progressive loss with n = 0: k iterations from the first thought."""
    return _progressive(net, batch, p.max_iters, p.alpha, 0, int(rng.integers(1, p.max_iters + 1)))


def last(net: Net, batch: Batch, p: Thinking, _rng: np.random.Generator) -> Objective:
    """Return the cross-entropy of the last readout: ``xent``, and ``xent_clipped`` where the gradient is clipped."""
    return _progressive(net, batch, p.max_iters, 0.0, 0, p.max_iters)


def _progressive(net: Net, batch: Batch, T: int, alpha: float, n: int, k: int, begin: int | None = None) -> Objective:
    """Return the progressive loss of a window of k iterations after n, the first with index ``begin`` (None: n)."""
    begin = n if begin is None else begin
    recalled = net.recalled(batch.x)
    zero = torch.zeros((), device=batch.x.device)
    whole, partial = zero, zero
    readout = None
    if alpha < 1:
        thought = net.think(net.project(batch.x), recalled, 0, n)
        start = thought.detach() if n else thought
        readout = net.readout(net.think(thought, recalled, n, T - n))
        whole = entropy(readout, batch)
    elif n:
        with torch.no_grad():
            start = net.think(net.project(batch.x), recalled, 0, n)
    else:
        start = net.project(batch.x)
    if alpha > 0:
        thought = net.think(start, recalled, begin, k)
        window_readout = net.readout(thought)
        partial = entropy(window_readout, batch)
        if readout is None:
            with torch.no_grad():
                latest, done = (thought, n + k) if begin == n else (start, n)
                rest = T - done
                readout = net.readout(net.think(latest.detach(), recalled, done, rest)) if rest else window_readout
    assert readout is not None
    loss = (1 - alpha) * whole + alpha * partial
    parts = {"batch_loss_last": whole.detach(), "batch_loss_progressive": partial.detach()}
    return Objective(loss, readout.detach(), loss.detach(), parts)


def delta(net: Net, batch: Batch, p: Thinking, _rng: np.random.Generator) -> Objective:
    """(CE_T − CE_1) + max_i CE_i, through all T iterations (delta loss)."""
    return _delta(net, batch, p.max_iters, p.max_iters)


def deltarand(net: Net, batch: Batch, p: Thinking, rng: np.random.Generator) -> Objective:
    """(CE_m − CE_1) + max_{i ≤ m} CE_i, with m from {2, …, T} for each batch."""
    return _delta(net, batch, p.max_iters, int(rng.integers(2, p.max_iters + 1)))


def _delta(net: Net, batch: Batch, T: int, m: int) -> Objective:
    """Return the delta loss of the first m iterations.

    Few of the cross-entropies have a gradient: the m-th, the largest, and the first unless it is the largest alone,
    when it is added and taken away. Only these are read with a graph; gradients are the same to the last bit.
    """
    recalled, thought = net.recalled(batch.x), net.project(batch.x)
    thoughts = []
    for index in range(m):
        thought = net.iterate(thought, recalled, index)
        thoughts.append(thought)
    with torch.no_grad():
        seen = []
        for index in range(T):
            thought = thoughts[index] if index < m else net.iterate(thought, recalled, index)
            scores = net.readout(thought)
            seen.append(entropy(scores, batch))
        early = torch.stack(seen[:m])
        greatest = (early == early.max()).nonzero().flatten().tolist()
    felt = {m - 1} if greatest == [0] else {0, m - 1, *greatest}
    losses = torch.stack([entropy(net.readout(thoughts[i]), batch) if i in felt else seen[i] for i in range(m)])
    change, largest = losses[m - 1] - losses[0], losses.amax()
    parts = {
        "batch_loss_max": largest.detach(),
        "batch_loss_delta": change.detach(),
        "batch_loss_first": seen[0],
        "batch_loss_last": seen[-1],
        "batch_loss_max_index": torch.stack(seen).argmax(),
    }
    return Objective(change + largest, scores, seen[-1], parts)


def every_iter(net: Net, batch: Batch, p: Thinking, _rng: np.random.Generator) -> Objective:
    """Return the sum of the cross-entropies of all iterations."""
    losses, (_, scores, _) = _every(net, batch, p.max_iters)
    return Objective(losses.sum(), scores.detach(), losses.sum().detach(), {})


def weight_every_iter(net: Net, batch: Batch, p: Thinking, _rng: np.random.Generator) -> Objective:
    """Return the sum over iterations i, counted from 1, of i times the cross-entropy."""
    losses, (_, scores, _) = _every(net, batch, p.max_iters)
    loss = (losses * torch.arange(1, p.max_iters + 1, device=losses.device)).sum()
    return Objective(loss, scores.detach(), loss.detach(), {})


class _Last(NamedTuple):
    thought: Tensor
    scores: Tensor
    recalled: Recalled | None


def _every(net: Net, batch: Batch, iterations: int) -> tuple[Tensor, _Last]:
    """Return the cross-entropies of the first iterations, (iterations,), and where they led to."""
    recalled, thought = net.recalled(batch.x), net.project(batch.x)
    losses = []
    for index in range(iterations):
        thought = net.iterate(thought, recalled, index)
        scores = net.readout(thought)
        losses.append(entropy(scores, batch))
    return torch.stack(losses), _Last(thought, scores, recalled)


OBJECTIVES: dict[str, Callable[[Net, Batch, Thinking, np.random.Generator], Objective]] = {
    "progressive": progressive,
    "delta": delta,
    "deltarand": deltarand,
    "xent": last,
    "xent_clipped": last,
    "random": random,
    "random_2": random_2,
    "every_iter": every_iter,
    "weight_every_iter": weight_every_iter,
}
"""By training mode."""
