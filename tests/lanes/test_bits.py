"""A run's numbers are the same bits whoever trains beside it.

Alone, among many, in another order, in a smaller stack, resumed beside lanes at other steps, next to lanes that hold
NaN or infinity: for each module, both streams, and both engines.
"""

from __future__ import annotations

import numpy as np
import pytest

from experiments.arithmetic.params import SINGLE_LAYER, SingleLayer
from orchestrator.lanes import loop, train
from orchestrator.lanes.engine import resolve
from orchestrator.lanes.testing import MemoryRecorder
from orchestrator.recorder import Orders, Snapshot

RAMP = {"start": 10, "end": 30}
L1 = {"start": 1e-3, "end": 1e-1, "step": 7}
LAYERS = {
    "nau": {"layer": "nau", "operation": "add", "learning_rate": 1e-2, "regulariser": RAMP | {"weight": 0.01}},
    "nmu": {"layer": "nmu", "operation": "mul", "learning_rate": 1e-2, "regulariser": RAMP},
    "nru": {"layer": "nru", "operation": "div", "learning_rate": 1e-1, "regulariser": RAMP},
    "nmru": {"layer": "nmru", "operation": "div", "learning_rate": 1e-2, "regulariser": RAMP, "clip_grad_norm": 1.0},
    "real-npu": {
        "layer": "real-npu",
        "operation": "div",
        "learning_rate": 5e-3,
        "l1": L1,
        "npu": {"clip": "wg", "regulariser": RAMP},
    },
}
RANGES = [
    ([-20, -10], [-40, -20]),
    ([-2, 2], [[-6, -2], [2, 6]]),
    ([[-2, -1], [1, 2]], [2, 6]),
    ([[-2, -1], [1, 2], []], [2, 6]),
    ([0.1, 0.2], [0.2, 2]),
    ([1.1, 1.2], [1.2, 6]),
    ([10, 20], [20, 40]),
]
SIMPLE = [over for over in RANGES if not isinstance(over[0][0], list)]
SMALL = {"max_iterations": 40, "log_interval": 10, "evaluation_size": 40}

EAGER = [(layer, stream, "eager") for layer in LAYERS for stream in ("counter", "legacy")]
COMPILED = [(layer, "counter" if layer in ("nau", "real-npu") else "legacy", "compiled") for layer in LAYERS]
COUNT = {"eager": 70, "compiled": 33}
"""Lanes together: widths 128 and 48, while few lanes have 64 and 16."""


def lanes_of(layer, stream, count, ranges):
    """Unlike lanes of one program: seeds, ranges, learning rates."""
    values = SMALL | LAYERS[layer] | {"stream": stream}
    return [
        SingleLayer.model_validate(
            values
            | {
                "seed": 7 * lane,
                "interpolation": ranges[lane % len(ranges)][0],
                "extrapolation": ranges[lane % len(ranges)][1],
                "learning_rate": values["learning_rate"] * (1 + lane % 3),
            }
        )
        for lane in range(count)
    ]


def trained(params, engine, restored=None, orders=lambda _: Orders(checkpoint=True)):
    recorder = MemoryRecorder(orders)
    train(SINGLE_LAYER, params, recorder, engine=engine, restored=restored)
    return recorder


def fingerprint(recorder, lane):
    """Everything a lane has logged after step 0's row, its last checkpoint, its verdict: as bytes."""
    rows = [(step, values.tobytes()) for step, values in recorder.rows.get(lane, [])]
    last = [(s.select(np.flatnonzero(lanes == lane))) for lanes, s in recorder.checkpoints if lane in lanes][-1:]
    state = [(s.steps.tolist(), {name: a.tobytes() for name, a in s.arrays.items()}) for s in last]
    return rows, state, recorder.verdicts.get(lane)


@pytest.fixture(scope="module")
def together():
    """Train the whole set once for each program."""
    made = {}

    def get(layer, stream, kind):
        key = (layer, stream, kind)
        if key not in made:
            # Ranges that draw in other ways make large programs, which take long to compile.
            params = lanes_of(layer, stream, COUNT[kind], RANGES if kind == "eager" else SIMPLE)
            made[key] = params, trained(params, resolve(kind, "cpu"))
        return made[key]

    return get


