"""Mazes: images of perfect mazes with a green start and a red goal, and the way between them.

A maze of nominal size n (odd) has m = (n + 1) / 2 cells a side, 2m + 1 squares a side with its walls, and 2n + 6 pixels
a side: two for each square, and a black frame. Many mazes grow side by side, one step of the search of each at a time;
what a maze is depends on (part, size, seed, index) alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from experiments.thinking.data import counter

VERSION = 1
"""Of the generator; raised when it gives other mazes."""

CHUNK_BYTES = 16_000_000
"""Of the search's arrays: as many mazes grow side by side as fit."""

Images = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.int64]


class Mazes(NamedTuple):
    """Images and solutions."""

    inputs: Images
    """uint8 (n, 3, pixels, pixels), 0 or 1: red, green, blue."""
    solutions: Images
    """uint8 (n, pixels, pixels): 1 on the way, both ends included."""


class Trees(NamedTuple):
    """Spanning trees of m × m cells within a frame; cells are numbered row by row, frame included."""

    parents: Cells
    """int64 (n, m + 2, m + 2): the cell that each was entered from, and at the start itself; -1 on the frame."""
    start: Cells
    """int64 (n,)."""
    goal: Cells
    """int64 (n,)."""


def samples(part: str, size: int) -> int:
    """Return how many mazes were published of a size: 50,000 for training, 10,000 or, from 19 on, 1,000 for tests."""
    if part == "train":
        return 50_000
    return 10_000 if size <= 17 else 1_000


def pixels(size: int) -> int:
    """Return the pixels a side of a maze of nominal size n, 2n + 6."""
    return 2 * size + 6


