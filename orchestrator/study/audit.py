"""Checking a study's history: that no run was lost, and none trained twice, proved from chain and journals alone.

Nothing here is needed to go on with a study; it reads what everybody else wrote and looks for contradictions. No clock
is consulted: what two processes did at the same time is judged by who was entitled to do it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from orchestrator import identity
from orchestrator.states import OUTCOMES
from orchestrator.study.history import History
from orchestrator.study.journal import IncarnationLog, columns
from orchestrator.study.records import Submission
from orchestrator.study.spans import from_spans
from orchestrator.study.study import Study

BEGINNING = 0
"""Whoever begins at this step or before it begins from nothing."""

Fault = Literal["chain", "owner", "gap", "twice", "lost", "series", "damage"]
"""What can be wrong.

``chain``: entries are missing or contradict their files. ``owner``: a process worked on an array that another job had
taken. ``gap``: a run went on from a step that nobody saved, so a stretch of its series has no origin. ``twice``: a
run that had a result began again although nobody asked for that, which is in order only if the result came too late:
its attempt was superseded already, on a node that was cut off, say. Only one of them counts in any case. ``lost``: a
run that the grid asks for is in no state. ``series``: the exported series of a finished run has a hole, or two rows
where there should be one, or ends before its verdict (``export.check``). ``damage``: something cannot be read.
"""


class Finding(NamedTuple):
    """A contradiction: what kind, where (a task's incarnation, an entry, a run), and the sentence."""

    fault: Fault
    place: str
    text: str

    @property
    def certain(self) -> bool:
        """Whether it cannot be in order."""
        return self.fault != "twice"


class Audit(NamedTuple):
    """What was found, and how much was looked at.

    Parameters
    ----------
    findings
        Empty if every run's series can be traced, without a gap and by entitled processes only, from its first step to
        where it stands.
    runs, attempts
        Runs that the grid asks for or asked for, and attempts on them: each time that a process began a run.
    """

    findings: list[Finding]
    runs: int
    attempts: int


@dataclass
class _Course:
    """What counts of a run so far: steps that can be gone on from, and who finished it."""

    saved: set[int] = field(default_factory=set)
    finished: str = ""


def audit(study: Study, history: History | None = None) -> list[Finding]:
    """Look for contradictions in what a study's processes wrote; see :func:`inspect`."""
    return inspect(study, history).findings


def inspect(study: Study, history: History | None = None) -> Audit:
    """Look for contradictions in what a study's processes wrote.

    Parameters
    ----------
    study
        The study.
    history
        What is known of it; read anew by default.
    """
    history = history or study.history()
    findings = [Finding("damage", damage.file, str(damage)) for damage in history.damaged]
    chain = study.chain()
    findings += _chain(chain, history)
    owners = {(entry.n, array): study.owner(entry.n, array) for entry in chain for array in range(len(entry.arrays))}
    courses: dict[bytes, _Course] = defaultdict(_Course)
    attempts = 0
    for entry in chain:
        if entry.kind != "submit":
            continue
        generation = study.generation(entry.generation)
        if generation is None:
            findings.append(Finding("chain", f"submission {entry.n}", f"generation {entry.generation} is not there"))
            continue
        rerun = frozenset(from_spans(entry.rerun))
        for index, spec in enumerate(entry.tasks):
            positions = spec.indices()
            runs = [generation.runs[position] for position in positions]
            for run in (generation.runs[position] for position in positions if position in rerun):
                courses[run] = _Course()
            logs = study.incarnations(spec.name)
            findings += _numbers(spec.name, logs)
            owner = owners[entry.n, entry.array_of(index)]
            for log in logs:
                unheard = (damage for damage in log.damage if damage not in history.damaged)  # of a task that is over
                findings += [Finding("damage", damage.file, str(damage)) for damage in unheard]
                attempts += sum(step is not None for step in log.begun)
                findings += _owner(log, owner)
                findings += _course(log, runs, courses)
    newest = study.generation()
    known = history.runs.keys() | set(newest.runs if newest is not None else ())
    return Audit([*findings, *_lost(study, history, courses)], len(known), attempts)


def _chain(chain: Iterable[Submission], history: History) -> Iterator[Finding]:
    known = {entry.n for entry in chain}
    for n in range(1, history.last + 1):
        if n not in known:
            yield Finding("chain", f"submission {n}", "this entry of the chain is missing or cannot be read")


def _numbers(task: str, logs: Iterable[IncarnationLog]) -> Iterator[Finding]:
    for expected, log in enumerate(logs, 1):
        if log.k != expected:
            yield Finding("chain", f"task {task}", f"incarnation {expected} is missing before incarnation {log.k}")
            return


def _owner(log: IncarnationLog, owner: str | None) -> Iterator[Finding]:
    """Look whether a process worked for the job that took the array; a witness only says what it saw."""
    job = str(log.begin.get("job", ""))
    if not job or log.begin.get("witness"):
        return
    if owner is None or not _same_job(job, owner):
        whose = f"job {owner}" if owner else "nobody"
        yield Finding(
            "owner", f"task {log.task}/{log.k}", f"job {job} worked on it, and its array was taken by {whose}"
        )


def _same_job(job: str, owner: str) -> bool:
    """Elements bear their array's id and ``_<element>``; the arrays of one steward its id and ``/<n>.<array>``."""
    return job.partition("/")[0] == owner.partition("/")[0] or job.rpartition("_")[0] == owner


def _course(log: IncarnationLog, runs: list[bytes], courses: Mapping[bytes, _Course]) -> Iterator[Finding]:
    place = f"task {log.task}/{log.k}"
    written: dict[int, set[int]] = defaultdict(set)
    for record in log.course:
        for lane, step in columns(record):
            course = courses[runs[lane]]
            if "file" in record:
                course.saved.add(step)
                written[lane].add(step)
                continue
            name = identity.to_text(runs[lane])
            if course.finished and lane not in written:
                yield Finding("twice", place, f"run {name} began again from step {step}; {course.finished} finished it")
            if step > BEGINNING and step not in course.saved:
                yield Finding(
                    "gap", place, f"run {name} went on from step {step}, which no checkpoint that counts holds"
                )
            course.finished = ""
            course.saved = {saved for saved in course.saved if saved <= step}
    for lane, verdict in enumerate(log.verdicts):
        if verdict is not None:
            courses[runs[lane]].finished = f"task {log.task}/{log.k}"


def _lost(study: Study, history: History, courses: Mapping[bytes, _Course]) -> Iterator[Finding]:
    """Compare the history that everybody goes by with the courses that were traced here."""
    generation = study.generation()
    for run in dict.fromkeys(generation.runs) if generation is not None else ():
        record, course = history.runs.get(run), courses.get(run)
        done = record is not None and record.outcome in OUTCOMES
        if done and not (course and course.finished):
            yield Finding(
                "lost", f"run {identity.to_text(run)}", "it counts as done, and no attempt that counts finished it"
            )
        if course and course.finished and not done:
            text = f"{course.finished} finished it, and it does not count as done"
            yield Finding("lost", f"run {identity.to_text(run)}", text)
