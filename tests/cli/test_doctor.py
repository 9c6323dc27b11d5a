"""What ``orch doctor`` says of this machine, of schedulers, and from inside a job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from orchestrator import checks, trial
from orchestrator.checks import Check
from orchestrator.clusters import batch, profiles
from orchestrator.clusters.batch import QueueFacts, SchedulerFacts
from orchestrator.clusters.local import LocalCluster
from orchestrator.errors import ExitCode, UserError
from orchestrator.grid import Resources
from orchestrator.study.study import Study
from orchestrator.view import doctor

Orch = Callable[..., Result]

FACTS = SchedulerFacts(
    kind="slurm",
    version="22.05.8",
    cluster="alpine",
    controller="head1",
    queues=(
        QueueFacts("short", True, "up", 86_400.0, 40, 64, 256 * 2**30),
        QueueFacts("gpu: a", False, "up", None, 1, 32, 512 * 2**30, ("a100", "gpu"), "REQUEUE"),
    ),
    max_array=1001,
    submit_limit=500,
    queued=12,
    accounts=("phys", "chem"),
    remembers=300.0,
    notes=("Displaced jobs are cancelled here.",),
)
GONE = SchedulerFacts("slurm", reachable=False, problem="Slurm is not set up on this machine: set SLURM_CONF.")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have schedulers here that tell what a test says."""
    monkeypatch.setattr(checks, "machine", lambda: iter([Check("Python", "ok", "3")]))
    monkeypatch.setattr(checks, "experiments", lambda: Check("experiments", "ok", "toy"))
    monkeypatch.setattr(checks, "r", lambda: Check("R", "ok", "R"))

    def have(*facts: SchedulerFacts) -> None:
        told = {each.kind: each for each in facts}
        monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config"))
        monkeypatch.setattr(batch, "installed", lambda: list(told))
        monkeypatch.setattr(batch, "facts", told.__getitem__)

    return have


def found(done: Result) -> dict[str, list[str]]:
    assert done.exception is None, done.exception
    named: dict[str, list[str]] = {}
    for check in json.loads(done.stdout)["checks"]:
        named.setdefault(check["name"], []).extend((check["verdict"], check["found"]))
    return named


def test_what_a_scheduler_tells(orch: Orch, site: Callable[..., None]) -> None:
    site(FACTS)
    done = orch("doctor", "--json")
    said = found(done)
    assert said["slurm"] == ["ok", "22.05.8, cluster alpine, controller on head1", "note", FACTS.notes[0]]
    assert said["partitions"][1].splitlines() == [
        "short (default): up, 40 nodes, up to 64 cores and 256G each, at most 1d",
        "gpu: a: up, 1 node, up to 32 cores and 512G each, GPUs: a100, gpu, displaced: REQUEUE",
    ]
    assert said["limits"][1] == (
        "arrays of up to 1,001 elements; 500 jobs and elements of yours at a time; 12 of yours in the queue now"
    )
    assert said["accounting"][0] == "note"
    assert said["clusters"] == ["ok", "local, slurm"]
    assert json.loads(done.stdout)["schedulers"][0]["queues"][0]["name"] == "short"
    table = orch("doctor")
    assert "partitions" in table.stdout
    assert table.return_value == ExitCode.OK


def test_a_scheduler_that_is_not_reached(orch: Orch, site: Callable[..., None]) -> None:
    site(GONE)
    done = orch("doctor", "--json")
    assert found(done)["slurm"] == ["note", GONE.problem]  # it is one of several things that may be here
    assert done.return_value == ExitCode.OK
    named = orch("doctor", "--json", "--cluster", "slurm")
    assert found(named)["slurm"] == ["missing", GONE.problem]
    assert named.return_value == ExitCode.SCHEDULER_UNREACHABLE
    refused = orch("doctor", "--write-profile").exception
    assert isinstance(refused, UserError)
    assert refused.exit_code == ExitCode.SCHEDULER_UNREACHABLE
    assert "there is no cluster 'slrm'" in str(orch("doctor", "--cluster", "slrm").exception)


