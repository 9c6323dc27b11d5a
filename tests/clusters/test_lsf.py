"""LSF's cluster with commands that run processes here, or say what they are told: busy, cut off, wrong, silent."""

import os
import time
from dataclasses import replace

import pytest

from orchestrator.clusters import lsf_site
from orchestrator.clusters.base import Here, LimitReached, Part
from orchestrator.clusters.lsf import LsfCluster, facts, script
from orchestrator.errors import ExitCode, UserError
from orchestrator.study.records import Job
from tests.clusters import lsf_fake
from tests.worker.helpers import PLAIN, eventually, plain_study


@pytest.fixture
def lsf(tmp_path, monkeypatch):
    site = lsf_fake.install(tmp_path / "lsf")
    monkeypatch.setenv("PATH", f"{site.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LSF_ENVDIR", str(site.folder))
    monkeypatch.setenv("ORCH_PATIENCE", "1")
    for name in ("LSB_JOBID", "LSB_JOBINDEX", "LSF_UNIT_FOR_LIMITS"):
        monkeypatch.delenv(name, raising=False)
    yield site
    site.close()


@pytest.fixture
def cluster(lsf):
    return LsfCluster("lsf")


def make(tmp_path, rows=({"steps": 3},), **resources):
    return plain_study(tmp_path, PLAIN, list(rows), cluster="lsf", scheduler="lsf", resources=resources)


def job(job_id, **extra):
    return Job(1, 0, "lsf", job_id, extra=extra)


BUSY = ("", "batch daemon not responding ... still trying\n", 255)

# --- handing over -----------------------------------------------------------------------------------------------------


def test_an_array_is_trained_and_is_gone(cluster, lsf, tmp_path):
    study = make(tmp_path, [{"steps": 3}, {"steps": 4}], memory="300M", time="40m", parallel=1, queue="short")
    handed = cluster.submit(study, study.submission(1), 0)
    keys = [handed.element(0), handed.element(1)]
    eventually(lambda: [cluster.poll([handed]).get(key) for key in keys] == ["gone", "gone"])
    assert {record.outcome for record in study.history().runs.values()} == {"done"}
    assert study.owner(1, 0) == handed.job_id
    text = study.script_path(1, 0).read_text()
    name = text.splitlines()[1]
    assert name.startswith('#BSUB -J "orch-toy-1.0-')
    assert name.endswith('[1-2]%1"')
    assert {"#BSUB -q short", "#BSUB -W 40", "#BSUB -M 300MB", "#BSUB -o /dev/null"} <= set(text.splitlines())
    assert len(lsf.calls("bsub")) == 1


def test_an_array_of_one_element_is_an_array(cluster, lsf, tmp_path):
    study = make(tmp_path)
    handed = cluster.submit(study, study.submission(1), 0)
    assert "[1-1]" in study.script_path(1, 0).read_text().splitlines()[1]
    eventually(lambda: cluster.poll([handed]).get(handed.element(0)) == "gone")


def test_larger_arrays_than_lsf_takes_are_never_asked_for(cluster, lsf, tmp_path):
    """A relative of LSF takes them for single jobs, and dies of them at its next start."""
    (lsf.folder / "most").write_text("1")
    study = make(tmp_path, [{}, {}], limits={"array": 5000, "jobs": None})
    with pytest.raises(LimitReached, match="MAX_JOB_ARRAY_SIZE here, 1"):
        cluster.submit(study, study.submission(1), 0)
    assert lsf.calls("bsub") == []
    assert cluster.limits({"limits": {"array": 5000}}).max_array == 1


def test_banners_do_no_harm_and_a_busy_master_is_asked_again(cluster, lsf, tmp_path):
    study = make(tmp_path)
    lsf.says("bsub", BUSY, ("*** Maintenance on job <3> soon ***\nJob <42> is submitted to queue <q>.\n", "Hello\n", 0))
    assert cluster.submit(study, study.submission(1), 0).job_id == "42"


