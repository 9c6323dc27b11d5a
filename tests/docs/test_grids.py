"""Every grid that the documentation and ``jobs/`` show can be loaded, and every point of it is valid."""

import re
from pathlib import Path

import pytest

from orchestrator.grid.expand import expand
from orchestrator.grid.load import load

HOME = Path(__file__).parents[2]
PAGES = [HOME / "README.md", *(page for page in sorted((HOME / "docs").glob("**/*.md")) if page.name != "tutorial.md")]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
    if re.search(r"^study:", block, re.MULTILINE) and "my_pkg" not in block
]
PROFILES = HOME / "jobs" / "clusters"
FILES = [
    pytest.param(path, id=str(path.relative_to(HOME)))
    for path in sorted((HOME / "jobs").glob("**/*.yaml"))
    if path.parent != PROFILES
]


def test_there_are_examples():
    assert len(BLOCKS) > 5
    assert len(FILES) >= 3


@pytest.mark.parametrize("text", BLOCKS)
def test_a_documented_grid_loads(text):
    grid = load(text)
    assert len(expand(grid)) == grid.count() > 0


@pytest.mark.parametrize("path", FILES)
def test_a_grid_in_jobs_loads(path):
    grid = load(path)
    assert len(expand(grid)) == grid.count() > 0
    assert grid.study == path.stem or path.parent.name != "jobs"
