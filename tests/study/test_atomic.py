"""Files appear whole or not at all, and never over somebody else's; real processes race for names."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.study import atomic
from orchestrator.study.records import Submission, Taken
from orchestrator.study.study import Study
from tests.study.studies import enter, make_info, make_points

RACERS = 6


def race(target, *args):
    """Run ``target(index, barrier, queue, *args)`` in several processes at once and return what they put."""
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(RACERS), context.Queue()
    processes = [context.Process(target=target, args=(i, barrier, queue, *args)) for i in range(RACERS)]
    for process in processes:
        process.start()
    answers = [queue.get(timeout=180) for _ in processes]
    for process in processes:
        process.join()
    return answers


def _publish(index, barrier, queue, path):
    barrier.wait()
    try:
        atomic.publish(path, str(index).encode() * 1000)
        queue.put(index)
    except FileExistsError:
        queue.put(None)


def test_one_of_many_publishes(tmp_path):
    winners = [answer for answer in race(_publish, tmp_path / "name") if answer is not None]
    assert len(winners) == 1
    assert (tmp_path / "name").read_bytes() == str(winners[0]).encode() * 1000
    assert atomic.names(tmp_path) == ["name"]


def _begin(index, barrier, queue, path):
    barrier.wait()
    queue.put([Study(path).begin("1-0").k for _ in range(5)])


def _enter(index, barrier, queue, path):
    study, got = Study(path), []
    barrier.wait()
    while len(got) < 5:
        n = study.history().last + 1
        try:
            got.append(study.publish(Submission(n, generation=1, argv=(str(index),))).n)
        except Taken:
            continue
    queue.put(got)


def _take(index, barrier, queue, path):
    barrier.wait()
    queue.put((str(index), [Study(path).take(1, array, str(index)) for array in range(20)]))


def _generation(index, barrier, queue, path):
    points = make_points(index + 1)
    barrier.wait()
    queue.put((index, Study(path).publish_generation(f"x: {index}", make_info(), points)))


def _pin(index, barrier, queue, path):
    barrier.wait()
    queue.put(Study(path).pin_engine({"kind": "compiled", "by": index})["by"])


@pytest.fixture
def study(tmp_path):
    study = Study.create(tmp_path, "s")
    study.publish_generation("x: 0", make_info(), make_points())
    return study


def test_incarnations_are_numbered_once(study):
    enter(study, range(5))
    numbers = sorted(k for ks in race(_begin, study.path) for k in ks)
    assert numbers == list(range(1, 5 * RACERS + 1))


def test_entries_are_numbered_once(study):
    numbers = sorted(n for got in race(_enter, study.path) for n in got)
    assert numbers == list(range(1, 5 * RACERS + 1))
    assert [entry.n for entry in study.chain()] == numbers


def test_an_array_has_one_owner(study):
    answers = dict(race(_take, study.path))
    for array in range(20):
        owners = [job for job, took in answers.items() if took[array]]
        assert owners == [study.owner(1, array)]
        assert study.take(1, array, owners[0])  # its owner may ask again: a requeued job does


def test_generations_are_claimed_once(study):
    answers = dict(race(_generation, study.path))
    assert sorted(answers.values()) == list(range(2, RACERS + 2))
    for index, g in answers.items():
        generation = study.generation(g)
        assert generation is not None
        assert generation.text == f"x: {index}"
        assert len(generation.points) == index + 1
    assert (study.path / "grid.yaml").read_text() in {f"x: {index}" for index in range(RACERS)}


def test_the_first_engine_is_pinned(study):
    assert len(set(race(_pin, study.path))) == 1


def test_a_repeated_link_request_is_ours(tmp_path, monkeypatch):
    link = os.link

    def repeated(source, target):
        link(source, target)
        link(source, target)  # as a network file system does after a lost reply

    monkeypatch.setattr(atomic.os, "link", repeated)
    atomic.publish(tmp_path / "name", b"x")
    assert (tmp_path / "name").read_bytes() == b"x"
    with pytest.raises(FileExistsError):
        atomic.publish(tmp_path / "name", b"y")


def test_no_hard_links_is_a_sentence(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "link", refuse)
    with pytest.raises(UserError, match="has no hard links.*--root"):
        atomic.publish(tmp_path / "name", b"x")
    assert atomic.names(tmp_path) == []


def test_a_failing_writer_leaves_nothing(tmp_path):
    def write(file):
        file.write(b"half")
        raise MemoryError

    with pytest.raises(MemoryError):
        atomic.write_new(tmp_path / "checkpoint-1.npz", write)
    assert atomic.names(tmp_path) == []


def test_a_folder_of_the_same_content_is_published_once(tmp_path):
    files = {"a/b.py": (b"x = 1", 0o644), "run": (b"#!/bin/sh", 0o755)}
    for _ in range(2):
        atomic.publish_folder(tmp_path / "digest", files)
    assert atomic.names(tmp_path) == ["digest"]
    assert Path(tmp_path / "digest/a/b.py").read_bytes() == b"x = 1"
    assert os.access(tmp_path / "digest/run", os.X_OK)


def test_a_refused_write_says_where(tmp_path, monkeypatch):
    """What a full disk says of a descriptor names no file."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"No space.*wanted"):
            atomic.publish(tmp_path / "wanted", b"data")
    with pytest.raises(OSError, match=r"No space.*other"):
        atomic.write_new(tmp_path / "other", full)
    assert list(tmp_path.iterdir()) == []
