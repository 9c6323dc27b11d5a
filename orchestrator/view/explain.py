"""Everything there is to know of one run, on one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator import identity
from orchestrator.errors import UserError
from orchestrator.states import RunState
from orchestrator.study.history import RunRecord
from orchestrator.study.incarnation import STDERR
from orchestrator.study.journal import IncarnationLog
from orchestrator.study.study import Generation, Study
from orchestrator.view.breakdown import reason
from orchestrator.view.overview import living
from orchestrator.view.table import STYLES, number, table

TAIL_LINES = 12
"""So many lines of a failed run's standard error or traceback are shown."""

TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Attempt:
    """One incarnation's work on the run: where, from which step to which, and how it ended."""

    task: str
    incarnation: int
    host: str
    job: str
    begun: int | None
    reached: int | None
    end: str
    path: str


@dataclass(frozen=True)
class Explanation:
    """A run and what became of it.

    Parameters
    ----------
    run, state, why
        Its id, its state, and the sentence that says why.
    labels, parameters
        One mapping of labels for each point that is this run; the resolved parameters.
    step, steps, saved
        The last step known, how many there are to be, and the newest checkpoint's.
    lane, beside
        Its lane in its task, and how many runs train there.
    attempts
        In the order of ownership.
    tail
        The end of what the last attempt wrote before it failed.
    events
        The folder of its event files.
    """

    study: str
    run: str
    state: RunState
    why: str
    labels: Sequence[Mapping[str, str]]
    parameters: Mapping[str, Any]
    step: int | None
    steps: int | None
    saved: int | None
    task: str
    lane: int
    beside: int
    attempts: Sequence[Attempt]
    tail: str
    events: str

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as ``orch explain --json`` prints it."""
        return {"schema": 1, **asdict(self)}


def explain(study: Study, run: bytes) -> Explanation:
    """Gather what is known of a run of the newest grid.

    Raises
    ------
    UserError
        If the grid does not ask for it.
    """
    generation = study.generation()
    positions = [i for i, other in enumerate(generation.runs) if other == run] if generation else []
    if generation is None or not positions:
        raise UserError(f"the grid of study {study.name!r} has no run {identity.to_text(run)}")
    history = study.history()
    alive, _, unreachable = living(study, history)
    retries = int(generation.info["resources"].get("retries", 2))
    state, record = history.state(run, alive, retries), history.runs.get(run, RunRecord())
    attempts, failed = _attempts(study, run)
    parameters = generation.points.params(positions[0])
    steps = parameters.get(generation.info.get("steps") or "")
    why = _why(state, record, retries, submitted=record.n > 0 and record.task not in history.unhanded)
    return Explanation(
        study=study.name,
        run=identity.to_text(run),
        state=state,
        why=f"{why} ({unreachable})" if unreachable and state == "live" else why,
        labels=[generation.points.label(position) for position in positions],
        parameters=parameters,
        step=record.step if record.step >= 0 else None,
        steps=steps if isinstance(steps, int) else None,
        saved=record.saved if record.saved >= 0 else None,
        task=record.task,
        lane=record.lane,
        beside=record.width,
        attempts=attempts,
        tail=_tail(failed, attempts) if record.failure is not None or state == "lost" else "",
        events=str(study.events_dir(run)),
    )


def _why(state: RunState, record: RunRecord, retries: int, *, submitted: bool) -> str:
    if state == "done":
        verdicts = {"done": "all its steps were made", "diverged": "its own numbers went bad: a result"}
        return verdicts.get(str(record.outcome), "its stop_when was met")
    if state == "live":
        return "a process trains it" if record.k else "its job is in the queue"
    if state == "cancelled":
        return "on request; submit its grid to take it up again"
    if state == "waiting" and not submitted:
        return "no job has it yet"
    return reason(record, retries)


def _attempts(study: Study, run: bytes) -> tuple[list[Attempt], Mapping[str, Any] | None]:
    """Return the attempts on a run, and the last one's record of its failure."""
    found: list[Attempt] = []
    failed: Mapping[str, Any] | None = None
    for entry in study.chain():
        generation = study.generation(entry.generation) if entry.kind == "submit" else None
        for spec in entry.tasks if generation is not None else ():
            assert generation is not None
            lane = _lane(generation, spec.indices(), run)
            for log in study.incarnations(spec.name) if lane is not None else ():
                assert lane is not None
                found.append(_attempt(log, lane))
                failed = log.failures[lane]
    return found, failed


def _lane(generation: Generation, positions: Sequence[int], run: bytes) -> int | None:
    return next((lane for lane, position in enumerate(positions) if generation.runs[position] == run), None)


def _attempt(log: IncarnationLog, lane: int) -> Attempt:
    verdict, failure = log.verdicts[lane], log.failures[lane]
    steps = [step for step in (log.progress[lane], log.saved[lane]) if step is not None]
    reached = max(steps, default=None)
    end = log.end or "open"
    if verdict is not None:
        end, reached = verdict
    elif failure is not None:
        end = str(failure["class"])
    host, job = (str(log.begin.get(name) or "") for name in ("host", "job"))
    return Attempt(log.task, log.k, host, job, log.restored[lane], reached, end, str(log.path))


def _tail(failed: Mapping[str, Any] | None, attempts: Sequence[Attempt]) -> str:
    text = str((failed or {}).get("traceback") or (failed or {}).get("message") or "")
    if not text and attempts:
        file = Path(attempts[-1].path) / STDERR
        if file.exists():
            with file.open("rb") as stderr:
                stderr.seek(max(0, file.stat().st_size - TAIL_BYTES))
                text = stderr.read().decode("utf-8", "replace")
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])


def print_explanation(out: Console, known: Explanation) -> None:
    """Print what is known of a run."""
    out.print(Text.assemble((known.run, "bold"), "  ", (known.state, STYLES[known.state]), f": {known.why}"))
    rows = [
        ["labels", ", ".join(f"{name}={text}" for name, text in labels.items())] for labels in known.labels if labels
    ]
    made = "none" if known.step is None else number(known.step)
    rows.append(["step", made + (f" of {number(known.steps)}" if known.steps is not None else "")])
    if known.saved is not None:
        rows[-1][1] += f", saved at {number(known.saved)}"
    if known.task:
        rows.append(["task", f"{known.task}, lane {known.lane} of {known.beside}"])
    rows.append(["events", known.events])
    rows += [["parameters" if not at else "", line] for at, line in enumerate(_folded(known.parameters))]
    out.print(table(["", ""], rows, heading=False))
    if known.attempts:
        out.print()
        out.print(
            table(
                ["attempt", "host", "job", "from", "to", "ended"],
                [
                    [f"{a.task}/{a.incarnation}", a.host, a.job, _step(a.begun), _step(a.reached), a.end]
                    for a in known.attempts
                ],
                right=[3, 4],
            )
        )
    if known.tail:
        out.print()
        out.print(known.tail, style="dim")


def _step(step: int | None) -> str:
    return "-" if step is None else number(step)


def _folded(parameters: Mapping[str, Any], width: int = 84) -> list[str]:
    """Write parameters as ``name=value``, as many to a line as fit."""
    lines = [""]
    for name, value in parameters.items():
        word = f"{name}={value}"
        if lines[-1] and len(lines[-1]) + len(word) + 2 > width:
            lines.append("")
        lines[-1] += f"  {word}" if lines[-1] else word
    return lines
