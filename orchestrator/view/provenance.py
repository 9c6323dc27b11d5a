"""Where a run's numbers come from: commit, changes, packages, machine and engine of one attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.study.study import Study


@dataclass(frozen=True)
class Origin:
    """A repository that the frozen sources come from: its folder, the commit, and how many files differ from that."""

    folder: str
    commit: str
    changed: int


@dataclass(frozen=True)
class Provenance:
    """What one attempt ran.

    Parameters
    ----------
    attempt
        The task and its incarnation.
    code, source
        Digests of the frozen sources (a folder of the study's ``code/``), and of the experiment's own among them.
    origins
        The repositories they come from; none without git.
    packages
        Digest of the list of installed packages, which stands in the study's ``packages/``.
    python, host
        Its version, and the machine.
    engine
        What computed: kind, device, version of torch, instruction set; empty for code that sees to that itself.
    """

    attempt: str
    code: str
    source: str
    origins: Sequence[Origin]
    packages: str
    python: str
    host: str
    engine: Mapping[str, Any]


def provenance(study: Study, task: str, k: int) -> Provenance | None:
    """Return what an incarnation of a task ran; None if it did not say."""
    log = next((log for log in study.incarnations(task) if log.k == k), None)
    if log is None or not log.begin:
        return None
    entry = study.submission(log.n)
    origins = study.origins(entry.code) if entry.code else {}
    return Provenance(
        attempt=f"{task}/{k}",
        code=entry.code,
        source=str(log.begin.get("code") or entry.source),
        origins=[
            Origin(folder, str(known.get("commit", "")), len(known.get("changed", ())))
            for folder, known in origins.items()
        ],
        packages=str(log.begin.get("packages") or entry.packages),
        python=str(log.begin.get("python") or ""),
        host=str(log.begin.get("host") or ""),
        engine=log.engine,
    )


def lines(known: Provenance) -> list[str]:
    """Return it for people, a line for each thing."""
    said = []
    for origin in known.origins:
        commit = f"commit {origin.commit[:12]}" if origin.commit else "no commit yet"
        changed = f", {origin.changed} file{'s' * (origin.changed != 1)} changed" if origin.changed else ""
        said.append(f"{commit}{changed} in {origin.folder}")
    if known.code:
        said.append(f"frozen in code/{known.code}" + ("" if said else ", from no git repository"))
    if known.packages:
        said.append(f"Python {known.python}, packages/{known.packages}.json")
    kind = [str(known.engine[name]) for name in ("kind", "device", "isa") if name in known.engine]
    if "torch" in known.engine:
        kind.append(f"torch {known.engine['torch']}")
    said.append(f"on {known.host}" + (f": engine {', '.join(kind)}" if kind else ""))
    return said
