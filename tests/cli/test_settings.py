"""Where settings come from, in which order, and what is said of those that are wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.cli import settings
from orchestrator.cli.common import GridOptions
from orchestrator.cli.grids import read
from orchestrator.errors import UserError
from orchestrator.grid import Resources


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    for name in [name for name in os.environ if name.startswith("ORCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config" / "clusters").mkdir(parents=True)
    return tmp_path / "project"


def test_root_by_flag_environment_project_and_default(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.root(None) == here / "inner" / "runs"
    (here / "pyproject.toml").write_text('[tool.orchestrator]\nroot = "kept"\n')
    assert settings.root(None) == here / "kept"  # relative to the file, not to the current folder
    monkeypatch.setenv("ORCH_ROOT", "/scratch/studies")
    assert settings.root(None) == Path("/scratch/studies")
    assert settings.root("mine") == here / "inner" / "mine"
    assert settings.root("~/mine") == Path.home() / "mine"  # of --root=~/mine no shell makes a home


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


def profile(here: Path, text: str, name: str = "alpine") -> Path:
    file = here.parent / "config" / "clusters" / f"{name}.yaml"
    file.write_text(text)
    return file


def test_the_profile_of_the_cluster_is_the_lowest_layer(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile(here, "kind: slurm\ncpus: 2\npartition: short\nretries: 4\nworkers: 2\n")
    profile(here, "kind: slurm\npartition: other\n", "slurm")
    grid = Resources(cluster="alpine", cpus=8)
    found = settings.resources(grid)
    assert (found.cpus, found.partition, found.retries, found.workers, found.memory) == (8, "short", 4, 2, None)
    (here / "pyproject.toml").write_text("[tool.orchestrator]\nretries = 9\n")
    assert settings.resources(grid).retries == 9
    monkeypatch.setenv("ORCH_PARTITION", "long")
    assert settings.resources(grid).partition == "long"
    assert settings.resources(grid, {"partition"}).partition == "short"  # the command line took it away
    monkeypatch.delenv("ORCH_PARTITION")
    assert settings.resources(Resources(cluster="slurm")).partition == "other"  # a plain kind may have a profile too
    assert settings.resources(Resources()).partition is None


def test_whoever_decides_the_cluster_decides_the_profile(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile(here, "kind: slurm\npartition: short\n")
    (here / "pyproject.toml").write_text('[tool.orchestrator]\ncluster = "alpine"\n')
    assert settings.resources(Resources()).partition == "short"
    assert settings.resources(Resources(cluster="local")).partition is None
    monkeypatch.setenv("ORCH_CLUSTER", "alpine")
    assert settings.resources(Resources(cluster="local")).partition == "short"
    assert settings.resources(Resources(cluster="local"), {"cluster"}).partition is None


def test_groups_merge_name_by_name(here: Path) -> None:
    profile(here, "kind: slurm\nlimits: {array: 100, jobs: 500}\nsteward: {time: 2h}\nextra: [--exclusive]\n")
    (here / "pyproject.toml").write_text("[tool.orchestrator.limits]\njobs = 50\n")
    grid = Resources.model_validate({"cluster": "alpine", "steward": {"memory": "8G"}, "extra": ["--nice"]})
    found = settings.resources(grid)
    assert (found.limits.array, found.limits.jobs) == (100, 50)
    assert (found.steward.time, found.steward.memory, found.extra) == ("2h", "8G", ["--nice"])


def test_a_broken_profile_is_named_with_line_and_column(here: Path) -> None:
    file = profile(here, "kind: slurm\nmemory: 4\n")
    with pytest.raises(UserError, match=f"{file}:2:9: memory is 4: it has no unit"):
        settings.resources(Resources(cluster="alpine"))


def test_variables_are_read_as_what_they_set(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_ACCOUNT", "007")
    monkeypatch.setenv("ORCH_EXTRA", "--exclusive '--comment=two words'")
    monkeypatch.setenv("ORCH_CPUS", "4")
    found = settings.resources(Resources())
    assert (found.account, found.extra, found.cpus) == ("007", ["--exclusive", "--comment=two words"], 4)
    monkeypatch.setenv("ORCH_MEMORY", "4")
    with pytest.raises(UserError, match="ORCH_MEMORY: memory cannot be 4: .*no unit"):
        settings.resources(Resources())


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


def test_lists_of_words_from_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_ALLOW", "env-change mixed-engines")
    assert settings.resources(Resources()).allow == ["env-change", "mixed-engines"]


def test_what_flags_allow_is_added_to_what_the_grid_allows(here: Path) -> None:
    grid = here / "inner" / "g.yaml"
    grid.write_text("study: g\ncommand: 'true'\nresources: {allow: [mixed-engines]}\n")
    work = read(GridOptions(str(grid), allow_env_change=True))
    assert work.desired.resources["allow"] == ["env-change", "mixed-engines"]
    assert read(GridOptions(str(grid))).desired.resources["allow"] == ["mixed-engines"]
