"""``status``, ``explain``, ``logs``, ``cancel``, ``retry`` and ``report`` on a study in every state."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator import identity
from orchestrator.errors import UserError
from orchestrator.states import RUN_STATES
from orchestrator.study.study import Study
from orchestrator.submit import submit
from orchestrator.view import table
from orchestrator.view.overview import observe
from tests.cli.conftest import Mixed
from tests.study.studies import FakeCluster, make_points, make_wanted, start

Orch = Callable[..., Result]


def parsed(result: Result) -> dict:
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_status_json_begins_as_documented_and_adds_up(mixed: Mixed, orch: Orch) -> None:
    status = parsed(orch("status", "mixed", "--json"))
    assert list(status)[:3] == ["schema", "study", "runs"]
    assert (status["schema"], status["study"]) == (1, "mixed")
    runs = status["runs"]
    assert list(runs) == ["total", *RUN_STATES]
    assert runs == {"total": 18, "done": 6, "live": 2, "waiting": 1, "failed": 6, "cancelled": 1, "lost": 2}
    assert sum(runs[state] for state in RUN_STATES) == runs["total"]
    assert status["done"] == {"finished": 5, "diverged": 1, "stopped": 0, "stale": 0}
    assert status["waiting"] == {"submitted": 0, "not_submitted": 1}
    assert status["live"] == {"running": 2, "queued": 0}
    for values in status["axes"].values():
        assert sum(counts[state] for counts in values.values() for state in RUN_STATES) == runs["total"]


def test_iterations_count_what_was_made(mixed: Mixed, orch: Orch) -> None:
    status = parsed(orch("status", "mixed", "--json"))
    # Six done count whole; six failed at 200, two lost at 100, two live at 400 and 500; the cancelled one not at all.
    assert status["iterations"] == 6 * 1000 + 6 * 200 + 2 * 100 + 900
    assert status["iterations_total"] == 17 * 1000


def test_failures_are_grouped_and_located(mixed: Mixed, orch: Orch) -> None:
    [failure] = parsed(orch("status", "mixed", "--json"))["failures"]
    assert failure["runs"] == 6
    assert failure["shared"] == {"layer": "nru"}
    assert failure["example"] == identity.to_text(mixed.runs[6])
    text = orch("status", "mixed").stdout
    assert "6 × user error: ValueError: no [layer] here" in text
    assert "all with layer=nru" in text


def test_status_is_short_and_aligned(mixed: Mixed, orch: Orch) -> None:
    lines = orch("status", "mixed").stdout.splitlines()
    assert len(lines) < 16
    assert lines[1].startswith("18 runs · 6 done (1 diverged) · 2 live · 1 waiting (not submitted) · 6 failed")
    head = next(line for line in lines if line.startswith("layer"))
    end = head.index("failed") + len("failed")
    row = next(line for line in lines if line.startswith("nru"))
    assert row[:end].endswith("6")
    assert "seed" not in head


def test_status_breaks_down_by_what_is_asked_for(mixed: Mixed, orch: Orch) -> None:
    axes = parsed(orch("status", "mixed", "--json", "--by", "seed", "--by", "rate"))["axes"]
    assert list(axes) == ["seed", "rate"]
    assert axes["rate"] == {"0.1": {"done": 6, "live": 2, "waiting": 1, "failed": 6, "cancelled": 1, "lost": 2}}


def test_one_query_per_cluster(mixed: Mixed) -> None:
    asked: list[int] = []

    class Scheduler:
        def poll(self, jobs: list) -> dict:
            asked.append(len(jobs))
            return dict.fromkeys((job.job_id for job in jobs), "running")

    overview = observe(mixed.study, lambda name: Scheduler())
    assert asked == [2]
    assert overview.runs["lost"] == 0


def test_a_scheduler_that_cannot_be_asked_kills_nobody(mixed: Mixed) -> None:
    def nobody(name: str) -> None:
        raise UserError("no answer")

    overview = observe(mixed.study, nobody)
    assert overview.unreachable == "no answer"
    assert overview.runs["lost"] == 0
    assert overview.runs["live"] == 4
    assert overview.exit_code == 3
    assert not overview.idle


def test_status_of_all_studies_has_a_line_each(mixed: Mixed, orch: Orch) -> None:
    lines = orch("status").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("mixed  18 runs")


def test_no_study_yet_says_where_to_begin(orch: Orch) -> None:
    done = orch("status")
    assert done.stdout == ""
    assert "orch init" in done.stderr


def test_explain_fits_on_a_screen(mixed: Mixed, orch: Orch) -> None:
    name = identity.to_text(mixed.runs[7])
    text = orch("explain", "mixed", "layer=nru", "seed=1").stdout
    assert text.startswith(f"{name}  failed: user error: ValueError: no [layer] here\nmend        mend the code")
    assert "labels      layer=nru, seed=1" in text
    assert "step        200 of 1,000, saved at 200" in text
    assert "1-1/1" in text
    assert "ValueError: no [layer] here" in text  # brackets are no markup
    assert len(text.splitlines()) < 24
    assert orch("explain", name[:6]).stdout == text  # found among all studies


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (0, "done: all its steps were made"),
        (5, "done: its own numbers went bad: a result"),
        (12, "lost: lost, 1 of 2 retries used"),
        (14, "live: a process trains it"),
        (16, "cancelled: on request"),
        (17, "waiting: no job has it yet"),
    ],
)
def test_explain_says_why(mixed: Mixed, orch: Orch, run: int, why: str) -> None:
    assert why in orch("explain", "mixed", identity.to_text(mixed.runs[run])).stdout


def test_explain_as_json(mixed: Mixed, orch: Orch) -> None:
    known = parsed(orch("explain", "mixed", identity.to_text(mixed.runs[15]), "--json"))
    assert known["schema"] == 1
    assert known["parameters"]["layer"] == "sparse"
    assert (known["step"], known["steps"], known["state"]) == (500, 1000, "live")
    assert [attempt["reached"] for attempt in known["attempts"]] == [500]


def test_logs_prints_what_the_process_wrote(mixed: Mixed, orch: Orch) -> None:
    for word in ("1-1", identity.to_text(mixed.runs[8]), "layer=nru"):
        done = orch("logs", "mixed", word)
        assert done.stdout == "a word on stdout\na word on stderr\n"
        assert done.stderr.count("==>") == 2


def test_logs_of_a_run_that_nobody_had(mixed: Mixed, orch: Orch) -> None:
    done = orch("logs", "mixed", identity.to_text(mixed.runs[17]))
    assert isinstance(done.exception, UserError)
    assert "no process has had this run yet" in str(done.exception)


def test_following_logs_ends_with_the_process(mixed: Mixed, orch: Orch) -> None:
    assert orch("logs", "mixed", "1-1", "-f").stdout == "a word on stdout\na word on stderr\n"


def test_cancel_orders_what_is_unfinished(mixed: Mixed, orch: Orch) -> None:
    done = orch("cancel", "mixed", "layer=sparse", "seed=5", "-n")
    assert "would cancel 1 run" in done.stderr
    assert mixed.study.history().last == 3
    assert parsed(orch("cancel", "mixed", "seed=5", "layer=sparse", "--json"))["cancelled"] == [
        identity.to_text(mixed.runs[17])
    ]
    assert observe(mixed.study).runs["cancelled"] == 2
    assert "nothing to cancel" in orch("cancel", "mixed", "layer=nmru").stderr


def test_retry_says_what_it_would_do(mixed: Mixed, orch: Orch) -> None:
    plan = parsed(orch("retry", "mixed", "-n", "--json"))
    assert plan["runs"]["retry"] == 8  # six failed, two lost
    assert plan["runs"]["cancelled"] == 1
    assert mixed.study.history().last == 3


def test_report_is_one_file_that_escapes_what_it_shows(mixed: Mixed, orch: Orch) -> None:
    mixed.study.figures.mkdir()
    (mixed.study.figures / "fig<1>.svg").write_text("<svg/>")
    path = orch("report", "mixed").stdout.strip()
    html = Path(path).read_text(encoding="utf-8")
    assert "data:image/svg+xml;base64," in html
    assert "fig&lt;1&gt;" in html
    assert "6 × user error" in html.replace("</b>", "").replace("<b>", "")
    assert "http" not in html
    assert orch("report", "mixed", "-o", "-").stdout.startswith("<!doctype html>")


def test_quantities() -> None:
    assert [table.quantity(n) for n in (0, 812, 999.6, 45_312, 9_000_000, 1.5e12)] == [
        "0",
        "812",
        "1 k",
        "45.3 k",
        "9 M",
        "1.5 T",
    ]
    assert [table.duration(s) for s in (0, 59.6, 61, 3599.9, 7500, 90_000)] == [
        "0s",
        "1m 00s",
        "1m 01s",
        "1h 00m",
        "2h 05m",
        "1d 1h",
    ]


def test_a_steward_that_goes_on_is_there_before_its_next_job_is(tmp_path: Path) -> None:
    study, cluster = Study.create(tmp_path, "s"), FakeCluster(kind="local")
    submit(study, make_wanted(make_points(2), resources={"lanes": 1}), cluster, clusters=cluster)
    [entry], [job] = study.chain(), study.jobs()
    for spec in entry.tasks:
        start(study, spec.name).write("end", reason="finished")
    cluster.states[job.job_id] = "running"
    study.publish(replace(entry, tag="next").numbered(entry.n + 1))
    assert not observe(study, cluster).idle
    cluster.states[job.job_id] = "gone"
    assert observe(study, cluster).idle
