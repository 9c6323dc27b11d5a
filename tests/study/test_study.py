"""Names and places of studies; generations; remainders of crashes."""

from __future__ import annotations

import pytest

from orchestrator.errors import UserError
from orchestrator.study.records import Submission, Taken, TaskSpec
from orchestrator.study.study import Study, studies_root
from tests.study.studies import enter, ids, make_info, make_points


def test_the_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCH_ROOT", raising=False)
    assert studies_root() == tmp_path / "runs"
    monkeypatch.setenv("ORCH_ROOT", str(tmp_path / "there"))
    assert studies_root() == tmp_path / "there"
    assert studies_root("here") == tmp_path / "here"


def test_open_by_name_and_by_path(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_ROOT", str(tmp_path / "runs"))
    made = Study.create(None, "sltr-in2")
    assert Study.open("sltr-in2").path == made.path
    monkeypatch.chdir(tmp_path)
    assert Study.open("runs/sltr-in2").path == made.path
    assert Study.open(made.path, root=tmp_path).name == "sltr-in2"
    with pytest.raises(UserError, match="no study 'sltr-in' in .*there are: sltr-in2. Did you mean 'sltr-in2'"):
        Study.open("sltr-in")
    with pytest.raises(UserError, match="it has none"):
        Study.open("x", root=tmp_path / "elsewhere")


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "-x", "a b"])
def test_names_that_cannot_be_folders(tmp_path, name):
    with pytest.raises(UserError, match="cannot name a study"):
        Study.create(tmp_path, name)


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        Study.create(tmp_path / "file", "s")


def test_generations(tmp_path):
    study = Study.create(tmp_path, "s")
    assert study.generation() is None
    points = make_points(3)
    assert study.publish_generation("a", make_info(created="now"), points) == 1
    assert study.publish_generation("a", make_info(created="later"), points) == 1  # says the same
    assert study.publish_generation("b", make_info(), points) == 2
    assert study.publish_generation("b", make_info(overrides=["seed=1"]), points) == 3
    newest = Study.open(study.path).generation()
    assert newest is not None
    assert (newest.g, newest.text, newest.runs) == (3, "b", ids(points))
    assert newest.points.params(2) == points.params(2)
    assert study.generation(1).text == "a"
    assert (study.path / "grid.yaml").read_text() == "b"


def test_a_generation_that_was_not_finished_does_not_exist(tmp_path):
    study = Study.create(tmp_path, "s")
    study.publish_generation("a", make_info(), make_points(3))
    (study.path / "grid.2.yaml").write_text("half")
    (study.path / "grid.2.ids").write_bytes(b"x")
    assert study.generation().g == 1
    assert study.generation(2) is None
    assert study.publish_generation("c", make_info(), make_points(3)) == 3


def test_the_chain(tmp_path):
    study = Study.create(tmp_path, "s")
    entry = Submission(1, tasks=(TaskSpec("1-0", [[0, 3, 1]], 3),), arrays=((0, 1),), only=("a=1",), argv=("x",))
    published = study.publish(entry)
    assert published.tag
    with pytest.raises(Taken):
        study.publish(entry)
    study.publish(Submission(2, "cancel", cancel=("a" * 16,)))
    assert Study.open(study.path).chain() == study.chain()
    assert study.chain()[0] == published
    (study.path / "submissions" / ".3.json.99-abcd.part").write_bytes(b"half")
    assert [entry.n for entry in Study(study.path).chain()] == [1, 2]


def test_tasks_have_names(tmp_path):
    study = Study.create(tmp_path, "s")
    study.publish_generation("a", make_info(), make_points(6))
    enter(study, [0, 2, 4], [1])
    task = study.task("1-0")
    assert (task.n, task.generation, task.index, task.points) == (1, 1, 0, [0, 2, 4])
    assert task.runs == [make_points(6).id(i) for i in (0, 2, 4)]
    for name in ("1-2", "7-0", "x", "1"):
        with pytest.raises(UserError):
            study.task(name)


def test_event_files_sort_by_attempt(tmp_path):
    study = Study.create(tmp_path, "s")
    run = make_points(1).id(0)
    files = [study.event_file(run, n, f"{n}-0", k) for n, k in [(1, 1), (1, 2), (2, 1), (10, 1)]]
    assert sorted(files) == files
    assert files[1].name == "events.out.tfevents.0000100002.1-0.2"
    assert files[0].parent == study.events_dir(run)
    assert files[0].parent.parent.name == files[0].parent.name[:2]


def test_packages_and_engine(tmp_path):
    study = Study.create(tmp_path, "s")
    digest = study.record_packages({"b": "2", "a": "1"})
    assert study.record_packages({"a": "1", "b": "2"}) == digest
    assert study.packages(digest) == {"a": "1", "b": "2"}
    assert study.packages("other") is None
    assert study.engine() is None
    assert study.pin_engine({"kind": "eager"}) == {"kind": "eager"}
    assert study.pin_engine({"kind": "compiled"}) == {"kind": "eager"} == study.engine()
