"""Which points of a sub-grid its rules drop, and how many are left."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.grid.resolve import Resolver


def count(resolver: Resolver) -> int:
    """Return the number of points of a sub-grid: only the axes that rules speak of are walked."""
    sub = resolver.sub
    dropper = Dropper(resolver)
    last = len(sub.axes) - 1
    involved = sorted(dropper.deps)
    rest = sub.product()
    for i in involved:
        rest //= len(sub.axes[i])
    outer = [i for i in involved if i != last]
    inner = range(len(sub.axes[last]) if last in involved else 1)
    codes = [0] * len(sub.axes)
    kept = 0
    for values in itertools.product(*(range(len(sub.axes[i])) for i in outer)):
        for i, code in zip(outer, values, strict=True):
            codes[i] = code
        active = dropper.active(codes)
        kept += len(inner)
        for code in inner if active else ():
            if last in involved:
                codes[last] = code
            kept -= dropper.drops(active, codes)
    return kept * rest


class Dropper:
    """Tells which points the rules of a sub-grid drop; every entry of a condition is computed once for its axes."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        last = len(resolver.sub.axes) - 1
        self._rules: list[tuple[list[_Test], list[_Test]]] = []
        for rule, stage in _drops(resolver):
            tests = [_Test(resolver, match, stage) for match in rule]
            self._rules.append(([t for t in tests if last not in t.deps], [t for t in tests if last in t.deps]))

    @property
    def deps(self) -> set[int]:
        """The axes that any rule depends on."""
        return {i for outer, inner in self._rules for test in (*outer, *inner) for i in test.deps}

    def active(self, codes: Sequence[int]) -> list[list[_Test]]:
        """Return what is left to test of the rules that may drop points, given all axes but the last."""
        return [inner for outer, inner in self._rules if all(test(codes) for test in outer)]

    def drops(self, active: list[list[_Test]], codes: Sequence[int]) -> bool:
        """Whether one of the active rules drops a point."""
        return any(all(test(codes) for test in tests) for tests in active)


def _drops(resolver: Resolver) -> Iterator[tuple[tuple[Any, ...], int | None]]:
    for rule in resolver.sub.skips:
        yield rule.condition, None
    for stage, rule in enumerate(resolver.sub.whens):
        if rule.drop:
            yield rule.condition, stage


class _Test:
    def __init__(self, resolver: Resolver, match: Any, stage: int | None) -> None:
        self.resolver, self.match, self.stage = resolver, match, stage
        self.deps = resolver.match_deps(match)
        self.known: dict[tuple[int, ...], bool] = {}

    def __call__(self, codes: Sequence[int]) -> bool:
        key = tuple([codes[i] for i in self.deps])
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.resolver.holds(self.match, codes, self.stage)
        return found
