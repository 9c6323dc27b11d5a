"""The reference itself, against numbers one can reckon by hand (and the schedules it shares with nobody)."""

import itertools
import math

import numpy as np
import pytest
import torch

from experiments.arithmetic.params import SingleLayer
from tests.arithmetic.plain_compounds import MODULES
from tests.arithmetic.plain_modules import EPS32, sparsity_error
from tests.arithmetic.reference import Run, betas, ramp


def module(layer, weights, gates=None, **values):
    p = SingleLayer.model_validate({"layer": layer, "operation": "div", "input_size": 2} | values)
    made = MODULES[layer](p, 2, 1).double()
    own = made.W_real if layer == "real-npu" else made.W
    own.data = torch.tensor(weights, dtype=torch.float64).reshape(own.shape)
    if gates is not None:
        made.g.data = torch.tensor(gates, dtype=torch.float64)
    return made


GOLD = [("real-npu", [1, -1], [1, 1]), ("nmru", [1, 0, 0, 1], None), ("nru", [1, -1], None)]
X = torch.tensor([[-6.0, 3.0], [6.0, -3.0], [-6.0, -3.0], [6.0, 3.0]], dtype=torch.float64)


@pytest.mark.parametrize(("layer", "weights", "gates"), GOLD)
@pytest.mark.parametrize("training", [True, False])
def test_gold_weights_divide(layer, weights, gates, training):
    made = module(layer, weights, gates).train(training)
    y = made(X).detach().ravel()
    torch.testing.assert_close(y, torch.tensor([-2.0, -2, 2, 2], dtype=torch.float64), rtol=1e-6, atol=0)
    assert sparsity_error(made.sparse()[0].detach()) == 0


def test_trap_5_real_npu_keeps_its_epsilon_at_evaluation_nmru_only_in_training_nru_has_none():
    npu = module("real-npu", [1, -1], [1, 1]).eval()
    assert float(npu(X)[0].detach()) == pytest.approx(-math.exp(math.log(6 + EPS32) - math.log(3 + EPS32)), rel=1e-14)
    nmru = module("nmru", [1, 0, 0, 1])
    assert float(nmru.eval()(X)[3].detach()) == pytest.approx(2, rel=1e-14)
    assert float(nmru.train()(X)[3].detach()) == pytest.approx(6 / (3 + EPS32), rel=1e-14)
    nru = module("nru", [1, -1])
    assert [float(nru.train(mode)(X)[3].detach()) for mode in (True, False)] == pytest.approx([2, 2], rel=1e-14)


def test_trap_6_the_gates_of_an_nru_differ_between_training_and_evaluation():
    nru = module("nru", [0.5, 0])
    root = math.sqrt(6)
    assert float(nru.train()(X)[3].detach()) == pytest.approx(root)
    assert float(nru.eval()(X)[3].detach()) == pytest.approx(root * 0.5 + 0.5)


def test_an_nru_without_weights_multiplies_by_one_and_its_gate_opens_at_a_hundredth():
    assert module("nru", [0, 0]).train()(X).detach().ravel().tolist() == [1, 1, 1, 1]
    assert np.float32(np.tanh(np.float32(1000 * 0.01)) ** 2) == 1


def test_separate_signs_of_an_nru():
    separate, together = (module("nru", [1, -1], nru={"signs": s}) for s in ("separate", "together"))
    torch.testing.assert_close(separate(X), together(X))
    odd = module("nru", [0.4, -1], nru={"signs": "separate"})
    assert float(odd(X)[0].detach()) == pytest.approx(
        6**0.4 / 3
    )  # the sign of an input whose weight rounds to 0 is lost


def test_trap_4_a_gate_at_its_bounds_still_gets_its_gradient():
    npu = module("real-npu", [1, -1], [0, 1])
    npu(X).sum().backward()
    assert (npu.g.grad != 0).all()


def test_beta_changes_every_ten_thousand_iterations():
    values = list(itertools.islice(betas(1e-9, 1e-7, 10_000, 10), 50_001))
    assert [values[i] for i in (0, 9_999, 10_000, 19_999, 20_000, 49_999)] == [1e-9, 1e-9, 1e-8, 1e-8, 1e-7, 1e-7]


def test_the_ramp_starts_and_ends_where_it_says():
    assert [ramp(i, 40_000, 50_000) for i in (0, 40_000, 45_000, 50_000, 60_000)] == [0, 0, 0.5, 1, 1]


def test_traps_2_and_3_one_update_more_than_max_iterations_and_metrics_before_it():
    p = SingleLayer(stream="legacy", max_iterations=20, log_interval=5, evaluation_size=100)
    run = Run(p)
    first = run.evaluate()
    logged = list(run.train())
    assert [step for step, _ in logged] == [0, 5, 10, 15, 20]
    assert logged[0][1] == first
    assert run.iteration == 21
    assert run.evaluate() != logged[-1][1]
