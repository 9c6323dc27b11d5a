"""The stacked modules against one plain module per lane, in float64: outputs, gradients, regularisers, clamping."""

import numpy as np
import pytest
import torch

from experiments.arithmetic import modules
from experiments.arithmetic.data import weight_init
from experiments.arithmetic.params import SingleLayer
from tests.arithmetic.reference import MODULES, sparsity_error

LAYERS = {
    "nau": {"layer": "nau"},
    "nau squared": {"layer": "nau", "regulariser": {"shape": "squared"}},
    "nmu": {"layer": "nmu"},
    "nmu squared": {"layer": "nmu", "regulariser": {"shape": "squared"}},
    "nru": {"layer": "nru"},
    "nru separate": {"layer": "nru", "nru": {"signs": "separate"}},
    "nmru": {"layer": "nmru"},
    "real-npu": {"layer": "real-npu"},
    "real-npu g": {"layer": "real-npu", "npu": {"clip": "g"}},
    "real-npu w": {"layer": "real-npu", "npu": {"clip": "w"}},
    "real-npu wg": {"layer": "real-npu", "npu": {"clip": "wg"}},
}
LANES, ROWS = 16, 40


@pytest.fixture
def double():
    """Let numbers that a module writes out, such as π, be float64 too."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=[(name, inputs) for name in LAYERS for inputs in (2, 5)], ids=lambda p: f"{p[0]}-in{p[1]}")
def stack(request):
    """A stacked module, its parameters w (P, L), one plain module per lane, and inputs x (I, B, L)."""
    name, inputs = request.param
    p = SingleLayer.model_validate({"input_size": inputs} | LAYERS[name])
    rng = np.random.default_rng(0)
    init = weight_init(p)
    scale = {"nmu": (-0.1, 1.1), "nmru": (-0.1, 1.1)}.get(p.layer, (-1.1, 1.1))
    w = rng.uniform(*scale, size=(init.count, LANES))
    w[:, 0] = np.arange(init.count) % 2  # gold-like values, at the bounds
    stacked = modules.build(p)
    gates = rng.uniform(-0.1, 1.1, size=(stacked.gates, LANES))
    gates[:, 0], gates[:, 1] = 1, 0
    plain = []
    for lane in range(LANES):
        module = MODULES[p.layer](p).double()
        module.W.data = torch.from_numpy(w[:, lane].reshape(module.W.shape).copy())
        if stacked.gates:
            module.g.data = torch.from_numpy(gates[:, lane].copy())
        plain.append(module)
    x = torch.from_numpy(rng.uniform(-3, 3, size=(inputs, ROWS, LANES)))
    return stacked, torch.from_numpy(np.concatenate([w, gates])), plain, x


def packed(module, read):
    """Return what ``read`` says of a plain module's parameters, packed as the lanes are: weights, then gates."""
    return torch.cat([read(parameter).ravel() for parameter in module.parameters()])


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients(stack, training):
    stacked, w, plain, x = stack
    t = torch.linspace(-2, 2, ROWS, dtype=torch.float64)
    w.requires_grad_()
    y = stacked.forward(w, x, training=training)
    (y - t[:, None]).square().mean(0).sum().backward()
    for lane, module in enumerate(plain):
        expected = module.train(training)(x[..., lane].T)
        torch.testing.assert_close(y[:, lane].detach(), expected[:, 0].detach())
        module.zero_grad()
        (expected[:, 0] - t).square().mean().backward()
        gradient = packed(module, lambda parameter: parameter.grad)
        torch.testing.assert_close(w.grad[:, lane], gradient)


def test_regularisers_and_their_gradients(stack):
    stacked, w, plain, _ = stack
    terms = (
        {"W-NPU": stacked.weight_regulariser, "g-NPU": stacked.gate_regulariser}
        if stacked.gates
        else {"W": stacked.sparsity}
    )
    for key, term in terms.items():
        w = w.detach().requires_grad_()
        values = term(w)
        values.sum().backward()
        for lane, module in enumerate(plain):
            squared = key == "W" and module.p.regulariser is not None
            module.zero_grad()
            expected = module.regularisers()["W²" if squared else key].mean()
            expected.backward()
            torch.testing.assert_close(values[lane].detach(), expected.detach())
            gradient = packed(module, lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
            torch.testing.assert_close(w.grad[:, lane], gradient)


def test_clamping_and_sparsity_errors(stack):
    stacked, w, plain, _ = stack
    clamped = stacked.clamp(w)
    errors = stacked.errors(clamped)
    (tag,) = [tag for tag in errors if tag.endswith(("/W/sparsity_error", "/W_real/sparsity_error"))]
    for lane, module in enumerate(plain):
        module.clamp()
        torch.testing.assert_close(clamped[:, lane], packed(module, lambda p: p.detach()))
        assert float(errors[tag][lane]) == pytest.approx(sparsity_error(module.W.detach()))


def test_a_lane_is_the_same_alone_and_beside_others(stack):
    stacked, w, _, x = stack
    w, x = w.float(), x.float()
    together = stacked.forward(w, x, training=True)
    alone = torch.cat([stacked.forward(w[:, [lane]], x[..., [lane]], training=True) for lane in range(LANES)], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)


def test_trap_4_a_stacked_gate_at_its_bounds_still_gets_its_gradient():
    npu = modules.build(SingleLayer(layer="real-npu"))
    w = torch.tensor([[1.0], [-1.0], [0.0], [1.0]], requires_grad=True)
    npu.forward(w, torch.tensor([[[3.0]], [[5.0]]]), training=True).sum().backward()
    assert (w.grad[2:] != 0).all()


@pytest.mark.parametrize(("layer", "weights"), [("real-npu", [1, -1, 1, 1]), ("nmru", [1, 0, 0, 1]), ("nru", [1, -1])])
@pytest.mark.parametrize("training", [True, False])
def test_gold_weights_divide(layer, weights, training):
    module = modules.build(SingleLayer(layer=layer))
    w = torch.tensor(weights, dtype=torch.float32)[:, None].repeat(1, 4)
    y = module.forward(w, torch.tensor([[[-6.0, 6, -6, 6]], [[3.0, -3, -3, 3]]]), training=training)
    torch.testing.assert_close(y[0], torch.tensor([-2.0, -2, 2, 2]), rtol=1e-6, atol=0)
