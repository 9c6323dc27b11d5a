"""Chess puzzles as planes: a position, and the squares of the one move that solves it.

Puzzles come from a file of Lichess (columns id, FEN, moves, rating …), sorted by rating, so that an index is a rank of
difficulty; or from a generator of *surrogate* puzzles, which need no file and compare with no published number.

A position is 12 planes of 8 × 8: king, queen, bishop, knight, rook and pawn of the side to move, then the opponent's;
row r is rank r + 1, column f is file a + f (spec 2.3).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from experiments.thinking.data import counter
from orchestrator.errors import UserError

VERSION = 1
"""Of the reader and of the surrogate generator; raised when they give other puzzles."""

PIECES = "KQBNRP"
Planes = npt.NDArray[np.uint8]
Orientation = Literal["aligned", "literal"]


class Puzzles(NamedTuple):
    """Puzzles as files have them: the rows of both are ranks from the first, whoever moves."""

    inputs: Planes
    """uint8 (n, 12, 8, 8)."""
    targets: Planes
    """uint8 (n, 8, 8): 1 where the move begins and where it ends."""
    black: Planes
    """uint8 (n, 1): 1 where Black is to move."""


def orient(puzzles: Puzzles, orientation: Orientation, *, mover_first: bool) -> Puzzles:
    """Turn puzzles as networks see them.

    Parameters
    ----------
    puzzles
        As files have them.
    orientation
        ``aligned``: a target's squares are where they are in its input. ``literal``: targets are mirrored along the
        ranks, and inputs are not, as in the published loader.
    mover_first
        Whether both are turned where Black is to move, so that the mover's home rank is the first row: so in the DT
        data, not in the legacy data.
    """
    inputs, targets = puzzles.inputs, puzzles.targets
    if orientation == "literal":
        targets = targets[:, ::-1]
    if mover_first:
        black = puzzles.black[:, 0].astype(bool)
        inputs = np.where(black[:, None, None, None], inputs[:, :, ::-1], inputs)
        targets = np.where(black[:, None, None], targets[:, ::-1], targets)
    return Puzzles(np.ascontiguousarray(inputs), np.ascontiguousarray(targets), puzzles.black)


# --- puzzles of Lichess -----------------------------------------------------------------------------------------------


def read_csv(path: Path, begin: int, end: int) -> Puzzles:
    """Read puzzles ``begin`` … ``end − 1`` of a file, counted from the easiest; equal ratings keep the file's order.

    The position is the one after the first of the moves that are listed, which is the opponent's; the second is the
    solution.

    Raises
    ------
    UserError
        If the file cannot be read, has too few puzzles, or a line is no puzzle.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(_lines(path, csv.reader(file)))
    except UnicodeDecodeError as error:
        raise UserError(f"chess_csv: {path} is no text: unpack a .csv.zst first, such as with unzstd") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"chess_csv: {path} cannot be read: {error}") from error
    if len(lines) < end:
        raise UserError(f"{path} has {len(lines)} puzzles, and puzzles up to {end} are asked for: lower test_data")
    lines.sort(key=lambda line: line[0])
    read = [_puzzle(path, *line[1:]) for line in lines[begin:end]]
    inputs, targets, black = (np.stack(part) if read else np.empty(0, np.uint8) for part in zip(*read, strict=True))
    return Puzzles(inputs, targets, black)


def _lines(path: Path, rows: Iterator[list[str]]) -> Iterator[tuple[int, int, str, str]]:
    for number, row in enumerate(rows, 1):
        if number == 1 and row[3:4] == ["Rating"]:
            continue
        if len(row) < 4 or not row[3].isdigit():
            raise UserError(f"{path}, line {number}: a puzzle has an id, a FEN, moves and a rating, not {row[:4]}")
        yield int(row[3]), number, row[1], row[2]


def _puzzle(path: Path, line: int, fen: str, moves: str) -> tuple[Planes, Planes, Planes]:
    try:
        board, white = read_fen(fen)
        first, second = (read_move(word) for word in moves.split()[:2])
        play(board, first, white=white)
        play(dict(board), second, white=not white)
    except ValueError as error:
        raise UserError(f"{path}, line {line} is no puzzle: {error}") from error
    target = np.zeros((8, 8), np.uint8)
    for square in second[:2]:
        target[square] = 1
    return planes(board, white=not white), target, np.array([white], np.uint8)


Square = tuple[int, int]
Board = dict[Square, str]
Move = tuple[Square, Square, str]


