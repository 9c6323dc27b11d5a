"""The contract: what a parameter class says about its lanes, its leaves and its programs."""

from typing import Annotated, Literal

import pytest
from annotated_types import Gt
from pydantic import ValidationError

from orchestrator.errors import UserError
from orchestrator.experiment import (
    Absent,
    Experiment,
    ExperimentParams,
    Group,
    Lane,
    absent_values,
    fields,
    find,
    flatten,
    lane_paths,
    nest,
    program_of,
)


class Ramp(Group):
    start: Lane[float] = 1e6
    end: Lane[Annotated[float, Gt(0)]] = 2e6


class Late(Group):
    width: Annotated[int, Absent(3)] = 3


class Params(ExperimentParams):
    layer: Literal["nmru", "nru"] = "nmru"
    learning_rate: Lane[Annotated[float, Gt(0)]] = 1e-3
    regulariser: Ramp | None = None
    added: Annotated[int, Absent(1)] = 1
    late: Annotated[Late | None, Absent(None)] = None


def test_the_leaves_of_a_class_are_dotted_paths():
    assert [path for path, _ in fields(Params)] == [
        "seed", "layer", "learning_rate", "regulariser.start", "regulariser.end", "added", "late.width",
    ]  # fmt: skip
    assert lane_paths(Params) == {"seed", "learning_rate", "regulariser.start", "regulariser.end"}
    assert absent_values(Params) == {"added": 1, "late": None, "late.width": 3}


def test_flatten_and_nest_undo_each_other():
    params = Params(regulariser=Ramp(start=1.0))
    assert Params.model_validate(nest(flatten(params))) == params
    assert flatten(Params())["regulariser"] is None


def test_lanes_share_a_program_whatever_their_values():
    def program(**values):
        return program_of(flatten(Params(**values)), lane_paths(Params))

    assert program(seed=1, learning_rate=0.5) == program(seed=2)
    assert program(layer="nru") != program()
    assert program(regulariser=Ramp()) != program()
    assert program(regulariser=Ramp(start=1.0)) == program(regulariser=Ramp(end=3.0))


@pytest.mark.parametrize(
    "values",
    [{"learning_rate": "0.1"}, {"learning_rate": -1.0}, {"learing_rate": 0.1}, {"seed": True}, {"seed": -1},
     {"learning_rate": float("nan")}, {"layer": "NMRU"}],
)  # fmt: skip
def test_parameters_are_strict(values):
    with pytest.raises(ValidationError):
        Params.model_validate(values)


def test_an_unknown_experiment_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'arithmetic.single_layer'"):
        find("arithmetic.single_laier")


def test_a_users_experiment_is_found_in_their_project(tmp_path):
    (tmp_path / "their_params.py").write_text(
        "from orchestrator.experiment import Experiment, ExperimentParams\n"
        "class P(ExperimentParams):\n    rate: float = 1.0\n"
        "EXP = Experiment('theirs', params=P, train='their_train:train', form='run')\n"
    )
    experiment = find("their_params:EXP", project=tmp_path)
    assert isinstance(experiment, Experiment)
    assert experiment.params().rate == 1.0


@pytest.mark.parametrize(
    "name", ["no_such_module_anywhere:EXP", "orchestrator.experiment:NO", "orchestrator.experiment:LANE"]
)
def test_an_experiment_that_cannot_be_loaded_is_a_sentence(name):
    with pytest.raises(UserError, match=name):
        find(name)
