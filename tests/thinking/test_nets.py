"""The nets: how many parameters, what shapes, how far they see, and that one may stop to think and go on."""

import pytest
import torch
from torch import nn

from experiments.thinking.nets import MODELS, build, create, legacy
from experiments.thinking.nets.net import radius
from experiments.thinking.params import Thinking
from orchestrator.errors import UserError


def count(net):
    return sum(weight.numel() for weight in net.parameters())


def formula(name, w, c, T):
    """The published formulas (spec §1.7)."""
    k = 3 if name.endswith("1d") else 9
    total = k * c * w + (k * w * (w + c) if "recall" in name else 0)
    total += 4 * k * w * w * (T if name.startswith("feed") else 1)
    return total + (3 * w * w + 3 * w * (w // 2) + 6 * (w // 2) if k == 3 else 288 * w + 2448)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_follow_the_formula(name):
    channels = 1 if name.endswith("1d") else 3
    assert count(create(name, width=12, in_channels=channels, max_iters=5)) == formula(name, 12, channels, 5)


@pytest.mark.parametrize(
    ("name", "width", "channels", "expected"),
    [
        ("dt_net_1d", 400, 1, 2_642_400),
        ("dt_net_recall_gn_1d", 400, 1, 3_123_600),
        ("feedforward_net_1d", 400, 1, 58_322_400),
        ("feedforward_net_recall_1d", 400, 1, 58_803_600),
        ("dt_net_2d", 128, 3, 632_592),
        ("dt_net_recall_2d", 128, 3, 783_504),
        ("feedforward_net_2d", 128, 3, 17_737_488),
        ("feedforward_net_recall_2d", 128, 3, 17_888_400),
        ("dt_net_2d", 512, 12, 9_642_384),
        ("dt_net_recall_2d", 512, 12, 12_056_976),
        ("feedforward_net_2d", 512, 12, 283_320_720),
        ("feedforward_net_recall_2d", 512, 12, 285_735_312),
        ("dt_net_recall_1d", 16, 1, 5_136),
        ("dt_net_recall_1d", 24, 1, 11_448),
        ("dt_net_recall_1d", 32, 1, 20_256),
        ("dt_net_recall_1d", 48, 1, 45_360),
        ("dt_net_recall_1d", 64, 1, 80_448),
        ("dt_net_recall_2d", 32, 3, 59_472),
        ("dt_net_recall_2d", 48, 3, 122_544),
    ],
)
def test_parameters_of_the_published_nets(name, width, channels, expected):
    with torch.device("meta"):
        assert count(create(name, width=width, in_channels=channels, max_iters=30)) == expected


@pytest.mark.parametrize(
    ("problem", "name", "width", "depth", "expected"),
    [
        ("prefix_sums", "recur_net", 120, 44, 238_320),
        ("prefix_sums", "recur_dilated_net", 120, 60, 238_320),
        *(("prefix_sums", "ff_net", 120, 40 + 4 * i, 1_620_720 + 172_800 * i) for i in range(8)),
        ("prefix_sums", "recur_net", 4, 8, 288),
        ("prefix_sums", "ff_net", 4, 8, 288),
        ("mazes", "recur_resnet", 2, 28, 632_592),
        ("mazes", "ff_resnet", 2, 20, 2_402_064),
        ("mazes", "ff_resnet", 2, 28, 3_581_712),
        ("mazes", "ff_resnet", 2, 84, 11_839_248),
        ("chess", "recur_net", 8, 84, 9_642_384),
        ("chess", "ff_net", 8, 84, 188_948_880),
        ("chess", "ff_net", 8, 96, 217_260_432),
    ],
)
def test_parameters_of_the_legacy_nets(problem, name, width, depth, expected):
    with torch.device("meta"):
        assert count(legacy(problem, name, width=width, depth=depth)) == expected


@pytest.mark.parametrize("name", MODELS)
def test_shapes(name):
    channels, cells = (1, (7,)) if name.endswith("1d") else (3, (6, 5))
    net = create(name, width=8, in_channels=channels, max_iters=4)
    x = torch.rand(2, channels, *cells)
    out, thought = net(x, 3)
    assert out.shape == (2, 2, *cells)
    assert thought.shape == (2, 8, *cells)
    assert net.eval()(x, 3).shape == (2, 3, 2, *cells)


@pytest.mark.parametrize("name", MODELS)
def test_a_thought_may_be_interrupted(name):
    torch.manual_seed(0)
    channels, cells = (1, (9,)) if name.endswith("1d") else (3, (5, 4))
    net = create(name, width=8, in_channels=channels, max_iters=5).double()
    x = torch.rand(2, channels, *cells, dtype=torch.float64)
    whole, last = net(x, 5)
    _, interim = net(x, 2)
    out, thought = net(x, 3, interim_thought=interim, iters_elapsed=2)
    assert torch.equal(out, whole)
    assert torch.equal(thought, last)
    assert torch.equal(net.eval()(x, 3, interim_thought=interim, iters_elapsed=2)[:, -1], whole)


@pytest.mark.parametrize(
    ("net", "per_iteration", "more"),
    [
        (create("dt_net_recall_1d", width=4), 5, 4),
        (create("dt_net_1d", width=4), 4, 4),
        (create("feedforward_net_recall_1d", width=4, max_iters=3), 5, 4),
        (create("feedforward_net_1d", width=4, max_iters=3), 4, 4),
        (legacy("prefix_sums", "recur_net", width=4, depth=16), 4, 4),
        (legacy("prefix_sums", "ff_net", width=4, depth=16), 4, 4),
        (legacy("prefix_sums", "recur_dilated_net", width=4, depth=16), 6, 8),
    ],
    ids=["recall", "no recall", "ff recall", "ff", "legacy", "legacy ff", "dilated"],
)
def test_how_far_strings_are_seen(net, per_iteration, more):
    net = net.double()
    for weight in net.parameters():  # nothing may be lost to a ReLU, or to rounding
        nn.init.uniform_(weight, 0.1, 0.2)
    x = torch.rand(1, 1, 81, dtype=torch.float64)
    y = x.clone()
    y[0, 0, 40] += 1
    changed = (net.eval()(x, 3) != net(y, 3)).any(2)[0]
    for k in (1, 2, 3):
        reach = per_iteration * k + more
        assert radius(net.architecture, k) == reach
        seen = changed[k - 1].nonzero().flatten()
        assert (int(seen.min()), int(seen.max())) == (40 - reach, 40 + reach)


@pytest.mark.parametrize("name", ["dt_net_recall_2d", "dt_net_2d", "feedforward_net_recall_2d"])
def test_how_far_pictures_are_seen(name):
    net = create(name, width=4, in_channels=3, max_iters=2).double()
    for weight in net.parameters():
        nn.init.uniform_(weight, 0.1, 0.2)
    x = torch.rand(1, 3, 33, 33, dtype=torch.float64)
    y = x.clone()
    y[0, :, 16, 16] += 1
    changed = (net.eval()(x, 2) != net(y, 2)).any(2)[0]
    for k in (1, 2):
        rows, columns = changed[k - 1].nonzero().T
        reach = radius(net.architecture, k)
        assert (int(rows.min()), int(columns.max())) == (16 - reach, 16 + reach)


def plain(net, x, iterations):
    """The net as it is written in the papers: the input put beside the thought, contiguous convolutions."""
    a = net.architecture
    x = x.unsqueeze(2) if a.dimensions == 1 else x

    def conv(h, layer):
        padding, dilation = layer.padding, layer.dilation
        return nn.functional.conv2d(h, layer.weight.contiguous(), padding=padding, dilation=dilation)

    h = conv(x, net.projection).relu()
    for i in range(iterations):
        if a.recall:
            h = conv(torch.cat([h, x], 1), net.recall or net.recur_recall)
            h = h.relu() if a.recall_relu else h
        for block in net.feed_forward[i] if a.modules else net.recur:
            middle = block.norm(conv(h, block.conv_a)).relu()
            h = (block.norm(conv(middle, block.conv_b)) + h).relu()
    out = conv(conv(conv(h, net.head[0]).relu(), net.head[2]).relu(), net.head[4])
    return out.squeeze(2) if a.dimensions == 1 else out


@pytest.mark.parametrize("recall_relu", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_net_is_the_papers(name, recall_relu):
    torch.manual_seed(2)
    channels, cells = (1, (9,)) if name.endswith("1d") else (3, (5, 4))
    net = create(name, width=8, in_channels=channels, max_iters=3, recall_relu=recall_relu).double()
    relu = "recall" in name and name.startswith("dt") and (name.endswith("1d") or recall_relu)
    assert net.architecture.recall_relu == relu
    x = torch.rand(2, channels, *cells, dtype=torch.float64)
    mine, expected = net(x, 3)[0], plain(net, x, 3)
    torch.testing.assert_close(mine, expected)
    for one, other in zip(
        torch.autograd.grad(mine.square().sum(), list(net.parameters())),
        torch.autograd.grad(expected.square().sum(), list(net.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("name", "channels", "cells"),
    [("dt_net_recall_1d", 1, (32,)), ("dt_net_recall_2d", 3, (9, 7)), ("dt_net_recall_gn_1d", 1, (8,)),
     ("feedforward_net_recall_1d", 1, (16,)), ("dt_net_2d", 12, (8, 8))],
)  # fmt: skip
def test_iterations_without_a_gradient_come_to_the_same_bits(name, channels, cells):
    torch.manual_seed(3)
    net = create(name, width=16, in_channels=channels, max_iters=4)
    x = torch.rand(20, channels, *cells)
    expected = net(x, 4)
    with torch.no_grad():
        found = net(x, 4)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_dilated_nets_without_a_gradient_come_to_the_same_bits():
    torch.manual_seed(3)
    net = legacy("prefix_sums", "recur_dilated_net", width=16, depth=16)
    x = torch.rand(20, 1, 24)
    expected = net(x, 3)[0]
    with torch.no_grad():
        assert torch.equal(net(x, 3)[0], expected)


def test_feed_forward_nets_have_their_iterations_and_no_more():
    net = create("feedforward_net_1d", width=4, max_iters=3)
    x = torch.rand(1, 1, 5)
    net(x, 1, iters_elapsed=1)[0].sum().backward()
    touched = [any(weight.grad is not None for weight in module.parameters()) for module in net.feed_forward]
    assert touched == [False, True, False]
    with pytest.raises(UserError, match=r"iterations 3 to 4 are asked of a feed-forward net that has 3"):
        net(x, 2, iters_elapsed=2)
    with pytest.raises(UserError, match=r"iterations 1 to 4"):
        net.eval()(x, 4)


def test_what_is_no_net_is_said():
    with pytest.raises(UserError, match=r"'dt_net_gn_recall_1d'; there are .*Did you mean"):
        create("dt_net_gn_recall_1d", width=4)
    with pytest.raises(UserError, match="divisible by it, not 6"):
        create("dt_net_gn_1d", width=6)
    with pytest.raises(UserError, match="depth 42 is not that of a legacy net"):
        legacy("prefix_sums", "recur_net", width=4, depth=42)
    with pytest.raises(UserError, match="depth 1 "):
        legacy("mazes", "recur_resnet", width=4, depth=1)
    with pytest.raises(UserError, match=r"no legacy net 'recur_resnet' for prefix_sums; there are recur_net, ff_net"):
        legacy("prefix_sums", "recur_resnet", width=4, depth=8)
    assert legacy("mazes", "ff_resnet", width=1, depth=11).architecture.modules == 1  # rounded down


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"model": "dt_net_2d"}, "model dt_net_2d is not for prefix_sums: take one whose name ends in _1d"),
        ({"model": "recur_resnet"}, "or recur_net, ff_net, recur_dilated_net"),
        ({"model": "dt_net_gn_1d", "width": 6}, "width must be divisible by 4, not 6"),
        ({"recall_relu": True}, "write recall_relu: false"),
        ({"train_mode": "delta", "model": "ff_net"}, "train_mode delta repeats one module, and ff_net has one for"),
        ({"train_mode": "deltarand", "max_iters": 1}, "max_iters must be 2 at least"),
        ({"train_mode": "xent", "clip": 1.0}, "xent does not clip"),
        ({"train_mode": "xent_clipped"}, "needs a clip"),
        ({"lr_schedule": [60, 60]}, "lr_schedule must grow"),
        ({"test_iterations_low": 50}, "must not be more than test_iterations_high"),
        ({"test_mode": "convergence", "model": "ff_net"}, "feed-forward nets cannot go on"),
        ({"canvas": 32}, "canvas is for mazes"),
        ({"problem": "chess", "model": "dt_net_2d", "test_mode": "bit_wise"}, "is for bits of prefix sums"),
    ],
)
def test_parameters_that_make_no_sense(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Thinking(**given)


def test_parameters_decide_the_net():
    net = build(Thinking(model="ff_net", width=4, max_iters=2))
    assert len(net.feed_forward) == 2
    chess = build(Thinking(problem="chess", model="recur_net", width=1, max_iters=2))
    assert chess.architecture[:3] == (2, 12, 64)
    assert build(
        Thinking(problem="mazes", model="dt_net_recall_2d", recall_relu=True, width=4)
    ).architecture.recall_relu


def test_which_iterations_are_tested():
    given = {"test_iterations_low": 20, "test_iterations_high": 100, "test_iterations_step": 40}
    assert Thinking(**given).test_iterations == [20, 60, 100]
    assert Thinking(**given, model="feedforward_net_1d", max_iters=7).test_iterations == [7]
    assert Thinking(model="recur_net", max_iters=10).depth == 44
