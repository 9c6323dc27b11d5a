"""Following a study: a redrawn block on a terminal, a line now and then elsewhere. One look per refresh."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.view import table
from orchestrator.view.overview import Overview
from orchestrator.view.progress import Meter

PLAIN_SECONDS = 30.0
"""At most so often is an unfinished study's line repeated where there is no terminal."""

BAR = 40
"""Columns of the bar, where there is room."""


def follow(
    look: Callable[[], Overview],
    out: Console,
    *,
    interval: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    done: Callable[[Overview], bool] = lambda overview: overview.finished,
) -> Overview:
    """Look again and again until there is nothing left to see.

    Parameters
    ----------
    look
        Looks at the study once.
    out
        Where the view goes; what kind of file it is decides the form.
    interval
        Seconds between two looks.
    clock, sleep
        The observer's own clock.
    done
        Says when to stop.

    Returns
    -------
    Overview
        The last look.
    """
    meter = Meter()

    def next_look() -> Overview:
        overview = look()
        made, total = amounts(overview)
        rate = meter.add(clock(), made)
        left = (total - made) / rate if rate and total > made else None
        return replace(overview, rate=rate, seconds_left=left)

    overview = next_look()
    if not out.is_terminal:
        return _lines(overview, next_look, out, interval, clock, sleep, done)
    with Live(block(overview, out.width), console=out, auto_refresh=False, transient=True) as live:
        while not done(overview):
            sleep(interval)
            overview = next_look()
            live.update(block(overview, out.width), refresh=True)
    return overview


def amounts(overview: Overview) -> tuple[int, int]:
    """Return (made, to be made) in iterations, or in runs where iterations are not known."""
    if overview.iterations is not None and overview.iterations_total is not None:
        return overview.iterations, overview.iterations_total
    return overview.runs["done"], overview.total - overview.runs["cancelled"]


def _lines(
    overview: Overview,
    look: Callable[[], Overview],
    out: Console,
    interval: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    done: Callable[[Overview], bool],
) -> Overview:
    """Print a line when a count changed, and the progress every half minute."""
    said, since = line(overview), clock()
    counts = overview.runs
    out.print(said)
    while not done(overview):
        sleep(interval)
        overview = look()
        if overview.runs != counts or clock() - since >= PLAIN_SECONDS:
            out.print(line(overview))
            counts, since = overview.runs, clock()
    return overview


def line(overview: Overview) -> Text:
    """Return a study's state on one line."""
    text = Text.assemble((overview.study, "bold"), "  ", table.summary(overview))
    known = table.progress(overview)
    return text.append(f"  {known}") if known and not overview.finished else text


def block(overview: Overview, width: int) -> Group:
    """Return what is redrawn, so many columns wide: the bar, the summary, the failures."""
    made, total = amounts(overview)
    name, known = Text(overview.study, style="bold"), Text(table.progress(overview))
    room = width - name.cell_len - known.cell_len - 6  # the bar gives way before words are folded
    bar = Table.grid(padding=(0, 2, 0, 0))
    bar.add_row(name, ProgressBar(total=max(1, total), completed=made, width=min(BAR, max(room, BAR // 8))), known)
    failures = [table.failure_lines(failure) for failure in overview.failures[:3]]
    unreachable = [Text(overview.unreachable, style="red")] if overview.unreachable else []
    return Group(bar, table.summary(overview), *failures, *unreachable)
