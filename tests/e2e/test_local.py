"""The whole road on this machine, through the real command line."""

from __future__ import annotations

import csv
import gzip
import os
import signal
from collections import Counter

import pytest

from orchestrator.study.study import Study
from tests.e2e.conftest import GRID, Project
from tests.needs import needs_r

ONCE = Counter({0: 2, 1: 2, 2: 2})
"""Each of the three seeds trains with two rates."""


def verdicts(project: Project, study: str = "walk") -> Counter[bytes]:
    """Return how many verdicts each run has, over all incarnations of all tasks."""
    opened = Study.open(study, project.folder / "runs")
    found: Counter[bytes] = Counter()
    for entry in opened.chain():
        for spec in entry.tasks:
            runs = opened.task(spec.name).runs
            for log in opened.incarnations(spec.name):
                found.update(run for run, verdict in zip(runs, log.verdicts, strict=True) if verdict is not None)
    return found


def test_from_a_grid_to_tables(project: Project) -> None:
    assert project.json("plan", "walk.yaml")["runs"]["new"] == 6
    assert len(project.orch("plan", "walk.yaml", "--list").stdout.splitlines()) == 7
    assert not (project.folder / "runs").exists()  # looking changes nothing
    project.orch("submit", "walk.yaml", "--dry-run")
    assert not (project.folder / "runs").exists()

    done = project.orch("run", "walk.yaml")
    assert "6 runs · 6 done" in done.stdout
    printed = [line for line in done.stdout.splitlines() if line.startswith("runs/walk/")]
    assert "runs/walk/tables/summary.csv" in printed
    assert all((project.folder / line).is_file() for line in printed)
    assert project.runs() == {"done": 6}
    assert project.begun() == ONCE

    with gzip.open(project.folder / "runs/walk/tables/long.csv.gz", "rt") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 6 * 20 * 2
    assert {row["rate"] for row in rows} == {"0.25", "0.5"}

    status = project.json("status", "walk")
    assert (status["iterations"], status["iterations_total"]) == (120, 120)
    assert "seed 1 trains" in project.orch("logs", "walk", "seed=1").stdout
    known = project.json("explain", "walk", "seed=1", "rate=0.5")
    assert (known["state"], known["step"]) == ("done", 19)
    assert project.json("explain", known["run"][:8]) == known

    out = project.folder / "elsewhere"
    printed = project.orch(
        "export", "walk", "--format", "csv", "--layout", "wide", "--tag", "dist*", "--out", out
    ).stdout
    assert str(out / "wide.csv") in printed.splitlines()
    by_folder = project.json("export", "--logdir", "runs/walk/events", "--out", "plain")
    assert by_folder["read"] == 6

    again = project.json("run", "walk.yaml")
    assert again["runs"]["done"] == 6
    assert project.begun() == ONCE  # nothing was trained twice


def test_failures_are_told_and_mended(project: Project) -> None:
    (project.folder / "broken-1").touch()
    done = project.orch("run", "walk.yaml", code=1)
    assert "2 × user error: ValueError: seed 1 is broken" in done.stdout
    assert "all with seed=1" in done.stdout
    assert project.runs() == {"done": 4, "failed": 2}
    text = project.orch("explain", "walk", "seed=1", "rate=0.5").stdout
    assert "raise ValueError" in text
    assert "orch retry" in text
    assert project.json("plan", "walk.yaml")["runs"]["failed"] == 2  # a submit alone does not try again
    (project.folder / "broken-1").unlink()
    assert project.json("retry", "walk", "--dry-run")["runs"]["retry"] == 2
    project.orch("retry", "walk")
    project.orch("watch", "walk", "--interval", "0.2")
    assert project.runs() == {"done": 6}
    assert set(verdicts(project).values()) == {1}


