"""The lab itself: what later tests take for granted of it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.lab import Lab, has_cgroups, missing
from tests.needs import do_without

FOREVER = "trap '' TERM\necho $$ > {file}\nwhile :; do sleep 0.1; done"


def _ended(pid: int) -> bool:
    """Return whether a process has ended, waited for or not; it may take a moment."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 30)[0])
    finally:
        os.close(process)


def test_jobs_of_an_array_run_and_end(slurm, tmp_path):
    job = slurm.sbatch(f"echo $SLURM_ARRAY_TASK_ID >> {tmp_path}/out", "--array=0-9")
    slurm.wait(lambda: not slurm.queue(), "the end of the array")
    assert sorted(map(int, (tmp_path / "out").read_text().split())) == list(range(10))
    assert slurm.state(f"{job}_3") in ("COMPLETED", "")


def test_an_index_beyond_the_limit_is_refused(slurm):
    done = slurm.run("sbatch", "--array=0-1001", input="#!/bin/sh\ntrue\n", check=False)
    assert done.returncode == 1
    assert "Invalid job array specification" in done.stderr


def test_a_drained_node_begins_nothing(slurm):
    for node in slurm.nodes:
        slurm.drain(node)
    job = slurm.sbatch("true")
    slurm.wait(lambda: slurm.field(job, "Reason") not in ("", "None", "Priority"), "a reason")
    assert slurm.state(job) == "PENDING"
    slurm.resume(slurm.nodes[0])
    slurm.wait(lambda: slurm.state(job) in ("COMPLETED", ""), "the end of the job")


def test_the_queue_survives_its_controller(slurm, tmp_path):
    job = slurm.sbatch("sleep 60")
    slurm.wait(lambda: slurm.state(job) == "RUNNING", "the job")
    slurm.stop_controller()
    assert slurm.run("scontrol", "ping", check=False).returncode
    slurm.start_controller()
    slurm.wait(lambda: slurm.state(job) == "RUNNING", "the job after the restart")


def test_jobs_that_ignore_everything_go_with_the_lab(make_slurm, tmp_path):
    lab = make_slurm(nodes=1)
    lab.sbatch(FOREVER.format(file=tmp_path / "pid"))
    lab.wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "the job")
    pid = int((tmp_path / "pid").read_text())
    lab.close()
    assert _ended(pid)
    assert not lab.folder.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/slurm_{lab.nodes[0]}"))


def test_a_lab_goes_with_the_process_that_made_it(tmp_path):
    why = missing()
    if why:
        do_without("slurm", why)
    program = (
        "import sys; from pathlib import Path; from tests.cluster.lab import Lab;"
        "lab = Lab(Path(sys.argv[1]), nodes=1).start();"
        "print(*(d.pid for d in lab._daemons.values()), flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "lab"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        pids = [int(word) for word in maker.stdout.readline().split()]
        maker.send_signal(signal.SIGKILL)
        maker.wait()
    assert len(pids) == 2
    for pid in pids:
        assert _ended(pid)


def test_two_labs_have_nothing_in_common(tmp_path):
    one, other = Lab(tmp_path / "one"), Lab(tmp_path / "other")
    assert not set(one.nodes) & set(other.nodes)
    one.close()
    other.close()


def test_accelerators_are_dealt_out(slurm_accounting, tmp_path):
    script = f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/$SLURM_ARRAY_TASK_ID; sleep 30"
    slurm_accounting.sbatch(script, "--array=0-1", "--gres=gpu:1", f"--nodelist={slurm_accounting.nodes[0]}")
    slurm_accounting.wait(lambda: len(list(tmp_path.iterdir())) == 2, "both elements")
    slurm_accounting.wait(
        lambda: sorted((tmp_path / name).read_text().strip() for name in "01") == ["0", "1"], "a device each"
    )
    refused = slurm_accounting.run("sbatch", "--gres=gpu:h100:1", input="#!/bin/sh\ntrue\n", check=False)
    assert refused.returncode == 1


def test_accounting_knows_what_the_queue_forgot(slurm_accounting):
    job = slurm_accounting.sbatch("exit 7")
    slurm_accounting.wait(
        lambda: "FAILED" in slurm_accounting.run("sacct", "-n", "-P", "-j", job, "-o", "State").stdout, "the record"
    )


def test_a_submit_limit_is_kept(make_slurm):
    lab = make_slurm(nodes=1, accounting=True, submit_limit=5)
    refused = lab.run("sbatch", "--array=0-5", input="#!/bin/sh\ntrue\n", check=False)
    assert "AssocMaxSubmitJobLimit" in refused.stderr
    lab.sbatch("sleep 30", "--array=0-4")


@pytest.mark.skipif(not has_cgroups(), reason="needs control groups of version 1")
def test_memory_is_limited(slurm):
    job = slurm.sbatch(f"exec {sys.executable} -c 'x = bytearray(10**9)'", "--mem=50M")
    slurm.wait(lambda: slurm.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), "the end of the job")
    assert slurm.state(job) == "OUT_OF_MEMORY"


def test_a_broken_lab_begins_anew(make_slurm):
    lab = make_slurm(nodes=1)
    lab.sbatch("sleep 600")
    lab.kill_node(lab.nodes[0], jobs=True)
    lab.restart()
    assert lab.queue() == []
    job = lab.sbatch("true")
    lab.wait(lambda: lab.state(job) == "COMPLETED", "the end of the job")
