"""What a plan looks like: as data, as a table, and run by run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from orchestrator import identity
from orchestrator.view.table import memory, number, quantity, table

if TYPE_CHECKING:
    from orchestrator.desired import Desired
    from orchestrator.plan import Plan
    from orchestrator.points import Points
    from orchestrator.probe import Passed, Verdict
    from orchestrator.study.records import TaskSpec
    from orchestrator.view.cost import Bill

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


def to_json(name: str, plan: Plan, bill: Bill | None = None) -> dict[str, Any]:
    """Return a plan, and what it costs, as ``orch plan --json`` prints them."""
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
        "cost": {
            "runs": plan.cost.runs,
            "tasks": plan.cost.tasks,
            "iterations": plan.cost.iterations,
            **(bill.to_json() if bill is not None else {}),
        },
    }


def print_plan(
    out: Console, name: str, plan: Plan, cluster: str, bill: Bill | None = None, *, prune: bool = False
) -> None:
    """Print what a plan does about how many runs, and what it costs; ``prune``: runs that left the grid are let go."""
    out.print(
        Text.assemble((name, "bold"), (f"  {number(plan.total)} run{'s' * (plan.total != 1)} on {cluster}", "dim"))
    )
    rows: list[list[str | Text]] = [
        [Text(number(len(getattr(plan, part))), style=style), what]
        for part, (what, style) in ACTIONS.items()
        if len(getattr(plan, part))
    ]
    if plan.left:
        what = "left the grid, still training" if plan.cancel else "left the grid"
        what += ": let go" if prune else " (needs --prune)"
        rows.append([Text(number(len(plan.left)), style="yellow"), what])
    out.print(table(["", ""], rows, right=[0], heading=False))
    out.print(cost(plan), style="bold" if plan.cost.runs else "dim")
    if bill is not None and plan.cost.runs:
        out.print(price(bill), style="dim")


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


def price(bill: Bill) -> str:
    """Say in a line what a plan costs a cluster and a disk."""
    parts = []
    if bill.elements:
        elements, arrays = (
            f"{number(n)} {what}{'s' * (n != 1)}" for n, what in ((bill.elements, "element"), (bill.arrays, "array"))
        )
        parts.append(f"{elements} in {arrays}")
    for what, hours in (("CPU", bill.cpu_hours), ("GPU", bill.gpu_hours)):
        if hours.expected:
            parts.append(f"about {amount(hours.expected)} {what}-hours".replace("about less", "less"))
        if hours.most:
            parts.append(f"at most {amount(hours.most)} {what}-hours in a time slice")
    parts.append(f"{quantity(bill.files)} files")
    if bill.start:
        parts.append(f"could begin {bill.start}")
    return " · ".join(parts)


def amount(hours: float) -> str:
    """Write hours in three digits; less than a hundredth is not worth telling."""
    return quantity(hours) if hours >= 0.01 else "less than 0.01"


def probe_notes(
    wanted: Desired, plan: Plan, said: Verdict | None, measured: Passed | None, *, probing: bool
) -> Iterator[str]:
    """Yield what a probe, past or to come, means for a plan.

    Parameters
    ----------
    wanted, plan
        What a study should hold, and what is to be done.
    said, measured
        What the last submission said, if it was a probe; and what the last probe measured.
    probing
        Whether two tasks of the plan go first.
    """
    from orchestrator import probe

    asked = wanted.resources.get("memory")
    if measured is not None:
        raised = {batch.resources.get("memory") for batch in plan.batches} - {asked}
        for text in sorted(map(str, raised)):
            before = f"{asked} was asked for" if asked else "none was asked for"
            yield f"asks for {text} of memory: the probe measured {memory(measured.peak)}, and {before}"
    if isinstance(said, probe.Failed):
        last = said.message.strip().splitlines()[-1:]
        yield f"the last probe failed ({' '.join(last)}, run {identity.to_text(said.run)})"
    elif isinstance(said, probe.Open) and probing:
        yield "a probe is under way, and the rest comes after it"
        return
    elif isinstance(said, probe.Open):
        yield "a probe is under way; this does not wait for it, `--probe` would"
    corners = probe.corners(wanted.points, plan, probe.ignored(wanted.info)) if probing else []
    if corners:
        said_of = " and ".join(_corner(wanted.points, task) for task in corners)
        yield f"first a probe of {probe.STEPS} steps: {said_of}"


def _corner(points: Points, task: TaskSpec) -> str:
    """Name a task of a probe by its labels; a seed says nothing."""
    labels = points.label(task.points[0][0])
    said = ", ".join(f"{axis}={text}" for axis, text in labels.items() if axis != "seed")
    return f"a task of {number(task.count)}{f' ({said})' if said else ''}"


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
