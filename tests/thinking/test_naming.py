"""Weights of other programs, whose nets are written here from their description, with names of several kinds."""

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from experiments.thinking import computation, naming
from experiments.thinking.nets import build
from experiments.thinking.params import LEGACY, Thinking
from orchestrator.errors import UserError

T = 3


class Block(nn.Module):
    def __init__(self, conv, width):
        super().__init__()
        self.conv1, self.conv2 = conv(width, width), conv(width, width)
        self.shortcut = nn.Sequential()

    def forward(self, x):
        return functional.relu(self.conv2(functional.relu(self.conv1(x))) + self.shortcut(x))


class Plain(nn.Module):
    """A net of the papers, as their layers are listed (spec §1); its attributes have the names that are given."""

    def __init__(self, p, names):
        super().__init__()
        kind, channels = (nn.Conv1d, 1) if p.shape.dimensions == 1 else (nn.Conv2d, p.shape.channels)
        self.names = names
        self.recall, self.relu = "recall" in p.model, p.recall_relu or (kind is nn.Conv1d and not p.feed_forward)

        def conv(inputs, outputs):
            return kind(inputs, outputs, 3, padding=1, bias=False)

        w = p.width
        middle = (w, w // 2) if kind is nn.Conv1d else (32, 8)
        recall = [conv(w + channels, w)] if self.recall else []
        modules = [nn.Sequential(Block(conv, w), Block(conv, w)) for _ in range(T if p.feed_forward else 1)]
        head = [conv(w, middle[0]), conv(*middle), conv(middle[1], 2)]
        parts = {"first": conv(channels, w), "head": head, "middle": (recall, modules)}
        for part in names["order"]:
            getattr(self, f"add_{part}")(parts[part], names[part])

    def add_first(self, layer, name):
        setattr(self, name, nn.Sequential(layer, nn.ReLU()))

    def add_middle(self, layers, name):
        recall, modules = layers
        self.modules_of_it, self.recall_of_it = [modules], [recall]
        if len(modules) == 1:
            setattr(self, name, nn.Sequential(*recall, *modules))
        else:
            setattr(self, name, nn.ModuleList(modules))
            if recall:
                self.recall_layer = recall[0]

    def add_head(self, layers, name):
        self.head_of_it = [layers]
        if name is None:
            self.conv2, self.conv3, self.conv4 = layers
        else:
            setattr(self, name, nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]))

    def forward(self, x):
        h = getattr(self, self.names["first"])(x)
        modules = self.modules_of_it[0]
        for index in range(T):
            if self.recall:
                h = self.recall_of_it[0][0](torch.cat([h, x], 1))
                h = functional.relu(h) if self.relu else h
            h = modules[index % len(modules)](h)
        one, two, three = self.head_of_it[0]
        return three(functional.relu(two(functional.relu(one(h)))))


DT = {"order": ("first", "middle", "head"), "first": "projection", "middle": "recur_block", "head": "head"}
LOOSE = {"order": ("first", "head", "middle"), "first": "conv1", "middle": "layers", "head": None}


def params(problem, model, width=8):
    width = 1 if model in LEGACY[problem] and problem != "prefix_sums" else width
    relu = problem == "mazes" and model == "dt_net_recall_2d"
    return Thinking(problem=problem, model=model, width=width, max_iters=T, recall_relu=relu, clip=None)


def plain(p, names):
    torch.manual_seed(1)
    wide = p.model_copy(update={"width": 64 * p.width if p.legacy and p.shape.dimensions == 2 else p.width})
    return Plain(wide, names)


@pytest.mark.parametrize("names", [DT, LOOSE], ids=["dt", "loose"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("problem", "model"),
    [
        ("prefix_sums", "dt_net_recall_1d"), ("prefix_sums", "dt_net_1d"), ("prefix_sums", "feedforward_net_recall_1d"),
        ("prefix_sums", "recur_net"), ("prefix_sums", "ff_net"), ("mazes", "dt_net_recall_2d"), ("mazes", "ff_resnet"),
        ("chess", "dt_net_2d"), ("chess", "feedforward_net_recall_2d"),
    ],
)  # fmt: skip
def test_a_net_of_another_program_is_read_and_written_bit_for_bit(tmp_path, problem, model, names, prefix):
    p, cells = params(problem, model), (9,) if problem == "prefix_sums" else (6, 5)
    theirs = plain(p, names)
    named = {prefix + name: value for name, value in theirs.state_dict().items()}
    torch.save({"net": named, "epoch": 7, "optimizer": {}}, tmp_path / "theirs.pth")
    net = build(p)
    assert computation.load(tmp_path / "theirs.pth", net, p)["epoch"] == 7
    x = torch.rand(2, p.shape.channels, *cells, dtype=torch.float64)
    torch.testing.assert_close(net.double()(x, T)[0], theirs.double()(x))

    trained = build(p)
    computation.save(tmp_path / "ours.pth", {"net": computation.weights(trained), "epoch": 3})
    words = [str(tmp_path / name) for name in ("ours.pth", "theirs.pth", "out.pth")]
    done = CliRunner().invoke(naming.main, words)
    assert done.exit_code == 0, done.output
    found = computation.read(tmp_path / "out.pth")
    assert list(found["net"]) == list(named)
    assert found["epoch"] == 3
    plain(p, names).load_state_dict({name.removeprefix(prefix): value for name, value in found["net"].items()})
    again = build(p)
    computation.load(tmp_path / "out.pth", again, p)
    for one, other in zip(trained.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_what_is_missing_and_what_is_too_much_is_named(tmp_path):
    p = params("prefix_sums", "dt_net_recall_1d")
    other = plain(params("prefix_sums", "dt_net_1d"), DT).state_dict()
    torch.save({"net": other}, tmp_path / "theirs.pth")
    with pytest.raises(UserError) as told:
        computation.load(tmp_path / "theirs.pth", build(p), p)
    assert "missing are projection.weight (8, 1, 3), recur_recall.weight (8, 9, 3)" in str(told.value)
    assert "unexpected are projection.0.weight (8, 1, 3), recur_block.0.0.conv1.weight (8, 8, 3)" in str(told.value)
    computation.save(tmp_path / "ours.pth", {"net": computation.weights(build(p))})
    words = [str(tmp_path / name) for name in ("ours.pth", "theirs.pth", "out.pth")]
    done = CliRunner().invoke(naming.main, words)
    assert done.exit_code == 1
    assert "hold different nets: missing are projection.0.weight" in done.output
    assert not (tmp_path / "out.pth").exists()
