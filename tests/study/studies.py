"""Small studies, a cluster that lives in memory, and a worker that needs no training."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator import identity
from orchestrator.clusters.base import Evidence, Here, LimitReached, Limits, Part
from orchestrator.errors import UserError
from orchestrator.points import MISSING, Column, Points
from orchestrator.states import JobState
from orchestrator.study.incarnation import Incarnation
from orchestrator.study.records import Job, Submission, TaskSpec
from orchestrator.study.spans import to_spans
from orchestrator.study.study import Study
from orchestrator.submit import Desired

LANES = frozenset({"seed", "rate", "l1.start"})


def make_points(
    seeds: int = 5, layers: Sequence[str] = ("nmru",), rates: Sequence[float] = (0.1,), steps: int = 100
) -> Points:
    """Layers × rates × seeds; the layer "sparse" has a group that the others have not."""
    grid = list(itertools.product(range(len(layers)), range(len(rates)), range(seeds)))
    group = [0.5 if layer == "sparse" else MISSING for layer in layers]
    points = Points(
        codes={
            "layer": array("B", [layer for layer, _, _ in grid]),
            "rate": array("B", [rate for _, rate, _ in grid]),
            "seed": array("H", [seed for _, _, seed in grid]),
        },
        leaves={
            "layer": Column("layer", list(layers)),
            "l1": Column("layer", [MISSING if value is not MISSING else None for value in group]),
            "l1.start": Column("layer", group),
            "rate": Column("rate", list(rates)),
            "seed": Column("seed", list(range(seeds))),
            "steps": Column("", [steps]),
        },
        labels={"layer": Column("layer", list(layers)), "seed": Column("seed", list(map(str, range(seeds))))},
    )
    for i in range(len(grid)):
        points.ids += identity.from_text(identity.run_id("test", 1, points.params(i)))
    return points


def make_info(**changes: Any) -> dict[str, Any]:
    return {
        "experiment": "test",
        "version": 1,
        "form": "lanes",
        "train": "nowhere:train",
        "params": "nowhere:Params",
        "steps": "steps",
        "cadence": None,
        "lanes": sorted(LANES),
        "project": None,
        "overrides": [],
        "resources": {"lanes": "auto", "workers": 1, "retries": 2, "memory": "2G"},
        "export": {},
        "figures": [],
        "created": "",
        **changes,
    }


def make_wanted(points: Points, *, text: str = "study: s\n", source: str = "s1", **info: Any) -> Desired:
    record = make_info(**info)
    return Desired(
        record,
        points,
        generation=lambda study: study.publish_generation(text, record, points),
        code=lambda study: "c0de",
        source=source,
        packages=lambda study: study.record_packages({"python": "3"}),
    )


def ids(points: Points) -> list[bytes]:
    return [points.id(i) for i in range(len(points))]


def enter(study: Study, *tasks: Iterable[int], g: int = 1, **fields: Any) -> Submission:
    """Publish an entry whose tasks have these positions, and record a job for it."""
    n = study.history().last + 1
    lists = [list(task) for task in tasks]
    specs = tuple(TaskSpec(f"{n}-{i}", to_spans(task), len(task)) for i, task in enumerate(lists))
    fields = {"generation": g, "cluster": "fake", "source": "s1", "arrays": ((0, len(specs)),), **fields}
    entry = study.publish(Submission(n, tasks=specs, **fields))
    study.record_job(n, 0, Job(n, 0, "fake", f"j{n}"))
    return entry


def start(study: Study, task: str) -> Incarnation:
    """Begin an incarnation as a worker does: leave what is finished, restore what there is, and say so."""
    incarnation = study.begin(task)
    incarnation.write("begin", host="here", pid=1)
    runs = incarnation.task.runs
    finished = study.finished(runs)
    found = study.restore_points(runs, code=incarnation.task.submission.source)
    lanes = [lane for lane, run in enumerate(runs) if run not in finished]
    incarnation.write(
        "restored", lanes=lanes, steps=[found[runs[lane]].step if runs[lane] in found else 0 for lane in lanes]
    )
    return incarnation


def save(incarnation: Incarnation, steps: int | list[int], lanes: Sequence[int] | None = None) -> None:
    lanes = range(len(incarnation.task.runs)) if lanes is None else lanes
    incarnation.checkpoint(lambda file: file.write(b"state"), lanes, steps)  # type: ignore[arg-type, return-value]


def finish(incarnation: Incarnation, lanes: Sequence[int] | None = None, step: int = 100) -> None:
    lanes = range(len(incarnation.task.runs)) if lanes is None else lanes
    incarnation.write("verdict", lanes=lanes, outcome="done", steps=step)
    incarnation.write("end", reason="finished")


@dataclass
class FakeCluster:
    """A scheduler in memory. ``refuse`` makes it unreachable."""

    name: str = "fake"
    kind: str = "slurm"
    max_array: int | None = None
    max_jobs: int | None = None  # in the queue at one time; a submission beyond it is refused
    hidden: bool = False  # whether the cluster cannot tell that limit beforehand
    refuse: bool = False
    said: dict[str, Evidence] = field(default_factory=dict)
    stewards: dict[str, JobState] = field(default_factory=dict)
    jobs: dict[str, tuple[int, int]] = field(default_factory=dict)
    states: dict[str, JobState] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    cancelled: list[Part] = field(default_factory=list)
    queries: int = 0

    def submit(self, study: Study, submission: Submission, array: int) -> Job:
        if self.refuse:
            raise UserError("the scheduler does not answer")
        if self.max_jobs is not None and submission.elements(array) > self.max_jobs - self._queued():
            raise LimitReached("the queue is full")
        self.sizes[f"job{len(self.jobs) + 1}"] = submission.elements(array)
        job_id = f"job{len(self.jobs) + 1}"
        self.jobs[job_id] = (submission.n, array)
        self.states[job_id] = "pending"
        return Job(submission.n, array, self.name, job_id)

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        self.queries += 1
        return {job.job_id: {**self.states, **self.stewards}.get(job.job_id, "gone") for job in jobs}

    def _queued(self) -> int:
        return sum(self.sizes.get(job_id, 1) for job_id, state in self.states.items() if state != "gone")

    def cancel(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if part.elements is None:
                (self.stewards if part.job.job_id in self.stewards else self.states)[part.job.job_id] = "gone"
            self.cancelled.append(part)

    def limits(self, resources: Any) -> Limits:
        known = self.max_jobs is not None and not self.hidden
        return Limits(self.max_array, self.max_jobs - self._queued() if known else None)

    def steward(self, study: Study, k: int, resources: Any, after: Sequence[Job]) -> Job:
        job = Job(0, 0, self.name, f"steward{k}", extra={"after": [job.job_id for job in after]})
        self.stewards[job.job_id] = "pending"
        return job

    def evidence(self, parts: Sequence[Part]) -> dict[str, Evidence]:
        return self.said

    def estimate(self, resources: Any, elements: int) -> str | None:
        return None

    def here(self) -> Here | None:
        return None

    def requeue(self, here: Here) -> bool:
        return False

    def __call__(self, name: str) -> FakeCluster:
        assert name == self.name
        return self

    def work(self, study: Study, job_id: str) -> bool:
        """Do what a job does, from taking its array to its tasks' verdicts."""
        n, a = self.jobs[job_id]
        self.states[job_id] = "gone"
        if not study.take(n, a, job_id):
            return False
        entry = study.submission(n)
        for spec in entry.tasks[slice(*entry.arrays[a])]:
            incarnation = start(study, spec.name)
            history = study.history()
            gone = study.superseded(incarnation, incarnation.task.runs)
            finish(
                incarnation,
                [
                    lane
                    for lane, run in enumerate(incarnation.task.runs)
                    if lane not in gone and not history.runs[run].cancelled
                ],
            )
            incarnation.close()
        return True
