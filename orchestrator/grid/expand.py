"""From a grid to its points: lazily (``points``), or column by column (``expand``)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import identity
from orchestrator.experiment import flatten
from orchestrator.grid.load import Grid
from orchestrator.grid.resolve import Resolver
from orchestrator.grid.walk import Walk
from orchestrator.identity import Leaf, encode
from orchestrator.points import MISSING, Column, Points, Value, code_type


@dataclass(frozen=True)
class Point:
    """One point of a grid: a run, and its labels there."""

    id: str
    params: dict[str, Leaf]
    label: dict[str, str]


def points(grid: Grid) -> Iterator[Point]:
    """Yield the points in order, each validated when its turn comes.

    Raises
    ------
    UserError
        At the first point that does not fit the experiment.
    """
    for resolver in grid.resolvers:
        axes = resolver.sub.axes
        for codes, raw, model in Walk(grid.experiment, resolver):
            label = {axis.name: axis.label(code) for axis, code in zip(axes, codes, strict=True)}
            yield Point(identity.to_text(raw), {path: _json(leaf) for path, leaf in flatten(model).items()}, label)


def expand(grid: Grid) -> Points:
    """Validate and identify every point of a grid.

    Raises
    ------
    UserError
        At the first point that does not fit the experiment.
    """
    walks = [Walk(grid.experiment, resolver) for resolver in grid.resolvers]
    layout = _Layout(grid.resolvers)
    result = Points()
    counts: list[int] = []
    for g, walk in enumerate(walks):
        ids, before = result.ids, len(result)
        # One entry per point is appended for each axis; axes that a sub-grid lacks are filled in afterwards.
        arrays = [layout.codes[axis.name] for axis in walk.resolver.sub.axes]
        offsets = [layout.offsets[g, axis.name] for axis in walk.resolver.sub.axes]
        appends = [codes.append for codes in arrays]
        for codes, raw, _ in walk:
            ids += raw
            for append, code, offset in zip(appends, codes, offsets, strict=True):
                append(code + offset)
        counts.append(len(result) - before)
        layout.fill(g, counts[-1])
    columns = _Columns(layout, walks, counts)
    for name in dict.fromkeys(name for resolver in grid.resolvers for name in resolver.fields):
        result.leaves |= columns.add(name, [_field(walk, name) for walk in walks])
    constants = dict.fromkeys(name for walk in walks for name in walk.constants)
    for name in constants:
        if not any(name in walk.resolver.fields for walk in walks):
            result.leaves |= columns.add(name, [_field(walk, name) for walk in walks])
    result.leaves = {path: result.leaves[path] for path in sorted(result.leaves)}
    result.labels = layout.labels()
    result.resources_by, asked = columns.find([_resources(resolver) for resolver in grid.resolvers])
    result.resources = [{} if value is MISSING else value for value in asked]
    # Arrays that grew by appending hold spare room; copies do not.
    result.ids = result.ids[:]
    result.codes = {name: codes[:] for name, codes in layout.codes.items()}
    return result


# --- columns ----------------------------------------------------------------------------------------------------------


class _Layout:
    """One code array per axis name. Sub-grids share the codes of an axis they share; other values get further codes."""

    def __init__(self, resolvers: Sequence[Resolver]) -> None:
        self.resolvers = resolvers
        self.axes: dict[str, dict[int, tuple[int, Any]]] = {}
        self.offsets: dict[tuple[int, str], int] = {}
        self.sizes: dict[str, int] = {}
        for g, resolver in enumerate(resolvers):
            for axis in resolver.sub.axes:
                known = self.axes.setdefault(axis.name, {})
                if id(axis) not in known:
                    known[id(axis)] = (self.sizes.get(axis.name, 0), axis)
                    self.sizes[axis.name] = self.sizes.get(axis.name, 0) + len(axis)
                self.offsets[g, axis.name] = known[id(axis)][0]
        # The code after the last value says that a sub-grid does not have the axis.
        self.absent = {name: size for name, size in self.sizes.items()
                       if any((g, name) not in self.offsets for g in range(len(resolvers)))}  # fmt: skip
        self.totals = {name: size + (name in self.absent) for name, size in self.sizes.items()}
        self.codes: dict[str, array[int]] = {name: array(code_type(size)) for name, size in self.totals.items()}

    def fill(self, g: int, count: int) -> None:
        for name, code in self.absent.items():
            if (g, name) not in self.offsets:
                codes = self.codes[name]
                codes.extend(array(codes.typecode, [code]) * count)

    def labels(self) -> dict[str, Column]:
        found: dict[str, Column] = {}
        for name, axes in self.axes.items():
            texts: list[Value] = [axis.label(code) for _, axis in axes.values() for code in range(len(axis))]
            found[name] = Column(name, texts + [MISSING] * (name in self.absent))
        return found


@dataclass(frozen=True)
class _Field:
    """A field of one sub-grid: the axes it depends on, and its value for codes of these."""

    deps: tuple[int, ...]
    value: Callable[[tuple[int, ...]], Any]


def _field(walk: Walk, name: str) -> _Field:
    slot = next((slot for slot in walk.slots if slot.name == name), None)
    if slot is None:
        constant = walk.constants.get(name, MISSING)
        return _Field((), lambda _: constant)
    entries = slot.entries

    def value(codes: tuple[int, ...]) -> Any:
        entry = entries.get(codes[0] if len(codes) == 1 else codes)
        return entry.value if entry is not None else MISSING

    return _Field(tuple(slot.deps), value)


def _resources(resolver: Resolver) -> _Field:
    axes = resolver.sub.axes
    deps = tuple(i for i, axis in enumerate(axes) if any(axis.resources(code) for code in range(len(axis.bundles))))

    def value(codes: tuple[int, ...]) -> dict[str, Any]:
        merged = dict(resolver.sub.resources)
        for i, code in zip(deps, codes, strict=True):
            merged |= axes[i].resources(code)
        return merged

    return _Field(deps, value)


class _Columns:
    """Finds the code array that tells a field's values apart: none, one axis's, or one of its own."""

    def __init__(self, layout: _Layout, walks: Sequence[Walk], counts: Sequence[int]) -> None:
        self.layout, self.walks, self.counts = layout, walks, counts
        self.combined: dict[tuple[str, ...], tuple[str, list[tuple[int, tuple[int, ...]]]]] = {}

    def add(self, name: str, fields: Sequence[_Field]) -> dict[str, Column]:
        """Return the columns of a field's leaves."""
        return _leaves(name, *self.find(fields))

    def find(self, fields: Sequence[_Field]) -> tuple[str, list[Any]]:
        """Return the name of a code array, and the field's value for each of its codes."""
        axes = [walk.resolver.sub.axes for walk in self.walks]
        names = tuple(dict.fromkeys(axes[g][i].name for g, field in enumerate(fields) for i in field.deps))
        values = self._along(names[0], fields) if len(names) == 1 else None if names else self._constant(fields)
        if values is not None:
            return names[0] if names else "", values
        by, keys = self._combine(names, fields)
        return by, [fields[g].value(codes) for g, codes in keys]

    def _constant(self, fields: Sequence[_Field]) -> list[Any] | None:
        values = [field.value(()) for field, count in zip(fields, self.counts, strict=True) if count] or [MISSING]
        return values[:1] if all(_same(value, values[0]) for value in values) else None

    def _along(self, name: str, fields: Sequence[_Field]) -> list[Any] | None:
        """Return a value for each code of an axis, or nothing if sub-grids disagree about one."""
        unset = object()
        values: list[Any] = [unset] * self.layout.totals[name]
        for g, (field, count) in enumerate(zip(fields, self.counts, strict=True)):
            if not count:
                continue
            offset = self.layout.offsets.get((g, name))
            axis = self.layout.axes[name]
            size = next(len(one) for first, one in axis.values() if first == offset) if offset is not None else 1
            start = self.layout.absent[name] if offset is None else offset
            for code in range(size):
                value = field.value((code,) if field.deps else ())
                if values[start + code] is unset or values[start + code] is MISSING:
                    values[start + code] = value
                elif value is not MISSING and not _same(values[start + code], value):
                    return None
        return [MISSING if value is unset else value for value in values]

    def _combine(
        self, names: tuple[str, ...], fields: Sequence[_Field]
    ) -> tuple[str, list[tuple[int, tuple[int, ...]]]]:
        """Make (or find) the code array of combinations of several axes, or of sub-grids."""
        signature = (*names, *(str(field.deps) for field in fields))
        if signature in self.combined:
            return self.combined[signature]
        title = "×".join(names) or "grid"
        while title in self.layout.codes:
            title += "'"
        known: dict[tuple[int, tuple[int, ...]], int] = {}
        codes: list[int] | array[int] = array("I")
        start = 0
        for g, (field, count) in enumerate(zip(fields, self.counts, strict=True)):
            used = [self.walks[g].resolver.sub.axes[i].name for i in field.deps]
            offsets = [self.layout.offsets[g, name] for name in used]
            columns = [self.layout.codes[name] for name in used]
            for i in range(start, start + count):
                key = (g, tuple([column[i] - offset for column, offset in zip(columns, offsets, strict=True)]))
                codes.append(known.setdefault(key, len(known)))
            start += count
        self.layout.codes[title] = array(code_type(len(known)), codes)
        self.combined[signature] = title, list(known)
        return self.combined[signature]


def _leaves(name: str, by: str, values: Sequence[Any]) -> dict[str, Column]:
    flat: list[Mapping[str, Leaf]] = [{} if value is MISSING else flatten({name: value}) for value in values]
    paths = dict.fromkeys(path for leaves in flat for path in leaves)
    return {path: Column(by, [_json(leaves.get(path, MISSING)) for leaves in flat]) for path in paths}


def _json(value: Any) -> Any:
    """Spell tuples as the lists that they are in JSON."""
    return [_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if one is MISSING or other is MISSING:
        return False
    first, second = flatten({"": one}), flatten({"": other})
    return first.keys() == second.keys() and all(encode(first[path]) == encode(second[path]) for path in first)
