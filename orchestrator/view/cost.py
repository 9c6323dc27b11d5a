"""What a plan costs: CPU-hours and GPU-hours, files, and when the scheduler thinks that it would begin.

Two figures, for they answer two questions. *At most* is what a site may charge for one time slice of every element.
*Expected* comes from what this study's own tasks took, per step of a lane, those of the same program first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator import units
from orchestrator.packing import FEWEST_LANES
from orchestrator.points import Points
from orchestrator.study.history import History
from orchestrator.study.journal import IncarnationLog
from orchestrator.study.records import TaskSpec
from orchestrator.study.study import Study

if TYPE_CHECKING:
    from orchestrator.clusters.base import Cluster
    from orchestrator.desired import Desired
    from orchestrator.plan import Plan
    from orchestrator.sharing import Share

TASK_FILES: Final = 2
"""Files of an incarnation that stay: journal and heartbeat; what it prints, if anything, comes on top."""

RUN_FILES: Final = 1
"""Files of a run: its events."""

ARRAY_FILES: Final = {"local": 2, "batch": 4}
"""Files of an array: the record of its job and its owner; of a batch scheduler's its script and log as well."""

STEWARD_FILES: Final = {"local": 2, "batch": 3}
"""Files of a steward: its standard output and error; of a batch scheduler's its script, output, and job record."""

ENTRY_FILES: Final = 1
"""Files of an entry of the chain."""

MOST_SAMPLES: Final = 256
"""So many tasks that ended are looked at, spread over all of them."""

Kind = tuple[str, ...]


class Sample(NamedTuple):
    """What a task that ended took: its kind, its work, and seconds."""

    kind: Kind
    work: float
    seconds: float


@dataclass(frozen=True)
class Hours:
    """Processor hours of what is handed over, where they are known.

    Parameters
    ----------
    most
        Of one time slice of every element; None where a time slice has no limit.
    expected
        Of all the work; None where nothing was measured yet.
    """

    most: float | None
    expected: float | None


