"""The commands in LSF's dialect: what tests on them take for granted."""

import json
import re
import subprocess

import pytest

from tests.cluster.lab import has_cgroups
from tests.worker.helpers import eventually

FIELDS = "jobid jobindex stat exit_code exit_reason job_name delimiter='^'"


class Shell:
    """Runs LSF's commands."""

    def __init__(self, site):
        self.site = site

    def __call__(self, *words, text="", code=0):
        done = subprocess.run(list(map(str, words)), input=text, capture_output=True, text=True)
        assert code is None or done.returncode == code, f"{words}: {done.returncode} {done.stdout} {done.stderr}"
        return done

    def submit(self, script, *words):
        done = self("bsub", *words, text=script)
        return re.search(r"Job <(\d+)> is submitted to (?:default )?queue <\w+>\.", done.stdout)[1]

    def rows(self, *words):
        done = self("bjobs", "-a", "-noheader", "-o", FIELDS, *words, code=None)
        return [dict(zip(FIELDS.split(), line.split("^"), strict=False)) for line in done.stdout.splitlines()]

    def stats(self, job):
        return [row["stat"] for row in self.rows(job)]

    def until(self, job, *stats):
        eventually(lambda: self.stats(job) == list(stats), 30)


def words(file):
    return file.read_text().split() if file.exists() else []


@pytest.fixture
def ibm(make_lsf):
    return Shell(make_lsf(terminate_interval=0.5, minute=2.0))


@pytest.fixture
def old(make_lsf):
    return Shell(make_lsf(dialect="old", terminate_interval=0.5))


def test_an_array_counts_from_one_and_knows_where_it_is(ibm, tmp_path):
    script = f'#BSUB -J "many[1-3]%2"\n#BSUB -o /dev/null\nenv | grep LSB_ > {tmp_path}/$LSB_JOBINDEX\n'
    job = ibm.submit(script)
    ibm.until(job, "DONE", "DONE", "DONE")
    for index in (1, 2, 3):
        env = dict(line.split("=", 1) for line in (tmp_path / str(index)).read_text().splitlines())
        assert env["LSB_JOBID"] == job
        assert env["LSB_JOBNAME"] == f"many[{index}]"
        assert env["LSB_JOBINDEX_END"] == "3"
        assert env["LSB_HOSTS"] in env["LSB_MCPU_HOSTS"]
    assert [row["jobindex"] for row in ibm.rows(job)] == ["1", "2", "3"]


def test_a_job_knows_nothing_of_slurm_and_has_index_zero(ibm, tmp_path):
    job = ibm.submit(f"#BSUB -o /dev/null\nenv > {tmp_path}/env\n")
    ibm.until(job, "DONE")
    lines = words(tmp_path / "env")
    assert not [line for line in lines if line.startswith(("SLURM", "SBATCH"))]
    assert "LSB_JOBINDEX=0" in lines


def test_options_of_the_command_line_win_over_the_script(ibm):
    done = ibm("bsub", "-q", "priority", "-o", "/dev/null", text="#BSUB -q normal\n#BSUB -J named\ntrue\n")
    assert "is submitted to queue <priority>." in done.stdout
    assert [row["job_name"] for row in ibm.rows()] == ["named"]


