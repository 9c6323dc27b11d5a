"""Stewards as processes: what is trained, tried again, cancelled and handed over, whatever dies on the way."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import submit
from orchestrator.cancel import cancel
from orchestrator.clusters import get_cluster
from orchestrator.clusters.base import Part
from orchestrator.study.records import Submission, TaskSpec
from tests.worker.helpers import PLAIN, eventually, plain_study, series, start_worker

LOCAL = get_cluster("local")
SLOW = {"steps": 10**9, "pause": 0.002}


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Start the steward of a study's newest submission; all stewards have ended when the test has."""
    monkeypatch.setenv("TOY_FOLDER", str(tmp_path))
    jobs = []

    def start(study, n=1):
        job = LOCAL.submit(study, study.submission(n), 0)
        study.record_job(n, 0, job)
        jobs.append(job)
        return job

    yield start
    LOCAL.cancel([Part(job) for job in jobs])
    eventually(lambda: all(ended(job) for job in jobs))


def ended(job):
    return LOCAL.poll([job])[job.job_id] == "gone"


def pid_of(job):
    return int(job.job_id.partition("/")[0].rsplit(":", 2)[1])


def resubmit(study):
    return submit.submit(study, submit.again(study, frozen=True), LOCAL, submit.Request(shrink="ignore"))


def counts(study):
    history = study.history()
    alive = submit.alive(study, history, get_cluster)
    return {state: count for state, count in history.counts(history.runs, alive).items() if count}


def progressing(study, task, step=5):
    logs = study.incarnations(task)
    return logs and logs[-1].saved[0] is not None and logs[-1].saved[0] > step


def undisturbed(tmp_path, row):
    study = plain_study(tmp_path / "undisturbed", PLAIN, [row])
    start_worker(study, "1-0").communicate(timeout=60)
    return series(study, study.task("1-0").runs[0])


def test_all_tasks_are_trained_and_tables_written(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [{"steps": 10 + at} for at in range(5)], tasks=[[0], [1, 2], [3], [4]])
    job = start(study)
    eventually(lambda: ended(job))
    assert counts(study) == {"done": 5}
    log = (study.path / "steward" / "1" / "stderr").read_text()
    assert "4 tasks, 2 workers" in log
    assert (study.tables / "manifest.json").exists(), log
    assert len(study.chain()) == 1


def test_a_worker_that_dies_is_replaced_and_goes_on_from_its_checkpoint(tmp_path, start):
    row = {"steps": 400, "pause": 0.003}
    study = plain_study(tmp_path, PLAIN, [row])
    job = start(study)
    eventually(lambda: progressing(study, "1-0"))
    os.kill(study.incarnations("1-0")[0].begin["pid"], signal.SIGKILL)
    eventually(lambda: ended(job))
    assert counts(study) == {"done": 1}
    [first] = study.incarnations("1-0")
    [second] = study.incarnations("2-0")
    assert (first.end, second.restored) == (None, [first.saved[0]])
    assert series(study, study.task("1-0").runs[0]) == undisturbed(tmp_path, row)
    assert study.owner(2, 0) == f"{job.job_id}/2.0"


def test_a_run_that_always_dies_uses_up_its_budget(tmp_path, start):
    rows = [{"steps": 9, "fail_at": 2, "how": "kill"}, {"steps": 9}]
    study = plain_study(tmp_path, PLAIN, rows, resources={"retries": 2})
    job = start(study)
    eventually(lambda: ended(job))
    assert counts(study) == {"done": 1, "failed": 1}
    assert [entry.n for entry in study.chain()] == [1, 2, 3]


def test_one_death_costs_one_retry(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [{"steps": 9, "fail_at": 2, "how": "kill once"}])
    job = start(study)
    eventually(lambda: ended(job))
    assert counts(study) == {"done": 1}


def test_a_user_error_is_not_tried_again(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [{"steps": 9, "fail_at": 2}, {"steps": 9}])
    job = start(study)
    eventually(lambda: ended(job))
    assert counts(study) == {"done": 1, "failed": 1}
    assert len(study.chain()) == 1


def test_an_order_to_cancel_is_obeyed(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [SLOW, SLOW, SLOW, {"steps": 300, "pause": 0.002}], tasks=[[0], [3], [1], [2]])
    job = start(study)
    eventually(lambda: progressing(study, "1-0") and progressing(study, "1-1"))
    runs = study.generation().runs
    cancel(study, [runs[0], runs[1], runs[2]])
    eventually(lambda: ended(job))
    assert counts(study) == {"done": 1, "cancelled": 3}
    assert study.incarnations("1-3") == []  # never begun