def test_a_success_that_an_error_hides_is_found(cluster, lsf, tmp_path):
    study = make(tmp_path)
    handed = cluster.submit(study, study.submission(1), 0)
    tag = handed.extra["tag"]
    study.script_path(1, 0).unlink()
    lsf.says("bsub", BUSY)
    lsf.says("bjobs", (f"41^1^DONE^-^-^{tag}^h\n42^1^PEND^-^-^{tag}^-\n43^1^RUN^-^-^{tag}x^-\n", "", 0))
    assert cluster.submit(study, study.submission(1), 0).job_id == "42"
    assert len(lsf.calls("bsub")) == 2


def test_what_an_earlier_process_handed_over_is_adopted(cluster, lsf, tmp_path):
    study = make(tmp_path, [{"steps": 10**9, "pause": 0.01}])
    first = cluster.submit(study, study.submission(1), 0)
    assert cluster.submit(study, study.submission(1), 0).job_id == first.job_id
    assert len(lsf.calls("bsub")) == 1


def test_who_says_yes_and_tells_no_id_is_asked(cluster, lsf, tmp_path):
    study = make(tmp_path)
    lsf.says("bsub", ("OK\n", "", 0))
    with pytest.raises(UserError, match="told no id"):
        cluster.submit(study, study.submission(1), 0)


@pytest.mark.parametrize(
    ("lie", "kind", "said"),
    [
        (("", "nosuch: No such queue. Job not submitted.\n", 255), UserError, r"resources\.queue is nosuch"),
        (
            ("", "User <me>: Pending job threshold reached. Job not submitted.\n", 255),
            LimitReached,
            "threshold reached",
        ),
    ],
)
def test_refusals_are_sentences(cluster, lsf, tmp_path, lie, kind, said):
    study = make(tmp_path, queue="nosuch")
    lsf.says("bsub", lie)
    with pytest.raises(kind, match=said):
        cluster.submit(study, study.submission(1), 0)
    assert len(lsf.calls("bsub")) == 1


def test_a_master_that_stays_away_ends_our_patience(cluster, lsf, tmp_path):
    study = make(tmp_path)
    lsf.says("bsub", *[BUSY] * 50)
    with pytest.raises(UserError, match="did not answer for 1 s") as error:
        cluster.submit(study, study.submission(1), 0)
    assert error.value.exit_code is ExitCode.SCHEDULER_UNREACHABLE
    assert len(lsf.calls("bsub")) > 1


def test_no_lsf_at_all(cluster, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="`bjobs` cannot be run") as error:
        cluster.poll([job("7")])
    assert error.value.exit_code is ExitCode.SCHEDULER_UNREACHABLE
    assert not facts().reachable
    assert "-M 1024MB" in script({"memory": "1G"}, ["true"], name="x")  # a script for elsewhere can be written


