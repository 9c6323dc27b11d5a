"""The JSON Schema accepts and refuses what ``load`` and ``expand`` do, as far as a schema can."""

import jsonschema
import pytest
from ruamel.yaml import YAML

from orchestrator.experiment import Experiment
from orchestrator.grid import json_schema

from .test_good_grids import DESIGN
from .toy_experiment import EXP, Ramp


@pytest.fixture(scope="module")
def validator():
    class Other(EXP.params):
        width: int = 1

    schema = json_schema([EXP, Experiment("other.one", params=Other, train="x:y")])
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def as_an_editor_reads_it(text):
    """YAML 1.2 without our extensions: underscored numbers and spans are text."""
    return YAML(typ="safe", pure=True).load(text.replace("50_000", "'50_000'").replace("20_000", "'20_000'"))


GOOD = {
    "design": "experiment: toy\n" + DESIGN,
    "nothing": "experiment: toy\n",
    "own experiment": "experiment: my_pkg.params:EXP\nset: {anything: 1}\n",
    "command": "command: run ${a}\nset: {b: {c: 1}}\naxes: {a: [1, 2], m: {A: {a: 1}}}\n",
    "dotted": "experiment: toy\nset: {l1.start: 1, optimiser.momentum: 0.5}\naxes: {l1.end: [2, 3]}\n",
    "generators": "experiment: toy\naxes: {learning_rate: {log: {start: 1e-3, stop: 1, count: 4}}}\n",
    "derived": "experiment: toy\nset: {input_size: '${seed + 1}'}\n",
    "null": "experiment: toy\nset: {clip_norm: null, regulariser: null}\n",
    "part of a group": "experiment: toy\naxes: {m: {A: {optimiser: {beta: 0.5}}, B: {regulariser: {end: 3e6}}}}\n",
    "spans in a list": "experiment: toy\naxes: {seed: [0..4, 10]}\n",
    "also": "experiment: toy\naxes: {seed: 0..3}\nalso: [{axes: {seed: null}, resources: {time: 4h}}, {base: none}]\n",
    "when": "experiment: toy\nwhen: [{if: {seed: 0..3}, set: {layer: nru}}, {if: {layer: nru}, drop: true}]\n",
    "bundle resources": "experiment: toy\naxes: {m: {A: {resources: {memory: 3G}}}}\n",
    "summary": "experiment: toy\nexport: {summary: {select: a, error: b, threshold: 1e-5}}\n",
    "the other": "experiment: other.one\nset: {width: 3}\n",
}
BAD = {
    "unknown section": "experiment: toy\naxis: {}\n",
    "unknown parameter": "experiment: toy\nset: {lerning_rate: 1}\n",
    "parameter of the other": "experiment: toy\nset: {width: 3}\n",
    "unknown in a group": "experiment: toy\nset: {l1: {stat: 1}}\n",
    "unknown in a bundle": "experiment: toy\naxes: {m: {A: {layr: nru}}}\n",
    "wrong choice": "experiment: toy\nset: {layer: NRU}\n",
    "wrong choice on an axis": "experiment: toy\naxes: {layer: [nru, NAU]}\n",
    "wrong type": "experiment: toy\nset: {flag: 3}\n",
    "text for a number": "experiment: toy\nset: {learning_rate: fast}\n",
    "below its bound": "experiment: toy\nset: {learning_rate: -1}\n",
    "no unit": "experiment: toy\nresources: {time: 40}\n",
    "unit of nothing": "experiment: toy\nresources: {time: 40x}\n",
    "memory": "experiment: toy\nresources: {memory: 2X}\n",
    "empty axis": "experiment: toy\naxes: {seed: []}\n",
    "rule without if": "experiment: toy\nwhen: [{set: {layer: nru}}]\n",
    "generator": "experiment: toy\naxes: {learning_rate: {log: {start: 1e-3, stop: 1}}}\n",
    "figure": "experiment: toy\nfigures: [{name: a}]\n",
    "both": "experiment: toy\ncommand: ls\n",
    "neither": "",
    "unknown experiment": "experiment: tyo\n",
    "also": "experiment: toy\nalso: [{figures: []}]\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_grids_pass(name, validator):
    errors = [error.message for error in validator.iter_errors(as_an_editor_reads_it("study: s\n" + GOOD[name]))]
    assert not errors


@pytest.mark.parametrize("name", BAD)
def test_bad_grids_fail(name, validator):
    assert not validator.is_valid(as_an_editor_reads_it("study: s\n" + BAD[name]))


def test_a_study_name_is_required(validator):
    assert not validator.is_valid({"experiment": "toy"})


def test_descriptions_reach_the_editor():
    schema = json_schema([EXP])
    assert schema["$defs"]["toy.set"]["properties"]["seed"]["description"] == "seed of data and initial values"
    assert Ramp.__name__ in "".join(schema["$defs"])
