"""The grids of the thinking papers: as many runs as their launch files and scripts have, and what is in them."""

from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator.grid import expand, load

ROOT = Path(__file__).parents[2]

# Points and runs of every grid.
GRIDS = {
    "smoke": (45, 45), "quick": (6, 6), "think_longer": (6, 6), "legacy": (6, 6), "no_overthinking": (3, 3),
    "dt/prefix_sums": (7, 7), "dt/mazes": (14, 14), "dt/chess": (8, 8),
    "delta/train_chess": (1, 1), "delta/train_mazes": (1, 1), "delta/train_prefix_sums": (1, 1),
    "delta/test_chess": (1, 1), "delta/test_mazes": (1, 1), "delta/test_prefix_sums": (1, 1),
    "e2h/train_prefix_sums": (9, 9), "e2h/test_prefix_sums": (250, 245), "e2h/test_mazes": (1, 1),
    "e2h/train_chess": (5, 5), "e2h/test_chess": (8, 8),
}  # fmt: skip


def points_of(name):
    path = ROOT / "jobs" / "thinking" / f"{name}.yaml"
    return expand(load(path, file=str(path)))


def runs(name):
    points = points_of(name)
    return [points.params(i) for i in range(len(points))]


def test_no_grid_is_forgotten():
    folder = ROOT / "jobs" / "thinking"
    assert {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")} == set(GRIDS)


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_has_its_points_and_runs_and_its_comment_says_so(name):
    points = points_of(name)
    assert (len(points), points.run_count()) == GRIDS[name]
    text = (ROOT / "jobs" / "thinking" / f"{name}.yaml").read_text()
    comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    count = GRIDS[name][1]
    assert f"= {count} run{'s' * (count > 1)}" in comment
    assert f"orch run jobs/thinking/{name}.yaml" in comment


@pytest.mark.parametrize("name", [name for name in GRIDS if "/" in name])
def test_grids_for_gpus_ask_for_one_and_say_what_they_cost(name):
    path = ROOT / "jobs" / "thinking" / f"{name}.yaml"
    assert load(path, file=str(path)).resources.gpus == 1
    text = " ".join(path.read_text().replace("# ", "").split())
    assert "Not run" in text
    assert "Estimated cost:" in text
    assert "FLOP" in text or "seconds each" in text


def counted(name, *keys):
    return Counter(tuple(run[key] for key in keys) for run in runs(name))


def test_the_launch_files_of_dt():
    found = {(run["model"], run["alpha"], run["lr"]) for run in runs("dt/prefix_sums")}
    assert ("dt_net_1d", 1.0, 1e-4) in found
    assert ("dt_net_recall_1d", 1.0, 1e-3) in found
    assert {run["width"] for run in runs("dt/prefix_sums")} == {400}
    mazes = runs("dt/mazes")
    assert Counter(run["model"] for run in mazes) == {
        "dt_net_2d": 4, "dt_net_recall_2d": 4, "feedforward_net_2d": 3, "feedforward_net_recall_2d": 3,
    }  # fmt: skip
    assert {(run["epochs"], tuple(run["lr_schedule"])) for run in mazes} == {(50, (100,)), (200, (175,))}
    assert {(run["width"], run["lr_throttle"], run["test_data"]) for run in mazes} == {(128, True, 33)}
    chess = runs("dt/chess")
    assert sorted(run["alpha"] for run in chess) == [0, 0, 0, 0, 0.1, 0.1, 0.5, 0.5]
    assert {(run["width"], run["optimizer"], run["chess_orientation"]) for run in chess} == {(512, "sgd", "literal")}


@pytest.mark.parametrize("name", ["dt/prefix_sums", "dt/mazes", "dt/chess"])
def test_the_runs_of_dt_can_be_filtered_by_their_training(name):
    for run in runs(name):
        assert not run["quick_test"]
        low, high, step = (run[f"test_iterations_{word}"] for word in ("low", "high", "step"))
        assert run["max_iters"] in range(low, high + 1, step)


def test_nets_may_think_long_enough_to_reach_512_bits():
    for run in [*runs("dt/prefix_sums"), *runs("delta/train_prefix_sums"), *runs("delta/test_prefix_sums")]:
        assert run["test_iterations_high"] >= 127  # trap T4: the defaults cannot


def test_the_scripts_of_delta():
    highs = {"train_chess": 130, "train_mazes": 1000, "train_prefix_sums": 500}
    highs |= {"test_chess": 250, "test_mazes": 1000, "test_prefix_sums": 1000}
    for name, high in highs.items():
        (run,) = runs(f"delta/{name}")
        assert (run["test_iterations_low"], run["test_iterations_high"]) == (1, high)
        assert run["train_mode"] == "delta"
        assert run["seed"] == 42
        assert run["weight_decay"] == 0
        if name.startswith("train"):
            assert run["test_batches"] == 3
        else:
            assert (run["epochs"], run["test_batches"]) == (0, 0)
            assert run["model_path"]
        assert run["recall_relu"] == (run["problem"] != "prefix_sums")


def test_the_prefix_sums_of_e2h():
    found = runs("e2h/train_prefix_sums")
    assert sorted((run["model"], 4 + 4 * run["max_iters"]) for run in found) == sorted(
        [("recur_net", 44), *(("ff_net", depth) for depth in range(40, 69, 4))]
    )
    for run in found:
        assert (run["epochs"], run["train_batch_size"], run["width"], run["lr_factor"]) == (500, 150, 120, 0.5)
        assert (run["train_mode"], run["clip"], run["train_data"], run["test_data"]) == ("xent_clipped", 1.0, 32, 30)


def test_the_250_tests_of_e2h():
    groups = counted("e2h/test_prefix_sums", "model", "max_iters", "test_mode")
    assert groups.pop(("recur_net", 10, "max_conf_legacy")) == 10  # 5 seeds, listed twice
    assert groups.pop(("recur_net", 11, "max_conf_legacy")) == 20
    assert groups == {
        **{("recur_net", iterations, "default"): 20 for iterations in (9, 10, 11)},
        **{("ff_net", iterations, "default"): 20 for iterations in range(9, 17)},
    }
    for run in runs("e2h/test_prefix_sums"):
        assert run["model_path"] == f"trained/{run['model']}_{run['max_iters']}_{run['seed']}/model_.pth"
        assert (run["epochs"], run["test_data"], run["test_batch_size"]) == (0, 44, 300)


def test_the_chess_of_e2h():
    assert counted("e2h/train_chess", "model", "max_iters", "epochs") == {
        ("recur_net", 20, 120): 1, ("ff_net", 20, 120): 1, ("ff_net", 21, 140): 1, ("ff_net", 22, 140): 1,
        ("ff_net", 23, 140): 1,
    }  # fmt: skip
    tests = runs("e2h/test_chess")
    assert sorted(run["test_iterations_high"] for run in tests if run["model"] == "recur_net") == [20, 21, 22, 23, 24]
    assert [run["max_iters"] for run in tests if run["model"] == "ff_net"] == [20, 22, 23]
    assert {run["chess_orientation"] for run in tests} == {"literal"}


@pytest.mark.parametrize("name", [name for name in GRIDS if "/" not in name])
def test_the_ladder_has_three_seeds_at_least_and_needs_no_gpu(name):
    assert len({run["seed"] for run in runs(name)}) >= 3
    path = ROOT / "jobs" / "thinking" / f"{name}.yaml"
    assert load(path, file=str(path)).resources.gpus == 0


def test_the_smoke_grid_has_every_mode():
    from typing import get_args

    from experiments.thinking.params import TestMode, TrainMode

    found = runs("smoke")
    assert {run["test_mode"] for run in found} == set(get_args(TestMode))
    assert {run["train_mode"] for run in found} == set(get_args(TrainMode))


@pytest.mark.parametrize("name", ["think_longer", "no_overthinking"])
def test_nets_see_all_of_an_easy_string_at_t_and_of_a_hard_one_at_last(name):
    for run in runs(name):
        assert run["train_data"] - 1 <= 5 * run["max_iters"] + 4
        assert run["test_data"] - 1 <= 5 * run["test_iterations_high"] + 4


def test_thinking_longer_starts_below_the_reach_that_the_test_needs():
    for run in runs("think_longer"):
        reach = 5 * run["max_iters"] + 4
        assert run["train_data"] - 1 <= reach < run["test_data"] - 1


@pytest.mark.parametrize("name", [name for name in GRIDS if name != "smoke"])
def test_a_grid_ends_with_a_figure_whose_script_and_table_are_there(name):
    path = ROOT / "jobs" / "thinking" / f"{name}.yaml"
    figures = load(path, file=str(path)).figures
    assert figures
    for figure in figures:
        assert (ROOT / "r_plots" / f"{figure.script}.R").exists()
        module, _, function = figure.table.partition(":")
        assert callable(getattr(import_module(module), function))
