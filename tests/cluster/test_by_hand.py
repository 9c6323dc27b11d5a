"""Printed scripts handed to real schedulers by hand, and the doctor's own job."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.project import ClusterProject


@pytest.fixture(params=["slurm", "lsf", "lsf of old"])
def project(request: pytest.FixtureRequest, slurm, tmp_path: Path) -> ClusterProject:
    if request.param != "slurm":
        make = request.getfixturevalue("make_lsf")
        make(dialect="old" if "old" in request.param else "ibm", terminate_interval=1.0)
    made = ClusterProject(tmp_path, request.param.partition(" ")[0], slurm)
    made.resources(steward="{memory: 300M}")
    return made


def hand_over(project: ClusterProject, script: str) -> str:
    """Hand a script to the scheduler as a person would, and return what it says."""
    with (project.folder / script).open() as file:
        words = ["sbatch", script] if project.cluster == "slurm" else ["bsub"]
        done = subprocess.run(
            words, cwd=project.folder, env=project.env, stdin=file, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_does_what_submit_does(project: ClusterProject) -> None:
    project.orch("script", "walk.yaml", "--runs-per-task", "2", "-o", "launch.sh")
    project.hold()
    first = hand_over(project, "launch.sh")
    project.wait(lambda: len(project.begun()) == 3, "the beginning")
    assert project.runs() == {"live": 6}
    second = hand_over(project, "launch.sh")
    log = project.folder / "orch-walk.log"
    project.wait(lambda: log.read_text().count("nothing is left to do") == 3, "the second's end")
    project.release()
    project.empty()
    assert project.runs() == {"done": 6}
    assert project.verdicts() == {1: 6}
    assert set(project.begun().values()) == {2}  # each rate once
    jobs = project.study().jobs()
    assert [job.job_id in first for job in jobs] == [True]
    assert f"hand-{jobs[0].job_id}" == project.study().chain()[0].tag
    assert jobs[0].job_id not in second
    # The steward that the first element left has had the last word.
    assert (project.folder / "runs" / "walk" / "tables").is_dir()
    assert "nothing is left to do" in project.orch("script", "walk.yaml").stderr


def test_the_doctors_job_finds_out_what_only_a_job_can(project: ClusterProject) -> None:
    project.env["ORCH_MEMORY"] = "1G"
    data = project.json("doctor", "--job", "--cluster", project.cluster, code=None)
    found = {check["name"]: (check["verdict"], check["found"]) for check in data["checks"]}
    assert data["job"].isdecimal()
    assert found["torch"][0] == "ok", found
    assert found["studies"][0] == "ok"
    assert found["hard links"] == ("ok", "work")
    assert found["clock"][0] == "ok"
    assert "submitting" in found
    assert list((project.folder / "runs").iterdir()) == []
    project.empty()


@pytest.mark.parametrize("project", ["slurm"], indirect=True)
def test_a_job_with_too_little_memory_is_told_of(project: ClusterProject) -> None:
    project.env["ORCH_MEMORY"] = "100M"
    data = project.json("doctor", "--job", "--cluster", project.cluster, code=2)
    missing = "; ".join(check["found"] for check in data["checks"] if check["verdict"] == "missing")
    assert "memory" in missing.lower(), data
