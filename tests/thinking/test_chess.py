"""Chess puzzles: positions and moves as planes, both orientations, the sorting of files, and the surrogate."""

import numpy as np
import pytest
import torch

from experiments.thinking import data
from experiments.thinking.data import chess
from experiments.thinking.params import Thinking
from orchestrator.errors import UserError

HEADER = "PuzzleId,FEN,Moves,Rating,RatingDeviation,Popularity,NbPlays,Themes,GameUrl"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_DATA_CACHE", str(tmp_path / "cache"))


def write(tmp_path, *puzzles, header=True):
    rows = [
        f"p{number},{fen},{moves},{rating},75,90,100,mate,url" for number, (fen, moves, rating) in enumerate(puzzles)
    ]
    path = tmp_path / "puzzles.csv"
    path.write_text("\n".join([HEADER] * header + rows) + "\n")
    return path


def one(tmp_path, fen, moves):
    inputs, targets, black = chess.read_csv(write(tmp_path, (fen, moves, 1000)), 0, 1)
    return inputs[0], targets[0], bool(black[0, 0])


def seen(planes):
    """Return where each piece stands, such as {"K": {"e1"}}: capitals are the side to move's."""
    letters = "KQBNRPkqbnrp"
    found = {}
    for channel, rank, file in np.argwhere(planes):
        found.setdefault(letters[channel], set()).add(name(rank, file))
    return found


def name(rank, file):
    return "abcdefgh"[file] + str(rank + 1)


def squares(target):
    return {name(rank, file) for rank, file in np.argwhere(target)}


def test_a_position_is_the_one_after_the_first_move(tmp_path):
    # Black takes the pawn d4; White's queen takes back.
    fen = "4k3/8/8/4p3/3P4/8/8/3QK3 b - - 0 1"
    planes, target, black = one(tmp_path, fen, "e5d4 d1d4 e8e7")
    assert not black
    assert seen(planes) == {"K": {"e1"}, "Q": {"d1"}, "k": {"e8"}, "p": {"d4"}}
    assert squares(target) == {"d1", "d4"}


def test_the_side_to_move_comes_first_and_ranks_stay_where_black_moves(tmp_path):
    fen = "3qk3/8/8/3p4/4P3/8/8/4K3 w - - 0 1"
    planes, target, black = one(tmp_path, fen, "e4d5 d8d5")
    assert black
    assert seen(planes) == {"K": {"e8"}, "Q": {"d8"}, "k": {"e1"}, "p": {"d5"}}
    assert squares(target) == {"d8", "d5"}


@pytest.mark.parametrize(
    ("first", "king", "rook"),
    [
        ("e1g1", "g1", {"f1", "a1"}),
        ("e1c1", "c1", {"d1", "h1"}),
        ("e1h1", "g1", {"f1", "a1"}),
        ("e1a1", "c1", {"d1", "h1"}),
    ],
)
def test_castling_moves_the_rook(tmp_path, first, king, rook):
    planes, _, _ = one(tmp_path, "4k3/8/8/8/8/8/8/R3K2R w KQ - 0 1", f"{first} e8e7")
    assert seen(planes) == {"K": {"e8"}, "k": {king}, "r": rook}


def test_castling_as_the_solution_marks_the_king_alone(tmp_path):
    planes, target, black = one(tmp_path, "r3k3/8/8/8/8/8/8/4K3 w q - 0 1", "e1f1 e8c8")
    assert black
    assert seen(planes) == {"K": {"e8"}, "R": {"a8"}, "k": {"f1"}}
    assert squares(target) == {"e8", "c8"}


def test_promotion_is_made_and_ignored_in_the_target(tmp_path):
    planes, target, _ = one(tmp_path, "4k3/8/8/8/8/8/1p6/R3K3 b - - 0 1", "b2a1n e1d2")
    assert seen(planes) == {"K": {"e1"}, "k": {"e8"}, "n": {"a1"}}
    planes, target, _ = one(tmp_path, "4k3/P7/8/8/8/8/8/4K3 b - - 0 1", "e8d7 a7a8q")
    assert seen(planes) == {"K": {"e1"}, "P": {"a7"}, "k": {"d7"}}
    assert squares(target) == {"a7", "a8"}


