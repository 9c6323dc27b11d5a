"""Lanes that train, against the plain reference: the same data, weights, schedules and order, up to rounding.

Single precision reckons in another order here and there, and training amplifies it. So the yardstick is the reference
itself: how far its own float32 run is from its own float64 run by then.
"""

import re

import numpy as np
import pytest
import torch

from experiments.arithmetic import penalty_terms
from experiments.arithmetic.params import SINGLE_LAYER, SingleLayer
from orchestrator.lanes import train
from orchestrator.lanes.engine import resolve
from orchestrator.lanes.testing import MemoryRecorder
from orchestrator.recorder import Orders
from tests.arithmetic.cases import CASES, POSITIVE
from tests.arithmetic.plain_compounds import ordered
from tests.arithmetic.reference import Run, betas

RANGES = [
    ([1, 2], [2, 6]),
    ([-2, 2], [[-6, -2], [2, 6]]),
    ([-20, -10], [-40, -20]),
    ([[0.1, 2], [-2, -0.1], []], [[2, 6], [-6, -2], []]),
]
RAMP = {"start": 20, "end": 80}
NMRU = {"layer": "nmru", "learning_rate": 1e-2, "clip_grad_norm": 1}
NPU = {"layer": "real-npu", "learning_rate": 5e-3}
MODELS = {
    "real-npu baseline": NPU | {"l1": {"start": 1e-3, "end": 1e-1, "step": 30}},
    "real-npu modified": NPU
    | {
        "l1": {"start": 1e-9, "end": 1e-7},
        "npu": {"init": "xavier-uniform-constrained", "clip": "wg", "regulariser": RAMP},
    },
    "nru": {"layer": "nru", "learning_rate": 1e-3, "regulariser": RAMP},
    "nru separate": {"layer": "nru", "learning_rate": 1e-3, "nru": {"signs": "separate"}, "regulariser": RAMP},
    "nmru": NMRU | {"regulariser": RAMP},
    "nmru sgd": NMRU | {"optimiser": "sgd"},
    "nmu": {"layer": "nmu", "operation": "mul", "regulariser": RAMP},
    "nau": {"layer": "nau", "operation": "add", "regulariser": {"weight": 0.01, "shape": "squared"} | RAMP},
}
OTHERS = {
    "momentum": NMRU | {"optimiser": "sgd", "momentum": 0.9},
    "gradient value": NMRU | {"clip_grad_norm": None, "clip_grad_value": 0.1},
    "mape": NMRU | {"criterion": "mape"},
    "pcc": NMRU | {"criterion": "pcc"},
    "pcc, then mse": NMRU | {"criterion": "pcc-mse", "mse_from": 35},
    "exponential": NMRU | {"regulariser": {"weight": 1000.0, "scale": "exponential"}},
    "l2": NPU | {"l1": {"start": 1e-3, "end": 1e-1, "step": 30, "norm": 2}},
    "npu l2": NPU | {"layer": "npu", "l1": {"start": 1e-3, "end": 1e-1, "step": 30, "norm": 2}},
    "beta alone": NPU
    | {"l1": {"start": 1e-3, "end": 1e-1, "step": 30, "norm": 0}, "npu": {"regulariser": {"scale": "beta"}}},
    "benford": NMRU | {"distribution": {"kind": "benford"}, "interpolation": [10, 100], "extrapolation": [100, 1000]},
}  # fmt: skip
LOGGED = ["metric/valid/interpolation", "metric/test/extrapolation"]
ADDITIVE, MULTIPLICATIVE = ("linear", "nac", "nau", "mcfc"), ("nmu", "nac-", "nalu", "sigma-nmu", "inalu", "mul-mcfc")


def make(model, **values):
    fixed = {"operation": "div", "stream": "legacy", "max_iterations": 100, "log_interval": 10, "evaluation_size": 500}
    return SingleLayer.model_validate(fixed | model | values)


def plain(p, dtype):
    """Return the parameters (rows, P) and metrics (rows, 2) of the reference at its log points."""
    run, weights, metrics = Run(p, dtype), [], []
    for _, logged in run.train():
        weights.append(run.packed)
        metrics.append([logged[tag] for tag in LOGGED])
    return np.array(weights), np.array(metrics)