def test_cancelling_everything_ends_the_steward_soon(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [SLOW] * 50)
    job = start(study)
    eventually(lambda: progressing(study, "1-0"))
    cancel(study, "all")
    eventually(lambda: ended(job))
    assert counts(study) == {"cancelled": 50}


def test_term_keeps_what_was_done_and_the_next_submit_goes_on(tmp_path, start):
    row = {"steps": 400, "pause": 0.003}
    study = plain_study(tmp_path, PLAIN, [row, row, row])
    job = start(study)
    eventually(lambda: progressing(study, "1-0") and progressing(study, "1-1"))
    LOCAL.cancel([Part(job)])
    eventually(lambda: ended(job))
    saved = study.incarnations("1-0")[0].saved[0]
    assert saved > 5
    result = resubmit(study)
    assert len(result.plan.retry) == 3
    eventually(lambda: all(map(ended, result.jobs)))
    assert counts(study) == {"done": 3}
    assert study.incarnations("2-0")[0].begun[0] >= 5
    [expected] = {tuple(undisturbed(tmp_path, row))}
    assert tuple(series(study, study.task("1-0").runs[0])) == expected


def test_a_steward_that_is_killed_takes_its_workers_along_and_nothing_is_lost(tmp_path, start):
    row = {"steps": 400, "pause": 0.003}
    study = plain_study(tmp_path, PLAIN, [row])
    job = start(study)
    eventually(lambda: progressing(study, "1-0"))
    os.kill(pid_of(job), signal.SIGKILL)
    eventually(lambda: study.incarnations("1-0")[0].end == "interrupted")
    eventually(lambda: ended(job))
    result = resubmit(study)
    eventually(lambda: all(map(ended, result.jobs)))
    assert counts(study) == {"done": 1}
    assert series(study, study.task("1-0").runs[0]) == undisturbed(tmp_path, row)


def test_a_time_slice_ends_with_a_checkpoint_and_the_task_goes_on(tmp_path, start):
    row = {"steps": 800, "pause": 0.003}
    study = plain_study(tmp_path, PLAIN, [row], resources={"time": "2s", "workers": 1})
    job = start(study)
    eventually(lambda: ended(job))
    ends = [log.end for log in study.incarnations("1-0")]
    assert ends[-1] == "finished"
    assert len(ends) > 1
    assert set(ends[:-1]) == {"requeued"}
    assert series(study, study.task("1-0").runs[0]) == undisturbed(tmp_path, row)


def test_a_further_submission_is_taken_by_the_steward_that_runs(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [SLOW, {"steps": 10}], tasks=[[0]])
    first = start(study)
    eventually(lambda: progressing(study, "1-0"))
    entry = study.submission(1)
    more = Submission(
        2, generation=1, cluster="local", resources=entry.resources, code=entry.code, source="s",
        tasks=(TaskSpec("2-0", [[1, 2, 1]], 1),), arrays=((0, 1),),
    )  # fmt: skip
    study.publish(more)
    second = start(study, 2)
    assert pid_of(first) == pid_of(second)
    eventually(lambda: study.incarnations("2-0") and study.incarnations("2-0")[0].end == "finished")
    assert not ended(first)
    LOCAL.cancel([Part(second)])  # the other array goes on: there is no order against it
    eventually(lambda: study.heartbeat("1-0")[1] > 2)
    assert not ended(first)
    LOCAL.cancel([Part(first), Part(second)])
    eventually(lambda: ended(first))


def test_stewards_started_at_once_serve_each_array_once(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [{"steps": 50, "pause": 0.002}] * 4)
    jobs = [start(study) for _ in range(3)]
    eventually(lambda: all(map(ended, jobs)))
    assert counts(study) == {"done": 4}
    assert all(len(study.incarnations(f"1-{at}")) == 1 for at in range(4))


def test_a_broken_export_changes_no_result(tmp_path, start):
    study = plain_study(tmp_path, PLAIN, [{"steps": 10}])
    (study.path / "tables").write_text("in the way")
    job = start(study)
    eventually(lambda: ended(job))
    assert counts(study) == {"done": 1}
    assert "the tables cannot be written" in (study.path / "steward" / "1" / "stderr").read_text()


