"""Commands and stewards killed at any call on the study's files or on the scheduler: the next command repairs."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from dataclasses import dataclass

import pytest

from orchestrator import submit
from orchestrator.cancel import cancel
from orchestrator.clusters.base import Evidence
from orchestrator.steward import wave
from orchestrator.study.study import Study
from tests.faults.forked import FileCluster, ForkCluster, copy, noisy, sample, train
from tests.faults.inject import Mortal, in_child
from tests.faults.proof import proven, rows

HOWS = ["before", "after", "torn", "lost"]


@dataclass
class Scene:
    """A study and the queue of its scheduler, in one folder."""

    study: Study
    cluster: FileCluster

    def go(self, **request) -> None:
        """Do what ``orch submit`` does."""
        study = Study(self.study.path)
        wanted = submit.again(study, frozen=True)
        submit.submit(study, wanted, self.cluster, submit.Request(**request), clusters=self.cluster, argv=())

    def owners(self) -> Counter[bytes]:
        """Return how many tasks in the queue, or about to be handed over, would train each run."""
        study = Study(self.study.path)
        history = study.history()
        alive = study.alive(history, self.cluster.poll(study.jobs())) | history.unhanded
        return Counter(
            run
            for name in alive
            for run in study.task(name).runs
            if history.runs[run].task == name and history.runs[run].outcome is None
        )


def evidence(scene: Scene) -> None:
    """One task died for want of memory half way, another in the queue; two are done."""
    scene.cluster.said = {"job1_0": Evidence("OUT_OF_MEMORY", "gone", "oom", "it had too little", node="n7")}


def after_losses(scene: Scene) -> None:
    """Plan again after deaths that the scheduler can tell of."""
    scene.go()


def next_wave(scene: Scene) -> None:
    """A steward comes, and goes on."""
    wave.clusters_of = lambda study: scene.cluster  # type: ignore[assignment]
    wave.main([str(scene.study.path), "1"])


def taken_up_again(scene: Scene) -> None:
    """Cancel everything, and submit it again."""
    cancel(Study(scene.study.path), "all", scene.cluster, ())
    scene.go(uncancel=True)


def from_nothing(scene: Scene) -> None:
    """Forget a result."""
    runs = scene.study.generation().runs
    scene.go(rerun={runs[2]}, retry={runs[2]})


COMMANDS = [after_losses, next_wave, taken_up_again, from_nothing]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Four runs: one was killed half way, one never began, two are done; and the series they should have."""
    study = noisy(tmp_path_factory.mktemp("begun"), 4)
    calm = copy(study, tmp_path_factory.mktemp("calm"))
    ForkCluster("fake").adopt(calm)
    for task in ("1-0", "1-1", "1-2", "1-3"):
        train(calm, task)
    assert study.take(1, 0, "job1")
    train(study, "1-0", "job1_0", Mortal(study.path, 90, "after"))
    for index in (2, 3):
        train(study, f"1-{index}", f"job1_{index}")
    assert [len(study.incarnations(f"1-{index}")) for index in range(4)] == [1, 0, 1, 1]
    assert study.incarnations("1-0")[0].saved[0] is not None
    return study, rows(calm)


def scene(begun: Study, folder) -> Scene:
    made = Scene(copy(begun, folder), FileCluster(folder / "queue"))
    evidence(made)
    return made


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
@pytest.mark.parametrize("how", HOWS)
def test_killed_at_any_call_the_next_command_repairs(begun, tmp_path, command, how):
    study, expected = begun
    trial = scene(study, tmp_path / "trial")
    ended = in_child(lambda: command(trial), Mortal(tmp_path / "trial", 0, "before"))
    assert ended.status == 0
    assert ended.calls > 20
    for k in sample(ended.calls, 10):
        folder = tmp_path / str(k)
        hurt = scene(study, folder)
        assert in_child(lambda hurt=hurt: command(hurt), Mortal(folder, k, how)).status == -signal.SIGKILL
        hurt.go(uncancel=True)
        owners = hurt.owners()
        assert set(owners.values()) <= {1}  # nobody else is at work
        for _ in range(3):
            hurt.cluster.work_off(hurt.study)
            hurt.go(uncancel=True)
        proven(hurt.study, expected)
        for run, record in hurt.study.history().runs.items():
            again = command is from_nothing and run == study.generation().runs[2]
            assert record.attempts <= 2 + again  # nobody trained in vain
        shutil.rmtree(folder)


def test_a_steward_exports_in_the_end(begun, tmp_path):
    study, _ = begun
    made = scene(study, tmp_path)
    made.go()
    made.cluster.work_off(made.study)
    assert in_child(lambda: next_wave(made)).status == 0
    assert (made.study.tables / "manifest.json").exists()
