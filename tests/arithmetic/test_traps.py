"""The page of traps has every one, and the tests that it names are there. And the traps that no other file tests."""

import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from experiments.arithmetic import modules
from experiments.arithmetic.original import parameters, run_name
from experiments.arithmetic.params import SingleLayer
from orchestrator.experiment import flatten
from orchestrator.identity import run_id

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "papers" / "arithmetic-traps.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in PAGE.splitlines() if "| T" in line]


def test_every_trap_is_decided():
    assert [row[0] for row in ROWS] == [f"T{number}" for number in range(1, 47)]
    for number, original, here, shown in ROWS:
        assert original, number
        assert here, number
        assert shown, number


def test_the_tests_that_the_page_names_are_there():
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 40
    for file, name in named:
        assert f"def {name}(" in (TESTS / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_trap_8_there_is_no_zero_epsilon():
    assert not [path for path in flatten(SingleLayer(regulariser={}, identity={})) if "epsilon" in path]


@pytest.mark.parametrize("layer", ["NRU", "SignNMRU", "RealNPU", "NALU"])
def test_trap_12_no_shape_is_no_regulariser(layer):
    words = f"--layer-type {layer} --regualizer-scaling-start 0 --regualizer-scaling-end 10"
    none = parameters("single_layer", [*words.split(), "--regualizer-shape", "none"])
    zero = parameters("single_layer", [*words.split(), "--regualizer", "0"])
    assert SingleLayer.model_validate(none) == SingleLayer.model_validate(zero)
    assert SingleLayer.model_validate(none).regulariser is None
    with pytest.raises(ValidationError, match="shape"):
        SingleLayer(layer="nru", regulariser={"shape": "none"})


def test_trap_25_an_npus_sparsity_error_is_the_sum_of_two():
    npu = modules.build("npu", 2, 1, SingleLayer())
    w = {"W_real": [[0.9], [-1]], "W_im": [[0.3], [0]], "g": [0.5, 1]}
    errors = npu.errors({name: torch.tensor(value)[..., None] for name, value in w.items()})
    assert {tag: round(float(error), 6) for tag, error in errors.items()} == {
        "npu/W_real": 0.1, "npu/W_im": 0.3, "npu/W": 0.4, "npu/gate": 0.5,
    }  # fmt: skip


def test_trap_41_rates_below_the_names_precision_are_runs_of_their_own():
    lines = [["--layer-type", "NRU", "--learning-rate", rate] for rate in ("1e-6", "2e-6")]
    assert run_name("single_layer", lines[0]) == run_name("single_layer", lines[1])
    given = [SingleLayer.model_validate(parameters("single_layer", line)) for line in lines]
    assert len({run_id("arithmetic.single_layer", 2, flatten(p)) for p in given}) == 2