def test_profiles_are_listed_and_broken_ones_told(orch: Orch, site: Callable[..., None], tmp_path: Path) -> None:
    site()
    folder = tmp_path / "config" / "clusters"
    folder.mkdir(parents=True)
    (folder / "good.yaml").write_text("kind: lsf\n")
    assert found(orch("doctor", "--json"))["clusters"] == ["ok", "local, good (lsf)"]
    (folder / "bad.yaml").write_text("kind: lsf\nquue: a\n")
    verdict, said = found(orch("doctor", "--json"))["clusters"]
    assert verdict == "note"
    assert f"{folder / 'bad.yaml'}:2:1: a cluster profile has no 'quue'. Did you mean 'queue'?" in said


def test_a_profile_is_filled_from_the_machine(orch: Orch, site: Callable[..., None], tmp_path: Path) -> None:
    site(FACTS)
    done = orch("doctor", "--write-profile")
    file = tmp_path / "config" / "clusters" / "alpine.yaml"
    assert done.stdout == f"{file}\n"
    profile = profiles.read("alpine")
    assert profile is not None
    assert profile.kind == "slurm"
    assert profile.resources == {"partition": "short", "limits": {"array": 1001, "jobs": 500}}
    text = file.read_text()
    for hint in ("# account: …  # there is: phys, chem", "at most 1d in short", "# gpu_type: …  # there is: a100"):
        assert hint in text
    file.write_text("kind: local\n")
    assert "alpine.yaml: this profile exists: --force replaces it" in str(orch("doctor", "--write-profile").exception)
    assert file.read_text() == "kind: local\n"
    assert orch("doctor", "--write-profile", "--force").exception is None
    assert file.read_text() == text
    assert orch("doctor", "--write-profile", "other").stdout.endswith("other.yaml\n")
    assert "another kind of cluster" in str(orch("doctor", "--write-profile", "lsf").exception)


def test_which_scheduler_the_profile_is_of(orch: Orch, site: Callable[..., None]) -> None:
    site()
    assert "neither sbatch nor bsub" in str(orch("doctor", "--write-profile").exception)
    lsf = SchedulerFacts("lsf", queues=(QueueFacts("normal: all"),), max_array=1000)
    site(FACTS, lsf)
    assert "there are slurm and lsf here: name one" in str(orch("doctor", "--write-profile").exception)
    assert orch("doctor", "--write-profile", "--cluster", "lsf").exception is None
    profile = profiles.read("lsf")
    assert profile is not None
    assert profile.resources == {"queue": "normal: all", "limits": {"array": 1000}}


@pytest.mark.parametrize(
    "text", ["main", "1e3", "off", "null", "a: b", "a #b", "-x", "ü", "0x10", "true", "/bin/py", "a'b"]
)
def test_what_a_site_calls_things_is_written_as_text(text: str) -> None:
    from orchestrator.grid import document

    node = document.parse(f"key: {doctor.scalar(text)}  # comment", "file")
    assert node.plain == {"key": text}


# --- this machine -----------------------------------------------------------------------------------------------------


