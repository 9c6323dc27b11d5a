"""Who owns a run, what counts, and what a run is: the fold of the chain and the journals."""

from __future__ import annotations

import pytest

from orchestrator.study.history import NEVER
from orchestrator.study.records import Job, Submission, TaskSpec
from orchestrator.study.study import Study
from orchestrator.study.watch import HeartbeatWatch
from tests.study.studies import FakeCluster, enter, finish, ids, make_info, make_points, save, start

POINTS = make_points(6)
RUNS = ids(POINTS)


@pytest.fixture
def study(tmp_path):
    study = Study.create(tmp_path, "s")
    study.publish_generation("x: 0", make_info(), POINTS)
    return study


def cancel(study, which):
    from orchestrator.cancel import cancel

    return cancel(study, which, clusters=FakeCluster(), argv=())


def test_ids_are_raw(study):
    enter(study, range(6))
    assert set(study.history().runs) == set(RUNS)
    assert {len(run) for run in study.history().runs} == {10}


def test_a_verdict_counts(study):
    enter(study, range(3), range(3, 6))
    work = start(study, "1-0")
    work.write("engine", kind="eager")
    finish(work, [0, 1], 100)
    history = study.history()
    record = history.runs[RUNS[0]]
    assert (record.outcome, record.step, record.n, record.task, record.k, record.lane) == ("done", 100, 1, "1-0", 1, 0)
    assert (record.code, record.engine, record.attempts, record.width) == ("s1", {"kind": "eager"}, 1, 3)
    assert history.ended == {"1-0"}
    assert history.counts(RUNS, {"1-1"}) == {
        "done": 2, "live": 3, "waiting": 0, "failed": 0, "cancelled": 0, "lost": 1
    }  # fmt: skip


def test_the_parts_add_up(study):
    enter(study, [0], [1], [2], [3])
    finish(start(study, "1-0"))
    work = start(study, "1-1")
    work.write("failed", lanes=[0], message="no", signature="x", **{"class": "user error"})
    work.write("end", reason="finished")
    start(study, "1-2")  # dies without a word
    start(study, "1-3")
    history = study.history()
    counts = history.counts(RUNS, {"1-3"})
    assert counts == {"done": 1, "live": 1, "waiting": 2, "failed": 1, "cancelled": 0, "lost": 1}
    assert sum(counts.values()) == len(RUNS)


def test_a_later_incarnation_cuts_what_it_did_not_restore(study):
    enter(study, range(2))
    first = start(study, "1-0")
    save(first, 10)
    second = start(study, "1-0")  # restores 10
    save(first, 20)  # the first copy still lives on a node that was cut off
    first.write("verdict", lanes=[0, 1], outcome="done", steps=100)
    history = study.history()
    assert history.runs[RUNS[0]].outcome is None
    assert (history.runs[RUNS[0]].step, history.runs[RUNS[0]].saved) == (10, 10)
    assert history.runs[RUNS[0]].k == 2
    assert history.runs[RUNS[0]].attempts == 2
    save(second, 30)
    assert {point.step for point in study.restore_points(RUNS).values()} == {30}
    finish(second)
    assert study.history().runs[RUNS[0]].outcome == "done"
    assert study.restore_points(RUNS) == {}


def test_a_predecessor_counts_until_its_successor_restores(study):
    enter(study, range(2))
    first = start(study, "1-0")
    save(first, 10)
    enter(study, range(2))
    assert study.history().runs[RUNS[0]].n == 2
    first.write("verdict", lanes=[0], outcome="done", steps=100)
    assert study.history().runs[RUNS[0]].outcome == "done"  # nobody began it anew
    assert set(study.restore_points(RUNS)) == {RUNS[1]}
    assert study.finished(RUNS) == {RUNS[0]}
    second = study.begin("2-0")
    second.write("restored", lanes=[0, 1], steps=10)
    assert study.history().runs[RUNS[0]].outcome is None


def test_restore_points_honour_ownership(study):
    enter(study, range(3))
    first = start(study, "1-0")
    save(first, [10, 20, 30])
    enter(study, [2, 1])  # other lanes, other order; run 0 stays with the first task
    second = start(study, "2-0")
    assert study.incarnations("2-0")[0].restored == [30, 20]
    save(first, [40, 50, 60])  # run 0 may; runs 1 and 2 are not its own any more
    points = study.restore_points(RUNS)
    # What the first task wrote later does not count, and what its successor began from is still there.
    assert {run: point.step for run, point in points.items()} == {RUNS[0]: 40, RUNS[1]: 20, RUNS[2]: 30}
    save(second, [33, 25])
    points = study.restore_points(RUNS)
    assert {run: (p.step, p.column) for run, p in points.items()} == {
        RUNS[0]: (40, 0), RUNS[2]: (33, 0), RUNS[1]: (25, 1)
    }  # fmt: skip
    assert points[RUNS[2]].path.read_bytes() == b"state"
    assert study.restore_points(RUNS, code="other") == {}


