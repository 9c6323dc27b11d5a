"""The page on reliability, and the promises of the README, name tests that exist; every test of faults is named."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "reliability.md"
FAULTS = [
    *sorted((TOP / "tests" / "faults").glob("test_*.py")),
    *(TOP / "tests" / "cluster" / f"test_{name}.py" for name in ("faults", "matrix", "ownership", "soak")),
]


def collected(file: Path) -> set[str]:
    """Return the names under which pytest collects the tests of a module."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.add(node.name)
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found.add(node.name)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found |= {node.targets[0].id} if node.targets[0].id.startswith("Test") else set()
    return found


def named(page: Path) -> list[tuple[str, str]]:
    """Return the files and tests that a page names; a file alone names no test."""
    return re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())


@pytest.mark.parametrize("page", [PAGE, TOP / "README.md"], ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    names = named(page)
    assert len(names) > 10
    for file, test in names:
        assert (TOP / file).is_file(), f"{page.name} names {file}"
        if test:
            assert test in collected(TOP / file), f"{page.name} names {file}::{test}"


@pytest.mark.parametrize("file", FAULTS, ids=lambda file: file.stem)
def test_every_test_of_faults_is_named(file: Path) -> None:
    here = {test for name, test in named(PAGE) if name == file.relative_to(TOP).as_posix()}
    assert collected(file) - here == set()
