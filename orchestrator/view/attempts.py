"""What was tried for one run, and what was said in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.study.incarnation import STDERR
from orchestrator.study.journal import IncarnationLog
from orchestrator.study.study import Generation, Study

TAIL_LINES = 12
"""So many lines of a failed run's standard error or traceback are shown."""

TAIL_BYTES = 16_384

OPEN, CUT_OFF = "open", "cut off"
"""How an attempt ended that did not say so: it may be under way, or another one followed."""


@dataclass(frozen=True)
class Attempt:
    """One incarnation's work on the run: where, from which step to which, how it ended, and what it used.

    ``peak`` is in bytes and ``seconds`` the time it took, both 0 if it did not say; ``cpu`` is processor time. All runs
    of the task share them.
    """

    task: str
    incarnation: int
    host: str
    job: str
    begun: int | None
    reached: int | None
    end: str
    why: str
    path: str
    peak: int
    cpu: float
    seconds: float


def attempts(study: Study, run: bytes) -> tuple[list[Attempt], Mapping[str, Any] | None]:
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
    # Whoever has a successor and did not say how it ended was killed, or is not heard any more.
    before = [replace(attempt, end=CUT_OFF) if attempt.end == OPEN else attempt for attempt in found[:-1]]
    return before + found[-1:], failed


def _lane(generation: Generation, positions: Sequence[int], run: bytes) -> int | None:
    return next((lane for lane, position in enumerate(positions) if generation.runs[position] == run), None)


def _attempt(log: IncarnationLog, lane: int) -> Attempt:
    verdict, failure = log.verdicts[lane], log.failures[lane]
    steps = [step for step in (log.progress[lane], log.saved[lane]) if step is not None]
    reached = max(steps, default=None)
    end = log.end or OPEN
    if verdict is not None:
        end, reached = verdict
    elif failure is not None:
        end = str(failure["class"])
    host, job = (str(log.begin.get(name) or "") for name in ("host", "job"))
    used = (log.peak, log.cpu, log.seconds)
    return Attempt(log.task, log.k, host, job, log.restored[lane], reached, end, log.why, str(log.path), *used)


def last_words(failed: Mapping[str, Any] | None, tried: Sequence[Attempt], log: str | None) -> tuple[str, str]:
    """Return the end of what was written of a run before it failed, and the file that it stands in.

    Parameters
    ----------
    failed
        The last record of a failure, if there is one: what it quotes is in no file.
    tried
        The attempts.
    log
        What a job prints before a worker begins: read where there was no attempt.
    """
    text = str((failed or {}).get("traceback") or (failed or {}).get("message") or "")
    if text:
        return _last_lines(text), ""
    # A witness of a death has nothing to say on its own standard error.
    files = [Path(attempt.path) / STDERR for attempt in reversed(tried)]
    if log is not None and not tried:
        files.append(Path(log))
    for file in files:
        if text := _end_of(file):
            return _last_lines(text), str(file)
    return "", ""


def _end_of(file: Path) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
        return stream.read().decode("utf-8", "replace").strip()


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])
