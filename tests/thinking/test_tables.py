"""Tables: what is read, once; what is kept; means and standard errors; and what is said where that cannot be."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from experiments.thinking import names, tables
from orchestrator.errors import UserError

ROOT = Path(__file__).parents[2]


def write(folder, label, accuracy, *, train=99.0, run=None, **changes):
    """Write the statistics of a test as the published program does: T = 2, tested at 2 and 4 iterations."""
    found = {
        "epochs": 10, "lr": 0.001, "lr_factor": 0.1, "max_iters": 2, "model": "dt_net_1d_width=8", "num_params": 9,
        "model_path": f"outputs/training-{label}/model_best.pth", "optimizer": "adam", "run_id": label,
        "test_data": 24, "test_iters": [2, 4], "test_mode": "default", "train_data": 16, "train_batch_size": 100,
        "train_mode": "progressive", "alpha": 1,
        "train_acc": {"2": train, "4": 50.0}, "val_acc": {"2": 90.0, "4": 40.0},
        "test_acc": {"2": accuracy, "4": accuracy / 2},
    }  # fmt: skip
    place = folder / "outputs" / f"testing-{label}{len(list(folder.rglob('stats.json')))}"
    place.mkdir(parents=True)
    (place / "stats.json").write_text(json.dumps(found | changes))


@pytest.fixture
def runs(tmp_path):
    for label, accuracy, train in (("a", 10.0, 99.0), ("b", 20.0, 80.0), ("c", 60.0, 100.0)):
        write(tmp_path, label, accuracy, train=train)
    return tmp_path


def row(table, **wanted):
    for name, value in wanted.items():
        table = table[table[name] == value]
    (found,) = table.to_dict("records")
    return found


def test_a_row_for_each_run_and_number_of_iterations(runs):
    found = tables.read(runs)
    assert len(found) == 6
    assert list(found.columns) == tables.COLUMNS
    assert row(found, run="b", test_iter=4)["test_acc"] == 10
    write(runs, "training", 5.0)
    (runs / "outputs" / "training-x").mkdir()
    (runs / "outputs" / "training-x" / "stats.json").write_text("{}")  # statistics of training are no test
    assert len(tables.read(runs)) == 8


def test_means_standard_errors_and_counts(runs):
    found = tables.pivot(tables.read(runs), largest=True, smallest=True)
    assert len(found) == 2
    first = row(found, test_iter=2)
    assert first["test_acc_mean"] == 30.0
    assert first["test_acc_sem"] == round(math.sqrt((20**2 + 10**2 + 30**2) / 2 / 3), 3)
    assert (first["test_acc_min"], first["test_acc_max"], first["count"]) == (10, 60, 3)
    assert list(found.columns[:6]) == tables.INDEX
    assert "test_acc_max" not in tables.pivot(tables.read(runs)).columns


def test_a_net_that_was_tested_twice_alike_counts_once(runs):
    write(runs, "a", 70.0)  # the same checkpoint, iterations, data and mode
    found = tables.read(runs)
    assert len(found) == 6
    assert row(found, run="a", test_iter=2)["test_acc"] == 70.0  # the later folder
    write(runs, "a", 10.0, test_mode="max_conf")
    write(runs, "a", 10.0, test_data=32)
    assert len(tables.read(runs)) == 10


def test_our_own_statistics_are_told_apart_by_id_whatever_attempt_wrote_them(tmp_path):
    write(tmp_path, "a", 10.0, id="one", model_path="tasks/1/1/model_best.pth")
    write(tmp_path, "a", 10.0, id="one", model_path="tasks/1/2/model_best.pth")
    write(tmp_path, "b", 20.0, id="two", model_path="tasks/2/1/model_best.pth")
    assert len(tables.read(tmp_path)) == 4


@pytest.mark.parametrize(("more_than", "left"), [(None, 3), (79.9, 3), (80.0, 2), (99.5, 1)])
def test_the_filter_keeps_runs_that_trained(runs, more_than, left):
    chosen = tables.choose(tables.read(runs), runs, more_than=more_than)
    assert chosen["run"].nunique() == left
    assert len(chosen) == 2 * left  # all their rows, not only those at T


def test_the_filter_needs_training_accuracies_at_t(runs):
    write(runs, "d", 5.0, train_acc=None, val_acc=None)
    table = tables.read(runs)
    with pytest.raises(UserError, match=r"run d has none: it was tested with quick_test"):
        tables.choose(table, runs, more_than=50)
    assert row(tables.pivot(tables.choose(table, runs)), test_iter=2)["train_acc_mean"] == round((99 + 80 + 100) / 4, 3)


def test_runs_are_chosen_by_model_width_t_and_alpha(runs):
    write(runs, "d", 5.0, model="dt_net_recall_1d_width=80", alpha=0.5, max_iters=4)
    table = tables.read(runs)

    def chosen(**choices):
        return set(tables.choose(table, runs, **choices)["run"])

    assert chosen(models=["recall"]) == {"d"}
    assert chosen(models=["dt_net"]) == chosen(models=["recall", "dt_net_1d"]) == {"a", "b", "c", "d"}
    assert chosen(widths=["8"]) == {"a", "b", "c", "d"}  # a part of the text, as published: 8 is in 80
    assert chosen(widths=["80"]) == chosen(alphas=[0.5]) == chosen(max_iters=[4]) == {"d"}
    assert chosen(alphas=[1.0, 0.5]) == {"a", "b", "c", "d"}


def test_nothing_left_is_told_with_the_place_and_the_filter(runs):
    with pytest.raises(UserError, match=r"has no runs with a training accuracy of more than 100"):
        tables.choose(tables.read(runs), runs, more_than=100)
    with pytest.raises(UserError, match=r"it has dt_net_1d_width=8$"):
        tables.choose(tables.read(runs), runs, models=["none"])
    with pytest.raises(UserError, match="there is neither"):
        tables.read(runs / "outputs" / "nothing")


def test_runs_that_stop_by_themselves_have_a_row_each_and_can_be_filtered(tmp_path):
    for label, train, end in (("a", 99.0, 9), ("b", 60.0, 7)):
        accuracies = {"train_acc": {"4": train}, "val_acc": {"5": 97.0}, "test_acc": {str(end): 30.0}}
        write(tmp_path, label, 0.0, test_mode="convergence", **accuracies)
    found = tables.read(tmp_path)
    assert found[["run", "test_iter", "train_acc", "val_acc", "test_acc"]].to_numpy().tolist() == [
        ["a", 9, 99.0, 97.0, 30.0], ["b", 7, 60.0, 97.0, 30.0],
    ]  # fmt: skip
    assert tables.choose(found, tmp_path, more_than=90)["run"].tolist() == ["a"]
    assert tables.runs(found)["train_acc"].tolist() == [99.0, 60.0]
    write(tmp_path, "c", 0.0, test_mode="convergence", train_acc=None, val_acc=None, test_acc={"8": 20.0})
    assert math.isnan(row(tables.read(tmp_path), run="c")["train_acc"])


def test_bits_are_no_accuracies_of_samples(runs):
    bits = {key: {"2": [100.0, 50.0]} for key in tables.ACCURACIES}
    write(runs, "d", 0.0, test_mode="bit_wise", **bits)
    assert set(tables.read(runs)["run"]) == {"a", "b", "c"}
    write(runs / "bits", "d", 0.0, test_mode="bit_wise", **bits)
    with pytest.raises(UserError, match="tests of single bits have none"):
        tables.read(runs / "bits")


def test_a_checkpoint_that_several_runs_tested_counts_once(tmp_path):
    for label in ("one", "two"):
        write(tmp_path, label, 10.0, id=label, source="/trained/model_best.pth", model_path="/trained/model_best.pth")
    write(tmp_path, "three", 30.0, id="three", source="/other/model_best.pth", model_path="/other/model_best.pth")
    assert tables.pivot(tables.read(tmp_path))["count"].tolist() == [2, 2]


def test_statistics_that_are_none_are_told(runs):
    place = runs / "outputs" / "testing-z"
    place.mkdir()
    for text in ("{", "{}", "[]", '{"model": 1}'):
        (place / "stats.json").write_text(text)
        with pytest.raises(UserError, match=r"testing-z.stats\.json holds no statistics of a test"):
            tables.read(runs)


# --- exported studies -------------------------------------------------------------------------------------------------


def export(folder, rows, **params):
    """Write a long table: (run, seed, test_data, T, tag, step, value), with what the export adds.

    Further parameters are by run.
    """
    names = ["run", "seed", "test_data", "max_iters", "tag", "step", "value"]
    table = pd.DataFrame(rows, columns=names)
    facts = {"model": "recur_net", "width": 32, "epochs": 10, "train_data": 16, "alpha": 1.0}
    facts |= {"train_mode": "delta", "test_mode": "default"}
    table = table.rename(columns={"test_data": "param.test_data", "max_iters": "param.max_iters"})
    table["param.seed"] = table["seed"]  # an axis has a label beside its parameter
    table = table.assign(**{f"param.{name}": value for name, value in facts.items()})
    table = table.assign(**{f"param.{name}": table["run"].map(values) for name, values in params.items()})
    for name in ("run", "param.model", "tag"):
        table[name] = table[name].astype("category")
    (folder / "tables").mkdir(exist_ok=True)
    table.to_parquet(folder / "tables" / "long.parquet")


def series(run, seed, data, iterations, accuracies, val=None):
    rows = [(run, seed, data, iterations, "final/test_acc", k, value) for k, value in accuracies.items()]
    rows += [(run, seed, data, iterations, "final/val_acc", k, value) for k, value in (val or {}).items()]
    return [*rows, (run, seed, data, iterations, "Loss/loss", 0, 0.5)]


@pytest.fixture
def study(tmp_path):
    val = {2: 100.0, 3: 90.0}
    rows = series("r0", 0, 18, 2, {2: 40.0, 3: 60.0}, val) + series("r1", 1, 18, 2, {2: 60.0, 3: 80.0}, val)
    rows += series("r2", 0, 24, 2, {2: 10.0, 3: 30.0}, val) + series("r3", 1, 24, 2, {2: 20.0, 3: 10.0}, val)
    export(tmp_path, rows)
    return tmp_path


def test_an_exported_study_is_read_by_its_final_series(study):
    found = tables.read(study)
    assert len(found) == 8
    assert row(found, run="r2", test_iter=3)["test_acc"] == 30
    assert found["train_acc"].isna().all()
    assert set(found["model"]) == {"recur_net_width=32"}
    assert set(found["source"]) == {"r0", "r1", "r2", "r3"}


def test_a_run_at_several_points_counts_once(study):
    table = pd.read_parquet(study / "tables" / "long.parquet")
    pd.concat([table, table]).to_parquet(study / "tables" / "long.parquet")
    assert len(tables.read(study)) == 8


def test_runs_that_only_test_have_the_alpha_that_their_checkpoint_was_trained_with(tmp_path):
    rows = series("r0", 0, 18, 2, {2: 40.0}) + series("r1", 0, 24, 2, {2: 50.0}) + series("r2", 0, 32, 2, {2: 60.0})
    weights = {"r0": "/a/model_best.pth", "r1": "/a/model_best.pth", "r2": None}
    export(tmp_path, rows, epochs={"r0": 0, "r1": 0, "r2": 10}, model_path=weights)
    for name, content in {"r0": '{"id": "r0", "alpha": 0.25, "train_mode": "progressive"}', "r1": "{"}.items():
        place = tmp_path / "tasks" / "1-0" / "1" / name / "testing"
        place.mkdir(parents=True)
        (place / "stats.json").write_text(content)
    found = tables.read(tmp_path).set_index("run")
    assert found["alpha"].to_dict() == {"r0": 0.25, "r1": 1.0, "r2": 1.0}  # of r1, only its parameters are known
    assert found["train_mode"].to_dict() == {"r0": "progressive", "r1": "delta", "r2": "delta"}


def test_a_study_without_final_series_is_told(study):
    table = pd.read_parquet(study / "tables" / "long.parquet")
    table[table["tag"] == "Loss/loss"].to_parquet(study / "tables" / "long.parquet")
    with pytest.raises(UserError, match=r"has no tags final/\*: no run has finished yet"):
        tables.read(study)


def test_accuracy_by_iteration(study):
    found = tables.schoopy(tables.read(study))
    assert len(found) == 4
    point = row(found, test_data=18, test_iter=3)
    assert (point["test_acc_mean"], point["test_acc_sem"], point["runs"]) == (70.0, 10.0, 2)


def test_accuracy_by_length_at_t_at_others_and_at_best(study):
    found = tables.extrapolation(tables.read(study), at=[3])
    means = {(point["test_data"], point["iterations"]): point["test_acc_mean"] for point in found.to_dict("records")}
    assert means == {
        (16, "T = 2"): 100, (16, "k = 3"): 90, (16, "best"): 100,
        (18, "T = 2"): 50, (18, "k = 3"): 70, (18, "best"): 70,
        (24, "T = 2"): 15, (24, "k = 3"): 20, (24, "best"): 20,
    }  # fmt: skip
    # A seed's net was trained once for each length, and is validated once.
    assert set(found["runs"]) == {2}


def by_point(found, *names):
    return {tuple(point[name] for name in (*names, "iterations")): point for point in found.to_dict("records")}


def test_what_was_trained_otherwise_is_validated_too(tmp_path):
    rows, rates = [], {}
    for rate, val in ((1e-3, 100.0), (1e-2, 0.0)):
        for seed in (0, 1):
            for data in (18, 24):
                rates[f"r{rate}{seed}{data}"] = rate
                rows += series(f"r{rate}{seed}{data}", seed, data, 2, {2: 40.0}, {2: val})
    export(tmp_path, rows, lr=rates)
    easy = by_point(tables.extrapolation(tables.read(tmp_path)), "test_data")[16, "T = 2"]
    assert (easy["runs"], easy["test_acc_mean"]) == (4, 50.0)  # two step sizes of two seeds


def test_ways_to_test_are_points_of_their_own(tmp_path):
    rows, modes = [], {}
    for mode, accuracy in (("default", 80.0), ("max_conf", 0.0)):
        for data in (18, 24):
            modes[mode + str(data)] = mode
            rows += series(mode + str(data), 0, data, 2, {2: accuracy}, {2: accuracy})
    export(tmp_path, rows, test_mode=modes)
    found = by_point(tables.extrapolation(tables.read(tmp_path)), "test_mode", "test_data")
    for data in (16, 18, 24):
        assert found["default", data, "T = 2"]["test_acc_mean"] == 80
        assert found["max_conf", data, "T = 2"]["test_acc_mean"] == 0
    assert {point["runs"] for point in found.values()} == {1}


def test_hard_samples_of_the_easy_size_are_the_measure(tmp_path):
    export(tmp_path, series("r0", 0, 16, 2, {2: 50.0}, {2: 100.0}) + series("r1", 0, 24, 2, {2: 30.0}, {2: 100.0}))
    easy = by_point(tables.extrapolation(tables.read(tmp_path)), "test_data")[16, "T = 2"]
    assert (easy["runs"], easy["test_acc_mean"]) == (1, 50.0)


def test_folders_without_seeds_have_a_net_once(tmp_path):
    for data in (18, 24):
        for seed in "01":  # ours say what was trained alike, others by their checkpoint
            run = f"{seed}-{data}"
            write(tmp_path / "ours", run, 10.0, id=run, source=run, trained=seed, test_data=data)
            write(tmp_path / "others", run, 10.0, model_path=f"{seed}/model_best.pth", test_data=data)
    for name in ("ours", "others"):
        found = tables.extrapolation(tables.read(tmp_path / name))
        assert set(found["runs"]) == {2}, name


def test_an_exported_run_that_stops_by_itself_has_one_row(tmp_path):
    rows = []
    for run, end, train in (("r0", 9, 100.0), ("r1", 12, 40.0)):
        for name, step, value in (("train_acc", 4, train), ("val_acc", 5, 90.0), ("test_acc", end, 30.0)):
            rows.append((run, int(run[1]), 24, 2, f"final/{name}", step, value))
    export(tmp_path, rows, test_mode={"r0": "convergence", "r1": "convergence"})
    found = tables.read(tmp_path)
    assert found[["run", "test_iter", *tables.ACCURACIES]].to_numpy().tolist() == [
        ["r0", 9, 100.0, 90.0, 30.0], ["r1", 12, 40.0, 90.0, 30.0],
    ]  # fmt: skip
    assert tables.choose(found, tmp_path, more_than=99)["run"].tolist() == ["r0"]
    assert tables.pivot(found)["val_acc_mean"].tolist() == [90.0, 90.0]


def test_the_effective_depth_table(tmp_path):
    rows = []
    for iterations, mean in ((9, 25.0), (10, 31.0)):
        for seed in (0, 1):
            accuracies = {iterations: mean + 2 * seed, iterations + 1: 99.0}
            rows += series(f"r{iterations}{seed}", seed, 44, iterations, accuracies)
    export(tmp_path, rows)
    found = tables.depth(tables.read(tmp_path))
    assert found["depth"].tolist() == [40, 44]
    assert found["accuracy"].tolist() == ["26.00 ± 1.00", "32.00 ± 1.00"]
    assert found["runs"].tolist() == [2, 2]
    assert set(found["net"]) == {"recurrent"}


def test_runs_have_names_and_ids(study):
    found = tables.runs(tables.read(study))
    assert found["run"].tolist() == ["r0", "r1", "r2", "r3"]
    assert found["name"].is_unique
    assert found["name"].tolist() == [names.unique(found["run"])[run] for run in found["run"]]
    assert found["test_acc"].tolist() == [40, 60, 10, 20]
    write(study / "others", "happy-Melissa", 10.0)  # whoever has a label keeps it
    others = tables.runs(tables.read(study / "others"))
    assert others["name"].tolist() == ["happy-Melissa"]
    assert others["train_acc"].tolist() == [99.0]


# --- command line -----------------------------------------------------------------------------------------------------


def command(*words):
    done = [sys.executable, "-m", "experiments.thinking.tables", *map(str, words)]
    return subprocess.run(done, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "200"})


def test_the_commands(runs, tmp_path):
    done = command("table", runs, "--filter", 90, "--max", "--save_name", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("| model | test_data | max_iters | alpha | test_mode | test_iter | train_acc_mean |")
    assert len(lines) == 4
    saved = pd.read_csv(tmp_path / "t.csv")
    assert saved["count"].tolist() == [2, 2]
    assert saved["test_acc_mean"].tolist() == [35.0, 17.5]
    refused = command("table", runs, "--filter", 100)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert "Traceback" not in refused.stderr
