"""Mazes: what every image must be, and that a maze depends on its part, size, seed and index alone."""

from collections import deque

import numpy as np
import pytest
import torch

from experiments.thinking import data
from experiments.thinking.data import counter, mazes
from experiments.thinking.params import Thinking
from orchestrator.errors import UserError

OPEN = {9: 196, 11: 284, 13: 388, 15: 508, 17: 644, 33: 2308, 59: 7196}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_DATA_CACHE", str(tmp_path / "cache"))


def make(**settings):
    base = {"problem": "mazes", "model": "dt_net_recall_2d", "width": 8, "train_data": 9, "test_data": 13}
    return data.load(Thinking(**(base | {"train_samples": 50, "test_samples": 20} | settings)))


def squares(image):
    """Undo the frame and the enlargement of images (..., p, p), which must be of two by two pixels each."""
    inner = image[..., 1:-1, 1:-1]
    assert image.sum() == inner.sum()
    small = inner[..., ::2, ::2]
    for rows, columns in ((0, 1), (1, 0), (1, 1)):
        assert (inner[..., rows::2, columns::2] == small).all()
    return small


@pytest.mark.parametrize(("size", "count"), [(3, 50), (9, 200), (13, 50), (33, 5), (59, 3)])
def test_an_image_is_a_maze_with_one_way_and_two_ends(size, count):
    inputs, solutions = mazes.generate("train", size, count)
    pixels, side = 2 * size + 6, (size + 1) // 2
    assert inputs.shape == (count, 3, pixels, pixels)
    assert solutions.shape == (count, pixels, pixels)
    assert inputs.dtype == solutions.dtype == np.uint8
    assert inputs.max() == 1

    open_ = inputs.max(axis=1)
    assert (open_.sum(axis=(1, 2)) == OPEN.get(size, 4 * (2 * side**2 - 1))).all()
    green = (inputs == np.array([0, 1, 0])[:, None, None]).all(axis=1)
    red = (inputs == np.array([1, 0, 0])[:, None, None]).all(axis=1)
    assert (green.sum(axis=(1, 2)) == 4).all()
    assert (red.sum(axis=(1, 2)) == 4).all()
    white = inputs.all(axis=1)
    assert (white | green | red == open_.astype(bool)).all()
    for image, solution, start, goal in zip(*map(squares, (open_, solutions, green, red)), strict=True):
        length = distance(image, start, goal)
        way = solution.astype(bool)
        assert length % 2 == 0
        assert length >= 2
        assert 4 * way.sum() == 4 * (length + 1)
        assert not (way & ~image.astype(bool)).any()
        assert way[start].all()
        assert way[goal].all()
        assert distance(way, start, goal) == length  # the way is one piece, from end to end
        assert is_tree(image)


def distance(image, start, goal):
    reached = steps(image, start)
    return reached[tuple(np.argwhere(goal)[0])]


def steps(image, start):
    first = tuple(np.argwhere(start)[0])
    found, queue = {first: 0}, deque([first])
    while queue:
        row, column = queue.popleft()
        for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if image[place] and place not in found:
                found[place] = found[row, column] + 1
                queue.append(place)
    return found


def is_tree(image):
    """Tell whether all open squares are joined, by one way each: as many joints as squares, less one."""
    first = np.zeros(image.shape, bool)
    first[tuple(np.argwhere(image)[0])] = True
    joints = (image[1:] & image[:-1]).sum() + (image[:, 1:] & image[:, :-1]).sum()
    return len(steps(image, first)) == image.sum() == joints + 1


def test_lengths_are_distributed_as_was_measured():
    # Spec 2.2: mean 21.7, deviation 11.4, of 600 mazes of size 9.
    lengths = mazes.generate("train", 9, 5000).solutions.sum(axis=(1, 2)) / 4 - 1
    assert abs(lengths.mean() - 21.7) < 3 * 11.4 / np.sqrt(600)
    assert abs(lengths.std() - 11.4) < 1.2


def test_starts_and_goals_are_anywhere_and_never_the_same():
    trees = mazes.grow(2, counter.words(counter.key("test"), np.arange(2000)))
    pairs, counts = np.unique(np.stack([trees.start, trees.goal]), axis=1, return_counts=True)
    assert pairs.shape[1] == 4 * 3
    assert counts.min() > 120  # 167 are expected


def test_all_neighbours_are_as_likely():
    """Depth-first search of 2 × 2 cells from its start goes round: each of four trees, by either way, is as likely."""
    trees = mazes.grow(2, counter.words(counter.key("test"), np.arange(4000)))
    _, counts = np.unique(trees.parents.reshape(4000, -1), axis=0, return_counts=True)
    assert len(counts) == 8
    assert counts.min() > 420  # 500 are expected


