"""The page of names has every name that is read, and says what it is here."""

import re
from pathlib import Path

import pytest

from experiments.arithmetic import original
from experiments.arithmetic.layers import ALIASES, VARIANTS
from experiments.arithmetic.params import SingleLayer
from experiments.arithmetic.sequences.sequence_params import readable_cell
from experiments.arithmetic.two_layer import TwoLayer
from orchestrator.experiment import flatten

PAGE = (Path(__file__).parents[2] / "docs" / "papers" / "arithmetic-names.md").read_text(encoding="utf-8")
MODULES, OPTIONS = (part.splitlines() for part in PAGE.partition("## Options")[::2])


@pytest.mark.parametrize("name", ALIASES)
def test_every_original_name_of_a_module_is_in_the_table(name):
    rows = [line.split("|") for line in MODULES if line.startswith("| ")]
    assert any(f"`{name}`" in row[3] and f"`{ALIASES[name]}`" in row[2] for row in rows)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_in_the_table(name):
    layer, group, option = VARIANTS[name]
    rows = [line.split("|") for line in MODULES if line.startswith("| ")]
    (row,) = (row for row in rows if f"`{name}`" in row[3])
    assert f"`{layer}`" in row[2]
    assert f"`{group}: {{" in row[2]
    assert next(iter(option.values())) in row[2]


def test_every_cells_name_is_there():
    for ours, theirs in re.findall(
        r"`([\w-]+)` \(`([\w-]+)`\)", PAGE.partition("Recurrent cells")[2].partition("##")[0]
    ):
        assert readable_cell(theirs) == ours


def test_every_option_of_the_command_line_is_in_the_table_and_no_other():
    known = vars(original.read("single_layer", []))
    listed = set(re.findall(r"(?<!`)`--([\w-]+)", "\n".join(OPTIONS)))
    assert listed == {name.replace("_", "-") for name in known}


def test_every_parameter_is_in_the_table():
    plain = {"l1": {}, "reinit": {}, "regulariser": {}, "identity": {}}
    leaves = set(flatten(TwoLayer(**plain))) | set(flatten(SingleLayer(layer="npu", npu={"regulariser": {}})))
    leaves = {leaf for leaf in leaves if leaf.partition(".")[0] != "distribution"} - {"npu.regulariser"}
    named = {
        name for line in OPTIONS if line.startswith("| `") for name in re.findall(r"`([\w.]+)`", line.split("|")[1])
    }
    # What the original has no option for: the streams, the size of the evaluation sets, forms that no figure uses.
    assert leaves - named - set(plain) == {
        "stream", "evaluation_size", "stop_when", "nmu.factor", "nmu.normalised"
    }  # fmt: skip
    assert named - leaves <= {"distribution", *plain}
