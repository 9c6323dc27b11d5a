"""Who goes on with a study by itself, what they wait for, and what a probe said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator import identity, probe
from orchestrator.liveness import task_names
from orchestrator.states import JobState
from orchestrator.study.history import History
from orchestrator.study.records import Job
from orchestrator.study.study import Study


@dataclass(frozen=True)
class Steward:
    """The job that submits what is next, tries again what failed, and finally exports and draws.

    Parameters
    ----------
    number
        Which one of the study; its output is in ``steward/<number>/``.
    cluster, job, state
        Where it is, its job id there, and what the scheduler says of it.
    says
        What it does or waits for, in a few words.
    """

    number: int
    cluster: str
    job: str
    state: JobState
    says: str


@dataclass(frozen=True)
class Probe:
    """What a probe, if it was the last that was submitted, means for the rest.

    Parameters
    ----------
    state
        ``open`` while it is not known.
    run, message
        Of a run that failed.
    memory
        What a task should ask for, as a grid writes it; empty if that is not known.
    again
        How many runs are to be trained again and wait for its outcome.
    """

    state: Literal["open", "passed", "failed"]
    run: str = ""
    message: str = ""
    memory: str = ""
    again: int = 0


def find_steward(study: Study, states: Mapping[str, JobState], alive: Sequence[str]) -> Steward | None:
    """Find the newest steward that is not gone.

    Parameters
    ----------
    study
        The study.
    states
        What the schedulers said of its jobs and stewards.
    alive
        Names of the tasks that a scheduler has.
    """
    living = set(alive)
    for number, job in reversed(study.stewards().items()):
        state = states.get(job.job_id, "unknown")
        if state != "gone":
            return Steward(number, job.cluster, job.job_id, state, _says(study, state, job, living))
    chain = {entry.n: entry for entry in study.chain()}
    for job in reversed(study.jobs()):  # on one machine the jobs are stewards themselves
        if job.n in chain and chain[job.n].scheduler == "local" and states.get(job.job_id) == "running":
            count = len(living)
            says = f"has {count} task{'s' * (count != 1)} in hand" if count else "exports and draws"
            return Steward(job.n, job.cluster, job.job_id, "running", says)
    return None


def _says(study: Study, state: JobState, steward: Job, living: set[str]) -> str:
    if state == "running":
        return "submits what is next, or exports and draws"
    if state == "unknown":
        return "its scheduler does not know it"
    jobs = [job for job in study.jobs() if job.cluster == steward.cluster]
    busy = [job.job_id for job in jobs if task_names(study.submission(job.n), job.array) & living]
    awaited = [str(job_id) for job_id in steward.extra.get("after", busy)]
    awaited = [job_id for job_id in awaited if job_id in busy]
    if not awaited:
        return "in the queue"
    more = len(awaited) - 3
    return f"waits for the end of job{'s' * (len(awaited) > 1)} {', '.join(awaited[:3])}" + (
        f" and {more} more" if more > 0 else ""
    )


def find_probe(study: Study, history: History) -> Probe | None:
    """Say what the last submission means for the rest, if it was a probe."""
    found = probe.verdict(study, history)
    again = sum(record.ordered is not None for record in history.runs.values()) if found is not None else 0
    if isinstance(found, probe.Failed):
        return Probe("failed", identity.to_text(found.run), found.message, again=again)
    if isinstance(found, probe.Passed):
        return Probe("passed", memory=probe.memory(found) if found.memory_bytes else "", again=again)
    return Probe("open", again=again) if found is not None else None


def probe_line(name: str, known: Probe) -> str:
    """Say in a sentence where a probe stands, and what to do about it."""
    if known.state == "failed":
        last = (known.message.strip().splitlines() or ["it failed"])[-1]
        count = f"{known.again} run{'s' * (known.again != 1)} to be trained again wait{'s' * (known.again == 1)}"
        held = f". {count} for that; `orch cancel {name}` takes it back"
        return (
            f"the probe failed, and nothing else was submitted: {last} (run {known.run}). Mend it, then "
            f"`orch retry {name}`; or submit without --probe{held if known.again else ''}"
        )
    if known.state == "passed":
        measured = f": a task needs {known.memory} of memory" if known.memory else ""
        return f"the probe passed{measured}; the rest comes next"
    return "the probe is not over; the rest comes after it"
