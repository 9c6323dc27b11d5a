"""Watching and explaining jobs of a fake Slurm: lag, foreign rows, cut listings, no accounting."""

import pytest

from orchestrator.clusters.base import Part
from orchestrator.clusters.slurm import SlurmCluster
from orchestrator.errors import ExitCode, UserError
from tests.clusters.fakes.slurm import UNREACHABLE, job

BANNER = "Maintenance on the 24th: job 99 of yours will be held\n"
SLURM = SlurmCluster("slurm")

# --- watching ---------------------------------------------------------------------------------------------------------


def test_one_query_whatever_the_number_of_jobs(fake):
    for at in range(0, 60, 2):
        fake.add(at, ["RUNNING", "COMPLETED", *["PENDING"] * 8])
    fake.add(1, ["RUNNING"], user="4711")
    states = SLURM.poll([job(at) for at in range(60)])
    assert len(fake.calls()) == 1
    assert states["0"] == "gone"
    assert states["58_0"] == "running"
    assert "58_1" not in states
    assert states["58_9"] == "pending"
    assert states["3"] == "gone"


def test_nothing_is_asked_for_no_jobs(fake):
    assert SLURM.poll([]) == {}
    assert SLURM.poll([job("host:1:2")]) == {"host:1:2": "unknown"}
    assert not fake.calls()


def test_an_id_slurm_has_forgotten_is_gone(fake):
    assert SLURM.poll([job(9)]) == {"9": "gone"}
    fake.say("squeue", {"err": "slurm_load_jobs error: Invalid job id specified\n", "code": 1})
    fake.add(8, ["RUNNING"])
    assert SLURM.poll([job(8), job(9)]) == {"8": "gone", "8_0": "running", "9": "gone"}


def test_foreign_rows_and_banners_are_passed_over(fake):
    fake.say("squeue", {"out": f"{BANNER}7_0|RUNNING\nsome|thing|PENDING\n1+0|RUNNING\n{BANNER}"})
    assert SLURM.poll([job(7)]) == {"7": "gone", "7_0": "running"}


def test_what_a_cut_listing_does_not_name_is_not_gone(fake):
    fake.say("squeue", {"out": "7_[0-2,5,...]|PENDING\n7_3|RUNNING\n"})
    states = SLURM.poll([job(7)])
    assert states["7"] == "pending"
    assert states["7_3"] == "running"


def test_a_preempted_element_may_come_back(fake):
    fake.add(7, ["PREEMPTED", "RUNNING"])
    assert SLURM.poll([job(7)])["7_0"] == "unknown"


def test_a_controller_that_restarts_is_waited_for(fake):
    fake.add(7, ["RUNNING"])
    fake.say(
        "squeue", UNREACHABLE, {"err": "slurm_load_jobs error: Socket timed out on send/recv operation\n", "code": 1}
    )
    assert SLURM.poll([job(7)])["7_0"] == "running"


@pytest.mark.parametrize(
    "answer",
    [
        UNREACHABLE,
        {"err": "squeue: fatal: Unable to process configuration file\n", "code": 1},
        {"err": "squeue: error: something new\n", "code": 1},
    ],
)
def test_no_answer_is_no_death(fake, answer, away):
    fake.say("squeue", *[answer] * 60)
    with pytest.raises(UserError) as caught:
        SLURM.poll([job(7)])
    assert caught.value.exit_code == ExitCode.SCHEDULER_UNREACHABLE


def test_a_user_s_own_filters_hide_nothing(fake, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    SLURM.poll([job(7)])
    [call] = fake.calls()
    assert call["variables"] == {"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}


# --- explaining -------------------------------------------------------------------------------------------------------

DEAD = "7_0|FAILED|0:9|n3|2026-11-21T15:58:59|00:00:01|00:10:00||500M\n7_0.0|OUT_OF_MEMORY|0:125|n3|x|00:00:01||9M|\n"


def test_a_pending_element_needs_no_accounting(fake):
    fake.add(7, ["PENDING", "RUNNING"], reason="PartitionConfig")
    found = SLURM.evidence([Part(job(7), (0, 1))])
    assert found["7_0"].state == "pending"
    assert "never start" in found["7_0"].why
    assert found["7_1"].why == "It is running on n1."
    assert found["7_1"].node == "n1"
    assert not fake.calls("sacct")


def test_accounting_says_more_of_the_dead(fake):
    fake.add(7, ["FAILED", "RUNNING"])
    fake.set("sacct", DEAD)
    found = SLURM.evidence([Part(job(7), (0,)), Part(job(7), (1,))])
    assert found["7_0"].failure == "oom"
    assert found["7_1"].state == "running"
    assert not fake.calls("scontrol")


def test_accounting_remembers_what_the_queue_forgot(fake):
    fake.set("sacct", DEAD)
    assert SLURM.evidence([Part(job(7), (0,))])["7_0"].failure == "oom"


def test_accounting_that_lags_behind_is_not_believed(fake):
    fake.set("sacct", "7_0|RUNNING|0:0|n3|2026-11-21T15:58:59|00:00:01|00:10:00||500M\n")
    lost = SLURM.evidence([Part(job(7), (0,))])["7_0"]
    assert (lost.state, lost.failure) == ("unknown", None)
    assert "lags" in lost.why
    fake.add(7, ["TIMEOUT"])
    assert SLURM.evidence([Part(job(7), (0,))])["7_0"].failure == "timeout"


def test_an_earlier_end_says_nothing_of_what_runs_again(fake):
    fake.add(7, ["RUNNING", "FAILED"])
    fake.set("sacct", "7_0|NODE_FAIL|1:0|n3|2026-11-21T15:58:59|00:00:01|00:10:00||500M\n")
    assert SLURM.evidence([Part(job(7), (0, 1))])["7_0"].state == "running"


def test_without_accounting_the_controller_is_asked(fake):
    fake.add(7, ["FAILED"])
    fake.set(
        "job 7",
        "JobId=7 ArrayJobId=7 ArrayTaskId=0 JobState=FAILED Reason=NonZeroExitCode ExitCode=127:0 NodeList=n2\n",
    )
    found = SLURM.evidence([Part(job(7), (0,))])["7_0"]
    assert found.failure == "user error"
    assert "exit status 127" in found.why


def test_of_a_whole_job_everything_that_is_known(fake):
    fake.add(7, ["FAILED", "PENDING", "RUNNING"])
    fake.add(8, "PENDING")
    assert set(SLURM.evidence([Part(job(7)), Part(job(8))])) == {"7_0", "7_1", "7_2", "8", "8_0"}


def test_evidence_never_raises(make_fake, away):
    make_fake(commands=["squeue"]).say("squeue", *[UNREACHABLE] * 9)
    parts = [Part(job(7), (0,)), Part(job("host:1:2"))]
    assert SLURM.evidence(parts) == {}
    assert SLURM.evidence([]) == {}
