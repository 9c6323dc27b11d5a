"""Who owns a run, under fire: copies that live on where nobody reaches them write what counts for nothing, and stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from orchestrator.study.study import Study
from tests.cluster.lab import Lab
from tests.cluster.matrix import MatrixProject, alive, send, undisturbed
from tests.faults.proof import Rows, contradictions


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The series of a study that nothing befell."""
    return undisturbed(tmp_path_factory.mktemp("calm"))


def first_copies(project: MatrixProject) -> list[int]:
    """Return the processes of the first incarnations."""
    return [log.begin["pid"] for log in project.logs() if log.k == 1]


def stopped(pid: int) -> bool:
    """Say whether a process is suspended: by a signal, or with its control group."""
    return status(pid)[0] in "TD"


def parent(pid: int) -> int:
    """Return the process that started another one."""
    return int(status(pid)[1])


def status(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def test_orphans_go_on_writing_and_a_suspended_copy_wakes_too_late(make_slurm, tmp_path, expected) -> None:
    """A node is cut off. On it live orphans that train on, and a copy that somebody had suspended."""
    lab: Lab = make_slurm(nodes=2, cpus=4, extra=["SlurmdTimeout=5"])
    node = lab.nodes[0]
    orphans, sleeper = MatrixProject(tmp_path / "orphans", lab), MatrixProject(tmp_path / "sleeper", lab, runs=1)
    (orphans.folder / "pause").write_text("10")
    sleeper.hold()
    lab.drain(lab.nodes[1])
    for project in (orphans, sleeper):
        project.orch("submit", "walk.yaml")
    orphans.until(lambda: [log.saved != [None] for log in orphans.logs()] == [True] * 3, "a checkpoint of each run")
    sleeper.until(lambda: sleeper.half() == 1, "a run half way")
    lab.resume(lab.nodes[1])
    writing, (asleep,) = first_copies(orphans), first_copies(sleeper)
    for pid in (parent(asleep), asleep):
        send(pid, signal.SIGSTOP)
    lab.kill_node(node, jobs=True)
    lab.wait(lambda: lab.node_states()[node].startswith("down"), "the node's end")
    for project, count in ((orphans, 6), (sleeper, 2)):
        project.until(
            lambda project=project, count=count: [log.begun != [None] for log in project.logs()] == [True] * count,
            "second copies",
        )

    # The orphans write on, notice at a heartbeat that they are superseded, and stop by themselves.
    (orphans.folder / "pause").write_text("0.4")
    orphans.until(lambda: not any(map(alive, writing)), "the orphans' end")
    logs = orphans.logs()
    pairs = [(logs[at], logs[at + 1]) for at in (0, 2, 4)]
    assert [first.end for first, _ in pairs] == ["superseded"] * 3
    assert any(first.saved[0] > second.begun[0] for first, second in pairs)  # beyond where a successor went on
    (orphans.folder / "pause").unlink()
    orphans.arrived(expected)

    # The sleeper wakes when its successor is done, and makes all of its steps before it looks around.
    sleeper.release()
    sleeper.arrived(expected)
    for pid in (asleep, parent(asleep)):
        send(pid, signal.SIGCONT)
    sleeper.until(lambda: not alive(asleep), "the sleeper's end")
    sleeper.arrived(expected)
    assert sleeper.logs()[0].end in ("superseded", "finished")
    for project in (orphans, sleeper):
        said = project.orch("doctor", "walk").stdout
        assert "nothing was lost, nothing trained twice" in said


def test_two_arrays_for_one_submission(slurm: Lab, tmp_path: Path, expected: Rows) -> None:
    """The script is handed over again by hand: the second array finds the first one's work taken, and leaves."""
    project = MatrixProject(tmp_path, slurm)
    project.held()
    script = project.study().script_path(1, 0)
    second = slurm.run("sbatch", "--parsable", script).stdout.strip()
    slurm.wait(lambda: not [job for job in slurm.queue() if job.partition("_")[0] == second], "the second array's end")
    assert "superseded" in project.words()
    assert [log.k for log in project.logs()] == [1, 1, 1]
    project.release()
    project.arrived(expected)
    assert project.verdicts() == {1: 3}


def test_a_suspended_job_is_nobody_elses(slurm: Lab, tmp_path: Path, expected: Rows) -> None:
    """While the scheduler lists it, its runs are its own: nothing is submitted again."""
    project = MatrixProject(tmp_path, slurm)
    job = project.held()
    slurm.run("scontrol", "suspend", job)
    assert slurm.state(f"{job}_0") == "SUSPENDED"
    project.until(lambda: all(map(stopped, project.pids())), "the suspension")  # Slurm stops them some seconds later
    project.release()
    project.orch("submit", "walk.yaml")
    assert len(project.study().chain()) == 1
    assert project.json("status", "walk")["runs"]["live"] == 3
    slurm.run("scontrol", "resume", job)
    project.arrived(expected)
    assert len(project.study().chain()) == 1
    assert contradictions(Study(project.study().path)) == []


def test_a_job_that_slurm_holds_after_a_failed_launch_is_taken_up(make_slurm, tmp_path: Path, expected: Rows) -> None:
    """A prolog fails: Slurm queues the job again, for somebody to release it, and drains the node."""
    failing = tmp_path / "failing"
    prolog = tmp_path / "prolog.sh"
    prolog.write_text(f"#!/bin/sh\ntest ! -e {failing}\n")
    prolog.chmod(0o755)
    lab: Lab = make_slurm(nodes=2, cpus=4, extra=[f"Prolog={prolog}", "PrologFlags=Alloc"])
    project = MatrixProject(tmp_path / "held", lab)
    failing.touch()
    project.orch("submit", "walk.yaml")
    job = project.job()
    lab.wait(lambda: lab.field(f"{job}_0", "Reason") == "launch_failed_requeued_held", "the failure of the prolog")
    failing.unlink()
    for node in lab.nodes:
        lab.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)  # those that were drained
    project.orch("submit", "walk.yaml")
    there = [listed.partition("_")[0] for listed in lab.queue()]
    assert job not in there  # whoever takes its runs up ends it
    project.arrived(expected)
    assert project.verdicts() == {1: 3}
