"""What LSF's words mean to people, and which failure they explain."""

import pytest

from orchestrator.clusters.base import LimitReached
from orchestrator.clusters.lsf_text import Row, Story
from orchestrator.clusters.lsf_words import COMING, ENDED, FULL, TRANSIENT, explain, read_reasons, refusal
from orchestrator.errors import UserError

# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "Pending job threshold reached. Job not submitted.",
        "User <me>: Pending job threshold reached. Retrying in 60 seconds...",
        "Pending job slots threshold reached. Job not submitted.",
        "The destination queue has reached its job limit. Job not submitted.",
        "Job limit exceeded. Job not submitted.",
        "No job Id can be used now. Job not submitted.",
    ],
)
def test_a_full_queue_is_told_from_a_mistake(said):
    assert isinstance(refusal(said, {}), LimitReached)
    assert not TRANSIENT.search(said)


@pytest.mark.parametrize(
    ("said", "resources", "mend"),
    [
        ("nosuch: No such queue. Job not submitted.", {"queue": "nosuch"}, "(resources.queue is nosuch). `bqueues"),
        ("User cannot use the queue. Job not submitted.", {"queue": "vip"}, "resources.queue is vip"),
        ("Bad resource requirement syntax. Job not submitted.", {"constraint": "a||"}, "resources.constraint is a||"),
        ("RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", {"time": "9d"}, "resources.time is 9d"),
        ("1G: MEMLIMT value should be a positive integer. Job not submitted.", {"memory": "1G"}, "resources.memory is"),
        ("Too many processors requested. Job not submitted.", {"cpus": 512}, "resources.cpus is 512"),
        ("Job array index too large. Job not submitted.", {}, "Set resources.limits.array"),
        ("User permission denied. Job not submitted.", {}, "none of root"),
        ("You must name a project. Request aborted by esub. Job not submitted.", {}, "Set resources.account"),
        ("bsub: illegal option -- gpu", {"extra": ["-gpu num=1"]}, "resources.extra is -gpu num=1"),
        ("99: No matching job found. Job not submitted.", {}, "not known to LSF any more"),
        ("Something else. Job not submitted.", {}, "LSF refuses the job: Something else."),
    ],
)  # fmt: skip
def test_a_refusal_names_the_place_and_the_mend(said, resources, mend):
    error = refusal(said, resources)
    assert type(error) is UserError
    assert mend in str(error)
    assert said.removesuffix(". Job not submitted.") in str(error)


@pytest.mark.parametrize(
    "said",
    [
        "batch daemon not responding ... still trying",
        "LSF is down. Please wait ...",
        "Cannot connect to LSF. Please wait ...",
        "LSF is processing your request. Please wait...",
        "Failed in an LSF library call: LIM is down; try later",
        "Batch system concurrent query limit exceeded",
        "Contacting batch daemon: Communication timeout",
        "Timeout on connect call to server",
        "Connection refused by server",
        "Batch daemon cannot fork",
        "fork: Resource temporarily unavailable",
    ],
)
def test_a_busy_master_is_asked_again(said):
    assert TRANSIENT.search(said)
    assert not FULL.search(said)


def test_jobs_that_are_gone_or_coming():
    assert all(map(ENDED.search, ["Job <7>: No matching job found", "Job <7>: Job has already finished",
                                  "Job <7[1]>: Operation is in progress"]))  # fmt: skip
    assert all(map(COMING.search, ["Job has already been requeued", "Job has not started yet"]))
    assert not ENDED.search("Job <7>: User permission denied")
    assert not COMING.search("Job has already finished")


# --- jobs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ((), "LSF gives no reason"),
        (("New job is waiting for scheduling",), "handed over just now"),
        (("Job dependency condition not satisfied",), "it waits for another job to end"),
        (("Dependency condition invalid or never satisfied",), "never start like this"),
        (("Job array has reached its running element limit",), "`resources.parallel`"),
        (("Candidate host pending reasons (0 of 4 hosts)", "Not enough slots: 3 hosts"), "Not enough slots: 3 hosts"),
        (("Requeued job is waiting for rescheduling",), "it waits to be started again"),
    ],
)
def test_why_a_job_waits(reasons, said):
    assert said in read_reasons(reasons)


@pytest.mark.parametrize(
    ("row", "story", "failure", "said", "detail"),
    [
        (Row("7", 1, "PEND"), None, None, "It is pending: LSF gives no reason.", None),
        (Row("7", 1, "RUN", host="h1"), None, None, "It is running on h1.", "machine: h1"),
        (Row("7", 1, "SSUSP", host="h1"), None, None, "suspended on h1, by the scheduler", None),
        (Row("7", 1, "USUSP", host="h1"), None, None, "by its owner", None),
        (Row("7", 1, "UNKWN", host="h1"), None, None, "h1 cannot be reached: it may well run there", None),
        (Row("7", 1, "ZOMBI", host="h1"), None, "node", "was lost", None),
        (Row("7", 1, "NEWWORD"), None, None, "LSF calls its state NEWWORD", None),
        (Row("7", 1, "DONE"), None, None, "It ended by itself, without an error.", None),
        (None, Story(done=True), None, "It ended by itself, without an error.", None),
        (Row("7", 1, "EXIT", "3", host="h1"), None, "lost", "exit status 3 on h1", "exit status: 3"),
        (Row("7", 1, "EXIT", "137"), None, "lost", "too much of it is a usual cause", "signal: signal 9 (SIGKILL)"),
        (Row("7", 1, "EXIT", "139"), None, "lost", "signal 11 (SIGSEGV)", None),
        (Row("7", 1, "EXIT", "127", host="h1"), None, "user error", "not found on h1", None),
        (Row("7", 1, "EXIT", "73", host="h1"), None, "node", "could not be written on h1", None),
        (Row("7", 1, "EXIT", "255"), None, "lost", "exit status 255", None),
        (Row("7", 1, "EXIT", "140"), None, "timeout", "time slice was over", None),
        (Row("7", 1, "EXIT", "137", "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit"),
         Story(memory="3 Gbytes"), "oom", "needed more memory", "memory: 3 Gbytes used"),
        (Row("7", 1, "EXIT", "140", "TERM_RUNLIMIT: job killed after reaching LSF run time limit"), None, "timeout",
         "reaching LSF run time limit", None),
        (Row("7", 1, "EXIT", "130", "TERM_OWNER: job killed by owner"), Story(asked=("KILL", "ann")), "preempted",
         "job killed by owner, as ann asked", "asked for: KILL by ann"),
        (None, Story(signal=9, asked=("KILL", "ann"), host="h1"), "preempted", "It was ended, as ann asked.", None),
        (None, Story(reason="TERM_NEW: who knows", unreachable=True), "lost", "TERM_NEW: who knows",
         "unreachable: its machine could not be reached for a while"),
    ],
)  # fmt: skip
def test_what_is_known_of_an_element(row, story, failure, said, detail):
    evidence = explain(row, None, story)
    assert evidence.failure == failure
    assert said in evidence.why
    assert detail is None or detail in evidence.details


def test_nothing_is_said_where_nothing_is_known():
    assert explain(None, None, None) is None
    assert explain(None, None, Story(host="h1")) is None


def test_the_queue_is_newer_than_the_history():
    """It was requeued: its earlier end explains nothing any more."""
    evidence = explain(Row("7", 1, "RUN", host="h2"), None, Story(code=3, host="h1", reason="TERM_REQUEUE_OWNER"))
    assert (evidence.state, evidence.failure, evidence.details) == ("running", None, ("machine: h2",))
