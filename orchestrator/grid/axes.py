"""Assignments and axes: what a grid sets, and what it varies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.errors import Place, UserError, nearest
from orchestrator.grid import document
from orchestrator.grid.derive import Derived, derived
from orchestrator.grid.document import Items, Node, Scalar
from orchestrator.grid.model import Resources
from orchestrator.grid.parameters import Parameters
from orchestrator.grid.problems import read
from orchestrator.grid.values import Values, axis_values, generator, span
from orchestrator.identity import Leaf
from orchestrator.template import text_of

RESERVED = "resources"
"""A bundle sets this beside parameters."""


@dataclass(frozen=True, eq=False)
class Assign:
    """One leaf that a grid sets.

    Parameters
    ----------
    path
        Dotted name of the parameter; with ``{}`` as value, of a group that is there with its defaults.
    value
        The value, or how it derives.
    place
        Where the value was written.
    key
        Where the name was written.
    node
        The written value, for places inside it.
    stage
        Number of ``when`` rules that come before; a derived value sees the parameters as they are then.
    """

    path: str
    value: Leaf | Derived | dict[str, Any]
    place: Place
    key: Place
    node: Node | None = None
    stage: int | None = None

    @property
    def field(self) -> str:
        """The top-level parameter that this belongs to."""
        return self.path.partition(".")[0]


def unknown(path: str, parameters: Parameters, place: Place, extra: Sequence[str] = ()) -> UserError:
    """Say that there is no such parameter, and name the nearest."""
    known = [*parameters.paths, *extra]
    last = path.rpartition(".")[2]
    hint = nearest(path, known) or next((f" Did you mean {name!r}?" for name in known if name.endswith(f".{last}")), "")
    if parameters.open:
        hint = " A name has letters, digits and underscores, with dots between the names of groups."
    return UserError(f"there is no parameter {path!r}.{hint}", places=(place,))


def assignments(node: Node, parameters: Parameters, key: Place, path: str = "") -> Iterator[Assign]:
    """Flatten a mapping of parameters into assignments; dotted keys and nested groups mean the same.

    Raises
    ------
    UserError
        If a name is unknown, a value is given where a group belongs or the reverse, or an expression cannot be read.
    """
    if path and not parameters.knows(path):
        raise unknown(path, parameters, key)
    if isinstance(node, document.Mapping) and (not path or parameters.is_group(path)):
        if path and not node.entries:
            yield Assign(path, {}, node.place, key, node)
        for name, child in node.entries.items():
            yield from assignments(child, parameters, node.keys[name], f"{path}.{name}" if path else name)
        return
    if isinstance(node, document.Mapping):
        raise UserError(f"{path!r} is a value, not a group of parameters", places=(node.place,))
    if path in parameters.paths and parameters.is_group(path) and node.plain is not None and not _is_derived(node):
        raise UserError(f"{path!r} is a group of parameters: give it a mapping, not {node.kind}", places=(node.place,))
    yield Assign(path, _value(node), node.place, key, node)


def _is_derived(node: Node) -> bool:
    return isinstance(node, Scalar) and isinstance(node.value, str) and "${" in node.value


def _value(node: Node) -> Leaf | Derived:
    for mapping in _mappings(node):
        raise UserError("a list of values cannot hold a mapping", places=(mapping.place,))
    try:
        return derived(node.plain)
    except ValueError as error:
        raise UserError(str(error), places=(node.place,)) from error


def _mappings(node: Node) -> Iterator[Node]:
    if isinstance(node, document.Mapping):
        yield node
    elif isinstance(node, Items):
        for item in node.items:
            yield from _mappings(item)


def mapping(node: Node, what: str) -> document.Mapping:
    """Return the node if it is a mapping; else say what should be one."""
    if isinstance(node, document.Mapping):
        return node
    raise UserError(f"{what} should be a mapping, not {node.kind}", places=(node.place,))


@dataclass(frozen=True, eq=False)
class Bundle:
    """A named value that sets several parameters together."""

    name: str
    place: Place
    assigns: tuple[Assign, ...]
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Axis:
    """A parameter with several values, or bundles.

    Exactly one of ``values`` and ``bundles`` is set. ``names`` are all bundle names the file knows, also when the
    command line has narrowed the axis.
    """

    name: str
    key: Place
    values: Values | None = None
    bundles: tuple[Bundle, ...] = ()
    names: tuple[str, ...] = ()
    parameters: Parameters | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.values.values) if self.values else len(self.bundles)

    def label(self, code: int) -> str:
        """Return the text of a value, or a bundle's name."""
        return text_of(self.values.values[code]) if self.values else self.bundles[code].name

    def place(self, code: int) -> Place:
        """Return where a value was written."""
        if self.values is None:
            return self.bundles[code].place
        node = self.values.node(code)
        return node.place if node else self.values.place

    def assigns(self, code: int) -> Sequence[Assign]:
        """Return what a value sets."""
        if self.values is None:
            return self.bundles[code].assigns
        node, value = self.values.node(code), self.values.values[code]
        if node is not None and self.parameters is not None and (isinstance(value, (dict, list)) or _is_derived(node)):
            return list(assignments(node, self.parameters, self.key, self.name))
        return [Assign(self.name, value, self.place(code), self.key, node)]

    def resources(self, code: int) -> Mapping[str, Any]:
        """Return what a bundle asks of the cluster."""
        return self.bundles[code].resources if self.bundles else {}

    def paths(self) -> Iterator[Assign]:
        """Walk one assignment for each path and place that this axis sets."""
        if self.values is None or self.values.nodes:
            for code in range(len(self)):
                yield from self.assigns(code)
        elif len(self):
            yield from self.assigns(0)

    @property
    def is_plain(self) -> bool:
        """Whether each value is simply the value of the field that names the axis."""
        if self.values is None or "." in self.name:
            return False
        written = self.values.values if self.values.nodes else ()
        return not any(value is None or isinstance(value, (dict, list)) or "${" in str(value) for value in written)