@dataclass(frozen=True)
class Bill:
    """What a plan costs.

    Parameters
    ----------
    elements, arrays
        What the scheduler sees.
    cpu_hours, gpu_hours
        See :class:`Hours`.
    files
        How many files will stay in the study; approximate, as nobody knows who will be tried again.
    samples
        How many tasks that ended the expectation rests on.
    start
        When the scheduler thinks that it would begin, in a phrase; None if it does not say.
    """

    elements: int
    arrays: int
    cpu_hours: Hours
    gpu_hours: Hours
    files: int
    samples: int = 0
    start: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the bill as JSON-able data."""
        return asdict(self)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def bill(
    parts: Sequence[Share],
    seconds: Mapping[str, float] | None,
    *,
    local: bool,
    samples: int = 0,
    start: str | None = None,
) -> Bill:
    """Add up what a plan costs.

    Parameters
    ----------
    parts
        How it is handed over.
    seconds
        How long each task is expected to take, by its name; None if nobody knows.
    local
        Whether it goes to this machine: there are no elements there, and no time slices that are charged.
    samples, start
        See :class:`Bill`.
    """
    tasks = sum(len(part.batch.tasks) for part in parts)
    runs = sum(task.count for part in parts for task in part.batch.tasks)
    arrays = sum(len(part.arrays) for part in parts)
    kind = "local" if local else "batch"
    files = tasks * TASK_FILES + runs * RUN_FILES + len(parts) * ENTRY_FILES
    files += arrays * ARRAY_FILES[kind] + STEWARD_FILES[kind]
    cpus, gpus = (_hours(parts, what, seconds, local=local) for what in ("cpus", "gpus"))
    elements = 0 if local else sum(part.elements for part in parts)
    return Bill(elements, 0 if local else arrays, cpus, gpus, files if tasks else 0, samples, start)


def _hours(parts: Sequence[Share], what: str, seconds: Mapping[str, float] | None, *, local: bool) -> Hours:
    amounts = [int(part.batch.resources.get(what) or 0) for part in parts]
    slices = [part.batch.resources.get("time") for part in parts]
    most = expected = None
    if all(slices) and not local:
        each = zip(parts, amounts, slices, strict=True)
        most = sum(part.elements * amount * units.seconds(str(time)) for part, amount, time in each) / 3600
    if seconds is not None:
        # The tasks of one element share its processors.
        expected = sum(
            seconds[task.name] * amount / part.per_job
            for part, amount in zip(parts, amounts, strict=True)
            for task in part.batch.tasks
        )
        expected /= 3600
    return Hours(*(None if hours is None else round(hours, 6) for hours in (most, expected)))


def expect(
    tasks: Sequence[TaskSpec], work: Sequence[float], kinds: Sequence[Kind], samples: Sequence[Sample]
) -> dict[str, float] | None:
    """Return how many seconds each task will take, judged by those of its kind, or by all where there is none of it.

    Parameters
    ----------
    tasks, work, kinds
        The tasks, what each has to do, and of what kind it is.
    samples
        What was measured.

    Returns
    -------
    dict[str, float] | None
        Seconds by the task's name; None without any sample.
    """
    sums: dict[Kind, list[float]] = defaultdict(lambda: [0.0, 0.0])
    whole = [0.0, 0.0]
    for sample in samples:
        for total in (sums[sample.kind], whole):
            total[0] += sample.seconds
            total[1] += sample.work
    if not whole[1]:
        return None
    rate = {kind: took / did for kind, (took, did) in sums.items() if did}
    return {
        task.name: amount * rate.get(kind, whole[0] / whole[1])
        for task, amount, kind in zip(tasks, work, kinds, strict=True)
    }


def padded(count: int, *, lanes: bool) -> int:
    """Return how many lanes a task of so many runs computes: stacked tensors are padded."""
    return -(-count // FEWEST_LANES) * FEWEST_LANES if lanes else count


class Kinds:
    """The kinds of tasks: runs of one program take alike.

    Parameters
    ----------
    points
        The points that tasks name.
    ignored
        Parameters that do not matter: those of lanes, and the number of steps.
    """

    def __init__(self, points: Points, ignored: Iterable[str | None]) -> None:
        skip = {*ignored, "seed"}
        self._points = points
        self._paths = sorted(path for path in points.leaves if path not in skip)
        self._axes = sorted({points.leaves[path].by for path in self._paths} - {""})
        self._known: dict[tuple[int, ...], Kind] = {}

    def of(self, position: int) -> Kind:
        """Return the kind of the task that begins with this point."""
        points = self._points
        codes = tuple(points.codes[axis][position] for axis in self._axes)
        if codes not in self._known:
            self._known[codes] = tuple(f"{path}={points.at(points.leaves[path], position)}" for path in self._paths)
        return self._known[codes]


# --- what is there ----------------------------------------------------------------------------------------------------


def foresee(
    study: Study | None, wanted: Desired, cluster: Cluster, planned: Plan, history: History, *, probe: bool = False
) -> Bill:
    """Say what a plan costs; the scheduler is asked when it would begin.

    Parameters
    ----------
    study, history
        The study, None if it does not exist yet, and what is known of it.
    wanted, cluster, planned
        What it should hold, where tasks are to go, and what is to be done.
    probe
        Whether two of its tasks go first: these begin when the scheduler says, and the costs are those of all.
    """
    from orchestrator.sharing import shares

    info, points, local = wanted.info, wanted.points, cluster.kind == "local"
    parts = shares(wanted, planned, cluster)
    known = samples(study, history) if study is not None and history.ended else []
    tasks = [task for part in parts for task in part.batch.tasks]
    seconds = None
    if known:
        kinds = Kinds(points, [*info["lanes"], info["steps"]])
        work = _work(points, tasks, planned, info)
        seconds = expect(tasks, work, [kinds.of(task.points[0][0]) for task in tasks], known)
    first = max(parts, key=lambda part: part.elements, default=None)
    start = None
    if first is not None:
        start = cluster.estimate(first.batch.resources, min(first.elements, 2) if probe else first.elements)
    return bill(parts, seconds, local=local, samples=len(known), start=start)


def _work(points: Points, tasks: Sequence[TaskSpec], planned: Plan, info: Mapping[str, Any]) -> list[float]:
    """Return what each task has to do: steps of lanes, padding included; runs, where nobody counts steps."""
    column = points.leaves.get(info["steps"] or "")
    lanes = info["form"] == "lanes"
    if column is None:
        return [float(padded(task.count, lanes=lanes)) for task in tasks]
    values = [float(value) if isinstance(value, (int, float)) else 0.0 for value in column.values]
    if column.by:
        codes = points.codes[column.by]
        whole = [sum(values[codes[position]] for position in task.indices()) for task in planned.tasks]
    else:
        whole = [values[0] * task.count for task in planned.tasks]
    # What was done before is known of all tasks together.
    left = (planned.cost.iterations or 0) / (sum(whole) or 1)
    by_name = dict(zip((task.name for task in planned.tasks), whole, strict=True))
    return [by_name[task.name] * left * padded(task.count, lanes=lanes) / task.count for task in tasks]


def samples(study: Study, history: History) -> list[Sample]:
    """Return what tasks of a study took that said so when they ended."""
    ended = sorted(history.ended, key=lambda name: tuple(map(int, name.split("-"))))
    found: list[Sample] = []
    kinds: dict[int, Kinds] = {}
    for name in ended[:: -(-len(ended) // MOST_SAMPLES) or 1]:
        task = study.task(name)
        generation = study.generation(task.generation)
        assert generation is not None
        info = generation.info
        if generation.g not in kinds:
            kinds[generation.g] = Kinds(generation.points, [*info["lanes"], info["steps"]])
        kind = kinds[generation.g].of(task.points[0])
        share = padded(len(task.runs), lanes=info["form"] == "lanes") / len(task.runs)
        for log in study.incarnations(name):
            made = _made(log) if info["steps"] else sum(verdict is not None for verdict in log.verdicts)
            if log.seconds and made:
                found.append(Sample(kind, made * share, log.seconds))
    return found


def _made(log: IncarnationLog) -> int:
    """Return how many steps all lanes of an incarnation made together."""
    total = 0
    for begun, progress, saved, verdict in zip(log.begun, log.progress, log.saved, log.verdicts, strict=True):
        steps = [step for step in (progress, saved, verdict and verdict[1]) if step is not None]
        if begun is not None and steps:
            total += max(0, max(steps) - max(begun, 0))
    return total
