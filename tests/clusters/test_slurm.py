"""Our Slurm against a fake one on PATH: banners, losses and lies. A real one is asked in ``tests/cluster``."""

import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from orchestrator.clusters.base import Here, LimitReached, Part
from orchestrator.clusters.slurm import CANCELLED_AT_ONCE, SlurmCluster, cancellations, facts, script
from orchestrator.errors import ExitCode, UserError
from orchestrator.study.records import Submission, TaskSpec
from orchestrator.study.study import Study
from tests.clusters.fakes.slurm import UNREACHABLE, job
from tests.study.studies import enter, make_info, make_points

TIMED_OUT = {"err": "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n", "code": 1}
FULL = {"err": "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
               "accounting/QOS policy (job submit limit, user's size and/or time limits)\n", "code": 1}  # fmt: skip
BANNER = "Maintenance on the 24th: job 99 of yours will be held\n"
SLURM = SlurmCluster("slurm")


@pytest.fixture
def study(tmp_path):
    study = Study.create(tmp_path / "runs", "toy")
    tasks = tuple(TaskSpec(f"1-{at}", [[at, at + 1, 1]], 1) for at in range(5))
    study.publish(Submission(1, cluster="slurm", scheduler="slurm", code="c0de", tasks=tasks, arrays=((0, 5),)))
    return study


def submit(study, **resources):
    return SLURM.submit(study, replace(study.submission(1), resources=resources), 0)


# --- handing over -----------------------------------------------------------------------------------------------------


def test_an_array_is_one_job_and_one_file(fake, study):
    before = set(study.path.rglob("*"))
    handed = submit(study)
    assert (handed.n, handed.array, handed.cluster, handed.job_id) == (1, 0, "slurm", "102")
    assert fake.jobs["102"]["words"] == ["PENDING"] * 5
    assert fake.jobs["102"]["name"] == handed.extra["tag"]
    assert set(study.path.rglob("*")) - before == {study.script_path(1, 0)}
    assert [call["command"][0] for call in fake.calls()] == ["sbatch"]


def test_the_script_becomes_the_element_s_process(fake, study):
    submit(study, cpus=3, memory="1.5G", time="61s", gpus=2, gpu_type="a100", partition="long", account="lab",
           qos="high", constraint="a&b", parallel=2, exclude=["n3", "n4"],
           prologue="module load x\nexport Y='1 2'", python="/opt/py",
           extra=["--exclusive", "--comment 'a b'"])  # fmt: skip
    lines = study.script_path(1, 0).read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert options == [
        "--account=lab", "--array=0-4%2", f"--chdir={study.path}", "--constraint='a&b'", "--cpus-per-task=3",
        "--exclude=n3,n4",
        "--gres=gpu:a100:2", f"--job-name={fake.jobs['102']['name']}", "--kill-on-invalid-dep=no", "--mem=1536M",
        "--nodes=1", "--ntasks-per-node=1", "--open-mode=append", f"--output={study.log_path(1, 0)}",
        "--partition=long", "--qos=high", "--requeue", "--signal=B:USR2@30", "--time=2", "--exclusive",
        "--comment 'a b'",
    ]  # fmt: skip
    text = "\n".join(lines)
    shell = text[text.index("trap") :]
    assert shell.startswith("trap '' USR2\nmodule load x\nexport Y='1 2'\n")
    *_, last = shlex.split(text[text.index("exec ") :], posix=True)
    assert last == "0"
    assert text[text.index("exec ") :].startswith("exec /opt/py -c ")
    assert "srun" not in text
    assert "wckey" not in text


def test_a_script_runs_in_a_shell(tmp_path):
    text = script({}, [sys.executable, "-c", "import sys; print(sys.argv[1:])", "a b", "c'd\ne"], name="x")
    path = tmp_path / "x.sh"
    path.write_text(text)
    ran = subprocess.run(["bash", path], capture_output=True, text=True, check=True)
    assert ran.stdout == str(["a b", "c'd\ne"]) + "\n"


def test_a_path_that_slurm_would_take_for_a_pattern(tmp_path):
    text = script({}, ["true"], name="x", log=tmp_path / "a %A.log", elements=1)
    assert f"--output='{tmp_path}/a %%A.log'" in text
    assert "--array=0-0\n" in text


@pytest.mark.parametrize("option", ["--array=0-9", "-J name", "-Jname", "--clusters=x", "-a 1-3", "--wrap", "-o log"])
def test_options_that_are_ours_are_refused(option):
    with pytest.raises(UserError, match=r"resources\.extra.*leave it out"):
        script({"extra": [option]}, ["true"], name="x")


@pytest.mark.parametrize(
    "option", ["--exclusive", "-C haswell", "--ntasks=1", "--account=x", "-A x", "--mail-user=a@b"]
)
def test_any_other_option_is_passed_on(option):
    assert f"#SBATCH {option}\n" in script({"extra": [option]}, ["true"], name="x")


@pytest.mark.parametrize("said", [f"{BANNER}Submitted batch job 555\n{BANNER}", "555;cluster\n", f"{BANNER}555\n"])
def test_banners_hide_no_id(fake, study, said):
    fake.say("sbatch", {"out": said})
    assert submit(study).job_id == "555"