def test_jobs_of_jobs_know_nothing_of_their_parents(monkeypatch, tmp_path):
    for name, value in {"LSB_JOBID": "7", "LSB_SUB_HOST": "h", "LS_JOBPID": "1", "BSUB_QUIET": "1",
                        "LSB_DEFAULTQUEUE": "mine", "LSF_ENVDIR": "/etc"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    own = lsf_site.LSF.environment()
    assert {name for name in own if name.startswith(("LSB_", "LS_", "BSUB_"))} == {"LSB_DEFAULTQUEUE", "LSB_NTRIES"}
    assert own["LSF_ENVDIR"] == "/etc"


def test_a_script_becomes_its_command(lsf, tmp_path):
    resources = {"prologue": "module load x\nexport A=1", "extra": ["  -app   deep "], "exclude": ["h1"]}
    text = script(
        resources, ["python", "a b"], name="x",
        folder=tmp_path / "the study", log=tmp_path / "a log", after=[job("7"), job("8"), job("8"), job("host:1:1")],
    )  # fmt: skip
    assert text.splitlines()[-6:] == [
        f"exec >>'{tmp_path}/a log' 2>&1 || exit 73", f"cd '{tmp_path}/the study'", "trap '' USR2", "module load x",
        "export A=1", "exec python 'a b'",
    ]  # fmt: skip
    assert '#BSUB -w "ended(7) && ended(8)"' in text
    assert "#BSUB -app deep" in text
    assert "select[hname!='h1']" in text
    with pytest.raises(UserError, match="itself says what stands in the option -J"):
        script({"extra": ["-J mine"]}, ["true"], name="x")


# --- stewards ---------------------------------------------------------------------------------------------------------


def test_a_steward_waits_for_jobs_and_for_none_that_are_forgotten(cluster, lsf, tmp_path):
    study = make(tmp_path)
    lsf.says(
        "bsub",
        ("", "7: No matching job found. Job not submitted.\n", 255),
        ("Job <42> is submitted to queue <q>.\n", "", 0),
    )
    lsf.says("bjobs", ("8^1^DONE^-^-^x[1]^h\n8^2^RUN^-^-^x[2]^h\n9^1^EXIT^1^-^x[1]^h\n", "Job <7> is not found\n", 255))
    left = cluster.steward(study, 3, {"cpus": 8, "gpus": 2, "memory": "64G"}, [job("7"), job("8"), job("9")])
    assert (left.n, left.array, left.job_id) == (0, 0, "42")
    text = (study.steward_path(3) / "job.sh").read_text()
    assert "#BSUB -w ended(8)\n" in text.replace('"', "")
    assert {"#BSUB -n 1", "#BSUB -W 60"} <= set(text.splitlines())
    assert "-M 65536MB" not in text
    assert "-gpu" not in text


# --- watching ---------------------------------------------------------------------------------------------------------


def test_one_question_whatever_the_number(cluster, lsf):
    lsf.says("bjobs", ("".join(f"{n}^{i}^RUN^-^-^x[{i}]^h\n" for n in range(100, 200) for i in range(1, 51)), "", 0))
    answer = cluster.poll([job(str(n)) for n in range(100, 200)])
    assert len(answer) == 100 * 51
    assert {answer[f"{n}_{i}"] for n in range(100, 200) for i in range(50)} == {"running"}
    assert len(lsf.calls("bjobs")) == 1


@pytest.mark.parametrize(
    ("lie", "states"),
    [
        (("7^1^RUN^-^-^x[1]^h\n7^2^PEND^-^-^x[2]^-\n7^3^DONE^-^-^x[3]^h\n", "", 0),
         {"7": "gone", "7_0": "running", "7_1": "pending", "7_2": "gone"}),
        (("7^0^RUN^-^-^x^h\n", "", 0), {"7": "running"}),
        (("7^1^UNKWN^-^-^x[1]^h\n", "", 0), {"7": "gone", "7_0": "unknown"}),
        (("7^1^ZOMBI^-^-^x[1]^h\n", "", 0), {"7": "gone", "7_0": "gone"}),
        (("7^1^SSUSP^-^-^x[1]^h\n", "", 0), {"7": "gone", "7_0": "running"}),
        (("7^1^STRANGE^-^-^x[1]^h\n", "", 0), {"7": "gone", "7_0": "unknown"}),
        (("", "Job <7> is not found\n", 255), {"7": "gone"}),
        (("Hi!\n8^1^RUN^-^-^x[1]^h\n7^1^RUN^-^-^x[1]^h\n", "", 0), {"7": "gone", "7_0": "running"}),  # a foreign job
        (("7^1^RUN^-^-^x[1]^h\n7^2^EX", "", 0), {"7": "unknown", "7_0": "running"}),  # cut off
        (("7^1^RUN^-^-^x[1]^h\n", "Segmentation fault\n", 139), {"7": "unknown", "7_0": "running"}),
        (("8^1^RUN^-^-^x[1]^h\n", "", 0), {"7": "unknown"}),  # not a word about it
    ],
)  # fmt: skip
def test_what_a_listing_means(cluster, lsf, lie, states):
    lsf.says("bjobs", lie)
    assert cluster.poll([job("7")]) == states


def test_what_is_new_may_not_be_listed_yet(cluster, lsf, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_PATIENCE", "60")
    study = make(tmp_path, [{"steps": 10**9, "pause": 0.01}])
    handed = cluster.submit(study, study.submission(1), 0)
    eventually(lambda: study.owner(1, 0))
    unseen = replace(handed, job_id="7")
    lies = [("", "Job <7> is not found\n", 255), ("", f"Job <{handed.job_id}> is not found\n", 255)]
    lsf.says("bjobs", *lies)
    assert cluster.poll([unseen]) == {"7": "unknown"}
    assert cluster.poll([handed]) == {handed.job_id: "gone"}  # it has begun: it was known
    lsf.says("bjobs", lies[0])
    assert cluster.poll([replace(unseen, extra={**handed.extra, "at": time.time() - 3600})]) == {"7": "gone"}


def test_a_listing_that_never_comes_is_an_error(cluster, lsf):
    lsf.says("bjobs", *[BUSY] * 50)
    with pytest.raises(UserError) as error:
        cluster.poll([job("7")])
    assert error.value.exit_code is ExitCode.SCHEDULER_UNREACHABLE


def test_a_listing_of_another_kind_is_tried(cluster, lsf):
    """Its help promised what it does not know."""
    table = "JOBID USER STAT QUEUE FROM_HOST EXEC_HOST JOB_NAME SUBMIT_TIME\n7 me RUN q h h2 x[2] Nov 21 04:13\n"
    lsf.says("bjobs", ("", "Unknown field name <jobindex>\nbjobs: invalid option\n", 255), *[(table, "", 0)] * 2)
    assert cluster.poll([job("7")]) == {"7": "gone", "7_1": "running"}
    assert cluster.poll([job("7")])["7_1"] == "running"
    assert [call[1] for call in lsf.calls("bjobs")] == ["-noheader", "-w", "-w"]


STORIES = """\
Job <7[1]>, User <me>, Command <x>
Sat Nov 21 04:13:00: Exited by signal 9. The CPU time used is 0.0 seconds;

MEMORY USAGE:
MAX MEM: 3 Gbytes;  AVG MEM: 2 Gbytes
------------------------------------------------------------------------------

Job <7[3]>, User <me>, Command <x>
Sat Nov 21 04:13:00: Exited by signal 11. The CPU time used is 0.0 seconds;
------------------------------------------------------------------------------

Job <9[1]>, User <me>, Command <x>
Sat Nov 21 04:13:00: Exited with exit code 3. The CPU time used is 0.0 seconds;
"""


def test_evidence_comes_from_queue_and_history(cluster, lsf):
    lsf.says(
        "bjobs",
        ("7^1^EXIT^137^TERM_MEMLIMIT: job killed after reaching LSF memory usage limit^x[1]^h\n7^2^PEND^-^-^x[2]^-\n",
         "Job <7[3]> is not found\nJob <9> is not found\n", 255),
        ("7 me PEND q h x[2] Nov 21 04:13\n Not enough slots: 3 hosts;\n", "", 0),
    )  # fmt: skip
    lsf.says("bhist", (STORIES, "", 0))
    told = cluster.evidence([Part(job("7"), (0, 1, 2)), Part(job("9")), Part(job("host:1:1"))])
    assert {key: (evidence.word, evidence.failure) for key, evidence in told.items()} == {
        "7_0": ("EXIT", "oom"), "7_1": ("PEND", None), "7_2": ("EXIT", "lost"), "9_0": ("EXIT", "lost"),
    }  # fmt: skip
    assert told["7_1"].why == "It is pending: Not enough slots: 3 hosts."
    assert "SIGSEGV" in told["7_2"].why
    assert "memory: 3 Gbytes used" in told["7_0"].details
    assert [len(lsf.calls(name)) for name in ("bjobs", "bhist")] == [2, 1]
    assert lsf.calls("bhist")[0][-3:] == ["9", "7[1]", "7[3]"]


def test_evidence_never_raises(cluster, lsf):
    lsf.says("bjobs", *[BUSY] * 50)
    assert cluster.evidence([Part(job("7"))]) == {}
    assert cluster.evidence([]) == {}


# --- ending and beginning again ---------------------------------------------------------------------------------------


def test_elements_are_ended_together_and_what_is_gone_does_no_harm(cluster, lsf):
    lsf.says("bkill", ("", "Job <8>: No matching job found\nJob <7[1]>: Job has already finished\n", 255))
    cluster.cancel([Part(job("7"), (0, 1, 2, 6)), Part(job("8")), Part(job("host:1:1"))])
    assert lsf.calls("bkill") == [["7[1-3,7]", "8"]]
    lsf.says("bkill", ("", "Job <8>: User permission denied\n", 255))
    with pytest.raises(UserError, match="User permission denied"):
        cluster.cancel([Part(job("8"))])
    cluster.cancel([])
    assert len(lsf.calls("bkill")) == 2


@pytest.mark.parametrize(("number", "here"), [("3", Here("7", 2)), ("0", Here("7", 0)), ("", Here("7", 0))])
def test_who_we_are(cluster, monkeypatch, number, here):
    assert cluster.here() is None
    monkeypatch.setenv("LSB_JOBID", "7")
    monkeypatch.setenv("LSB_JOBINDEX", number)
    assert cluster.here() == here


@pytest.mark.parametrize(
    ("lie", "coming"),
    [
        (("Job <7[3]> is being requeued\n", "", 0), True),
        (("", "Job <7[3]>: Job has already been requeued\n", 255), True),
        (("", "Job <7[3]>: Job has not started yet\n", 255), True),
        (("", "", -15), True),  # it was ended with the job
        (("", "Job <7[3]>: User permission denied\n", 255), False),
        (("", "Job <7[3]>: Job has already finished\n", 255), False),
    ],
)
def test_a_requeue_that_comes_anyway_is_a_yes(cluster, lsf, monkeypatch, lie, coming):
    monkeypatch.setenv("LSB_JOBID", "7")
    monkeypatch.setenv("LSB_JOBINDEX", "3")
    lsf.says("brequeue", lie)
    assert cluster.requeue(cluster.here()) is coming
    assert lsf.calls("brequeue") == [["7[3]"]]


# --- limits -----------------------------------------------------------------------------------------------------------

PARAMETERS = (
    "    MAX_JOB_ARRAY_SIZE = 500\n    MAX_PEND_JOBS = 100\n    DEFAULT_QUEUE = q\n    CLEAN_PERIOD = 60 (second)\n"
)
USERS = "USER/GROUP JL/P MAX NJOBS PEND RUN SSUSP USUSP RSV MPEND PJOBS MPJOBS\nme - - 12 10 2 0 0 0 - 10 50\n"


def test_room_is_what_pending_limits_and_our_own_leave(cluster, lsf):
    lsf.says("bparams", (PARAMETERS, "", 0))
    queue = "".join(f"7^{i}^{'PEND' if i > 4 else 'RUN'}^-^-^x[{i}]^h\n" for i in range(1, 11))
    lsf.says("bjobs", *[(queue, "", 0)] * 4)
    assert cluster.limits({}) == (500, 94)
    assert cluster.limits({"limits": {"jobs": 15, "array": 20}}) == (20, 5)
    assert cluster.limits({"limits": {"jobs": 7}}) == (500, 0)
    busers = lsf.folder / "bin" / "busers"
    busers.write_text(f"#!/bin/sh\nprintf '%s' '{USERS}'\n")
    busers.chmod(0o755)
    assert cluster.limits({}) == (500, 44)
    assert all("-a" not in call for call in lsf.calls("bjobs"))
    assert len(lsf.calls("bparams")) == 1


def test_no_limits_no_questions(cluster, lsf):
    assert cluster.limits({}) == (1000, None)
    assert lsf.calls("bjobs") == []
    assert cluster.estimate({}, 5) is None


def test_facts_for_people(lsf, tmp_path):
    (lsf.folder / "lsf.conf").write_text("LSF_UNIT_FOR_LIMITS=GB\n")
    lsf.says("bparams", (PARAMETERS, "", 0))
    found = facts()
    assert (found.kind, found.reachable, found.version) == ("lsf", True, "IBM Spectrum LSF Standard 10.1.0.6")
    assert (found.cluster, found.controller, found.max_array, found.submit_limit) == ("fake", "here", 500, 100)
    assert (found.queued, found.remembers, found.grace, found.memory_unit) == (0, 60.0, 10.0, "GB")
    assert found.queues == ()
    lsf.says("bjobs", *[BUSY] * 50)
    assert "did not answer" in facts().problem