def trained_weights(p):
    """Return the packed parameters of one lane at its log points, (rows, P)."""
    recorder = MemoryRecorder(orders_at=lambda _: Orders(checkpoint=True))
    train(SINGLE_LAYER, [p], recorder, engine=resolve("eager", "cpu"))
    return np.stack([snapshot.arrays["w"][:, 0] for _, snapshot in recorder.checkpoints])


def agree(params, enough):
    """Assert that lanes and reference agree, as long as the reference's own two precisions do."""
    recorder = MemoryRecorder(orders_at=lambda _: Orders(checkpoint=True))
    train(SINGLE_LAYER, params, recorder, engine=resolve("eager", "cpu"))
    weights = np.stack([snapshot.arrays["w"] for _, snapshot in recorder.checkpoints])  # (rows, P, L)
    tags = [recorder.tags.index(tag) for tag in LOGGED]
    compared = 0
    for lane, p in enumerate(params):
        single, single_metrics = plain(p, torch.float32)
        double, double_metrics = plain(p, torch.float64)
        steps, rows = recorder.series(lane)
        assert steps.tolist() == list(range(0, p.max_iterations + 1, 10))
        np.testing.assert_array_equal(weights[0, :, lane], single[0])

        rounding = np.maximum.accumulate(np.abs(single - double).max(1))
        settled = rounding < 1e-5  # beyond that the run is chaotic, and tells nothing
        apart = np.abs(weights[..., lane] - single).max(1)
        assert (apart <= 5 * rounding + 1e-6)[settled].all()
        rounding = np.abs(single_metrics - double_metrics)
        apart = np.abs(rows[:, tags] - double_metrics)
        assert (apart <= 5 * rounding + 1e-4 * double_metrics + 1e-9)[settled].all()
        compared += settled.sum()
    assert compared > enough * len(params) * len(steps)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [*((model, 2) for model in MODELS), ("real-npu modified", 10), ("nru separate", 10), ("nmru", 10), ("nau", 10)],
)
def test_lanes_train_as_the_reference_does(model, inputs):
    agree(
        [
            make(MODELS[model], input_size=inputs, seed=seed, interpolation=inside, extrapolation=outside)
            for seed, (inside, outside) in enumerate(RANGES)
        ],
        enough=0.6,
    )


@pytest.mark.parametrize("case", CASES)
def test_every_module_trains_as_the_reference_does(case):
    """From initial weights in the original's order, with noise from torch's generator, to 60 updates."""
    model = CASES[case]
    layer = model["layer"]
    operation = "add" if layer.startswith(ADDITIVE) and layer not in ("nac-mul", "nac-sigma", "nac-nmu") else "div"
    operation = "mul" if layer.startswith(MULTIPLICATIVE) else operation
    ranges = RANGES[:1] if layer in POSITIVE else RANGES[:2]
    agree(
        [
            make(model, operation=operation, seed=seed, max_iterations=60, interpolation=inside, extrapolation=outside)
            for seed, (inside, outside) in enumerate(ranges)
        ],
        enough=0.4,
    )