def test_a_lane_that_is_begun_again_by_the_same_process(study):
    enter(study, range(3))
    work = start(study, "1-0")
    save(work, 10)
    work.write("restored", lanes=[0], steps=10)  # its neighbours failed: it goes on alone
    save(work, 20, [0])
    work.write("restored", lanes=[1], steps=-1)  # its checkpoint was of no use
    record, other = (study.history().runs[run] for run in RUNS[:2])
    assert (record.begun, record.saved, record.attempts) == (0, 20, 1)
    assert (other.begun, other.saved, other.step, other.attempts) == (0, -1, -1, 1)
    assert {run: point.step for run, point in study.restore_points(RUNS).items()} == {RUNS[0]: 20, RUNS[2]: 10}
    work.write("end", reason="timeout")
    assert study.history().runs[RUNS[0]].used == {"timeout": 1}


def test_what_an_earlier_attempt_got_done_is_no_later_ones_merit(study):
    """A run that got further once, and whose workers then die before they restore it, is not tried for ever."""
    enter(study, [0], [1])
    for task in ("1-0", "1-1"):
        save(start(study, task), 40)
    for n in (2, 3, 4):
        enter(study, [0])
        study.begin(f"{n}-0")
        study.begin("1-1")
    history = study.history()
    assert history.runs[RUNS[0]].used == {"lost": 3}
    assert [history.state(run, set()) for run in RUNS[:2]] == ["failed", "failed"]


def test_runs_that_were_never_come_to_are_not_charged(study):
    for n in (1, 2, 3, 4):
        enter(study, [0, 1])
        work = study.begin(f"{n}-0")
        work.write("restored", lanes=[0], steps=-1)  # one after the other: the second has to wait
        if n == 2:
            work.write("end", reason="timeout")
    history = study.history()
    assert history.state(RUNS[0], set()) == "failed"
    assert history.state(RUNS[1], set()) == "lost"  # which goes on
    assert history.runs[RUNS[1]].used == {}


def test_a_mistake_stands_whatever_becomes_of_later_incarnations(study):
    enter(study, [0, 1])
    work = start(study, "1-0")
    work.write("failed", lanes=[0], message="no", signature="x", **{"class": "user error"})
    study.begin("1-0")  # dies before it says anything
    study.begin("1-0").write("end", reason="oom")
    mistaken, other = (study.history().runs[run] for run in RUNS[:2])
    assert (mistaken.failure, mistaken.message) == ("user error", "no")
    assert other.failure == "oom"


def test_of_checkpoints_at_equal_steps_the_last_counts(study):
    """Ordinary code may write checkpoints and tell of no step in between."""
    enter(study, [0])
    save(start(study, "1-0"), 10)
    second = start(study, "1-0")
    save(second, 10)
    assert study.restore_points(RUNS)[RUNS[0]].path.parent == second.path


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_superseded_copy_does_not_remove_what_its_successor_began_from(study, elsewhere):
    enter(study, range(2))
    first = start(study, "1-0")
    save(first, 10)
    if elsewhere:
        enter(study, range(2))
    start(study, "2-0" if elsewhere else "1-0")  # restores 10, and dies before its own first checkpoint
    save(first, 20)
    finish(first)
    assert {point.step for point in study.restore_points(RUNS).values()} == {10}


def test_a_vanished_checkpoint_is_not_restored(study):
    enter(study, range(2))
    work = start(study, "1-0")
    save(work, 10, [0])
    save(work, 20, [1])
    study.restore_points(RUNS)[RUNS[1]].path.unlink()
    assert set(study.restore_points(RUNS)) == {RUNS[0]}


def test_rerun_starts_from_nothing(study):
    enter(study, range(2))
    work = start(study, "1-0")
    save(work, 10)
    finish(work, [0])
    enter(study, range(2), rerun=[[0, 1, 1]])
    history = study.history()
    assert history.runs[RUNS[0]].outcome is None
    assert history.runs[RUNS[0]].step == NEVER
    assert history.runs[RUNS[1]].saved == 10
    assert study.task("2-0").fresh == {0}
    assert set(study.restore_points(RUNS)) == {RUNS[1]}