def test_a_pawn_taken_en_passant_goes(tmp_path):
    planes, _, _ = one(tmp_path, "4k3/8/8/8/3pP3/8/8/4K3 b - e3 0 1", "d4e3 e1e2")
    assert seen(planes) == {"K": {"e1"}, "k": {"e8"}, "p": {"e3"}}


def test_puzzles_are_sorted_by_rating_and_equals_keep_their_order(tmp_path):
    ratings = [900, 700, 900, 800, 700]
    ends = "abcde"
    rows = [
        (f"4k3/8/8/8/8/{file_only(end)}/8/4K3 b - - 0 1", f"e8d8 {end}3{end}4", rating)
        for end, rating in zip(ends, ratings, strict=True)
    ]
    for header in (True, False):
        _, targets, _ = chess.read_csv(write(tmp_path, *rows, header=header), 1, 5)
        assert [squares(target) for target in targets] == [{f"{end}3", f"{end}4"} for end in "edac"]


def file_only(letter):
    place = "abcdefgh".index(letter)
    return (str(place) if place else "") + "P" + (str(7 - place) if place < 7 else "")


@pytest.mark.parametrize("orientation", ["aligned", "literal"])
@pytest.mark.parametrize("mover_first", [True, False])
@pytest.mark.parametrize("black", [True, False])
def test_orientations(tmp_path, orientation, mover_first, black):
    fen = "3qk3/8/8/3p4/4P3/8/8/4K3 w - - 0 1" if black else "4k3/8/8/4p3/3P4/8/8/3QK3 b - - 0 1"
    moves = "e4d5 d8d5" if black else "e5d4 d1d4"
    file = chess.read_csv(write(tmp_path, (fen, moves, 1000)), 0, 1)
    inputs, targets, _ = chess.orient(file, orientation, mover_first=mover_first)
    turned = black and mover_first
    assert (inputs[0] == (file.inputs[0, :, ::-1] if turned else file.inputs[0])).all()
    queen_row = np.argwhere(inputs[0, 1])[0, 0]
    rows = {int(row) for row in np.argwhere(targets[0])[:, 0]}
    assert queen_row == (7 if black and not mover_first else 0)  # the mover's home rank is the first row
    assert (queen_row if orientation == "aligned" else 7 - queen_row) in rows
    # The pieces that move are the same, aligned or literal: row r of the one is row 7 − r of the other.
    aligned = chess.orient(file, "aligned", mover_first=mover_first).targets
    assert (targets == (aligned if orientation == "aligned" else aligned[:, ::-1])).all()


@pytest.mark.parametrize(
    ("fen", "moves", "says"),
    [
        ("4k3/8/8/8/8/8/8/4K3 w - -", "e1e2", "line 2 is no puzzle"),
        ("4k3/8/8/8/8/8/8/4K3 w - -", "e1e2 e8e9", "'e8e9' is no move"),
        ("4k3/8/8/8/8/8/8/4K3 w - -", "e1e2 e8e77x", "is no move"),
        ("4k3/8/8/8/8/8/8/4K3 w - -", "e8e7 e1e2", "no piece of the side to move stands where the move from e8"),
        ("4k3/8/8/8/8/8/8/4K3 w - -", "e1e2 a1a2", "no piece of the side to move stands where the move from a1"),
        ("4k3/8/8/8/8/8/4K3 w - -", "e1e2 e8e7", "is no FEN"),
        ("4k3/8/8/8/8/8/8/4K4 w - -", "e1e2 e8e7", "is no rank of a FEN"),
        ("4k3/8/8/8/8/8/8/4K3", "e1e2 e8e7", "is no FEN"),
        ("8/8/8/8/8/8/P6k/K7 w - -", "a2b3 h2h3", "line 2 is no puzzle: .* no pawn to take stands on b2"),
        ("8/8/8/8/8/8/PP5k/K7 w - -", "a2b3 h2h3", "no pawn to take stands on b2"),
        ("8/8/8/8/8/8/7k/4K3 w - -", "e1g1 h2h3", "line 2 is no puzzle: .* no rook of its own stands on h1"),
        ("8/8/8/8/8/8/7k/4K2N w - -", "e1g1 h2h3", "no rook of its own stands on h1"),
    ],
)
def test_a_line_that_is_no_puzzle_is_named(tmp_path, fen, moves, says):
    with pytest.raises(UserError, match=says):
        one(tmp_path, fen, moves)


