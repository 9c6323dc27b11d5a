"""What Slurm's words mean, on what real ones printed."""

import pwd

import pytest

from orchestrator.clusters.base import LimitReached
from orchestrator.clusters.slurm_evidence import read_accounting, read_controller, read_queue
from orchestrator.clusters.slurm_words import REASONS, TRANSIENT, Record, explain, read_reason, refusal

# --- why it is pending ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("None", "just now"),
        ("Resources", "free cores"),
        ("Priority", "higher priority"),
        ("Dependency", "another job to end"),
        ("DependencyNeverSatisfied", "never start"),
        ("JobArrayTaskLimit", "resources.parallel"),
        ("QOSMaxCpuPerUserLimit", "others of that QOS end"),
        ("QOSMaxJobsPerUserLimit", "QOSMaxJobsPerUserLimit"),
        ("QOSGrpNodeLimit", "others of that QOS end"),
        ("QOSMaxWallDurationPerJobLimit", "resources.time"),
        ("QOSMaxMemoryPerJob", "one job of its account or QOS"),
        ("QOSMinGRES", "one job of its account or QOS"),
        ("AssocGrpCpuLimit", "others of that account end"),
        ("AssocMaxJobsLimit", "others of that account end"),
        ("PartitionConfig", "never start"),
        ("PartitionTimeLimit", "resources.time"),
        ("PartitionDown", "closed"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "sinfo -R"),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", "sinfo -R"),
        ("BeginTime", "two minutes"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "ask your site"),
        ("launch failed requeued held", "orch submit"),
        ("Licenses", "licence"),
        ("SomethingNew", "the reason SomethingNew"),
    ],
)
def test_reasons(reason, says):
    sentence = read_reason(reason)
    assert says in sentence
    assert "{" not in sentence
    assert explain(Record(word="PENDING", reason=reason)).why == f"It is pending: {sentence}."


def test_every_reason_of_the_table_can_be_reached():
    assert len({meaning for _, meaning in REASONS}) == len(REASONS)


# --- why it was refused -----------------------------------------------------------------------------------------------

ASKED = {
    "partition": "cpu",
    "account": None,
    "memory": "99G",
    "gpus": 1,
    "gpu_type": "a100",
    "extra": ["--nosuch"],
    "limits": {},
}
FAILED = "sbatch: error: Batch job submission failed: "
POLICY = f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
NO_NODE = "Requested node configuration is not available"


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("sbatch: error: invalid partition specified: cpu\n" + FAILED + "Invalid partition name specified",
         ["invalid partition specified: cpu", "resources.partition is cpu", "`sinfo`"]),
        (FAILED + "Invalid account or account/partition combination specified", ["resources.partition is cpu"]),
        (FAILED + "Invalid qos specification", ["Set resources.qos"]),
        ("sbatch: error: Invalid generic resource (gres) specification", ["resources.gpu_type is a100"]),
        ("sbatch: error: Memory specification can not be satisfied\n" + FAILED + NO_NODE,
         ["resources.memory is 99G"]),
        (FAILED + NO_NODE, ["resources.gpus is 1", "no node offers"]),
        (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", ["Set resources.time"]),
        (FAILED + "Invalid job array specification", ["resources.limits.array", "MaxArraySize"]),
        (FAILED + "Invalid feature specification", ["Set resources.constraint"]),
        ("sbatch: unrecognized option '--nosuch'\nTry \"sbatch --help\"", ["resources.extra is --nosuch"]),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit\n" + POLICY, ["QOSMaxWall", "resources.time"]),
        (FAILED + "The reactor is on fire", ["The reactor is on fire."]),
        ("", ["no reason"]),
    ],
)  # fmt: skip
def test_refusals_name_the_option_and_the_mend(said, parts):
    error = refusal(said, ASKED)
    assert not isinstance(error, LimitReached)
    for part in parts:
        assert part.lower() in str(error).lower()
    assert "sbatch: error" not in str(error)


