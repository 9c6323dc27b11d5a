"""Published data files, read where a folder with them is given.

The folder holds what the published packages unpack to: ``prefix_sums_data/{L}_data.pth`` and ``{L}_targets.pth``;
``maze_data_{train|test}_{n}/inputs.npy`` and ``solutions.npy``; ``chess_data/data.pth``, ``targets.pth`` and
``who_moves.pth``. Nothing in them is executed: tensors are read with ``weights_only``, arrays without pickles.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.thinking.data.chess import Puzzles
from experiments.thinking.data.problem import Split
from orchestrator.errors import UserError


def prefix_sums(folder: Path, length: int) -> Split:
    """Return all strings of a length."""
    inputs, targets = (_tensor(folder / "prefix_sums_data" / f"{length}_{kind}.pth") for kind in ("data", "targets"))
    return Split(_zeros_and_ones(inputs, (-1, length), folder)[:, None], _zeros_and_ones(targets, (-1, length), folder))


def mazes(folder: Path, part: str, size: int) -> Split:
    """Return all mazes of a size, from the files for training or those for tests."""
    place = folder / f"maze_data_{part}_{size}"
    inputs, targets = (_array(place / f"{kind}.npy") for kind in ("inputs", "solutions"))
    side = 2 * size + 6
    return Split(_zeros_and_ones(inputs, (-1, 3, side, side), place), _zeros_and_ones(targets, (-1, side, side), place))


def chess(folder: Path, begin: int, end: int) -> Puzzles:
    """Return puzzles ``begin`` … ``end − 1``, as files have them."""
    place = folder / "chess_data"
    shapes = {"data": (-1, 12, 8, 8), "targets": (-1, 8, 8), "who_moves": (-1, 1)}
    parts = []
    for name, shape in shapes.items():
        values = _tensor(place / f"{name}.pth")
        if len(values) < end:
            raise UserError(
                f"{place} has {len(values)} puzzles, and puzzles up to {end} are asked for: lower test_data"
            )
        parts.append(_zeros_and_ones(values[begin:end].reshape(shape), shape, place).numpy())
    return Puzzles(*parts)


def _tensor(path: Path) -> Tensor:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(_absent(path)) from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} is no file of tensors: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error
    if isinstance(found, list):
        found = torch.as_tensor(found)
    if not isinstance(found, Tensor):
        raise UserError(f"{path} holds a {type(found).__name__}, not a tensor")
    return found


def _array(path: Path) -> Tensor:
    try:
        found = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(_absent(path)) from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is no array: {error}") from error
    return torch.from_numpy(found)


def _absent(path: Path) -> str:
    return (
        f"there is no {path}: data names a folder with published files, and a relative path begins at the"
        " study's folder; leave data out, and data are made"
    )


def _zeros_and_ones(values: Tensor, shape: tuple[int, ...], place: Path) -> Tensor:
    fits = (
        len(values) > 0
        and values.ndim == len(shape)
        and all(want in (-1, size) for want, size in zip(shape, values.shape, strict=True))
    )
    if not fits:
        raise UserError(
            f"the data in {place} have the shape {tuple(values.shape)}, not {shape} (-1: as many as there are)"
        )
    # Piece by piece: the published arrays are float64, eight times what is kept.
    pieces = []
    for first in range(0, len(values), 10_000):
        raw = values[first : first + 10_000]
        piece = raw.to(torch.uint8)
        if piece.max() > 1 or not torch.equal(piece.to(raw.dtype), raw):
            raise UserError(f"the data in {place} are not zeros and ones")
        pieces.append(piece)
    return torch.cat(pieces)
