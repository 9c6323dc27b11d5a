"""Step sizes against torch's schedulers and the published warm-up; groups of weights; zeros for gradients."""

import math

import pytest
import torch

from experiments.thinking import optimisers, schedules
from experiments.thinking.nets import build
from experiments.thinking.params import Thinking


def test_the_factors_of_the_warm_up():
    factors = [round(schedules.warmup(epoch, 10), 4) for epoch in range(12)]
    assert factors == [0.0952, 0.1813, 0.2592, 0.3297, 0.3935, 0.4512, 0.5034, 0.5507, 0.5934, 1, 1, 1]
    assert [schedules.warmup(epoch, 0) for epoch in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 30, "lr_schedule": (12, 20), "warmup_period": 10},
        {"epochs": 20, "lr_schedule": (3, 15), "warmup_period": 5},  # one step is lost in the warm-up
        {"epochs": 20, "lr_schedule": (4, 15), "warmup_period": 5},  # the last epoch of the warm-up
        {"epochs": 12, "lr_schedule": (1, 4), "warmup_period": 0},
        {"epochs": 12, "lr_schedule": (1, 4), "warmup_period": 1},
        {"epochs": 16, "lr_decay": "cosine", "warmup_period": 4},
        {"epochs": 9, "lr_decay": "cosine", "warmup_period": 0},
    ],
)
def test_step_sizes_are_those_of_schedulers_that_are_stepped_each_epoch(given):
    p = Thinking(lr=0.5, lr_factor=0.1, **given)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=p.lr)

    def dampen(step):
        if step < p.warmup_period:
            last = step + 1 >= p.warmup_period
            optimiser.param_groups[0]["lr"] = p.lr * (1 if last else 1 - math.exp(-(step + 1) / p.warmup_period))

    dampen(0)
    if p.lr_decay == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, p.epochs)
    else:
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(p.lr_schedule), p.lr_factor)
    for epoch in range(p.epochs):
        assert p.lr * schedules.factor(p, epoch) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9), epoch
        optimiser.step()
        scheduler.step()
        dampen(epoch + 1)


@pytest.mark.parametrize("model", ["dt_net_recall_2d", "dt_net_2d", "feedforward_net_recall_2d", "recur_resnet"])
def test_the_throttle_slows_the_recurrent_module(model):
    p = Thinking(problem="mazes", model=model, width=8 if model != "recur_resnet" else 1, max_iters=5, lr_throttle=True)
    net = build(p)
    optimiser = optimisers.build(net, p)
    names = {id(weight): name for name, weight in net.named_parameters()}
    groups = [[names[id(weight)] for weight in group["params"]] for group in optimiser.param_groups]
    assert [group["lr"] for group in optimiser.param_groups] == [p.lr, p.lr / 5]
    assert len(groups[0]) + len(groups[1]) == len(names)
    assert sum("recall" in name for name in groups[1]) == (model == "dt_net_recall_2d")
    convolutions = 0 if model.startswith("feed") else 4
    assert sum("recall" not in name for name in groups[1]) == convolutions
    optimisers.set_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [p.lr / 2, p.lr / 10]
    assert len(optimisers.build(net, p.model_copy(update={"lr_throttle": False})).param_groups) == 1


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adadelta"])
def test_optimisers_have_the_published_settings(name):
    p = Thinking(width=4, max_iters=2, optimizer=name, weight_decay=0.01)
    net = build(p)
    optimiser = optimisers.build(net, p)
    group = optimiser.param_groups[0]
    expected = {
        "sgd": {"momentum": 0.9, "nesterov": False},
        "adam": {"betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False},
        "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False},
        "adadelta": {"rho": 0.9, "eps": 1e-6},
    }[name]
    assert {key: group[key] for key in expected} == expected
    assert group["weight_decay"] == 0.01


def test_the_optimiser_decides_a_weight_decay_of_null():
    p = Thinking(width=4, max_iters=2, optimizer="adamw", weight_decay=None)
    assert optimisers.build(build(p), p).param_groups[0]["weight_decay"] == 0.01


@pytest.mark.parametrize("zero", [False, True])
def test_weights_without_a_gradient(zero):
    p = Thinking(width=4, max_iters=2, weight_decay=0.0)
    net = build(p)
    optimiser = optimisers.build(net, p)
    first = net.projection.weight
    before = first.detach().clone()

    def step(some):
        optimisers.clear(optimiser, zero=zero)
        for weight in some:
            weight.grad = torch.ones_like(weight)
        optimiser.step()

    others = [weight for weight in net.parameters() if weight is not first]
    step(others)
    assert torch.equal(first, before)  # it never had one: torch did not make zeros of nothing either
    step([first, *others])
    moved = first.detach().clone()
    step(others)
    assert torch.equal(first, moved) != zero  # momentum moves what has zeros


def test_zeros_come_back_after_a_checkpoint():
    p = Thinking(width=4, max_iters=2)
    net = build(p)
    optimiser = optimisers.build(net, p)
    net.projection.weight.grad = torch.ones_like(net.projection.weight)
    optimiser.step()
    net.projection.weight.grad = None  # as in a new process
    optimisers.clear(optimiser, zero=True)
    assert torch.equal(net.projection.weight.grad, torch.zeros_like(net.projection.weight))
    assert net.head[0].weight.grad is None
