"""Everything there is to know of one run, on one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from orchestrator import identity, policy
from orchestrator.errors import UserError
from orchestrator.liveness import Clusters
from orchestrator.states import RunState
from orchestrator.study.history import RunRecord
from orchestrator.study.records import Job
from orchestrator.study.study import Study
from orchestrator.view.attempts import Attempt, attempts, last_words
from orchestrator.view.breakdown import hint, reason
from orchestrator.view.overview import living
from orchestrator.view.provenance import Provenance, provenance
from orchestrator.view.provenance import lines as provenance_lines
from orchestrator.view.steward import Probe, Steward, find_probe, find_steward, probe_line
from orchestrator.view.table import STYLES, duration, memory, number, steward_line, table

if TYPE_CHECKING:
    from orchestrator.clusters.base import Evidence


@dataclass(frozen=True)
class Place:
    """Where the run was handed over.

    Parameters
    ----------
    cluster, scheduler
        The cluster's name and kind.
    job, element, key
        The scheduler's id of the array, which element of it, counted from 0, and what the scheduler calls that.
    log
        What the elements of the array print before a worker begins.
    memory
        What one job asked for, as the grid writes it; empty if it asked for nothing.
    per_job
        How many tasks share it.
    """

    cluster: str
    scheduler: str
    job: str
    element: int
    key: str
    log: str
    memory: str
    per_job: int


@dataclass(frozen=True)
class Said:
    """What the scheduler says of that element: its own word, a sentence, and further facts."""

    word: str
    why: str
    details: Sequence[str]


@dataclass(frozen=True)
class Explanation:
    """A run and what became of it.

    Parameters
    ----------
    run, state, why
        Its id, its state, and the sentence that says why.
    mend
        What to do about it; empty if there is nothing to be done.
    labels, parameters
        One mapping of labels for each point that is this run; the resolved parameters.
    step, steps, saved
        The last step known, how many there are to be, and the newest checkpoint's.
    lane, beside
        Its lane in its task, and how many runs train there.
    place
        Where it was handed over, if it was.
    said
        What the scheduler says of it, if it says anything.
    steward, probe
        Who goes on with the study, and what a probe said.
    attempts
        In the order of ownership.
    provenance
        What the last of them ran: the sources, the packages, the machine; None if none began.
    tail, tail_of
        The end of what was written before it failed, and in which file that is; empty for a traceback.
    events
        The folder of its event files.
    """

    study: str
    run: str
    state: RunState
    why: str
    mend: str
    labels: Sequence[Mapping[str, str]]
    parameters: Mapping[str, Any]
    step: int | None
    steps: int | None
    saved: int | None
    task: str
    lane: int
    beside: int
    place: Place | None
    said: Said | None
    steward: Steward | None
    probe: Probe | None
    attempts: Sequence[Attempt]
    provenance: Provenance | None
    tail: str
    tail_of: str
    events: str

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as ``orch explain --json`` prints it."""
        return {"schema": 1, **asdict(self)}


