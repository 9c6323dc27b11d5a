"""A study's report as one HTML file that needs nothing beside it: no script, no style sheet, no server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from orchestrator.states import RUN_STATES
from orchestrator.view.breakdown import Axis
from orchestrator.view.overview import Overview
from orchestrator.view.triage import Failure, where

MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}
"""Forms of a figure that a browser shows, the best first."""

STALE = ": older than the tables, the grid or the script"
"""What is added to the name of a figure that would come out otherwise now."""

COLOURS = {
    "done": "#009E73",
    "live": "#56B4E9",
    "waiting": "#E69F00",
    "failed": "#D55E00",
    "cancelled": "#999999",
    "lost": "#CC79A7",
}
"""Okabe and Ito's palette, which everybody can tell apart."""

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{margin-bottom:0}h2{margin-top:2rem;font-size:1.1rem}.dim{color:#777}
table{border-collapse:collapse}td,th{padding:.15rem 1.2rem .15rem 0;text-align:right}
td:first-child,th:first-child{text-align:left}th{font-weight:600;border-bottom:1px solid #ccc}
.bar{display:flex;height:1.2rem;border-radius:3px;overflow:hidden;background:#eee;margin:1rem 0}
pre{background:#f6f6f6;padding:.6rem;overflow:auto;white-space:pre-wrap}figure{margin:1.5rem 0}img{max-width:100%}
"""


def html(overview: Overview, figures: Path, tables: Path) -> str:
    """Return the report.

    Parameters
    ----------
    overview
        The study at this moment.
    figures, tables
        The study's folders; what is not there is left out.
    """
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    body = [
        f"<h1>{escape(overview.study)}</h1>",
        f"<p class=dim>{escape(overview.experiment)} · grid {overview.generation} · {written}</p>",
        _bar(overview),
        _counts(overview),
        _figures(figures, overview.stale_figures),
        _failures(overview.failures),
        *(_axis(axis) for axis in overview.axes),
        _manifest(tables),
        _damage(overview.damaged),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(overview.study)}</title>'
        f"<style>{STYLE}</style>\n" + "\n".join(filter(None, body)) + "\n</html>\n"
    )


def _bar(overview: Overview) -> str:
    parts = "".join(
        f'<span style="flex:{count};background:{COLOURS[state]}" title="{count:,} {state}"></span>'
        for state in RUN_STATES
        if (count := overview.runs[state])
    )
    return f'<div class="bar">{parts}</div>'


def _counts(overview: Overview) -> str:
    rows = [[state, f"{overview.runs[state]:,}"] for state in RUN_STATES if overview.runs[state]]
    extra = [
        [f"… {name}", f"{overview.done[name]:,}"] for name in ("diverged", "stopped", "stale") if overview.done[name]
    ]
    return _table(["runs", f"{overview.total:,}"], [*rows, *extra])


def _axis(axis: Axis) -> str:
    states = [state for state in RUN_STATES if any(counts[state] for counts in axis.values.values())]
    rows = [[text, *(f"{counts[state]:,}" for state in states)] for text, counts in axis.values.items()]
    return f"<h2>By {escape(axis.name)}</h2>{_table([axis.name, *states], rows)}"


def _failures(failures: Sequence[Failure]) -> str:
    if not failures:
        return ""
    parts = []
    for failure in failures:
        said = [where(failure), f"e.g. {failure.example}", failure.advice]
        parts.append(
            f"<p><b>{failure.runs:,} × {escape(failure.kind)}</b> "
            f"<span class=dim>{escape('; '.join(filter(None, said)))}: <code>{escape(failure.retry)}</code></span></p>"
            f"<pre>{escape(failure.traceback.strip() or failure.message)}</pre>"
        )
    return "<h2>Failures by cause</h2>" + "".join(parts)


def _figures(folder: Path, stale: Sequence[str]) -> str:
    """Embed each figure once, in the best form that a browser shows."""
    found: dict[str, Path] = {}
    for suffix in MEDIA:
        for path in sorted(folder.glob(f"*{suffix}")):
            found.setdefault(path.stem, path)
    parts = []
    for name, path in sorted(found.items()):
        data = base64.b64encode(path.read_bytes()).decode()
        parts.append(
            f'<figure><img alt="{escape(name)}" src="data:{MEDIA[path.suffix]};base64,{data}">'
            f"<figcaption class=dim>{escape(name)}{STALE if name in stale else ''}</figcaption></figure>"
        )
    return "<h2>Figures</h2>" + "".join(parts) if parts else ""


def _manifest(tables: Path) -> str:
    file = tables / "manifest.json"
    if not file.exists():
        return ""
    known = json.loads(file.read_bytes())
    names = ("expected", "read", "missing", "finished", "files_read", "scalars", "superseded", "dropped_bytes")
    rows = [[name.replace("_", " "), f"{known[name]:,}"] for name in names if isinstance(known.get(name), int)]
    return f"<h2>Tables</h2>{_table(['the last export', ''], rows)}"


def _damage(damaged: Sequence[str]) -> str:
    return f"<h2>Damaged records</h2><pre>{escape(chr(10).join(damaged))}</pre>" if damaged else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
