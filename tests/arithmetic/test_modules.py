"""The stacked modules against one plain module per lane, in float64: outputs, gradients, penalties, one update."""

import math

import numpy as np
import pytest
import torch

from experiments.arithmetic import modules, networks
from experiments.arithmetic.modules.nac import nac_bound
from experiments.arithmetic.params import SingleLayer
from experiments.arithmetic.parts import pack, unpack, within
from experiments.arithmetic.two_layer import TwoLayer
from orchestrator.lanes.optim import Moments, adam, clip_norm, clip_value, momentum
from tests.arithmetic.cases import CASES, POSITIVE
from tests.arithmetic.plain_compounds import MODULES, ordered
from tests.arithmetic.plain_modules import sparsity_error

LANES, ROWS = 16, 40
KINDS = ["W", "z", "W-OOB", "g", "W-NPU", "g-NPU", "inalu", "trash"]
HIDDEN = ["relu", "relu6", "tanh", "sigmoid", "softsign", "selu", "elu"]


@pytest.fixture(autouse=True)
def double():
    """Let numbers that a module writes out, such as π, be float64 too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Stack:
    """A stacked module, its packed parameters w (P, L), one plain module per lane, inputs x (I, B, L), noise."""

    def __init__(self, values, inputs, outputs):
        layer = values["layer"]
        hidden = layer in HIDDEN
        self.p = SingleLayer.model_validate(
            {"input_size": max(inputs, 2)} | ({} if hidden else values) | ({"layer": "linear"} if hidden else {})
        )
        self.module = modules.build(layer, inputs, outputs, self.p)
        rng = np.random.default_rng(0)
        self.parts = self.module.parts
        count = sum(part.size for part in self.parts)
        w = rng.uniform(-0.2, 1.2, size=(count, LANES)) * rng.choice([1, -1], size=(count, LANES), p=[0.8, 0.2])
        w[:, 0] = np.arange(count) % 2  # values at the bounds, as gold weights have
        self.w = torch.from_numpy(w)
        low = 0.5 if layer in POSITIVE else -3
        self.x = torch.from_numpy(rng.uniform(low, 3, size=(inputs, ROWS, LANES)))
        noise = self.module.noise(ROWS)
        self.noise = torch.from_numpy(rng.uniform(size=(noise, LANES))) if noise else None
        self.plain = []
        for lane in range(LANES):
            plain = MODULES[layer](self.p, inputs, outputs).double()
            own = ordered(plain)
            assert [tuple(p.shape) for p in own] == [part.shape for part in self.parts]
            for parameter, part in zip(own, self.parts, strict=True):
                parameter.data = unpack(self.parts, self.w)[part.name][..., lane].clone()
            self.plain.append(plain)

    def weights(self, w):
        return unpack(self.parts, w)

    def noise_of(self, lane):
        return None if self.noise is None else self.noise[:, lane]


SIZES = [(2, 1), (5, 2)]


@pytest.fixture(
    params=[(values, size) for values in [*CASES.values(), *({"layer": h} for h in HIDDEN)] for size in SIZES],
    ids=[f"{name}-{i}to{o}" for name in [*CASES, *HIDDEN] for i, o in SIZES],
)
def stack(request):
    values, (inputs, outputs) = request.param
    return Stack(values, inputs, outputs)


def flat(module, read):
    return torch.cat([read(parameter).ravel() for parameter in ordered(module)])


def gradient_of(module):
    return flat(module, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients(stack, training):
    t = torch.linspace(-2, 2, ROWS)
    w = stack.w.clone().requires_grad_()
    noise = stack.noise if training else None
    y = stack.module.forward(stack.weights(w), stack.x, training=training, noise=noise)
    (y - t[:, None]).square().mean((0, 1)).sum().backward()
    finite = 0
    for lane, plain in enumerate(stack.plain):
        expected = plain.train(training)(stack.x[..., lane].T, stack.noise_of(lane) if training else None)
        same(y[..., lane].detach(), expected.T.detach())
        plain.zero_grad()
        (expected - t[:, None]).square().mean().backward()
        gradient = gradient_of(plain)
        if gradient.isfinite().all():
            same(w.grad[:, lane], gradient)
            finite += 1
    assert finite > LANES // 2


def test_penalties_and_their_gradients(stack):
    expected = [plain.train().regularisers(stack.x[..., n].T, stack.noise_of(n)) for n, plain in enumerate(stack.plain)]
    for kind in KINDS:
        w = stack.w.clone().requires_grad_()
        term = stack.module.penalty(kind, stack.weights(w), stack.x, stack.noise)
        assert (term is None) == (kind not in expected[0])
        if term is None:
            continue
        term.sum().backward()
        for lane, plain in enumerate(stack.plain):
            plain.zero_grad()
            expected[lane][kind].backward(retain_graph=True)
            same(term[lane].detach(), expected[lane][kind].detach())
            same(w.grad[:, lane], gradient_of(plain))


def test_clamping_and_sparsity_errors(stack):
    clamped = pack(stack.parts, stack.module.clamp(stack.weights(stack.w)))
    errors = stack.module.errors(stack.weights(clamped))
    named = {tag: error for tag, error in errors.items() if not tag.endswith(("gate", "inalu/W", "npu/W"))}
    for lane, plain in enumerate(stack.plain):
        plain.clamp()
        torch.testing.assert_close(clamped[:, lane], flat(plain, lambda p: p.detach()))
        found = [float(error[lane]) for error in named.values()]
        assert found == pytest.approx([sparsity_error(w.detach()) for w in plain.sparse()] or found)


@pytest.mark.parametrize("name", ["nalu", "nalu two gates", "g-nalu", "nalu gumbel"])
def test_means_of_gates(name):
    stack = Stack(CASES[name], 5, 2)
    ((tag, found),) = stack.module.gates(stack.weights(stack.w), stack.x).items()
    assert tag == "nalu/gate/mean"
    for lane, plain in enumerate(stack.plain):
        same(found[lane], plain.gates(stack.x[..., lane].T, None)[0].mean().detach())


def test_the_gate_of_a_second_layer_sees_what_the_first_makes():
    network = networks.build(
        TwoLayer(first_layer="nac", second_layer="nalu", input_size=5, subset_size=2, subset_overlap=0)
    )
    w = {part.name: torch.rand(*part.shape, 3) for part in network.parts}
    ((tag, found),) = network.gates(w, x := torch.rand(5, ROWS, 3)).items()
    first, second = network.layers.values()
    hidden = first.forward(within("layer_1.", w), x, training=False)
    assert tag == "network/layer_2/nalu/gate/mean"
    torch.testing.assert_close(found, second.gates(within("layer_2.", w), hidden)["nalu/gate/mean"])


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_one_update_of_a_network_in_training(stack, optimiser):
    """Gradient of the whole batch, clipped by norm or by value, one step of the optimiser, clamping."""
    t = torch.linspace(-2, 2, ROWS)
    lr, limit = torch.linspace(1e-3, 1e-1, LANES), torch.full((LANES,), 0.3)
    none = torch.full((LANES,), torch.nan)
    w = stack.w.clone().requires_grad_()
    y = stack.module.forward(stack.weights(w), stack.x, training=True, noise=stack.noise)
    (y - t[:, None]).square().mean((0, 1)).sum().backward()
    by_norm = optimiser == "adam"
    grad = clip_value(clip_norm(w.grad, limit if by_norm else none), none if by_norm else limit)
    step, before = torch.zeros(LANES, dtype=torch.int64), stack.w
    if by_norm:
        after, _ = adam(before, grad, Moments.zeros(before), step, lr)
    else:
        after, velocity = momentum(before, grad, torch.zeros_like(before), lr, torch.full((LANES,), 0.9))
        after, _ = momentum(after, grad, velocity, lr, torch.full((LANES,), 0.9))
    after = pack(stack.parts, stack.module.clamp(stack.weights(after)))
    for lane, plain in enumerate(stack.plain):
        plain.train()
        (plain(stack.x[..., lane].T, stack.noise_of(lane)) - t[:, None]).square().mean().backward()
        if not gradient_of(plain).isfinite().all():
            continue
        rate, own = float(lr[lane]), ordered(plain)
        clip = torch.nn.utils.clip_grad_norm_ if by_norm else torch.nn.utils.clip_grad_value_
        clip(own, 0.3)
        made = torch.optim.Adam(own, lr=rate) if by_norm else torch.optim.SGD(own, lr=rate, momentum=0.9)
        for _ in range(1 if by_norm else 2):
            made.step()
        plain.clamp()
        torch.testing.assert_close(after[:, lane], flat(plain, lambda p: p.detach()), rtol=1e-7, atol=1e-7)


# --- what is known of single modules ----------------------------------------------------------------------------------

GOLD = {
    "real-npu": {"W_real": [[1.0], [-1.0]], "g": [1.0, 1.0]},
    "npu": {"W_real": [[1.0], [-1.0]], "W_im": [[0.0], [0.0]], "g": [1.0, 1.0]},
    "nmru": {"W": [[1.0, 0.0, 0.0, 1.0]]},
    "nru": {"W": [[1.0, -1.0]]},
}


def gold(layer):
    module = modules.build(layer, 2, 1, SingleLayer())
    return module, {
        name: torch.tensor(value)[..., None].repeat_interleave(4, -1) for name, value in GOLD[layer].items()
    }


@pytest.mark.parametrize("layer", GOLD)
@pytest.mark.parametrize("training", [True, False])
def test_gold_weights_divide(layer, training):
    module, w = gold(layer)
    x = torch.tensor([[[-6.0, 6, -6, 6]], [[3.0, -3, -3, 3]]])
    y = module.forward(w, x, training=training)
    torch.testing.assert_close(y[0, 0], torch.tensor([-2.0, -2, 2, 2]), rtol=1e-6, atol=0)


def test_trap_4_a_stacked_gate_at_its_bounds_still_gets_its_gradient():
    npu = modules.build("real-npu", 2, 1, SingleLayer())
    gates = torch.tensor([[0.0], [1.0]], requires_grad=True)
    w = {"W_real": torch.tensor([[[1.0]], [[-1.0]]]), "g": gates}
    npu.forward(w, torch.tensor([[[3.0]], [[5.0]]]), training=True).sum().backward()
    assert (gates.grad != 0).all()


def test_an_nru_without_weights_multiplies_by_one_and_its_gate_opens_at_a_hundredth():
    nru = modules.build("nru", 2, 1, SingleLayer())
    x = torch.tensor([[[-6.0]], [[3.0]]])
    assert nru.forward({"W": torch.zeros(1, 2, 1)}, x, training=True).item() == 1
    assert float(torch.tanh(torch.tensor(1000 * 0.01, dtype=torch.float32)) ** 2) == 1


@pytest.mark.parametrize(("fan", "bound"), [(5, 9.471406), (6, 5.425508), (11, 2.260468), (102, 0.503909)])
def test_the_nacs_initial_bound(fan, bound):
    assert nac_bound(fan - 1, 1) == pytest.approx(bound, abs=1e-6)
    assert nac_bound(2, 1) == pytest.approx(9.471406, abs=1e-6)  # fan 3 counts as 5, where there is a root


@pytest.mark.parametrize(("layer", "inputs"), [("real-npu", 2), ("real-npu", 10), ("nau", 100)])
def test_xavier_and_constrained_bounds(layer, inputs):
    known = {("real-npu", 2): (1.414214, 0.5), ("real-npu", 10): (0.738549, 0.5), ("nau", 100): (0.242536, 0.242536)}
    for init, bound in zip(["xavier-uniform", "xavier-uniform-constrained"], known[layer, inputs], strict=True):
        p = SingleLayer.model_validate(
            {"input_size": inputs, "layer": layer} | ({"npu": {"init": init}} if inputs < 100 else {})
        )
        outputs = 2 if inputs == 100 else 1
        part = modules.build(layer, inputs, outputs, p).parts[0]
        assert part.init.high == pytest.approx(bound, abs=1e-6)


def test_many_features_are_reduced_in_pairs():
    from experiments.arithmetic.modules.base import product, total

    for count in (1, 2, 32, 33, 100, 129):
        x = torch.rand(count, 3) + 0.5
        torch.testing.assert_close(total(x), x.sum(0))
        torch.testing.assert_close(product(x, 0), x.prod(0))
        torch.testing.assert_close(product(x[None], 1)[0], x.prod(0))


def test_a_zero_in_one_lane_leaves_the_gradients_of_others_alone():
    module = modules.build("nmu", 40, 1, SingleLayer(input_size=40))
    x = torch.rand(40, 8, 4) + 0.5
    grads = []
    for planted in (1.0, 0.0):
        given = x.clone()
        given[3, :, 1] = planted
        w = torch.full((1, 40, 4), 0.75, requires_grad=True)
        module.forward({"W": w if planted else w + 0 * w}, given, training=True).sum().backward()
        grads.append(w.grad)
    assert torch.equal(grads[0][..., [0, 2, 3]], grads[1][..., [0, 2, 3]])
    assert math.isfinite(float(grads[1].sum()))
