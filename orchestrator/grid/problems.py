"""What pydantic says, turned into sentences about what the user wrote, with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.errors import Place, UserError, nearest
from orchestrator.grid.document import Items, Mapping, Node

Path = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

MAX_SHOWN = 5


@dataclass(frozen=True)
class Fault:
    """One sentence about the value at ``path``; ``key`` if the name itself is wrong, not its value."""

    path: Path
    message: str
    key: bool = False


def dotted(path: Path) -> str:
    """Spell a path: ``("l1", "start")`` is ``l1.start``, ``("range", 0)`` is ``range[0]``."""
    spelled = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return spelled.removeprefix(".")


def shown(value: Any) -> str:
    """Spell a value briefly."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def follow(plain: Any, loc: Iterable[str | int]) -> Path:
    """Return the part of pydantic's location that exists in the input; tags of unions do not."""
    path: list[str | int] = []
    for part in loc:
        inside = (isinstance(plain, dict) and part in plain) or (
            isinstance(plain, list) and isinstance(part, int) and part < len(plain)
        )
        if inside:
            path.append(part)
            plain = plain[part]
    return tuple(path)


def faults(error: ValidationError, plain: Any, what: str, known: Iterable[str]) -> list[Fault]:
    """Turn a pydantic error about ``plain`` into sentences, one for each place.

    Parameters
    ----------
    error
        What pydantic raised.
    plain
        What it was given.
    what
        The noun for the whole, such as ``resources``.
    known
        The names that exist, for the nearest one.
    """
    shoulds: dict[Path, list[str]] = {}
    found: list[Fault] = []
    for item in error.errors(include_url=False):
        path, kind, message = follow(plain, item["loc"]), item["type"], item["msg"]
        if kind == "extra_forbidden":
            name, names = dotted(path), list(known)
            # A name that exists is of another member of a union than the one its group has chosen.
            end = " with this group's other values" if name in names else f".{nearest(name, names)}"
            found.append(Fault(path, f"{what} has no {name!r}{end}", key=True))
        elif kind == "missing":
            found.append(Fault(path, f"{what} lacks {dotted((*path, item['loc'][-1]))!r}"))
        elif kind in ("value_error", "assertion_error"):
            reason = str(item.get("ctx", {}).get("error", message)) or message
            found.append(Fault(path, f"{dotted(path)} is {shown(item['input'])}: {reason}" if path else reason))
        else:
            offered = re.findall(r"'([^']*)'", str(item.get("ctx", {}).get("expected", "")))
            hint = nearest(item["input"], offered) if isinstance(item["input"], str) else ""
            should = message.removeprefix("Input should be ") + hint
            # A union fails once for each of its members, at one place: one sentence for all of them.
            alternatives = shoulds.setdefault(path, [])
            if not alternatives:
                found.append(Fault(path, f"{dotted(path) or what} is {shown(item['input'])}; it should be "))
            if should not in alternatives:
                alternatives.append(should)
    return [Fault(f.path, f.message + " or ".join(shoulds[f.path]), f.key) if f.message.endswith("should be ") else f
            for f in found]  # fmt: skip


def node_at(node: Node, path: Path) -> Node:
    """Return the node that a path leads to."""
    for part in path:
        if isinstance(node, Mapping) and part in node.entries:
            node = node.entries[str(part)]
        elif isinstance(node, Items) and isinstance(part, int):
            node = node.items[part]
    return node


def place_of(node: Node, fault: Fault) -> Place:
    """Return the place a fault speaks of: the key if the name is wrong, else the value."""
    if fault.key and fault.path:
        parent = node_at(node, fault.path[:-1])
        if isinstance(parent, Mapping) and fault.path[-1] in parent.keys:
            return parent.keys[str(fault.path[-1])]
    return node_at(node, fault.path).place


def combine(found: list[tuple[Fault, tuple[Place, ...]]]) -> UserError:
    """Make one error of several faults: the first leads, a few others follow with their places."""
    (first, places), *others = found
    lines = [first.message]
    lines += [f"{', '.join(map(str, where))}: {fault.message}" for fault, where in others[:MAX_SHOWN]]
    if len(others) > MAX_SHOWN:
        lines.append(f"and {len(others) - MAX_SHOWN} more")
    return UserError("\n".join(lines), places=places)


def read(model: type[M], node: Node, what: str) -> M:
    """Validate a section of the file.

    Raises
    ------
    UserError
        If the section does not fit the model, with the place of each fault.
    """
    plain = node.plain
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        found = faults(error, plain, what, list(_names(model)))
        raise combine([(fault, (place_of(node, fault),)) for fault in found]) from error


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Walk the dotted names that a section has."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{prefix}{name}.")
