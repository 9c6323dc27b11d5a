"""Freezing sources: with git and without, idempotent, capped; and the digest of an experiment's own sources."""

from __future__ import annotations

import subprocess

import pytest

from orchestrator.errors import UserError
from orchestrator.study import code
from orchestrator.study.study import Study


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/params.py": "x = 1",
        "pkg/train.py": "y = 1",
        "script.sh": "#!/bin/sh",
        "__pycache__/a.pyc": "junk",
        "pkg/__pycache__/b.pyc": "junk",
        "runs/s/grid.yaml": "x: 1",
        ".venv/lib/a.py": "junk",
        ".hidden": "secret",
        "data/big.bin": "0" * 1000,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "script.sh").chmod(0o755)
    return folder


def git(folder, *words):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True
    )


SOURCES = {"pkg/__init__.py", "pkg/params.py", "pkg/train.py", "script.sh"}


def names(folder):
    return {name.removeprefix("project/") for name in code.collect({"project": folder})}


def test_without_git_everything_but_rubbish_is_frozen(project):
    assert names(project) == SOURCES | {"data/big.bin"}


def test_studies_are_not_sources_wherever_they_are_kept(project):
    for study in ("results/first", "lone"):
        (project / study / "submissions").mkdir(parents=True)
        (project / study / "grid.yaml").write_text("x: 1")
    assert names(project) == SOURCES | {"data/big.bin"}


def test_with_git_what_is_not_ignored_is_frozen(project):
    git(project, "init")
    (project / ".gitignore").write_text("data/\n")
    assert names(project) == SOURCES  # untracked files are sources too
    git(project, "add", ".")
    git(project, "commit", "-m", "x")
    (project / "new.py").write_text("")
    (project / "script.sh").unlink()
    assert names(project) == SOURCES - {"script.sh"} | {"new.py"}
    assert names(project / "pkg") == {"__init__.py", "params.py", "train.py"}


def test_an_ignored_folder_is_walked(project):
    git(project, "init")
    (project / ".gitignore").write_text("pkg/\n")
    assert names(project / "pkg") == {"__init__.py", "params.py", "train.py"}  # a package in an ignored environment


def test_a_submodule_is_frozen_with_its_files(project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "lib.py").write_text("")
    git(other, "init")
    git(other, "add", ".")
    git(other, "commit", "-m", "x")
    git(project, "init")
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", str(other), "sub")
    assert "sub/lib.py" in names(project)


def test_frozen_code_is_what_it_was(project, tmp_path):
    study = Study.create(tmp_path, "s")
    digest = study.freeze_code({"project": project})
    assert study.freeze_code({"project": project}) == digest
    frozen = study.code_dir(digest) / "project"
    assert (frozen / "script.sh").stat().st_mode & 0o111
    (project / "pkg/params.py").write_text("x = 2")
    assert study.freeze_code({"project": project}) != digest
    assert (frozen / "pkg/params.py").read_text() == "x = 1"
    (project / "pkg/params.py").write_text("x = 1")
    assert study.freeze_code({"project": project}) == digest
    assert len([path for path in (study.path / "code").iterdir() if path.is_dir()]) == 2


def test_too_much_is_refused_with_names(project, tmp_path):
    study = Study.create(tmp_path, "s")
    with pytest.raises(UserError, match=r"sources to freeze have .*data/big.bin .*\.gitignore"):
        study.freeze_code({"project": project}, limit=900)
    assert list((study.path / "code").iterdir()) == []


def test_our_own_packages_are_among_the_roots(project):
    roots = code.roots(project)
    assert {"orchestrator", "experiments", "export", "r_plots", "project"} == set(roots)
    files = code.collect({"orchestrator": roots["orchestrator"]})
    assert "orchestrator/study/atomic.py" in files


def test_the_digest_of_an_experiment_is_that_of_its_package(project):
    modules = ["pkg.params", "pkg.train"]
    before = code.source_digest(modules, project)
    assert before
    (project / "script.sh").write_text("other")
    assert code.source_digest(modules, project) == before
    (project / "pkg/helper.py").write_text("z = 1")
    assert code.source_digest(modules, project) != before
    assert code.source_digest(["nowhere.params"], project) == ""
    (project / "alone.py").write_text("x")
    alone = code.source_digest(["alone"], project)
    (project / "pkg/helper.py").write_text("z = 2")
    assert code.source_digest(["alone"], project) == alone != ""


def test_installed_packages_are_listed():
    packages = code.installed_packages()
    assert "python" in packages
    assert "pytest" in packages


def test_copies_that_setuptools_brings_along_are_not_installed(tmp_path, monkeypatch):
    (tmp_path / "setuptools" / "_vendor" / "wanderer-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "setuptools" / "_vendor"))
    assert "wanderer" not in code.installed_packages()


# --- where they come from ---------------------------------------------------------------------------------------------


def test_frozen_sources_say_which_commit_they_come_from_and_what_was_changed(project, tmp_path):
    git(project, "init")
    git(project, "add", "pkg")
    git(project, "commit", "-m", "first")
    (project / "pkg" / "train.py").write_text("y = 2")
    study = Study.create(tmp_path, "s")
    digest = study.freeze_code({"project": project, "inner": project / "pkg"})
    [(top, origin)] = study.origins(digest).items()
    assert top == str(project)
    assert len(origin["commit"]) == 40
    assert "pkg/train.py" in origin["changed"]
    assert "script.sh" in origin["changed"]
    assert "-y = 1" in origin["diff"]
    assert "+y = 2" in origin["diff"]
    assert study.freeze_code({"project": project, "inner": project / "pkg"}) == digest


def test_without_git_nothing_is_known_of_the_origin(project, tmp_path):
    study = Study.create(tmp_path, "s")
    digest = study.freeze_code({"project": project})
    assert study.origins(digest) == {}
    assert study.origins("nowhere") == {}


def test_a_repository_before_its_first_commit(project, tmp_path):
    git(project, "init")
    study = Study.create(tmp_path, "s")
    assert study.origins(study.freeze_code({"project": project}))[str(project)]["commit"] == ""
