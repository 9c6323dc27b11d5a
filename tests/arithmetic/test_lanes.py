"""Every module's numbers are the same bits whoever trains beside it: alone, few, reordered, next to lanes gone bad.

``tests/lanes/test_bits.py`` does this at length for the modules of Figure 3, with restarts and smaller stacks.
"""

from __future__ import annotations

import numpy as np
import pytest

from experiments.arithmetic.params import SINGLE_LAYER, SingleLayer
from orchestrator.lanes import train
from orchestrator.lanes.engine import resolve
from orchestrator.lanes.testing import MemoryRecorder
from orchestrator.recorder import Orders, Snapshot
from tests.arithmetic.cases import CASES, POSITIVE

SMALL = {"max_iterations": 20, "log_interval": 10, "evaluation_size": 40, "operation": "mul", "batch_size": 33}
RANGES = [[-20, -10], [-2, 2], [[-2, -1], [1, 2]], [[-2, -1], [1, 2], []], [0.1, 0.2], [10, 20]]
COUNT = {"eager": 70, "compiled": 33}
"""Lanes together: widths 128 and 48, while few lanes have 64 and 16."""

NORMAL = {"kind": "truncated-normal", "mean": 1, "std": 3}
WAYS = CASES | {
    "normal": CASES["nmu"] | {"distribution": NORMAL},
    "exponential": CASES["nmu"] | {"distribution": {"kind": "exponential", "scale": 2}},
    "ten inputs": CASES["nmru"] | {"input_size": 10},
    "many inputs": CASES["nmu"] | {"input_size": 34, "subset_size": 12, "subset_overlap": 5},
    "momentum": CASES["nmru"] | {"optimiser": "sgd", "momentum": 0.9, "clip_grad_value": 0.1},
    "mape": CASES["nmu"] | {"criterion": "mape"},
    "pcc, then mse": CASES["nmu"] | {"criterion": "pcc-mse", "mse_from": 10},
    "l2": CASES["npu wig"] | {"l1": {"start": 1e-3, "end": 1e-1, "step": 7, "norm": 2}},
    "reinit": CASES["inalu"] | {"reinit": {"every": 2, "history": 4, "threshold": 0.0}},
    "no progress": CASES["inalu"] | {"reinit": {"every": 2, "history": 4}, "learning_rate": 1e-9},
}
EAGER = [(name, "legacy" if number % 2 else "counter", "eager") for number, name in enumerate(WAYS)]
# Compiling costs most of the time: two programs that have between them what the others are made of.
COMPILED = [(name, "counter", "compiled") for name in ("npu wig", "normal")]


def lanes_of(name, stream, count, kind):
    """Unlike lanes of one program: seeds, ranges, learning rates."""
    values = SMALL | WAYS[name] | {"stream": stream}
    ranges = RANGES if kind == "eager" else [over for over in RANGES if not isinstance(over[0], list)]
    if values["layer"] in POSITIVE:
        ranges = [[0.1, 0.2], [1, 2], [10, 20]]
    rate = values.get("learning_rate", 1e-2)
    return [
        SingleLayer.model_validate(
            values
            | {
                "seed": 7 * lane,
                "interpolation": ranges[lane % len(ranges)],
                "extrapolation": ranges[lane % len(ranges)],
                "learning_rate": rate * (1 + lane % 3),
            }
        )
        for lane in range(count)
    ]


def trained(params, engine, restored=None, orders=lambda _: Orders(checkpoint=True)):
    recorder = MemoryRecorder(orders)
    train(SINGLE_LAYER, params, recorder, engine=engine, restored=restored)
    return recorder


def fingerprint(recorder, lane):
    """Everything a lane has logged, its last checkpoint, its verdict: as bytes."""
    rows = [(step, values.tobytes()) for step, values in recorder.rows.get(lane, [])]
    last = [(s.select(np.flatnonzero(lanes == lane))) for lanes, s in recorder.checkpoints if lane in lanes][-1:]
    state = [(s.steps.tolist(), {name: a.tobytes() for name, a in s.arrays.items()}) for s in last]
    return rows, state, recorder.verdicts.get(lane)


@pytest.mark.parametrize("program", EAGER + COMPILED, ids="-".join)
def test_lanes_keep_their_bits(program):
    name, stream, kind = program
    engine = resolve(kind, "cpu")
    params = lanes_of(name, stream, COUNT[kind], kind)
    together = trained(params, engine)
    assert len(together.rows) == len(params)

    for chosen in ([3], [len(params) - 1, 0, 11, 5, 2, 8, 30]):
        few = trained([params[lane] for lane in chosen], engine)
        for place, lane in enumerate(chosen):
            assert fingerprint(few, place) == fingerprint(together, lane)

    order = np.random.default_rng(0).permutation(len(params))
    shuffled = trained([params[lane] for lane in order], engine)
    for place, lane in enumerate(order.tolist()):
        assert fingerprint(shuffled, place) == fingerprint(together, lane)

    # A zero couples lanes where gradients are careless, a large number where vector code is.
    stopped = trained(params, engine, orders=lambda n: Orders(stop=n == 1))
    ((_, snapshot),) = stopped.checkpoints
    left = [lane for lane in [8, 3, 30] if lane in stopped.checkpoints[0][0]]
    bad = [column for column, lane in enumerate(stopped.checkpoints[0][0]) if lane not in left]
    w = snapshot.arrays["w"].copy()
    w[:, bad] = np.resize([np.nan, np.inf, -np.inf, 0, 1e4], len(bad))
    planted = Snapshot(snapshot.steps, dict(snapshot.arrays) | {"w": w})
    resumed = trained(params, engine, restored=(stopped.checkpoints[0][0], planted))
    for lane in left:
        rows, state, verdict = fingerprint(together, lane)
        assert fingerprint(resumed, lane) == (rows[2:], state, verdict)
    assert left or name.startswith("mul-mcfc")


def test_a_run_that_draws_its_weights_anew_does_so():
    params = lanes_of("no progress", "legacy", 6, "eager")
    recorder = trained(params, resolve("eager", "cpu"))
    counts = [recorder.series(lane)[1][-1, recorder.tags.index("reinit/count")] for lane in recorder.rows]
    assert max(counts) > 1
