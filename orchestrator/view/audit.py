"""Whether a study's history holds: what its journals and event files contradict each other in, if anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from orchestrator.study.audit import Finding
from orchestrator.view.table import number, table

MOST: Final = 40
"""So many findings are shown; ``--json`` has all."""


@dataclass(frozen=True)
class Audited:
    """A study's audit.

    Parameters
    ----------
    study
        Its name.
    runs, attempts, rows
        Runs, attempts on them, and rows of finished runs' series that were looked at.
    findings
        What contradicts what; nothing, where all is well.
    """

    study: str
    runs: int
    attempts: int
    rows: int
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether nothing was found that cannot be in order."""
        return not any(finding.certain for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the audit as ``orch doctor STUDY --json`` prints it."""
        return {
            "schema": 1,
            "study": self.study,
            "holds": self.holds,
            "runs": self.runs,
            "attempts": self.attempts,
            "rows": self.rows,
            "findings": [{**finding._asdict(), "certain": finding.certain} for finding in self.findings],
        }


def print_audit(out: Console, audited: Audited) -> None:
    """Print what was found, or that all is well."""
    if audited.findings:
        rows: list[list[str | Text]] = [
            [Text(finding.fault, style="red" if finding.certain else "yellow"), finding.place, finding.text]
            for finding in audited.findings[:MOST]
        ]
        out.print(table(["", "", ""], rows, heading=False))
        if len(audited.findings) > MOST:
            out.print(f"… and {number(len(audited.findings) - MOST)} more: see --json", style="dim")
    out.print(verdict(audited), style="green" if audited.holds else "red")


def verdict(audited: Audited) -> str:
    """Return the one sentence that says it all."""
    checked = (
        f"{_count(audited.runs, 'run')}, {_count(audited.attempts, 'attempt')} and "
        f"{_count(audited.rows, 'row')} of finished runs checked"
    )
    certain = sum(finding.certain for finding in audited.findings)
    if certain:
        return f"{_count(certain, 'contradiction')} in the history of study {audited.study!r}: {checked}"
    note = f" ({_count(len(audited.findings), 'late verdict')} cut off)" if audited.findings else ""
    return f"nothing was lost, nothing trained twice{note}: {checked}"


def _count(count: int, what: str) -> str:
    return f"{number(count)} {what}{'s' * (count != 1)}"
