"""The grids of the division paper: how many runs, how many programs, and the hyper-parameters of the paper."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from experiments.arithmetic.params import SingleLayer
from orchestrator.experiment import lane_paths, nest, program_of
from orchestrator.grid import expand, load

ROOT = Path(__file__).parents[2]

# (interpolation, extrapolation) of the paper's nine data sets, in the order of its job scripts.
RANGES = [
    ([-20, -10], [-40, -20]),
    ([-2, -1], [-6, -2]),
    ([-1.2, -1.1], [-6.1, -1.2]),
    ([-0.2, -0.1], [-2, -0.2]),
    ([-2, 2], [[-6, -2], [2, 6]]),
    ([0.1, 0.2], [0.2, 2]),
    ([1, 2], [2, 6]),
    ([1.1, 1.2], [1.2, 6]),
    ([10, 20], [20, 40]),
]


def runs(name):
    path = ROOT / "jobs" / name
    points = expand(load(path, file=str(path)))
    return [(points.label(i), points.params(i)) for i in range(len(points))]


@pytest.mark.parametrize(
    ("name", "count", "programs"), [("demo.yaml", 180, 4), ("arithmetic/fig3.yaml", 900, 4), ("smoke.yaml", 12, 2)]
)
def test_a_grid_has_its_runs_and_one_program_for_each_model(name, count, programs):
    found = runs(name)
    assert len(found) == count
    assert len({program_of(leaves, lane_paths(SingleLayer)) for _, leaves in found}) == programs


def test_the_demo_is_figure_3_with_fewer_seeds_and_its_own_random_numbers():
    whole = [(label, leaves | {"stream": "counter"}) for label, leaves in runs("arithmetic/fig3.yaml")]
    demo = runs("demo.yaml")
    assert demo == [(label, leaves) for label, leaves in whole if leaves["seed"] < 5]
    assert {leaves["seed"] for _, leaves in whole} == set(range(25))


def test_figure_3_has_the_papers_data_sets_and_hyper_parameters():
    first = [
        (label, SingleLayer.model_validate(nest(p))) for label, p in runs("arithmetic/fig3.yaml") if p["seed"] == 0
    ]
    models = {label["model"]: p for label, p in first}
    ranges = {label["range"]: (p.interpolation, p.extrapolation) for label, p in first}
    assert list(ranges.values()) == RANGES
    assert [f"U[{low},{high})" for (low, high), _ in RANGES] == list(ranges)

    for p in models.values():
        assert (p.operation, p.input_size, p.max_iterations, p.log_interval) == ("div", 2, 50_000, 1000)
        assert (p.batch_size, p.optimiser, p.evaluation_size, p.stream) == (128, "adam", 10_000, "legacy")
    baseline, modified = models["Real NPU (baseline)"], models["Real NPU (modified)"]
    for p in (baseline, modified):
        assert (p.layer, p.learning_rate, p.l1.start, p.l1.end, p.l1.step, p.l1.growth) == (
            "real-npu", 5e-3, 1e-9, 1e-7, 10_000, 10,
        )  # fmt: skip
    assert (baseline.npu.clip, baseline.npu.init, baseline.npu.regulariser) == ("none", "xavier-uniform", None)
    assert (modified.npu.clip, modified.npu.init) == ("wg", "xavier-uniform-constrained")
    ramp = modified.npu.regulariser
    assert (ramp.gate, ramp.weights, ramp.start, ramp.end) == (1, 1, 40_000, 50_000)
    for name, layer, rate, norm in [("NRU", "nru", 1, None), ("NMRU", "nmru", 1e-2, 1)]:
        p = models[name]
        assert (p.layer, p.learning_rate, p.clip_grad_norm, p.l1) == (layer, rate, norm, None)
        r = p.regulariser
        assert (r.weight, r.start, r.end, r.shape) == (10, 20_000, 35_000, "linear")


def test_the_success_table_marks_what_differs(tmp_path):
    (tmp_path / "tables").mkdir()
    counts = {"NMRU": 25, "Real NPU (modified)": 0}
    rows = [{"range": "U[-2,2)", "model": model, "runs": 25, "n": 25, "solved": k} for model, k in counts.items()]
    pd.DataFrame(rows).to_csv(tmp_path / "tables" / "summary.csv", index=False)
    script = [sys.executable, str(ROOT / "benchmarks" / "success_table.py")]
    shown = subprocess.run([*script, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert "25/25 (25) " in shown
    assert "0/25 (16) !" in shown
    missing = subprocess.run([*script, str(ROOT / "jobs")], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "write it with: orch export" in missing.stderr