def explain(study: Study, run: bytes, clusters: Clusters | None = None) -> Explanation:
    """Gather what is known of a run of the newest grid.

    Parameters
    ----------
    study, run
        The study, and the raw id.
    clusters
        Finds a cluster by name; the installed ones by default. The run's own is asked for evidence.

    Raises
    ------
    UserError
        If the grid does not ask for it.
    """
    from orchestrator.clusters import clusters_of

    generation = study.generation()
    positions = [i for i, other in enumerate(generation.runs) if other == run] if generation else []
    if generation is None or not positions:
        raise UserError(f"the grid of study {study.name!r} has no run {identity.to_text(run)}")
    clusters = clusters or clusters_of(study)
    history = study.history()
    alive, states, unreachable = living(study, history, clusters)
    retries = int(generation.info["resources"].get("retries", 2))
    state, record = history.state(run, alive, retries), history.runs.get(run, RunRecord())
    tried, failed = attempts(study, run)
    parameters = generation.points.params(positions[0])
    steps = parameters.get(generation.info.get("steps") or "")
    handed = record.n > 0 and record.task not in history.unhanded
    job = _job(study, record) if handed else None
    place = _place(study, record, job) if job is not None else None
    asked = place is not None and state != "done" and place.scheduler != "local" and unreachable is None
    said = _said(clusters, job, place) if asked and job is not None and place is not None else None
    steward, probe = find_steward(study, states, sorted(alive)), find_probe(study, history)
    why = _why(state, record, retries, probe, submitted=handed)
    ended = record.failure is not None or state == "lost" or (state == "live" and not tried)
    tail, tail_of = last_words(failed, tried, place.log if place is not None else None) if ended else ("", "")
    return Explanation(
        study=study.name,
        run=identity.to_text(run),
        state=state,
        why=f"{why} ({unreachable})" if unreachable and state == "live" else why,
        mend=_mend(f"{study.name} {identity.to_text(run)}", state, record, steward, probe),
        labels=[generation.points.label(position) for position in positions],
        parameters=parameters,
        step=record.step if record.step >= 0 else None,
        steps=steps if isinstance(steps, int) else None,
        saved=record.saved if record.saved >= 0 else None,
        task=record.task,
        lane=record.lane,
        beside=record.width,
        place=place,
        said=said,
        steward=steward,
        probe=probe,
        attempts=tried,
        provenance=_provenance(study, tried),
        tail=tail,
        tail_of=tail_of,
        events=str(study.events_dir(run)),
    )


def _provenance(study: Study, tried: Sequence[Attempt]) -> Provenance | None:
    """Return what the last attempt ran; a witness of its end trained nothing."""
    last = next((attempt for attempt in reversed(tried) if attempt.begun is not None), None)
    return provenance(study, last.task, last.incarnation) if last is not None else None


# --- where it is ------------------------------------------------------------------------------------------------------


def _index(record: RunRecord) -> int:
    return int(record.task.partition("-")[2])


def _job(study: Study, record: RunRecord) -> Job | None:
    """Return the job that the run's task was handed over as."""
    array = study.submission(record.n).array_of(_index(record))
    return next((job for job in reversed(study.jobs()) if (job.n, job.array) == (record.n, array)), None)


def _place(study: Study, record: RunRecord, job: Job) -> Place:
    entry = study.submission(record.n)
    element = (_index(record) - entry.arrays[job.array][0]) // entry.per_job
    log = str(study.log_path(job.n, job.array))
    asked = str(entry.resources.get("memory") or "")
    return Place(job.cluster, entry.scheduler, job.job_id, element, job.element(element), log, asked, entry.per_job)


def _said(clusters: Clusters, job: Job, place: Place) -> Said | None:
    from orchestrator.clusters.base import Part

    found: Evidence | None = clusters(job.cluster).evidence([Part(job, (place.element,))]).get(place.key)
    return Said(found.word, found.why, list(found.details)) if found is not None else None


# --- why, and what to do about it -------------------------------------------------------------------------------------


def _why(state: RunState, record: RunRecord, retries: int, probe: Probe | None, *, submitted: bool) -> str:
    if state == "done":
        verdicts = {"done": "all its steps were made", "diverged": "its own numbers went bad: a result"}
        return verdicts.get(str(record.outcome), "its stop_when was met")
    if state == "live" and not record.k:
        return "its job is in the queue"
    if state == "live":
        return "a process trains it"
    if state == "cancelled":
        return "on request; submit its grid to take it up again"
    if record.ordered is not None and probe is not None and probe.state != "passed":
        waits = "failed" if probe.state == "failed" else "is not over"
        return f"it is to be trained again, and the probe before it {waits}: until then `orch cancel` takes that back"
    if record.ordered is not None:
        return "it is to be trained again, as soon as there is room: until then `orch cancel` takes that back"
    if state == "waiting" and not submitted:
        return "no job has it yet"
    if state == "waiting" and record.probed:
        return "its probe is over, and what comes next goes on from there"
    if state == "failed" and record.failure is not None and record.message:
        times = record.used.get(record.failure, 0)
        often = f", {times} times in a row" if times > 1 else ""
        return f"{record.failure}{often}: {record.message.strip().splitlines()[-1]}"
    return reason(record, retries)


