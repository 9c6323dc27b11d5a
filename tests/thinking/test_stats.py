"""What runs leave behind: statistics of both programs, the legacy file, and the configuration, by published names."""

import json
from types import SimpleNamespace

import pytest
import torch

from experiments.thinking import computation, names, stats
from experiments.thinking.nets import build
from experiments.thinking.params import Thinking
from orchestrator.errors import UserError

TRAINING = {
    "max_iters",
    "run_id",
    "test_acc",
    "test_data",
    "test_iters",
    "test_mode",
    "train_data",
    "train_acc",
    "val_acc",
}
DELTA = {"train_accs", "val_accs", "test_accs"}
TESTING = {
    "epochs", "lr", "lr_factor", "max_iters", "model", "model_path", "num_params", "optimizer", "val_acc", "run_id",
    "test_acc", "test_data", "test_iters", "test_mode", "train_data", "train_acc", "train_batch_size", "train_mode",
    "alpha",
}  # fmt: skip
LEGACY = {
    "epochs", "learning rate", "lr", "lr_factor", "model", "num_params", "optimizer", "test_acc", "test_iter",
    "test_mode", "train_acc", "train_batch_size", "train_mode",
}  # fmt: skip


def results(**changes):
    by = {"train_acc": {2: 99.0, 3: 98.0}, "val_acc": {2: 97.0, 3: 96.0}, "test_acc": {2: 30.0, 3: 40.0}}
    base = {"train_acc": 98.5, "val_acc": 97.5, "train_accs": [98.5], "val_accs": [97.5]}
    base |= {"test_accs": [by["test_acc"]], "tested": by, "final": by, "num_params": 288, "which": "best"}
    return base | {"epoch": 1, "best_epoch": 1, "best_val_acc": 97.5, "final_epoch": 1} | changes


def write(tmp_path, found=None, **settings):
    base = {"width": 8, "max_iters": 2, "test_iterations_low": 2, "test_iterations_high": 3}
    run = SimpleNamespace(params=Thinking(**(base | settings)), id="abcdefghijklmnop", dir=tmp_path)
    stats.write(run, found or results())
    return {
        str(path.relative_to(tmp_path)): json.loads(path.read_text()) for path in tmp_path.rglob("*") if path.is_file()
    }


def test_both_programs_have_their_statistics(tmp_path):
    files = write(tmp_path)
    assert set(files) == {"stats.json", "testing/stats.json", ".hydra/config.yaml"}
    training, testing = files["stats.json"], files["testing/stats.json"]
    assert set(training) == TRAINING | DELTA | {"id"}
    assert set(testing) == TESTING | {"id", "source", "trained"}
    assert training["train_acc"] == {"2": 99.0, "3": 98.0}  # keys of JSON are texts
    assert training["test_iters"] == testing["test_iters"] == [2, 3]
    assert testing["model"] == "dt_net_recall_1d_width=8"
    assert testing["model_path"] == str(tmp_path / "model_best.pth")
    assert testing["num_params"] == 288
    assert training["run_id"] == names.name("abcdefghijklmnop")
    assert training["id"] == "abcdefghijklmnop"


def test_after_quick_tests_accuracies_of_training_are_numbers_as_in_delta(tmp_path):
    quick = {"train_acc": None, "val_acc": None, "test_acc": {2: 30.0, 3: 40.0}}
    files = write(tmp_path, results(tested=quick, final=quick), train_mode="delta", quick_test=True)
    assert files["stats.json"]["train_acc"] == 98.5
    assert files["stats.json"]["val_acc"] == 97.5
    assert files["testing/stats.json"]["train_acc"] is None


def test_tests_alone_have_no_statistics_of_training(tmp_path):
    files = write(tmp_path, results(tested=None, which="last"), epochs=0)
    assert set(files) == {"testing/stats.json", ".hydra/config.yaml"}
    assert files["testing/stats.json"]["model_path"].endswith("model_.pth")


def checkpoint(path, p):
    torch.save({"net": build(p).state_dict(), "epoch": 0, "made_as": computation.made_as(p)}, path)
    return str(path)


def test_tests_alone_report_how_the_checkpoint_was_trained(tmp_path, monkeypatch):
    how = {"alpha": 0.25, "train_mode": "delta", "lr": 5e-3, "lr_factor": 0.5, "epochs": 7, "optimizer": "adamw"}
    path = checkpoint(tmp_path / "given.pth", Thinking(width=8, **how))
    monkeypatch.chdir(tmp_path)
    made = [
        write(tmp_path / name, results(tested=None), epochs=0, model_path=given, test_data=data)["testing/stats.json"]
        for name, given, data in (("a", path, 24), ("b", "given.pth", 32))
    ]
    for found in made:
        assert {name: found[name] for name in how} == how
        assert found["model_path"] == found["source"] == found["trained"] == path


