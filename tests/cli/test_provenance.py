"""``orch explain`` tells where a run's numbers come from."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator import identity
from tests.worker.helpers import PLAIN, make_study, plain_study, project, start_worker

Orch = Callable[..., Result]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The toy's project in a repository: one commit, one file changed since, one untracked."""
    top = project(tmp_path, PLAIN)

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", top, *who, *words], check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    (top / "toy" / "train.py").write_text(PLAIN["toy/train.py"] + "\n# changed\n")
    (top / "toy" / "new.py").write_text("")
    return top


def test_commit_changes_packages_host_and_engine(orch: Orch, repository: Path, tmp_path: Path) -> None:
    commit = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    files = {**PLAIN, "toy/train.py": PLAIN["toy/train.py"] + "\n# changed\n"}
    study = plain_study(tmp_path, files, [{"steps": 3}])
    study.take(1, 0, "job")
    assert start_worker(study, "1-0").wait(timeout=180) == 0
    # What was edited since, and who looks at it, changes nothing of what is known.
    (repository / "toy" / "other.py").write_text("")
    (repository / "toy" / "train.py").write_text(PLAIN["toy/train.py"])
    name = identity.to_text(study.generation().runs[0])
    text = orch("explain", str(study.path), name).stdout
    assert f"commit {commit[:12]}, 2 files changed in {repository}" in text
    assert f"frozen in code/{study.submission(1).code}" in text
    assert f"on {socket.gethostname()}" in text
    known = json.loads(orch("explain", str(study.path), name, "--json").stdout)["provenance"]
    mine = next(origin for origin in known["origins"] if origin["folder"] == str(repository))
    assert mine == {"folder": str(repository), "commit": commit.strip(), "changed": 2}
    assert study.packages(known["packages"])["python"] == known["python"]
    assert "# changed" in study.origins(study.submission(1).code)[str(repository)]["diff"]


def test_the_engine_is_part_of_it(orch: Orch, tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"seed": 0}], files={}, code="")
    study.take(1, 0, "job")
    work = study.begin("1-0")
    work.write("begin", host="n7", pid=1, python="3.11.2", packages="0123")
    work.write("restored", lanes=[0], steps=-1)
    work.write("engine", kind="compiled", device="cpu", torch="2.9", isa="AVX2", threads=1)
    work.close()
    name = identity.to_text(study.generation().runs[0])
    text = orch("explain", str(study.path), name).stdout
    assert "on n7: engine compiled, cpu, AVX2, torch 2.9" in text
    assert "Python 3.11.2, packages/0123.json" in text


def test_a_run_that_never_began_comes_from_nowhere(orch: Orch, tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"seed": 0}], files={}, code="")
    study.testify("1-0", "node", after=0, job="7_0")
    name = identity.to_text(study.generation().runs[0])
    assert json.loads(orch("explain", str(study.path), name, "--json").stdout)["provenance"] is None
