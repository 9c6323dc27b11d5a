"""Probes: workers that stop by themselves, lose nothing, and say what they used."""

import math
import resource
from pathlib import Path

from orchestrator.worker.recorder import PROBE_SECONDS
from orchestrator.worker.spent import spent
from tests.worker import test_lanes
from tests.worker.helpers import PLAIN, command_study, eventually, interrupt, plain_study, series, start_worker, work
from tests.worker.test_recorder import Clock, log, recorder, state

MIB = 1024**2


def log_of(study, task="1-0"):
    return study.incarnations(task)[-1]


def rest(study):
    """Submit the probed task again, without a probe."""
    entry = study.submission(1).numbered(2)
    study.publish(entry.__class__.from_json({**entry.to_json(), "probe": 0, "tag": ""}))
    assert work(study, "2-0") == 0


def test_a_probe_stops_after_its_steps_and_nothing_of_it_is_wasted(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 120}], probe=30)
    assert work(study) == 0
    log = log_of(study)
    assert log.end == "probed"
    assert 30 <= log.saved[0] <= 32
    rest(study)
    assert log_of(study, "2-0").restored == log.saved
    [run] = study.task("1-0").runs
    assert [step for step, _ in series(study, run)] == list(range(120))
    assert study.history().runs[run].outcome == "done"


def test_stacked_lanes_stop_at_the_next_log_point(tmp_path):
    study = test_lanes.stacked(tmp_path, [{}, {}, {}], probe=15)
    assert work(study) == 0
    log = log_of(study)
    assert (log.end, log.saved) == ("probed", [20, 20, 20])
    rest(study)
    assert [verdict[0] for verdict in log_of(study, "2-0").verdicts] == ["done"] * 3


def test_a_short_run_is_finished_by_its_probe(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 7}], probe=30)
    assert work(study) == 0
    assert (log_of(study).end, log_of(study).verdicts) == ("finished", [("done", 6)])


def test_who_wants_the_machine_back_comes_before_the_probe(tmp_path):
    study = plain_study(tmp_path, PLAIN, [{"steps": 10**6, "pause": 0.01}], probe=10**6)
    worker = start_worker(study, "1-0")
    eventually(lambda: study.incarnations("1-0") and log_of(study).saved[0])
    interrupt(study, worker)
    assert log_of(study).end == "interrupted"


def test_a_probe_has_seen_enough_after_a_while(tmp_path):
    study, clock = plain_study(tmp_path, {}, [{}] * 2, tasks=[[0, 1]], probe=1000), Clock()
    made, _ = recorder(study, clock=clock, probe=1000)
    clock.now = PROBE_SECONDS  # what came before the training does not count
    assert not made.stopping
    made.begin([0, 1], {})
    log(made, [0, 1], 999)
    assert not made.orders().stop
    clock.now = 2 * PROBE_SECONDS
    assert made.orders() == (True, True, frozenset())
    assert made.probed


def test_steps_count_from_where_a_lane_began(tmp_path):
    study = plain_study(tmp_path, {}, [{}] * 2, tasks=[[0, 1]], probe=50)
    made, _ = recorder(study, probe=50)
    made.begin([0, 1], {0: state([400])})
    log(made, [0], 449)
    assert not made.probed
    log(made, [0], 450)
    assert made.probed


def test_every_end_says_what_was_used(tmp_path):
    ballast = b"x" * (400 * MIB)  # what started it is not counted among the worker's own
    study = plain_study(tmp_path, PLAIN, [{"steps": 5}])
    assert work(study) == 0
    log = log_of(study)
    assert 10 * MIB < log.peak < len(ballast)
    assert log.cpu > 0
    assert 0 < log.seconds < math.inf
    del ballast


def test_a_programs_memory_and_time_are_the_workers(tmp_path):
    program = "x = b'x' * (300 << 20)\nsum(range(3_000_000))"
    study = command_study(tmp_path, "python hungry.py", [{}], files={"hungry.py": program})
    assert work(study) == 0
    log = log_of(study)
    assert (log.end, log.verdicts[0][0]) == ("finished", "done")
    assert log.peak > 300 * MIB
    assert log.cpu > 0


def test_where_the_kernel_does_not_say_more_its_own_count_is_taken(tmp_path):
    whole = spent(Path(tmp_path / "nothing"))
    assert whole["peak"] >= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t   2048 kB\n")
    assert whole["peak"] - spent(status)["peak"] > 0


def test_journals_of_older_workers_say_nothing_of_it(tmp_path):
    study = plain_study(tmp_path, {}, [{}])
    begun = study.begin("1-0")
    begun.write("end", reason="finished")
    assert (log_of(study).peak, log_of(study).cpu, log_of(study).seconds) == (0, 0, 0)
    begun.write("end", reason="finished", peak="plenty")
    assert [damage.line for damage in log_of(study).damage] == [2]
