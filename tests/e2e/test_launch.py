"""Studies launched by hand: the elements of a printed script, run by a shell in the environment of a job."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.study.study import Study
from tests.e2e.conftest import Project

Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def script(project: Project) -> Path:
    """A script for three elements of two runs each, in a world without a scheduler."""
    tools = project.folder / "bin"
    tools.mkdir()
    for name in ("bash", "git"):
        (tools / name).symlink_to(str(shutil.which(name)))
    project.env["PATH"] = str(tools)
    project.orch("script", "walk.yaml", "resources.lanes=2", "--workers", "1", "--cluster", "slurm", "-o", "launch.sh")
    return project.folder / "launch.sh"


@pytest.fixture
def element(project: Project, script: Path) -> Iterator[Started]:
    """Start an element of a job, as Slurm would."""
    started: list[subprocess.Popen[str]] = []

    def start(index: int, job: int = 77) -> subprocess.Popen[str]:
        slurm = {"SLURM_JOB_ID": str(job + index), "SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(index)}
        process = subprocess.Popen(
            ["bash", script], cwd=project.folder, env={**project.env, **slurm}, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    project.release()
    for process in started:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def end(*processes: subprocess.Popen[str]) -> str:
    said = ""
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        said += err
    return said


def study_of(project: Project) -> Study:
    return Study.open("walk", project.folder / "runs")


def runs(project: Project) -> dict[str, int]:
    """Return the counts of status, which may say that there is no scheduler to be asked."""
    counts = project.json("status", "walk", code=None)["runs"]
    return {state: count for state, count in counts.items() if count and state != "total"}


def forget(project: Project) -> None:
    """Have a scheduler say that it knows of no job any more."""
    squeue = project.folder / "bin" / "squeue"
    squeue.write_text("#!/bin/bash\n")
    squeue.chmod(0o755)


def test_the_first_element_publishes_what_all_of_them_train(project: Project, element: Started) -> None:
    project.hold()
    running = [element(index) for index in (2, 0, 1)]
    project.wait(lambda: len(project.begun()) == 3, "the beginning")
    assert runs(project) == {"live": 6}
    project.release()
    end(*running)
    assert runs(project) == {"done": 6}
    study = study_of(project)
    [entry] = study.chain()
    assert (entry.tag, entry.cluster, entry.scheduler, len(entry.tasks)) == ("hand-77", "slurm", "slurm", 3)
    assert [(job.n, job.array, job.job_id) for job in study.jobs()] == [(1, 0, "77")]
    assert study.owner(1, 0) == "77"
    begun = {spec.name: study.incarnations(spec.name)[-1].begin["job"] for spec in entry.tasks}
    assert begun == {"1-0": "77_0", "1-1": "77_1", "1-2": "77_2"}
    assert (study.code_dir(entry.code) / "project" / "toy" / "train.py").is_file()
    assert set(project.begun().values()) == {2}  # both rates of each seed, once


def test_a_second_launch_leaves_alone_what_is_under_way(project: Project, element: Started) -> None:
    project.hold()
    running = [element(index) for index in range(3)]
    project.wait(lambda: len(project.begun()) == 3, "the beginning")
    said = end(element(0, job=88), element(2, job=88))
    assert said.count("nothing is left to do") == 2
    assert "0 runs are done, 6 are under way" in said
    project.release()
    end(*running)
    assert [entry.tag for entry in study_of(project).chain()] == ["hand-77", "hand-88"]
    assert runs(project) == {"done": 6}
    assert set(project.begun().values()) == {2}


def test_a_second_launch_trains_what_is_left(project: Project, element: Started) -> None:
    end(element(1))
    assert runs(project) == {"done": 2, "live": 4}
    forget(project)
    end(*(element(index, job=88) for index in range(3)))
    first, second = study_of(project).chain()
    assert (len(first.tasks), len(second.tasks)) == (3, 2)
    assert runs(project) == {"done": 6}
    assert set(project.begun().values()) == {2}
    # The steward that could not be left is nobody's loss: the next submit finds a whole study.
    assert project.json("plan", "walk.yaml")["runs"]["keep"] == 6


def test_an_element_that_is_started_again_goes_on_with_its_own_entry(project: Project, element: Started) -> None:
    project.hold()
    first = element(0)
    project.wait(lambda: len(project.begun()) == 1, "the beginning")
    first.kill()
    first.wait()
    project.release()
    end(element(0))
    [entry] = study_of(project).chain()
    assert [log.end for log in study_of(project).incarnations("1-0")][-1] == "finished"
    assert entry.tag == "hand-77"


def test_outside_of_a_job_it_is_a_sentence(project: Project, script: Path) -> None:
    done = subprocess.run(
        ["bash", script], cwd=project.folder, env=project.env, stderr=subprocess.PIPE, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "this process is no job of slurm: hand the script to the scheduler" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (project.folder / "runs").exists()


def test_a_script_of_a_grid_that_has_shrunk_since_is_refused(project: Project, element: Started) -> None:
    end(*(element(index) for index in range(3)))
    project.orch("submit", "walk.yaml", "seed=0..3", "--cluster", "local")
    project.settled()
    late = element(0, job=88)
    _, err = late.communicate(timeout=120)
    assert late.returncode == 2
    assert "the grid no longer names 2 runs" in err
