"""Looking at a study and its schedulers: which tasks live, and what befell those that are gone without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import UserError
from orchestrator.states import JobState
from orchestrator.study.history import History
from orchestrator.study.records import Job, Submission
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster, Part

MOST_STEWARDS = 20
"""Only so many of a study's newest stewards are asked for: the others ended before these came."""

Clusters = Callable[[str], "Cluster"]


class Unread(UserError):  # noqa: N818  (an event that goes by)
    """What a study's processes wrote cannot be read just now: nobody may act as if they had written nothing."""


@dataclass(frozen=True)
class Look:
    """A study at one moment.

    Parameters
    ----------
    history
        What the study knows.
    states
        What the schedulers said of its jobs and stewards, by ``job_id`` or ``Job.element``.
    living
        Names of the tasks that a scheduler still has.
    """

    history: History
    states: Mapping[str, JobState]
    living: frozenset[str]


def look(study: Study, clusters: Clusters) -> Look:
    """Read a study, and ask each of its schedulers once about jobs and stewards that may not have ended.

    Parameters
    ----------
    study
        The study.
    clusters
        Finds a cluster by name.

    Raises
    ------
    Unread
        If a journal is there and cannot be read.
    UserError
        If a scheduler cannot be asked.
    """
    history = study.history()
    if history.unread:
        raise Unread(f"{history.unread[0]}; nothing is planned as long as it cannot be read. Give the command again")
    jobs = unfinished_jobs(study, history)
    # Without a job nobody needs a steward, nor to know of one.
    states = ask([*jobs, *list(study.stewards().values())[-MOST_STEWARDS:]] if jobs else [], clusters)
    return Look(history, states, frozenset(study.alive(history, states)))


def alive(study: Study, history: History, clusters: Clusters) -> set[str]:
    """Return the names of the tasks that a scheduler still has: one query per cluster that has unfinished jobs."""
    states = ask(unfinished_jobs(study, history), clusters)
    return study.alive(history, states)


def ask(jobs: Iterable[Job], clusters: Clusters) -> dict[str, JobState]:
    """Ask for the states of jobs: one query per cluster.

    Raises
    ------
    UserError
        If a scheduler cannot be asked.
    """
    queries: dict[str, list[Job]] = {}
    for job in jobs:
        queries.setdefault(job.cluster, []).append(job)
    states: dict[str, JobState] = {}
    for name, mine in queries.items():
        states.update(clusters(name).poll(mine))
    return states


def unfinished_jobs(study: Study, history: History) -> list[Job]:
    """Return the jobs of which not every task said that it ended."""
    return [job for job in study.jobs() if not history.ended.issuperset(task_names(study.submission(job.n), job.array))]


def task_names(entry: Submission, array: int) -> set[str]:
    """Return the names of an array's tasks."""
    return {spec.name for spec in entry.tasks_of(array)}


def busy(history: History) -> set[str]:
    """Return the names of the tasks that own a run which is neither finished nor cancelled."""
    return {record.task for record in history.runs.values() if record.owned}


# --- machines that cannot be asked ------------------------------------------------------------------------------------


class Elsewhere(NamedTuple):
    """What a process of another machine has in hand: that machine, its jobs by id, its tasks that have not ended."""

    host: str
    jobs: frozenset[str]
    tasks: frozenset[str]


def elsewhere(study: Study, history: History, states: Mapping[str, JobState]) -> dict[str, Elsewhere]:
    """Return what stewards of other machines have in hand: from here, nobody can say whether they live.

    Parameters
    ----------
    study, history
        The study.
    states
        What was said of its jobs.

    Returns
    -------
    dict[str, Elsewhere]
        By the process.
    """
    found: dict[str, Elsewhere] = {}
    for job in unfinished_jobs(study, history):
        entry = study.submission(job.n)
        if entry.scheduler != "local" or states.get(job.job_id) != "unknown":
            continue  # or it was recorded a moment ago, and nobody was asked about it
        process = job.job_id.partition("/")[0]
        before = found.get(process, Elsewhere(job.host or job.job_id.partition(":")[0], frozenset(), frozenset()))
        left = task_names(entry, job.array) - history.ended
        found[process] = before._replace(jobs=before.jobs | {job.job_id}, tasks=before.tasks | left)
    return found


# --- deaths without a word --------------------------------------------------------------------------------------------


class Silent(NamedTuple):
    """A task that is gone without a word: its job, its element there, and its last incarnation (0: none began)."""

    task: str
    job: Job
    element: int
    k: int


def silent(study: Study, seen: Look) -> list[Silent]:
    """Return the tasks that no scheduler has, that own unfinished runs, and that did not say why they ended."""
    owners = busy(seen.history)
    found = []
    for job in unfinished_jobs(study, seen.history):
        entry = study.submission(job.n)
        if entry.scheduler == "local" or job.array >= len(entry.arrays):
            continue  # a steward writes down itself what befalls its workers
        for index, spec in enumerate(entry.tasks_of(job.array)):
            if spec.name in owners and spec.name not in seen.living and spec.name not in seen.history.ended:
                last = max((log.k for log in study.incarnations(spec.name)), default=0)
                found.append(Silent(spec.name, job, index // entry.per_job, last))
    return found


def testify(study: Study, seen: Look, clusters: Clusters) -> bool:
    """Write down what the schedulers know of the deaths of tasks that could not say it themselves.

    Without it such a task counts as lost; with it, want of memory, a time limit or a dead node is told apart. Nothing
    depends on the answers: whoever has no accounting goes on without.

    Returns
    -------
    bool
        Whether the history is another one now.
    """
    told = False
    by_cluster: dict[str, list[Silent]] = {}
    for one in silent(study, seen):
        by_cluster.setdefault(one.job.cluster, []).append(one)
    for name, deaths in by_cluster.items():
        known = clusters(name).evidence(parts_of(deaths))
        for one in deaths:
            key = one.job.element(one.element)
            said = known.get(key)
            if said is not None and said.failure is not None and said.state == "gone":
                told |= study.testify(one.task, said.failure, after=one.k, job=key, why=said.why, node=said.node)
    return told


def parts_of(deaths: Sequence[Silent]) -> list[Part]:
    """Return the elements of tasks, job by job."""
    from orchestrator.clusters.base import Part

    elements: dict[str, tuple[Job, list[int]]] = {}
    for one in deaths:
        elements.setdefault(one.job.job_id, (one.job, []))[1].append(one.element)
    return [Part(job, tuple(dict.fromkeys(indices))) for job, indices in elements.values()]
