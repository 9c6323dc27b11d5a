"""The tables of states, failures and scheduler words are whole and agree with each other."""

from __future__ import annotations

from typing import get_args

import pytest

from orchestrator.policy import RULES, TRANSIENT, decide
from orchestrator.recorder import Outcome as RecordedOutcome
from orchestrator.states import (
    END_REASONS,
    FAILURE_CLASSES,
    LSF_TERMINATION,
    OUTCOMES,
    SCHEDULER_WORDS,
    JobState,
    failure_of,
    read_word,
)


def test_outcomes_are_those_of_the_recorder():
    assert get_args(RecordedOutcome) == OUTCOMES


def test_every_failure_class_has_a_rule_and_every_rule_a_class():
    assert set(RULES) == set(FAILURE_CLASSES)
    assert {"timeout", "preempted", "node", "disk", "lost"} == TRANSIENT


def test_words_mean_known_states_and_classes():
    for words in SCHEDULER_WORDS.values():
        for word in words.values():
            assert word.state in get_args(JobState)
            assert word.failure is None or word.failure in FAILURE_CLASSES
    assert set(LSF_TERMINATION.values()) <= set(FAILURE_CLASSES)
    assert {failure for failure in END_REASONS.values() if failure} <= set(FAILURE_CLASSES)


@pytest.mark.parametrize(
    ("kind", "word", "state", "failure"),
    [
        ("slurm", "CANCELLED by 1000", "gone", "preempted"),
        ("slurm", "CANCELLED+", "gone", "preempted"),
        ("slurm", "OUT_OF_MEMORY", "gone", "oom"),
        ("slurm", "PREEMPTED", "unknown", "preempted"),  # it may come back
        ("slurm", "COMPLETING", "running", None),
        ("slurm", "A_WORD_OF_THE_FUTURE", "unknown", None),
        ("lsf", "UNKWN", "unknown", None),  # the host is away, the job may be alive
        ("lsf", "SSUSP", "running", None),
        ("lsf", "ZOMBI", "gone", "node"),
        ("pbs", "Q", "unknown", None),
        ("slurm", "", "unknown", None),
    ],
)
def test_scheduler_words(kind, word, state, failure):
    assert read_word(kind, word) == (state, failure)


def test_an_unknown_reason_is_a_loss():
    assert failure_of("something else") == "lost"
    assert failure_of("requeued") is None


@pytest.mark.parametrize(
    ("failure", "times", "action"),
    [
        ("user error", 1, "stop"),
        ("diverged", 1, "stop"),
        ("oom", 1, "escalate"),
        ("oom", 2, "escalate"),
        ("oom", 3, "stop"),
        ("timeout", 2, "retry"),
        ("timeout", 3, "stop"),
        ("preempted", 20, "retry"),
        ("preempted", 21, "stop"),
        ("node", 5, "retry"),
        ("lost", 3, "stop"),
        ("engine", 2, "retry"),
    ],
)
def test_decisions(failure, times, action):
    decision = decide(failure, {failure: times}, retries=2)
    assert decision.action == action
    assert failure in decision.why


def test_no_retries_means_none():
    assert decide("lost", {"lost": 1}, retries=0).action == "stop"
