"""What a site tells about its scheduler, for people to read and as the beginning of a cluster profile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from orchestrator.checks import Check, Verdict
from orchestrator.view.table import duration, number, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from orchestrator.clusters.batch import QueueFacts, SchedulerFacts

STYLES: Final[Mapping[Verdict, str]] = {"ok": "green", "note": "yellow", "missing": "red"}

QUEUES: Final[Mapping[str, str]] = {"slurm": "partition", "lsf": "queue"}
"""What a scheduler calls its queues, and so do a grid's resources."""

MOST_QUEUES: Final = 12
"""So many are listed."""


def print_checks(out: Console, checks: Iterable[Check]) -> None:
    """Print what was looked at, a line each."""
    from rich.text import Text

    rows: list[list[str | Text]] = [
        [Text(check.verdict, style=STYLES[check.verdict]), check.name, check.found] for check in checks
    ]
    out.print(table(["", "", ""], rows, heading=False))


def scheduler(facts: SchedulerFacts, *, wanted: bool) -> Iterator[Check]:
    """Turn what a scheduler told into checks.

    Parameters
    ----------
    facts
        What it told.
    wanted
        Whether somebody asked for this very scheduler: then it is missed where it does not answer.
    """
    kind = facts.kind
    if not facts.reachable:
        yield Check(kind, "missing" if wanted else "note", facts.problem)
        return
    where = f"cluster {facts.cluster}" if facts.cluster else ""
    on = f"controller on {facts.controller}" if facts.controller else ""
    yield Check(kind, "ok", ", ".join(filter(None, (facts.version, where, on))) or "answers")
    if facts.queues:
        shown = [_queue(queue) for queue in facts.queues[:MOST_QUEUES]]
        if len(facts.queues) > MOST_QUEUES:
            shown.append(f"and {len(facts.queues) - MOST_QUEUES} more")
        yield Check(f"{QUEUES[kind]}s", "ok", "\n".join(shown))
    if limits := "; ".join(_limits(facts)):
        yield Check("limits", "ok", limits)
    if facts.accounts:
        yield Check("accounts", "ok", ", ".join(facts.accounts))
    memory = f"; it remembers ended jobs for {duration(facts.remembers)}" if facts.remembers is not None else ""
    if facts.accounting:
        yield Check("accounting", "ok", f"answers{memory}")
    else:
        yield Check(
            "accounting", "note", f"none{memory}: why a job died is explained less well, and nothing depends on it"
        )
    if facts.preempt:
        yield Check("preemption", "ok", facts.preempt)
    if facts.grace is not None:
        yield Check("grace", "ok", f"{duration(facts.grace)} between the order to end and the end")
    if facts.memory_unit:
        yield Check("memory unit", "ok", facts.memory_unit)
    for note in facts.notes:
        yield Check(kind, "note", note)


def _queue(queue: QueueFacts) -> str:
    parts = [queue.state, f"{number(queue.nodes)} node{'s' * (queue.nodes != 1)}" if queue.nodes is not None else ""]
    largest = [f"{queue.cpus} core{'s' * (queue.cpus != 1)}"] if queue.cpus is not None else []
    largest += [gibibytes(queue.memory)] if queue.memory is not None else []
    parts.append(f"up to {' and '.join(largest)} each" if largest else "")
    parts.append(f"at most {_time(queue.max_time)}" if queue.max_time is not None else "")
    parts.append(f"GPUs: {', '.join(queue.gpus)}" if queue.gpus else "")
    parts.append(f"displaced: {queue.preempt}" if queue.preempt else "")
    return f"{queue.name}{' (default)' if queue.default else ''}: {', '.join(filter(None, parts))}"


def _limits(facts: SchedulerFacts) -> Iterator[str]:
    if facts.max_array is not None:
        yield f"arrays of up to {number(facts.max_array)} elements"
    if facts.submit_limit is not None:
        yield f"{number(facts.submit_limit)} jobs and elements of yours at a time"
    if facts.queued is not None:
        yield f"{number(facts.queued)} of yours in the queue now"
    if facts.max_jobs is not None:
        yield f"{number(facts.max_jobs)} of all users"


def gibibytes(amount: int) -> str:
    """Write an amount of memory, in bytes, as resources do: ``187.5G``."""
    return f"{amount / 2**30:.1f}".removesuffix(".0") + "G"


def _time(seconds: float) -> str:
    """Write a duration as resources do: ``7d``, ``1h30m``."""
    whole, parts = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if count := whole // size:
            parts.append(f"{count}{unit}")
        whole %= size
    return "".join(parts) or "0s"


# --- the beginning of a profile ---------------------------------------------------------------------------------------


def profile(facts: SchedulerFacts, python: str) -> str:
    """Return the text of a cluster profile, filled as far as the scheduler told.

    Parameters
    ----------
    facts
        What the scheduler told.
    python
        The interpreter of this machine.
    """
    word = QUEUES[facts.kind]
    default = next((queue for queue in facts.queues if queue.default), facts.queues[0] if facts.queues else None)
    types = sorted({name for queue in facts.queues for name in queue.gpus if name != "gpu"})
    limits = {"array": facts.max_array, "jobs": facts.submit_limit}
    lines = [
        "# What this cluster wants of every job: any of a grid's resources may stand here, and a grid overrides them.",
        "# Written by `orch doctor --write-profile`; `orch doctor --job` tries it out.",
        f"kind: {facts.kind}",
        _line(word, default.name if default else None, others=[queue.name for queue in facts.queues]),
        _line("account", None, others=facts.accounts),
        f"# time: 1h             # a slice{_longest(default)}; what is unfinished goes on in the next",
        "# memory: 2G           # of one job",
    ]
    if any(queue.gpus for queue in facts.queues):
        lines += ["# gpus: 1              # of one job", _line("gpu_type", None, others=types)]
    lines += [
        "# prologue: |          # shell commands before each job",
        "#   module load python",
        f"# python: {scalar(python)}",
        "# extra: []            # further options of the scheduler, passed on as they are",
    ]
    if known := {name: value for name, value in limits.items() if value is not None}:
        lines.append("limits:                # asked for at every submit; lower them to leave room for other work")
        lines += [f"  {name}: {value}" for name, value in known.items()]
    return "\n".join(lines) + "\n"


def _line(name: str, value: str | None, others: Sequence[str]) -> str:
    there = f"  # there is: {', '.join(others[:MOST_QUEUES])}" if others else ""
    return f"{name}: {scalar(value)}{there}" if value is not None else f"# {name}: …{there}"


def _longest(queue: QueueFacts | None) -> str:
    return f", at most {_time(queue.max_time)} in {queue.name}" if queue is not None and queue.max_time else ""


def scalar(text: str) -> str:
    """Write a text as YAML: plain where that cannot be misread, else in quotes."""
    from orchestrator.grid import document

    plain = re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./+-]*", text) and document.resolve(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