def _mend(name: str, state: RunState, record: RunRecord, steward: Steward | None, probe: Probe | None) -> str:
    if state == "failed":
        failure = record.failure or "lost"
        advice = policy.RULES[failure].advice.partition(", then")[0]
        return "; ".join(filter(None, (hint(record), advice, f"then `orch retry {name}`")))
    if state in ("done", "live"):
        return ""
    if state == "cancelled":
        return "`orch submit` with its grid"
    if probe is not None and probe.state == "failed":
        return probe_line(name.partition(" ")[0], probe)
    if steward is not None:
        return f"nothing: {steward_line(steward)}"
    return "`orch submit` with its grid takes it up"


# --- on a terminal ----------------------------------------------------------------------------------------------------


def print_explanation(out: Console, known: Explanation) -> None:
    """Print what is known of a run."""
    out.print(Text.assemble((known.run, "bold"), "  ", (known.state, STYLES[known.state]), f": {known.why}"))
    rows = [["mend", known.mend]] if known.mend else []
    rows += [
        ["labels", ", ".join(f"{name}={text}" for name, text in labels.items())] for labels in known.labels if labels
    ]
    made = "none" if known.step is None else number(known.step)
    rows.append(["step", made + (f" of {number(known.steps)}" if known.steps is not None else "")])
    if known.saved is not None:
        rows[-1][1] += f", saved at {number(known.saved)}"
    if known.task:
        rows.append(["task", f"{known.task}, lane {known.lane} of {known.beside}"])
    rows += _where(known)
    if known.provenance is not None:
        said = provenance_lines(known.provenance)
        rows += [["provenance" if not at else "", line] for at, line in enumerate(said)]
    rows.append(["events", known.events])
    rows += [
        ["parameters" if not at else "", line]
        for at, line in enumerate(_folded([f"{name}={value}" for name, value in known.parameters.items()]))
    ]
    out.print(table(["", ""], rows, heading=False))
    if known.attempts:
        out.print()
        out.print(
            table(
                ["attempt", "host", "job", "from", "to", "ended", "memory", "time"],
                [_attempt_row(attempt) for attempt in known.attempts],
                right=[3, 4, 6, 7],
            )
        )
    for attempt in known.attempts[-1:]:
        if attempt.why:
            out.print(attempt.why)
    if known.tail:
        out.print()
        if known.tail_of:
            out.print(f"==> {known.tail_of} <==", style="dim")
        out.print(known.tail, style="dim")


def _where(known: Explanation) -> list[list[str]]:
    """Return the rows that say where a run is, what the scheduler says of it, and what it needs."""
    rows: list[list[str]] = []
    if (place := known.place) is not None and place.scheduler != "local":
        rows.append(["where", f"element {place.element} of job {place.job} on {place.cluster}"])
    if (said := known.said) is not None:
        rows.append([known.place.scheduler if known.place else "", ": ".join(filter(None, (said.word, said.why)))])
        # Its word stands before; what was asked for, below.
        rows += [["", line] for line in _folded([line for line in said.details if not line.startswith("state:")])]
    if known.steward is not None and known.state != "done":
        rows.append(["steward", steward_line(known.steward).removeprefix("steward ")])
    peak = max((attempt.peak for attempt in known.attempts), default=0)
    if peak:
        asked = f" of {known.place.memory} asked" if known.place is not None and known.place.memory else ""
        shared = (
            f" by {known.place.per_job} tasks" if known.place is not None and asked and known.place.per_job > 1 else ""
        )
        rows.append(["memory", f"at most {memory(peak)}{asked}{shared}"])
    return rows


def _attempt_row(attempt: Attempt) -> list[str]:
    return [
        f"{attempt.task}/{attempt.incarnation}",
        attempt.host,
        attempt.job,
        _step(attempt.begun),
        _step(attempt.reached),
        attempt.end,
        memory(attempt.peak) if attempt.peak else "-",
        duration(attempt.seconds) if attempt.seconds else "-",
    ]


def _step(step: int | None) -> str:
    return "-" if step is None else number(max(step, 0))


def _folded(words: Sequence[str], width: int = 84) -> list[str]:
    """Put words side by side, as many to a line as fit."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) + 2 > width:
            lines.append("")
        lines[-1] += f"  {word}" if lines[-1] else word
    return list(filter(None, lines))
