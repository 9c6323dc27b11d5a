"""The fault matrix on a real Slurm: whatever befalls its jobs, every run arrives once, with the same numbers.

All tests of this file share one Slurm; each has a node of its own, for time limits take more than a minute to strike.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.conftest import folder
from tests.cluster.lab import Lab, missing
from tests.cluster.matrix import MatrixProject, alive, send, undisturbed
from tests.faults.proof import Rows
from tests.needs import do_without

PARTITIONS = [
    "PartitionName=abrupt Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 DefMemPerCPU=100",
    "PartitionName=dropped Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=0 DefMemPerCPU=100",
]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The series of a study that nothing befell."""
    return undisturbed(tmp_path_factory.mktemp("calm"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A Slurm with accounting, whose queue forgets at once."""
    why = missing(accounting=True)
    if why is not None:
        do_without("slurm", why)
    with ExitStack() as stack:
        made = Lab(folder(), nodes=4, cpus=12, accounting=True, min_job_age=2, kill_wait=3, extra=PARTITIONS)
        stack.callback(made.close)
        made.start()
        yield made


@pytest.fixture(autouse=True)
def entered(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process, and what it starts, speak to the Slurm."""
    for name in os.environ:
        if name.startswith(("SLURM", "SBATCH_")):
            monkeypatch.delenv(name)
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in memory, where that is possible."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return tmp_path_factory.mktemp("matrix")
    path = folder()
    path.rename(path.with_name(path.name + "-matrix"))
    return path.with_name(path.name + "-matrix")


@pytest.fixture(scope="module", autouse=True)
def _tidy(shared: Path, lab: Lab) -> Iterator[None]:
    yield
    shutil.rmtree(shared, ignore_errors=True)


def pinned(folder: Path, lab: Lab, node: int, **resources: object) -> MatrixProject:
    """Make a project whose jobs go to one node."""
    return MatrixProject(folder, lab, extra=f"[--nodelist={lab.nodes[node]}]", **resources)


@pytest.fixture(scope="module")
def limited(shared: Path, lab: Lab) -> tuple[MatrixProject, MatrixProject]:
    """Two studies whose time ends while the other tests run: the runs of one do not listen."""
    before = dict(os.environ)
    os.environ.update(lab.environment)
    try:
        heard, deaf = (pinned(shared / name, lab, 3, time="1m", retries=9, runs=2) for name in ("heard", "deaf"))
        for seed in range(2):
            (deaf.folder / f"deaf-{seed}").touch()
        heard.hold()
        for project in (heard, deaf):
            project.orch("submit", "walk.yaml")
    finally:
        os.environ.clear()
        os.environ.update(before)
    return heard, deaf


def test_the_clock_starts(limited: tuple[MatrixProject, MatrixProject]) -> None:
    for project in limited:
        project.until(lambda project=project: project.half() == 2, "the beginning of all runs")


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed(lab: Lab, shared: Path, expected: Rows) -> None:
    project = pinned(shared / "killed", lab, 0)
    project.held()
    for pid in project.pids()[:2]:
        send(pid, signal.SIGKILL)
    project.until(lambda: project.ends().count("lost") == 2, "the elements' testimonies")
    project.release()
    project.arrived(expected)
    assert len(project.study().chain()) > 1  # the steward took them up


def test_two_signals_close_together(lab: Lab, shared: Path, expected: Rows) -> None:
    project = pinned(shared / "twice", lab, 1)
    job = project.held()
    for element in range(3):
        for check in (True, False):  # on a slow machine the job may be over, or begun again, when the second comes
            lab.run("scancel", "--batch", "--signal=USR2", f"{job}_{element}", check=check)
    project.until(lambda: project.ends().count("requeued") >= 3, "three requeues")
    assert all(log.damage == [] for log in project.logs())
    project.release()
    project.arrived(expected)
    assert len(project.study().chain()) == 1  # nothing had to be submitted again


# --- preemption -------------------------------------------------------------------------------------------------------


def test_preemption_with_and_without_grace_and_cancelling(lab: Lab, shared: Path, expected: Rows) -> None:
    """Three studies on one node, in three partitions; a job of a better one wants all of it."""
    node = lab.nodes[2]
    made = {name: pinned(shared / name, lab, 2, partition=name) for name in ("main", "abrupt", "dropped")}
    for project in made.values():
        project.held()
    better = lab.sbatch("sleep 4", "--partition=high", f"--nodelist={node}", "--exclusive", "--mem=0")
    lab.wait(lambda: lab.state(better) in ("RUNNING", "COMPLETED", ""), "the better job", 120)
    for project in made.values():
        project.release()
    for name, project in made.items():
        project.arrived(expected)
        used = {failure for record in project.study().history().runs.values() for failure in record.used}
        assert not used & {"user error", "timeout", "oom", "node"}, name
    assert len(made["main"].study().chain()) == 1  # they were told in time, and the scheduler started them again
    assert len(made["dropped"].study().chain()) > 1  # it does not start again what it cancelled


# --- daemons ----------------------------------------------------------------------------------------------------------

KILLS_CONTROLLER = """\
case "$*" in *--test-only*) exec "$REAL" "$@";; esac
if [ ! -e "$HERE/begun" ]; then
    touch "$HERE/begun"
    {before}
    kill -9 $(cat {pid})
    touch "$HERE/killed"
    {after}
fi
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_controller_dies_while_a_client_submits(lab: Lab, shared: Path, expected: Rows, when: str) -> None:
    """With what it was given, or before it was: the client goes on when it is back, and one job trains."""
    project = pinned(shared / f"controller-{when}", lab, 0)
    hand_over = '"$REAL" "$@" > /dev/null' if when == "after" else ""
    script = KILLS_CONTROLLER.format(
        before=hand_over, pid=lab.folder / "run" / "slurmctld.pid", after="exit 1" if hand_over else ""
    )
    project.wrap("sbatch", script)
    client = project.start("submit", "walk.yaml")
    lab.wait((project.folder / "killed").exists, "the controller's death")
    lab.kill_controller()
    lab.start_controller()
    _, said = client.communicate(timeout=120)
    project.unwrap("sbatch")
    if client.returncode != 0:
        project.orch("submit", "walk.yaml")
    assert "Traceback" not in said
    project.arrived(expected)
    assert project.verdicts() == {1: 3}


def test_accounting_dies_and_the_queue_forgets(lab: Lab, shared: Path, expected: Rows) -> None:
    """Nobody can tell what became of the jobs: they are lost, and taken up."""
    project = pinned(shared / "accounting", lab, 1)
    job = project.held()
    lab.kill_accounting()
    try:
        assert project.json("status", "walk")["runs"]["live"] == 3
        lab.run("scancel", "--signal=KILL", "--full", job)
        lab.wait(lambda: not [one for one in lab.queue() if one.startswith(f"{job}_")], "the end of the job")
        project.release()
        project.arrived(expected)
        assert len(project.study().chain()) > 1
    finally:
        lab.start_accounting()


def test_a_node_that_fails_is_left_out_of_later_attempts(lab: Lab, shared: Path, expected: Rows) -> None:
    """Its jobs may not be requeued: accounting says that the node failed, and the steward asks for another one."""
    bad, others = lab.nodes[1], [lab.nodes[0], lab.nodes[2]]
    project = MatrixProject(shared / "node", lab, extra="[--no-requeue]")
    for node in (*others, lab.nodes[3]):
        lab.drain(node)
    project.held()
    for node in (*others, lab.nodes[3]):
        lab.resume(node)
    lab.kill_node(bad)
    try:
        project.until(lambda: sum(log.n > 1 and log.begun != [None] for log in project.logs()) == 3, "second attempts")
        project.release()
        project.arrived(expected)
    finally:
        lab.start_node(bad)
    assert "node" in project.ends()
    later = project.study().chain()[1:]
    assert [entry.resources["exclude"] for entry in later] == [[bad]] * len(later)
    assert bad not in {log.begin["node"] for log in project.logs() if log.n > 1 and "node" in log.begin}


# --- disks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(shared: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    path = shared / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", path], capture_output=True, text=True)
    if mounted.returncode != 0:
        do_without("mount", f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_disk_that_is_full_for_a_while(lab: Lab, shared: Path, small: Path, expected: Rows) -> None:
    project = pinned(shared / "full", lab, 0, retries=0)
    project.env["ORCH_ROOT"] = str(small)
    (project.folder / "runs").symlink_to(small)
    project.held()
    filled = subprocess.run(["dd", "if=/dev/zero", f"of={small}/filler", "bs=4k"], capture_output=True, text=True)
    assert "No space left on device" in filled.stderr
    refused = project.orch("cancel", "walk", "--yes", code=2)
    assert f"{small}/walk/submissions/2.json: No space left on device; nothing is lost: make room" in refused.stderr
    project.release()
    project.until(lambda: not any(map(alive, project.pids())), "the end of all workers")
    threading.Timer(2, (small / "filler").unlink).start()
    project.arrived(expected)
    assert "disk" in project.ends()


# --- time limits ------------------------------------------------------------------------------------------------------


def test_a_time_limit_that_is_heard_of(limited: tuple[MatrixProject, MatrixProject], expected: Rows) -> None:
    heard, _ = limited
    heard.until(lambda: heard.ends().count("requeued") >= 2, "the end of the slice")
    heard.release()
    heard.arrived(expected)
    assert len(heard.study().chain()) == 1
    assert set(heard.ends()) == {"requeued", "finished"}


def test_a_time_limit_that_strikes_unheard(limited: tuple[MatrixProject, MatrixProject], expected: Rows) -> None:
    _, deaf = limited
    deaf.until(lambda: not any(map(alive, deaf.pids())), "the end of all workers")
    for seed in range(2):
        (deaf.folder / f"deaf-{seed}").unlink()
    deaf.arrived(expected)
    assert "timeout" in deaf.ends()