def generate(part: str, size: int, count: int, seed: int = 0, first: int = 0) -> Mazes:
    """Make mazes ``first`` … ``first + count − 1`` of a set.

    Parameters
    ----------
    part
        ``train`` or ``test``: two sets that have nothing to do with each other.
    size
        Nominal size n, odd, 3 or more.
    count
        How many mazes.
    seed
        Of the set.
    first
        Index of the first one.
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(f"the nominal size of a maze is odd, and 3 or more, not {size}")
    side = (size + 1) // 2
    stream = counter.key("mazes", VERSION, part, size, seed)
    at_once = max(1, CHUNK_BYTES // (16 * (side + 2) ** 2))
    images = np.zeros((count, 3, pixels(size), pixels(size)), np.uint8)
    solutions = np.zeros((count, pixels(size), pixels(size)), np.uint8)
    for begin in range(0, count, at_once):
        end = min(begin + at_once, count)
        keys = counter.words(stream, np.arange(first + begin, first + end))
        images[begin:end], solutions[begin:end] = draw(grow(side, keys))
    return Mazes(images, solutions)


def grow(side: int, keys: counter.Words) -> Trees:
    """Carve mazes by depth-first search from their starts, in lockstep.

    The search goes from a cell to one of its unvisited neighbours, each as likely, and back where there is none: the
    parents are the stack. Number 2 + t of a maze's own stream decides its step t; 0 and 1 its start and goal.
    """
    count, width, cells = len(keys), side + 2, side * side
    begin, end = counter.below(cells, counter.words(keys, 0)), counter.below(cells - 1, counter.words(keys, 1))
    end += end >= begin
    start, goal = ((cell // side + 1) * width + cell % side + 1 for cell in (begin, end))

    free = np.pad(np.ones((count, side, side), bool), ((0, 0), (1, 1), (1, 1))).reshape(-1)
    parents: npt.NDArray[np.int64] = np.full(count * width * width, -1, np.int64)
    base = np.arange(count) * width * width
    here = start.copy()
    free[base + here], parents[base + here] = False, here
    steps = np.array([-1, 1, width, -width])  # W, E, S, N
    left = np.full(count, cells - 1)
    turn = 2
    while left.any():
        open_ = free[(base + here)[:, None] + steps]
        ways = open_.cumsum(axis=1)
        total = ways[:, -1]
        pick = counter.below(total, counter.words(keys, turn)) + 1
        ahead = here + steps[(ways < pick[:, None]).sum(axis=1) % 4]
        moves = total > 0
        place = (base + ahead)[moves]
        free[place], parents[place] = False, here[moves]
        here = np.where(moves, ahead, parents[base + here])
        left -= moves
        turn += 1
    return Trees(parents.reshape(count, width, width), start, goal)


def draw(trees: Trees) -> Mazes:
    """Draw mazes and the ways from their starts to their goals."""
    parents, start, goal = trees
    count, width, _ = parents.shape
    side = width - 2
    rows, here = np.arange(count), goal.copy()
    flat, on_way = parents.reshape(count, -1), np.zeros((count, width * width), bool)
    while True:
        on_way[rows, here] = True
        if (here == start).all():
            break
        here = flat[rows, here]
    way = on_way.reshape(count, width, width)[:, 1:-1, 1:-1]

    numbers = np.arange(width * width).reshape(width, width)[1:-1, 1:-1]
    inner = parents[:, 1:-1, 1:-1]
    east = (inner[:, :, 1:] == numbers[:, :-1]) | (inner[:, :, :-1] == numbers[:, 1:])
    south = (inner[:, 1:] == numbers[:-1]) | (inner[:, :-1] == numbers[1:])
    open_, solution = (np.zeros((count, 2 * side + 1, 2 * side + 1), np.uint8) for _ in range(2))
    open_[:, 1::2, 1::2], solution[:, 1::2, 1::2] = 1, way
    open_[:, 1::2, 2:-1:2], solution[:, 1::2, 2:-1:2] = east, east & way[:, :, 1:] & way[:, :, :-1]
    open_[:, 2:-1:2, 1::2], solution[:, 2:-1:2, 1::2] = south, south & way[:, 1:] & way[:, :-1]

    image = np.repeat(open_[:, None], 3, axis=1)
    for cell, dark in ((start, (0, 2)), (goal, (1, 2))):  # what is left is green, and red
        y, x = 2 * (cell // width) - 1, 2 * (cell % width) - 1
        for channel in dark:
            image[rows, channel, y, x] = 0
    return Mazes(_enlarge(image), _enlarge(solution))


def _enlarge(squares: Images) -> Images:
    """Make two by two pixels of each square, and a black frame around all."""
    large = np.repeat(np.repeat(squares, 2, axis=-2), 2, axis=-1)
    frame = [(0, 0)] * (squares.ndim - 2) + [(1, 1), (1, 1)]
    return np.pad(large, frame)


def on_canvas(mazes: Mazes, canvas: int, seed: int, part: str) -> Mazes:
    """Put mazes at random places on a black canvas, as the first data sets had them (32 pixels; spec 2.2).

    Parameters
    ----------
    mazes
        Of p pixels a side.
    canvas
        Pixels of the canvas a side, p or more. Each offset from 0 to canvas − p is as likely in either direction.
    seed, part
        Of the set: a maze's place depends on them and on its index.

    Raises
    ------
    ValueError
        If a maze is larger than the canvas.
    """
    count, _, size, _ = mazes.inputs.shape
    if size > canvas:
        raise ValueError(f"mazes of {size} pixels do not fit on a canvas of {canvas}")
    stream = counter.key("canvas", VERSION, part, size, canvas, seed)
    places = counter.below(canvas - size + 1, counter.words(stream, np.arange(2 * count))).reshape(count, 2)
    images = np.zeros((count, 3, canvas, canvas), np.uint8)
    solutions = np.zeros((count, canvas, canvas), np.uint8)
    for index, (y, x) in enumerate(places):
        images[index, :, y : y + size, x : x + size] = mazes.inputs[index]
        solutions[index, y : y + size, x : x + size] = mazes.solutions[index]
    return Mazes(images, solutions)