def test_files_that_are_absent_short_or_something_else_are_told(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        make(chess_csv=str(tmp_path / "none.csv"))
    path = write(tmp_path, ("4k3/8/8/8/8/8/8/4K3 w - -", "e1e2 e8e7", 1000))
    with pytest.raises(UserError, match="has 1 puzzles, and puzzles up to"):
        make(chess_csv=str(path))
    path.write_bytes(b"\x28\xb5\x2f\xfd\x00")  # how zstd begins
    with pytest.raises(UserError, match=r"is no text: unpack a \.csv\.zst first"):
        make(chess_csv=str(path))
    path.write_text("a,b\n")
    with pytest.raises(UserError, match="line 1: a puzzle has an id"):
        make(chess_csv=str(path))


def test_reading_agrees_with_python_chess(tmp_path):
    library = pytest.importorskip("chess")
    import random

    random.seed(1)
    rows, wanted = [], []
    for _ in range(60):
        board = library.Board()
        while not board.is_game_over() and board.fullmove_number < 60:
            fen, first = board.fen(), random.choice(list(board.legal_moves))
            board.push(first)
            replies = list(board.legal_moves)
            odd = board.is_en_passant(first) or first.promotion or random.random() < 0.05
            if replies and (odd or library.Board(fen).is_castling(first)):
                rows.append((fen, f"{first.uci()} {replies[0].uci()}", 1000))
                wanted.append((board.copy(), replies[0]))
    inputs, targets, _ = chess.read_csv(write(tmp_path, *rows), 0, len(rows))
    kinds = "KQBNRP"
    for planes, target, (board, reply) in zip(inputs, targets, wanted, strict=True):
        for square, piece in board.piece_map().items():
            channel = kinds.index(piece.symbol().upper()) + 6 * (piece.color != board.turn)
            assert planes[channel, square // 8, square % 8] == 1
        assert planes.sum() == len(board.piece_map())
        assert squares(target) == {library.square_name(reply.from_square), library.square_name(reply.to_square)}


# --- the surrogate ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def puzzles():
    return chess.surrogate(300, seed=1)


def test_surrogate_puzzles_take_the_one_piece_that_nothing_defends(puzzles):
    for planes, target, black in zip(*puzzles, strict=True):
        up = -1 if black[0] else 1
        mine, theirs = planes[:6], planes[6:]
        assert mine[0].sum() == theirs[0].sum() == 1
        assert planes.sum(axis=0).max() == 1
        assert not planes[[5, 11]][:, [0, 7]].any()
        free = {
            (begin, end)
            for begin, end in reach(mine, theirs, up)
            if theirs[:, end[0], end[1]].any() and end not in {place for _, place in reach(theirs, mine, -up)}
        }
        assert len(free) == 1
        assert {tuple(map(int, place)) for place in np.argwhere(target)} == set(*free)
        assert tuple(np.argwhere(mine[0])[0]) not in {place for _, place in reach(theirs, mine, -up)}


def reach(mine, theirs, up):
    """List which squares the pieces of one side attack or defend, by walking: slow and plain."""
    occupied = (mine.sum(axis=0) + theirs.sum(axis=0)) > 0
    straight, oblique = [(0, 1), (0, -1), (1, 0), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    jumps = [(a * x, b * y) for a in (1, -1) for b in (1, -1) for x, y in ((1, 2), (2, 1))]
    rules = [(straight + oblique, 1), (straight + oblique, 8), (oblique, 8), (jumps, 1), (straight, 8)]
    rules.append(([(up, 1), (up, -1)], 1))
    for kind, rank, file in np.argwhere(mine):
        steps, far = rules[kind]
        for step in steps:
            for distance in range(1, far + 1):
                place = (int(rank + step[0] * distance), int(file + step[1] * distance))
                if not all(0 <= part < 8 for part in place):
                    break
                yield (int(rank), int(file)), place
                if occupied[place]:
                    break


def test_surrogate_puzzles_become_harder(puzzles):
    captures = [
        sum(bool(planes[6:, end[0], end[1]].any()) for _, end in reach(planes[:6], planes[6:], -1 if black[0] else 1))
        for planes, black in zip(puzzles.inputs, puzzles.black, strict=True)
    ]
    assert captures == sorted(captures)
    assert captures[0] < captures[-1]


def test_surrogate_puzzles_are_a_function_of_count_and_seed(puzzles):
    again, other = chess.surrogate(300, seed=1), chess.surrogate(300, seed=2)
    assert all((one == two).all() for one, two in zip(puzzles, again, strict=True))
    assert (other.inputs != puzzles.inputs).any()
    assert 0.3 < puzzles.black.mean() < 0.7


# --- the problem ------------------------------------------------------------------------------------------------------


def make(**settings):
    base = {"problem": "chess", "model": "dt_net_recall_2d", "width": 8, "train_data": 60, "test_data": 80}
    return data.load(Thinking(**(base | settings)))


def test_the_problem_as_networks_see_it():
    problem = make()
    assert problem.train.inputs.shape == (48, 12, 8, 8)
    assert problem.val.targets.shape == (12, 8, 8)
    assert problem.test.inputs.shape == (20, 12, 8, 8)
    assert problem.mask is None
    assert problem.encode(problem.test.inputs).dtype == torch.float32
    made = chess.orient(chess.surrogate(80), "aligned", mover_first=True)
    assert (problem.test.inputs.numpy() == made.inputs[60:]).all()
    literal = make(chess_orientation="literal")
    assert (literal.test.targets == problem.test.targets.flip(1)).all()
    assert (literal.test.inputs == problem.test.inputs).all()
    legacy = make(model="recur_net", width=1, train_fraction=5 / 6)
    assert len(legacy.val.targets) == 10
    assert (legacy.test.inputs.numpy() == chess.surrogate(80).inputs[60:]).all()


def test_a_puzzle_file_is_read_where_one_is_given(tmp_path):
    rows = [(f"4k3/8/8/8/8/{file_only(end)}/8/4K3 b - - 0 1", f"e8d8 {end}3{end}4", 1000) for end in "abcd" * 3]
    problem = make(chess_csv=str(write(tmp_path, *rows)), train_data=10, test_data=12)
    assert [squares(target.numpy()) for target in problem.test.targets] == [{"c3", "c4"}, {"d3", "d4"}]


def test_published_files_are_read_where_a_folder_is_given(tmp_path):
    (tmp_path / "chess_data").mkdir()
    made = chess.surrogate(80, seed=5)
    torch.save(torch.from_numpy(made.inputs).float(), tmp_path / "chess_data" / "data.pth")
    torch.save(torch.from_numpy(made.targets).long(), tmp_path / "chess_data" / "targets.pth")
    torch.save(torch.from_numpy(made.black[:, 0]).float(), tmp_path / "chess_data" / "who_moves.pth")
    problem = make(data=str(tmp_path))
    assert (problem.test.inputs.numpy() == chess.orient(made, "aligned", mover_first=True).inputs[60:]).all()
    with pytest.raises(UserError, match="has 80 puzzles, and puzzles up to 90 are asked for"):
        make(data=str(tmp_path), test_data=90)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"test_data": 60}, r"test_data \(60\) must be more than train_data \(60\)"),
        ({"test_samples": 90}, "must not be more than test_data"),
        ({"train_samples": 10}, "train_data is the number of the easiest puzzles"),
        ({"train_data": 1}, "train_data leaves no samples in one of the sets"),
    ],
)
def test_impossible_settings_are_told(settings, says):
    with pytest.raises(UserError, match=says):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"problem": "prefix_sums", "model": "dt_net_1d", "chess_csv": "x.csv"}, "chess_csv is for chess"),
        ({"chess_csv": "x.csv", "data": "folder"}, "data and chess_csv both say where puzzles are"),
    ],
)
def test_sources_that_contradict_are_told(settings, says):
    with pytest.raises(ValueError, match=says):
        make(**settings)


@pytest.mark.parametrize("given", [{}, {"chess_csv": "x.csv"}, {"data": "folder"}])
def test_puzzles_are_surrogate_where_no_file_is_given(given):
    assert Thinking(problem="chess", model="dt_net_2d", **given).surrogate == (not given)
    assert not Thinking().surrogate
