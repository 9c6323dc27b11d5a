"""Disks that are full, read-only or away, and damaged records: a clear message, and the next command goes on."""

from __future__ import annotations

import errno
import os
import random
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from orchestrator import submit
from orchestrator.errors import UserError
from orchestrator.liveness import Unread
from orchestrator.steward import local as steward
from orchestrator.steward import wave
from orchestrator.study import code
from orchestrator.study.history import History, RunRecord
from orchestrator.study.patience import patiently
from orchestrator.study.study import Study
from orchestrator.worker import events, pool, rest
from orchestrator.worker.fork import fork
from orchestrator.worker.rest import Rest
from tests.e2e.conftest import project as project  # noqa: PLC0414  (a fixture)
from tests.faults.forked import NOISY, ForkCluster, copy, noisy, repair, train
from tests.faults.inject import WRITING, Mortal, Refused, in_child, order
from tests.faults.proof import proven, rows
from tests.worker.helpers import make_study, series


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study of two runs in one task, and the series it should have."""
    study = noisy(tmp_path_factory.mktemp("whole"), tasks=[[0, 1]])
    calm = copy(study, tmp_path_factory.mktemp("calm"))
    ForkCluster("fake").adopt(calm)
    assert train(calm, "1-0").status == 0
    return study, rows(calm)


@pytest.fixture
def begun(whole, tmp_path, monkeypatch):
    """The study, its worker killed half way through the first run; the scheduler knows that it is gone."""
    monkeypatch.setenv("ORCH_PATIENCE", "0.3")
    study, cluster = copy(whole[0], tmp_path), ForkCluster("fake")
    job = cluster.adopt(study)
    train(study, "1-0", fault=Mortal(study.path, 120, "after"))
    cluster.states[job] = "gone"
    saved = study.incarnations("1-0")[0].saved[0]
    assert saved is not None
    assert saved > 0
    return study, cluster, saved


# --- what cannot be read ----------------------------------------------------------------------------------------------

FILES = ["checkpoint-", "1-0/1/journal"]


@pytest.mark.parametrize("match", FILES)
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_what_cannot_be_read_for_a_moment_is_read_again(whole, begun, monkeypatch, match, number):
    monkeypatch.setenv("ORCH_PATIENCE", "20")
    study, _, saved = begun
    train(study, "1-0", fault=Refused(study.path, number, ["read"], times=2, match=match))
    assert study.incarnations("1-0")[1].begun == [saved, -1]
    proven(study, whole[1])


@pytest.mark.parametrize("match", FILES)
def test_what_stays_unreadable_is_the_machines_fault_and_nothing_begins_anew(whole, begun, match):
    study, cluster, saved = begun
    train(study, "1-0", fault=Refused(study.path, errno.ESTALE, ["read"], match=match))
    log = study.incarnations("1-0")[1]
    assert log.end == "node"
    assert log.begun == [None, None]  # it did not touch any run
    repair(study, cluster)
    assert study.incarnations("2-0")[0].begun[0] == saved
    proven(study, whole[1])


def test_nobody_plans_while_a_journal_cannot_be_read(whole, begun):
    """Whoever took it for empty would train again what is done."""
    study, cluster, _ = begun

    def plan() -> int:
        try:
            submit.advance(Study(study.path), cluster, cluster)
        except Unread as error:
            return 3 if "journal.jsonl: Input/output error; nothing is planned" in str(error) else 4
        return 5

    assert in_child(plan, Refused(study.path, errno.EIO, ["read"], match="journal")).status == 3
    assert len(study.chain()) == 1
    repair(study, cluster)
    proven(study, whole[1])


@pytest.mark.parametrize("match", ["submissions/1.json", "grid.1.json", "grid.1.ids"])
def test_nobody_plans_while_the_chain_or_a_generation_cannot_be_read(whole, begun, match):
    study, cluster, _ = begun

    def plan() -> int:
        try:
            submit.advance(Study(study.path), cluster, cluster)
        except (OSError, UserError) as error:
            return 3 if "Input/output error" in str(error) else 4
        return 5

    assert in_child(plan, Refused(study.path, errno.EIO, ["read"], match=match)).status == 3
    assert len(study.chain()) == 1
    repair(study, cluster)
    proven(study, whole[1])


def test_a_damaged_checkpoint_gives_way_to_an_earlier_one(whole, begun):
    """Whatever was done to its bytes: the series are the same, and as little as possible is made again."""
    study, cluster, saved = begun
    train(study, "1-0", fault=Mortal(study.path, 90, "after"))
    (second,) = (study.path / "tasks/1-0/2").glob("checkpoint-*.npz")
    data, chance = second.read_bytes(), random.Random(1)
    for at in range(8):
        hurt, copied = copy(study, study.path.parent / f"hurt{at}"), ForkCluster("fake")
        copied.jobs, copied.states = dict(cluster.jobs), dict(cluster.states)
        spoilt = bytearray(data)
        if at % 2:
            spoilt = spoilt[: chance.randrange(len(spoilt))]
        for _ in range(60):
            if spoilt:
                spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        (hurt.path / second.relative_to(study.path)).write_bytes(spoilt)
        repair(hurt, copied)
        assert hurt.incarnations("2-0")[0].begun[0] == saved
        proven(hurt, whole[1])


def test_patience_ends():
    calls = []

    def fail() -> None:
        calls.append(time.monotonic())
        raise OSError(errno.ESTALE, "Stale file handle")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCH_PATIENCE", "0.5")
        with pytest.raises(OSError, match="Stale"):
            patiently(fail)
    assert len(calls) > 1
    with pytest.raises(FileNotFoundError):
        patiently(lambda: Path("/nowhere").stat())


# --- disks that take no more ------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_a_while_costs_no_retry(project):
    """Every process of the study meets it: workers, the steward, and the commands that are typed meanwhile."""
    project.grid.write_text(project.grid.read_text().replace("retries: 0", "retries: 0, checkpoint: 0s"))
    flag, runs = project.folder / "full", project.folder / "runs"
    project.env |= order(under=str(runs), number=errno.ENOSPC, calls=WRITING, flag=str(flag))
    project.hold()
    project.orch("submit", "walk.yaml")
    project.wait(lambda: sum(project.begun().values()) == 2, "two runs half way")
    flag.touch()
    project.release()
    said = runs / "walk/steward/1/stderr"
    project.wait(lambda: "disk" in said.read_text(), "a worker that could not go on")
    for words in (["cancel", "walk", "--yes"], ["submit", "walk.yaml", "seed=0..3"]):
        refused = project.orch(*words, code=2)
        assert "No space left on device" in refused.stderr
    assert project.json("status", "walk")["runs"]["total"] == 6
    project.wait(lambda: said.read_text().count("disk") > 3, "the steward meeting it again after a pause")
    flag.unlink()
    project.settled()
    assert project.runs() == {"done": 6}
    study = Study.open("walk", runs)
    proven(study)
    calm = project.folder / "calm"
    project.env["ORCH_ROOT"] = str(calm)
    project.orch("run", "walk.yaml")
    assert rows(study) == rows(Study.open("walk", calm))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_folder_that_takes_nothing_is_named(project, number):
    runs = project.folder / "runs"
    project.env |= order(under=str(runs), number=number, calls=WRITING)
    refused = project.orch("submit", "walk.yaml", code=2)
    assert os.strerror(number) in refused.stderr
    assert str(runs) in refused.stderr
    assert "--root" in refused.stderr  # another place
    for name in ("ORCH_TEST_FAULT", "PYTHONPATH"):
        del project.env[name]
    project.orch("run", "walk.yaml")
    assert project.runs() == {"done": 6}


def test_a_submission_that_found_no_room_is_given_again(project):
    runs = project.folder / "runs"
    project.env |= order(under=str(runs), number=errno.ENOSPC, calls=["write"], times=1, match="submissions")
    refused = project.orch("submit", "walk.yaml", code=2)
    assert "No space left on device; nothing is lost: make room, then give the command again" in refused.stderr
    assert str(runs) in refused.stderr
    assert project.stewards() == []
    for name in ("ORCH_TEST_FAULT", "PYTHONPATH"):
        del project.env[name]
    project.orch("run", "walk.yaml")
    proven(Study.open("walk", runs))


def test_pauses_grow_and_end_when_something_goes_well():
    now = [0.0]
    pause = Rest(lambda: now[0])
    assert not pause.on
    lengths = []
    for _ in range(9):
        pause.trouble()
        pause.trouble()  # the same, told by somebody else
        lengths.append(pause.until - now[0])
        assert pause.on
        now[0] = pause.until
        assert not pause.on
    assert lengths == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pause.lasts == sum(lengths)
    pause.well()
    assert (pause.until, pause.lasts) == (None, 0)


def test_a_steward_of_a_scheduler_leaves_a_full_disk_alone_for_a_while():
    def history(**used: int) -> History:
        return History({b"a": RunRecord(failure="disk", used=used), b"b": RunRecord(failure="lost", used={"lost": 9})})

    assert wave.rest(History()) == 0
    assert [wave.rest(history(disk=times)) for times in (1, 2, 20)] == [2, 4, wave.LONGEST]


def test_a_worker_that_cannot_be_started_does_not_end_the_steward(tmp_path, monkeypatch):
    """The machine has no process left for a moment."""
    study = make_study(tmp_path, [{"seed": seed, "steps": 6} for seed in range(3)], files=NOISY, lanes=["seed"])
    monkeypatch.setattr(rest, "FIRST", 0.05)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    refusals = [OSError(errno.EAGAIN, "Resource temporarily unavailable") for _ in range(3)]

    def launch(*arguments):
        if refusals:
            raise refusals.pop()
        return fork(*arguments)

    def serve() -> int:
        pool.execute = launch
        code.installed_packages = lambda: {"python": "3"}
        sys.path.insert(0, str(study.code_dir(study.submission(1).code)))
        return steward.main([str(study.path), "1", "0"])

    assert in_child(serve).status == 0
    proven(study)
    assert [len(study.incarnations(f"1-{index}")) for index in range(3)] == [1, 1, 1]


# --- records that are damaged -----------------------------------------------------------------------------------------


def spoil(path, chance):
    """Damage a journal as disks and crashed machines do."""
    data = bytearray(path.read_bytes())
    lines = data.split(b"\n")
    how = chance.choice(["zeros", "flip", "cut", "line", "foreign"])
    at = chance.randrange(len(data))
    if how == "zeros":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    elif how == "flip":
        data[at] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del data[at:]
    elif how == "line":
        data = bytearray(b"\n".join(line for number, line in enumerate(lines) if number != at % len(lines)))
    else:
        lines.insert(at % len(lines), b'{"t":"verdict","lanes":[[0,999,1]],"outcome":"done","steps":4}\xff[')
        data = bytearray(b"\n".join(lines))
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("seed", range(8))
def test_damaged_journals_are_told_of_and_the_runs_arrive_all_the_same(whole, begun, seed):
    study, cluster, _ = begun
    train(study, "1-0", fault=Mortal(study.path, 140, "before"))
    chance = random.Random(seed)
    for path in sorted((study.path / "tasks/1-0").glob("*/journal.jsonl")):
        spoil(path, chance)
    history = Study(study.path).history()
    assert set(history.runs) == set(study.generation().runs)
    repair(study, cluster)
    counts = Study(study.path).history().counts(study.generation().runs, ())
    assert counts["done"] == 2
    assert rows(study) == whole[1]


# --- clocks that are wrong --------------------------------------------------------------------------------------------


def test_clocks_that_disagree_change_nothing(whole, begun):
    """The second machine's clock is years behind: attempts are ordered by ownership, in TensorBoard as well."""
    study, cluster, _ = begun
    real = time.time

    def behind() -> None:
        time.time = lambda: real() - 1e8
        events.EventFiles.__init__.__defaults__ = (time.time,)

    (job,) = submit.advance(Study(study.path), cluster, cluster).jobs
    assert study.take(job.n, job.array, job.job_id)
    for index in range(2):
        train(study, f"2-{index}", f"{job.job_id}_{index}", before=behind)
    run = study.generation().runs[0]
    files = sorted(study.events_dir(run).iterdir())
    assert len(files) == 2
    for path, age in zip(files, (10**9, 0), strict=True):
        os.utime(path, (age, age))
    proven(study, whole[1])
    assert [step for step, _ in series(study, run, "loss")] == list(range(6))
    stamps = [event.wall_time for path in files for event in EventFileLoader(str(path)).Load()]
    assert stamps[0] > stamps[-1] + 1e7  # the clocks did disagree
