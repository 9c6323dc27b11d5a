"""What must hold of a study whatever befell it: promises 1 to 5, checked from its files."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from export import corpus
from export.check import series
from export.scalars import gather
from orchestrator.states import RUN_STATES
from orchestrator.study.audit import Finding, audit
from orchestrator.study.study import Study

Rows = dict[str, dict[str, list[tuple[int, bytes]]]]
"""Run to tag to rows of (step, the value's bytes)."""


def rows(study: Study) -> Rows:
    """Return the series of every run as the tables have them, bit by bit; those of runs without rows are left out."""
    found: Rows = defaultdict(dict)
    described = corpus.of_study(study)
    with tempfile.TemporaryDirectory() as folder:
        gathered = gather(described, Path(folder))
        for chunk in gathered.chunks():
            kept = chunk.latest()
            values = np.asarray(kept.value, np.float64).view("V8").tolist()
            for point, tag, step, value in zip(kept.point, kept.tag, kept.step.tolist(), values, strict=True):
                run = described.runs[described.points[point]]
                found[run].setdefault(gathered.tags[tag], []).append((step, value))
    return dict(found)


def curves(study: Study) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return the curve of every tag of every run, as TensorBoard itself shows it."""
    found = {}
    for folder in sorted(study.path.glob("events/*/*")):
        shown = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        tags = shown.Tags()["scalars"]
        found[folder.name] = {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in tags}
    return found


def written(study: Study) -> int:
    """Return how many events with values are in a study's files, whether they count or not."""
    files = study.path.glob("events/*/*/*")
    return sum(event.HasField("summary") for file in files for event in EventFileLoader(str(file)).Load())


def contradictions(study: Study, *, damage: bool = False) -> list[Finding]:
    """Return what cannot be in order; with ``damage``, what cannot be read is."""
    fresh = Study(study.path)
    found = [*audit(fresh), *series(fresh).findings]
    return [one for one in found if one.certain and not (damage and one.fault == "damage")]


def proven(study: Study, expected: Rows | None = None, *, damage: bool = False) -> None:
    """Assert that every run is done, exactly once, with the series of an undisturbed study.

    Parameters
    ----------
    study, expected
        The study, and the rows of one that nothing befell.
    damage
        Whether the test damaged records on purpose.
    """
    fresh = Study(study.path)
    history = fresh.history()
    generation = fresh.generation()
    assert generation is not None
    counts = history.counts(generation.runs, ())
    assert counts == {**dict.fromkeys(RUN_STATES, 0), "done": len(set(generation.runs))}, counts
    assert contradictions(study, damage=damage) == []
    if expected is not None:
        assert rows(fresh) == expected
