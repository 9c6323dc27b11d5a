"""Four hundred failures are a handful of causes, each with one traceback, what its runs share, and a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator import identity
from orchestrator.study.study import Study
from orchestrator.worker.failures import classify, normalise
from tests.cli.conftest import submit
from tests.study.studies import ids, make_info, make_points, start

Orch = Callable[..., Result]


@dataclass
class Failed:
    study: Study
    runs: list[bytes]


def explode(seed: int, where: str) -> dict[str, str]:
    """Return the record of a failure as a worker writes it."""
    try:
        raise FileNotFoundError(2, "No such file or directory", f"/scratch/{where}/seed-{seed}/data.npz")
    except FileNotFoundError as error:
        failure = classify(error)
    fields = {"class": failure.kind, "message": failure.message}
    return {**fields, "signature": failure.signature, "traceback": failure.traceback}


@pytest.fixture
def failed(tmp_path: Path) -> Failed:
    """4 layers × 2 rates × 50 seeds: one layer lacks a file, another diverges in words at one rate, one run is odd."""
    study = Study.create(tmp_path / "runs", "many")
    points = make_points(50, ("nmru", "nru", "nac", "npu"), (0.1, 0.5))
    info = make_info(resources={"lanes": "auto", "workers": 1, "retries": 0, "cluster": "local"})
    study.publish_generation("study: many\n", info, points)
    submit(study, range(400), job="nowhere:1:1")
    study.take(1, 0, "nowhere:1:1")
    work = start(study, "1-0")
    for lane in range(400):
        label = points.label(lane)
        if label["layer"] == "nac":
            work.write("failed", lanes=[lane], **explode(lane, f"tmp{lane:x}"))
        elif label["layer"] == "nru" and points.params(lane)["rate"] == 0.5:
            message = f"step {lane * 7} of run {identity.to_text(points.id(lane))}: loss {lane / 3} at 0x{lane:x}"
            work.write("failed", lanes=[lane], message=message, signature="", traceback="", **{"class": "user error"})
        elif lane == 7:
            work.write("failed", lanes=[lane], message="odd", signature="odd", traceback="", **{"class": "user error"})
        else:
            work.write("verdict", lanes=[lane], outcome="done", steps=100)
    work.write("end", reason="finished")
    return Failed(study, ids(points))


def causes(orch: Orch) -> list[dict]:
    return json.loads(orch("status", "many", "--json").stdout)["failures"]


def test_many_failures_are_few_causes(failed: Failed, orch: Orch) -> None:
    files, losses, odd = causes(orch)
    assert [cause["runs"] for cause in (files, losses, odd)] == [100, 50, 1]
    assert files["signature"].startswith("FileNotFoundError in test_triage.py:explode: ")
    assert "data.npz" in files["signature"]
    assert files["shared"] == files["only"] == {"layer": "nac"}
    assert losses["signature"] == "step # of run #: loss # at #"
    assert losses["shared"] == {"layer": "nru"}  # the rate is no axis with a label here
    assert (losses["only"], losses["exclusive"]) == ({}, False)
    assert odd["shared"] == {}


def test_each_has_one_traceback(failed: Failed, orch: Orch) -> None:
    files = causes(orch)[0]
    assert files["traceback"].startswith("Traceback (most recent call last)")
    assert files["traceback"].strip().endswith("/seed-200/data.npz'")
    text = orch("status", "many").stdout
    assert "100 × user error: FileNotFoundError: [Errno 2] No such file or directory" in text
    assert 'raise FileNotFoundError(2, "No such file or directory"' in text
    assert "all with layer=nac, and no other run" in text
    assert text.count("Traceback") == 0  # its last frames are enough
    orch("report", "many")
    assert "Traceback (most recent call last)" in orch("report", "many", "--out", "-").stdout


def test_the_command_retries_only_those(failed: Failed, orch: Orch) -> None:
    for cause in causes(orch):
        words = cause["retry"].split()
        assert words[0] == "orch"
        planned = json.loads(orch(*words[1:], "--dry-run", "--json").stdout)
        assert planned["runs"]["retry"] == cause["runs"]
    some = json.loads(orch("retry", "many", "seed=0..9", "--like", causes(orch)[0]["example"], "-n", "--json").stdout)
    assert some["runs"]["retry"] == 20


def test_a_run_that_did_not_fail_is_like_none(failed: Failed, orch: Orch) -> None:
    done = orch("retry", "many", "--like", identity.to_text(failed.runs[0]))
    assert "did not fail" in str(done.exception)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lane 3 at 0x7ffe:  loss 1.5e-3\n is bad", "lane 14 at 0x0: loss 2 is bad"),
        ("No such file: '/home/a b/x1/data.npz'", "No such file: '/home/a b/x22/data.npz'"),
        ("cannot open ../runs/s1/a.txt", "cannot open ../runs/s2/b/a.txt"),
        ("run abcdefgh23abcdef is bad", "run zzzdefgh23abcde7 is bad"),
        ("commit 3f9c2ab1 is gone", "commit 77aa01b is gone"),
        ("request 123e4567-e89b-12d3-a456-426614174000", "request 00000000-e89b-12d3-a456-426614174fff"),
        ("shapes [3, 4] and [4, 5, 6]", "shapes [1, 2, 3] and [9, 8]"),
        ("at 2024-01-02 03:04:05.678", "at 2025-11-12 13:14:15.6"),
    ],
)
def test_what_differs_from_run_to_run_is_left_out(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("its process died without a word: signal 9", "its process died without a word: signal 11"),
        ("the command exited with status 1", "the command exited with status 2"),
        ("OSError: [Errno 2] x", "OSError: [Errno 13] x"),
        ("no such file: /a/x.txt", "no such file: /a/y.txt"),
        ("KeyError: 'alpha'", "KeyError: 'beta'"),
    ],
)
def test_what_says_what_it_was_is_kept(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
