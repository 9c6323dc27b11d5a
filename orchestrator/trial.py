"""One small job through a cluster's own machinery, to see what only a compute node can tell.

The job is a study of its own, with one run, in a folder that is thrown away: it is published, frozen, handed over and
served like any other, so that whatever stands in the way of real work stands in its way too.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from orchestrator import checks, units
from orchestrator.checks import Check
from orchestrator.errors import UserError
from orchestrator.experiment import Experiment, ExperimentParams
from orchestrator.study import atomic
from orchestrator.study.records import Job
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster, Evidence
    from orchestrator.grid import Resources
    from orchestrator.worker.handle import Run

FOLDER: Final = "_doctor"
"""Where trials are, among the studies: not a study itself, so that nobody lists it."""

FINDINGS: Final = "findings.json"

TASK: Final = "1-0"

LONGEST: Final = "10m"
"""The time slice of the job, where nothing asks for a shorter one: short jobs wait least."""

PAUSE: Final = 1.0
"""Seconds between two looks, at first; :data:`LONG_PAUSE` after a while."""

LONG_PAUSE: Final = 10.0

LAG: Final = 30.0
"""Seconds that a file system may take to show what an ended job wrote."""

TAIL: Final = 1000
"""Characters of a failed job's output that are quoted."""


class Trial(ExperimentParams):
    """What the job is told: where to leave its findings, and what it should find."""

    folder: str
    cluster: str
    kind: Literal["local", "slurm", "lsf"]
    gpus: int = 0


TRIAL = Experiment("trial", params=Trial, train="orchestrator.trial:train", form="run")


# --- on the compute node ----------------------------------------------------------------------------------------------


def train(run: Run) -> None:
    """Look around, and leave the findings in the study's folder."""
    told: Trial = run.params
    folder = Path(told.folder)
    found = list(_look(told, folder))
    findings = {
        "host": socket.gethostname(),
        "skew": checks.clock_skew(run.dir),
        "checks": [check._asdict() for check in found],
    }
    atomic.publish(folder / FINDINGS, json.dumps(findings).encode())


def _look(told: Trial, folder: Path) -> Iterator[Check]:
    asked = (lambda: checks.asked_gpus(told.gpus),) if told.gpus else ()
    for check in (checks.python, checks.torch, checks.compiler, checks.cores, *asked):
        yield check()
    yield checks.experiments(whole=True)
    yield from checks.scratch()
    yield from checks.studies(folder)
    if told.kind != "local":
        yield _submitting(told, Study(folder))


def _submitting(told: Trial, study: Study) -> Check:
    """Say whether a job may submit jobs: one that waits for this very job, as stewards do, and is cancelled at once."""
    from orchestrator.clusters import get_cluster
    from orchestrator.clusters.base import Part

    cluster = get_cluster(told.cluster, told.kind)
    here = cluster.here()
    if here is None:
        return Check("submitting", "missing", f"this process cannot tell which job of {told.kind} it is")
    k, _ = study.new_steward()
    try:
        steward = cluster.steward(study, k, study.submission(1).resources, [Job(1, 0, cluster.name, here.job_id)])
    except UserError as error:
        mend = "No steward can go on from here: what is left, and what fails, waits for your next `orch submit`"
        return Check("submitting", "note", f"{error} {mend}")
    if steward is not None:
        cluster.cancel([Part(steward)])
    return Check("submitting", "ok", "jobs may submit jobs: stewards go on by themselves")


# --- here -------------------------------------------------------------------------------------------------------------


class Report(NamedTuple):
    """What a trial found.

    Parameters
    ----------
    job, host
        The scheduler's id of the job, and the machine it ran on; empty if it never began.
    checks
        What was looked at.
    """

    job: str
    host: str
    checks: list[Check]


def send(cluster: Cluster, resources: Resources, root: Path, say: Callable[[str], None]) -> Report:
    """Send the job, wait for it, and clear up behind it.

    Parameters
    ----------
    cluster
        Where to.
    resources
        What a job asks for there; the time slice is shortened.
    root
        The folder of all studies.
    say
        Is told how it goes.

    Raises
    ------
    UserError
        If the job cannot be handed over.
    """
    study = Study.create(root / FOLDER, f"{cluster.name}-{secrets.token_hex(3)}")
    job: Job | None = None
    try:
        skew = checks.clock_skew(study.path)
        job = _hand_over(study, cluster, resources)
        say(f"job {job.job_id} of {cluster.name}, in {study.path}")
        findings = _wait(study, cluster, job, say)
    except BaseException:
        if job is not None:
            _cancel(cluster, job)
        _clear(study)
        raise
    if isinstance(findings, Check):
        return Report(job.job_id, "", [findings])
    _wait_for_end(cluster, job)
    _clear(study)
    found = [Check(**check) for check in findings["checks"]]
    # Each clock was compared with the file system's, so that nothing depends on how long the job waited.
    found.append(checks.clock("clock", str(findings["host"]), skew - findings["skew"]))
    return Report(job.job_id, str(findings["host"]), found)


