"""The grids of the papers: how many runs, how many programs, their thresholds, and Figure 3's hyper-parameters."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from experiments.arithmetic import thresholds
from experiments.arithmetic.params import SingleLayer
from orchestrator.experiment import find, lane_paths, nest, program_of
from orchestrator.grid import expand, load

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import success_table  # noqa: E402

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


def points_of(name):
    path = ROOT / "jobs" / name
    return expand(load(path, file=str(path)))


def runs(name):
    points = points_of(name)
    return [(points.label(i), points.params(i)) for i in range(len(points))]


# Runs and programs of every grid; a program trains as lanes, a run of its own where there is none.
GRIDS = {
    "demo": (180, 4), "smoke": (12, 2),
    "arithmetic/fig1a": (450, 2), "arithmetic/fig1b": (1575, 1), "arithmetic/fig2a": (900, 4),
    "arithmetic/fig2b": (675, 2), "arithmetic/fig2c": (450, 2), "arithmetic/fig3": (900, 4),
    "arithmetic/fig4": (125, 1), "arithmetic/fig6": (450, 9), "arithmetic/fig7": (450, 9),
    "arithmetic/fig8": (900, 4), "arithmetic/fig10": (900, 1), "arithmetic/fig11": (375, 3),
    "arithmetic/fig12": (375, 3), "arithmetic/fig13": (375, 3), "arithmetic/fig14": (675, 3),
    "arithmetic/fig15": (675, 3), "arithmetic/fig16": (450, 2), "arithmetic/fig17": (1125, 3),
    "arithmetic/fig18": (675, 1), "arithmetic/fig19": (450, 2), "arithmetic/fig20": (450, 2),
    "arithmetic/fig21": (675, 3), "arithmetic/fig22": (675, 3), "arithmetic/fig23": (675, 3),
    "arithmetic/primer/fig14": (1125, 5), "arithmetic/primer/fig15": (1125, 5), "arithmetic/primer/fig16": (1575, 7),
    "arithmetic/primer/fig17": (1350, 6), "arithmetic/primer/fig18": (225, 1), "arithmetic/primer/fig19": (450, 2),
    "arithmetic/primer/fig20": (225, 1), "arithmetic/primer/mcfc_add": (450, 2), "arithmetic/primer/mcfc_mul": (900, 4),
    "arithmetic/stable_nalu/function_task_static": (6600, 66),
    "arithmetic/stable_nalu/function_task_static_learning": (4500, 24),
    "arithmetic/stable_nalu/function_task_static_mul_hidden_size": (2700, 54),
    "arithmetic/stable_nalu/function_task_static_mul_hidden_size_ablation": (1800, 36),
    "arithmetic/stable_nalu/function_task_static_mul_input_size": (4200, 84),
    "arithmetic/stable_nalu/function_task_static_mul_num_subsets": (1000, 40),
    "arithmetic/stable_nalu/function_task_static_mul_overlap": (1800, 36),
    "arithmetic/stable_nalu/function_task_static_mul_range": (2100, 6),
    "arithmetic/stable_nalu/function_task_static_mul_subset": (1200, 24),
    "arithmetic/stable_nalu/function_task_static_nalu": (600, 6),
    "arithmetic/stable_nalu/function_task_static_regualization": (900, 3),
    "arithmetic/stable_nalu/simple_mul": (500, 5),
    "arithmetic/stable_nalu/sequential_mnist_prod_long": (80, 0),
    "arithmetic/stable_nalu/sequential_mnist_prod_reference": (10, 0),
    "arithmetic/stable_nalu/sequential_mnist_sum_long": (60, 0),
    "arithmetic/stable_nalu/sequential_mnist_sum_reference": (10, 0),
    "arithmetic/stable_nalu/sequential_mnist_prod_interpolation": (100, 0),
    "arithmetic/stable_nalu/sequential_mnist_prod_outputs": (180, 0),
    "arithmetic/stable_nalu/sequential_svhn_prod_long": (25, 0),
    "arithmetic/stable_nalu/sequential_svhn_prod_reference": (5, 0),
    "arithmetic/stable_nalu/number_translation": (30, 0),
    "arithmetic/stable_nalu/simple_function_recurrent": (180, 0),
}  # fmt: skip


def test_no_grid_is_forgotten():
    files = {str(path.relative_to(ROOT / "jobs").with_suffix("")) for path in (ROOT / "jobs").rglob("*.yaml")}
    assert {name for name in files if name.startswith("arithmetic/")} == {n for n in GRIDS if n.startswith("arith")}


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_has_its_runs_and_one_program_for_each_model(name):
    points, (count, programs) = points_of(f"{name}.yaml"), GRIDS[name]
    assert len(points) == points.run_count() == count
    experiment = find(points_experiment(name))
    if experiment.form == "lanes":
        lanes = lane_paths(experiment.params)
        assert len({program_of(points.params(i), lanes) for i in range(count)}) == programs


def points_experiment(name):
    text = (ROOT / "jobs" / f"{name}.yaml").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith("experiment:"))


@pytest.mark.parametrize("name", [name for name in GRIDS if name.startswith("arithmetic/")])
def test_a_grids_comment_counts_its_runs_and_names_its_command(name):
    text = (ROOT / "jobs" / f"{name}.yaml").read_text()
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    assert f"= {GRIDS[name][0]} runs" in comment
    assert f"orch run jobs/{name}.yaml" in comment
    # What it costs: measured where it was run in full, else estimated, or a reason why it was not run.
    assert re.search(
        r"Measured: \d+(\.\d)? CPU-minutes|Estimated: [^.]+; not run in full\.|[Nn]ot run (in full )?here", comment
    )


def thresholds_of(name):
    path = ROOT / "jobs" / "arithmetic" / f"{name}.yaml"
    return load(path, file=str(path)).export.summary.threshold


@pytest.mark.parametrize(("figure", "level"), [(11, "easy"), (12, "medium"), (13, "hard")])
def test_thresholds_of_small_numbers_are_the_commands_rounded_up(figure, level):
    suffix = {"NRU": "", "Real NPU": ".realnpu", "NMRU": ".nmru"}
    rows = {(row["parameter"], row["extrapolation.range"]): row["epsilon"] for row in thresholds.zero_ranges()}
    (tree,) = thresholds_of(f"fig{figure}").values()
    assert list(tree) == ["Real NPU", "NRU", "NMRU"]
    for model, branch in tree.items():
        for label, value in branch["range"].items():
            exact = rows[f"zero.range.{level}{suffix[model]}", label.replace(")", "]")]
            # A 50,000th more, and rounded up; another library may round otherwise in the last bits.
            assert exact * (1 - 1e-5) <= value <= exact * (1 + 1.5e-4)


@pytest.mark.parametrize(
    ("figure", "operation", "inputs"),
    [("fig14", "add", 2), ("fig15", "sub", 2), ("fig16", "mul", 2), ("fig17", "div", 2), ("fig18", "add", 10),
     ("fig19", "add", 10), ("fig20", "sub", 100), ("mcfc_add", "add", 2), ("mcfc_mul", "mul", 2)],
)  # fmt: skip
def test_thresholds_of_the_primer_are_the_formulas(figure, operation, inputs):
    (tree,) = thresholds_of(f"primer/{figure}").values()
    points = points_of(f"arithmetic/primer/{figure}.yaml")
    seen = {points.label(i)["range"]: points.params(i)["extrapolation"] for i in range(len(points))}
    assert set(tree) == set(seen)
    for label, over in seen.items():
        low, high = over[1] if isinstance(over[0], list) else over
        expected = thresholds.primer_threshold(operation, inputs, low, high)
        assert tree[label] == pytest.approx(expected, rel=1e-5)


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


def table_of(tmp_path, name, rows):
    folder = tmp_path / name / "tables"
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "summary.csv", index=False)
    return folder.parent


def printed(*words):
    made = CliRunner().invoke(success_table.main, [str(word) for word in words])
    return made.output


def test_the_success_table_marks_what_differs(tmp_path):
    counts = {"NMRU": 25, "Real NPU (modified)": 0, "Real NPU (baseline)": 1}
    rows = [{"range": "U[-2,2)", "model": model, "runs": 25, "n": 25, "solved": k} for model, k in counts.items()]
    study = table_of(tmp_path, "fig3", rows)
    shown = printed(study)
    assert "25/25 (25) " in shown
    assert "0/25 (16) !" in shown
    assert "1/25 (0) *" in shown
    assert "1 of 3 as the reference" in shown
    page = printed("--markdown", study).splitlines()
    assert page[0] == "| model | U[-2,2) | all |"
    assert "| Real NPU (modified) | **0/25** (16)! | **0/25** (16)! |" in page
    assert "| Real NPU (baseline) | **1/25** (0) | **1/25** (0) |" in page


def test_the_success_table_compares_totals_where_no_more_is_published(tmp_path):
    rows = [{"range": r, "model": "NMRU", "runs": 25, "n": 25, "solved": k} for r, k in (("a", 25), ("None", 5))]
    shown = printed(table_of(tmp_path, "fig8", rows))
    assert "30/50 (45.78) !" in shown
    assert "0 of 1 as the reference" in shown
    assert "no run yet" in printed(table_of(tmp_path, "fig19", [row | {"n": 0, "model": "adam"} for row in rows]))


def test_the_success_table_of_a_study_with_several_axes_or_none_published(tmp_path):
    rows = [
        {"operation": op, "rate": rate, "model": "NAC+", "runs": 2, "n": n, "solved": 0}
        for op, rate, n in (("add", "1e-3", 2), ("mul", "None", 0))
    ]
    study = table_of(tmp_path, "own", rows)
    shown = printed("--markdown", study).splitlines()
    assert shown == [
        "| model | add · 1e-3 | mul · None | all |",
        "| --- | --- | --- | --- |",
        "| NAC+ | 0/2 | - | 0/2 |",
    ]
    assert "nothing is published" in printed(study / "tables" / "summary.csv")


def test_the_success_table_says_what_it_lacks(tmp_path):
    assert "write it with: orch export" in printed(ROOT / "jobs")
    other = table_of(tmp_path, "fig3", [{"range": "a", "model": "b", "runs": 1}])
    assert "has no column n, solved" in printed(other)


def test_what_is_published_has_the_names_of_the_grids():
    known = YAML(typ="safe").load(ROOT / "benchmarks" / "success_reference.yaml")
    grids = {load(path, file=str(path)).study: path for path in [ROOT / "jobs" / f"{name}.yaml" for name in GRIDS]}
    for study, reference in known["studies"].items():
        assert reference["source"] in known["sources"]
        if study in ("prod_long", "sum_long"):  # tables that benchmarks/mnist_success.py makes of two studies
            continue
        points = expand(load(grids[study], file=str(grids[study])))
        labels = [points.label(i) for i in range(len(points))]
        axes = [name for name in labels[0] if name != "seed"]
        models = {str(label[axes[-1]]) for label in labels}
        for counts in ("solved", "rates", "total"):
            assert set(reference.get(counts, {})) <= models, study
        columns = {" · ".join(str(label[axis]) for axis in axes[:-1]) for label in labels}
        assert set(reference.get("columns", columns)) == columns, study
        for row in (*reference.get("solved", {}).values(), *reference.get("rates", {}).values()):
            assert len(row) == len(columns)
