"""What goes wrong on clusters, on a real one: no run is lost, and none counts twice."""

from __future__ import annotations

import csv
import gzip
import shlex
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.lab import has_cgroups
from tests.cluster.project import ClusterProject

ALL = {"done": 6}
ONCE = {1: 6}


def held(project: ClusterProject, runs: int = 3, *words: str) -> str:
    """Submit, have every run stop half way, and return the job's id once so many have begun."""
    project.hold()
    project.orch("submit", "walk.yaml", *words)
    project.wait(lambda: sum(project.begun().values()) >= runs, "the beginning of runs")
    return project.job()


# --- what others do to our jobs ---------------------------------------------------------------------------------------


def test_elements_that_are_requeued_go_on(project: ClusterProject) -> None:
    job = held(project)
    project.lab.run("scontrol", "requeue", f"{job}_0")
    project.lab.wait(lambda: project.lab.state(f"{job}_0") == "PENDING", "the requeue")
    assert set(project.runs()) <= {"live", "waiting"}
    project.release()
    project.empty()
    assert project.runs() == ALL
    assert project.verdicts() == ONCE
    first = project.study().incarnations("1-0")
    assert [log.end for log in first] == ["interrupted", "finished"]
    assert len(project.study().chain()) == 1  # nothing had to be submitted again


def test_jobs_that_are_cancelled_from_outside_are_taken_up_by_the_steward(project: ClusterProject) -> None:
    job = held(project)
    project.lab.run("scancel", job)
    project.lab.wait(lambda: project.lab.state(f"{job}_0") in ("CANCELLED", ""), "the end of the job")
    project.release()
    project.empty()
    assert project.runs() == ALL
    assert project.verdicts() == ONCE
    assert len(project.study().chain()) > 1


def test_killed_with_its_steward_the_next_submit_repairs(project: ClusterProject) -> None:
    held(project)
    project.lab.run("scancel", "--signal=KILL", "--full", "--user=root")
    project.lab.run("scancel", "--user=root")
    project.empty()
    counts = project.runs()
    assert sum(counts.values()) == 6
    assert set(counts) <= {"lost", "waiting"}
    assert "orch submit" in project.orch("status", "walk").stdout
    project.release()
    project.orch("submit", "walk.yaml")
    project.empty()
    assert project.runs() == ALL
    assert project.verdicts() == ONCE


def test_drained_nodes_only_delay(project: ClusterProject) -> None:
    lab = project.lab
    for node in lab.nodes:
        lab.drain(node)
    project.orch("submit", "walk.yaml")
    assert project.runs() == {"live": 6}
    told = project.orch("explain", "walk", "seed=1", "rate=0.5").stdout.lower()
    assert "pending" in told or "waits" in told
    assert "drain" in told or "unavailable" in told or "resources" in told
    for node in lab.nodes:
        lab.resume(node)
    project.empty()
    assert project.runs() == ALL


def test_a_node_that_drains_finishes_what_it_has(project: ClusterProject) -> None:
    held(project)
    for node in project.lab.nodes:
        project.lab.drain(node)
    project.release()
    project.wait(lambda: project.done() == 6, "the end of all runs")
    for node in project.lab.nodes:
        project.lab.resume(node)
    project.empty()
    assert project.verdicts() == ONCE


def test_a_node_that_is_cut_off_and_its_orphans_change_nothing(make_slurm, tmp_path: Path) -> None:
    """The node goes down, its elements begin elsewhere, and their first copies go on writing for a while."""
    lab = make_slurm(nodes=2, cpus=4, extra=["SlurmdTimeout=5"])
    project = ClusterProject(tmp_path, "slurm", lab)
    project.resources(axes="{seed: 0..3, rate: [0.5]}", checkpoint="1s")
    held(project, 4)
    lab.kill_node(lab.nodes[0], jobs=True)
    lab.wait(lambda: lab.node_states()[lab.nodes[0]].startswith("down"), "the node's end")
    project.wait(lambda: sum(project.begun().values()) == 8, "the second copies")
    project.release()
    project.empty()
    assert project.runs() == {"done": 4}
    with gzip.open(project.folder / "runs/walk/tables/long.csv.gz", "rt") as table:
        rows = Counter((row["seed"], row["tag"], row["step"]) for row in csv.DictReader(table))
    assert len(rows) == 4 * 20 * 2
    assert set(rows.values()) == {1}


def test_the_controller_is_away_for_a_moment(project: ClusterProject) -> None:
    held(project)
    project.lab.stop_controller()
    project.env["ORCH_PATIENCE"] = "1"
    away = project.orch("status", "walk", code=3)
    assert "Slurm" in away.stderr
    refused = project.orch("submit", "walk.yaml", "seed=0..3", code=None)
    assert refused.returncode in (3, 4)
    del project.env["ORCH_PATIENCE"]
    project.release()
    project.lab.start_controller()
    project.orch("submit", "walk.yaml", "seed=0..3")
    project.empty()
    assert project.runs() == {"done": 8}
    assert project.verdicts() == {1: 8}


# --- what happens while a client submits ------------------------------------------------------------------------------


