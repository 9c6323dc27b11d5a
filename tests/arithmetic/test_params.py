"""The parameters of the single-layer task: defaults, programs, and what is refused."""

import json
import subprocess
import sys

import jsonschema
import pytest
from pydantic import ValidationError

from experiments.arithmetic.layers import ALIASES
from experiments.arithmetic.params import SINGLE_LAYER, SingleLayer
from experiments.arithmetic.penalties import beta_levels
from experiments.arithmetic.ranges import read_range
from orchestrator.experiment import find, flatten, lane_paths, program_of
from orchestrator.grid import expand, load
from orchestrator.identity import run_id

MODIFIED = {"clip": "wg", "init": "xavier-uniform-constrained", "regulariser": {"start": 40_000, "end": 50_000}}


def make(**values):
    return SingleLayer.model_validate(values)


def test_the_experiment_is_installed_and_needs_no_torch():
    found = find("arithmetic.single_layer")
    assert (found.params, found.train, found.version) == (SingleLayer, SINGLE_LAYER.train, 3)
    code = "import sys, experiments.arithmetic.params, experiments.arithmetic.data; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_the_defaults_are_those_of_the_originals_command_line():
    p = make()
    assert (p.operation, p.input_size, p.batch_size, p.learning_rate) == ("add", 2, 128, 1e-3)
    assert (p.interpolation, p.extrapolation) == ([1, 2], [2, 6])
    assert (p.optimiser, p.clip_grad_norm, p.l1, p.log_interval, p.evaluation_size) == (
        "adam",
        None,
        None,
        1000,
        10_000,
    )
    assert (p.npu.clip, p.npu.init, p.npu.regulariser, p.nru.signs) == ("none", "xavier-uniform", None, "together")
    l1 = make(l1={}).l1
    assert (l1.start, l1.end, l1.step, l1.growth) == (1e-5, 1e-4, 10_000, 10)


def test_trap_11_the_regularisers_weight_is_10_where_none_is_given():
    assert make(regulariser={"start": 20_000, "end": 35_000}).regulariser.weight == 10


@pytest.mark.parametrize(
    "model",
    [
        {"layer": "real-npu", "learning_rate": 5e-3, "l1": {"start": 1e-9, "end": 1e-7}},
        {"layer": "real-npu", "learning_rate": 5e-3, "l1": {"start": 1e-9, "end": 1e-7}, "npu": MODIFIED},
        {"layer": "nru", "learning_rate": 1, "regulariser": {"start": 20_000, "end": 35_000}},
        {"layer": "nmru", "learning_rate": 1e-2, "clip_grad_norm": 1, "regulariser": {"start": 20_000, "end": 35_000}},
    ],
)
def test_the_runs_of_one_model_in_figure_3_are_one_program(model):
    ranges = [([-2, -1], [-6, -2]), ([-2, 2], [[-6, -2], [2, 6]]), ([[1, 2], [-2, -1], []], [[2, 6], [-6, -2], []])]
    programs = {
        program_of(
            flatten(make(operation="div", seed=seed, interpolation=inside, extrapolation=outside, **model)),
            lane_paths(SingleLayer),
        )
        for seed in range(3)
        for inside, outside in ranges
    }
    assert len(programs) == 1


def test_options_at_their_defaults_are_the_same_run():
    spelled_out = make(layer="real-npu", npu={"clip": "none", "init": "xavier-uniform"}, nru={})
    ids = {run_id("arithmetic.single_layer", 1, flatten(p)) for p in (spelled_out, make(layer="real-npu"))}
    assert len(ids) == 1


@pytest.mark.parametrize(
    "original",
    [name for name in ALIASES if name not in ("ReLU", "ReLU6", "Tanh", "Sigmoid", "Softsign", "SELU", "ELU")],
)
def test_the_originals_names_of_modules_name_the_same_runs(original, tmp_path):
    ids = set()
    for name in (original, ALIASES[original]):
        path = tmp_path / "grid.yaml"
        path.write_text(f"study: s\nexperiment: arithmetic.single_layer\naxes: {{layer: [{name}], seed: 0..1}}\n")
        points = expand(load(path, file=str(path)))
        ids.add(tuple(points.id(i) for i in range(len(points))))
        assert {points.params(i)["layer"] for i in range(len(points))} == {ALIASES[original]}
    assert len(ids) == 1


