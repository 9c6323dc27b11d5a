"""What has become of jobs: LSF's states, made of Slurm's queue and of what the jobs' own watchers noted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.lsf.site import Site, events, marked, slurm_key, spec_of

WORDS = {
    "PENDING": "PEND", "CONFIGURING": "RUN", "RUNNING": "RUN", "COMPLETING": "RUN", "SUSPENDED": "USUSP",
    "STOPPED": "USUSP", "REQUEUED": "PEND", "SIGNALING": "RUN", "STAGE_OUT": "RUN", "COMPLETED": "DONE",
}  # fmt: skip
"""Slurm's states in LSF's words; any other is ``EXIT``."""

ENDED = ("DONE", "EXIT")
PENDING_REASONS = {
    "Resources": "Job requirements for reserving resource (slots) not satisfied",
    "Priority": "There are no suitable hosts for the job",
    "Dependency": "Job dependency condition not satisfied",
    "DependencyNeverSatisfied": "Dependency condition invalid or never satisfied",
    "JobArrayTaskLimit": "Job array has reached its running element limit",
    "BeginTime": "Requeued job is waiting for rescheduling",
    "JobHeldUser": "Job was suspended by the user while pending",
}


@dataclass(frozen=True)
class Element:
    """A job, or an element of an array (counted from 1; 0: it is no array)."""

    job: str
    index: int
    folder: Path
    spec: dict[str, Any]
    stat: str
    reason: str = ""
    host: str = ""
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.stat in ENDED

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened to it."""
        return events(self.folder, self.index)

    def last(self, event: str) -> float | None:
        """Return when something happened to it last."""
        times = [entry["at"] for entry in self.events if entry["event"] == event]
        return times[-1] if times else None


def elements(site: Site, jobs: Sequence[str] | None = None) -> list[Element]:
    """Return the elements of jobs, those that ended included; by default of all jobs that there ever were."""
    rows = _rows(site)
    silent: set[str] | None = None
    found = []
    for job in site.known() if jobs is None else jobs:
        folder = site.jobs / job
        spec = spec_of(folder)
        for index in spec["indices"] or [0]:
            state, reason, host = rows.get(slurm_key(job, index), ("", "", ""))
            stat = WORDS.get(state, "EXIT")
            end = json.loads(marked(folder, index, "end") or "{}")
            if end:
                stat = end["stat"]
            elif stat == "PEND" and reason.startswith("JobHeld"):
                stat = "PEND" if spec.get("never") else "PSUSP"
            elif stat == "USUSP":
                stat = marked(folder, index, "suspended") or stat
            elif stat == "RUN":
                silent = _silent(site) if silent is None else silent
                stat = "UNKWN" if host in silent else stat
            reason = "DependencyNeverSatisfied" if spec.get("never") else reason
            found.append(Element(job, index, folder, spec, stat, reason, host or end.get("host", ""), end))
    return found


def chosen(site: Site, words: Sequence[str]) -> tuple[list[Element], list[str]]:
    """Return the elements that words like ``12``, ``12[3]`` and ``12[1-4,7]`` name, and the words that name none."""
    known = set(site.known())
    wanted: dict[str, set[int] | None] = {}
    unknown = []
    for word in words:
        found = re.fullmatch(r"(\d+)(?:\[([\d,:-]+)\])?", word)
        if not found or found[1] not in known:
            unknown.append(word)
            continue
        job, listed = found.groups()
        if listed is None:
            wanted[job] = None
        elif wanted.setdefault(job, set()) is not None:
            wanted[job] |= _spans(listed)  # type: ignore[operator]
    every = elements(site, list(wanted)) if wanted else []
    return [e for e in every if (picked := wanted[e.job]) is None or e.index in picked], unknown


def _spans(listed: str) -> set[int]:
    found: set[int] = set()
    for part in listed.split(","):
        start, _, rest = part.partition("-")
        stop, _, step = rest.partition(":")
        found.update(range(int(start), int(stop or start) + 1, int(step or 1)))
    return found


def _rows(site: Site) -> dict[str, tuple[str, str, str]]:
    """Return state, reason and node by Slurm's key."""
    text = site.slurm("squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r|%N", check=False)
    rows = {}
    for line in text.splitlines():
        job, index, state, reason, node = line.split("|")
        rows[job if index == "N/A" else f"{job}_{index}"] = (state, reason, node)
    return rows


def _silent(site: Site) -> set[str]:
    """Return the nodes that do not answer."""
    lines = site.slurm("sinfo", "--noheader", "--Node", "--format=%N %T", check=False).splitlines()
    return {node for node, state in map(str.split, lines) if state.endswith("*") or state.startswith("down")}