def test_superseded_by_the_next_incarnation(study):
    enter(study, range(3))
    first = start(study, "1-0")
    assert study.superseded(first, first.task.runs) == set()
    second = study.begin("1-0")
    assert study.superseded(first, first.task.runs) == {0, 1, 2}
    assert study.superseded(second, second.task.runs) == set()


def test_superseded_by_a_later_submission(study):
    enter(study, range(3), range(3, 6))
    first, other = start(study, "1-0"), start(study, "1-1")
    enter(study, [1, 5])
    assert study.superseded(first, first.task.runs) == {1}
    assert study.superseded(other, other.task.runs) == {2}
    enter(study, [1, 0])
    assert study.superseded(first, first.task.runs) == {0, 1}
    second = study.begin("2-0")
    assert study.superseded(second, second.task.runs) == {0}
    third = study.begin("3-0")
    assert study.superseded(third, third.task.runs) == set()


def test_looking_again_reads_nothing_anew(study, monkeypatch):
    enter(study, range(3))
    work = start(study, "1-0")
    study.superseded(work, work.task.runs)
    from orchestrator.study import study as module

    monkeypatch.setattr(module, "read_object", lambda path: pytest.fail(f"read {path}"))
    assert study.superseded(work, work.task.runs) == set()


def test_cancel_some_and_name_them_again(study):
    enter(study, range(3))
    work = start(study, "1-0")
    assert cancel(study, [RUNS[1]]).cancel is not None
    assert study.superseded(work, work.task.runs) == {1}
    assert study.history().state(RUNS[1], {"1-0"}) == "cancelled"
    enter(study, [1])
    assert study.history().state(RUNS[1], {"1-0", "3-0"}) == "live"
    assert study.superseded(work, work.task.runs) == {1}
    again = study.begin("3-0")
    assert study.superseded(again, again.task.runs) == set()


def test_cancel_all_takes_in_what_was_never_submitted_and_spares_results(study):
    enter(study, range(2), [2])
    finish(start(study, "1-0"))
    work = start(study, "1-1")
    cancel(study, "all")
    history = study.history()
    assert [history.state(run, {"1-1"}) for run in RUNS] == ["done", "done", *["cancelled"] * 4]
    assert study.superseded(work, work.task.runs) == {0}
    assert cancel(study, "all") is None  # nothing left
    assert cancel(study, [RUNS[0]]) is None
    study.publish_generation("x: 1", make_info(), make_points(8))
    assert study.history().state(make_points(8).id(7), ()) == "waiting"  # asked for after the order


@pytest.mark.parametrize(
    ("reason", "failure", "state"),
    [
        ("timeout", "timeout", "waiting"),
        ("interrupted", "preempted", "waiting"),
        ("engine", "engine", "waiting"),
        ("oom", "oom", "waiting"),
        ("user error", "user error", "failed"),
        ("what nobody knows", "lost", "waiting"),
        ("requeued", None, "lost"),
        ("finished", None, "lost"),
    ],
)
def test_the_reason_of_an_end_is_every_open_runs_failure(study, reason, failure, state):
    enter(study, range(2))
    work = start(study, "1-0")
    work.write("verdict", lanes=[0], outcome="stopped", steps=5)
    work.write("end", reason=reason)
    history = study.history()
    assert history.runs[RUNS[0]].outcome == "stopped"
    assert history.runs[RUNS[1]].failure == failure
    assert history.state(RUNS[1], set()) == state


def test_a_requeued_task_is_live_while_its_job_is(study):
    enter(study, range(2))
    start(study, "1-0").write("end", reason="requeued")
    history = study.history()
    assert history.ended == set()
    assert study.alive(history, {"j1": "pending"}) == {"1-0"}
    assert history.state(RUNS[0], {"1-0"}) == "live"


def test_progress_starts_the_budget_anew(study):
    used = []
    for n, saved in enumerate([0, 0, 50, 50, 50], 1):
        enter(study, [0])
        work = start(study, f"{n}-0")
        if saved > study.history().runs[RUNS[0]].saved:
            save(work, saved)
        work.write("end", reason="timeout")
        used.append(study.history().runs[RUNS[0]].used["timeout"])
    assert used == [1, 2, 1, 2, 3]
    assert study.history().state(RUNS[0], set()) == "failed"


def test_silent_deaths_are_counted(study):
    for n in range(1, 4):
        enter(study, [0])
        start(study, f"{n}-0")
        assert study.history().state(RUNS[0], set()) == ("lost" if n < 3 else "failed")
    enter(study, [0], reset=[[0, 1, 1]])
    assert study.history().runs[RUNS[0]].used == {}