def test_what_is_said_of_the_training_need_not_be_the_same_where_a_net_is_used(tmp_path):
    path = tmp_path / "model.pth"
    checkpoint(path, Thinking(width=8, train_mode="delta", lr=5e-3))
    p = Thinking(width=8, epochs=9)
    assert computation.load(path, build(p), p)["made_as"]["lr"] == 5e-3


def test_a_net_of_mirrored_targets_is_not_tested_on_aligned_ones(tmp_path):
    p = Thinking(problem="chess", model="dt_net_recall_2d", width=8, train_data=60, test_data=80)
    path = tmp_path / "model.pth"
    checkpoint(path, p)
    other = p.model_copy(update={"chess_orientation": "literal", "epochs": 0})
    with pytest.raises(UserError, match="chess_orientation aligned, and chess_orientation is literal here"):
        computation.load(path, build(other), other)
    mazes = Thinking(problem="mazes", model="dt_net_recall_2d", width=8, train_data=9, test_data=13)
    checkpoint(path, mazes)
    computation.load(path, build(mazes), mazes.model_copy(update={"chess_orientation": "literal"}))


def test_nets_that_are_only_tested_otherwise_are_trained_alike(tmp_path):
    def alike(name, **settings):
        return write(tmp_path / name, **settings)["testing/stats.json"]["trained"]

    assert alike("a", test_data=24) == alike("b", test_data=32, quick_test=True)
    assert len({alike("c"), alike("d", seed=1), alike("e", weight_decay=0.5)}) == 3


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({"model": "recur_net"}, {"eval_acc"}),
        ({"problem": "mazes", "model": "recur_resnet", "train_data": 9, "test_data": 13}, set()),
        (
            {"problem": "chess", "model": "recur_net", "train_data": 60, "test_data": 80},
            {"eval_acc", "eval_start", "eval_end", "surrogate"},
        ),
    ],
)
def test_legacy_nets_have_an_entry_for_each_number_of_iterations(tmp_path, settings, more):
    found = write(tmp_path, **settings)["test_stats.json"]
    assert set(found) == {"0", "1", "num entries"}
    assert found["num entries"] == 2
    entry = found["1"]
    assert set(entry) == LEGACY | more
    assert entry["model"] == f"{settings['model']}_depth=12_width=8"
    assert entry["test_iter"] == 3
    assert (entry["eval_acc"], entry["test_acc"]) == (40.0, 96.0) if more else entry["test_acc"] == 40.0
    if "eval_start" in more:
        assert (entry["eval_start"], entry["eval_end"]) == (60, 80)


def test_legacy_entries_are_appended_and_what_was_not_measured_is_minus_one(tmp_path):
    quick = {"train_acc": None, "val_acc": None, "test_acc": {3: 40.0}}
    p = Thinking(model="recur_net", width=8)
    for _ in range(3):
        for entry in stats.legacy(p, results(final=quick)):
            stats.append(tmp_path / "test_stats.json", entry)
    found = json.loads((tmp_path / "test_stats.json").read_text())
    assert [key for key in found if key != "num entries"] == ["0", "1", "2"]
    assert found["num entries"] == 3
    assert found["2"]["train_acc"] == found["2"]["test_acc"] == -1


def test_modes_with_an_iteration_of_their_own_and_bits_can_be_written(tmp_path):
    odd = {"train_acc": {4: 99.0}, "val_acc": {5: 97.0}, "test_acc": {9: 30.0}}
    found = write(tmp_path / "a", results(final=odd), model="recur_net", test_mode="convergence")["test_stats.json"][
        "0"
    ]
    assert (found["test_iter"], found["eval_acc"], found["test_acc"], found["train_acc"]) == (9, 30.0, 97.0, 99.0)
    bits = {key: {3: [100.0, 50.0]} for key in ("train_acc", "val_acc", "test_acc")}
    found = write(tmp_path / "b", results(final=bits, tested=bits), model="recur_net", test_mode="bit_wise")
    assert found["testing/stats.json"]["test_acc"] == {"3": [100.0, 50.0]}


def test_the_configuration_has_what_the_published_test_program_copies(tmp_path):
    found = write(tmp_path)[".hydra/config.yaml"]["problem"]
    assert {"alpha", "epochs", "lr", "lr_factor", "optimizer", "train_mode"} <= set(found["hyp"])
    assert {"max_iters", "model", "width"} <= set(found["model"])
    assert found["name"] == "prefix_sums"
    from ruamel.yaml import YAML

    assert YAML(typ="safe").load(tmp_path / ".hydra" / "config.yaml")["problem"] == found
