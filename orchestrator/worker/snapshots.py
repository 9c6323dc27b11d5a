"""Checkpoint files: snapshots as NumPy archives, without pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

import numpy as np

from orchestrator.recorder import Snapshot
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
    OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile
        If it is not there or not whole.
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
    """
    for _ in range(3):
        points = study.restore_points(runs.values(), code=source or None)
        try:
            return _load({lane: points[run] for lane, run in runs.items() if run in points})
        except FileNotFoundError:
            continue  # a superseded owner tidied up between our look and our reading
    return _load({lane: points[run] for lane, run in runs.items() if run in points and points[run].path.exists()})


def _load(points: Mapping[int, RestorePoint]) -> dict[int, Snapshot]:
    found: dict[int, Snapshot] = {}
    by_file: dict[str, list[int]] = {}
    for lane, point in points.items():
        by_file.setdefault(str(point.path), []).append(lane)
    for path, lanes in by_file.items():
        try:
            whole = read(path)
            found.update({lane: whole.select([points[lane].column]) for lane in lanes})
        except FileNotFoundError:  # noqa: PERF203  (files are judged one by one)
            raise
        except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
            LOG.warning("checkpoint %s is damaged (%s); its runs start again", path, error)
    return found


def join(snapshots: Mapping[int, Snapshot], lanes: Sequence[int]) -> tuple[list[int], Snapshot] | None:
    """Put the snapshots of some lanes side by side; returns which of ``lanes`` have one (as indices), or None."""
    there = [index for index, lane in enumerate(lanes) if lane in snapshots]
    return (there, Snapshot.join([snapshots[lanes[index]] for index in there])) if there else None