def test_two_submits_at_once_train_each_run_once(project: ClusterProject) -> None:
    both = [project.start("submit", "walk.yaml") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    project.empty()
    assert project.runs() == ALL
    assert project.verdicts() == ONCE
    assert set(project.begun().values()) == {2}  # of each seed two rates


LIE = """\
case "$*" in *--test-only*) exec "$REAL" "$@";; esac
if [ ! -e "$HERE/lied" ]; then
    touch "$HERE/lied"
    "$REAL" "$@" > /dev/null
    echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
    exit 1
fi
"""


def test_an_sbatch_that_times_out_and_queues_the_job_all_the_same(project: ClusterProject) -> None:
    project.wrap("sbatch", LIE)
    project.orch("submit", "walk.yaml")
    assert (project.folder / "lied").exists()
    project.empty()
    assert project.runs() == ALL
    assert project.verdicts() == ONCE
    assert set(project.begun().values()) == {2}


def test_the_same_where_the_queue_does_not_show_it_yet(project: ClusterProject) -> None:
    """It is handed over twice, and the second job finds the array taken."""
    project.wrap("sbatch", LIE)
    project.wrap("squeue", 'case "$*" in *--name*) exit 0;; esac')
    project.orch("submit", "walk.yaml")
    project.unwrap("squeue")
    project.empty()
    assert project.runs() == ALL
    assert project.verdicts() == ONCE
    assert set(project.begun().values()) == {2}
    assert "superseded" in project.words()


DIE = """\
case "$*" in *--test-only*) exec "$REAL" "$@";; esac
if [ ! -e "$HERE/died" ]; then
    touch "$HERE/died"
    {before}
    kill -9 $PPID
    exit 1
fi
"""


@pytest.mark.parametrize("before", ["", '"$REAL" "$@" > /dev/null'], ids=["before sbatch", "after sbatch"])
def test_a_client_that_is_killed_is_repaired_by_the_next(project: ClusterProject, before: str) -> None:
    project.wrap("sbatch", DIE.format(before=before))
    killed = project.start("submit", "walk.yaml")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert len(project.study().chain()) == 1
    project.orch("submit", "walk.yaml")
    project.empty()
    assert project.runs() == ALL
    assert project.verdicts() == ONCE
    assert set(project.begun().values()) == {2}
    assert len(project.study().chain()) == 1


def test_submitting_from_inside_a_job(project: ClusterProject) -> None:
    """The job's own variables would make arrays of its size, in its directory, with its cores."""
    words = shlex.join([str(Path(sys.executable).with_name("orch")), "submit", "walk.yaml"])
    script = f"cd {project.folder}\n{words} > {project.folder}/said 2>&1"
    environment = "ALL,SBATCH_ARRAY_INX=0-99,SBATCH_TIMELIMIT=1,SBATCH_QOS=nosuch"
    options = ("--cpus-per-task=3", "--array=5-6%1", "--job-name=outer", f"--export={environment}")
    project.lab.run("sbatch", "--output=/dev/null", *options, input=f"#!/bin/sh\n{_exports(project)}\n{script}\n")
    project.wait((project.folder / "runs/walk/submissions/1.json").exists, "the submission")
    project.empty()
    assert project.runs() == ALL, (project.folder / "said").read_text()
    assert project.verdicts() == ONCE
    assert set(project.begun().values()) == {2}


def _exports(project: ClusterProject) -> str:
    names = ("TOY_FOLDER", "ORCH_ROOT")
    return "\n".join(f"export {name}={shlex.quote(project.env[name])}" for name in names)


BANNER = 'echo "Welcome to the cluster! Your job 99999 quota: 12345"; echo "Submitted batch job notes: see wiki" >&2'


def test_banners_and_foreign_jobs_do_not_confuse(project: ClusterProject) -> None:
    foreign = project.lab.sbatch("sleep 600", "--array=1-5%1", "--job-name=orch-walk-1.0")
    project.wrap("sbatch", BANNER)
    project.orch("submit", "walk.yaml")
    assert project.job() != foreign
    project.wait(lambda: project.done() == 6, "the end of all runs")
    assert project.lab.state(f"{foreign}_1") == "RUNNING"
    project.orch("cancel", "walk", "--yes", code=None)
    assert project.lab.state(f"{foreign}_1") == "RUNNING"


# --- want of memory ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not has_cgroups(), reason="needs control groups of version 1")
@pytest.mark.parametrize("accounting", [False, True], ids=["without accounting", "with accounting"])
def test_want_of_memory_is_told_and_more_is_asked_for(request, accounting: bool) -> None:
    project = request.getfixturevalue("project_accounting" if accounting else "project")
    project.resources(axes="{seed: 0..1, rate: [0.5]}", memory="100M")
    (project.folder / "hungry-1").write_text(str(120 * 2**20))
    project.orch("submit", "walk.yaml")
    project.empty()
    study = project.study()
    ends = {log.end for spec in study.submission(1).tasks for log in study.incarnations(spec.name)}
    assert ends - {None} == {"finished", "oom"}, project.words()  # what was killed said nothing itself
    assert project.runs() == {"done": 2}  # the steward asked for more memory
    later = study.chain()[-1]
    assert later.n > 1
    assert later.resources["memory"] != "100M"


@pytest.mark.skipif(not has_cgroups(), reason="needs control groups of version 1")
def test_a_run_that_eats_all_memory_there_is_fails_in_the_end(project: ClusterProject) -> None:
    project.resources(axes="{seed: 0..1, rate: [0.5]}", memory="100M", retries=1)
    (project.folder / "hungry-1").write_text(str(2 * 2**30))
    project.orch("submit", "walk.yaml")
    project.empty()
    assert project.runs() == {"done": 1, "failed": 1}
    told = project.orch("explain", "walk", "seed=1").stdout
    assert "memory" in told