def test_a_steward_s_options_are_named_as_such():
    assert "resources.steward.memory is 99G" in str(refusal("Memory specification", ASKED, "resources.steward"))


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: AssocMaxSubmitJobLimit\n" + POLICY,
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + POLICY,
        "sbatch: error: AssocGrpSubmitJobsLimit\n",
        POLICY,
        "sbatch: Slurm job queue full, sleeping and retrying",
    ],
)  # fmt: skip
def test_a_full_queue_is_no_fault_of_the_user(said):
    assert isinstance(refusal(said, ASKED), LimitReached)
    assert not TRANSIENT.search(said)


@pytest.mark.parametrize(
    "said",
    [
        FAILED + "Socket timed out on send/recv operation",
        FAILED + "Unable to contact slurm controller (connect failure)",
        FAILED + "Resource temporarily unavailable",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "slurm_load_jobs error: Slurm backup controller in standby mode",
        FAILED + "Zero Bytes were transmitted or received",
    ],
)
def test_what_passes(said):
    assert TRANSIENT.search(said)


def test_refusals_do_not_pass():
    for said in ("Invalid partition name specified", "Invalid job id specified", "Invalid job array specification"):
        assert not TRANSIENT.search(FAILED + said)


# --- how it ended -----------------------------------------------------------------------------------------------------

# JobID,State,ExitCode,NodeList,Start,Elapsed,Timelimit,MaxRSS,ReqMem
ACCOUNTING = """\
58_0|OUT_OF_MEMORY|0:125|n1|2026-11-21T15:58:59|00:00:01|00:10:00||100M
58_0.batch|OUT_OF_MEMORY|0:125|n1|2026-11-21T15:58:59|00:00:01||3164K|
59_0|FAILED|1:0|n1|2026-11-21T15:58:59|00:00:02|00:10:00||100M
59_0.batch|FAILED|1:0|n1|2026-11-21T15:58:59|00:00:02||60M|
59_0.0|OUT_OF_MEMORY|0:125|n1|2026-11-21T15:58:59|00:00:02||1K|
60_0|FAILED|7:0|n2|2026-11-21T15:58:59|00:00:00|365-00:00:00||500M
60_0.batch|FAILED|7:0|n2|2026-11-21T15:58:59|00:00:00||1000K|
61_0|FAILED|127:0|n2|2026-11-21T15:58:59|00:00:00|00:10:00||100M
62_0|FAILED|0:9|n3|2026-11-21T15:58:59|00:00:01|00:10:00||500M
63_0|FAILED|0:11|n3|2026-11-21T15:58:59|00:00:00|00:10:00||500M
64_0|FAILED|0:53|n2|2026-11-21T15:43:29|00:00:00|UNLIMITED||500M
65_0|COMPLETED|0:0|n2|2026-11-21T15:59:00|00:00:00|00:10:00||500M
66_[0-3%2]|PENDING|0:0|None assigned|Unknown|00:00:00|00:10:00||500M
67_0|REQUEUED|0:0|n1|2026-11-21T15:59:00|00:00:00|00:10:00||500M
67_0.batch|CANCELLED|0:15|n1|2026-11-21T15:59:00|00:00:00||400M|
67_0|NODE_FAIL|1:0|n4|2026-11-21T15:59:06|00:00:02|00:10:00||500M
68_1|CANCELLED by 0|0:0|n1|2026-11-21T15:42:17|00:00:01|00:02:00||500M
69_3|TIMEOUT|0:0|n2|2026-11-21T15:42:17|00:02:23|00:02:00||500M
69_3.batch|CANCELLED|0:9|n2|2026-11-21T15:42:17|00:02:28||81M|
70|COMPLETED|0:0|n2|2026-11-21T15:59:00|00:00:00|00:10:00||500M
not|a|row
"""
ENDED = read_accounting(ACCOUNTING, {str(job): None for job in range(58, 71)})


