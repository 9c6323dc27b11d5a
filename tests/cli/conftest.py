"""A small study in every state at once, made with the real Study; this process plays the steward of its last job."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli.main import cli
from orchestrator.clusters.local import job_id
from orchestrator.study.records import Job, Submission, TaskSpec
from orchestrator.study.spans import to_spans
from orchestrator.study.study import Study
from tests.study.studies import ids, make_info, make_points, save, start

GONE = "nowhere:1:1"


@dataclass
class Mixed:
    """3 layers × 6 seeds: ``nmru`` is done but for one diverged, ``nru`` failed alike, ``sparse`` is in between."""

    study: Study
    runs: list[bytes]
    points: Any

    @property
    def root(self) -> str:
        return str(self.study.path.parent)


def submit(study: Study, *tasks: range, job: str | None, source: str = "s1", **fields: Any) -> Submission:
    n = study.history().last + 1
    specs = tuple(TaskSpec(f"{n}-{i}", to_spans(task), len(task)) for i, task in enumerate(tasks))
    arrays = ((0, len(specs)),)
    entry = study.publish(
        Submission(n, generation=1, cluster="local", source=source, tasks=specs, arrays=arrays, **fields)
    )
    if job is not None:
        study.record_job(n, 0, Job(n, 0, "local", job))
    return entry


@pytest.fixture
def mixed(tmp_path: Path) -> Mixed:
    study = Study.create(tmp_path / "runs", "mixed")
    points = make_points(seeds=6, layers=("nmru", "nru", "sparse"), steps=1000)
    info = make_info(resources={"lanes": "auto", "workers": 1, "retries": 2, "cluster": "local"})
    study.publish_generation("study: mixed\n", info, points)
    submit(study, range(6), range(6, 12), range(12, 14), job=f"{os.uname().nodename}:1:1")  # a process that is gone

    good = start(study, "1-0")
    good.write("verdict", lanes=range(5), outcome="done", steps=1000)
    good.write("verdict", lanes=[5], outcome="diverged", steps=300)
    good.write("end", reason="finished")
    good.close()

    bad = start(study, "1-1")
    save(bad, 200)
    words = {"message": "ValueError: no [layer] here", "traceback": "Traceback\nValueError: no [layer] here"}
    bad.write("failed", lanes=range(6), **{"class": "user error", "signature": "ValueError: no", **words})
    bad.write("end", reason="user error")
    bad.stderr.write_text("a word on stderr\n")
    bad.stdout.write_text("a word on stdout\n")
    bad.close()

    lost = start(study, "1-2")
    lost.write("progress", lanes=[0, 1], steps=100)
    lost.close()

    submit(study, range(14, 16), job=job_id(os.getpid()))
    live = start(study, "2-0")
    live.write("progress", lanes=[0, 1], steps=[400, 500])
    live.close()
    runs = ids(points)
    from orchestrator import identity

    study.publish(Submission(3, "cancel", generation=1, cancel=(identity.to_text(runs[16]),)))
    return Mixed(study, runs, points)


@pytest.fixture
def orch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call a command in this process, in an empty folder, with studies in its ``runs``."""
    for name in [name for name in os.environ if name.startswith("ORCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **options: Any) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words], standalone_mode=False, **options)

    return call