def test_cancel_and_take_up_again(project: Project) -> None:
    project.hold()
    project.orch("submit", "walk.yaml")
    project.wait(lambda: len(project.begun()) > 0, "the beginning of a run")
    assert project.runs().get("live") == 6
    project.orch("cancel", "walk", "seed=2", "--yes")
    assert project.runs() == {"live": 4, "cancelled": 2}
    project.orch("cancel", "walk", "--yes")
    assert project.runs() == {"cancelled": 6}
    project.settled()
    project.release()
    assert project.orch("watch", "walk", code=1).stdout.startswith("walk")
    assert "6 runs" in project.orch("run", "walk.yaml").stderr
    assert project.runs() == {"done": 6}
    assert set(verdicts(project).values()) == {1}


def test_a_killed_steward_is_replaced_by_the_next_submit(project: Project) -> None:
    project.hold()
    project.orch("submit", "walk.yaml")
    project.wait(lambda: project.begun().total() == 2, "both workers' first runs")  # one that dies earlier is a failure
    project.end()
    project.wait(lambda: not project.stewards(), "the end of the steward")
    assert set(project.runs()) <= {"lost", "waiting", "done"}
    assert "wait for your next `orch submit`" in project.orch("status", "walk").stdout
    project.release()
    project.orch("run", "walk.yaml")
    assert project.runs() == {"done": 6}
    assert set(verdicts(project).values()) == {1}


def test_two_submits_at_once_train_each_run_once(project: Project) -> None:
    submits = [project.start("submit", "walk.yaml") for _ in range(2)]
    for process in submits:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    project.orch("watch", "walk", "--interval", "0.2")
    assert project.runs() == {"done": 6}
    assert project.begun() == ONCE
    assert set(verdicts(project).values()) == {1}


def test_a_grid_that_grew_trains_its_new_runs_only(project: Project) -> None:
    project.orch("run", "walk.yaml")
    assert project.json("plan", "walk.yaml", "seed=0..3")["runs"] == {
        **dict.fromkeys(("retry", "rerun", "live", "stale", "failed", "cancelled", "aside"), 0),
        "total": 8,
        "keep": 6,
        "new": 2,
    }
    project.grid.write_text(GRID.replace("0..2", "0..3"))
    project.orch("run", "walk.yaml")
    assert project.runs() == {"done": 8}
    assert project.begun() == ONCE + Counter({3: 2})

    project.grid.write_text(GRID.replace("0..2", "0..1"))
    refused = project.orch("submit", "walk.yaml", code=2)
    assert "--prune" in refused.stderr
    assert "(needs --prune)" in project.orch("plan", "walk.yaml").stdout
    assert "left the grid: let go" in project.orch("submit", "walk.yaml", "--prune").stderr
    assert project.runs() == {"done": 4}


def test_a_part_of_a_grid_that_is_done_is_all_well(project: Project) -> None:
    status = project.json("run", "walk.yaml", "--only", "seed=0")
    assert (status["runs"]["done"], status["runs"]["waiting"], status["left_out"]) == (2, 4, 4)
    project.orch("watch", "walk")
    (project.folder / "broken-1").touch()
    project.orch("run", "walk.yaml", "--only", "seed=1", code=1)
    assert project.begun() == Counter({0: 2, 1: 2})


def test_interrupting_run_leaves_the_study_alive(project: Project) -> None:
    project.hold()
    watching = project.start("run", "walk.yaml", start_new_session=True)
    project.wait(lambda: len(project.begun()) > 0, "the beginning of a run")
    os.killpg(watching.pid, signal.SIGINT)  # what a terminal does: to the whole foreground group
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 130
    assert "Traceback" not in err
    assert "orch watch walk" in err
    assert project.stewards()
    project.release()
    assert "6 runs · 6 done" in project.orch("watch", "walk", "--interval", "0.2").stdout
    assert project.begun() == ONCE


def test_watching_from_a_second_shell_and_following_logs(project: Project) -> None:
    project.hold()
    project.orch("submit", "walk.yaml")
    project.wait(lambda: len(project.begun()) > 0, "the beginning of a run")
    watching = project.start("watch", "walk", "--interval", "0.2")
    following = project.start("logs", "walk", "seed=0", "-f")
    project.release()
    out, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0
    assert "6 done" in out
    out, _ = following.communicate(timeout=120)
    assert following.returncode == 0
    assert "seed 0 trains" in out