@pytest.mark.parametrize("case", ["npu", "nmru-gated", "nalu separate"])
def test_weights_are_logged_by_their_place(case):
    p = make(CASES[case], input_size=3, log_weights=True, max_iterations=20)
    recorder = MemoryRecorder()
    train(SINGLE_LAYER, [p], recorder, engine=resolve("eager", "cpu"))
    run = Run(p)
    own, rows = ordered(run.module), recorder.series(0)[1]
    for (_, _), row in zip(run.train(), rows, strict=True):
        logged = {tag: row[n] for n, tag in enumerate(recorder.tags) if tag.startswith("weights/layer_1/")}
        places = [place for w in own for place in np.ndindex(w.shape)]
        assert [tuple(map(int, re.findall(r"/(?=\d)(\d+)", tag))) for tag in logged] == places
        np.testing.assert_allclose(list(logged.values()), run.packed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_every_way_of_training_is_the_references(name):
    if name == "benford":  # the rest of a Benford number is drawn otherwise: only its evaluation sets are compared
        p = make(OTHERS[name])
        recorder = MemoryRecorder()
        train(SINGLE_LAYER, [p], recorder, engine=resolve("eager", "cpu"))
        before = Run(p).evaluate()
        np.testing.assert_allclose(recorder.series(0)[1][0, :2], [before[tag] for tag in LOGGED], rtol=1e-5)
        return
    agree([make(OTHERS[name], seed=seed) for seed in range(2)], enough=0.6)


@pytest.mark.parametrize(
    ("distribution", "inside"),
    [({"kind": "truncated-normal", "mean": -1, "std": 3, "test_mean": -10, "test_std": 3}, [-5, 10]),
     ({"kind": "exponential", "scale": 0.5}, [1, 2])],
)  # fmt: skip
def test_training_on_other_distributions_draws_the_originals_numbers(distribution, inside):
    agree(
        [
            make(MODELS["nau"], operation="sub", seed=seed, distribution=distribution, interpolation=inside)
            for seed in range(2)
        ],
        enough=0.9,
    )


def test_an_inalu_is_regularised_late_and_only_where_its_last_error_is_small(monkeypatch):
    """In truth after 10,000 iterations; the one run's error is below 1, the other's above."""
    monkeypatch.setattr(penalty_terms, "INALU_START", 25)
    monkeypatch.setattr(Run, "inalu_start", 25)
    model = CASES["inalu"] | {"operation": "add"}
    params = [make(model, max_iterations=60, interpolation=inside) for inside in ([0.1, 0.2], [10, 20])]
    agree(params, enough=0.9)
    recorder = MemoryRecorder()
    train(SINGLE_LAYER, params, recorder, engine=resolve("eager", "cpu"))
    small, large = (recorder.series(lane)[1][:, recorder.tags.index("loss/train/regualizer")] for lane in range(2))
    np.testing.assert_array_equal(small > 0, np.arange(0, 61, 10) > 25)
    assert (large == 0).all()


@pytest.mark.parametrize("error_stays", [True, False])
def test_weights_are_drawn_anew_where_training_makes_no_progress(error_stays):
    """A learning rate of almost nothing keeps the error where it is; a good start never asks for new weights."""
    # The reference and the lanes must reset at the same iterations and to the same numbers.
    model = {"layer": "inalu", "operation": "mul", "learning_rate": 1e-9, "reinit": {"history": 35, "every": 10}}
    inside, outside = ([10, 20], [20, 40]) if error_stays else ([0.1, 0.2], [0.2, 2])
    params = [
        make(model, seed=seed, max_iterations=200, log_interval=20, interpolation=inside, extrapolation=outside)
        for seed in range(3)
    ]
    recorder = MemoryRecorder(orders_at=lambda _: Orders(checkpoint=True))
    train(SINGLE_LAYER, params, recorder, engine=resolve("eager", "cpu"))
    for lane, p in enumerate(params):
        run, weights, counts = Run(p), [], []
        for _ in run.train():
            weights.append(run.packed)
            counts.append(run.resets)
        found = recorder.series(lane)[1][:, recorder.tags.index("reinit/count")]
        np.testing.assert_array_equal(found, counts)
        stacked = np.stack([snapshot.arrays["w"][:, lane] for _, snapshot in recorder.checkpoints])
        np.testing.assert_allclose(stacked, weights, atol=1e-6)
    assert (max(counts) > 1) == error_stays


def test_traps_2_and_3_lanes_log_before_the_update_and_make_one_more():
    p = make(MODELS["nmru"])
    recorder = MemoryRecorder()
    train(SINGLE_LAYER, [p], recorder, engine=resolve("eager", "cpu"))
    steps, rows = recorder.series(0)
    assert steps[-1] == p.max_iterations
    assert recorder.verdicts == {0: ("done", p.max_iterations)}
    before = Run(p).evaluate()
    np.testing.assert_allclose(rows[0, recorder.tags.index(LOGGED[0])], before[LOGGED[0]], rtol=1e-6)


def test_trap_13_a_run_whose_numbers_go_bad_is_a_result_and_harms_no_neighbour():
    good = make(MODELS["nmu"], interpolation=[1, 2])
    bad = make(MODELS["nmu"], interpolation=[-1e25, 1e25], extrapolation=[1, 2])  # the squared error overflows
    both, alone = MemoryRecorder(), MemoryRecorder()
    train(SINGLE_LAYER, [good, bad], both, engine=resolve("eager", "cpu"))
    train(SINGLE_LAYER, [good], alone, engine=resolve("eager", "cpu"))
    assert both.verdicts[1] == ("diverged", 0)
    assert both.verdicts[0] == ("done", 100)
    np.testing.assert_array_equal(both.series(0)[1], alone.series(0)[1])


@pytest.mark.parametrize("seed", range(3))
def test_a_second_moment_beyond_single_precision_rests_its_parameter_and_the_others_learn_on(seed):
    """1/x of inputs to 1e-4: squares of gradients overflow, and the gold weights are found all the same."""
    model = NPU | {"npu": {"init": "xavier-uniform-constrained", "clip": "wg"}}
    p = make(
        model, operation="reciprocal", input_size=1, subsets=1, seed=seed, max_iterations=400, log_interval=100,
        interpolation=[0, 1e-4], extrapolation=[0, 1e-4],
    )  # fmt: skip
    recorder = MemoryRecorder(orders_at=lambda _: Orders(checkpoint=True))
    train(SINGLE_LAYER, [p], recorder, engine=resolve("eager", "cpu"))
    last = recorder.checkpoints[-1][1].arrays
    assert recorder.verdicts == {0: ("done", 400)}
    assert (last["optimiser.second"] == np.finfo(np.float32).max).any()
    run = Run(p, torch.float32)
    list(run.train())
    assert last["w"][:, 0].tolist() == run.packed.tolist() == [-1, 1]


def test_trap_9_the_l1_penalty_includes_the_gates():
    weights = trained_weights(make(MODELS["real-npu baseline"], l1={"start": 10.0, "end": 10.0}))
    assert (weights[0, 2:] == 0.5).all()
    np.testing.assert_allclose(weights[2, 2:], 0.5 - 20 * 5e-3, atol=1e-3)  # Adam's full steps, towards 0


def test_the_ramp_applies_in_the_iteration_it_names():
    """A ramp from 50 to 51 is 0 in the update of step 50 and 1 in the next, so that the weights of step 52 differ."""
    unregularised = make(MODELS["nmru"] | {"regulariser": None}, log_interval=1)
    regularised = make(MODELS["nmru"] | {"regulariser": {"start": 50, "end": 51}}, log_interval=1)
    first, second = (trained_weights(p) for p in (unregularised, regularised))
    np.testing.assert_array_equal(first[:52], second[:52])
    assert (first[52] != second[52]).any()


def test_beta_applies_in_the_iteration_it_names():
    """β is multiplied at step 40 and takes effect in that update, so that the weights of step 41 differ."""
    still = make(MODELS["real-npu baseline"], l1={"start": 1e-2, "end": 1e-2}, log_interval=1)
    grown = make(MODELS["real-npu baseline"], l1={"start": 1e-2, "end": 1.0, "step": 40}, log_interval=1)
    first, second = (trained_weights(p) for p in (still, grown))
    np.testing.assert_array_equal(first[:41], second[:41])
    assert (first[41] != second[41]).any()


def test_trap_40_beta_is_logged_at_log_points_only():
    recorder = MemoryRecorder()
    p = make(MODELS["real-npu baseline"])
    train(SINGLE_LAYER, [p], recorder, engine=resolve("eager", "cpu"))
    steps, rows = recorder.series(0)
    logged = rows[:, recorder.tags.index("L1/train/beta")]
    expected = betas(p.l1.start, p.l1.end, p.l1.step, p.l1.growth)
    expected = np.array([next(expected) for _ in range(101)], np.float32)
    np.testing.assert_array_equal(logged, expected[steps])
