"""Far more runs than a scheduler takes at one time: stewards submit the rest in waves, and each run trains once."""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

import pytest

from tests.cluster.conftest import started
from tests.cluster.project import ClusterProject


class Size(NamedTuple):
    """So many runs, by so many workers side by side in an element, where a scheduler allows so much."""

    runs: int
    workers: int
    max_array: int
    submit_limit: int


SIZES = {"small": Size(60, 1, 11, 20), "large": Size(2500, int(os.environ.get("ORCH_TESTS_SIDE", "4")), 1001, 500)}
CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.timeout(1800)
def test_waves_until_every_run_has_trained_once(name, tmp_path, monkeypatch) -> None:
    size = SIZES[name]
    lab = started(
        nodes=2,
        cpus=2 * CORES,
        memory=64_000,
        accounting=True,
        max_array=size.max_array,
        submit_limit=size.submit_limit,
    )
    try:
        for variable, value in lab.environment.items():
            monkeypatch.setenv(variable, value)
        project = ClusterProject(tmp_path, "slurm", lab)
        axes = f"{{seed: 0..{size.runs - 1}, rate: [0.5], steps: [2]}}"
        project.resources(axes=axes, workers=size.workers, cpus=1)
        project.count("sbatch", "squeue", "sacct", "scontrol", "sacctmgr", "scancel")
        project.orch("submit", "walk.yaml", "--yes")
        assert len(lab.queue()) <= size.submit_limit
        project.counted()
        assert project.runs()["waiting"] >= size.runs - size.submit_limit * size.workers
        assert project.counted() == {"squeue": 1}

        project.empty(1500)
        waves = [entry for entry in project.study().chain() if entry.kind == "submit"]
        called = project.counted()
        assert project.runs() == {"done": size.runs}
        assert project.verdicts() == {1: size.runs}
        assert Counter(project.begun().values()) == {1: size.runs}
        arrays = [entry.elements(array) for entry in waves for array in range(len(entry.arrays))]
        assert max(arrays) <= size.max_array
        assert {spec.count for entry in waves for spec in entry.tasks} == {1}
        assert len(waves) > 1
        # Without any terminal: an array and a steward for each wave, and a few questions.
        assert called["sbatch"] <= len(arrays) + 2 * len(waves)
        assert called["squeue"] <= 8 * len(waves)
        assert (project.folder / "runs/walk/tables/long.csv.gz").is_file(), project.words()
    finally:
        lab.close()
