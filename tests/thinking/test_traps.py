"""The page of the thinking code's traps has every one, and the tests that it names are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "papers" / "thinking-traps.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| T")]


def test_every_trap_is_decided():
    assert [row[0] for row in ROWS] == [f"T{number}" for number in range(1, 43)]
    assert all(len(row) == 4 and all(row) for row in ROWS)


def test_the_tests_that_the_page_names_are_there():
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) >= 40
    for file, name in named:
        assert f"def {name or 'test_'}" in (TESTS / file).read_text(encoding="utf-8"), f"{file}::{name}"
