"""Where settings come from, in which order, and what is said of those that are wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.cli import settings
from orchestrator.errors import UserError
from orchestrator.grid import Resources


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    for name in ("ROOT", "CLUSTER", "WORKERS"):
        monkeypatch.delenv(f"ORCH_{name}", raising=False)
    return tmp_path / "project"


def test_root_by_flag_environment_project_and_default(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.root(None) == here / "inner" / "runs"
    (here / "pyproject.toml").write_text('[tool.orchestrator]\nroot = "kept"\n')
    assert settings.root(None) == here / "kept"  # relative to the file, not to the current folder
    monkeypatch.setenv("ORCH_ROOT", "/scratch/studies")
    assert settings.root(None) == Path("/scratch/studies")
    assert settings.root("mine") == here / "inner" / "mine"


def test_the_nearest_project_decides(here: Path) -> None:
    (here / "pyproject.toml").write_text('[tool.orchestrator]\nroot = "outer"\n')
    (here / "inner" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert settings.project_settings() == {}


def test_resources_in_order(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "pyproject.toml").write_text("[tool.orchestrator]\nworkers = 2\nretries = 9\nextra = ['--exclusive']\n")
    assert settings.resources(Resources()).workers == 2
    grid = Resources(workers=3)
    found = settings.resources(grid)
    assert (found.workers, found.retries, found.extra, found.cluster) == (3, 9, ["--exclusive"], "local")
    monkeypatch.setenv("ORCH_WORKERS", "auto")
    assert settings.resources(grid).workers == "auto"
    assert settings.resources(grid, {"workers"}).workers == 3  # the command line said so


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.orchestrator]\nwokers = 2\n", "there is no resource 'wokers'. Did you mean 'workers'?"),
        ("[tool.orchestrator]\nworkers = 0\n", "workers cannot be 0"),
        ("[tool.orchestrator\n", "this is no TOML"),
        ("[tool.orchestrator]\nworkers = \n", "this is no TOML"),
    ],
)
def test_a_wrong_project_file_is_named(here: Path, text: str, said: str) -> None:
    file = here / "pyproject.toml"
    file.write_text(text.replace("[tool.orchestrator\n", "# [tool.orchestrator]\n[tool\n"))
    with pytest.raises(UserError, match="pyproject.toml: ") as caught:
        settings.resources(Resources())
    assert said in str(caught.value)


def test_a_wrong_variable_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_DEVICE", "abacus")
    with pytest.raises(UserError, match="ORCH_DEVICE: device cannot be 'abacus'"):
        settings.resources(Resources())


def test_a_python_without_toml_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "pyproject.toml").write_text('[tool.orchestrator]\nroot = "kept"\n')
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(UserError, match="install tomli"):
        settings.root(None)
    (here / "pyproject.toml").write_text("[project]\n")
    assert settings.root(None).name == "runs"  # nothing of ours in it: nothing to be read