@pytest.mark.parametrize(
    ("key", "failure", "says"),
    [
        ("58_0", "oom", "resources.memory"),
        ("59_0", "oom", "resources.memory"),  # only the step's row says so
        ("60_0", "lost", "exit status 7 on n2"),
        ("61_0", "user error", "resources.python"),
        ("62_0", "lost", "killed on n3"),
        ("63_0", "lost", "signal 11 (SIGSEGV)"),
        ("64_0", "node", "nodes share"),
        ("65_0", None, "without an error"),
        ("67_0", "node", "The node failed on n4"),
        ("68_1", "preempted", f"cancelled by {pwd.getpwuid(0).pw_name}"),
        ("69_3", "timeout", "00:02:00"),
        ("70_0", None, "without an error"),
    ],
)
def test_ends_of_a_real_slurm(key, failure, says):
    found = explain(ENDED[key])
    assert found.state == "gone"
    assert found.failure == failure
    assert says in found.why


def test_the_facts_beside_it():
    assert explain(ENDED["59_0"]).details == (
        "state: FAILED",
        "exit status: 1",
        "node: n1",
        "start: 2026-11-21T15:58:59",
        "ran for: 00:00:02 of 00:10:00",
        "memory: 60 MiB seen in use, 100 MiB asked for",
    )
    assert "ran for: 00:00:00" in explain(ENDED["60_0"]).details  # a limit of a year is none
    assert "earlier starts ended: REQUEUED" in explain(ENDED["67_0"]).details
    assert not any("400 MiB" in fact for fact in explain(ENDED["67_0"]).details)  # that was the earlier start
    assert "signal: signal 9 (SIGKILL)" in explain(ENDED["62_0"]).details
    assert explain(ENDED["62_0"]).node == "n3"


def test_a_job_that_is_no_array_has_both_its_names():
    assert ENDED["70"] == ENDED["70_0"]
    assert "69" not in ENDED


def test_only_what_is_wanted_is_read():
    assert set(read_accounting(ACCOUNTING, {"66": [1, 3, 9], "58": [5]})) == {"66_1", "66_3"}


def test_the_controller_s_own_record():
    text = (
        "JobId=4 ArrayJobId=1 ArrayTaskId=2 JobName=j.sh JobState=FAILED Reason=JobLaunchFailure Requeue=1 "
        "ExitCode=0:53 RunTime=00:00:06 TimeLimit=00:02:00 StartTime=2026-11-21T15:42:17 NodeList=n2 Comment=x\n"
        "JobId=3 ArrayJobId=1 ArrayTaskId=4-5 JobName=j.sh JobState=PENDING Reason=Resources ExitCode=0:0\n"
        "JobId=9 JobName=j.sh JobState=COMPLETED Reason=None ExitCode=0:0 NodeList=n1\n"
    )
    found = read_controller(text, {"1": None, "9": None})
    assert set(found) == {"1_2", "1_4", "1_5", "9", "9_0"}
    assert explain(found["1_2"]).failure == "node"
    assert "ran for: 00:00:06 of 00:02:00" in explain(found["1_2"]).details


def test_a_pending_element_shows_when_it_is_expected():
    text = (
        "5_[3-5%3]|PENDING|2026-11-21T16:42:57||0:00|10:00|500M|Priority\n"
        "5_0|RUNNING|2026-11-21T15:42:58|n2|0:07|10:00|500M|None\n"
    )
    found = read_queue(text, {"5": [0, 4]})
    assert set(found) == {"5_0", "5_4"}
    assert explain(found["5_4"]).details == (
        "state: PENDING",
        "reason: Priority",
        "expected start: 2026-11-21T16:42:57",
        "time slice: 10:00",
        "memory: 500 MiB asked for",
    )
    assert explain(found["5_0"]).why == "It is running on n2."


def test_a_word_nobody_knows_is_no_death():
    found = explain(Record(word="SOMETHING_NEW"))
    assert (found.state, found.failure) == ("unknown", None)
    assert "SOMETHING_NEW" in found.why
    assert explain(Record()).why == ""


def test_a_cancelling_user_without_a_name_is_a_number():
    assert "by user 4123456789" in explain(Record(word="CANCELLED by 4123456789")).why
