import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.describe import ABSENT, Dictionary
from export.summary import Criterion, Verdicts, best, group_columns, limits, summarise
from orchestrator.errors import UserError

NAN = math.nan
CRITERION = Criterion("valid", "test", 1e-5)


def judged(rows: list[tuple[float, float, float]], criterion: Criterion = CRITERION) -> Verdicts:
    """Judge one run whose rows are (validation, test, sparsity) at steps 0, 10, 20 …"""
    values = [np.array([row[i] for row in rows], float) for i in range(3)]
    return best(np.zeros(len(rows), np.int64), np.arange(len(rows)) * 10, *values, 1, criterion)


def test_the_best_row_decides() -> None:
    found = judged([(3, 1, 0.5), (1, 1e-6, 0.1), (2, 1e-9, 0.0)])
    assert (found.step[0], found.select[0], found.error[0], found.sparsity[0]) == (10, 1, 1e-6, 0.1)
    assert found.solved[0]
    assert found.solved_at[0] == 10


def test_solved_at_may_lie_before_or_after_the_best_row() -> None:
    assert judged([(3, 1e-6, 0), (1, 1e-6, 0)]).solved_at[0] == 0
    unsolved = judged([(1, 1, 0), (2, 1e-6, 0)])
    assert not unsolved.solved[0]
    assert unsolved.solved_at[0] == 10


def test_of_equal_rows_the_first_is_best() -> None:
    assert judged([(2, 1, 0), (1, 2, 0), (1, 3, 0)]).error[0] == 2


def test_missing_validation_errors_are_passed_over() -> None:
    assert judged([(NAN, 1, 0), (5, 2, 0), (NAN, 3, 0)]).error[0] == 2
    assert judged([(NAN, 1, 0), (NAN, 2, 0)]).error[0] == 2, "without any, the last row counts"
    assert judged([(math.inf, 1, 0), (math.inf, 2, 0)]).error[0] == 1


def test_a_missing_error_is_no_success() -> None:
    found = judged([(1, NAN, 0)])
    assert not found.solved[0]
    assert found.solved_at[0] == -1


def test_the_window_holds_the_last_rows_only() -> None:
    rows = [(0, 5, 0), (3, 6, 0), (2, 1e-7, 0)]
    assert judged(rows, Criterion("v", "t", 1e-5, window=2)).error[0] == 1e-7
    assert judged(rows, Criterion("v", "t", 1e-5, window=3)).error[0] == 5
    assert judged([(0, 5, 0), (NAN, 6, 0)], Criterion("v", "t", 1e-5, window=1)).error[0] == 6
    assert judged([(5, 1e-7, 0), (NAN, 6, 0)], Criterion("v", "t", 1e-5, window=1)).solved_at[0] == 0


def test_a_threshold_may_be_inclusive() -> None:
    assert not judged([(1, 1e-5, 0)]).solved[0]
    assert judged([(1, 1e-5, 0)], Criterion("v", "t", 1e-5, inclusive=True)).solved[0]


RANGE = Dictionary("range", np.array([0, 1, 0, 1, 1]), ["U[1,2)", "U[-2,2)"])
SIZE = Dictionary("input_size", np.array([0, 0, 1, 1, 1]), [2, 10])
RUN = np.array([0, 1, 2, 3, 3])
"""Five points of four runs: the last one stands twice."""


def test_a_threshold_may_go_by_the_labels_of_axes() -> None:
    def of(threshold: object) -> list[float]:
        return limits(Criterion("v", "t", threshold), [RANGE, SIZE], RUN, 4).tolist()  # type: ignore[arg-type]

    assert of(0.5) == [0.5] * 4
    assert of({"range": {"U[1,2)": 1, "U[-2,2)": 2}}) == [1, 2, 1, 2]
    nested = {"range": {"U[1,2)": {"input_size": {"2": 3, "10": 4}}, "U[-2,2)": 5}}
    assert of(nested) == [3, 5, 4, 5]
    rows = np.array([1e-3, 1e-3])
    found = best(np.array([0, 1]), np.array([0, 0]), rows, rows, rows, 2, CRITERION, np.array([1e-4, 1e-2]))
    assert found.solved.tolist() == [False, True]


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        ({"ranges": {"U[1,2)": 1}}, "Did you mean 'range'"),
        ({"range": {"U[1,2)": 1}, "input_size": {"2": 1}}, "write one axis"),
        ({"range": {"U[1,3)": 1}}, "names range 'U[1,3)', which the grid does not have"),
        ({"range": {"U[1,2)": 1}}, "no threshold for range=U[-2,2), input_size=2"),
        ({"twice": {"a": 1, "b": 2}}, "gives one run two thresholds"),
    ],
)
def test_a_threshold_that_leaves_a_run_without_one_is_an_error(threshold: object, says: str) -> None:
    twice = Dictionary("twice", np.array([0, 0, 0, 0, 1]), ["a", "b"])
    with pytest.raises(UserError) as caught:
        limits(Criterion("v", "t", threshold), [RANGE, SIZE, twice], RUN, 4)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_runs_without_rows() -> None:
    found = best(
        np.array([1, 1]), np.array([0, 10]), np.array([1.0, 2]), np.array([0.0, 1]), np.array([NAN, NAN]), 3, CRITERION
    )
    assert found.solved.tolist() == [False, True, False]
    assert found.step.tolist() == [-1, 0, -1]
    assert np.isnan(found.error[[0, 2]]).all()
    nothing = np.zeros(0)
    none = best(np.zeros(0, np.int64), np.zeros(0, np.int64), nothing, nothing, nothing, 2, CRITERION)
    assert none.solved.tolist() == [False, False]


