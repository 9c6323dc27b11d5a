"""The values of an axis: lists, spans such as ``0..24``, and the generators ``linear``, ``log`` and ``random``."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.errors import Place, UserError
from orchestrator.grid.document import INTEGER, Items, Mapping, Node, Scalar
from orchestrator.grid.problems import read
from orchestrator.identity import Leaf, encode
from orchestrator.template import text_of

SPAN = re.compile(rf"({INTEGER.pattern})\.\.({INTEGER.pattern})")

MAX_RUNS = 10_000_000
"""A grid with more points is refused."""


def span(node: Node) -> range | None:
    """Read a span, ``0..24`` (both ends included); ``None`` for anything else.

    Raises
    ------
    UserError
        If the span ends before it starts.
    """
    match = SPAN.fullmatch(node.text) if isinstance(node, Scalar) and not node.quoted else None
    if match is None:
        return None
    first, last = (int(end) for end in match.groups())
    if last < first:
        raise UserError(
            f"the span {match[0]} ends before it starts; did you mean {match[2]}..{match[1]}?", places=(node.place,)
        )
    return range(first, last + 1)


class Generator(BaseModel):
    """What all generators have; ``start`` and ``stop`` are both included."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    start: int | float
    stop: int | float
    count: int = Field(ge=1, le=MAX_RUNS)

    def place(self, fraction: float) -> float:
        """Return the value at a fraction of the way from start to stop."""
        return self.start + (self.stop - self.start) * fraction

    def tidy(self, value: float) -> int | float:
        """Drop the last digits, which differ between machines; whole values stay integers between integers."""
        rounded = float(f"{value:.12g}")
        whole = isinstance(self.start, int) and isinstance(self.stop, int) and rounded.is_integer()
        return int(rounded) if whole else rounded

    def values(self, axis: str) -> list[int | float]:  # noqa: ARG002 - only random numbers depend on the axis
        """Return the values, evenly spaced."""
        steps = max(self.count - 1, 1)
        inner = [self.tidy(self.place(i / steps)) for i in range(1, self.count - 1)]
        return [self.start, *inner, self.stop][: self.count]


class Linear(Generator):
    """``{linear: {start: 0, stop: 1, count: 5}}``: equal differences."""


class Log(Generator):
    """``{log: {start: 1e-5, stop: 1e-1, count: 5}}``: equal ratios."""

    @model_validator(mode="after")
    def _check(self) -> Log:
        if self.start * self.stop <= 0:
            raise ValueError("start and stop must both be above 0, or both below")
        return self

    def place(self, fraction: float) -> float:
        """Return the value at a fraction of the way from start to stop, on a logarithmic scale."""
        return float(self.start * (self.stop / self.start) ** fraction)


class Random(Generator):
    """``{random: {start: 1e-5, stop: 1e-1, count: 20, scale: log, seed: 0}}``: the same values on every machine."""

    scale: Literal["linear", "log"] = "linear"
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> Random:
        if self.stop <= self.start:
            raise ValueError("stop must be above start")
        if self.scale == "log" and self.start <= 0:
            raise ValueError("start must be above 0 on a logarithmic scale")
        return self

    def values(self, axis: str) -> list[int | float]:
        """Return the values; axes of different names get different ones. Integers between integers."""
        # random() of a text seed is the one part of this module that Python promises never to change.
        draw = random.Random(f"{self.seed}:{axis}").random  # noqa: S311
        whole = isinstance(self.start, int) and isinstance(self.stop, int) and self.scale == "linear"
        if whole:
            return [int(self.start + draw() * (self.stop - self.start + 1)) for _ in range(self.count)]
        if self.scale == "linear":
            return [float(f"{self.place(draw()):.12g}") for _ in range(self.count)]
        ratio = self.stop / self.start
        return [float(f"{self.start * ratio ** draw():.12g}") for _ in range(self.count)]


GENERATORS: dict[str, type[Generator]] = {"linear": Linear, "log": Log, "random": Random}


def generator(node: Node) -> str | None:
    """Return the generator that a mapping with exactly one key names, if it does."""
    if isinstance(node, Mapping) and len(node.entries) == 1:
        name = next(iter(node.entries))
        return name if name in GENERATORS else None
    return None


@dataclass(frozen=True)
class Values:
    """The values of an axis in order, and where each was written."""

    values: Sequence[Leaf]
    place: Place
    nodes: tuple[Node, ...] = ()
    """One node per value, where the values were written one by one."""

    def node(self, i: int) -> Node | None:
        """Return the node of value ``i`` if it has one of its own."""
        return self.nodes[i] if self.nodes else None


def axis_values(axis: str, node: Node) -> Values:
    """Read the values of an axis that is not a bundle.

    Raises
    ------
    UserError
        If there are none, one stands twice, or a span or generator is wrong.
    """
    name = generator(node)
    if name is not None and isinstance(node, Mapping):
        return Values(read(GENERATORS[name], node.entries[name], f"{name} of axis {axis!r}").values(axis), node.place)
    whole = span(node)
    if whole is not None:
        return Values(whole, node.place)
    if isinstance(node, Mapping):
        known = " ".join(GENERATORS)
        raise UserError(f"the values of axis {axis!r} are neither all mappings (a bundle) nor one of {known}",
                        places=(node.place,))  # fmt: skip
    items = node.items if isinstance(node, Items) else (node,)
    if not items:
        raise UserError(f"axis {axis!r} has no values: give it some, or remove it", places=(node.place,))
    values: list[Leaf] = []
    nodes: list[Node] = []
    for item in items:
        part = span(item)
        if part is not None and len(part) + len(values) > MAX_RUNS:
            raise UserError(f"axis {axis!r} has more than {MAX_RUNS:,} values", places=(item.place,))
        values.extend([item.plain] if part is None else part)
        nodes.extend([item] * (1 if part is None else len(part)))
    _refuse_twice(axis, values, nodes)
    return Values(values, node.place, tuple(nodes))


def _refuse_twice(axis: str, values: list[Leaf], nodes: list[Node]) -> None:
    seen: dict[bytes, Node] = {}
    key: Callable[[Leaf], bytes] = encode
    for value, node in zip(values, nodes, strict=True):
        if isinstance(value, dict) or holds_mapping(value):
            continue
        first = seen.setdefault(key(value), node)
        if first is not node:
            raise UserError(
                f"axis {axis!r} has the value {text_of(value)} twice, the first time at {first.place}",
                places=(node.place, first.place),
            )


def holds_mapping(value: object) -> bool:
    """Whether a plain value is a mapping, or a list that holds one."""
    return isinstance(value, dict) or (isinstance(value, list) and any(map(holds_mapping, value)))
