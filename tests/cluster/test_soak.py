"""A random fault every second or two: nothing is lost, nothing twice, and the numbers do not show it.

``make soak`` does the same for longer. ``ORCH_TESTS_SOAK`` says for how many minutes; ``ORCH_TESTS_SOAK_FORM=lanes``
has the runs train as stacked lanes instead of one after the other.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.study.study import Study
from tests.cluster.lab import Lab
from tests.cluster.matrix import STACKED, WALK, MatrixProject, undisturbed
from tests.cluster.soak import LAB, SETTLE, Soak
from tests.cluster.soak_faults import small_disk
from tests.faults.proof import proven

MINUTES = float(os.environ.get("ORCH_TESTS_SOAK", "0.75"))
LONG = "ORCH_TESTS_SOAK" in os.environ
RUNS = int(os.environ.get("ORCH_TESTS_SOAK_RUNS", "300" if LONG else "40"))
EVERY = float(os.environ.get("ORCH_TESTS_SOAK_EVERY", "3" if LONG else "1.5"))
FORMS = {
    "run": (WALK, {"lanes": 4}, 0.05),
    "lanes": (STACKED, {"lanes": 16, "memory": "1500M", "engine": "eager", "parallel": 3}, 0.5),
}
"""By the form of the experiment: it, what its grid asks for, and the seconds that a step takes."""
FILES, ASKED, PAUSE = FORMS[os.environ.get("ORCH_TESTS_SOAK_FORM", "run")]
SEED = int(os.environ.get("ORCH_TESTS_SOAK_SEED", random.SystemRandom().randrange(10**6) if LONG else 1))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project's folder, whose studies are on a file system of their own, so that it can be full."""
    path = tmp_path / "project"
    mounted = small_disk(path / "runs")
    yield path
    if mounted:
        subprocess.run(["umount", "-l", path / "runs"], check=True)
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.timeout(MINUTES * 60 + 3 * SETTLE)
def test_a_study_under_fire_arrives_as_if_nothing_had_happened(make_slurm, folder: Path, tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "calm", runs=RUNS, files=FILES)
    lab: Lab = make_slurm(**LAB, accounting=LONG)
    project = MatrixProject(folder, lab, runs=RUNS, files=FILES, workers=2, retries=1000, max_memory="1500M", **ASKED)
    project.env["ORCH_PATIENCE"] = "5"
    (folder / "pause").write_text(str(PAUSE))
    soak = Soak(lab, project, SEED, MINUTES * 60, EVERY)
    sys.stdout.write(f"soak: seed {SEED}, {RUNS} runs, {MINUTES:g} minutes\n")
    soak.run()
    sys.stdout.write(soak.summary(expected) + "\n")
    assert soak.complaints == []
    assert len(soak.done) >= 4  # it was no calm
    proven(Study.open("walk", folder / "runs"), expected)