def plainly(rows: list[tuple[float, float]], window: int | None) -> tuple[int, bool, int]:
    """The rules, as one would say them."""
    first = 0 if window is None else max(0, len(rows) - window)
    valid = [i for i in range(first, len(rows)) if not math.isnan(rows[i][0])]
    at = min(valid, key=lambda i: rows[i][0]) if valid else len(rows) - 1
    solved_at = next((i for i, row in enumerate(rows) if row[1] < 1e-5), -1)
    return at, rows[at][1] < 1e-5, solved_at


VALUE = st.sampled_from([NAN, math.inf, 0.0, 1e-6, 1e-5, 1.0, 2.0])


@given(st.lists(st.lists(st.tuples(VALUE, VALUE), max_size=6), max_size=6), st.none() | st.integers(1, 4))
def test_many_runs_are_judged_as_each_alone(runs: list[list[tuple[float, float]]], window: int | None) -> None:
    run = np.repeat(np.arange(len(runs)), [len(rows) for rows in runs])
    step = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(rows)) for rows in runs)])
    flat = np.array([row for rows in runs for row in rows], float).reshape(-1, 2)
    found = best(run, step, flat[:, 0], flat[:, 1], flat[:, 1], len(runs), Criterion("v", "t", 1e-5, window=window))
    for i, rows in enumerate(runs):
        expected = plainly(rows, window) if rows else (-1, False, -1)
        assert (found.step[i], found.solved[i], found.solved_at[i]) == expected


def verdicts(solved: list[bool], steps: list[int], errors: list[float]) -> Verdicts:
    zeros = np.zeros(len(solved))
    return Verdicts(np.zeros(len(solved), np.int64), zeros, zeros, np.array(errors), np.array(solved), np.array(steps))


def test_groups_are_in_the_order_of_the_grid_and_count_what_is_missing() -> None:
    by = [
        Dictionary("range", np.array([1, 1, 0, 0, 0]), ["late in the alphabet", "early"]),
        Dictionary("model", np.array([0, 0, 0, ABSENT, 0]), ["m"]),
    ]
    found = summarise(
        by,
        np.arange(5),
        np.array([True, False, True, True, True]),
        verdicts([True, True, True, False, False], [100, 100, 300, -1, 50], [0.1, 0.2, NAN, 0.3, 0.4]),
    )
    assert found["range"].to_pylist() == ["late in the alphabet", "late in the alphabet", "early"]
    assert found["model"].to_pylist() == [None, "m", "m"]
    assert found["runs"].to_pylist() == [1, 2, 2]
    assert found["n"].to_pylist() == [1, 2, 1]
    assert found["solved"].to_pylist() == [0, 1, 1]
    assert found["success"].to_pylist() == [0.0, 0.5, 1.0]
    assert found["solved_at_mean"].to_pylist() == [None, 300.0, 100.0]
    assert found["solved_at_median"].to_pylist() == [None, 300.0, 100.0]
    assert found["sparsity_mean"].to_pylist() == [None, None, 0.1]


def test_a_run_counts_once_in_a_group() -> None:
    by = [Dictionary("model", np.array([0, 0, 1]), ["a", "b"])]
    found = summarise(by, np.array([0, 0, 0]), np.array([True]), verdicts([True], [1], [0.0]))
    assert found["runs"].to_pylist() == [1, 1]


def test_a_grid_of_seeds_alone_is_one_group() -> None:
    labels = [Dictionary("seed", np.arange(4), list("0123"))]
    found = summarise(group_columns(labels), np.arange(4), np.ones(4, bool), verdicts([True] * 4, [1] * 4, [0.0] * 4))
    assert found.num_rows == 1
    assert found["n"].to_pylist() == [4]


def test_no_points_are_no_groups() -> None:
    empty = np.zeros(0, np.int64)
    found = summarise([Dictionary("model", empty, [])], empty, np.zeros(0, bool), verdicts([], [], []))
    assert found.num_rows == 0


def test_a_criterion_is_read_from_the_grids_section() -> None:
    section = {"select": "a", "error": "b", "threshold": 1, "sparsity": ["*/W"], "window": None, "later": 1}
    criterion = Criterion.of(section)
    assert criterion == Criterion("a", "b", 1, sparsity=("*/W",))
    assert criterion.wants("layer/W")
    assert not criterion.wants("c")
    assert Criterion.of(None) is None


def test_medians_and_rates_of_a_published_group() -> None:
    """Addition with ReLU in "Neural Arithmetic Units": 62 of 100."""
    found = summarise(
        [], np.arange(100), np.ones(100, bool), verdicts([i < 62 for i in range(100)], [61_000] * 100, [0.49] * 100)
    )
    assert found["success_lower"][0].as_py() == pytest.approx(0.5220975529551107)
    assert found["success_upper"][0].as_py() == pytest.approx(0.7090240074752127)