@pytest.mark.parametrize("program", EAGER + COMPILED, ids="-".join)
def test_alone_few_and_reordered(program, together):
    params, all_of_them = together(*program)
    engine = resolve(program[2], "cpu")
    assert all(len(all_of_them.rows[lane]) == 5 for lane in range(len(params)))
    count = len(params)
    for chosen in ([3], [count - 1, 0, 11, 5, 2, 8, 30]):
        few = trained([params[lane] for lane in chosen], engine)
        for place, lane in enumerate(chosen):
            assert fingerprint(few, place) == fingerprint(all_of_them, lane)
    order = np.random.default_rng(0).permutation(count)
    shuffled = trained([params[lane] for lane in order], engine)
    for place, lane in enumerate(order.tolist()):
        assert fingerprint(shuffled, place) == fingerprint(all_of_them, lane)


@pytest.mark.parametrize("program", EAGER + COMPILED, ids="-".join)
def test_resumed_beside_lanes_at_other_steps(program, together):
    params, all_of_them = together(*program)
    engine = resolve(program[2], "cpu")
    stopped = trained(params, engine, orders=lambda n: Orders(stop=n == 2))
    ((_, snapshot),) = stopped.checkpoints
    old, new = [20, 4, 9], [1, 6]
    company = [params[lane] for lane in new] + [params[lane] for lane in old]
    resumed = trained(company, engine, restored=(np.array([2, 3, 4]), snapshot.select(old)))
    for place, lane in enumerate(new + old):
        rows, state, verdict = fingerprint(all_of_them, lane)
        if lane in old:
            assert rows[:3] == fingerprint(stopped, lane)[0]
            rows = rows[3:]
        assert fingerprint(resumed, place) == (rows, state, verdict)


@pytest.mark.parametrize("program", EAGER + COMPILED, ids="-".join)
def test_lanes_that_go_bad_touch_nobody(program, together, monkeypatch):
    params, all_of_them = together(*program)
    engine = resolve(program[2], "cpu")
    stopped = trained(params, engine, orders=lambda n: Orders(stop=n == 1))
    ((_, snapshot),) = stopped.checkpoints
    few = [8, 3, 30]
    bad = [lane for lane in range(len(params)) if lane not in few]
    w = snapshot.arrays["w"].copy()
    # A zero couples lanes where gradients are careless, a large number where vector code is.
    w[:, bad] = np.resize([np.nan, np.inf, -np.inf, 0, 1e4], len(bad))
    planted = Snapshot(snapshot.steps, dict(snapshot.arrays) | {"w": w})

    widths = []
    stack = loop.Stack
    monkeypatch.setattr(loop, "Stack", lambda *given: widths.append(given[1]) or stack(*given))
    monkeypatch.setitem(loop.REPACKING_COST, program[2], 0)
    resumed = trained(params, engine, restored=(np.arange(len(params)), planted))
    for lane in few:
        rows, state, verdict = fingerprint(all_of_them, lane)
        assert fingerprint(resumed, lane) == (rows[2:], state, verdict)
    # NAU and NMRU clamp an infinite weight back into bounds: such a lane goes on.
    assert {resumed.verdicts[lane] for lane in bad[::5]} == {("diverged", 10)}
    if all(resumed.verdicts[lane][0] == "diverged" for lane in bad):
        assert widths[-1] < widths[0]


@pytest.mark.parametrize("program", [("nmru", "legacy", "eager"), ("nmru", "legacy", "compiled")], ids="-".join)
def test_fewer_lanes_in_a_smaller_stack(program, together, monkeypatch):
    params, all_of_them = together(*program)
    monkeypatch.setitem(loop.REPACKING_COST, program[2], 0)
    left = [2, 7, 9, 20, 31]
    gone = frozenset(range(len(params))) - set(left)
    orders = lambda n: Orders(checkpoint=True, cancelled=gone if n == 2 else frozenset())  # noqa: E731
    repacked = trained(params, resolve(program[2], "cpu"), orders=orders)
    for lane in left:
        assert fingerprint(repacked, lane) == fingerprint(all_of_them, lane)
    assert set(repacked.verdicts) == set(left)
