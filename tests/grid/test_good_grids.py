"""What grids mean: each feature of the file, on a small experiment with every kind of parameter."""

from itertools import islice

import pytest

from orchestrator import identity
from orchestrator.errors import UserError
from orchestrator.experiment import COMMAND, flatten, nest
from orchestrator.grid import expand, load, points
from orchestrator.points import Points

from .conftest import HERE
from .toy_experiment import Params

DESIGN = """\
set: {operation: div, max_iterations: 50_000, log_interval: 1000}
axes:
  seed: 0..24
  range:
    "[-20,-10)": {interpolation: [-20, -10]}
    "[1,2)":     {interpolation: [1, 2]}
  model:
    Real NPU: {layer: real-npu, learning_rate: 5e-3, l1: {start: 1e-9, end: 1e-7}}
    NMRU:     {layer: nmru, learning_rate: 1e-2, regulariser: {start: 20_000, end: 35_000}}
skip:
  - {model: Real NPU, range: "[1,2)", seed: 20..24}
also:
  - set: {input_size: 10}
    axes: {seed: 0..4}
resources: {cpus: 1, memory: 2G, time: 40m, lanes: auto}
export: {tags: ["metric/*", "sparsity/*"]}
figures:
  - {name: fig3, script: range_success, x: range, colour: model}
"""


def column(grid, path):
    """The value of one parameter at every point."""
    found = expand(grid)
    return [found.params(i).get(path, ...) for i in range(len(found))]


def values(grid, *paths):
    found = expand(grid)
    return [tuple(found.params(i).get(path, ...) for path in paths) for i in range(len(found))]


def test_the_grid_of_the_design_note(toy):
    grid = toy(DESIGN)
    found = expand(grid)
    assert grid.count() == len(found) == found.run_count() == 25 * 2 * 2 - 5 + 5 * 2 * 2
    assert found.label(0) == {"seed": "0", "range": "[-20,-10)", "model": "Real NPU"}
    assert found.params(0)["l1.start"] == 1e-9
    assert found.params(1)["regulariser.end"] == 35_000
    assert "regulariser.end" not in found.params(0)
    assert found.params(0)["regulariser"] is None
    assert found.params(94)["input_size"] == 2
    assert found.params(95)["input_size"] == 10
    assert (grid.resources.memory, grid.resources.time) == ("2G", "40m")
    assert (grid.export.tags, grid.figures[0].colour) == (["metric/*", "sparsity/*"], "model")


def test_a_grid_without_axes_is_one_run(toy):
    assert len(expand(toy(""))) == toy("").count() == 1


def test_the_last_axis_moves_fastest(toy):
    assert values(toy("axes: {seed: 0..1, input_size: [5, 6]}\n"), "seed", "input_size") == [
        (0, 5), (0, 6), (1, 5), (1, 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("seed: 0..3", [0, 1, 2, 3]),
        ("seed: 1_000..1_001", [1000, 1001]),
        ("seed: [0..1, 7, 9..9]", [0, 1, 7, 9]),
        ("seed: 5", [5]),
        ("seed: 5..5", [5]),
        ("input_size: -1..1", [-1, 0, 1]),
        ("learning_rate: [1e-3, 1_0, .5]", [1e-3, 10, 0.5]),
        ("learning_rate: {linear: {start: 1, stop: 2, count: 3}}", [1, 1.5, 2]),
        ("learning_rate: {log: {start: 1e-4, stop: 1e-1, count: 4}}", [1e-4, 1e-3, 1e-2, 1e-1]),
        ("max_iterations: {log: {start: 1_000, stop: 100_000, count: 3}}", [1000, 10_000, 100_000]),
        ("input_size: {linear: {start: 10, stop: 2, count: 5}}", [10, 8, 6, 4, 2]),
        ("interpolation: [[1, 2], [-20, -10]]", [[1, 2], [-20, -10]]),
        ("clip_norm: [null, 2]", [None, 2]),
        ('note: ["0..3", off, 2024-01-01, 1:30, "1"]', ["0..3", "off", "2024-01-01", "1:30", "1"]),
        ("l1.start: [1, 2]", [1, 2]),
    ],
)
def test_values_of_an_axis(axis, expected, toy):
    assert column(toy(f"axes: {{{axis}}}\n"), axis.partition(":")[0]) == expected


