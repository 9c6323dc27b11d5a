"""Lanes: runs that differ in values only, trained side by side as slices of stacked tensors.

Every tensor has its lanes on the last axis. What a lane computes is elementwise across lanes, so its numbers are the
same bits alone, among a thousand others, reordered, or after a restart in other company; ``tests/lanes`` holds every
module of the experiments to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.experiment import Experiment, ExperimentParams
from orchestrator.recorder import IntArray, Recorder, Snapshot


def train(
    experiment: Experiment,
    params: Sequence[ExperimentParams],
    recorder: Recorder,
    *,
    engine: Mapping[str, Any],
    restored: tuple[IntArray, Snapshot] | None = None,
) -> None:
    """Train runs as lanes until each has a verdict, is cancelled, or the recorder orders a stop.

    Parameters
    ----------
    experiment
        An experiment of the form ``lanes``.
    params
        The parameters of each lane. They must share a program (:func:`orchestrator.experiment.program_of`).
    recorder
        Receives rows, checkpoints and verdicts; a lane is named by its position in ``params``.
    engine
        What :func:`orchestrator.lanes.engine.resolve` returned, here or where the study's engine was pinned.
    restored
        Lanes that go on from a snapshot, int64 (n,), and that snapshot; the other lanes start at step 0.
    """
    from orchestrator.lanes.lanes import train_lanes

    train_lanes(experiment, params, recorder, engine, restored)