def test_what_was_queued_in_spite_of_a_timeout_is_adopted(fake, study):
    fake.say("sbatch", {**TIMED_OUT, "really": True, "out": ""})
    assert submit(study).job_id == "102"
    assert len(fake.jobs) == 1
    assert len(fake.calls("sbatch")) == 1


def test_a_timeout_that_queued_nothing_is_tried_again(fake, study):
    fake.say("sbatch", TIMED_OUT, TIMED_OUT)
    assert submit(study).job_id == "102"
    assert len(fake.calls("sbatch")) == 3
    assert len(fake.jobs) == 1


def test_a_job_of_the_same_name_is_looked_for_only_after_an_error(fake, study):
    submit(study)
    assert not fake.calls("squeue")


def test_what_a_process_that_died_had_queued_is_adopted(fake, study):
    first = submit(study)  # killed before it could record the job
    assert submit(study) == first
    assert len(fake.calls("sbatch")) == 1
    fake.forget(first.job_id)
    assert submit(study).job_id != first.job_id


def test_an_id_that_is_not_told_is_found_by_name(fake, study):
    fake.say("sbatch", {"really": True, "out": BANNER})
    assert submit(study).job_id == "102"


def test_no_id_and_no_job_is_a_sentence(fake, study):
    fake.say("sbatch", {"out": BANNER})
    with pytest.raises(UserError, match="printed no job id"):
        submit(study)


def test_a_scheduler_that_stays_away_is_a_sentence(fake, study, away):
    fake.say("sbatch", *[TIMED_OUT] * 30)
    fake.say("squeue", *[UNREACHABLE] * 60)
    with pytest.raises(UserError, match=r"Slurm did not answer for 0 s.*connect failure|Socket timed out") as caught:
        submit(study)
    assert caught.value.exit_code == ExitCode.SCHEDULER_UNREACHABLE


def test_a_full_queue_is_told_from_a_refusal(fake, study):
    fake.say("sbatch", FULL)
    with pytest.raises(LimitReached, match="QOSMaxSubmitJobPerUserLimit"):
        submit(study)
    fake.say("sbatch", {"err": "sbatch: error: invalid partition specified: nosuch\n", "code": 1})
    with pytest.raises(UserError, match=r"resources\.partition is nosuch") as caught:
        submit(study, partition="nosuch")
    assert not isinstance(caught.value, LimitReached)
    assert len(fake.calls("sbatch")) == 2


def test_sbatch_waiting_for_room_is_not_waited_for(fake, study, monkeypatch):
    monkeypatch.setattr("orchestrator.clusters.slurm.SUBMIT_TIMEOUT", 0.5)
    waiting = {"err": "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n", "sleep": 60}
    fake.say("sbatch", waiting)
    with pytest.raises(LimitReached, match="temporarily unable"):
        submit(study)


@pytest.mark.parametrize("said", ["Invalid node name specified", "Requested node configuration is not available"])
def test_machines_that_failed_and_are_all_there_are_or_there_no_more_do_not_stop_a_study(fake, tmp_path, said):
    study, points = Study.create(tmp_path / "runs", "toy"), make_points(2)
    info = make_info(resources={"exclude": ["n1"]})
    study.publish_generation("study: toy", info, points)
    enter(study, [0, 1], cluster="slurm", scheduler="slurm")
    study.testify("1-0", "node", after=0, node="n7")
    entry = enter(study, [0, 1], cluster="slurm", scheduler="slurm", resources={"exclude": ["n1", "n7"]})
    refused = {"err": f"sbatch: error: Batch job submission failed: {said}\n", "code": 1}
    fake.say("sbatch", refused)
    with pytest.raises(UserError, match=said):
        SLURM.submit(study, replace(entry, resources={"exclude": ["n1"]}), 0)
    fake.say("sbatch", refused)
    SLURM.submit(study, entry, 0)
    assert "#SBATCH --exclude=n1\n" in study.script_path(2, 0).read_text()


def test_an_array_beyond_the_index_is_refused_by_slurm_itself(fake, study):
    fake.configure(MaxArraySize="3")
    with pytest.raises(UserError, match=r"Invalid job array specification.*MaxArraySize"):
        submit(study)


def test_without_slurm_it_says_so(make_fake, study):
    make_fake(commands=[])
    with pytest.raises(UserError, match=r"`sbatch` cannot be run.*PATH"):
        submit(study)
    found = facts()
    assert not found.reachable
    assert "cannot be run" in found.problem