def test_random_values_are_the_same_for_ever(toy):
    def draw(generator, name="learning_rate"):
        return column(toy(f"axes: {{{name}: {{random: {{{generator}}}}}}}\n"), name)

    assert draw("start: 1e-4, stop: 1, count: 3, scale: log") == [0.097083525824, 0.140444871358, 0.0103889242445]
    assert draw("start: 1e-4, stop: 1, count: 3, scale: log, seed: 1") != draw(
        "start: 1e-4, stop: 1, count: 3, scale: log"
    )
    whole = draw("start: 1, stop: 3, count: 50", "input_size")
    assert set(whole) == {1, 2, 3}


def test_groups_merge_deep_and_null_removes(toy):
    grid = toy(
        "set: {l1: {start: 1, end: 9}, regulariser: {start: 3}, clip_norm: 5}\n"
        "axes: {m: {A: {l1.end: 4, regulariser: null, clip_norm: null}, B: {l1: null}, C: {regulariser: {end: 3e6}}}}\n"
    )
    assert values(grid, "l1.start", "l1.end", "regulariser", "regulariser.start", "regulariser.end", "clip_norm") == [
        (1, 4, None, ..., ..., None),
        (1e6, 2e6, ..., 3, 2e6, 5),  # l1 cannot be null: what was set is removed, and the default holds
        (1, 9, ..., 3, 3e6, 5),
    ]


def test_an_empty_group_is_there_with_its_defaults(toy):
    assert column(toy("set: {regulariser: {}}\n"), "regulariser.start") == [1e6]


def test_a_tagged_union_takes_its_member(toy):
    grid = toy("axes: {o: {A: {optimiser: {kind: sgd, momentum: 0.9}}, B: {optimiser: {kind: adam}}}}\n")
    paths = ("optimiser.kind", "optimiser.momentum", "optimiser.beta")
    assert values(grid, *paths) == [("sgd", 0.9, ...), ("adam", ..., 0.9)]


def test_a_list_of_groups_is_an_axis(toy):
    grid = toy("axes: {regulariser: [null, {start: 1}, {start: 2, end: 3}]}\n")
    assert column(grid, "regulariser.start") == [..., 1, 2]
    assert expand(grid).label(1) == {"regulariser": '{"start": 1}'}


def test_aliases_and_merges(toy):
    grid = toy("axes:\n  m:\n    A: &a {layer: nru, input_size: 3}\n    B: {<<: *a, input_size: 4}\n    C: *a\n")
    assert values(grid, "layer", "input_size") == [("nru", 3), ("nru", 4), ("nru", 3)]
    assert (len(expand(grid)), expand(grid).run_count()) == (3, 2)


def test_a_bundle_may_set_nothing_but_a_label(toy):
    found = expand(toy("axes: {panel: {left: {}, right: {}}}\n"))
    assert (len(found), found.run_count()) == (2, 1)
    assert [found.label(i)["panel"] for i in range(2)] == ["left", "right"]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("skip: {seed: 1}", {0, 2, 3}),
        ("skip: [{seed: 0..1}, {seed: [3]}]", {2}),
        ("skip: {layer: nmru}", set()),  # a default counts
        ("skip: {layer: nru, seed: 1}", {0, 1, 2, 3}),
        ("skip: {regulariser: null, seed: [0, 2]}", {1, 3}),
        ("skip: {l1.start: 1e6, seed: 3}", {0, 1, 2}),
        ("when: {if: {seed: 2..3}, drop: true}", {0, 1}),
        ("when: [{if: {seed: 1}, set: {layer: nru}}, {if: {layer: nru}, drop: true}]", {0, 2, 3}),
    ],
)
def test_conditions_drop_points(rule, kept, toy):
    grid = toy(f"axes: {{seed: 0..3}}\n{rule}\n")
    assert set(column(grid, "seed")) == kept
    assert grid.count() == len(expand(grid)) == len(kept)


def test_when_sets_in_order_and_sees_what_came_before(toy):
    grid = toy(
        "axes: {seed: 0..2, m: {A: {layer: nmru}, B: {layer: nru}}}\n"
        "when:\n"
        "  - if: {m: B, seed: [0, 1]}\n    set: {learning_rate: 0.1, input_size: '${10 + seed}'}\n"
        "  - if: {learning_rate: 0.1, seed: 0}\n    set: {learning_rate: '${learning_rate * 5}'}\n"
    )
    assert values(grid, "learning_rate", "input_size") == [
        (1e-3, 2), (0.5, 10), (1e-3, 2), (0.1, 11), (1e-3, 2), (1e-3, 2),
    ]  # fmt: skip