COMMAND = """\
study: program
command: sh -c 'echo "$0 $1"; test "$0" != 1' ${seed} ${word}
set: {word: "two words"}
axes: {seed: 0..2}
resources: {workers: 2}
"""


def test_data_beside_the_sources_are_asked_for_by_their_absolute_path(project: Project) -> None:
    (project.folder / "read.yaml").write_text(
        "study: read\ncommand: python -c \"open('runs/data.csv')\"\nresources: {retries: 0}\n"
    )
    done = project.orch("run", "read.yaml", code=1)
    assert "name data by absolute paths" in done.stdout
    assert "name data by absolute paths" in project.orch("explain", "read", "seed=0").stdout


def test_any_program(project: Project) -> None:
    grid = project.folder / "program.yaml"
    grid.write_text(COMMAND)
    project.orch("run", "program.yaml", code=1)
    assert project.runs("program") == {"done": 2, "failed": 1}
    assert "0 two words" in project.orch("logs", "program", "seed=0").stdout


def test_the_sources_of_a_queued_run_are_frozen(project: Project) -> None:
    project.hold()
    project.orch("submit", "walk.yaml")
    (project.folder / "toy" / "train.py").write_text("raise SystemExit('edited')\n")
    project.release()
    project.orch("watch", "walk", "--interval", "0.2")
    assert project.runs() == {"done": 6}


def test_the_order_of_settings(project: Project) -> None:
    (project.folder / "pyproject.toml").write_text('[tool.orchestrator]\nroot = "kept"\nretries = 7\nworkers = 9\n')
    del project.env["ORCH_ROOT"]

    def resources(*words: str) -> dict[str, object]:
        batch, *_ = project.json("plan", "walk.yaml", *words)["submissions"]
        return batch["resources"]

    assert resources()["workers"] == 2  # the grid before the project
    assert resources()["checkpoint"] == "60s"
    project.env["ORCH_WORKERS"] = "3"
    assert resources()["workers"] == 3  # the environment before the grid
    assert resources("--workers", "4")["workers"] == 4  # the command line before all
    assert resources("resources.workers=5")["workers"] == 5
    project.grid.write_text(GRID.replace(", retries: 0", ""))
    assert resources()["retries"] == 7
    project.orch("submit", "walk.yaml", "--yes")
    assert (project.folder / "kept" / "walk").is_dir()
    project.env["ORCH_RETRIES"] = "many"
    assert "ORCH_RETRIES: retries cannot be 'many'" in project.orch("plan", "walk.yaml", code=2).stderr
    del project.env["ORCH_RETRIES"]
    project.env["ORCH_ROOT"] = str(project.folder / "kept")
    project.orch("watch", "walk", "--interval", "0.2")


@needs_r
def test_figures_are_drawn(project: Project) -> None:
    project.grid.write_text(GRID + "figures:\n  - {name: fig, script: range_success, x: rate}\n")
    done = project.orch("run", "walk.yaml")
    assert "runs/walk/figures/fig.pdf" in done.stdout.splitlines()
    assert "orch: figure " in project.orch("logs", "walk").stdout  # the steward's doing: it runs from frozen sources
    (project.folder / "runs/walk/figures/fig.pdf").unlink()
    assert project.orch("plot", "walk").stdout.splitlines()[0].endswith("fig.pdf")
    assert (project.folder / "runs/walk/figures/fig.pdf").is_file()
    project.orch("report", "walk", "-o", "report.html")
    assert "data:image/png;base64," in (project.folder / "report.html").read_text()
    assert "Did you mean 'fig'" in project.orch("plot", "walk", "fgi", code=2).stderr
    project.grid.write_text(GRID + "figures:\n  - {name: fig, script: range_sucess, x: rate}\n")
    assert "Did you mean 'range_success'" in project.orch("plan", "walk.yaml", code=2).stderr


