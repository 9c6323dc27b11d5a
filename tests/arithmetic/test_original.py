"""The papers' command lines: what they mean in our parameters, and that the grids are what their job scripts run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.arithmetic.layers import VARIANTS
from experiments.arithmetic.original import RANGES, array_task, grid, parameters, run_name
from experiments.arithmetic.params import SingleLayer
from experiments.arithmetic.two_layer import TwoLayer
from orchestrator.errors import UserError
from orchestrator.experiment import absent_values, flatten
from orchestrator.grid import expand, load
from orchestrator.identity import run_id

JOBS = Path(__file__).parents[2] / "jobs" / "arithmetic"

# The options of the division paper's job scripts.
RN = (
    "--layer-type RealNPU --nac-mul real-npu --learning-rate 5e-3 --regualizer-beta-start 1e-9"
    " --regualizer-beta-end 1e-7 --regualizer-shape none --regualizer 0"
)
BASELINE = f"{RN} --regualizer-l1"
WG = f"{BASELINE} --npu-clip wg"
GATE = (
    f"{WG} --regualizer-gate 1 --reg-scale-type madsen --regualizer-scaling-start 40000 --regualizer-scaling-end 50000"
)
MODIFIED = f"{GATE} --regualizer-npu-w 1 --npu-Wr-init xavier-uniform-constrained"
IN2, IN10 = (
    f" --regualizer-scaling-start {a} --regualizer-scaling-end {b}" for a, b in ((20000, 35000), (50000, 75000))
)
NRU = "--layer-type NRU --nac-mul mnac"
NMRU = "--layer-type SignNMRU --clip-grad-norm 1 --learning-rate 1e-2"
TEN = " --input-size 10 --subset-ratio 0.1 --overlap-ratio 0 --max-iterations 100000"
TWO = " --max-iterations 50000"
NPU10 = MODIFIED.replace("40000", "50000").replace("end 50000", "end 75000")
SCRIPTS = {
    ("fig3", "Real NPU (baseline)"): BASELINE + TWO,
    ("fig3", "Real NPU (modified)"): MODIFIED + TWO,
    ("fig3", "NRU"): f"{NRU} --learning-rate 1{IN2}{TWO}",
    ("fig3", "NMRU"): NMRU + IN2 + TWO,
    ("fig1a", "L1 off"): RN + TWO,
    ("fig1b", "[1e-5, 1e-3]"): BASELINE.replace("1e-9", "1e-5").replace("1e-7", "1e-3") + TWO,
    ("fig2a", "G"): BASELINE + " --npu-clip g" + TWO,
    ("fig2b", "G"): GATE + TWO,
    ("fig2b", "GW"): GATE + " --regualizer-npu-w 1" + TWO,
    ("fig2c", "Xavier-Uniform Constrained"): MODIFIED + TWO,
    ("fig8", "Real NPU (baseline)"): BASELINE + TEN,
    ("fig8", "Real NPU (modified)"): NPU10 + TEN,
    ("fig8", "NRU"): f"{NRU} --learning-rate 1e-3{IN10}{TEN}",
    ("fig8", "NMRU"): NMRU + IN10 + TEN,
    ("fig10", "1e-2"): f"{NRU} --learning-rate 1e-2{IN2}{TWO}",
    ("fig14", "L2"): BASELINE.replace("1e-7", "1e-5").replace("1e-9", "1e-7") + " --lp-norm 2" + TWO,
    ("fig15", "NPU (no constraints)"): NPU10.replace("RealNPU", "NPU") + TEN,
    ("fig15", "NPU (clip & reg)"): NPU10.replace("RealNPU", "NPU").replace("clip wg", "clip wig") + TEN,
    ("fig16", "{-1,0,1}"): NPU10 + " --realnpu-reg-type bias" + TEN,
    ("fig17", "vanilla"): "--layer-type NMRU --learning-rate 1e-2" + IN10 + TEN,
    ("fig17", "sign"): "--layer-type SignNMRU --learning-rate 1e-2" + IN10 + TEN,
    ("fig17", "gnc+sign+gating"): NMRU.replace("Sign", "GatedSign")
    + " --reg-scale-type madsen --regualizer-gate 1"
    + IN10
    + TEN,
    ("fig18", "1e-1"): NMRU.replace("1e-2", "1e-1") + IN10 + TEN,
    ("fig19", "sgd"): NMRU + " --optimizer sgd" + IN10 + TEN,
    ("fig20", "separate"): f"{NRU} --nru-div-mode div-sepSign --learning-rate 1e-3{IN10}{TEN}",
    ("fig21", "PCC"): NPU10 + " --train-criterion pcc" + TEN,
    ("fig22", "MAPE"): f"{NRU} --learning-rate 1e-3 --train-criterion mape{IN10}{TEN}",
}


def runs(name):
    path = JOBS / f"{name}.yaml"
    points = expand(load(path, file=str(path)))
    found = {}
    for i in range(len(points)):
        label = points.label(i)
        (model,) = (text for axis, text in label.items() if axis not in ("seed", "range"))
        found[model, label["range"], label["seed"]] = points.id(i)
    return found


def identity(words, experiment="single_layer", script="single_layer", params=SingleLayer, version=3):
    given = params.model_validate(parameters(script, words))
    later = absent_values(params)
    leaves = {path: value for path, value in flatten(given).items() if path not in later or value != later[path]}
    return run_id(f"arithmetic.{experiment}", version, leaves), given


@pytest.fixture(scope="module")
def points():
    found = {}
    return lambda name: found.setdefault(name, runs(name))


@pytest.mark.parametrize(("figure", "model"), SCRIPTS, ids="-".join)
def test_a_grids_runs_are_those_of_the_papers_job_scripts(figure, model, points):
    from orchestrator.identity import to_text

    for task in (0, 112, 224):
        seed, data = array_task(task)
        inside, outside = (str(over).replace(" ", "") for over in RANGES[data])
        words = [
            *SCRIPTS[figure, model].split(), "--operation", "div", "--seed", str(seed), "--interpolation-range", inside,
            "--extrapolation-range", outside, "--log-interval", "1000", "--no-cuda", "--no-save",
        ]  # fmt: skip
        low, high = RANGES[data][0]
        ours = to_text(points(figure)[model, f"U[{low},{high})", str(seed)])
        theirs, given = identity(words)
        assert theirs == ours, given


def test_the_name_of_a_run():
    words = f"{BASELINE} --operation div --interpolation-range [1,2] --extrapolation-range [2,6] --seed 0{TWO}".split()
    assert run_name("single_layer", words) == (
        "realnpu_op-div_oob-c_rs-linear-none_eps-0_rl-1000000-2000000_r-0.0-0-1_i-1-2_e-2-6_z-2-0.5-0.0_b128_s0_h2_z2"
        "_lr-adam-0.00500-0.0_D-u_n-1-5_L1T_rb-1e-09-1e-07-10000-10_rWnpu-0-W_rg-0_rH_clip-n_WrI-xu_nMF_gn-F_mse"
    )


@pytest.mark.parametrize(
    ("script", "line", "part", "place"),
    [
        ("single_layer", "--layer-type NRU --nru-div-mode div-sepSign", "nru-sS", 0),
        ("single_layer", "--layer-type NALU --nalu-two-nac --nalu-bias", "nalu-b-2n", 0),
        ("single_layer", "--interpolation-range [[-2,-0.1],[0.1,2],[]]", "i-[-2, -0.1]-[0.1, 2]", 7),
        ("single_layer", "--interpolation-range [-2,-1]", "i--2--1", 7),
        ("single_layer", "--sample-distribution truncated-normal -1 3 -10 3", "D-tn--1-3--10-3", 15),
        ("single_layer", "--sample-distribution benford", "D-b", 15),
        ("single_layer", "--train-criterion pcc-mse --trash-cell", "pcc-mse-25000-TC", 26),
        ("single_layer", "--clip-grad-norm 1", "gn-1.0", 25),
        ("simple_function_static", "--layer-type NAC --nac-mul normal", "nac-nac-n", 0),
        ("simple_function_static", "--layer-type NALU --nalu-two-nac --nalu-mul mnac", "nalu-nalu-2nm", 0),
        ("simple_function_static", "--simple", "z-simple", 9),
    ],
)
def test_parts_of_names(script, line, part, place):
    assert run_name(script, line.split()).split("_")[place] == part


def test_the_tasks_of_a_job_array():
    assert array_task(0) == (0, 0)
    assert array_task(8) == (0, 8)
    assert array_task(9) == (1, 0)
    assert array_task(224) == (24, 8)


@pytest.mark.parametrize(
    ("line", "layers"),
    [
        ("--layer-type NAC", ("nac", "nac")),
        ("--layer-type NAC --nac-mul normal", ("nac", "nac-mul")),
        ("--layer-type NAC --nac-mul mnac", ("nac", "sigma-nmu")),
        ("--layer-type PosNAC --nac-mul normal --first-layer NAC", ("nac", "nac-sigma")),
        (
            "--layer-type ReRegualizedLinearPosNAC --nac-mul normal --first-layer ReRegualizedLinearNAC",
            ("nau", "nac-nmu"),
        ),
        ("--layer-type ReRegualizedLinearNAC --nac-mul mnac", ("nau", "nmu")),
        ("--layer-type ReRegualizedLinearNAC --nac-mul real-npu", ("nau", "real-npu")),
        ("--layer-type ReLU6", ("relu6", "linear")),
        ("--layer-type linear", ("linear", "linear")),
        ("--layer-type ReRegualizedLinearNALU --nalu-two-nac --nalu-mul mnac", ("nalu-nau", "nalu-nau")),
        ("--layer-type NAC --first-layer MNAC", ("sigma-nmu", "nac")),
    ],
)
def test_the_second_layer_of_two(line, layers):
    _, given = identity([*line.split(), "--operation", "mul"], "two_layer", "simple_function_static", TwoLayer, 2)
    assert given.layers == layers
    assert (given.input_size, given.subset_size, given.subset_overlap) == (100, 25, 12)


@pytest.mark.parametrize(("name", "variant"), VARIANTS.items())
def test_variants_of_a_module_are_its_options(name, variant):
    layer, group, option = variant
    _, given = identity(["--layer-type", name])
    assert (given.layer, getattr(given, group).model_dump() | option) == (layer, getattr(given, group).model_dump())
    line = f"--layer-type {name.replace('MNAC', 'NAC')} --first-layer ReRegualizedLinearNAC --operation mul"
    if name.endswith("NALU"):
        expected = ("nau", "nalu")
    else:
        line += " --nac-mul mnac" if layer == "nmu" else " --nac-mul normal"
        expected = ("nau", "nmu" if layer == "nmu" else "nac-mul")
    _, given = identity(line.split(), "two_layer", "simple_function_static", TwoLayer, 2)
    assert given.layers == expected
    assert flatten(given)[f"{group}.{next(iter(option))}"] in option.values()


@pytest.mark.parametrize(
    ("script", "line", "said"),
    [
        ("single_layer", "--layer-type NALUU", "there is no module NALUU. Did you mean 'NALU'"),
        ("single_layer", "--layer-type NAC --simple", "--simple is a task for two layers"),
        ("single_layer", "--layer-type NRU --regualizer-scaling-start 9 --regualizer-scaling-end 8", "start is 9"),
        ("simple_function_static", "--layer-type NALU --nac-mul normal", "NALU is no NAC"),
        ("simple_function_static", "--layer-type RealNPU --nac-mul mnac", "there is no module RealMNAC"),
        ("simple_function_static", "--layer-type SoftmaxNAC --first-layer NAC", "a grid has one group nac"),
    ],
)
def test_what_no_grid_can_say_is_said(script, line, said):
    with pytest.raises(UserError, match=re.escape(said)):
        grid(script, line.split())


def test_other_options_have_their_place():
    line = (
        "--layer-type iNALU --operation add --clip-grad-value 0.1 --reinit --reinit-loss-thr 2 --max-iterations 100"
        " --sample-distribution exponential 0.5 --input-size 4 --subset-ratio 0.5"
    )
    _, given = identity(line.split())
    assert (given.reinit.threshold, given.clip_grad_value, given.distribution.scale, given.subset_size) == (
        2,
        0.1,
        0.5,
        2,
    )
    line = (
        "--layer-type ReRegualizedLinearMNAC --oob-mode regualized --regualizer-oob 0 --nmu-noise --noise-range [2,3]"
    )
    _, given = identity(line.split())
    assert (given.bounds.mode, given.bounds.weight, given.nmu.noise) == ("regularised", 0, (2, 3))
    assert given.regulariser is None  # its ramp begins after the last iteration
    _, given = identity(["--layer-type", "RealNPU", "--regualizer-gate", "1"])
    assert (given.l1.norm, given.npu.regulariser.scale, given.npu.regulariser.weights) == (0, "beta", 0)
    _, given = identity(["--layer-type", "ReLU"])
    assert given.layer == "linear"


def test_the_command_prints_a_grid_that_makes_the_run(tmp_path):
    words = f"single_layer {MODIFIED} --operation div --interpolation-range [-2,2]{TWO}".split()
    made = subprocess.run(
        [sys.executable, "-m", "experiments.arithmetic.original", *words], capture_output=True, text=True, check=True
    )
    assert made.stdout.startswith("# realnpu_op-div_")
    path = tmp_path / "grid.yaml"
    path.write_text(grid(words[0], words[1:]))
    points = expand(load(path, file=str(path)))
    from orchestrator.identity import to_text

    assert [to_text(points.id(0))] == [identity(words[1:])[0]]
    wrong = subprocess.run(
        [sys.executable, "-m", "experiments.arithmetic.original", "other"], capture_output=True, text=True
    )
    assert wrong.returncode == 2
