"""What is done about failures that come again and again, from the scheduler's word to the sentence that people read."""

from __future__ import annotations

import pytest

from orchestrator import identity, submit
from orchestrator.clusters.base import Evidence
from orchestrator.study.study import Study
from tests.faults.forked import ForkCluster, copy, noisy, train
from tests.faults.inject import Mortal
from tests.faults.proof import proven, rows
from tests.study.studies import ids

WORDS = {
    "timeout": ("TIMEOUT", "it ends before its first checkpoint: ask for more time"),
    "lost": ("FAILED", "it dies without a word before its first checkpoint: see its stderr"),
    "oom": ("OUT_OF_MEMORY", "ask for more memory in the grid and submit it"),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A study of one run, which may be tried again twice; and its calm course."""
    study = noisy(tmp_path_factory.mktemp("one"), 1)
    calm = copy(study, tmp_path_factory.mktemp("calm"))
    ForkCluster("fake").adopt(calm)
    assert train(calm, "1-0").status == 0
    return study, rows(calm)


def strike(study: Study, cluster: ForkCluster, job: str, failure: str, at: int) -> bool:
    """Let a job begin, and die at one of its calls; the scheduler knows why. Returns whether it died."""
    n, array = cluster.jobs[job]
    study.take(n, array, job)
    ended = train(study, f"{n}-0", f"{job}_0", Mortal(study.path, at, "before"))
    cluster.states[job] = "gone"
    cluster.said = {f"{job}_0": Evidence(WORDS[failure][0], "gone", failure, "it said so")}
    return ended.status != 0


@pytest.mark.parametrize("failure", WORDS)
def test_what_never_gets_further_stops_with_a_reason(published, tmp_path, failure):
    study, cluster = copy(published[0], tmp_path), ForkCluster("fake")
    jobs, attempts = [cluster.adopt(study)], 0
    while jobs:
        assert strike(study, cluster, jobs[0], failure, 12)
        attempts += 1
        assert attempts < 9
        jobs = [job.job_id for job in submit.advance(Study(study.path), cluster, cluster).jobs]
    assert attempts == 3  # the first, and two retries
    (run,) = ids(study.generation().points)
    history = Study(study.path).history()
    record = history.runs[run]
    assert history.state(run, (), 2) == "failed"
    assert (record.failure, record.used) == (failure, {failure: 3})
    assert WORDS[failure][1] in explained(study, run)


@pytest.mark.parametrize("failure", ["timeout", "lost"])
def test_what_gets_further_every_time_goes_on_for_ever(published, tmp_path, failure):
    study, cluster = copy(published[0], tmp_path), ForkCluster("fake")
    jobs, deaths = [cluster.adopt(study)], 0
    while jobs:
        deaths += strike(study, cluster, jobs[0], failure, 75)
        assert deaths < 30
        jobs = [job.job_id for job in submit.advance(Study(study.path), cluster, cluster).jobs]
    assert deaths > 3
    proven(study, published[1])


def explained(study: Study, run: bytes) -> str:
    """Return what ``orch explain`` says of a run."""
    from click.testing import CliRunner

    from orchestrator.cli.main import cli

    said = CliRunner().invoke(cli, ["explain", str(study.path), identity.to_text(run)], catch_exceptions=False)
    return " ".join(said.output.split())