def test_lines_of_a_script_on_the_command_line_count_for_nothing(ibm, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n#BSUB -J named\n#BSUB -q nosuch\ntrue\n")
    script.chmod(0o755)
    done = ibm("bsub", "-o", "/dev/null", script)
    assert "default queue <normal>" in done.stdout
    assert ibm.rows()[0]["job_name"] == "-"


def test_output_appears_at_the_end_and_below_a_report(ibm, tmp_path):
    file = tmp_path / "out"
    script = f"echo said; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 3\n"
    job = ibm.submit(script, "-o", f"{file}.%J.%I", "-J", "a[1-1]")
    ibm.until(job, "RUN")
    assert not list(tmp_path.glob("out*"))
    (tmp_path / "go").touch()
    ibm.until(job, "EXIT")
    text = (tmp_path / f"out.{job}.1").read_text()
    assert text.startswith("Sender: LSF System")
    assert "Exited with exit code 3." in text
    assert text.endswith("said\n")
    assert ibm.rows(job)[0]["exit_code"] == "3"


def test_refusals(ibm):
    for words, said in {
        ("-q", "nosuch"): "nosuch: No such queue. Job not submitted.",
        ("-M", "lots"): "MEMLIMT value should be a positive integer",
        ("-W", "soon"): "Bad RUNLIMIT",
        ("-R", "rusage[mem"): "Bad resource requirement",
        ("-J", "a[1-1001]"): "MAX_JOB_ARRAY_SIZE",
        ("-J", "a[0-3]"): "Bad array index",
        ("-w", "done(999)"): "No matching job found",
        ("-gpu", "many"): "Bad GPU requirement",
        ("-nonsense",): "illegal option -- nonsense",
    }.items():
        assert said in ibm("bsub", *words, text="true\n", code=255).stderr
    assert ibm.rows() == []


def test_unknown_ids_cost_the_exit_status_and_not_the_answer(ibm):
    job = ibm.submit("sleep 60", "-o", "/dev/null")
    done = ibm("bjobs", "-a", "-noheader", "-o", "jobid delimiter='^'", job, 999, code=255)
    assert done.stdout == f"{job}\n"
    assert done.stderr == "Job <999> is not found\n"
    told = json.loads(ibm("bjobs", "-a", "-json", "-o", "jobid stat", job, 999).stdout)["RECORDS"]
    assert told[0]["JOBID"] == job
    assert told[1] == {"JOBID": "999", "ERROR": "Job <999> is not found"}
    ibm("bjobs", "-a", "-json", "-o", "jobid", 999, code=255)


def test_what_ended_is_listed_only_when_asked_for(ibm):
    job = ibm.submit("true", "-o", "/dev/null")
    ibm.until(job, "DONE")
    assert "No unfinished job found" in ibm("bjobs", code=255).stderr
    ibm("bjobs", "-a", job)


def test_what_ended_long_ago_is_only_in_the_history(make_lsf):
    lsf = Shell(make_lsf(clean_period=0))
    job = lsf.submit("exit 3", "-o", "/dev/null", "-J", "a[1-2]")
    eventually(lambda: "is not found" in lsf("bjobs", "-a", job, code=None).stderr, 30)
    text = lsf("bhist", "-l", "-n", "0", f"{job}[2]").stdout
    assert f"Job <{job}[2]>" in text
    assert "Exited with exit code 3." in text.replace("\n" + " " * 21, "")
    assert f"Job <{job}[1]>" in lsf("bacct", "-l", job).stdout


TRAPS = """\
trap 'echo INT >> {file}' INT
trap 'echo TERM >> {file}' TERM
echo ready >> {file}
while :; do sleep 0.05; done
"""


def test_bkill_asks_twice_and_then_insists(ibm, tmp_path):
    file = tmp_path / "signals"
    job = ibm.submit(TRAPS.format(file=file), "-o", "/dev/null", "-J", "a[1-2]%1")
    eventually(lambda: words(file) == ["ready"], 30)
    assert f"Job <{job}[1]> is being terminated" in ibm("bkill", job).stdout
    assert "Operation is in progress" in ibm("bkill", f"{job}[1]", code=255).stderr
    ibm.until(job, "EXIT", "EXIT")
    assert file.read_text().split() == ["ready", "INT", "TERM"]
    assert [row["exit_code"] for row in ibm.rows(job)] == ["137", "-"]
    assert all(row["exit_reason"].startswith("TERM_OWNER") for row in ibm.rows(job))
    assert "already finished" in ibm("bkill", job, code=255).stderr
    assert "No matching job found" in ibm("bkill", 999, code=255).stderr


def test_who_traps_the_kill_and_ends_well_is_done(ibm, tmp_path):
    script = f"trap 'exit 0' INT\ntouch {tmp_path}/ready\nwhile :; do sleep 0.05; done"
    job = ibm.submit(script, "-o", "/dev/null")
    eventually((tmp_path / "ready").exists, 30)
    ibm("bkill", job)
    ibm.until(job, "DONE")


def test_a_signal_of_choice(ibm, tmp_path):
    script = f"trap 'touch {tmp_path}/usr2' USR2\ntouch {tmp_path}/ready\nwhile :; do sleep 0.05; done"
    job = ibm.submit(script, "-o", "/dev/null")
    eventually((tmp_path / "ready").exists, 30)
    assert "is being signaled" in ibm("bkill", "-s", "USR2", job).stdout
    eventually((tmp_path / "usr2").exists, 30)
    ibm("bkill", "-s", "KILL", job)
    ibm.until(job, "EXIT")


def test_requeued_from_inside(ibm, tmp_path):
    script = f"echo $LSB_JOBINDEX >> {tmp_path}/ran\n[ -e {tmp_path}/once ] && exit 0\ntouch {tmp_path}/once\n"
    script += 'brequeue "$LSB_JOBID[$LSB_JOBINDEX]"\nsleep 60\n'
    job = ibm.submit(script, "-o", "/dev/null", "-J", "a[1-1]")
    ibm.until(job, "DONE")
    assert (tmp_path / "ran").read_text().split() == ["1", "1"]
    assert "Requeued job is waiting" in ibm("bhist", "-l", job).stdout.replace("\n" + " " * 21, "")


def test_requeued_by_exit_code(ibm, tmp_path):
    script = f"[ -e {tmp_path}/once ] && exit 0\ntouch {tmp_path}/once\nexit 99\n"
    job = ibm.submit(script, "-o", "/dev/null", "-Q", "99")
    ibm.until(job, "DONE")


def test_the_run_limit_warns_and_only_later_ends(ibm, tmp_path):
    """A minute lasts two seconds here: warned a minute ahead, and at the limit."""
    script = f"trap 'echo $SECONDS >> {tmp_path}/usr2' USR2\nwhile :; do sleep 0.05; done"
    job = ibm.submit(f"#!/bin/bash\n{script}", "-o", "/dev/null", "-W", "2", "-wa", "USR2", "-wt", "1")
    eventually(lambda: len(words(tmp_path / "usr2")) == 2, 30)
    assert ibm.stats(job) == ["RUN"]


@pytest.mark.parametrize(("condition", "runs"), [("done({})", True), ("exit({})", False), ("ended({}[*])", True)])
def test_dependencies(ibm, tmp_path, condition, runs):
    first = ibm.submit("sleep 0.3", "-o", "/dev/null", "-J", "first[1-2]")
    then = ibm.submit(f"touch {tmp_path}/then", "-o", "/dev/null", "-w", condition.format(first))
    if runs:
        ibm.until(then, "DONE")
        assert ibm.stats(first) == ["DONE", "DONE"]
    else:
        ibm.until(first, "DONE", "DONE")
        reasons = lambda: ibm("bjobs", "-p", then, code=None).stdout  # noqa: E731
        eventually(lambda: "Dependency condition invalid or never satisfied" in reasons(), 30)
        assert ibm.stats(then) == ["PEND"]


def test_a_dependency_on_what_slurm_forgot(ibm):
    done, failed = ibm.submit("true", "-o", "/dev/null"), ibm.submit("false", "-o", "/dev/null", "-J", "bad")
    ibm.until(done, "DONE")
    ibm.until(failed, "EXIT")
    then = ibm.submit("true", "-o", "/dev/null", "-w", f"done({done}) && ended(bad)")
    ibm.until(then, "DONE")
    never = ibm.submit("true", "-o", "/dev/null", "-w", "done(bad)")
    assert ibm.stats(never) == ["PEND"]


def test_states_that_slurm_knows_by_other_names(ibm, slurm):
    held, job = ibm.submit("true", "-o", "/dev/null", "-H"), ibm.submit("sleep 60", "-o", "/dev/null")
    assert ibm.stats(held) == ["PSUSP"]
    ibm.until(job, "RUN")
    slurm.run("scontrol", "suspend", job)
    ibm.until(job, "USUSP")
    slurm.run("scontrol", "resume", job)
    ibm.until(job, "RUN")


def test_a_pending_limit(make_lsf):
    lsf = Shell(make_lsf(max_pend=5))
    assert "threshold reached" in lsf("bsub", "-o", "/dev/null", "-J", "a[1-6]", text="true", code=255).stderr
    lsf.submit("true", "-o", "/dev/null", "-J", "a[1-5]")


@pytest.mark.skipif(not has_cgroups(), reason="needs control groups of version 1")
def test_memory_is_limited(ibm):
    job = ibm.submit("exec python3 -c 'x = bytearray(3 * 10**8)'", "-o", "/dev/null", "-M", "50MB")
    ibm.until(job, "EXIT")
    assert ibm.rows(job)[0]["exit_reason"].startswith("TERM_MEMLIMIT")


def test_what_a_site_tells(ibm):
    assert "IBM Spectrum LSF Standard 10.1" in ibm("lsid").stdout
    assert "MAX_JOB_ARRAY_SIZE = 1000" in ibm("bparams", "-a").stdout
    assert "Open:Active" in ibm("bqueues").stdout
    assert "QUEUE: priority" in ibm("bqueues", "-l", "priority").stdout
    assert len(ibm("bhosts").stdout.splitlines()) == 3
    assert len(ibm("busers").stdout.splitlines()) == 2
    assert "-gpu" in ibm("bsub", "-h", "all", code=255).stderr


# --- the old dialect --------------------------------------------------------------------------------------------------


def test_the_old_dialect_takes_unknown_options_for_others(old, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where its output goes
    done = old("bsub", "-o", "/dev/null", "-wa", "USR2", "-wt", "1", "true", code=255)
    assert "No matching job found" in done.stderr  # it is -w a
    job = old.submit("", "-oo", "file", "true")  # -o o, and the command is: file true
    text = (old.site.jobs / job / "script").read_text()
    assert text.splitlines()[-1] == "file true"
    assert "illegal option -- gpu" in old("bsub", "-gpu", "num=1", "true", code=255).stderr
    assert "illegal option -- Q" in old("bsub", "-Q", "99", "true", code=255).stderr
    assert "positive integer" in old("bsub", "-M", "1GB", "true", code=255).stderr


def test_the_old_dialect_lists_in_its_own_way(old):
    job = old.submit("true", "-o", "/dev/null", "-J", "a[1-2]")
    assert "illegal option" in old("bjobs", "-noheader", code=255).stderr
    assert "unknown field" in old("bjobs", "-a", "-o", "jobid exit_code", job, code=255).stderr
    eventually(lambda: old("bjobs", "-a", "-o", "jobid stat", job, code=None).stdout.count("DONE") == 2, 30)
    rows = [line.split() for line in old("bjobs", "-a", "-w", job).stdout.splitlines()[1:]]
    assert [(row[2], row[6]) for row in rows] == [("DONE", "a[1]"), ("DONE", "a[2]")]
    with pytest.raises(FileNotFoundError):
        old("bacct")
    assert "olclava" in old("lsid").stdout


def test_the_old_dialect_takes_an_array_that_is_too_large_for_a_single_job(old):
    job = old.submit("true", "-o", "/dev/null", "-J", "a[1-1001]")
    assert len(old("bjobs", "-a", "-w", job).stdout.splitlines()) == 2
