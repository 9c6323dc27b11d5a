"""Packed optimisers against ``torch.optim``, lane by lane."""

from functools import partial

import numpy as np
import pytest
import torch

from orchestrator.lanes.optim import Moments, adam, clip_norm, clip_value, momentum, sgd

PARAMETERS, LANES, UPDATES = 3, 5, 200


@pytest.fixture
def gradients():
    rng = np.random.default_rng(1)
    scales = 10.0 ** rng.uniform(-6, 3, size=(1, 1, LANES))
    return torch.from_numpy((rng.normal(size=(UPDATES, PARAMETERS, LANES)) * scales).astype(np.float32))


def plainly(kind, gradients, lane, lr):
    w = torch.nn.Parameter(torch.full((PARAMETERS,), 0.5))
    optimiser = kind([w], lr=lr)
    for gradient in gradients[..., lane]:
        w.grad = gradient.clone()
        optimiser.step()
    return w.detach()


def test_adam_with_a_learning_rate_per_lane(gradients):
    rates = torch.tensor([1e-4, 1e-3, 1e-2, 0.1, 1.0])
    w = torch.full((PARAMETERS, LANES), 0.5)
    moments = Moments.zeros(w)
    for number, gradient in enumerate(gradients):
        w, moments = adam(w, gradient, moments, torch.full((LANES,), number), rates)
    for lane, rate in enumerate(rates.tolist()):
        expected = plainly(torch.optim.Adam, gradients, lane, rate)
        torch.testing.assert_close(w[:, lane], expected, rtol=2e-5, atol=2e-5 * rate)


def test_adam_counts_each_lanes_own_updates(gradients):
    rates = torch.full((1,), 1e-2)
    w = torch.zeros(PARAMETERS, 2)
    moments = Moments.zeros(w)
    both = torch.stack([gradients[0, :, 0]] * 2, -1)
    moved, _ = adam(w, both, moments, torch.tensor([0, 1000]), rates)
    late, _ = adam(w[:, :1], both[:, :1], Moments.zeros(w[:, :1]), torch.tensor([1000]), rates)
    assert torch.equal(moved[:, 1:], late)
    assert not torch.equal(moved[:, 0], moved[:, 1])


def test_sgd(gradients):
    rates = torch.tensor([1e-4, 1e-3, 1e-2, 0.1, 1.0])
    w = torch.full((PARAMETERS, LANES), 0.5)
    for gradient in gradients:
        w = sgd(w, gradient, rates)
    for lane, rate in enumerate(rates.tolist()):
        torch.testing.assert_close(w[:, lane], plainly(torch.optim.SGD, gradients, lane, rate))


def test_momentum(gradients):
    rates, decays = torch.tensor([1e-4, 1e-3, 1e-2, 0.1, 1.0]), torch.tensor([0.9, 0.0, 0.5, 0.99, 0.1])
    w = torch.full((PARAMETERS, LANES), 0.5)
    velocity = torch.zeros_like(w)
    for gradient in gradients:
        w, velocity = momentum(w, gradient, velocity, rates, decays)
    for lane, (rate, decay) in enumerate(zip(rates.tolist(), decays.tolist(), strict=True)):
        plain = partial(torch.optim.SGD, momentum=decay)
        torch.testing.assert_close(w[:, lane], plainly(plain, gradients, lane, rate), rtol=1e-4, atol=1e-6)


def test_no_momentum_is_plain_descent_to_the_bit(gradients):
    rates, none = torch.full((LANES,), 1e-2), torch.zeros(LANES)
    w = torch.full((PARAMETERS, LANES), 0.5)
    moved, _ = momentum(w, gradients[0], torch.ones_like(w), rates, none)
    assert torch.equal(moved, sgd(w, gradients[0], rates))


def test_clipping_by_value_is_per_lane_and_none_is_no_limit(gradients):
    limits = torch.tensor([1.0, 1e-3, float("nan"), 1e6, 1.0])
    clipped = clip_value(gradients[0], limits)
    for lane, limit in enumerate(limits.tolist()):
        expected = gradients[0, :, lane]
        torch.testing.assert_close(clipped[:, lane], expected.clamp(-limit, limit) if limit == limit else expected)


def test_clipping_is_per_lane_and_none_is_no_limit(gradients):
    limits = torch.tensor([1.0, 1e-3, float("nan"), 1e6, 1.0])
    clipped = clip_norm(gradients[0], limits)
    for lane, limit in enumerate(limits.tolist()):
        w = torch.nn.Parameter(torch.zeros(PARAMETERS))
        w.grad = gradients[0, :, lane].clone()
        if limit == limit:
            torch.nn.utils.clip_grad_norm_([w], limit)
        torch.testing.assert_close(clipped[:, lane], w.grad)


def test_a_lane_whose_gradient_is_not_finite_leaves_the_others_alone(gradients):
    bad = gradients[0].clone()
    bad[1, 2], bad[0, 4] = float("nan"), float("inf")
    limits = torch.ones(LANES)
    assert torch.equal(clip_norm(bad, limits)[:, [0, 1, 3]], clip_norm(gradients[0], limits)[:, [0, 1, 3]])
