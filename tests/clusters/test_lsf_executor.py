"""submitit's plugin, from AutoExecutor to the result: LSF's commands are fakes, the jobs are processes."""

import os
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest

submitit = pytest.importorskip("submitit")

from submitit.core import plugins, utils  # noqa: E402

from orchestrator.clusters.lsf_executor import LsfExecutor, LsfJob  # noqa: E402
from orchestrator.clusters.lsf_job import STARTED, WARNING, Handler, LsfJobEnvironment, sweep  # noqa: E402
from orchestrator.clusters.lsf_watcher import LsfInfoWatcher, lsf_id  # noqa: E402
from tests.clusters import lsf_fake  # noqa: E402
from tests.worker.helpers import eventually  # noqa: E402


@pytest.fixture
def lsf(tmp_path, monkeypatch):
    site = lsf_fake.install(tmp_path / "lsf")
    monkeypatch.setenv("PATH", f"{site.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LSF_ENVDIR", str(site.folder))
    monkeypatch.setenv("ORCH_PATIENCE", "2")
    for name in ("LSB_JOBID", "LSB_JOBINDEX", "LSF_UNIT_FOR_LIMITS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(LsfInfoWatcher, "FIRST", 0.2)
    monkeypatch.setattr(LsfJob, "_results_timeout_s", 2)
    monkeypatch.setattr(LsfJob, "watcher", LsfInfoWatcher(delay_s=2))
    yield site
    site.close()


@pytest.fixture
def executor(lsf, tmp_path):
    made = submitit.AutoExecutor(folder=tmp_path / "logs", cluster="lsf", lsf_max_num_timeout=0)
    made.update_parameters(timeout_min=5)
    return made


def script_of(lsf, job):
    return (lsf.jobs / job.job_id.partition("_")[0] / "script").read_text()


# Functions that are defined in functions are pickled whole: a job need not import this module.


def identity():
    def tell():
        env = submitit.JobEnvironment()
        return env.cluster, env.job_id, list(env.hostnames), env.num_tasks

    return tell


def waiter(starts, waits):
    class Count(submitit.helpers.Checkpointable):
        """Counts to five, but waits at two until it was interrupted once."""

        def __init__(self):
            self.steps = 0

        def __call__(self):
            before = starts.read_text() if starts.exists() else ""
            starts.write_text(f"{before}{self.steps} ")
            while self.steps < 5:
                if self.steps == 2 and not before:
                    waits.touch()
                    time.sleep(60)
                self.steps += 1
            return self.steps, starts.read_text().split()

    return Count()


# --- what it is for ---------------------------------------------------------------------------------------------------


def test_submitit_finds_it(lsf):
    assert plugins.get_executors()["lsf"] is LsfExecutor
    assert isinstance(plugins.get_job_environments()["lsf"], LsfJobEnvironment)
    assert LsfExecutor.affinity() == 2


def test_it_says_so_where_there_is_no_lsf(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert LsfExecutor.affinity() < 0
    with pytest.raises(RuntimeError, match="no `bsub`"):
        LsfExecutor(tmp_path)


def test_a_function_runs_and_knows_who_it_is(lsf, executor):
    job = executor.submit(identity())
    assert job.result() == ("lsf", job.job_id, ["here"], 1)
    assert job.exception() is None
    assert "#BSUB -J submitit\n" in script_of(lsf, job)
    assert sorted(path.name.removeprefix(f"{job.job_id}_") for path in job.paths.folder.iterdir()) == [
        "0_log.err", "0_log.out", "0_result.pkl", "submission.sh", "submitted.pkl",
    ]  # fmt: skip


def test_an_array_counts_from_zero_here_and_from_one_there(lsf, executor):
    executor.update_parameters(lsf_array_parallelism=2, name="squares")
    jobs = executor.map_array(lambda x: (x * x, submitit.JobEnvironment().job_id), range(5))
    assert [job.result() for job in jobs] == [(at * at, job.job_id) for at, job in enumerate(jobs)]
    assert [job.job_id for job in jobs] == [f"{jobs[0].job_id[:-2]}_{at}" for at in range(5)]
    assert '#BSUB -J "squares[1-5]%2"' in script_of(lsf, jobs[0])
    assert lsf_id(jobs[4].job_id).endswith("[5]")
    assert len(lsf.calls("bsub")) == 1


def test_logs_are_written_where_submitit_looks(lsf, tmp_path):
    executor = submitit.AutoExecutor(folder=tmp_path / "a $HOME 'quoted' folder" / "%j", cluster="lsf")
    jobs = executor.map_array(lambda text: os.write(1, text) + os.write(2, text.upper()), [b"one", b"three"])
    assert [job.result() for job in jobs] == [6, 10]
    assert "three" in jobs[1].stdout()
    assert jobs[1].stderr() == "THREE"
    executor.update_parameters(stderr_to_stdout=True)
    job = executor.submit(print, "single")
    job.result()
    assert "single" in job.stdout()
    assert job.stderr() is None


def test_large_arrays_are_cut_at_the_limit(lsf, executor):
    (lsf.folder / "most").write_text("2")
    jobs = executor.map_array(lambda x: -x, range(5))
    assert [job.result() for job in jobs] == [0, -1, -2, -3, -4]
    assert [job.job_id.partition("_")[2] for job in jobs] == ["0", "1", "0", "1", "0"]
    assert len(lsf.calls("bsub")) == 3


def test_everything_that_can_be_asked_for(lsf, executor):
    executor.update_parameters(
        mem_gb=1.5, cpus_per_task=4, gpus_per_node=2, timeout_min=30, lsf_queue="short", lsf_project="two words",
        lsf_select="avx2", lsf_gpu_type="A100", lsf_dependency="done(7)", lsf_additional_parameters=["-app deep"],
        lsf_setup=["export FROM_SETUP=yes"],
    )  # fmt: skip
    job = executor.submit(lambda: os.environ["FROM_SETUP"])
    assert job.result() == "yes"
    options = [line for line in script_of(lsf, job).splitlines() if line.startswith("#BSUB")]
    assert options == [
        "#BSUB -J submitit", "#BSUB -o /dev/null", "#BSUB -q short", '#BSUB -P "two words"', "#BSUB -n 4",
        "#BSUB -W 30", "#BSUB -M 1536MB", '#BSUB -R "select[avx2] rusage[mem=1536MB] span[hosts=1]"',
        "#BSUB -gpu num=2:gmodel=A100", '#BSUB -w "done(7)"', "#BSUB -wa USR2", "#BSUB -wt 2", "#BSUB -app deep",
    ]  # fmt: skip


def test_parameters_that_mean_nothing_are_refused(lsf, executor, tmp_path):
    with pytest.raises(NameError, match="Unknown argument 'qeue' for executor 'lsf'"):
        executor.update_parameters(lsf_qeue="short")
    with pytest.raises(ValueError, match=r"Unavailable parameter\(s\): \['qeue'\]"):
        LsfExecutor(tmp_path).update_parameters(qeue="short")
    with pytest.raises(ValueError, match="one task on one machine"):
        executor.update_parameters(nodes=2)


def test_a_refusal_is_a_sentence_and_leaves_nothing_behind(lsf, executor, tmp_path):
    executor.update_parameters(lsf_queue="nosuch")
    with pytest.raises(utils.FailedSubmissionError, match=r"nosuch: No such queue.*`bqueues -u \$USER`"):
        executor.map_array(abs, [1, 2])
    assert list((tmp_path / "logs").iterdir()) == []


def test_a_submission_insists_while_lsf_is_busy(lsf, executor):
    lsf.says("bsub", ("", "batch daemon not responding ... still trying\n", 255))
    assert executor.submit(abs, -3).result() == 3
    assert len(lsf.calls("bsub")) == 2


# --- how jobs end -----------------------------------------------------------------------------------------------------


def test_an_exception_comes_back_with_its_traceback(lsf, executor):
    job = executor.submit(lambda: (1,).index(2))
    with pytest.raises(utils.FailedJobError, match="ValueError: tuple"):
        job.result()


def test_a_silent_death_is_told_with_its_exit_status(lsf, executor):
    jobs = executor.map_array(lambda x: os._exit(7) if x else "fine", [0, 1])
    assert jobs[0].result() == "fine"
    with pytest.raises(utils.UncompletedJobError, match="It ended with exit status 7 on here"):
        jobs[1].result()
    assert jobs[1].state == "FAILED"


@pytest.mark.parametrize(
    ("why", "state", "said"),
    [
        ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", "OUT_OF_MEMORY", "needed more memory"),
        ("TERM_RUNLIMIT: job killed after reaching LSF run time limit", "TIMEOUT", "run time limit"),
    ],
)
def test_the_reason_of_a_kill_stands_in_the_exception(lsf, executor, tmp_path, why, state, said):
    mark = tmp_path / "mark"
    [job, other] = executor.map_array(lambda mark: (mark.touch(), time.sleep(60)), [mark, tmp_path / "other"])
    eventually(mark.exists)
    lsf.end(job.job_id.partition("_")[0], 1, why)
    assert said in str(job.exception())
    assert job.state == state
    assert other.state == "RUNNING"
    other.cancel()
    assert "killed by owner" in str(other.exception())
    other.cancel()  # what is gone does no harm


def test_a_result_that_cannot_be_pickled_is_an_error_that_says_so(lsf, executor):
    job = executor.submit(lambda: (n for n in range(3)))
    with pytest.raises(utils.FailedJobError, match=r"cannot pickle .*generator"):
        job.result()


def test_what_was_forgotten_is_looked_up_in_the_history(lsf, executor, tmp_path):
    mark = tmp_path / "mark"
    job = executor.submit(lambda: (mark.touch(), time.sleep(60)))
    eventually(lambda: mark.exists() and job.get_info()["State"] == "RUNNING")
    lsf.end(job.job_id, 0, "TERM_ADMIN: job killed by root or LSF administrator")
    eventually(lambda: lsf.state(job.job_id, 0)["stat"] == "EXIT")
    lsf.forget(job.job_id)
    assert "killed by root or LSF administrator" in str(job.exception())
    assert job.state == "CANCELLED"


def test_nobody_knows_how_it_ended(lsf, executor, tmp_path):
    mark = tmp_path / "mark"
    job = executor.submit(lambda: (mark.touch(), time.sleep(60)))
    eventually(lambda: mark.exists() and job.get_info()["State"] == "RUNNING")
    lsf.forget(job.job_id)
    lsf.says("bhist", *[("", "No matching job found\n", 255)] * 9)
    assert "nor how it ended" in str(job.exception())


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [True, False])
def test_a_preempted_job_checkpoints_and_goes_on(lsf, executor, tmp_path, array):
    """Its limit is five minutes and it may not time out once: a preemption must not count as that."""
    count, waits = waiter(tmp_path / "starts", tmp_path / "waits"), tmp_path / "waits"
    job = executor.submit_array([count, identity()])[0] if array else executor.submit(count)
    eventually(waits.exists)
    job._interrupt()
    assert job.result() == (5, ["0", "2"])
    assert len(lsf.calls("brequeue")) == 1


def handler(timeout_min, left, warning, monkeypatch):
    monkeypatch.setenv(STARTED, str(time.time() - (60 * timeout_min - left)))
    monkeypatch.setenv(WARNING, str(warning))
    return Handler(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(_timeout_min=timeout_min))


@pytest.mark.parametrize(("minutes", "left", "warning"), [(5, 115, 120), (30, 0, 0), (1, 3, 0), (600, 170, 120)])
def test_a_warning_is_a_timeout(minutes, left, warning, monkeypatch):
    assert handler(minutes, left, warning, monkeypatch).has_timed_out()


@pytest.mark.parametrize(("minutes", "left", "warning"), [(5, 200, 120), (30, 120, 0), (1, 50, 0), (600, 300, 120)])
def test_a_signal_in_between_is_none(minutes, left, warning, monkeypatch):
    assert not handler(minutes, left, warning, monkeypatch).has_timed_out()


@pytest.mark.parametrize(
    "said", ["Job has already been requeued", "Job has not started yet", "Operation is in progress"]
)
def test_a_job_that_lsf_takes_back_by_itself_has_not_failed(lsf, monkeypatch, said):
    monkeypatch.setenv("LSB_JOBID", "7")
    monkeypatch.setenv("LSB_JOBINDEX", "3")
    lsf.says("brequeue", ("", f"Job <7[3]>: {said}\n", 255))
    LsfJobEnvironment()._requeue(3)
    assert lsf.calls("brequeue") == [["7[3]"]]


def test_a_requeue_that_is_refused_is_an_error(lsf, monkeypatch):
    monkeypatch.setenv("LSB_JOBID", "7")
    monkeypatch.setenv("LSB_JOBINDEX", "0")
    lsf.says("brequeue", ("", "Job <7>: User permission denied\n", 255))
    with pytest.raises(utils.UncompletedJobError, match="User permission denied"):
        LsfJobEnvironment()._requeue(3)
    assert lsf.calls("brequeue") == [["7"]]


def test_what_a_killed_checkpoint_left_does_not_stand_in_the_way(tmp_path):
    paths = utils.JobPaths(tmp_path, "7_2", 0)
    (tmp_path / "7_2_submitted.pkl.save_tmp").touch()
    (tmp_path / "7_2_0_result.pkl.save_tmp").touch()
    sweep(paths)
    assert list(tmp_path.iterdir()) == []


# --- watching ---------------------------------------------------------------------------------------------------------


def test_one_question_for_all_jobs_and_fewer_while_nothing_happens(lsf, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr(LsfInfoWatcher, "FIRST", 2.0)
    watcher = LsfInfoWatcher(delay_s=30)
    rows = "".join(f"7^{number}^RUN^-^-^x[{number}]^here\n" for number in (1, 2, 3)) + "9^0^PEND^-^-^y^-\n"
    lsf.says("bjobs", *[(rows, "", 0)] * 99)
    asked = []
    for second in range(300):
        before = watcher.num_calls
        states = [watcher.get_state(job) for job in ("7_0", "7_1", "7_2", "9")]
        asked += [second] * (watcher.num_calls - before)
        now[0] += 1
    assert states == ["RUNNING", "RUNNING", "RUNNING", "PENDING"]
    gaps = [later - earlier for earlier, later in pairwise(asked[4:])]
    assert gaps == sorted(gaps)
    assert gaps[-1] in (30, 31)
    assert len(asked) < 25
    assert all(set(call[-2:]) == {"7", "9"} for call in lsf.calls("bjobs")[4:])
    before = watcher.num_calls
    watcher.register_job("11")
    watcher.get_state("11")
    assert watcher.num_calls == before + 1


@pytest.mark.parametrize(
    ("lie", "state"),
    [
        (("7^1^UNKWN^-^-^x[1]^here\n", "", 0), "UNKNOWN"),
        (("", "LSF is down. Please wait ...\n", 255), "UNKNOWN"),
        (("Cannot open your job file: /x\n", "Segmentation fault\n", 139), "UNKNOWN"),
        (("", "Job <7> is not found\n", 255), "UNKNOWN"),  # it is new: an older picture of the queue may be shown
        (("7^1^EXIT^255^TERM_REQUEUE_OWNER: job killed and requeued by owner^x[1]^here\n", "", 0), "REQUEUED"),
        (("Welcome!\n7^1^RUN^-^-^x[1]^here\n", "Job <8> is not found\n", 255), "RUNNING"),
        (("7^2^RUN^-^-^x[2]^here\n7^1^EXI", "", 0), "UNKNOWN"),
    ],
)
def test_nothing_of_this_is_an_end(lsf, lie, state):
    watcher = LsfInfoWatcher()
    watcher.register_job("7_0")
    lsf.says("bjobs", lie)
    watcher.update()
    assert watcher.get_state("7_0", mode="cache") == state
    assert not watcher.is_done("7_0", mode="cache")
