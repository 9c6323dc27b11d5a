"""Following a study: what is printed, when it stops, and how a rate comes about. No clock but the tests' own."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.view.live import block, follow
from orchestrator.view.overview import Overview
from orchestrator.view.progress import Meter

NOTHING: Any = {"done": 0, "live": 0, "waiting": 0, "failed": 0, "cancelled": 0, "lost": 0}


def overview(made: int, total: int = 4000, **runs: int) -> Overview:
    return Overview(
        study="s",
        path="",
        generation=1,
        experiment="e",
        cluster="local",
        runs={**NOTHING, **runs},
        done={"finished": runs.get("done", 0), "diverged": 0, "stopped": 0, "stale": 0},
        waiting={"submitted": 0, "not_submitted": 0},
        live={"running": runs.get("live", 0), "queued": 0},
        iterations=made,
        iterations_total=total,
        idle=False,
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watch(looks: list[Overview], *, terminal: bool, interval: float = 2.0) -> tuple[str, Overview]:
    clock, out, left = Clock(), io.StringIO(), iter(looks)
    console = Console(file=out, force_terminal=terminal, width=100, highlight=False, markup=False, color_system=None)
    last = follow(lambda: next(left), console, interval=interval, clock=clock, sleep=clock.sleep)
    assert next(left, None) is None, "it stopped early"
    return out.getvalue(), last


def test_plain_lines_when_a_count_changes_or_time_passes() -> None:
    looks = [
        overview(0, live=4),
        overview(100, live=4),
        overview(200, live=4),
        overview(1000, live=3, done=1),
        overview(4000, done=4),
    ]
    text, last = watch(looks, terminal=False)
    assert text.splitlines() == [
        "s  4 runs · 4 live  0 % of 4 k iterations",
        "s  4 runs · 1 done · 3 live  25 % of 4 k iterations · 167 it/s · 18s left",
        "s  4 runs · 4 done",
    ]
    assert last.finished
    assert last.exit_code == 0
    text, _ = watch([overview(0, live=4), overview(9, live=4), overview(4000, done=4)], terminal=False, interval=31)
    assert len(text.splitlines()) == 3


def test_a_terminal_is_redrawn_with_rate_and_time_left() -> None:
    text, _ = watch([overview(0, live=4), overview(2000, live=4), overview(4000, done=4)], terminal=True)
    assert "50 % of 4 k iterations · 1 k it/s · 2s left" in text
    assert "━" in text


@pytest.mark.parametrize("width", [80, 200])
def test_the_line_with_the_bar_is_never_folded(width: int) -> None:
    out = io.StringIO()
    looked = replace(overview(2000, live=4), rate=1480.0, seconds_left=2978.0)
    Console(file=out, width=width, color_system=None).print(block(looked, width))
    assert out.getvalue().splitlines()[0].rstrip().endswith("1.48 k it/s · 49m 38s left")


def test_failed_runs_end_the_watch_and_decide_the_exit_code() -> None:
    _, last = watch([overview(10, live=1), overview(10, failed=1)], terminal=False)
    assert last.exit_code == 1


def test_study_without_iterations_counts_runs() -> None:
    def counted(one: Overview) -> Overview:
        return replace(one, iterations=None, iterations_total=None)

    looks = [counted(overview(0, live=4)), counted(overview(0, live=2, done=2)), counted(overview(0, done=4))]
    text, _ = watch(looks, terminal=False)
    assert "2 done · 2 live  1 runs/s · 2s left" in text


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 10**9)), min_size=1, max_size=50))
def test_a_rate_is_positive_and_within_what_was_seen(steps: list[tuple[float, int]]) -> None:
    meter, now, made = Meter(), 0.0, 0
    fastest = 0.0
    meter.add(now, made)
    for seconds, amount in steps:
        now, made = now + seconds, made + amount
        fastest = max(fastest, amount / seconds)
        rate = meter.add(now, made)
        assert rate is None or 0 < rate <= fastest * (1 + 1e-6)


def test_a_rate_forgets_what_was_taken_back() -> None:
    meter = Meter()
    meter.add(0, 1000)
    assert meter.add(1, 2000) == 1000
    assert meter.add(2, 500) is None
    assert meter.add(3, 600) == 100