def test_a_maze_depends_on_part_size_seed_and_index_alone(monkeypatch):
    whole = mazes.generate("train", 9, 40, seed=3)
    for first, count in ((0, 10), (10, 1), (11, 29)):
        some = mazes.generate("train", 9, count, seed=3, first=first)
        assert (some.inputs == whole.inputs[first : first + count]).all()
        assert (some.solutions == whole.solutions[first : first + count]).all()
    monkeypatch.setattr(mazes, "CHUNK_BYTES", 7 * 16 * 49)
    assert (mazes.generate("train", 9, 40, seed=3).inputs == whole.inputs).all()
    for other in (mazes.generate("test", 9, 40, seed=3), mazes.generate("train", 9, 40, seed=4)):
        assert (other.inputs != whole.inputs).any(axis=(1, 2, 3)).all()


def test_the_mazes_are_those_of_version_1():
    """Change the generator, and its version must be raised: results would differ."""
    assert mazes.VERSION == 1
    inputs, solutions = mazes.generate("train", 3, 1, seed=7)
    assert ["".join(".gr#"[kind] for kind in row) for row in squares(kinds(inputs)[0])] == [
        ".....",
        ".g##.",
        "...#.",
        ".r##.",
        ".....",
    ]
    assert squares(solutions[0]).sum() == 7


def kinds(inputs):
    """0 for walls, 1 for the start, 2 for the goal, 3 for what is open."""
    red, green, blue = inputs.swapaxes(0, 1)
    return np.where(blue, 3, np.where(green, 1, np.where(red, 2, 0)))


def test_mazes_lie_anywhere_on_a_canvas():
    made = mazes.generate("train", 9, 300)
    placed = mazes.on_canvas(made, 32, 0, "train")
    assert placed.inputs.shape == (300, 3, 32, 32)
    offsets = set()
    for image, solution, large, way in zip(*made, *placed, strict=True):
        rows, columns = (np.flatnonzero(large.any(axis=(0, axis))) for axis in (2, 1))
        top, left = rows[0] - 3, columns[0] - 3  # one pixel of frame, two of wall
        offsets.add((top, left))
        assert (large[:, top : top + 24, left : left + 24] == image).all()
        assert (way[top : top + 24, left : left + 24] == solution).all()
        assert large.sum() == image.sum()
    assert {top for top, _ in offsets} == {left for _, left in offsets} == set(range(9))


def test_the_problem_as_networks_see_it():
    problem = make()
    assert problem.train.inputs.shape == (40, 3, 24, 24)
    assert problem.val.targets.shape == (10, 24, 24)
    assert problem.test.inputs.shape == (20, 3, 32, 32)
    seen, mask = problem.encode(problem.train.inputs), problem.mask(problem.train.inputs)
    assert seen.dtype == torch.float32
    assert seen.unique().tolist() == [0, 1]
    assert mask.dtype == torch.bool
    assert mask.shape == (40, 24, 24)
    assert (mask.sum(dim=(1, 2)) == 196).all()
    assert not (problem.train.targets.bool() & ~mask).any()
    assert (make(train_samples=100).train.inputs[:40] != problem.train.inputs).any()  # the pool is divided anew


def test_legacy_mazes_have_a_canvas():
    problem = make(canvas=32)
    assert problem.train.inputs.shape == (40, 3, 32, 32)
    assert problem.test.inputs.shape == (20, 3, 32, 32)


def test_as_many_are_made_as_were_published():
    assert [mazes.samples("train", 9), mazes.samples("test", 17), mazes.samples("test", 19)] == [50_000, 10_000, 1_000]


def test_published_files_are_read_where_a_folder_is_given(tmp_path):
    for part, size in (("train", 9), ("test", 13)):
        folder = tmp_path / f"maze_data_{part}_{size}"
        folder.mkdir()
        made = mazes.generate(part, size, 10, seed=5)
        np.save(folder / "inputs.npy", made.inputs.astype(np.float64))
        np.save(folder / "solutions.npy", made.solutions.astype(np.float64))
    problem = make(data=str(tmp_path), train_samples=None, test_samples=None)
    assert (problem.test.inputs.numpy() == mazes.generate("test", 13, 10, seed=5).inputs).all()
    assert len(problem.train.inputs) == 8
    (folder / "inputs.npy").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"inputs\.npy is no array"):
        make(data=str(tmp_path), train_samples=None, test_samples=None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train_data": 8}, "train_data is the size of mazes: an odd number"),
        ({"test_data": 1}, "test_data is the size of mazes"),
        ({"canvas": 20}, "canvas is 20 pixels, and mazes of size 9 have 24"),
    ],
)
def test_impossible_settings_are_told(settings, says):
    with pytest.raises(UserError, match=says):
        make(**settings)