def read_fen(fen: str) -> tuple[Board, bool]:
    """Return the pieces of a position by their square (rank, file), and whether White is to move."""
    ranks, side = [*fen.split(), "", ""][:2]
    board: Board = {}
    rows = ranks.split("/")
    for rank, row in zip(range(7, -1, -1), rows, strict=False):
        column = 0
        for letter in row:
            if letter.isdigit():
                column += int(letter)
            else:
                board[rank, column] = letter
                column += 1
        if column != 8 or set(row) - set("KQBNRPkqbnrp12345678"):
            raise ValueError(f"{row!r} is no rank of a FEN")
    if len(rows) != 8 or side not in ("w", "b"):
        raise ValueError(f"{fen!r} is no FEN")
    return board, side == "w"


def read_move(word: str) -> Move:
    """Return a move as UCI writes it, such as ``e7e8q``: where it begins, where it ends, what a pawn becomes."""
    squares = [(ord(word[i + 1]) - ord("1"), ord(word[i]) - ord("a")) for i in (0, 2) if len(word) in (4, 5)]
    if len(squares) != 2 or not all(0 <= part < 8 for square in squares for part in square):
        raise ValueError(f"{word!r} is no move")
    return squares[0], squares[1], word[4:]


def play(board: Board, move: Move, *, white: bool) -> None:
    """Make a legal move on a board; castling and taking en passant are told by how the king or the pawn moves."""
    begin, end, promotion = move
    piece = board.pop(begin, " ")
    if piece == " " or piece.isupper() != white:
        raise ValueError(f"no piece of the side to move stands where the move from {_name(begin)} begins")
    if piece in "Pp" and begin[1] != end[1] and end not in board:
        passed = (begin[0], end[1])
        if board.pop(passed, " ") != ("p" if white else "P"):
            raise ValueError(
                f"a pawn takes on {_name(end)}, which is empty, and no pawn to take stands on {_name(passed)}"
            )
    own = "R" if white else "r"
    own_rook = piece in "Kk" and board.get(end) == own  # castling as Chess960 writes it
    if piece in "Kk" and (abs(end[1] - begin[1]) == 2 or own_rook):
        short = end[1] > begin[1]
        corner = end if own_rook else (begin[0], 7 if short else 0)
        if board.pop(corner, " ") != own:
            raise ValueError(f"the king castles, and no rook of its own stands on {_name(corner)}")
        end = (begin[0], 6 if short else 2)
        board[begin[0], 5 if short else 3] = own
    board[end] = (promotion.upper() if white else promotion.lower()) if promotion else piece


def _name(square: Square) -> str:
    return f"{chr(ord('a') + square[1])}{square[0] + 1}"


def planes(board: Board, *, white: bool) -> Planes:
    """Return a position as uint8 (12, 8, 8), the pieces of the side to move first."""
    found = np.zeros((12, 8, 8), np.uint8)
    for (rank, file), piece in board.items():
        found[PIECES.index(piece.upper()) + 6 * (piece.isupper() != white), rank, file] = 1
    return found


# --- surrogate puzzles ------------------------------------------------------------------------------------------------

RAYS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
"""Steps (ranks, files) of rooks, then of bishops."""

LEAPS = [(2, 1), (2, -1), (-2, 1), (-2, -1), (1, 2), (1, -2), (-1, 2), (-1, -2)]
KING, QUEEN, BISHOP, KNIGHT, ROOK, PAWN = range(1, 7)
BATCH = 512
"""Positions that are drawn at a time; the puzzles do not depend on it."""


def surrogate(count: int, seed: int = 0) -> Puzzles:
    """Make puzzles that need no file: take the one piece that nothing defends.

    Pieces are thrown on the board. A position counts where exactly one capture takes an undefended piece, and where it
    is legal and neither king is attacked. Harder ones, later in the order, have more captures that look as good, then
    more pieces. They have the form of puzzles and are none; results on them compare with no published number.

    Parameters
    ----------
    count
        How many puzzles. Unlike other data, a puzzle's place depends on how many there are, since they are sorted.
    seed
        Of the set.
    """
    stream = counter.key("chess", VERSION, seed)
    boards: list[npt.NDArray[np.int8]] = []
    found, first = 0, 0
    moves: list[npt.NDArray[np.int64]] = []
    scores: list[npt.NDArray[np.int64]] = []
    while found < count:
        drawn = _throw(counter.words(stream, np.arange(first, first + BATCH)))
        chosen, move, score = _solve(drawn)
        boards.append(drawn[chosen])
        moves.append(move)
        scores.append(score)
        found, first = found + len(chosen), first + BATCH
    order = np.argsort(np.concatenate(scores)[:count], kind="stable")
    board, move = np.concatenate(boards)[order], np.concatenate(moves)[order]
    black = (counter.words(counter.key("chess side", VERSION, seed), np.arange(count))[order] >> np.uint64(63)) == 1
    inputs = np.stack([board == piece for side in (1, -1) for piece in side * np.arange(1, 7)], axis=1)
    targets = np.zeros((count, 64), np.uint8)
    np.put_along_axis(targets, move, 1, axis=1)
    # The mover is drawn as White; where Black is to move, the same position is seen from the other side.
    mine = Puzzles(
        inputs.reshape(-1, 12, 8, 8).astype(np.uint8), targets.reshape(-1, 8, 8), black[:, None].astype("u1")
    )
    return orient(mine, "aligned", mover_first=True)


