"""What batch schedulers share."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clusters import batch
from orchestrator.errors import ExitCode, UserError
from orchestrator.study.study import Study

COMMANDS = batch.Commands("Toy", re.compile("busy"), re.compile("TOY_.*"), {"FIXED": "1"})


@given(st.text("abcXYZ09._-é ", min_size=1, max_size=200), st.integers(1, 10**6), st.integers(0, 10**4))
def test_a_tag_is_short_and_plain(name, n, array):
    study = Study(Path("/runs") / name)
    tag = batch.tag(study, f"{n}.{array}")
    assert re.fullmatch(r"orch-[A-Za-z0-9._-]+", tag)
    assert len(tag) <= 64
    assert f"-{n}.{array}-" in tag
    assert tag == batch.tag(study, f"{n}.{array}")


def test_studies_of_one_name_have_tags_of_their_own():
    tags = {batch.tag(Study(Path(folder) / "toy"), part) for folder in "ab" for part in ("1.0", "1.1", "steward1")}
    assert len(tags) == 6


@given(st.floats(1, 10**6))
def test_the_warning_comes_before_the_end(seconds):
    lead = batch.warning_lead(seconds)
    assert 30 <= lead <= 300
    if 300 <= seconds <= 3000:
        assert abs(lead - seconds / 10) <= 0.5


def test_transient_errors_pass(monkeypatch, tmp_path):
    monkeypatch.setenv("ORCH_PATIENCE", "20")
    mark = tmp_path / "mark"
    answer = COMMANDS.ask(["sh", "-c", f"test -e {mark} && echo yes || {{ touch {mark}; echo busy >&2; exit 1; }}"])
    assert (answer.code, answer.out) == (0, "yes\n")


def test_patience_ends_in_a_sentence(monkeypatch):
    monkeypatch.setenv("ORCH_PATIENCE", "0.2")
    with pytest.raises(UserError, match=r"Toy did not answer .*It says: busy\. Nothing is lost") as caught:
        COMMANDS.ask(["sh", "-c", "echo busy; exit 1"])
    assert caught.value.exit_code == ExitCode.SCHEDULER_UNREACHABLE


def test_what_no_patience_mends_is_answered_at_once():
    answer = COMMANDS.ask(["sh", "-c", "echo never >&2; exit 3"])
    assert (answer.code, answer.said) == (3, "never")
    assert "exit status 4" in COMMANDS.ask(["sh", "-c", "exit 4"]).said


def test_a_command_that_succeeds_may_say_anything():
    assert COMMANDS.ask(["echo", "busy"]).code == 0


def test_a_command_that_hangs_is_ended():
    with pytest.raises(batch.Transient, match=r"did not end within 2 s\. partly"):
        COMMANDS.once(["sh", "-c", "echo partly; exec sleep 60"], timeout=2)


def test_a_command_that_is_not_there_is_a_sentence():
    with pytest.raises(UserError, match="`toysub` cannot be run"):
        COMMANDS.once(["toysub"])


def test_environments(monkeypatch):
    monkeypatch.setenv("TOY_A", "1")
    monkeypatch.setenv("TOY_B", "2")
    monkeypatch.setenv("OTHER", "3")
    own = COMMANDS.environment(keep=["TOY_B"])
    assert "TOY_A" not in own
    assert (own["TOY_B"], own["OTHER"], own["FIXED"]) == ("2", "3", "1")


@pytest.mark.parametrize(("value", "bound"), [("5", 5), ("100", 60), ("x", 60), (None, 60)])
def test_patience_has_a_bound(monkeypatch, value, bound):
    if value is None:
        monkeypatch.delenv("ORCH_PATIENCE", raising=False)
    else:
        monkeypatch.setenv("ORCH_PATIENCE", value)
    assert batch.patience() == bound


class Queue:
    """Hands over as told: 'ok', 'lost' (an error), 'kept' (an error, and yet it is queued), 'mute' (no id is told)."""

    def __init__(self, *told):
        self.told, self.jobs, self.asked = list(told), [], 0

    def attempt(self):
        how = self.told.pop(0)
        if how != "lost":
            self.jobs.append(str(len(self.jobs) + 1))
        if how in ("lost", "kept"):
            raise batch.Transient("busy")
        return self.jobs[-1] if how == "ok" else None

    def find(self):
        self.asked += 1
        return self.jobs[0] if self.jobs else None


@pytest.mark.parametrize(
    ("told", "again", "jobs", "asked"),
    [
        (["ok"], False, 1, 0),
        (["ok"], True, 1, 1),
        (["kept", "ok"], False, 1, 1),
        (["lost", "ok"], False, 1, 1),
        (["lost", "lost", "kept", "ok"], False, 1, 3),
        (["mute"], False, 1, 1),
    ],
)
def test_a_job_is_looked_for_where_an_error_may_hide_a_success(monkeypatch, told, again, jobs, asked):
    monkeypatch.setenv("ORCH_PATIENCE", "30")
    queue = Queue(*told)
    assert COMMANDS.hand_over(queue.attempt, queue.find, again=again) == "1"
    assert (len(queue.jobs), queue.asked) == (jobs, asked)


def test_what_was_queued_before_is_not_handed_over_again():
    queue = Queue()
    queue.jobs = ["7"]
    assert COMMANDS.hand_over(queue.attempt, queue.find, again=True) == "7"


def test_the_last_try_may_have_been_heard(monkeypatch):
    monkeypatch.setenv("ORCH_PATIENCE", "0")
    queue = Queue("kept")
    assert COMMANDS.hand_over(queue.attempt, queue.find) == "1"
    with pytest.raises(UserError, match="busy"):
        COMMANDS.hand_over(Queue("lost").attempt, Queue().find)


def test_the_prologue_holds_warnings_off_and_the_command_still_gets_them(tmp_path):
    program = (
        "import os, signal\n"
        "signal.signal(signal.SIGUSR2, lambda *_: os.write(1, b'warned'))\n"
        "os.kill(os.getpid(), signal.SIGUSR2)"
    )
    lines = [
        *batch.prologue({"prologue": "export X=1\nkill -USR2 $$"}),
        batch.exec_line([sys.executable, "-c", program]),
    ]
    ran = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "warned")


def test_a_steward_asks_for_little():
    asked = batch.steward_resources(
        {
            "cpus": 8,
            "gpus": 2,
            "gpu_type": "a100",
            "memory": "64G",
            "time": "2d",
            "queue": "gpu",
            "account": "lab",
            "steward": {"queue": "cpu", "time": "5m", "account": None},
        }
    )
    assert {name: asked[name] for name in ("cpus", "gpus", "gpu_type", "memory", "time", "queue", "account")} == {
        "cpus": 1, "gpus": 0, "gpu_type": None, "memory": "2G", "time": "5m", "queue": "cpu", "account": "lab",
    }  # fmt: skip
