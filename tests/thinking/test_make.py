"""Data written as the published files are read again as what is made."""

import pytest
import torch
from click.testing import CliRunner

from experiments.thinking import data
from experiments.thinking.data.make import main
from experiments.thinking.params import Thinking

PROBLEMS = {
    "prefix_sums": ([16, 24, "--count", 40], {"train_data": 16, "test_data": 24, "train_samples": 40}),
    "mazes": ([5, 9, "--count", 40], {"model": "dt_net_2d", "train_data": 5, "test_data": 9, "train_samples": 40}),
    "chess": ([60], {"model": "dt_net_2d", "train_data": 40, "test_data": 60}),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_written_is_what_is_made(tmp_path, monkeypatch, problem):
    monkeypatch.setenv("ORCH_DATA_CACHE", str(tmp_path / "cache"))
    words, settings = PROBLEMS[problem]
    done = CliRunner().invoke(main, [problem, str(tmp_path / "data"), *map(str, words), "--seed", "3"])
    assert done.exit_code == 0, done.output
    settings = {"width": 8, "data_seed": 3, "test_samples": 20, "problem": problem} | settings
    made = data.load(Thinking(**settings))
    read = data.load(Thinking(**settings, data=str(tmp_path / "data")))
    for split in ("train", "val", "test"):
        for one, two in zip(getattr(made, split), getattr(read, split), strict=True):
            assert torch.equal(one, two)


def test_an_impossible_size_is_told(tmp_path):
    done = CliRunner().invoke(main, ["mazes", str(tmp_path), "8"])
    assert done.exit_code == 1
    assert "the nominal size of a maze is odd" in done.output
