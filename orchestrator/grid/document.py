"""YAML 1.2 as a tree of positioned nodes.

ruamel.yaml scans and parses; the tree is built here from its events, so that depth and size are bounded *while* a file
is read, an alias costs what it stands for, and every node knows its place. Plain scalars follow the core schema of
YAML 1.2 (``1e-3`` is a number, ``off`` is text, dates are text) plus underscores between digits.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from orchestrator.errors import Place, UserError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 100_000
MAX_DIGITS = 300

DIGITS = r"[0-9]+(?:_[0-9]+)*"
INTEGER = re.compile(rf"[-+]?{DIGITS}")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(rf"[-+]?(?:\.{DIGITS}|{DIGITS}(?:\.(?:{DIGITS})?)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
}


@dataclass(frozen=True, eq=False)
class Node(ABC):
    """A positioned value: a :class:`Scalar`, a :class:`Items` or a :class:`Mapping`.

    Parameters
    ----------
    place
        Where it begins.
    size
        Number of nodes in it, itself included, aliases counted as what they stand for.
    """

    place: Place
    size: int

    @property
    @abstractmethod
    def plain(self) -> Any:
        """The node as plain Python values."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the node is, in words."""


@dataclass(frozen=True, eq=False)
class Scalar(Node):
    """One value; ``text`` is what was written, ``quoted`` whether in quotes (or as a block)."""

    text: str
    value: bool | int | float | str | None
    quoted: bool

    @property
    def plain(self) -> bool | int | float | str | None:
        """The value."""
        return self.value

    @property
    def kind(self) -> str:
        """What the value is, in words."""
        names = {bool: "true or false", int: "a number", float: "a number", str: "text", type(None): "null"}
        return names[type(self.value)]


@dataclass(frozen=True, eq=False)
class Items(Node):
    """A sequence."""

    items: tuple[Node, ...]

    @cached_property
    def plain(self) -> list[Any]:
        """The items as a list."""
        return [item.plain for item in self.items]

    @property
    def kind(self) -> str:
        """The word for a sequence."""
        return "a list"