def test_variables_of_the_job_around_do_not_leak(fake, study, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_MEM_PER_NODE", "SBATCH_JOB_NAME", "SBATCH_TIMELIMIT",
                 "SQUEUE_PARTITION", "SCANCEL_INTERACTIVE"):  # fmt: skip
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    monkeypatch.setenv("SBATCH_PARTITION", "mine")
    submit(study, partition="theirs")
    [call] = fake.calls("sbatch")
    own = {"SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "standard"}
    assert call["variables"] == {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_ACCOUNT": "mine", **own}


def test_a_steward_waits_for_jobs_however_they_end(fake, study):
    k, folder = study.new_steward()
    resources = {"cpus": 8, "gpus": 2, "memory": "64G", "time": "2d", "partition": "gpu", "account": "lab",
                 "parallel": 4, "prologue": "module load x",
                 "steward": {"partition": "cpu", "time": None, "memory": "1G"}}  # fmt: skip
    left = SLURM.steward(study, k, resources, [job(7), job(8), job("host:1:2")])
    assert (left.n, left.array, left.job_id) == (0, 0, "102")
    assert fake.jobs["102"]["words"] == "PENDING"
    text = (folder / "job.sh").read_text()
    for option in ("--dependency=afterany:7:8", "--kill-on-invalid-dep=no", "--cpus-per-task=1", "--mem=1024M",
                   "--time=60", "--partition=cpu", "--account=lab", f"--output={folder}/stdout"):  # fmt: skip
        assert f"#SBATCH {option}\n" in text
    assert "--gres" not in text
    assert "--array" not in text
    assert "module load x" in text
    assert text.rstrip().endswith(f"orchestrator.steward.wave:main {study.path} {k}")


def test_a_steward_that_waits_for_nothing(fake, study):
    k, folder = study.new_steward()
    SLURM.steward(study, k, {}, [])
    assert "--dependency" not in (folder / "job.sh").read_text()


# --- ending and beginning again ---------------------------------------------------------------------------------------


def test_elements_are_cancelled_a_few_hundred_at_a_time():
    parts = [Part(job(7), tuple(range(0, 1000, 2))), Part(job(8)), Part(job(9), (3, 4, 5)), Part(job("host:1:2"))]
    commands = cancellations(parts)
    assert len(commands) == 2
    assert commands[1][-1] == "9_[3-5]"
    assert commands[1][0] == "8"
    sizes = [len(re.findall(r"\d+(?=[,\]])", " ".join(names))) for names in commands]
    assert max(sizes) <= CANCELLED_AT_ONCE
    assert cancellations([]) == []


def test_cancel_ends_these_and_no_others(fake):
    fake.add(7, ["RUNNING", "PENDING", "RUNNING", "PENDING"])
    fake.add(8, ["RUNNING"])
    fake.add(9, ["RUNNING"])
    SLURM.cancel([Part(job(7), (0, 1, 3)), Part(job(8))])
    assert fake.jobs["7"]["words"] == ["CANCELLED", "CANCELLED", "RUNNING", "CANCELLED"]
    assert fake.jobs["8"]["words"] == ["CANCELLED"]
    assert fake.jobs["9"]["words"] == ["RUNNING"]


def test_what_is_gone_does_no_harm(fake):
    SLURM.cancel([Part(job(7)), Part(job(8), (1,))])
    assert len(fake.calls("scancel")) == 1


def test_a_job_of_somebody_else_is_a_sentence(fake):
    fake.say("scancel", {"err": "scancel: error: Kill job error on job id 7: Access/permission denied\n", "code": 1})
    with pytest.raises(UserError, match="permission denied"):
        SLURM.cancel([Part(job(7))])


def test_which_job_this_is(fake, monkeypatch):
    assert SLURM.here() is None
    monkeypatch.setenv("SLURM_JOB_ID", "105")
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    assert SLURM.here() == Here("105", 0, "n2")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "102")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert SLURM.here() == Here("102", 3, "n2")
    assert SLURM.here().key == "102_3"


@pytest.mark.parametrize(
    ("answer", "will"),
    [
        ({}, True),
        ({"err": "102_3: Job is pending execution\n", "code": 1}, True),
        ({"err": "Job is already being requeued for job 102_3\n", "code": 1}, True),
        ({"err": "Requested operation is presently disabled for job 102_3\n", "code": 1}, False),
        ({"err": "Invalid job id specified for job 102_3\n", "code": 1}, False),
        ({"err": "Access/permission denied\n", "code": 1}, False),
    ],
)
def test_requeue(fake, monkeypatch, answer, will):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "102")
    fake.say("scontrol", answer)
    assert SLURM.requeue(Here("102", 3)) is will
    assert fake.calls()[0]["command"] == ["scontrol", "requeue", "102_3"]


def test_requeue_of_a_job_that_is_no_array(fake):
    assert SLURM.requeue(Here("102", 0))
    assert fake.calls()[0]["command"] == ["scontrol", "requeue", "102"]


def test_a_requeue_that_hangs_is_a_no(fake, monkeypatch, away):
    monkeypatch.setattr("orchestrator.clusters.slurm.REQUEUE_TIMEOUT", 0.3)
    fake.say("scontrol", *[{"sleep": 60}] * 9)
    assert not SLURM.requeue(Here("102", 0))


def test_it_is_light_to_start_with():
    heavy = "{'submitit', 'tenacity', 'pydantic', 'ruamel'}"
    code = (
        f"import sys, orchestrator.clusters.slurm; assert not {heavy} & {{name.split('.')[0] for name in sys.modules}}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
