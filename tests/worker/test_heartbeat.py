"""The thread beside the training."""

import os
from types import SimpleNamespace

import pytest

from orchestrator.errors import UserError
from orchestrator.study.records import Submission
from orchestrator.worker import heartbeat as module
from orchestrator.worker.failures import Unrecorded, classify, normalise
from orchestrator.worker.heartbeat import Heartbeat
from tests.worker.helpers import eventually, plain_study


class Waiting:
    """Signals that come when the test says so."""

    def __init__(self):
        self.reader, self.writer = os.pipe()

    def wait(self, seconds):
        return bool(os.read(self.reader, 1))

    def wake(self):
        os.write(self.writer, b"!")


@pytest.fixture
def study(tmp_path):
    return plain_study(tmp_path, {}, [{}], code="")


@pytest.fixture
def beating(study):
    left = []
    made = Heartbeat(study, study.begin("1-0"), Waiting(), leave=left.append)
    made.left = left
    yield made
    made.end()


def test_it_beats_and_looks_when_woken(study, beating):
    beating.look()
    beating.start()
    assert beating.gone == frozenset()
    study.publish(Submission(2, "cancel", generation=1, cancel="all"))
    beating._signals.wake()
    eventually(lambda: beating.all_gone)
    assert eventually(lambda: study.heartbeat("1-0")[1]) >= 2


def test_who_does_not_leave_is_made_to(study, beating, monkeypatch):
    monkeypatch.setattr(module, "GRACE", -1.0)
    study.publish(Submission(2, "cancel", generation=1, cancel="all"))
    beating.start()
    eventually(lambda: beating.left == [0])
    assert study.incarnations("1-0")[0].end == "superseded"


def test_a_file_system_that_is_away_for_a_while_is_no_reason_to_stop(study, beating, caplog, monkeypatch):
    monkeypatch.setattr(module.LOG, "propagate", True)
    answers = iter([OSError(116, "Stale file handle"), OSError(116, "Stale file handle"), {0}])

    def superseded(*_):
        answer = next(answers, {0})
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(beating, "_study", SimpleNamespace(superseded=superseded))
    beating.look()
    beating.look()
    assert beating.gone == frozenset()
    assert len({id(record) for record in caplog.records if "Stale file handle" in record.message}) == 1
    beating.look()
    assert beating.all_gone


def test_the_heart_goes_on_whatever_goes_wrong_at_a_beat(study, beating):
    """A folder that vanishes while a program's files are searched must not make it deaf to all orders."""
    called = []

    def attend():
        called.append(1)
        raise FileNotFoundError(2, "No such file or directory")

    beating.start()
    with beating.attending(attend):
        eventually(lambda: called)
        study.publish(Submission(2, "cancel", generation=1, cancel="all"))
        beating._signals.wake()
        eventually(lambda: beating.all_gone and len(called) > 1)


def test_whoever_cannot_look_is_called(beating):
    called = []
    beating.start()
    with beating.attending(lambda: called.append(1)):
        eventually(lambda: called)
    beating._signals.wake()


# --- from exceptions to classes ---------------------------------------------------------------------------------------


class OutOfMemoryError(RuntimeError):
    """As torch has one."""


class InductorError(RuntimeError):
    """As torch has one."""


InductorError.__module__ = "torch._inductor.exc"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), "user error"),
        (UserError("mend it"), "user error"),
        (FileNotFoundError(2, "No such file"), "user error"),
        (MemoryError(), "oom"),
        (OutOfMemoryError("CUDA out of memory"), "oom"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "oom"),
        (OSError(28, "No space left on device"), "disk"),
        (OSError(116, "Stale file handle"), "node"),
        (Unrecorded("quota"), "disk"),
        (InductorError("C++ compile error"), "engine"),
    ],
)
def test_exceptions_have_a_class(error, kind):
    failure = classify(error)
    assert failure.kind == kind
    assert str(error) in failure.message
    assert bool(failure.traceback) == (not isinstance(error, (UserError, Unrecorded)))


def test_signatures_leave_out_what_differs():
    assert normalise("lane 3 at 0x7ffe:  loss 1.5e-3\n is bad") == "lane # at #: loss # is bad"
