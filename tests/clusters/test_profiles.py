"""Cluster profiles: where they are looked for, what they may say, and what is said of broken ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.clusters import get_cluster, profiles
from orchestrator.errors import UserError

GOOD = """\
kind: local
cpus: 2
memory: 4G
extra: [--exclusive]
prologue: |
  module load gcc
limits: {jobs: 500}
steward: {time: 30m}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config"))
    made = tmp_path / "config" / "clusters"
    made.mkdir(parents=True)
    return made


def test_a_profile_says_what_stands_in_it(folder: Path) -> None:
    (folder / "alpine.yaml").write_text(GOOD)
    (folder / ".hidden.yaml").write_text("kind: local")
    (folder / "notes.txt").write_text("")
    assert profiles.names() == ["alpine"]
    assert profiles.kind_of("alpine") == "local"
    found = profiles.read("alpine")
    assert found is not None
    assert (found.name, found.file) == ("alpine", folder / "alpine.yaml")
    assert found.resources == {
        "cpus": 2,
        "memory": "4G",
        "extra": ["--exclusive"],
        "prologue": "module load gcc\n",
        "limits": {"jobs": 500},
        "steward": {"time": "30m"},
    }


def test_a_profile_is_a_cluster(folder: Path) -> None:
    (folder / "bench.yaml").write_text("kind: local\n")
    cluster = get_cluster("bench")
    assert (cluster.kind, cluster.name) == ("local", "bench")
    with pytest.raises(UserError, match=r"there is: local, slurm, lsf, bench\. Did you mean 'bench'\?"):
        get_cluster("bnch")


@pytest.mark.parametrize("name", ["../alpine", "", ".alpine", "a/b"])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "alpine.yaml").write_text("kind: local\n")
    assert profiles.find(name) is None
    assert profiles.kind_of(name) is None


def test_the_users_folder_comes_before_the_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCH_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "site"))
    for layer, text in (("user", "cpus: 1"), ("site", "cpus: 2")):
        (tmp_path / layer / "orch" / "clusters").mkdir(parents=True)
        (tmp_path / layer / "orch" / "clusters" / "both.yaml").write_text(f"kind: local\n{text}\n")
    (tmp_path / "site" / "orch" / "clusters" / "shared.yaml").write_text("kind: local\n")
    assert profiles.names() == ["both", "shared"]
    both = profiles.read("both")
    assert both is not None
    assert both.resources == {"cpus": 1}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("kind: slurm\nquue: long\n", "2:1", "a cluster profile has no 'quue'. Did you mean 'queue'?"),
        ("kind: slurm\ncluster: other\n", "2:1", "a cluster profile has no 'cluster'"),
        ("kind: slrum\n", "1:7", """kind is "slrum"; it should be 'slurm', 'lsf' or 'local' Did you mean 'slurm'?"""),
        ("partition: main\n", "1:1", "a cluster profile lacks 'kind'"),
        ("kind: slurm\nmemory: 4\n", "2:9", "memory is 4: it has no unit"),
        (
            "kind: slurm\nlimits: {jbs: 3}\n",
            "2:10",
            "a cluster profile has no 'limits.jbs'. Did you mean 'limits.jobs'?",
        ),
        ("kind: slurm\nkind: lsf\n", "2:1", "the key 'kind' stands twice"),
        ("kind: slurm\n\tpartition: a\n", "2:1", "a tab stands where YAML wants spaces"),
        ("- slurm\n", "1:1", "a cluster profile should be a mapping, not a list"),
        ("", "", "this cluster profile is empty"),
        ("kind: slurm\ncpus: 0\ntime: 3\n", "2:7", "time is 3: it has no unit"),  # the second of two faults
    ],
)
def test_a_broken_profile_is_a_sentence_with_its_place(folder: Path, text: str, place: str, said: str) -> None:
    file = folder / "broken.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        get_cluster("broken")
    assert str(caught.value).startswith(f"{file}:{place}")
    assert said in str(caught.value)


def test_a_profile_named_after_a_scheduler_is_of_that_kind(folder: Path) -> None:
    (folder / "slurm.yaml").write_text("kind: lsf\n")
    with pytest.raises(UserError, match="slurm.yaml:1:7: the cluster 'slurm' is of kind slurm, not lsf"):
        profiles.read("slurm")


def test_writing_keeps_what_is_there(folder: Path) -> None:
    file = profiles.write("alpine", "kind: local\n")
    assert file == folder / "alpine.yaml"
    with pytest.raises(UserError, match="alpine.yaml: this profile exists: --force replaces it"):
        profiles.write("alpine", "kind: slurm\n")
    assert profiles.kind_of("alpine") == "local"
    profiles.write("alpine", "kind: slurm\n", force=True)
    assert profiles.kind_of("alpine") == "slurm"
    with pytest.raises(UserError, match="'a/b' cannot name a cluster"):
        profiles.write("a/b", "kind: slurm\n")
    (folder.parent / "file").write_text("")


def test_a_folder_that_cannot_be_written_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("ORCH_CONFIG", str(folder / "file"))
    with pytest.raises(UserError, match="alpine.yaml: the profile cannot be written: Not a directory"):
        profiles.write("alpine", "kind: local\n")


def test_looking_for_a_profile_that_is_not_there_imports_neither_yaml_nor_pydantic(folder: Path) -> None:
    code = """
import sys
from orchestrator.clusters import profiles
assert profiles.kind_of("nowhere") is None and profiles.names() == []
assert not {"pydantic", "ruamel", "yaml"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
