"""Somebody else's program as a run."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.worker import command
from tests.worker.helpers import command_study, eventually, interrupt, series, start_worker, stderr, work

PROGRAM = """
import os, sys, time
sys.path.insert(0, os.environ["ORCH_TEST_HOME"])
import numpy as np
from pathlib import Path
from orchestrator.worker.events import EventFiles
options = dict(word.split("=", 1) for word in sys.argv[1:])
folder = Path(options["name"])
parts = options.get("parts", "").split(",")
files = EventFiles(lambda lane: folder / "logs" / parts[lane] / "events.out.tfevents.123.host.1.0")
for lane in range(len(parts)): files.begin(lane, 0)
for step in range(int(options.get("steps", 5))):
    for lane in range(len(parts)): files.add([lane], [step], ["total"], np.full((1, 1), lane + float(options["alpha"])))
    files.flush()
    time.sleep(float(options.get("pause", 0)))
print("said", options["alpha"])
if "fail" in options:
    print("it went wrong", file=sys.stderr)
    sys.exit(int(options["fail"]))
if "kill" in options: os.kill(os.getpid(), 9)
"""
TEMPLATE = "python train.py alpha=${alpha} name=${run.dir}"
FILES = {"train.py": PROGRAM}


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("ORCH_TEST_HOME", str(Path(__file__).parents[2]))


def log_of(study, task="1-0"):
    return study.incarnations(task)[-1]


def test_a_program_is_started_and_its_events_found(tmp_path):
    study = command_study(tmp_path, TEMPLATE, [{"alpha": 0.5}], files=FILES)
    assert work(study) == 0
    assert (log_of(study).verdicts, log_of(study).end) == ([("done", 4)], "finished")
    [run] = study.task("1-0").runs
    assert series(study, run) == [(step, 0.5) for step in range(5)]
    assert [path.name for path in study.events_dir(run).iterdir()] == ["events.out.tfevents.0000100001.1-0.1"]
    assert (study.task_path("1-0", 1) / "stdout").read_text() == "said 0.5\n"


def test_event_files_of_several_folders_stay_apart(tmp_path):
    study = command_study(tmp_path, TEMPLATE + " parts=train,test", [{"alpha": 0.5}], files=FILES)
    assert work(study) == 0
    [run] = study.task("1-0").runs
    name = "events.out.tfevents.0000100001.1-0.1"
    found = {
        str(path.relative_to(study.events_dir(run))) for path in study.events_dir(run).rglob("*") if path.is_file()
    }
    assert found == {f"train/{name}", f"test/{name}"}


def test_events_are_seen_while_the_program_runs(tmp_path):
    study = command_study(tmp_path, TEMPLATE + " pause=0.02 steps=100000", [{"alpha": 1}], files=FILES)
    [run] = study.task("1-0").runs
    worker = start_worker(study, "1-0")
    eventually(lambda: list(study.task_path("1-0", 1).rglob("events.out.*")))
    os.kill(worker.pid, signal.SIGUSR1)
    eventually(lambda: study.events_dir(run).exists() and len(series(study, run)) > 1)
    interrupt(study, worker)
    assert log_of(study).end == "interrupted"
    assert log_of(study).verdicts == [None]


def test_a_stop_reaches_all_that_a_program_started(tmp_path):
    files = {"run.sh": "sleep 1000 & echo $! > $1/child; echo $$ > $1/self; wait\n"}
    study = command_study(tmp_path, "sh run.sh ${run.dir}", [{}], files=files)
    worker = start_worker(study, "1-0")
    folder = study.task_path("1-0", 1) / "run-0"
    eventually(lambda: (folder / "self").exists() and (folder / "self").read_text())
    pids = [int((folder / name).read_text()) for name in ("child", "self")]
    interrupt(study, worker)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert log_of(study).end == "interrupted"


def test_a_program_that_is_over_cannot_be_asked_to_end(tmp_path):
    """A stop that comes while its last files are gathered must not undo what it did."""
    program = command.Program(["true"], tmp_path, None, lambda *_: tmp_path, {})
    assert program.wait() == 0
    assert not program.ask_to_end()
    slow = command.Program(["sleep", "1000"], tmp_path, None, lambda *_: tmp_path, {})
    assert slow.ask_to_end()
    assert slow.wait() == -signal.SIGTERM
    assert slow.ask_to_end()


def test_trouble_in_starting_one_program_is_not_the_others_fault(tmp_path):
    rows = [{"alpha": "x" * 200_000}, {"alpha": "y"}]  # longer than any system lets a word be
    study = command_study(tmp_path, "test -n ${alpha}", rows, tasks=[[0, 1]])
    assert work(study) == 0
    log = log_of(study)
    assert "Argument list too long" in log.failures[0]["message"]
    assert log.verdicts[1] == ("done", -1)


def test_a_program_dies_with_its_worker(tmp_path):
    study = command_study(
        tmp_path, "sh run.sh ${run.dir}", [{}], files={"run.sh": "echo $$ > $1/self; exec sleep 1000\n"}
    )
    worker = start_worker(study, "1-0")
    path = study.task_path("1-0", 1) / "run-0" / "self"
    eventually(lambda: path.exists() and path.read_text())
    interrupt(study, worker, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{int(path.read_text())}").exists())


def test_the_end_of_a_slice_has_the_task_started_again(tmp_path):
    study = command_study(tmp_path, "sleep 1000", [{}])
    worker = start_worker(study, "1-0")
    eventually(lambda: study.incarnations("1-0") and study.incarnations("1-0")[0].restored == [-1])
    interrupt(study, worker, signal.SIGUSR2)
    assert log_of(study).end == "timeout"  # a program that we cannot checkpoint got nowhere


@pytest.mark.parametrize(
    ("template", "kind", "said"),
    [
        (TEMPLATE + " fail=3", "user error", "the command exited with status 3: it went wrong"),
        (TEMPLATE + " kill=1", "lost", "the command was killed"),
        ("sh -c 'exit 137'", "lost", "the command was killed"),
        ("sh -c 'kill -SEGV $$'", "user error", "the command was ended by signal SIGSEGV"),
        ("no-such-program ${alpha}", "user error", "program 'no-such-program' is not found"),
        ("./nowhere ${alpha}", "user error", "program './nowhere' is not found"),
        ("echo ${beta}", "user error", "the command names ${beta}, which is no parameter of the run"),
        ("echo 'x", "user error", "the command cannot be read: No closing quotation"),
    ],
)
def test_what_goes_wrong_is_said(tmp_path, template, kind, said):
    study = command_study(tmp_path, template, [{"alpha": 0.5}], files=FILES)
    assert work(study) == 0
    [failure] = log_of(study).failures
    assert failure["class"] == kind
    assert said in failure["message"]
    assert "Traceback" not in stderr(study)


def test_python_is_the_interpreter_of_the_worker(tmp_path):
    study = command_study(tmp_path, "python -c 'import sys; print(sys.executable)'", [{}])
    assert work(study) == 0
    said = (study.task_path("1-0", 1) / "stdout").read_text().strip()
    assert Path(said).resolve() == Path(sys.executable).resolve()


@settings(deadline=None)  # the first example imports
@given(st.dictionaries(st.sampled_from(["a", "b.c", "d"]), st.text() | st.integers() | st.booleans(), min_size=3))
def test_a_value_is_never_more_or_less_than_a_part_of_its_word(leaves):
    text = "prog x=${a} '${b.c} y' $${a} ${d}${d}"
    found = command.words(text, leaves, "id", Path("/dir"))
    spelled = {name: v if isinstance(v, str) else str(v).lower() for name, v in leaves.items()}
    assert found == ["prog", f"x={spelled['a']}", f"{spelled['b.c']} y", "${a}", spelled["d"] * 2]


def test_the_runs_own_names_are_filled_in():
    assert command.words("a ${run.id} ${run.dir}/x", {}, "abc", Path("/d d")) == ["a", "abc", "/d d/x"]


def test_an_empty_command_is_a_sentence():
    with pytest.raises(UserError, match="the command is empty"):
        command.words("  ", {}, "abc", Path("/d"))


def test_who_is_killed_while_memory_runs_out_was_killed_for_it(tmp_path):
    said = tmp_path / "stderr"
    said.write_text("before\nits last words\n")
    hungry = command.failure(-signal.SIGKILL, said, 7, starved=True)
    assert (hungry.kind, hungry.message) == ("oom", "the command was killed for want of memory\nits last words")
    assert command.failure(128 + signal.SIGKILL, said, 7, starved=True).kind == "oom"
    assert command.failure(-signal.SIGKILL, said, 7).kind == "lost"
    assert command.failure(3, said, 7, starved=True).kind == "user error"
