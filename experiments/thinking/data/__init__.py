"""The data of the deep-thinking problems: made here, or read from the published files where a folder is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.thinking.data import cache, chess, mazes, prefix_sums, published
from experiments.thinking.data.problem import Problem, Split, divide
from experiments.thinking.params import Thinking, located
from orchestrator.errors import UserError

__all__ = ["Problem", "Split", "load"]

HARD_PUZZLES = 100_000
"""Puzzles of the published hard set: the last so many before the index ``test_data``."""


def load(p: Thinking) -> Problem:
    """Return the data that parameters ask for.

    Training and validation are a pool divided at random, with the published seed; ``val_batches`` and ``test_batches``
    cut off what is not looked at. Data that take time to make are kept on the disk (:mod:`.cache`).

    Raises
    ------
    UserError
        If files that are asked for are not there, or are not what they should be.
    """
    source = SOURCES[p.problem]
    train, val = divide(source.easy(p), p.train_fraction)
    test = source.hard(p)
    easy = "train_data" if p.problem == "chess" else "train_samples"
    for name, split in ((easy, train), (easy, val), ("test_samples", test)):
        if not len(split.targets):
            raise UserError(f"{name} leaves no samples in one of the sets: give more")
    return Problem(
        train,
        val.first(p.val_batches, p.test_batch_size),
        test.first(p.test_batches, p.test_batch_size),
        source.encode,
        source.mask,
    )


@dataclass(frozen=True)
class Source:
    """Where a problem's data come from, and how a network sees them."""

    easy: Callable[[Thinking], Split]
    hard: Callable[[Thinking], Split]
    encode: Callable[[Tensor], Tensor]
    mask: Callable[[Tensor], Tensor] | None = None


def _split(
    inputs: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], targets: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> Split:
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets))


def _cut(split: Split, count: int | None, name: str) -> Split:
    """Keep the first samples of files, which have as many as they have."""
    if count is not None and count > len(split.targets):
        raise UserError(f"{name} is {count}, and the published files have {len(split.targets)}: lower it")
    return Split(split.inputs[:count], split.targets[:count])


def _strings(p: Thinking, part: str) -> Split:
    length, count = getattr(p, f"{part}_data"), getattr(p, f"{part}_samples")
    if p.data is not None:
        return _cut(published.prefix_sums(located(p.data), length), count, f"{part}_samples")
    if length < 2:
        raise UserError(f"{part}_data is the length of strings: 2 or more, not {length}")
    bits = prefix_sums.strings(length, count or prefix_sums.SAMPLES, p.data_seed)
    return _split(bits[:, None], prefix_sums.sums(bits))


def _mazes(p: Thinking, part: str) -> Split:
    size, count = getattr(p, f"{part}_data"), getattr(p, f"{part}_samples")
    if p.data is not None:
        found = _cut(published.mazes(located(p.data), part, size), count, f"{part}_samples")
    else:
        if size < 3 or size % 2 == 0:
            raise UserError(f"{part}_data is the size of mazes: an odd number, 3 or more, not {size}")
        key = {"part": part, "size": size, "seed": p.data_seed, "count": count or mazes.samples(part, size)}
        kept = cache.fetch(
            "mazes", mazes.VERSION, key, lambda: mazes.generate(part, size, key["count"], key["seed"])._asdict()
        )
        found = _split(kept["inputs"], kept["solutions"])
    if p.canvas is None:
        return found
    if p.canvas < mazes.pixels(size):
        raise UserError(f"canvas is {p.canvas} pixels, and mazes of size {size} have {mazes.pixels(size)}: enlarge it")
    placed = mazes.Mazes(found.inputs.numpy(), found.targets.numpy())
    return _split(*mazes.on_canvas(placed, p.canvas, p.data_seed, part))


def _puzzles(p: Thinking, begin: int, end: int) -> Split:
    total = max(p.train_data, p.test_data)
    if p.data is not None:
        found = published.chess(located(p.data), begin, end)
    elif p.chess_csv is not None:
        path = located(p.chess_csv)
        try:
            stat = path.stat()
        except OSError as error:
            raise UserError(f"chess_csv: {path} cannot be read: {error.strerror}") from error
        key = {"bytes": stat.st_size, "time": stat.st_mtime_ns, "begin": begin, "end": end}
        read = cache.fetch("lichess", chess.VERSION, key, lambda: chess.read_csv(path, begin, end)._asdict())
        found = chess.Puzzles(**read)
    else:
        key = {"seed": p.data_seed, "count": total}
        made = cache.fetch("chess-surrogate", chess.VERSION, key, lambda: chess.surrogate(total, p.data_seed)._asdict())
        found = chess.Puzzles(*(array[begin:end] for array in chess.Puzzles(**made)))
    inputs, targets, _ = chess.orient(found, p.chess_orientation, mover_first=not p.legacy)
    return _split(inputs, targets)


def _easy_puzzles(p: Thinking) -> Split:
    if p.train_samples not in (None, p.train_data):
        raise UserError("train_samples is for problems that are made: train_data is the number of the easiest puzzles")
    return _puzzles(p, 0, p.train_data)


def _hard_puzzles(p: Thinking) -> Split:
    if p.test_data <= p.train_data:
        raise UserError(
            f"test_data ({p.test_data}) must be more than train_data ({p.train_data}): it is where hard ones end"
        )
    count = p.test_samples or min(HARD_PUZZLES, p.test_data - p.train_data)
    if count > p.test_data:
        raise UserError(f"test_samples ({count}) must not be more than test_data ({p.test_data})")
    return _puzzles(p, p.test_data - count, p.test_data)


def _half_off(inputs: Tensor) -> Tensor:
    return inputs.float() - 0.5


def _open(inputs: Tensor) -> Tensor:
    return inputs.amax(dim=1) > 0


SOURCES = {
    "prefix_sums": Source(lambda p: _strings(p, "train"), lambda p: _strings(p, "test"), _half_off),
    "mazes": Source(lambda p: _mazes(p, "train"), lambda p: _mazes(p, "test"), Tensor.float, _open),
    "chess": Source(_easy_puzzles, _hard_puzzles, Tensor.float),
}
