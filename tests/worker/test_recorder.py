"""What is on the disk at any moment, how often it is written, and what a checkpoint holds."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from orchestrator.recorder import Snapshot
from orchestrator.worker import snapshots
from orchestrator.worker.failures import Unrecorded, sentence
from orchestrator.worker.recorder import Part, TaskRecorder
from tests.worker.helpers import plain_study


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def lanes(*numbers):
    return np.array(numbers, np.int64)


def state(steps):
    steps = np.asarray(steps, np.int64)
    return Snapshot(steps, {"w": np.arange(3 * len(steps), dtype=np.float32).reshape(3, -1) + steps})


def recorder(study, *, clock=None, cadence=10.0, gone=(), stop="", probe=0):
    incarnation = study.begin("1-0")
    heartbeat = SimpleNamespace(gone=frozenset(gone), all_gone=len(gone) == len(incarnation.task.runs))
    signals = SimpleNamespace(stop=stop)
    made = TaskRecorder(study, incarnation, signals, heartbeat, cadence, clock or Clock(), probe)
    return made, incarnation


@pytest.fixture
def study(tmp_path):
    return plain_study(tmp_path, {}, [{}] * 4, tasks=[[0, 1, 2, 3]])


def log(made, numbers, step):
    numbers = lanes(*numbers)
    made.log(numbers, np.full(len(numbers), step), ["a", "b"], np.full((2, len(numbers)), float(step)))


def steps_on_disk(study, run):
    """All steps that can be read of a run, the purge of each attempt honoured."""
    steps = []
    for path in sorted(study.events_dir(run).glob("*")):
        for event in EventFileLoader(str(path)).Load():
            if event.HasField("session_log"):
                steps = [step for step in steps if step < event.step]
            elif event.HasField("summary"):
                steps.append(event.step)
    return steps


def _life(study):
    """Two checkpoints and a verdict of two lanes."""
    made, incarnation = recorder(study)
    made.begin([0, 1], {})
    for step in range(4):
        log(made, [0, 1], step)
    made.checkpoint(lanes(0, 1), state([3, 3]))
    for step in range(4, 8):
        log(made, [0, 1], step)
    made.verdict(lanes(1), "diverged", lanes(7))
    made.checkpoint(lanes(0), state([7]))
    log(made, [0], 8)
    made.verdict(lanes(0), "done", lanes(8))
    incarnation.write("end", reason="finished")


CALLS = ("open", "write", "fsync", "replace", "rename", "link", "mkdir", "unlink", "close")


def test_a_reader_may_believe_what_it_finds_wherever_the_worker_dies(tmp_path):
    """Kill the worker at each of its system calls: what is journalled is whole, and covered by events."""
    k, finished = 0, False
    while not finished:
        k += 1
        study = plain_study(tmp_path / str(k), {}, [{}] * 2, tasks=[[0, 1]], code="")
        child = os.fork()
        if child == 0:
            _dying_at(k, study)
        finished = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        runs = study.task("1-0").runs
        records = study.history().runs
        points = study.restore_points(runs)
        for lane, run in enumerate(runs):
            record, disk = records[run], steps_on_disk(study, run)
            assert disk == sorted(set(disk))
            assert set(range(record.saved + 1)) <= set(disk)
            if record.outcome is not None:
                assert (record.outcome, record.step) == (("done", 8), ("diverged", 7))[lane]
                assert set(range(record.step + 1)) <= set(disk)
            elif run in points:
                whole = snapshots.read(str(points[run].path))
                assert whole.steps[points[run].column] == points[run].step == record.saved
    assert records[runs[0]].outcome == "done"
    assert k > 30


def _dying_at(k, study):
    count = 0

    def counted(call):
        def wrapper(*arguments, **options):
            nonlocal count
            count += 1
            if count == k:
                os._exit(9)
            return call(*arguments, **options)

        return wrapper

    try:
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        _life(study)
    except BaseException:  # noqa: BLE001
        os._exit(1)
    os._exit(0)


def test_checkpoints_fall_due_by_the_clock(study):
    clock = Clock()
    made, _ = recorder(study, clock=clock)
    made.begin([0], {})
    assert not made.orders().checkpoint
    clock.now = 10.0
    assert made.orders() == (True, False, frozenset())
    made.checkpoint(lanes(0), state([0]))
    assert not made.orders().checkpoint


def test_dear_checkpoints_are_rare(study, monkeypatch):
    clock = Clock()
    made, incarnation = recorder(study, clock=clock, cadence=1.0)
    made.begin([0], {})
    write = incarnation.checkpoint

    def slow(*arguments):
        clock.now += 2.0
        return write(*arguments)

    monkeypatch.setattr(incarnation, "checkpoint", slow)
    made.checkpoint(lanes(0), state([0]))
    clock.now += 39.0
    assert not made.orders().checkpoint
    clock.now += 2.0
    assert made.orders().checkpoint


def test_a_signal_asks_for_a_checkpoint_and_an_end(study):
    made, _ = recorder(study, stop="requeue")
    assert made.orders() == (True, True, frozenset())


def test_what_belongs_to_others_is_left_without_a_checkpoint(study):
    made, _ = recorder(study, gone=range(4))
    made.begin([0], {})
    assert made.orders() == (False, True, frozenset(range(4)))
    made.checkpoint(lanes(0), state([0]))
    assert not list(study.task_path("1-0", 1).glob("checkpoint-*"))


def test_events_are_appended_now_and_then(study):
    clock = Clock()
    made, _ = recorder(study, clock=clock)
    made.begin([0, 1], {})
    run = study.task("1-0").runs[0]
    for step in range(29):
        clock.now = step
        log(made, [0, 1], step)
    assert steps_on_disk(study, run) == []
    clock.now = 30.0
    log(made, [0, 1], 29)
    assert steps_on_disk(study, run) == list(range(30))


def test_progress_is_told_ever_more_rarely(study):
    clock = Clock()
    made, _ = recorder(study, clock=clock)
    made.begin([0, 1], {})
    for step in range(3600):
        clock.now = step
        log(made, [0, 1], step)
    records = study.incarnations("1-0", keep_records=True)[0].records
    told = [record for record in records if record["t"] == "progress"]
    assert 100 < len(told) < 150
    assert told[0]["elapsed"] < 3
    assert told[0]["lanes"] == [[0, 2, 1]]


def test_beginning_again_drops_what_came_after_the_snapshot(study):
    made, _ = recorder(study)
    made.begin([0], {})
    for step in range(4):
        log(made, [0], step)
    made.checkpoint(lanes(0), state([3]))
    for step in range(4, 7):
        log(made, [0], step)
    made.flush()
    assert made.progressed
    made.begin([0], {0: state([3])})
    assert made.progressed
    log(made, [0], 4)
    made.verdict(lanes(0), "done", lanes(4))
    assert steps_on_disk(study, study.task("1-0").runs[0]) == list(range(5))


def test_a_part_counts_its_lanes_from_zero(study):
    made, _ = recorder(study, gone=[3])
    made.begin([1, 3], {})
    part = Part(made, [1, 3])
    log(part, [0, 1], 5)
    assert part.orders().cancelled == {1}
    part.checkpoint(lanes(0, 1), state([5, 5]))
    part.verdict(lanes(0), "done", lanes(5))
    [entry] = study.incarnations("1-0")
    assert entry.verdicts == [None, ("done", 5), None, None]
    assert entry.saved == [None, 5, None, 5]
    assert made.left([0, 1, 2, 3]) == [0, 2]


def test_a_failure_is_recorded_once_for_all_its_lanes(study):
    made, _ = recorder(study)
    made.begin([0, 2], {})
    made.fail([0, 2], sentence("oom", "it does not fit"))
    [entry] = study.incarnations("1-0")
    assert [failure and failure["class"] for failure in entry.failures] == ["oom", None, "oom", None]
    assert made.left([0, 1, 2]) == [1]


def test_trouble_with_the_disk_is_no_trouble_of_the_experiment(study, monkeypatch):
    made, incarnation = recorder(study)
    made.begin([0], {})
    monkeypatch.setattr(incarnation, "write", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(Unrecorded, match="No space left"):
        made.verdict(lanes(0), "done", lanes(0))


ARRAYS = hnp.arrays(
    st.sampled_from(["<f4", "<f8", "<i8", "<i4", "|u1", "|b1"]), hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["steps", "file", "w", "m.l1['x']", "größe", "a/b"]), ARRAYS), st.integers(1, 3))
def test_a_snapshot_is_read_back_as_it_was(tmp_path_factory, arrays, count):
    stacked = {name: np.stack([array] * count, axis=-1) for name, array in arrays.items()}
    snapshot = Snapshot(np.arange(count, dtype=np.int64), stacked)
    path = tmp_path_factory.mktemp("snapshot") / "checkpoint.npz"
    with path.open("wb") as file:
        snapshots.write(file, snapshot)
    back = snapshots.read(str(path))
    assert back.steps.tolist() == snapshot.steps.tolist()
    assert back.arrays.keys() == stacked.keys()
    for name, array in stacked.items():
        assert back.arrays[name].dtype == array.dtype
        assert back.arrays[name].tobytes() == array.tobytes()


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "checkpoint.npz"
    np.savez(path, steps=np.array([0]), **{"state:w": np.array([object()])})
    with pytest.raises(ValueError, match="allow_pickle"):
        snapshots.read(str(path))