def test_derived_values(toy):
    grid = toy(
        "set:\n"
        '  input_size: "${seed + 2}"\n'
        '  note: "${m}-${layer}-${learning_rate}-$${x}"\n'
        '  interpolation: ["${-seed - 1}", "${2 ** seed}"]\n'
        '  max_iterations: "${log_interval}"\n'
        '  clip_norm: "${interpolation[1] / 2}"\n'
        '  l1: {start: "${seed}", end: "${l1.start + 1}"}\n'
        "axes: {seed: 0..1, m: {A: {layer: nru}}}\n"
    )
    first, second = (expand(grid).params(i) for i in range(2))
    assert (first["note"], first["max_iterations"]) == ("A-nru-0.001-${x}", 1000)
    assert (second["input_size"], second["interpolation"], second["clip_norm"]) == (3, [-2, 2], 1)
    assert (second["l1.start"], second["l1.end"]) == (1, 2)


def test_also_inherits_replaces_and_drops(toy):
    grid = toy(
        "set: {layer: nru, l1: {start: 1, end: 5}}\n"
        "axes: {seed: 0..1, operation: [mul, div]}\n"
        "when: [{if: {operation: div}, set: {input_size: 9}}]\n"
        "skip: [{seed: 1}]\n"
        "also:\n"
        "  - {set: {l1: {start: 2}}, axes: {operation: null, seed: [7]}}\n"
        "  - {axes: {seed: 0..1}}\n"
        "  - {base: none, axes: {seed: [8]}}\n"
    )
    assert values(grid, "seed", "operation", "layer", "l1.start", "l1.end", "input_size") == [
        (0, "mul", "nru", 1, 5, 2), (0, "div", "nru", 1, 5, 9),
        (7, "mul", "nru", 2, 5, 2),
        (0, "mul", "nru", 1, 5, 2), (0, "div", "nru", 1, 5, 9), (1, "mul", "nru", 1, 5, 2), (1, "div", "nru", 1, 5, 9),
        (8, "mul", "nmru", 1e6, 2e6, 2),
    ]  # fmt: skip
    found = expand(grid)
    assert (len(found), found.run_count()) == (8, 6)
    assert found.label(2) == {"seed": "7"}


def test_resources_of_sub_grids_and_bundles(toy):
    grid = toy(
        "resources: {memory: 1G}\n"
        "axes: {m: {A: {resources: {memory: 8G}}, B: {input_size: 3}}}\n"
        "also: [{set: {input_size: 4}, resources: {time: 2h, memory: 2G}}]\n"
    )
    found = expand(grid)
    assert grid.resources.memory == "1G"
    assert [found.resource(i) for i in range(4)] == [
        {"memory": "8G"}, {}, {"time": "2h", "memory": "8G"}, {"time": "2h", "memory": "2G"},
    ]  # fmt: skip


OVERRIDDEN = """\
set: {input_size: 3}
axes: {seed: 0..9, m: {A: {layer: nmru, learning_rate: 0.5}, B: {layer: nru}}}
also: [{axes: {m: null, seed: [20, 21]}}]
"""


@pytest.mark.parametrize(
    ("overrides", "count", "check"),
    [
        ([], 22, {"input_size": {3}}),
        (["seed=0..1"], 6, {"seed": {0, 1}}),
        (["seed=5"], 3, {"seed": {5}}),
        (["seed=[1, 2..3]"], 9, {"seed": {1, 2, 3}}),
        (["input_size=7"], 22, {"input_size": {7}}),
        (["learning_rate=0.25"], 22, {"learning_rate": {0.25}}),  # the command line wins over bundles
        (["l1.start=5", "l1.end=50_000"], 22, {"l1.start": {5}, "l1.end": {50_000}}),
        (["max_iterations=2000..2001"], 44, {"max_iterations": {2000, 2001}}),
        (["learning_rate={log: {start: 1, stop: 4, count: 3}}", "seed=0"], 9, {"learning_rate": {1, 2, 4}}),
        (["learning_rate=[1, 2]", "seed=0"], 6, {"learning_rate": {1, 2}}),
        (["interpolation=[3, 4]", "seed=0"], 3, {"interpolation": {(3, 4)}}),
        (["m=A"], 12, {"layer": {"nmru"}}),
        (["m=[B]", "seed=0"], 2, {"layer": {"nmru", "nru"}}),
        (["note=a b"], 22, {"note": {"a b"}}),
        (["note=x${seed}", "seed=1..2"], 6, {"note": {"x1", "x2"}}),
    ],
)
def test_overrides(overrides, count, check, toy):
    grid = toy(OVERRIDDEN, *overrides)
    found = expand(grid)
    assert grid.count() == len(found) == count
    for path, expected in check.items():
        seen = (found.params(i)[path] for i in range(count))
        assert {tuple(value) if isinstance(value, list) else value for value in seen} == expected
    assert grid.overrides == tuple(overrides)


