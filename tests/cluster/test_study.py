"""Whole studies on a real scheduler, through the real command line, up to tables and figures."""

from __future__ import annotations

import csv
import gzip
import shutil
import signal
import time
from collections import Counter

import pytest

from tests.cluster.project import ClusterProject

FIGURE = "figures:\n  - {name: fig, script: range_success, x: rate}\n"


def test_tables_and_figures_are_there_and_no_terminal_is(project: ClusterProject) -> None:
    draws = shutil.which("Rscript") is not None
    project.resources(sections=FIGURE if draws else "")
    project.orch("submit", "walk.yaml")
    project.empty()
    assert project.runs() == {"done": 6}
    assert project.verdicts() == {1: 6}
    assert set(project.begun().values()) == {2}  # two rates for each seed
    study = project.folder / "runs" / "walk"
    with gzip.open(study / "tables" / "long.csv.gz", "rt") as table:
        assert len(list(csv.DictReader(table))) == 6 * 20 * 2
    assert (study / "figures" / "fig.pdf").is_file() or not draws
    assert project.json("plan", "walk.yaml")["runs"]["keep"] == 6
    project.orch("submit", "walk.yaml")
    assert project.lab.queue() == []  # nothing is left to do


def test_files_grow_with_arrays_and_not_with_elements(project: ClusterProject) -> None:
    project.resources(axes="{seed: 0..9, rate: [0.5]}")
    project.orch("submit", "walk.yaml")
    files = [path.name for path in (project.folder / "runs/walk/submissions").iterdir()]
    assert sorted(name.partition("-")[0] for name in files if not name.endswith(".log")) == [
        "1.0.sh", "1.job", "1.json",
    ]  # fmt: skip
    project.empty()
    assert project.runs() == {"done": 10}


def test_looking_asks_the_scheduler_once_for_each_refresh(project: ClusterProject) -> None:
    project.count("squeue", "sacct", "scontrol", "sbatch")
    project.hold()
    project.orch("submit", "walk.yaml")
    assert project.counted()["sbatch"] <= 3  # the array, the steward, and an estimate of the start
    assert project.json("status", "walk")["runs"]["live"] == 6
    assert project.counted() == {"squeue": 1}
    project.wait(lambda: len(project.begun()) == 3, "the beginning of all runs")
    begun, called = time.monotonic(), Counter[str]()
    watching = project.start("watch", "walk", "--interval", "0.5")
    while called["squeue"] < 4:
        project.wait(project.calls.exists, "a refresh")
        called += project.counted()
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=120)
    refreshes = 1 + (time.monotonic() - begun) / 0.5
    called += project.counted()
    assert called.keys() == {"squeue"}
    assert called["squeue"] <= refreshes
    project.release()
    project.empty()
    assert project.runs() == {"done": 6}


def test_failures_are_told_without_accounting(project: ClusterProject) -> None:
    (project.folder / "broken-1").touch()
    project.orch("submit", "walk.yaml")
    project.empty()
    assert project.runs() == {"done": 4, "failed": 2}
    told = project.orch("explain", "walk", "seed=1", "rate=0.5").stdout
    assert "raise ValueError" in told
    (project.folder / "broken-1").unlink()
    project.orch("retry", "walk")
    project.empty()
    assert project.runs() == {"done": 6}


def test_why_a_run_waits_is_told(project: ClusterProject) -> None:
    project.resources(parallel=1)
    project.hold()
    project.orch("submit", "walk.yaml")
    project.wait(lambda: len(project.begun()) > 0, "the beginning of a run")
    told = project.orch("explain", "walk", "seed=2", "rate=0.5").stdout
    assert "pending" in told or "queued" in told or "waits" in told
    project.release()
    project.empty()
    assert project.runs() == {"done": 6}


def test_cancel_and_take_up_again(project: ClusterProject) -> None:
    project.hold()
    project.orch("submit", "walk.yaml")
    project.wait(lambda: len(project.begun()) == 3, "the beginning of all runs")
    project.orch("cancel", "walk", "seed=2", "--yes")
    assert project.runs() == {"live": 4, "cancelled": 2}
    project.orch("cancel", "walk", "--yes")
    project.empty()
    assert project.runs() == {"cancelled": 6}
    project.release()
    project.orch("submit", "walk.yaml")
    project.empty()
    assert project.runs() == {"done": 6}
    assert project.verdicts() == {1: 6}


LANES = """\
study: lanes
experiment: arithmetic.single_layer
set: {operation: mul, layer: nmu, max_iterations: 200, log_interval: 100}
axes:
  seed: 0..99
  learning_rate: [1e-3, 3e-3, 1e-2]
  range:
    "[1,2)": {interpolation: [1, 2], extrapolation: [2, 6]}
    "[-2,2)": {interpolation: [-2, 2], extrapolation: [[-6, -2], [2, 6]]}
    "[0,1)": {interpolation: [0, 1], extrapolation: [1, 5]}
resources: {cluster: slurm, engine: eager, memory: 2G}
"""


def test_nine_hundred_runs_as_lanes_of_a_handful_of_tasks(project: ClusterProject) -> None:
    (project.folder / "lanes.yaml").write_text(LANES)
    project.orch("submit", "lanes.yaml", "--yes")
    study = project.study("lanes")
    assert sum(len(entry.tasks) for entry in study.chain()) < 10
    project.empty(240)
    assert project.runs("lanes") == {"done": 900}
    assert project.verdicts("lanes") == {1: 900}
    assert len(list((study.path / "events").glob("*/*/events*"))) == 900
    assert (study.path / "tables" / "long.csv.gz").is_file()


@pytest.mark.parametrize("dialect", ["ibm", "old"])
def test_the_same_on_lsf(make_lsf, slurm, tmp_path, dialect) -> None:
    make_lsf(dialect=dialect, terminate_interval=1.0)
    project = ClusterProject(tmp_path, "lsf", slurm)
    project.orch("submit", "walk.yaml")
    project.empty()
    assert project.runs() == {"done": 6}
    assert project.verdicts() == {1: 6}
    assert (project.folder / "runs/walk/tables/long.csv.gz").is_file(), project.words()


@pytest.mark.parametrize(("gpus", "seen"), [(1, [1, 1]), (2, [2, 2])])
def test_workers_share_the_accelerators_of_their_job(project_accounting, gpus, seen) -> None:
    """Two workers in each of two jobs on one machine of two accelerators."""
    project = project_accounting
    node = project.lab.nodes[0]
    project.resources(gpus=gpus, workers=2, extra=f"[--nodelist={node}]", axes="{seed: 0..3, rate: [0.5]}")
    project.hold()
    project.orch("submit", "walk.yaml")
    if gpus == 1:
        project.wait(lambda: len(project.begun()) == 4, "the beginning of all runs")
    project.release()
    project.empty()
    assert project.runs() == {"done": 4}
    study, told = project.study(), {}
    for element in range(2):
        specs = study.submission(1).tasks_of(0, element)
        seeds = [study.task(spec.name).points[0] for spec in specs]
        told[element] = Counter((project.folder / f"devices-{seed}").read_text() for seed in seeds)
    if gpus == 1:
        assert sorted(map(len, told.values())) == [1, 1]
        assert {*told[0], *told[1]} == {"0", "1"}
    else:
        assert all(counts == {"0": 1, "1": 1} for counts in told.values())


def test_a_type_of_accelerator_that_there_is_not(project_accounting) -> None:
    project_accounting.resources(gpus=1, gpu_type="h100")
    refused = project_accounting.orch("submit", "walk.yaml", code=None)
    assert refused.returncode in (2, 4)
    assert "h100" in refused.stderr + refused.stdout
