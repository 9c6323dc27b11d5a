"""Every command and every option of it is in the documentation, and the documentation names no other."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import COMMANDS, cli

HOME = Path(__file__).parents[2]
PAGES = [HOME / "README.md", *sorted((HOME / "docs").glob("**/*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
NAMES = [name for section in COMMANDS.values() for name in section]
OPTION = r"(?<![\w-])--?[a-z][\w-]*"


def options(name: str) -> list[click.Parameter]:
    """Return the options of a command."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return [each for each in command.params if isinstance(each, click.Option)]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_and_its_options_are_documented(name: str) -> None:
    assert f"orch {name}" in TEXT
    for option in options(name):
        spellings = [*option.opts, *option.secondary_opts]
        assert any(re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", TEXT) for each in spellings), spellings


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_calls_exists(page: Path) -> None:
    text = page.read_text()
    lines = re.findall(r"^orch ([a-z]+)([^#|\n]*)", text, re.MULTILINE)
    for name, rest in re.findall(r"`orch ([a-z]+)([^`]*)`", text) + lines:
        assert name in NAMES, f"orch {name}"
        known = {each for option in options(name) for each in [*option.opts, *option.secondary_opts]}
        said = set(re.findall(OPTION, rest))
        assert said <= known | {"--help"}, f"orch {name}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target