def test_workers_have_one_thread_each(tmp_path, start, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    train = PLAIN["toy/train.py"] + "\n_train = train\ndef train(run):\n    import json\n    (run.dir / 'env').write_text(json.dumps(dict(os.environ)))\n    _train(run)\n"  # fmt: skip  # noqa: E501
    study = plain_study(tmp_path, {**PLAIN, "toy/train.py": train}, [{"steps": 2}])
    job = start(study)
    eventually(lambda: ended(job))
    variables = json.loads((study.task_path("1-0", 1) / "run-0" / "env").read_text())
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    assert [variables[name] for name in names] == ["1"] * 4


def test_a_worker_that_the_kernel_killed_for_want_of_memory_says_so(tmp_path):
    """The counter of the kernel is a made-up one here, which grows all the time."""
    study = plain_study(tmp_path, PLAIN, [{"steps": 9, "fail_at": 2, "how": "kill"}] * 2, tasks=[[0, 1]])
    told = "import itertools, orchestrator.worker.pool as p; c = itertools.count(); p.oom_kills = lambda: next(c)"
    code = f"{told}; import orchestrator.steward.local as s; s.main([{str(study.path)!r}, '1', '0'])"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=Path(__file__).parents[2])
    records = [study.history().runs[run] for run in study.generation().runs]
    assert {record.failure for record in records} == {"oom"}
    assert all(record.used["oom"] == 3 for record in records)
    assert [entry.n for entry in study.chain()][:2] == [1, 2]
    assert [len(spec.indices()) for spec in study.submission(2).tasks] == [1, 1]  # fewer runs in a task


def test_a_worker_that_cannot_begin_is_not_started_for_ever(tmp_path, start):
    """What its predecessor said, that it should be started again, does not count for it."""
    study = plain_study(tmp_path, PLAIN, [{"steps": 9}])
    former = study.begin("1-0")
    former.write("begin", host="here", pid=0)
    former.write("restored", lanes=[0], steps=-1)
    former.checkpoint(lambda file: file.write(b"state"), [0], 5)
    former.write("end", reason="requeued")
    (study.code_dir(study.submission(1).code) / "orchestrator" / "worker" / "main.py").write_text("raise OSError")
    job = start(study)
    eventually(lambda: ended(job))
    assert counts(study) == {"failed": 1}
    assert [entry.n for entry in study.chain()] == [1, 2, 3, 4]


def test_a_disk_that_fills_up_does_not_end_the_steward(tmp_path):
    """What it would have written is lost; the runs that are at work are not."""
    rows = [{"steps": 9, "fail_at": 2, "how": "kill"}, {"steps": 500, "pause": 0.005}]
    study = plain_study(tmp_path, PLAIN, rows)
    code = f"""
import itertools, orchestrator.steward.local as s, orchestrator.worker.pool as p
from orchestrator.study.study import Study
counter = itertools.count()
p.oom_kills = lambda: next(counter)
def full(*_): raise OSError(28, "No space left on device")
take, Study.begin = Study.take, full
Study.take = lambda self, n, *rest: take(self, n, *rest) if n == 1 else full()
s.PATIENCE = 0.0
s.main([{str(study.path)!r}, "1", "0"])
"""
    steward = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2]
    )
    assert steward.returncode == 0, steward.stderr
    assert "Traceback" not in steward.stderr
    assert study.incarnations("1-1")[0].end == "finished"
    assert study.chain()[1:]
    assert study.history().unhanded == {"2-0"}


def test_the_kernels_count_of_memory_kills_is_read(tmp_path):
    from orchestrator.worker.pool import oom_kills

    machine, group = tmp_path / "proc", tmp_path / "cgroup"
    (machine / "self").mkdir(parents=True)
    assert oom_kills(machine, group) == 0
    (machine / "vmstat").write_text("nr_free_pages 7\noom_kill 3\n")
    assert oom_kills(machine, group) == 3
    (machine / "self" / "cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/slurm/job_2\n")
    assert oom_kills(machine, group) == 3  # the group has no count
    (group / "memory" / "slurm" / "job_2").mkdir(parents=True)
    (group / "memory" / "slurm" / "job_2" / "memory.oom_control").write_text("under_oom 0\noom_kill 1\n")
    assert oom_kills(machine, group) == 1
    (machine / "self" / "cgroup").write_text("0::/user.slice\n")
    (group / "user.slice").mkdir()
    (group / "user.slice" / "memory.events").write_text("oom 4\noom_kill 2\n")
    assert oom_kills(machine, group) == 2
    assert oom_kills() >= 0
