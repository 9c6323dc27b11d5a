"""Small finished, failing and restarted studies, written through the study's own interface and our own frames."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

from orchestrator import identity
from orchestrator.points import MISSING, Column, Points
from orchestrator.study.incarnation import Incarnation
from orchestrator.study.records import Submission, TaskSpec
from orchestrator.study.study import Study
from tests.export.events import scalar, start, version

RANGES = ["U[-2,-1)", "U[1,2)"]
MODELS = ["Real NPU", "NMRU"]
VALID, TEST, SPARSE = "metric/valid/interpolation", "metric/test/extrapolation", "layer/W/sparsity_error"
SUMMARY = {"select": VALID, "error": TEST, "threshold": 1e-5, "sparsity": ["*/sparsity_error"]}
STEPS = range(0, 50, 10)


def make_points(seeds: int = 3) -> Points:
    """Ranges × models × seeds. The parameters are of every kind, and one group is null for one model."""
    grid = [(r, m, s) for r in range(len(RANGES)) for m in range(len(MODELS)) for s in range(seeds)]
    points = Points(
        codes={name: array("B", [point[i] for point in grid]) for i, name in enumerate(("range", "model", "seed"))},
        leaves={
            "interpolation": Column("range", [[-2, -1], [1, 2]]),
            "layer": Column("model", ["real-npu", "nmru"]),
            "learning_rate": Column("model", [0.005, 1]),
            "l1.start": Column("model", [1e-9, MISSING]),
            "seed": Column("seed", list(range(seeds))),
            "plain": Column("", [True]),
        },
        labels={
            "range": Column("range", RANGES),
            "model": Column("model", MODELS),
            "seed": Column("seed", list(map(str, range(seeds)))),
        },
    )
    for i in range(len(grid)):
        points.ids += identity.from_text(identity.run_id("test", 1, points.params(i)))
    return points


def make_study(
    root: Path, points: Points | None = None, figures: list[dict[str, Any]] | None = None, **export: Any
) -> Study:
    points = make_points() if points is None else points
    study = Study.create(root, "study")
    info = {"experiment": "test", "version": 1, "resources": {}, "export": export, "figures": figures or []}
    study.publish_generation("study: study\n", info, points)
    return study


def submit(study: Study, positions: range | None = None, g: int = 1) -> Incarnation:
    """Submit some points (all, if not given) as one task, and begin it."""
    generation = study.generation(g)
    assert generation is not None
    positions = positions or range(len(generation.points))
    n = study.history().last + 1
    spec = TaskSpec(f"{n}-0", [[positions.start, positions.stop, positions.step]], len(positions))
    study.publish(Submission(n, generation=g, tasks=(spec,), arrays=((0, 1),), source=f"code{n}"))
    return begin(study, spec.name, -1)


def begin(study: Study, task: str, restored: int) -> Incarnation:
    incarnation = study.begin(task)
    incarnation.write("begin", host="here")
    incarnation.write("restored", lanes=range(len(incarnation.task.runs)), steps=restored)
    return incarnation


def log(
    study: Study, incarnation: Incarnation, lane: int, steps: range, mark: int | None = None, **values: float
) -> Path:
    """Append what a lane logs: validation falls with the step, the test error is small for even seeds."""
    run = incarnation.task.runs[lane]
    path = study.event_file(run, incarnation.n, incarnation.task.name, incarnation.k)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b""
    if not path.exists():
        data = version() + start(steps.start if mark is None else mark)
    good = incarnation.task.points[lane] % 3 != 1
    for step in steps:
        error = values.get("error", 1e-7 if good and step >= 20 else 0.5)
        data += scalar(VALID, step, 1.0 / (1 + step)) + scalar(TEST, step, error)
        data += scalar(SPARSE, step, values.get("sparsity", 0.01)) + scalar("loss/train", step, 1.0)
    with path.open("ab") as file:
        file.write(data)
    return path


def finish(incarnation: Incarnation, lanes: range | None = None, step: int = 40, outcome: str = "done") -> None:
    lanes = range(len(incarnation.task.runs)) if lanes is None else lanes
    incarnation.write("verdict", lanes=lanes, outcome=outcome, steps=step)


def end(incarnation: Incarnation, reason: str = "finished") -> None:
    incarnation.write("end", reason=reason)
    incarnation.close()


def save(incarnation: Incarnation, lanes: range, step: int) -> None:
    incarnation.checkpoint(lambda file: file.write(b"state"), lanes, step)  # type: ignore[arg-type, return-value]


def finished_study(root: Path, **given: Any) -> Study:
    study = make_study(root, **given)
    incarnation = submit(study)
    lanes = range(len(incarnation.task.runs))
    for lane in lanes:
        log(study, incarnation, lane, STEPS)
    finish(incarnation, lanes)
    end(incarnation)
    return study