def test_a_folder_without_room_links_or_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {check.name: check for check in checks.studies(tmp_path / "runs")}
    assert {name: check.verdict for name, check in good.items()} == {
        "studies": "ok", "hard links": "ok", "file clock": "ok",
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []  # nothing is left behind

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    bad = {check.name: check for check in checks.studies(tmp_path)}
    assert bad["hard links"] == Check(
        "hard links", "missing", "Operation not permitted: choose another place with --root or ORCH_ROOT"
    )
    monkeypatch.setattr(checks, "LITTLE_SPACE", 2**80)
    assert next(iter(checks.studies(tmp_path))).verdict == "note"
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(checks.tempfile, "TemporaryDirectory", no_links)
    [refused] = checks.studies(tmp_path)
    assert refused.verdict == "missing"
    assert "cannot be written (Operation not permitted): set --root" in refused.found


def test_a_clock_that_goes_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(checks.clock_skew(tmp_path)) < checks.SKEWED
    real = checks.time.time
    monkeypatch.setattr(checks.time, "time", lambda: real() - 100)
    assert round(checks.clock_skew(tmp_path), -1) == 100
    assert checks.clock("clock", "n1", 100).verdict == "note"
    assert "n1 is 100 s ahead of this machine" in checks.clock("clock", "n1", 100.2).found
    assert "n1 is 7 s behind" in checks.clock("clock", "n1", -7).found


def test_scratch_must_let_programs_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    assert [check.verdict for check in checks.scratch()] == ["ok", "ok"]
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.X_OK)
    assert "does not let programs be started: set TMPDIR" in next(iter(checks.scratch())).found
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert "cannot be written (Not a directory): set TORCHINDUCTOR_CACHE_DIR" in list(checks.scratch())[1].found


def test_accelerators_that_were_asked_for_must_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(checks, "_python", lambda code: ("1", ""))
    assert checks.asked_gpus(1) == Check("GPUs", "ok", "1, CUDA_VISIBLE_DEVICES is 0")
    assert "2 asked for, but torch sees 1; CUDA_VISIBLE_DEVICES is 0" in checks.asked_gpus(2).found
    monkeypatch.setattr(checks, "_python", lambda code: ("", "no driver"))
    assert "1 asked for, but no driver" in checks.asked_gpus(1).found


def test_what_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = checks.torch()
    assert check.verdict == "missing"
    assert check.found.endswith("cannot be imported: OSError: libtorch.so: cannot open shared object file")
    assert checks.experiments(whole=True).verdict == "missing"


# --- a job ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "PAUSE", 0.05)
    monkeypatch.setattr(trial, "LAG", 1.0)


def test_a_trial_on_this_machine(orch: Orch, tmp_path: Path) -> None:
    done = orch("doctor", "--job", "--cluster", "local", "--json")
    said = found(done)
    assert "torch" in said, done.output
    assert said["torch"][0] == "ok"
    assert said["studies"][0] == "ok"
    assert said["clock"] == ["ok", f"{os.uname().nodename} agrees with this machine"]
    data = json.loads(done.stdout)
    assert (data["cluster"], data["host"]) == ("local", os.uname().nodename)
    assert "under way" in done.stderr
    assert list((tmp_path / "runs").iterdir()) == []
    assert orch("status").output.strip() == "there are no studies" or "_doctor" not in orch("status").output


class Refusing(LocalCluster):
    """A cluster whose jobs end before they begin."""

    def submit(self, study: Study, submission: Any, array: int) -> Any:
        study.log_path(submission.n, array).write_text("bash: no such interpreter\n")
        return self._job(study, submission.n, array, f"{os.uname().nodename}:1:1")


def test_a_job_that_leaves_no_findings(quick: None, tmp_path: Path) -> None:
    report = trial.send(Refusing("alpine"), Resources(), tmp_path, lambda _: None)
    [check] = report.checks
    assert (check.name, check.verdict, report.host) == ("job", "missing", "")
    assert "ended without findings" in check.found
    assert "it printed: bash: no such interpreter" in check.found


class Breaking(LocalCluster):
    """A cluster that cannot be asked."""

    def poll(self, jobs: Any) -> Any:
        raise UserError("it does not answer", exit_code=ExitCode.SCHEDULER_UNREACHABLE)

    def submit(self, study: Study, submission: Any, array: int) -> Any:
        return self._job(study, submission.n, array, f"{os.uname().nodename}:1:1")


def test_nothing_is_left_of_a_trial_that_was_broken_off(quick: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it does not answer"):
        trial.send(Breaking("alpine"), Resources(), tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []
