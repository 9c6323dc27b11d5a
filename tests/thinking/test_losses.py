"""Losses and their gradients, by what the papers state; and that leaving out what is not needed changes nothing."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from experiments.thinking import losses
from experiments.thinking.losses import OBJECTIVES, Batch
from experiments.thinking.nets import create
from experiments.thinking.params import Thinking

T = 4


def net_and_batch(name="dt_net_recall_1d", masked=False):
    torch.manual_seed(0)
    net = create(name, width=8, max_iters=T).double()
    targets = torch.randint(2, (5, 9)).double()
    mask = torch.rand(5, 9) < 0.6 if masked else None
    return net, Batch(torch.rand(5, 1, 9, dtype=torch.float64) - 0.5, targets, mask)


def gradients(net, loss):
    return torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)


def readouts(net, batch, iterations=T):
    """All readouts with gradients, one forward pass of the published kind for each."""
    net.train()
    return [net(batch.x, k)[0] for k in range(1, iterations + 1)]


def entropy(readout, batch):
    found = functional.cross_entropy(readout, batch.targets.long(), reduction="none")
    return found.mean() if batch.mask is None else found[batch.mask].mean()


class Drawn:
    """A generator that gives what it is told."""

    def __init__(self, *values):
        self.values = list(values)

    def integers(self, *bounds):
        return self.values.pop(0)


@pytest.mark.parametrize("masked", [False, True])
def test_cross_entropy(masked):
    net, batch = net_and_batch(masked=masked)
    readout = net(batch.x, 2)[0]
    torch.testing.assert_close(losses.entropy(readout, batch), entropy(readout, batch))


def test_the_window_has_the_published_support():
    rng = np.random.default_rng(0)
    drawn = Counter(losses.window(rng, T) for _ in range(4000))
    assert set(drawn) == {(n, k) for n in range(T) for k in range(1, T - n + 1)}
    for (n, _), times in drawn.items():
        expected = 4000 / T / (T - n)
        assert abs(times - expected) < 6 * expected**0.5
    long = [losses.window(rng, 30) for _ in range(4000)]
    assert np.mean(long, axis=0) == pytest.approx([14.5, 8.25], abs=0.6)


@pytest.mark.parametrize("model", ["dt_net_recall_1d", "dt_net_1d", "feedforward_net_recall_1d"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("n", "k"), [(0, 2), (1, 2), (3, 1), (0, 4)])
def test_the_progressive_loss(model, alpha, n, k):
    net, batch = net_and_batch(model, masked=True)
    p = Thinking(model=model, width=8, max_iters=T, alpha=alpha)
    found = losses.progressive(net, batch, p, Drawn(n, k))
    whole = net(batch.x, T)[0]
    thought = net(batch.x, n)[1].detach() if n else None
    partial = net(batch.x, k, interim_thought=thought, iters_elapsed=n)[0]
    expected = (1 - alpha) * entropy(whole, batch) + alpha * entropy(partial, batch)
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.readout, whole.detach())  # the accuracy is that of all T iterations, whatever α
    for one, other in zip(gradients(net, found.loss), gradients(net, expected), strict=True):
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)
        else:  # the published code has a term of weight 0
            assert alpha in (0, 1)
            assert not any(gradient is not None and gradient.any() for gradient in (one, other))


@pytest.mark.parametrize("model", ["dt_net_recall_1d", "dt_net_1d"])
def test_what_the_projection_learns_from(model):
    net, batch = net_and_batch(model)
    p = Thinking(model=model, width=8, max_iters=T, alpha=1.0)
    for n in range(T):
        net.zero_grad()
        losses.progressive(net, batch, p, Drawn(n, 1)).loss.backward()
        assert (net.projection.weight.grad is None) == (n > 0)
        assert net.recur[0].conv_a.weight.grad is not None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_delta_loss(m, seed):
    net, batch = net_and_batch(masked=True)
    torch.manual_seed(seed)
    net.head[-1].weight.data.normal_(0, 3)  # so that later iterations are sometimes worse
    p = Thinking(width=8, max_iters=T, train_mode="deltarand")
    found = losses.deltarand(net, batch, p, Drawn(m))
    each = torch.stack([entropy(readout, batch) for readout in readouts(net, batch)])
    expected = each[m - 1] - each[0] + each[:m].max()
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.reported, each[-1].detach())
    torch.testing.assert_close(found.readout, readouts(net, batch)[-1].detach())
    assert int(found.parts["batch_loss_max_index"]) == int(each.argmax())
    for one, other in zip(gradients(net, found.loss), gradients(net, expected), strict=True):
        torch.testing.assert_close(one, other)
    if m == T:
        torch.testing.assert_close(losses.delta(net, batch, p, Drawn()).loss, expected)


def test_delta_is_the_last_loss_where_the_first_iteration_is_worst():
    net, batch = net_and_batch()
    p = Thinking(width=8, max_iters=T, train_mode="delta")
    for seed in range(200):  # until such a net is found
        torch.manual_seed(seed)
        net.head[-1].weight.data.normal_(0, 1)
        each = torch.stack([entropy(readout, batch) for readout in readouts(net, batch)])
        if int(each.argmax()) == 0:
            break
    assert int(each.argmax()) == 0
    found = losses.delta(net, batch, p, Drawn()).loss
    torch.testing.assert_close(found, each[-1])
    for one, other in zip(gradients(net, found), gradients(net, each[-1]), strict=True):
        torch.testing.assert_close(one, other)


def test_iterations_that_are_equally_bad_share_the_gradient_of_the_largest():
    net, batch = net_and_batch()
    net.recur_recall.weight.data[:, :8] = 0  # thoughts are of the input alone, and the same every time
    net.recur[0].conv_a.weight.data.zero_()
    net.recur[1].conv_a.weight.data.zero_()
    p = Thinking(width=8, max_iters=T, train_mode="delta")
    each = torch.stack([entropy(readout, batch) for readout in readouts(net, batch)])
    assert len(each.unique()) == 1
    found, expected = losses.delta(net, batch, p, Drawn()).loss, each[-1] - each[0] + each.amax()
    for one, other in zip(gradients(net, found), gradients(net, expected), strict=True):
        torch.testing.assert_close(one, other)


def test_deltarand_draws_from_the_second_iteration_on():
    net, batch = net_and_batch()
    p = Thinking(width=8, max_iters=T, train_mode="deltarand")
    each = torch.stack([entropy(readout, batch) for readout in readouts(net, batch)]).detach()
    known = {float(each[m - 1] - each[0] + each[:m].max()): m for m in range(1, T + 1)}
    rng, seen = np.random.default_rng(0), set()
    for _ in range(40):
        loss = float(losses.deltarand(net, batch, p, rng).loss.detach())
        seen.add(min((abs(loss - value), m) for value, m in known.items())[1])
    assert seen == {2, 3, 4}


def test_the_other_modes():
    net, batch = net_and_batch()
    p = Thinking(width=8, max_iters=T)
    each = [entropy(readout, batch) for readout in readouts(net, batch)]
    torch.testing.assert_close(OBJECTIVES["xent"](net, batch, p, Drawn()).loss, each[-1])
    torch.testing.assert_close(OBJECTIVES["every_iter"](net, batch, p, Drawn()).loss, sum(each))
    weighted = sum(i * loss for i, loss in enumerate(each, start=1))
    torch.testing.assert_close(OBJECTIVES["weight_every_iter"](net, batch, p, Drawn()).loss, weighted)
    torch.testing.assert_close(OBJECTIVES["random"](net, batch, p, Drawn(3)).loss, each[2])


@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize(("n", "k"), [(0, 2), (1, 3), (2, 2), (3, 1)])
def test_windows_that_begin_with_the_first_module(alpha, n, k):
    net, batch = net_and_batch("feedforward_net_recall_1d")
    p = Thinking(width=8, max_iters=T, train_mode="random_2", model="feedforward_net_recall_1d", alpha=alpha)
    found = OBJECTIVES["random_2"](net, batch, p, Drawn(n, k))
    thought = net(batch.x, n)[1].detach() if n else None
    whole = net(batch.x, T)[0]
    expected = alpha * entropy(net(batch.x, k, thought, 0)[0], batch)
    expected = expected + (1 - alpha) * entropy(whole, batch) if alpha < 1 else expected
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.readout, whole.detach())
    for one, other in zip(gradients(net, found.loss), gradients(net, expected), strict=True):
        torch.testing.assert_close(one, other)