RANGES = {
    "one": ([1, 2], ((1, 2),), "element"),
    "tuple": ((0.1, 0.2), ((0.1, 0.2),), "element"),
    "union": ([[-6, -2], [2, 6]], ((-6, -2), (2, 6)), "element"),
    "mixed": ([[0.1, 2], [-2, -0.1], []], ((0.1, 2), (-2, -0.1)), "input"),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_has_three_forms(name):
    value, intervals, by = RANGES[name]
    assert read_range(value) == (intervals, by)
    assert make(interpolation=value).interpolation == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([2, 1], "its first number must be smaller"),
        ([1, 1], "its first number must be smaller"),
        ([[1, 2], [3, 5]], "equally wide, not 1 and 2"),
        *(
            (bad, "a range is [low, high]")
            for bad in (
                [], [1], [1, 2, 3], "1..2", 3, None, [True, 2], ["1", 2], [1, float("nan")], [[1, 2]],
                [[1, 2], [2, 3], [3, 4]], [[], []], [[1, 2], 3], {"low": 1},
            )
        ),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_a_sentence(value, says):
    with pytest.raises(ValidationError) as caught:
        make(interpolation=value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"layer": "nru", "npu": {"clip": "wg"}}, "options of mul-mcfc-real-npu, nmru-gated, npu, real-npu, but"),
        ({"layer": "nmru", "nru": {"signs": "separate"}}, "options of nru, but layer is nmru: leave nru out"),
        ({"layer": "real-npu", "regulariser": {}}, "set npu.regulariser instead"),
        ({"regulariser": {"start": 5, "end": 5}}, "must start before it ends, but start is 5 and end is 5"),
        ({"input_size": 1}, "2 subsets of 1 inputs need 2 inputs, but input_size is 1"),
        ({"subsets": 1, "operation": "div"}, "combines two subsets, but subsets is 1"),
        ({"subset_overlap": 2}, "must not be larger than subset_size"),
        ({"operation": "root", "interpolation": [-1, 1]}, "inputs that are not negative; mend the range interpolation"),
        ({"seed": 2**32}, "less than 4294967296"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"l1": {"step": 1e4}}, "valid integer"),
        ({"clip_grad_norm": -1}, "greater than 0"),
        ({"layer": "nalu", "regulariser": {}}, "and nalu has none"),
        ({"layer": "inalu", "identity": {}}, "inalu has no R_z"),
        ({"layer": "nalu", "nalu": {"multiplication": "nmu"}}, "set weights: separate as well"),
        ({"layer": "real-npu", "npu": {"clip": "wig"}}, "write wg"),
        ({"layer": "real-npu", "npu": {"regulariser": {"scale": "beta"}}}, "there is no l1: add one"),
        ({"momentum": 0.9}, "belongs to optimiser sgd"),
        ({"layer": "nmu", "nmu": {"noise": [5, 1]}}, "a range of positive factors"),
        ({"layer": "nalu-nau", "nmu": {"noise": [1, 5]}}, "the units within nalu-nau have no noise"),
        ({"nau": {"init": "beta", "noise": True}, "stream": "legacy"}, "set stream: counter"),
        ({"distribution": {"kind": "benford"}}, "Benford's law draws from [10, 100]"),
        ({"distribution": {"kind": "cauchy"}}, "uniform"),
        ({"layer": "ReRegularisedLinearNAC"}, "nau"),
        ({"layer": "relu"}, "linear"),
        ({"bounds": {"lowest": 0.5}}, "less than 0.5"),
    ],
)  # fmt: skip
def test_checks_across_parameters_name_them(values, says):
    with pytest.raises(ValidationError) as caught:
        make(**values)
    assert says in str(caught.value)


def test_reciprocal_of_a_single_input_is_a_task():
    assert make(operation="reciprocal", subsets=1, input_size=1).span == 1


def test_every_parameter_is_described_and_the_schema_knows_the_three_forms_of_a_range():
    schema = SingleLayer.model_json_schema()
    groups = {"SingleLayer": schema, **schema["$defs"]}
    for group, definition in groups.items():
        for name, about in definition["properties"].items():
            assert about.get("description"), f"{group}.{name}"
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(schema)))
    for value, _, _ in RANGES.values():
        assert validator.is_valid({"interpolation": list(value)})
    assert not validator.is_valid({"interpolation": [1]})
    assert not validator.is_valid({"interpolation": [[1, 2], [2, 3], [3, 4]]})


def test_trap_10_beta_grows_in_decimal_numbers():
    assert 1e-11 * 10 * 10 < 1e-9
    assert 1e-7 * 10 * 10 < 1e-5
    assert beta_levels(1e-9, 1e-7) == [1e-9, 1e-8, 1e-7]
    assert beta_levels(1e-11, 1e-9) == [1e-11, 1e-10, 1e-9]
    assert beta_levels(1e-7, 1e-5) == [1e-7, 1e-6, 1e-5]
    assert beta_levels(1e-1, 10) == [0.1, 1, 10]
    assert beta_levels(1e-3, 1e-5) == [1e-3, 1e-4, 1e-5]
    assert beta_levels(1e-5, 1e-5) == [1e-5]
    assert beta_levels(3e-5, 1e-4) == [3e-5, 3e-4]