def test_to_stand_in_a_queue_that_went_away_costs_nothing(study):
    for n in range(1, 6):
        enter(study, [n - 1], [5])
        finish(start(study, f"{n}-0"))  # then the machine is switched off
        assert study.history().state(RUNS[5], set()) == "lost"
    assert study.history().runs[RUNS[5]].used == {}


def test_a_job_that_never_begins_is_not_submitted_for_ever(study):
    states = []
    for _ in range(5):
        enter(study, [0], [1])
        states.append(study.history().state(RUNS[0], set()))
    assert states == ["lost", "lost", "lost", "failed", "failed"]


def test_silent_deaths_within_a_task_are_counted(study):
    enter(study, [0])
    for _ in range(3):
        start(study, "1-0")
    assert study.history().runs[RUNS[0]].used == {"lost": 2}


def test_alive_asks_for_jobs_and_elements(study):
    entry = enter(study, [0], [1], [2], [3], arrays=((0, 2), (2, 4)))
    history = study.history()
    assert history.unhanded == {"1-2", "1-3"}
    assert history.state(RUNS[2], set()) == "waiting"
    study.record_job(1, 1, Job(1, 1, "fake", "j9"))
    history = study.history()
    assert history.unhanded == set()
    assert study.alive(history, {}) == {"1-0", "1-1", "1-2", "1-3"}
    assert study.alive(history, {"j1": "gone", "j9": "running", "j9_1": "gone"}) == {"1-2"}
    finish(start(study, "1-2"))
    assert study.alive(study.history(), {"j1": "gone", "j9": "running"}) == {"1-3"}
    assert entry.array_of(3) == 1


def test_the_job_that_took_the_array_is_the_one(study):
    enter(study, [0])
    study.record_job(1, 0, Job(1, 0, "fake", "again"))
    assert study.take(1, 0, "unrecorded")
    assert not study.take(1, 0, "again")
    assert [job.job_id for job in study.jobs()] == ["unrecorded"]
    assert study.alive(study.history(), {"j1": "gone", "again": "gone", "unrecorded": "running"}) == {"1-0"}


def test_a_heartbeat_that_stands_still(study):
    enter(study, [0], [1])
    time = [0.0]
    watch = HeartbeatWatch(study, interval=10, clock=lambda: time[0])
    work, _ = start(study, "1-0"), start(study, "1-1")
    groups = {"a": ["1-0"], "b": ["1-1"], "both": ["1-0", "1-1"]}
    assert set(watch.look(groups).values()) == {"unsure"}
    time[0] = 209
    work.beat()
    assert watch.look(groups) == {"a": "beats", "b": "unsure", "both": "beats"}
    time[0] = 211
    assert watch.look(groups) == {"a": "beats", "b": "still", "both": "beats"}
    time[0] = 420
    assert set(watch.look(groups).values()) == {"still"}
    start(study, "1-1")  # a new incarnation is a sign of life
    assert watch.look(groups) == {"a": "still", "b": "beats", "both": "beats"}


def test_what_never_began_is_watched_as_well(study):
    enter(study, [0], [1])
    time = [0.0]
    watch = HeartbeatWatch(study, interval=10, clock=lambda: time[0])
    assert watch.look({"a": ["1-0", "1-1"]}) == {"a": "unsure"}
    time[0] = 209
    start(study, "1-1")
    assert watch.look({"a": ["1-0", "1-1"]}) == {"a": "beats"}


def test_a_damaged_entry_is_named_and_its_number_stays_taken(study):
    enter(study, [0])
    (study.path / "submissions" / "2.json").write_bytes(b"\0\0\0")
    history = study.history()
    assert history.last == 2
    assert [str(damage).rpartition("/")[2] for damage in history.damaged] == ["2.json: not an entry of the chain"]
    assert set(history.runs) == {RUNS[0]}


def test_an_entry_that_comes_while_somebody_looks_is_not_counted_as_seen(study, monkeypatch):
    """Whoever plans by that look must find the next number taken, and look again."""
    enter(study, [0])
    real = Study.generation

    def generation(self, g=None):
        monkeypatch.setattr(Study, "generation", real)
        self.publish(Submission(2, generation=1, tasks=(TaskSpec("2-0", [[1, 2, 1]], 1),), arrays=((0, 1),)))
        return real(self, g)

    monkeypatch.setattr(Study, "generation", generation)
    history = study.history()
    assert history.last == 1
    assert RUNS[1] not in history.runs
    assert Study(study.path).history().last == 2
