"""The element that plans for a script launched by hand, killed at any call: another element does it, and once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator import launch
from orchestrator.clusters.base import Here
from orchestrator.launch import Told
from orchestrator.study.records import Submission
from orchestrator.study.study import Study
from tests.faults.forked import sample
from tests.faults.inject import Mortal, in_child
from tests.study.studies import FakeCluster, ids, make_points, make_wanted

POINTS = make_points(seeds=4)
TOLD = Told("s", "runs", "slurm", "slurm", 4)


class Hand(FakeCluster):
    """A cluster whose job this process is; it lists that job and an earlier one."""

    def __init__(self, element: int, job: str = "77") -> None:
        super().__init__("slurm", states=dict.fromkeys(("77", job), "running"))
        self.me = Here(job, element)

    def here(self) -> Here:
        return self.me


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The grid is known, and nobody waits long for whoever plans."""
    wanted = make_wanted(POINTS, resources={"lanes": 1, "workers": 1, "retries": 0})
    monkeypatch.setattr(launch, "_desired", lambda told, text: wanted)
    monkeypatch.setattr(launch, "clusters_of", lambda study: lambda name: Hand(0))
    monkeypatch.setattr(launch, "PLANNING", 0.05)
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


def entry_of(folder: Path, hand: Hand) -> Submission | None:
    """Do what an element does before it becomes one of the study's own."""
    return launch._entry(Study.create(folder, "s"), TOLD, hand, hand.me)


@pytest.mark.parametrize("how", ["before", "after", "torn", "lost"])
def test_killed_at_any_call_another_element_plans(tmp_path, how):
    trial = tmp_path / "trial"
    ended = in_child(lambda: entry_of(trial, Hand(0)) is None, Mortal(trial, 0, how))
    assert ended.status == 0
    assert ended.calls > 15
    for k in sample(ended.calls, 20):
        folder = tmp_path / str(k)
        assert in_child(lambda folder=folder: entry_of(folder, Hand(0)), Mortal(folder, k, how)).status < 0
        entry = entry_of(folder, Hand(1))
        assert entry is not None
        assert (entry.tag, len(entry.tasks)) == ("hand-77", 4)
        assert entry_of(folder, Hand(2)) == entry
        study = Study.open("s", folder)
        assert study.chain() == [entry]
        assert {record.task for record in study.history().runs.values()} == {spec.name for spec in entry.tasks}
        assert study.history().runs.keys() == set(ids(POINTS))
        second = entry_of(folder, Hand(0, "78"))  # the script is launched once more
        assert second is None or not second.tasks
