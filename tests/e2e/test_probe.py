"""``--probe`` on this machine: two tasks first, the rest after them, and nothing after one that failed."""

from orchestrator.study.study import Study
from tests.e2e.conftest import Project


def test_the_rest_follows_its_probe(project: Project) -> None:
    project.hold()
    project.orch("submit", project.grid, "--probe", "steps=200")
    project.wait(lambda: sum(project.begun().values()) == 2, "the probe")
    assert project.runs() == {"live": 2, "waiting": 4}
    assert project.json("status", "walk")["probe"]["state"] == "open"
    project.release()
    project.settled()
    assert project.runs() == {"done": 6}
    [first, *rest] = Study.open("walk", project.folder / "runs").chain()
    assert (first.probe, len(first.tasks)) == (50, 2)
    assert all(entry.probe == 0 and entry.resources["memory"] for entry in rest)


def test_a_probe_that_fails_stops_the_rest(project: Project) -> None:
    for seed in range(3):
        (project.folder / f"broken-{seed}").touch()
    done = project.orch("run", project.grid, "--probe", code=1)
    assert "the probe failed, and nothing else was submitted: ValueError: seed" in done.stdout
    counts = project.runs()
    assert counts["failed"] in (1, 2)
    assert counts["waiting"] == 6 - counts["failed"]
    for seed in range(3):
        (project.folder / f"broken-{seed}").unlink()
    project.orch("retry", "walk")
    project.settled()
    assert project.runs() == {"done": 6}