@dataclass(frozen=True, eq=False)
class Mapping(Node):
    """A mapping; keys are the text that was written, ``keys`` holds their places."""

    entries: dict[str, Node]
    keys: dict[str, Place]

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The entries as a dict."""
        return {key: node.plain for key, node in self.entries.items()}

    @property
    def kind(self) -> str:
        """The word for a mapping."""
        return "a mapping"


def read_text(path: Path, file: str, noun: str = "grid") -> str:
    """Read a file that is small enough to be parsed.

    Parameters
    ----------
    path
        The file.
    file
        The name that errors give.
    noun
        What the file is.

    Raises
    ------
    UserError
        If it cannot be read, is too large, or is not UTF-8.
    """
    try:
        _refuse_large(path.stat().st_size, file, noun)
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", places=(Place(file),)) from error
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8: byte {error.start} is none of it", places=(Place(file),)) from error


def _refuse_large(size: int, file: str, noun: str) -> None:
    if size > MAX_BYTES:
        raise UserError(f"a {noun} has at most {MAX_BYTES:,} bytes, this one has {size:,}", places=(Place(file),))


def parse(text: str, file: str, noun: str = "grid") -> Node:
    """Read one YAML document.

    Parameters
    ----------
    text
        The document.
    file
        The name that errors give.
    noun
        What the document is.

    Raises
    ------
    UserError
        If it is no YAML, or breaks one of the limits of this module.
    """
    _refuse_large(len(text.encode(errors="surrogatepass")), file, noun)
    try:
        return _Builder(file, noun, YAML(typ="safe", pure=True).parse(text)).document()
    except MarkedYAMLError as error:
        raise _syntax(error, text, file) from error
    except (YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"this is not YAML: {reason}", places=(Place(file),)) from error


def _syntax(error: MarkedYAMLError, text: str, file: str) -> UserError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines()
    shown = lines[line] if line < len(lines) else ""
    if "\t" in shown[: column + 1] or "'\\t'" in str(error.problem):
        message = "a tab stands where YAML wants spaces: indent with spaces"
    else:
        message = " ".join(filter(None, (error.context, error.problem)))
        message = f"this is not YAML: {message}" + (f", in {shown.strip()[:60]!r}" if shown.strip() else "")
    return UserError(message, places=(Place(file, line + 1, column + 1),))


class _Builder:
    """Builds nodes from parser events. Recursive, which the depth limit makes safe."""

    def __init__(self, file: str, noun: str, events: Iterator[Event]) -> None:
        self.file = file
        self.noun = noun
        self.events = events
        self.anchors: dict[str, Node | None] = {}
        self.depth = 0
        self.nodes = 0

    def place(self, event: Event) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def error(self, message: str, event: Event) -> UserError:
        return UserError(message, places=(self.place(event),))

    def document(self) -> Node:
        next(self.events)
        event = next(self.events)
        if not isinstance(event, DocumentStartEvent):
            raise UserError(f"this {self.noun} is empty", places=(Place(self.file),))
        root = self.node(next(self.events))
        next(self.events)
        event = next(self.events)
        if not isinstance(event, StreamEndEvent):
            raise self.error(f"a {self.noun} is one YAML document; here a second one begins", event)
        return root

    def count(self, number: int, event: Event) -> None:
        self.nodes += number
        if self.nodes > MAX_NODES:
            message = f"a {self.noun} has at most {MAX_NODES:,} nodes, aliases written out; there are more here"
            raise self.error(message, event)

    def node(self, event: Any) -> Node:
        if isinstance(event, AliasEvent):
            return self.alias(event)
        self.count(1, event)
        if getattr(event, "tag", None):
            raise self.error(f"the tag {event.tag} means nothing in a {self.noun}: write the value without it", event)
        anchor = getattr(event, "anchor", None)
        if anchor:
            self.anchors[anchor] = None
        built = self.scalar(event) if isinstance(event, ScalarEvent) else self.collection(event)
        if anchor:
            self.anchors[anchor] = built
        return built

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.error(f"there is no anchor &{event.anchor} before this alias", event)
        target = self.anchors[event.anchor]
        if target is None:
            raise self.error(f"*{event.anchor} stands inside what it names: a {self.noun} cannot contain itself", event)
        self.count(target.size, event)
        return target

    def collection(self, event: Any) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"a {self.noun} is nested at most {MAX_DEPTH} deep; here it goes deeper", event)
        built = self.sequence(event) if isinstance(event, SequenceStartEvent) else self.mapping(event)
        self.depth -= 1
        return built

    def sequence(self, event: Event) -> Items:
        items: list[Node] = []
        while not isinstance(item := next(self.events), SequenceEndEvent):
            items.append(self.node(item))
        return Items(self.place(event), 1 + sum(item.size for item in items), tuple(items))

    def mapping(self, event: MappingStartEvent) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[tuple[Event, Node]] = []
        while not isinstance(key := next(self.events), MappingEndEvent):
            node = self.node(key)
            if not isinstance(node, Scalar):
                raise self.error(f"a key is a name, not {node.kind}", key)
            value = self.node(next(self.events))
            if node.text == "<<" and not node.quoted:
                merged.append((key, value))
                continue
            if node.text in entries:
                raise UserError(
                    f"the key {node.text!r} stands twice in one mapping, the first time at {keys[node.text]}",
                    places=(self.place(key), keys[node.text]),
                )
            entries[node.text], keys[node.text] = value, self.place(key)
        for key, value in merged:
            self.merge(key, value, entries, keys)
        return Mapping(self.place(event), 1 + sum(1 + node.size for node in entries.values()), entries, keys)

    def merge(self, event: Event, value: Node, entries: dict[str, Node], keys: dict[str, Place]) -> None:
        """Add what ``<<`` names and the mapping does not have; the first of several mappings wins."""
        for source in value.items if isinstance(value, Items) else (value,):
            if not isinstance(source, Mapping):
                raise self.error(f"'<<' merges mappings, not {source.kind}", event)
            for key, node in source.entries.items():
                if key not in entries:
                    self.count(1 + node.size, event)
                    entries[key], keys[key] = node, source.keys[key]

    def scalar(self, event: ScalarEvent) -> Scalar:
        quoted = event.style is not None
        try:
            # JSON spells a character beyond the basic plane as two escapes; together they are one character.
            text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
            value = text if quoted else resolve(text)
        except UnicodeDecodeError as error:
            raise self.error("this text holds half a surrogate pair, which no Unicode text does", event) from error
        except ValueError as error:
            raise self.error(str(error), event) from error
        return Scalar(self.place(event), 1, text, value, quoted)


def resolve(text: str) -> bool | int | float | str | None:
    """Resolve a plain scalar.

    Raises
    ------
    ValueError
        For a number that is not finite or has more than ``MAX_DIGITS`` digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number; to mean the text, put it in quotes")
    if not FLOAT.fullmatch(text):
        return text
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{text[:20]}… has {len(text)} characters; a number has at most {MAX_DIGITS}")
    if INTEGER.fullmatch(text):
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large: the largest number is about 1.8e308")
    return number
