"""Text with ``${name}`` in it: values of a grid that derive from others, and commands. ``$${`` stands for ``${``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_PIECE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")

RUN_NAMES = ("run.dir", "run.id")
"""What a command template can name beside parameters: the attempt's own directory, and the run's id."""


def pieces(text: str) -> list[tuple[str, bool]]:
    """Split a template into (literal text, False) and (what stands between braces, True).

    Raises
    ------
    ValueError
        If a ``${`` is not closed.
    """
    found: list[tuple[str, bool]] = []
    end = 0
    for match in _PIECE.finditer(text):
        found.append((text[end : match.start()], False))
        found.append(("${", False) if match[1] is None else (match[1].strip(), True))
        end = match.end()
    found.append((text[end:], False))
    if any(not inside and "${" in part for part, inside in found if part != "${"):
        raise ValueError(f"a '${{' in {text!r} is not closed by '}}'; '$${{' stands for itself")
    return [piece for piece in found if piece[0] or piece[1]]


def names(text: str) -> list[str]:
    """Return what stands between the braces of a template, in order."""
    return [part for part, inside in pieces(text) if inside]


def text_of(value: object) -> str:
    """Return how a value reads in a text, or as a label: text as it is, anything else as JSON spells it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def fill(text: str, value: Callable[[str], str]) -> str:
    """Replace each ``${name}`` by ``value(name)``."""
    return "".join(value(part) if inside else part for part, inside in pieces(text))