def read_axis(name: str, node: Node, key: Place, parameters: Parameters) -> Axis:
    """Read one axis.

    Raises
    ------
    UserError
        If it is empty, names no parameter, or sets what does not exist.
    """
    if isinstance(node, document.Mapping) and generator(node) is None:
        return Axis(name, key, bundles=_bundles(name, node, parameters), names=tuple(node.entries))
    if not parameters.knows(name):
        if isinstance(node, Items) and node.items and all(isinstance(item, document.Mapping) for item in node.items):
            message = f"{name!r} is no parameter, so its mappings need names: write {name}: {{first: {{…}}, …}}"
            raise UserError(message, places=(node.place,))
        raise unknown(name, parameters, key)
    built = Axis(name, key, values=axis_values(name, node), parameters=parameters)
    for _ in built.paths():  # reads every value once, for its errors
        pass
    return built


def _bundles(name: str, node: document.Mapping, parameters: Parameters) -> tuple[Bundle, ...]:
    if not node.entries:
        raise UserError(f"axis {name!r} has no values: give it some, or remove it", places=(node.place,))
    found: list[Bundle] = []
    for label, value in node.entries.items():
        if not isinstance(value, document.Mapping):
            raise UserError(
                f"axis {name!r} is a mapping, so it is a bundle, and each of its values sets parameters:"
                f" {label!r} should be a mapping, not {value.kind}. Plain values are a list: [a, b]",
                places=(value.place,),
            )
        resources: dict[str, Any] = {}
        if RESERVED in value.entries:
            resources = partial_resources(value.entries[RESERVED])
        body = replace(value, entries={key: child for key, child in value.entries.items() if key != RESERVED})
        assigns = tuple(assignments(body, parameters, node.keys[label]))
        found.append(Bundle(label, node.keys[label], refuse_doubles(assigns), resources))
    return tuple(found)


def partial_resources(node: Node) -> dict[str, Any]:
    """Read resources that stand in a bundle or a sub-grid: only what is written."""
    return read(Resources, node, RESERVED).model_dump(exclude_unset=True)


def refuse_doubles(assigns: tuple[Assign, ...]) -> tuple[Assign, ...]:
    """Refuse one leaf set twice in one mapping, once nested and once dotted."""
    seen: dict[str, Assign] = {}
    for assign in assigns:
        first = seen.setdefault(assign.path, assign)
        if first is not assign:
            raise UserError(f"{assign.path!r} is set twice here, the first time at {first.key}",
                            places=(assign.key, first.key))  # fmt: skip
    return assigns


def refuse_overlap(axes: Sequence[Axis]) -> None:
    """Refuse two axes that set the same leaf.

    Raises
    ------
    UserError
        With the places of both.
    """
    owners: dict[str, tuple[Axis, Assign]] = {}
    for one in axes:
        own = {assign.path: assign for assign in reversed(list(one.paths()))}
        for path, assign in own.items():
            for other_path, (other, before) in owners.items():
                # A null group against one of its leaves is an overlap too; an empty mapping only says "be there".
                inside = path.startswith(f"{other_path}.") and before.value is None
                around = other_path.startswith(f"{path}.") and assign.value is None
                if path == other_path or inside or around:
                    raise UserError(
                        f"axis {one.name!r} and axis {other.name!r} both set {path!r}: let one of them set it",
                        places=(assign.key, before.key),
                    )
        owners |= {path: (one, assign) for path, assign in own.items()}


def is_span_or_generator(node: Node) -> bool:
    """Whether a value can only be an axis."""
    return span(node) is not None or generator(node) is not None