def test_overrides_of_the_study_and_its_resources(toy):
    grid = toy("resources: {time: 40m, memory: 2G}\n", "study=other", "resources.time=2h", "resources.lanes=32")
    assert (grid.study, grid.resources.time, grid.resources.memory, grid.resources.lanes) == ("other", "2h", "2G", 32)


def test_a_command(toy):
    grid = toy(
        "command: python train.py problem.hyp.alpha=${problem.hyp.alpha} seed=${seed} name=${run.dir}\n"
        "set: {problem: {hyp: {beta: 2}}, lambda: 0.1}\n"
        "axes: {problem.hyp.alpha: [0.1, 1], seed: 0..2}\n"
        'when: [{if: {problem.hyp.alpha: 1}, set: {lambda: "${problem.hyp.beta * lambda}"}}]\n',
        head="study: s\n",
    )
    found = expand(grid)
    assert grid.experiment is COMMAND
    assert len(found) == 6
    assert found.params(3) == {
        "command": "python train.py problem.hyp.alpha=${problem.hyp.alpha} seed=${seed} name=${run.dir}",
        "problem.hyp.alpha": 1, "problem.hyp.beta": 2, "lambda": 0.2, "seed": 0,
    }  # fmt: skip
    other = toy("command: python other.py\naxes: {problem.hyp.alpha: [0.1, 1], seed: 0..2}\n", head="study: s\n")
    assert not set(map(found.id, range(6))) & set(map(expand(other).id, range(6)))


def test_a_command_grid_that_gains_a_parameter_elsewhere_keeps_its_runs(toy):
    one = "command: run ${alpha}\naxes: {alpha: [1, 2]}\n"
    more = one + "also: [{set: {beta: 3}}]\n"
    before, after = (expand(toy(body, head="study: s\n")) for body in (one, more))
    assert [before.id(i) for i in range(2)] == [after.id(i) for i in range(2)]


def test_ids_are_those_of_the_plain_way(toy):
    found = expand(toy(DESIGN))
    for i in range(len(found)):
        params = Params.model_validate(nest(found.params(i)))
        leaves = {path: leaf for path, leaf in flatten(params).items() if (path, leaf) != ("added", 1)}
        assert identity.to_text(found.id(i)) == identity.run_id("toy", 1, leaves)


def test_spelling_a_default_or_a_number_otherwise_changes_no_id(toy):
    def ids(body):
        found = expand(toy(body))
        return [found.id(i) for i in range(len(found))]

    assert ids("") == ids("set: {max_iterations: 50_000, learning_rate: 0.001, added: 1}\n")
    assert ids("set: {learning_rate: 1}\n") == ids("axes: {learning_rate: [1.0]}\n")
    assert ids("set: {added: 2}\n") != ids("")


def test_points_come_lazily_and_in_order(toy):
    grid = toy("axes: {seed: 0..999_999, input_size: 1..10}\n")
    assert grid.count() == 10_000_000
    first = list(islice(points(grid), 3))
    assert [(p.params["seed"], p.params["input_size"], p.label) for p in first] == [
        (0, 1, {"seed": "0", "input_size": "1"}),
        (0, 2, {"seed": "0", "input_size": "2"}),
        (0, 3, {"seed": "0", "input_size": "3"}),
    ]


def test_a_lazy_walk_meets_a_bad_point_when_it_comes(toy):
    stream = points(toy("axes: {input_size: [1, 2, x]}\n"))
    assert [next(stream).params["input_size"] for _ in range(2)] == [1, 2]
    with pytest.raises(UserError, match="at input_size x"):
        next(stream)


def test_a_file_is_named_by_its_path(tmp_path):
    path = tmp_path / "g.yaml"
    path.write_bytes(b"\xef\xbb\xbfstudy: s\nexperiment: toy_experiment:EXP\naxis: {}\n")
    with pytest.raises(UserError) as caught:
        load(path, project=HERE)
    assert str(caught.value).startswith(f"{path}:3:1: ")


def test_points_survive_their_dump(toy):
    found = expand(toy(DESIGN))
    again = Points.load(found.dump(), bytes(found.ids))
    assert all(again.params(i) == found.params(i) and again.label(i) == found.label(i) for i in range(len(found)))
    assert again.dump() == found.dump()
