"""Rendering with rich: what an overview looks like on a terminal, and as plain lines where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.states import RUN_STATES, RunState
from orchestrator.view.breakdown import Axis
from orchestrator.view.overview import Overview
from orchestrator.view.steward import Steward, probe_line
from orchestrator.view.triage import Failure, where

STYLES: Mapping[str, str] = {
    "done": "green",
    "live": "cyan",
    "waiting": "yellow",
    "failed": "red",
    "cancelled": "dim",
    "lost": "magenta",
}
"""One colour per state, everywhere."""

OF_PYTHON = re.compile(r'\s+([~^ ]+$|File "<frozen )')
"""Lines of a traceback that help nobody: underlines, and frames inside the import system."""

PLAIN_WIDTH = 160
"""Columns of output that goes to no terminal: nothing is folded that a person would want to grep."""


class Output(Console):
    """A console that leaves it to the command line what to do when its reader goes away."""

    def on_broken_pipe(self) -> None:
        """Hand the error on."""
        raise BrokenPipeError


def console(file: TextIO | None = None, *, stderr: bool = False) -> Console:
    """Return the console that everything is printed on. It honours NO_COLOR and knows whether it is a terminal."""
    plain = Output(file=file, stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not plain.is_terminal and file is None:
        plain.width = PLAIN_WIDTH
    return plain


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[int] = (), heading: bool = True
) -> Table:
    """Return a table without lines: columns two spaces apart, ``right`` ones set flush right."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False, show_header=heading)
    for index, name in enumerate(headings):
        made.add_column(name, justify="right" if index in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return made


def number(value: int) -> str:
    """Write a count with thin groups: 1,000,000."""
    return f"{value:,}"


def duration(seconds: float) -> str:
    """Write a duration in its two largest units: ``3d 4h``, ``2h 05m``, ``40s``."""
    whole = max(0, round(seconds))
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {whole % 60:02}s" if minutes else f"{whole}s"


def quantity(value: float) -> str:
    """Write a number in three digits: ``812``, ``45.3 k``, ``1.52 M``."""
    for unit in ("", " k", " M", " G"):
        if abs(value) < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"


def memory(amount: float) -> str:
    """Write bytes as a grid does, in at most four digits: ``561M``, ``1.3G``."""
    mebibytes = amount / 1024**2
    return f"{mebibytes:.0f}M" if mebibytes < 1000 else f"{mebibytes / 1024:.1f}G"


def summary(overview: Overview) -> Text:
    """Return the one line that says it all."""
    line = Text()
    line.append(f"{number(overview.total)} run{'s' * (overview.total != 1)}", style="bold")
    for state in RUN_STATES:
        if overview.runs[state]:
            line.append(" · ", style="dim")
            line.append(f"{number(overview.runs[state])} {state}", style=STYLES[state])
            details = ", ".join(notes(overview, state))
            if details:
                line.append(f" ({details})", style="dim")
    return line


def notes(overview: Overview, state: RunState) -> list[str]:
    """Say what is worth saying of the runs in one state."""
    done, waiting, live = overview.done, overview.waiting, overview.live
    said: Mapping[str, Sequence[tuple[int, str]]] = {
        "done": [
            (done["diverged"], "diverged"),
            (done["stopped"], "stopped early"),
            (done["stale"], "by older sources"),
        ],
        "waiting": [(waiting["not_submitted"], "not submitted")],
        "live": [(live["queued"], "queued")],
    }
    whole = overview.runs[state]
    return [what if count == whole else f"{number(count)} {what}" for count, what in said.get(state, ()) if count]


def progress(overview: Overview) -> str:
    """Return iterations made, rate and time left as far as they are known."""
    parts = []
    if overview.iterations is not None and overview.iterations_total:
        share = overview.iterations / overview.iterations_total
        parts.append(
            f"{int(share * 100)} % of {quantity(overview.iterations_total)} iterations"
            if overview.iterations < overview.iterations_total
            else f"all {quantity(overview.iterations_total)} iterations"
        )
    if overview.rate is not None:
        parts.append(f"{quantity(overview.rate)} {unit(overview)}/s")
    if overview.seconds_left is not None:
        parts.append(f"{duration(overview.seconds_left)} left")
    return " · ".join(parts)


def unit(overview: Overview) -> str:
    """Return what progress is counted in."""
    return "runs" if overview.iterations is None else "it"


def axis_table(axis: Axis) -> Table:
    """Return the counts by the values of one axis; a state that no run is in has no column."""
    states = [state for state in RUN_STATES if any(counts[state] for counts in axis.values.values())]
    rows: list[list[str | Text]] = [
        [
            text,
            number(sum(counts.values())),
            *(Text(number(counts[state]) if counts[state] else "·", style=STYLES[state]) for state in states),
        ]
        for text, counts in axis.values.items()
    ]
    return table([axis.name, "runs", *states], rows, right=range(1, len(states) + 2))


def failure_lines(failure: Failure, *, quote: int = 0) -> Text:
    """Return what befell a group of runs, on three lines; and the last lines of what one of them said, so many."""
    text = Text()
    text.append(f"{number(failure.runs)} × {failure.kind}", style=STYLES["failed"])
    message = failure.message.strip().splitlines()
    if message:
        text.append(f": {message[-1]}")
    for line in _last_frames(failure.traceback, quote):
        text.append(f"\n  {line}", style="dim")
    said = [where(failure), f"e.g. {failure.example}", failure.advice]
    text.append(f"\n  {'; '.join(filter(None, said))}", style="dim")
    text.append(f"\n  `{failure.retry}` tries {'these' if failure.runs > 1 else 'it'} again", style="dim")
    return text


def _last_frames(traceback: str, most: int) -> list[str]:
    """Return the end of a traceback, without the message, which is said already, and what Python adds of its own."""
    lines = [line for line in traceback.splitlines() if line.startswith("  ") and not OF_PYTHON.match(line)]
    return lines[-most:] if most else []


def print_overview(out: Console, overview: Overview, *, axes: bool = False) -> None:
    """Print a study's state: the summary, progress, the axes and what failed.

    Where all runs are in one state the axes say nothing, and are left out unless ``axes`` asks for them.
    """
    where = f"  {overview.experiment} · grid {overview.generation} · {overview.cluster or 'not submitted'}"
    out.print(Text.assemble((overview.study, "bold"), (where, "dim")))
    out.print(summary(overview))
    line = progress(overview)
    if line and not overview.finished:
        out.print(line, style="dim")
    if overview.steward is not None:
        out.print(steward_line(overview.steward), style="dim")
    for axis in overview.axes if axes or max(overview.runs.values()) < overview.total else ():
        out.print()
        out.print(axis_table(axis))
    if overview.failures:
        out.print()
        for failure in overview.failures[:5]:
            out.print(failure_lines(failure, quote=4))
        if len(overview.failures) > 5:
            out.print(f"… and {len(overview.failures) - 5} more causes", style="dim")
    for line in advice(overview):
        out.print(line, style="yellow")


def steward_line(steward: Steward) -> str:
    """Say where a steward is, and what it waits for."""
    # A process of this machine is called by its host, number and start time; nobody looks for the last.
    job = steward.job.partition("/")[0].rpartition(":")[0] or steward.job
    return f"steward {job} on {steward.cluster} is {steward.state}: {steward.says}"


def advice(overview: Overview) -> list[str]:
    """Say what only a person can do next."""
    said = []
    left = overview.runs["waiting"] + overview.runs["lost"]
    if overview.probe is not None and (left or overview.probe.state == "failed"):
        said.append(probe_line(overview.study, overview.probe))
    if left and overview.idle and (overview.probe is None or overview.probe.state != "failed"):
        said.append(f"{number(left)} run{'s wait' if left != 1 else ' waits'} for your next `orch submit`")
    for host, count in overview.elsewhere.items():
        said.append(
            f"{number(count)} task{'s are' if count != 1 else ' is'} in the hands of {host}, which cannot be asked "
            "from here; if it is gone, `orch submit` here watches their heartbeats and takes them over"
        )
    if overview.damaged:
        count = len(overview.damaged)
        said.append(f"{count} damaged record{'s' * (count != 1)} skipped, the first: {overview.damaged[0]}")
    line = stale_line(overview.study, overview.stale_figures)
    return [*said, line] if line else said


def stale_line(study: str, names: Sequence[str]) -> str:
    """Say which figures would come out otherwise now, and how to draw them; nothing where there is none."""
    if not names:
        return ""
    shown = f"figure {names[0]} is" if len(names) == 1 else f"figures {', '.join(names)} are"
    return f"{shown} older than the tables, the grid or the script: `orch plot {study} {' '.join(names)}` draws anew"
