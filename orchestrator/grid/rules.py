"""Conditions on points: ``skip`` drops points of one sub-grid, ``when`` drops or changes points wherever it applies.

A condition is a mapping; it holds where all of its entries do. A name is an axis or a parameter; a value is one value,
a list of values of which one must match, or a span. A bundle axis is compared by the names of its bundles, a parameter
by its value, defaults included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.errors import Place, UserError, nearest
from orchestrator.grid.axes import Assign, Axis, assignments, mapping, refuse_doubles, unknown
from orchestrator.grid.document import Items, Node, Scalar
from orchestrator.grid.parameters import Parameters
from orchestrator.grid.values import holds_mapping, span
from orchestrator.identity import Leaf, encode
from orchestrator.points import Missing


@dataclass(frozen=True)
class Match:
    """The values that one entry of a condition accepts."""

    name: str
    place: Place
    is_axis: bool
    """Whether ``name`` is a bundle axis; else it is a parameter."""
    accepted: frozenset[bytes]
    spans: tuple[range, ...] = ()
    texts: frozenset[str] = frozenset()

    def value(self, value: Leaf | Missing) -> bool:
        """Whether a parameter's value is accepted."""
        if isinstance(value, (Missing, dict)):
            return False
        if isinstance(value, (int, float)) and not isinstance(value, bool) and any(value in s for s in self.spans):
            return True
        return encode(value) in self.accepted

    def label(self, label: str) -> bool:
        """Whether a bundle's name is accepted."""
        return label in self.texts


@dataclass(frozen=True, eq=False)
class Rule:
    """What holds under a condition: the point is dropped, or parameters are set."""

    condition: tuple[Match, ...]
    place: Place
    drop: bool = True
    assigns: tuple[Assign, ...] = field(default_factory=tuple)


def condition(node: Node, parameters: Parameters, bundles: Mapping[str, Iterable[str]], what: str) -> tuple[Match, ...]:
    """Read a condition.

    Parameters
    ----------
    node
        The mapping.
    parameters
        The known parameters.
    bundles
        ``{bundle axis: names of its bundles}`` of the whole grid.
    what
        The noun for errors.

    Raises
    ------
    UserError
        If it is empty, or names what does not exist.
    """
    entries = mapping(node, what)
    if not entries.entries:
        raise UserError(f"{what} is empty: it would hold everywhere", places=(node.place,))
    found: list[Match] = []
    for name, value in entries.entries.items():
        is_axis = name in bundles
        if not is_axis and (not parameters.knows(name) or (name in parameters.paths and parameters.is_group(name))):
            if name in parameters.paths:
                accepts_null = isinstance(value, Scalar) and value.value is None
                if not accepts_null:
                    raise UserError(
                        f"{name!r} is a group: compare one of its parameters, or null", places=(value.place,)
                    )
            else:
                raise unknown(name, parameters, entries.keys[name], tuple(bundles))
        items = [value, *(value.items if isinstance(value, Items) else ())]
        if holds_mapping(value.plain):
            raise UserError("a condition compares values, not mappings", places=(value.place,))
        spans = tuple(found_span for item in items if (found_span := span(item)) is not None)
        texts = {item.text: item for item in items if isinstance(item, Scalar)}
        for text, item in texts.items():
            if is_axis and text not in bundles[name]:
                hint = nearest(text, bundles[name])
                raise UserError(f"axis {name!r} has no bundle {text!r}.{hint}", places=(item.place,))
        accepted = frozenset(encode(item.plain) for item in items)
        found.append(Match(name, entries.keys[name], is_axis, accepted, spans, frozenset(texts)))
    return tuple(found)


def skips(node: Node, parameters: Parameters, bundles: Mapping[str, Iterable[str]]) -> list[Rule]:
    """Read ``skip``: a list of conditions, or one."""
    entries = node.items if isinstance(node, Items) else (node,)
    return [Rule(condition(entry, parameters, bundles, "an entry of skip"), entry.place) for entry in entries]


_SHAPE = "a rule is {if: {…}, set: {…}} or {if: {…}, drop: true}"


def whens(node: Node, parameters: Parameters, bundles: Mapping[str, Iterable[str]]) -> list[Rule]:
    """Read ``when``: a list of rules, or one."""
    rules: list[Rule] = []
    for entry in node.items if isinstance(node, Items) else (node,):
        parts = mapping(entry, "an entry of when")
        for key in parts.entries:
            if key not in ("if", "set", "drop"):
                hint = nearest(key, ["if", "set", "drop"])
                raise UserError(f"{_SHAPE}; it has no {key!r}.{hint}", places=(parts.keys[key],))
        if "if" not in parts.entries or ("set" in parts.entries) == ("drop" in parts.entries):
            raise UserError(_SHAPE, places=(parts.place,))
        matches = condition(parts.entries["if"], parameters, bundles, "'if'")
        if "drop" in parts.entries:
            if parts.entries["drop"].plain is not True:
                raise UserError(_SHAPE, places=(parts.entries["drop"].place,))
            rules.append(Rule(matches, entry.place))
            continue
        body = mapping(parts.entries["set"], "'set'")
        rules.append(Rule(matches, entry.place, drop=False,
                          assigns=refuse_doubles(tuple(assignments(body, parameters, body.place)))))  # fmt: skip
    return rules


def staged(rules: Iterable[Rule]) -> list[Rule]:
    """Give the assignments of rules their stage, so that each sees the parameters as the rules before it leave them."""
    return [
        replace(rule, assigns=tuple(replace(assign, stage=stage) for assign in rule.assigns))
        for stage, rule in enumerate(rules)
    ]


def bundle_names(axes: Iterable[Axis]) -> dict[str, tuple[str, ...]]:
    """Collect ``{bundle axis: names}`` over all sub-grids."""
    found: dict[str, tuple[str, ...]] = {}
    for axis in axes:
        if axis.names:
            found[axis.name] = tuple(dict.fromkeys([*found.get(axis.name, ()), *axis.names]))
    return found
