"""The two-layer task: against a plain network of the same modules, and as lanes."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from experiments.arithmetic.two_layer import TWO_LAYER, TwoLayer
from orchestrator.experiment import find
from orchestrator.lanes import train
from orchestrator.lanes.engine import resolve
from orchestrator.lanes.testing import MemoryRecorder
from orchestrator.recorder import Orders
from tests.arithmetic.plain_compounds import MODULES, ordered
from tests.arithmetic.reference import DataSet, Run


class Network(nn.Module):
    """Two plain modules, one after the other."""

    def __init__(self, p):
        super().__init__()
        self.first = MODULES[p.first_layer](p, p.input_size, p.hidden_size)
        self.second = MODULES[p.second_layer](p, p.hidden_size, 1)

    def reset_parameters(self):
        self.first.reset_parameters()
        self.second.reset_parameters()

    def forward(self, x, noise=None):
        return self.second(self.first(x))

    def regularisers(self, x, noise=None):
        first, second = self.first.regularisers(x), self.second.regularisers(self.first(x))
        return {key: first.get(key, 0) + second.get(key, 0) for key in first | second}

    def clamp(self):
        self.first.clamp()
        self.second.clamp()

    def sparse(self):
        return self.first.sparse() + self.second.sparse()


class PlainRun(Run):
    def network(self):
        state = torch.get_rng_state()
        torch.manual_seed(self.p.seed)
        made = Network(self.p)
        made.reset_parameters()
        made.reset_parameters()
        made.rng = torch.get_rng_state()
        torch.set_rng_state(state)
        return made


RAMP = {"start": 10, "end": 40}
MODELS = {
    "NMU": {"first_layer": "nau", "second_layer": "nmu", "regulariser": RAMP},
    "NMU, R_z": {"first_layer": "nau", "second_layer": "nmu", "identity": {}, "bounds": {"mode": "regularised"}},
    "NAU": {"first_layer": "nau", "second_layer": "nau", "operation": "add", "regulariser": RAMP | {"weight": 0.01}},
    "NAC•": {"first_layer": "nac", "second_layer": "nac-mul"},
    "NAC•,σ": {"first_layer": "nac", "second_layer": "nac-sigma"},
    "NAC•,NMU": {"first_layer": "nau", "second_layer": "nac-nmu", "regulariser": RAMP},
    "NALU": {"first_layer": "nac", "second_layer": "nalu"},
    "gated NAU/NMU": {
        "first_layer": "nalu-nau",
        "second_layer": "nalu-nau",
        "nalu": {"weights": "separate", "multiplication": "nmu"},
        "regulariser": RAMP,
    },
    "ReLU6": {"first_layer": "ReLU6", "second_layer": "linear", "operation": "sub"},
}
TASKS = {
    "simple": {"simple": True, "input_size": 4},
    "default, smaller": {"input_size": 20, "subset_size": 5, "subset_overlap": 2},
    "three subsets": {"input_size": 9, "subsets": 3, "subset_size": 3, "subset_overlap": 0, "hidden_size": 3},
}


def make(**values):
    fixed = {"operation": "mul", "stream": "legacy", "max_iterations": 60, "log_interval": 10, "evaluation_size": 200}
    return TwoLayer.model_validate(fixed | values)


@pytest.mark.parametrize(
    ("model", "task"),
    [*((m, "simple") for m in MODELS), *(("NMU", t) for t in list(TASKS)[1:]), ("NAC•", "three subsets")],
)
def test_lanes_train_as_the_plain_network_does(model, task):
    params = [make(**(TASKS[task] | MODELS[model]), seed=seed) for seed in range(2)]
    recorder = MemoryRecorder(orders_at=lambda _: Orders(checkpoint=True))
    train(TWO_LAYER, params, recorder, engine=resolve("eager", "cpu"))
    weights = np.stack([snapshot.arrays["w"] for _, snapshot in recorder.checkpoints])
    compared = 0
    for lane, p in enumerate(params):
        followed = []
        for dtype in (torch.float32, torch.float64):
            run, rows = PlainRun(p, dtype), []
            errors = []
            for _, logged in run.train():
                rows.append(
                    torch.cat(
                        [w.detach().ravel() for part in (run.module.first, run.module.second) for w in ordered(part)]
                    )
                    .numpy()
                    .copy()
                )
                errors.append([logged["metric/valid/interpolation"], logged["metric/test/extrapolation"]])
            followed.append((np.array(rows), np.array(errors)))
        (single, _), (double, exact) = followed
        np.testing.assert_array_equal(weights[0, :, lane], single[0])
        rounding = np.maximum.accumulate(np.abs(single - double).max(1))
        settled = rounding < 1e-5
        assert (np.abs(weights[..., lane] - single).max(1) <= 5 * rounding + 1e-6)[settled].all()
        metrics = recorder.series(lane)[1][:, :2]
        np.testing.assert_allclose(metrics[settled], exact[settled], rtol=2e-3)
        compared += settled.sum()
    assert compared >= (0.25 if model == "NAC•" else 0.5) * len(params) * 7


def test_the_experiment_and_the_papers_defaults():
    found = find("arithmetic.two_layer")
    assert (found.params, found.version, found.cadence) == (TwoLayer, 2, "log_interval")
    p = TwoLayer()
    assert (p.input_size, p.subset_size, p.subset_overlap, p.subsets, p.hidden_size) == (100, 25, 12, 2, 2)
    assert (p.max_iterations, p.batch_size, p.learning_rate, p.interpolation, p.extrapolation) == (
        5_000_000, 128, 1e-3, [1, 2], [2, 6],
    )  # fmt: skip
    assert p.span == 38


def test_the_simple_task_is_a_sum_of_four_and_one_of_two_and_draws_no_offset():
    p = make(**TASKS["simple"], seed=5)
    assert p.subset_ranges() == [(0, 4), (0, 2)]
    rng = np.random.RandomState(5)
    from experiments.arithmetic.data import structure

    assert structure(p).stream_seed == rng.randint(0, 2**32 - 1)
    data = DataSet.__new__(DataSet)
    data.p, data.subsets = p, [(0, 4), (0, 2)]
    x, t = data.sample(np.random.RandomState(1), [1, 2], 5)
    np.testing.assert_allclose(t, x.sum(1) * x[:, :2].sum(1))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"simple": True}, "has 4 inputs, but input_size is 100"),
        ({"second_layer": "relu"}, "nau"),
        ({"first_layer": "linear", "second_layer": "linear", "regulariser": {}}, "and linear has none"),
        ({"first_layer": "nac", "second_layer": "nac-mul", "npu": {"clip": "wg"}}, "but layer is nac, nac-mul"),
    ],
)
def test_checks_across_parameters_name_them(values, says):
    with pytest.raises(ValidationError) as caught:
        TwoLayer.model_validate(values)
    assert says in str(caught.value)