def test_mistakes_in_a_grid_name_their_place(project: Project) -> None:
    project.grid.write_text(GRID.replace("rate:", "rat:"))
    done = project.orch("run", "walk.yaml", code=2)
    assert done.stderr.startswith("orch: walk.yaml:5:3: ")
    assert "Did you mean 'rate'?" in done.stderr
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("TOY =", "raise ValueError('halt')\nTOY =", "ValueError: halt (/"),
        ("TOY =", "TOY = (", "SyntaxError: '(' was never closed (params.py, line"),
        ('steps="steps"', 'steps="step"', "has steps='step', which is no parameter of it. Did you mean 'steps'?"),
        ("toy.train:train", "toy.trian:train", "there is no module 'toy.trian'"),
    ],
)
def test_mistakes_in_an_experiment_stop_before_anything_is_trained(
    project: Project, old: str, new: str, said: str
) -> None:
    params = project.folder / "toy" / "params.py"
    params.write_text(params.read_text().replace(old, new))
    assert said in project.orch("run", "walk.yaml", code=2).stderr
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize("init", ["import only_where_workers_are", "raise RuntimeError('no GPU here')"])
def test_a_package_that_only_workers_can_import_is_no_mistake(project: Project, init: str) -> None:
    (project.folder / "toy").joinpath("params.py").rename(project.folder / "toy_params.py")
    (project.folder / "toy" / "__init__.py").write_text(init)
    project.grid.write_text(GRID.replace("toy.params", "toy_params"))
    assert project.json("plan", "walk.yaml")["runs"]["new"] == 6


def test_a_figure_script_of_ones_own_is_found_from_anywhere(project: Project) -> None:
    (project.folder / "jobs").mkdir()
    grid = project.folder / "jobs" / "walk.yaml"
    grid.write_text(GRID + "figures: [{name: mine, script: mine.R, x: rate}]\n")
    assert "mine.R" in project.orch("plan", grid, code=2).stderr
    for folder in (grid.parent, project.folder):
        (folder / "mine.R").touch()
        project.orch("submit", grid)
        [figure] = Study.open("walk", project.folder / "runs").generation().info["figures"]
        assert figure["script"] == str(folder / "mine.R"), "the steward may be at work in another folder"


def test_many_runs_are_submitted_only_with_a_yes(project: Project) -> None:
    """On a terminal: a program that calls orch is not asked."""
    import pty

    controller, terminal = pty.openpty()
    asked = project.start("submit", "walk.yaml", "seed=0..999", stdin=terminal, stderr=terminal, stdout=terminal)
    os.close(terminal)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(controller, 1000)
    assert b"Submit 2,000 runs?" in said
    os.write(controller, b"n\n")
    assert asked.wait(timeout=60) == 130
    os.close(controller)
    assert not (project.folder / "runs").exists()


def test_init_writes_a_grid_that_plans(project: Project) -> None:
    written = project.orch("init", "toy.params:TOY").stdout.strip()
    assert written == "toy.yaml"
    assert project.json("plan", written)["runs"]["new"] == 5
    assert "is there already" in project.orch("init", "toy.params:TOY", code=2).stderr
    assert "# lr: {log:" in project.orch("init", "thinking.dt_mazes", "-o", "-").stdout
    text = project.orch("init", "arithmetic.single_layer", "-o", "-").stdout
    (project.folder / "a.yaml").write_text(text)
    assert project.json("plan", "a.yaml")["runs"]["new"] == 5
    project.orch("init", "-o", "c.yaml")
    assert project.json("plan", "c.yaml")["runs"]["new"] == 10


def test_setting_up(project: Project) -> None:
    names = {check["name"] for check in project.json("doctor")["checks"]}
    assert {"Python", "torch", "cores", "R", "studies", "clusters"} <= names
    listed = project.json("experiments", "toy.params:TOY")["experiments"]["toy.params:TOY"]["parameters"]
    assert listed["rate"] == {
        "type": "float",
        "default": 0.5,
        "required": False,
        "lane": True,
        "description": "",
    }
    assert "arithmetic.single_layer" in project.orch("experiments").stdout
    assert "toy" in project.orch("schema", "toy.params:TOY").stdout