def _throw(keys: counter.Words) -> npt.NDArray[np.int8]:
    """Throw two kings and 4 to 11 other pieces on boards, int8 (n, 64): those of the mover positive."""
    ranks = counter.words(keys[:, None], np.arange(64))
    squares = np.argsort(ranks, axis=1, kind="stable")
    numbers = counter.words(keys[:, None], np.arange(64, 64 + 14))
    count = counter.below(8, numbers[:, 13]) + 4
    kinds = np.array([QUEEN, BISHOP, BISHOP, KNIGHT, KNIGHT, ROOK, ROOK, PAWN, PAWN, PAWN])
    draws = kinds[counter.below(len(kinds), numbers[:, 2:13])] * np.where(numbers[:, 2:13] & np.uint64(1), 1, -1)
    draws[np.arange(11) >= count[:, None]] = 0
    pieces = np.concatenate([np.tile([KING, -KING], (len(keys), 1)), draws], axis=1)
    boards = np.zeros((len(keys), 64), np.int8)
    np.put_along_axis(boards, squares[:, :13], pieces.astype(np.int8), axis=1)
    edge = np.r_[0:8, 56:64]
    boards[:, edge] = np.where(np.abs(boards[:, edge]) == PAWN, 0, boards[:, edge])
    return boards


def _attacks(boards: npt.NDArray[np.int8], side: int) -> npt.NDArray[np.bool_]:
    """Return which pieces a side's pieces attack or defend, bool (n, from, to); ``to`` is occupied."""
    square = np.pad(boards.reshape(-1, 8, 8), ((0, 0), (7, 7), (7, 7)))
    wall = np.pad(np.zeros((8, 8), bool), 7, constant_values=True)
    count = len(boards)
    hits = np.zeros((count, 64, 64), bool)
    places = np.arange(64)
    ranks, files = places // 8 + 7, places % 8 + 7
    mine = boards * side
    for number, (up, right) in enumerate(RAYS):
        sliders = (mine == QUEEN) | (mine == (ROOK if number < 4 else BISHOP))
        going = np.ones((count, 64), bool)
        for distance in range(1, 8):
            y, x = ranks + up * distance, files + right * distance
            there = (square[:, y, x] != 0) & going & ~wall[y, x]
            reach = sliders & there
            if distance == 1:
                reach |= (mine == KING) & there
                reach |= (mine == PAWN) & there & (number >= 4 and up == side)
            row, begin = np.nonzero(reach)
            hits[row, begin, begin + (8 * up + right) * distance] = True
            going &= ~there & ~wall[y, x]
    for up, right in LEAPS:
        y, x = ranks + up, files + right
        row, begin = np.nonzero((mine == KNIGHT) & (square[:, y, x] != 0) & ~wall[y, x])
        hits[row, begin, begin + 8 * up + right] = True
    return hits


def _solve(
    boards: npt.NDArray[np.int8],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return which boards are puzzles, the squares (n, 2) of their moves, and how hard they are."""
    mine, theirs = _attacks(boards, 1), _attacks(boards, -1)
    attacked, taken = np.asarray(theirs.any(axis=1)), mine.any(axis=1)
    safe = ~(attacked & (boards == KING)).any(axis=1) & ~(taken & (boards == -KING)).any(axis=1)
    captures: npt.NDArray[np.bool_] = mine & (boards < 0)[:, None, :]
    free: npt.NDArray[np.bool_] = captures & ~attacked[:, None, :]
    chosen = np.flatnonzero(safe & (free.sum(axis=(1, 2)) == 1))
    begin, end = np.divmod(free[chosen].reshape(len(chosen), -1).argmax(axis=1), 64)
    rows = np.arange(len(chosen))
    after = boards[chosen].copy()
    after[rows, end], after[rows, begin] = after[rows, begin], 0
    legal = ~(_attacks(after, -1).any(axis=1) & (after == KING)).any(axis=1)
    score = captures[chosen].sum(axis=(1, 2)) * 100 + (boards[chosen] != 0).sum(axis=1)
    return chosen[legal], np.stack([begin, end], axis=1)[legal], score[legal]
