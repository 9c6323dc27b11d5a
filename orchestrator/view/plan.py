"""What a plan looks like: as data, as a table, and run by run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from orchestrator import identity
from orchestrator.view.table import number, quantity, table

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from orchestrator.points import Points

ACTIONS: Mapping[str, tuple[str, str]] = {
    "new": ("train", "green"),
    "retry": ("go on with", "green"),
    "rerun": ("train again", "green"),
    "live": ("leave to their jobs", "cyan"),
    "keep": ("keep", ""),
    "stale": ("keep, by older sources (--rerun-stale trains them again)", "yellow"),
    "failed": ("leave failed (`orch retry` gives a new budget)", "red"),
    "cancelled": ("leave cancelled", "dim"),
    "aside": ("leave out (--only)", "dim"),
}
"""What is done about the runs in each part of a plan, in the words of the table. The parts add up."""


def to_json(name: str, plan: Plan) -> dict[str, Any]:
    """Return a plan as ``orch plan --json`` prints it."""
    return {
        "schema": 1,
        "study": name,
        "runs": {"total": plan.total, **{part: len(getattr(plan, part)) for part in ACTIONS}},
        "beyond_capacity": len(plan.waiting),
        "left_the_grid": list(map(identity.to_text, plan.left)),
        "cancel": list(map(identity.to_text, plan.cancel)),
        "submissions": [
            {"n": plan.n + at, "resources": dict(batch.resources), "tasks": {t.name: t.count for t in batch.tasks}}
            for at, batch in enumerate(plan.batches)
        ],
        "cost": {"runs": plan.cost.runs, "tasks": plan.cost.tasks, "iterations": plan.cost.iterations},
    }


def print_plan(out: Console, name: str, plan: Plan, cluster: str) -> None:
    """Print what a plan does about how many runs, and what it costs."""
    out.print(Text.assemble((name, "bold"), (f"  {number(plan.total)} runs on {cluster}", "dim")))
    rows: list[list[str | Text]] = [
        [Text(number(len(getattr(plan, part))), style=style), what]
        for part, (what, style) in ACTIONS.items()
        if len(getattr(plan, part))
    ]
    if plan.left:
        what = "left the grid (needs --prune)" if not plan.cancel else "left the grid, still training (needs --prune)"
        rows.append([Text(number(len(plan.left)), style="yellow"), what])
    out.print(table(["", ""], rows, right=[0], heading=False))
    out.print(cost(plan), style="bold" if plan.cost.runs else "dim")


def cost(plan: Plan) -> str:
    """Say in a line what a plan costs."""
    if not plan.cost.runs:
        return "nothing to submit"
    sizes = [task.count for task in plan.tasks]
    width = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    runs, tasks = plan.cost.runs, plan.cost.tasks
    parts = [f"submits {number(runs)} run{'s' * (runs != 1)} in {number(tasks)} task{'s' * (tasks != 1)} of {width}"]
    if plan.cost.iterations is not None:
        parts.append(f"{quantity(plan.cost.iterations)} iterations")
    if plan.waiting:
        parts.append(f"{number(len(plan.waiting))} more when the scheduler has room")
    return " · ".join(parts)


def list_runs(points: Points, plan: Plan) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield (id, part of the plan, labels) of every run in grid order; a run at several points once."""
    parts = {position: part for part in ACTIONS for position in getattr(plan, part)}
    for position in sorted(parts):
        yield identity.to_text(points.id(position)), parts[position], points.label(position)


def lines(points: Points, plan: Plan) -> Iterator[str]:
    """Yield the runs as aligned lines under a line of headings, one at a time: there may be a million."""
    names = list(points.labels)
    widths = [max(map(len, (name, *map(str, points.labels[name].values)))) for name in names]
    yield _aligned(("run", "plan", *names), (identity.ID_TEXT, 9, *widths))
    for run, part, labels in list_runs(points, plan):
        yield _aligned((run, part, *(labels.get(name, "-") for name in names)), (identity.ID_TEXT, 9, *widths))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
