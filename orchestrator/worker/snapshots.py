"""Checkpoint files: snapshots as NumPy archives, without pickle."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from orchestrator.recorder import Snapshot
from orchestrator.study.patience import patiently
from orchestrator.study.records import RestorePoint
from orchestrator.study.study import Study
from orchestrator.worker.log import LOG

_STEPS: Final = "steps"
_STATE: Final = "state:"


def write(file: BinaryIO, snapshot: Snapshot) -> None:
    """Write a snapshot; it is complete when the archive's directory, at its end, is."""
    state = {_STATE + name: array for name, array in snapshot.arrays.items()}
    np.savez(file, **{_STEPS: snapshot.steps}, **state)  # type: ignore[arg-type]


def read(file: BinaryIO | str) -> Snapshot:
    """Read a snapshot back.

    Raises
    ------
    Exception
        If it is not there or not whole; of many classes.
    """
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name[len(_STATE) :]: archive[name] for name in archive.files if name.startswith(_STATE)}
        return Snapshot(archive[_STEPS], arrays)


def restore(study: Study, runs: Mapping[int, bytes], source: str) -> dict[int, Snapshot]:
    """Return each lane's newest snapshot that counts, of one column; lanes without one are left out.

    Parameters
    ----------
    study
        The study.
    runs
        Lane to raw id.
    source
        Digest of the experiment's sources: what other sources wrote may mean something else. ``""``: any.

    Raises
    ------
    OSError
        If a checkpoint or a journal is there and cannot be read, even after some patience. To begin such a run from
        nothing would throw away what it has.
    """
    damaged: set[Path] = set()

    def load() -> dict[int, Snapshot]:
        while True:
            points = study.restore_points(runs.values(), code=source or None, without=damaged)
            known = len(damaged)
            try:
                found = _load({lane: points[run] for lane, run in runs.items() if run in points}, damaged)
            except FileNotFoundError:
                continue  # a superseded owner tidied up between our look and our reading
            if len(damaged) == known:
                return found

    return patiently(load)


def _load(points: Mapping[int, RestorePoint], damaged: set[Path]) -> dict[int, Snapshot]:
    """Read checkpoints; those that turn out to be damaged are noted, and an earlier one may still be there."""
    found: dict[int, Snapshot] = {}
    by_file: dict[str, list[int]] = {}
    for lane, point in points.items():
        by_file.setdefault(str(point.path), []).append(lane)
    for path, lanes in by_file.items():
        try:
            whole = read(path)
            found.update({lane: whole.select([points[lane].column]) for lane in lanes})
        except Exception as error:  # noqa: PERF203  (files are judged one by one; damaged ones raise whatever they like)
            if _not_its_fault(error):
                raise
            LOG.warning("checkpoint %s is damaged (%s): going on from an earlier one, if there is one", path, error)
            damaged.add(Path(path))
    return found


def _not_its_fault(error: Exception) -> bool:
    """Say whether a file could not be read for a reason that says nothing of what is in it."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in (None, errno.EINVAL))


def join(snapshots: Mapping[int, Snapshot], lanes: Sequence[int]) -> tuple[list[int], Snapshot] | None:
    """Put the snapshots of some lanes side by side; returns which of ``lanes`` have one (as indices), or None."""
    there = [index for index, lane in enumerate(lanes) if lane in snapshots]
    return (there, Snapshot.join([snapshots[lanes[index]] for index in there])) if there else None
