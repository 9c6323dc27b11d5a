"""What ordinary code is given."""

import numpy as np
import pytest

from orchestrator.experiment import ExperimentParams
from orchestrator.lanes.testing import MemoryRecorder
from orchestrator.recorder import Orders
from orchestrator.worker.handle import Run


def make(folder, recorder, restored=None):
    return Run(ExperimentParams(seed=7), bytes(10), folder / "own", recorder, restored)


def test_parameters_seed_id_and_folder(tmp_path):
    run = make(tmp_path, MemoryRecorder())
    assert (run.params.seed, run.seed, run.id) == (7, 7, "a" * 16)
    assert not (tmp_path / "own").exists()
    assert run.dir.is_dir()


def test_values_are_logged_in_double_precision(tmp_path):
    recorder = MemoryRecorder()
    run = make(tmp_path, recorder)
    run.log({"a": 0.1, "b": np.float32(2)}, 3)
    run.log({"a": float("nan"), "b": 1}, 3)
    run.log({}, 4)
    assert recorder.rows[0][0][0] == 3
    assert recorder.rows[0][0][1].tolist() == [0.1, 2.0]


def test_tags_may_count_in_steps_of_their_own(tmp_path):
    recorder = MemoryRecorder(lambda _: Orders(checkpoint=True))
    run = make(tmp_path, recorder)
    run.log({"loss": 1}, 50)
    run.log({"accuracy": 1}, 2)
    run.checkpoint(None)
    assert recorder.checkpoints[0][1].steps.tolist() == [50]


def test_a_checkpoint_is_written_when_it_is_due_and_restored_whole(tmp_path):
    recorder = MemoryRecorder(lambda n: Orders(checkpoint=n == 1))
    run = make(tmp_path, recorder)
    assert run.restore() is None
    for step in range(3):
        run.log({"a": 1}, step)
        run.checkpoint({"step": step, "weights": [1.5, None, "x"]})
    [(_, snapshot)] = recorder.checkpoints
    assert snapshot.steps.tolist() == [1]
    again = make(tmp_path, MemoryRecorder(), snapshot)
    assert again.restore() == {"step": 1, "weights": [1.5, None, "x"]}


def test_the_global_generators_go_on_from_where_they_stood(tmp_path):
    import random

    import torch

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002  (global generators are the point)

    recorder = MemoryRecorder(lambda _: Orders(checkpoint=True))
    make(tmp_path, recorder).checkpoint({})
    expected = [draw() for _ in range(3)]
    assert [draw() for _ in range(3)] != expected
    again = make(tmp_path, MemoryRecorder(), recorder.checkpoints[0][1])
    assert again.restore() == {}
    assert [draw() for _ in range(3)] == expected


@pytest.mark.parametrize("orders", [Orders(stop=True), Orders(cancelled=frozenset({0}))])
def test_it_says_when_to_stop(tmp_path, orders):
    run = make(tmp_path, MemoryRecorder(lambda n: orders if n else Orders()))
    assert not run.should_stop
    assert run.should_stop
    assert run.told_to_stop