def _hand_over(study: Study, cluster: Cluster, resources: Resources) -> Job:
    from dataclasses import replace

    from orchestrator.grid import expand, load
    from orchestrator.publish import publish
    from orchestrator.submit import Request, Result, desired, hand_over, prepare

    told = {"folder": str(study.path), "cluster": cluster.name, "kind": cluster.kind, "gpus": resources.gpus}
    grid = load(f"study: trial\nexperiment: orchestrator.trial:TRIAL\nset: {json.dumps(told)}\n")
    short = resources.time is not None and units.seconds(resources.time) < units.seconds(LONGEST)
    own = {"workers": 1, "lanes": 1, "retries": 0, "time": resources.time if short else LONGEST}
    grid = replace(grid, resources=resources.model_copy(update=own))
    wanted, result = desired(grid, expand(grid)), Result()
    result.plan = prepare(study, wanted, cluster, Request())
    if not result.plan.batches:
        raise UserError(f"{cluster.name} takes no more jobs of yours for now: try again when some have ended")
    for entry in publish(study, wanted, cluster, Request(), result):
        hand_over(study, entry, range(len(entry.arrays)), cluster, result)
    if result.errors:
        raise result.errors[0][2]
    return result.jobs[0]


def _wait(study: Study, cluster: Cluster, job: Job, say: Callable[[str], None]) -> dict[str, Any] | Check:
    """Wait for the findings; or for the end of a job that leaves none, and say why."""
    began = time.monotonic()
    pause, told, gone_at = PAUSE, "", None
    while True:
        if (study.path / FINDINGS).exists():
            findings: dict[str, Any] = json.loads((study.path / FINDINGS).read_bytes())
            return findings
        failure = _failure(study)
        states = cluster.poll([job]) if gone_at is None else {}
        if gone_at is None and states.get(job.element(0), states.get(job.job_id)) == "gone":
            gone_at = time.monotonic()
        if failure or (gone_at is not None and time.monotonic() - gone_at > LAG):
            return Check("job", "missing", failure or _end(study, cluster, job))
        word = _word(cluster, job) if gone_at is None else "ended"
        if word != told:
            say(f"{time.monotonic() - began:.0f} s: {word}")
            told = word
        time.sleep(pause)
        pause = min(LONG_PAUSE, pause * 1.2)


def _word(cluster: Cluster, job: Job) -> str:
    """Say in a few words how the job stands."""
    said = _evidence(cluster, job)
    if said is None:
        return "under way"
    return f"{said.word or said.state}{f': {said.why}' if said.why else ''}"


def _evidence(cluster: Cluster, job: Job) -> Evidence | None:
    from orchestrator.clusters.base import Part

    return cluster.evidence([Part(job, (0,))]).get(job.element(0))


def _failure(study: Study) -> str:
    """Return what the worker says of its failure; empty as long as it says nothing."""
    for log in study.incarnations(TASK):
        for failure in filter(None, log.failures):
            return str(failure.get("message", failure["class"]))
    return ""


def _end(study: Study, cluster: Cluster, job: Job) -> str:
    """Say what is known of a job that left no findings."""
    said = _evidence(cluster, job)
    why = f": {said.word}. {said.why}" if said is not None else ""
    log = study.log_path(job.n, job.array)
    output = log.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip() if log.exists() else ""
    return "\n".join(
        filter(
            None,
            [
                f"job {job.job_id} ended without findings{why}",
                *(said.details if said is not None else ()),
                f"it printed: {output}" if output else f"it printed nothing into {log}: does it see that folder?",
                f"what it left is in {study.path}",
            ],
        )
    )


def _cancel(cluster: Cluster, job: Job) -> None:
    from orchestrator.clusters.base import Part

    with contextlib.suppress(UserError):  # it ends by itself: the folder that it needs is gone
        cluster.cancel([Part(job)])
        _wait_for_end(cluster, job)


def _wait_for_end(cluster: Cluster, job: Job) -> None:
    """Wait until the job is gone, so that nothing writes into its folder any more."""
    deadline = time.monotonic() + LAG
    while time.monotonic() < deadline:
        states = cluster.poll([job])
        if states.get(job.element(0), states.get(job.job_id)) == "gone":
            return
        time.sleep(PAUSE / 2)


def _clear(study: Study) -> None:
    atomic.remove_folder(study.path)
    with contextlib.suppress(OSError):  # another trial is under way, or left its traces
        study.path.parent.rmdir()
