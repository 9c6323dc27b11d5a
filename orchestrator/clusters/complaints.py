"""What a scheduler's refusal of a job means to a user: the field at fault, and the mend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.errors import UserError


class Complaint(NamedTuple):
    """What a scheduler refuses a job with: a pattern, the fields of ``resources`` at fault, and the mend."""

    pattern: str
    fields: tuple[str, ...]
    mend: str


def complain(
    scheduler: str, said: str, complaints: Iterable[Complaint], resources: Mapping[str, Any], section: str
) -> UserError:
    """Return the error for a refusal: the scheduler's own words, the first complaint that fits them, and the mend.

    Parameters
    ----------
    scheduler
        Its name.
    said
        What it printed, on one line.
    complaints
        Of this scheduler.
    resources
        What was asked for: a field at fault is named with its value.
    section
        Where these fields stand in a grid.
    """
    said = said.rstrip(".") or "it gives no reason"
    for complaint in complaints:
        if re.search(complaint.pattern, said, re.IGNORECASE):
            asked = [f"{section}.{name} is {value}" for name in complaint.fields if (value := _get(resources, name))]
            fields = " or ".join(f"{section}.{name}" for name in complaint.fields)
            place = f" ({', '.join(asked)})" if asked else ""
            mend = complaint.mend if asked or not fields else f"set {fields}: {complaint.mend}"
            return UserError(f"{scheduler} refuses the job: {said}{place}. {capital(mend)}.")
    return UserError(f"{scheduler} refuses the job: {said}.")


def capital(sentence: str) -> str:
    """Return a sentence with its first letter capital."""
    return sentence[:1].upper() + sentence[1:]


def _get(resources: Mapping[str, Any], name: str) -> Any:
    value: Any = resources
    for part in name.split("."):
        value = (value or {}).get(part)
    return " ".join(value) if isinstance(value, list | tuple) else value
